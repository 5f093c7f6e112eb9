"""Small networks, written as the specification's messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from google.protobuf import json_format

import gristmill as ct
from gristmill.package import proto


class L(NamedTuple):
    """A layer: its type, parameters in protobuf's JSON form, the names of what it reads and makes."""

    kind: str
    params: Mapping[str, Any] = {}
    inputs: Sequence[str] = ("x",)
    outputs: Sequence[str] = ("y",)


def layers(*given: L) -> list[dict[str, Any]]:
    """Layers in protobuf's JSON form, as a nested network holds them."""
    return [
        {"name": f"layer {k}", "input": list(each.inputs), "output": list(each.outputs), each.kind: dict(each.params)}
        for k, each in enumerate(given)
    ]


def numbers(values: Any) -> dict[str, Any]:
    """Weights in float32."""
    return {"floatValue": [float(value) for value in values.reshape(-1)]}


def spec_of(
    *given: L,
    inputs: Mapping[str, Sequence[int]],
    outputs: Sequence[str] = ("y",),
    exact: bool = True,
) -> Any:
    """A model of these layers; ``exact`` is for arrays of any rank, otherwise they are images of rank 5."""
    network = {"layers": layers(*given)}
    if exact:
        network |= {"arrayInputShapeMapping": "EXACT_ARRAY_MAPPING", "imageInputShapeMapping": "RANK4_IMAGE_MAPPING"}
    array = {"dataType": "FLOAT32"}
    described = {
        "input": [{"name": n, "type": {"multiArrayType": {**array, "shape": list(s)}}} for n, s in inputs.items()],
        "output": [{"name": name, "type": {"multiArrayType": array}} for name in outputs],
    }
    content = {"specificationVersion": 4, "description": described, "neuralNetwork": network}
    return json_format.ParseDict(content, proto.message("Model")())


def model_of(*given: L, **interface: Any) -> ct.models.MLModel:
    """``spec_of`` ready to run."""
    return ct.models.MLModel(spec_of(*given, **interface))


Test = TypeVar("Test", bound=Callable[..., Any])

TESTED: Counter[str] = Counter()
"""How many tests of their own layers have, by type; ``test_layer_counts`` adds them up."""


def case_of(kind: str) -> Callable[[Test], Test]:
    """Counts a test that holds values of a layer against an oracle; once, whatever its parameters."""

    def count(test: Test) -> Test:
        TESTED[kind] += 1
        return test

    return count
