"""Every layer type of the specification has at least three cases with expected values."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from gristmill.package import proto
from tests.conformance import collection
from tests.frontends.neuralnetwork import test_control_flow, test_layers, test_networks
from tests.frontends.neuralnetwork.cases import CASES
from tests.frontends.neuralnetwork.small import TESTED

LEAST = 3
COUNTED = (test_control_flow, test_layers, test_networks)
"""Importing them has counted their tests."""


def test_every_layer_type_has_three_cases() -> None:
    """Models that coremltools wrote, the tables of cases, and tests of their own."""
    folder = Path(collection.__file__).parent / "cases"
    counts = Counter(case.kind for case in CASES) + TESTED
    for recorded in collection.find(folder):
        if recorded.about["precision"] == "nn":
            counts.update(dict.fromkeys(recorded.about["ops"], 1))
    kinds = [field.name for field in proto.message("NeuralNetworkLayer").DESCRIPTOR.oneofs_by_name["layer"].fields]
    assert len(kinds) == 158
    assert {kind: counts[kind] for kind in kinds if counts[kind] < LEAST} == {}
