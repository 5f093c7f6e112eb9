"""Neural networks from programs: the way back of ``network_reader`` and ``frontends.neuralnetwork``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gristmill.errors import ConversionError, UnsupportedError
from gristmill.ir.opset import Opset
from gristmill.ir.program import Function, Program
from gristmill.ir.types import StateType
from gristmill.ops.classify import classify
from gristmill.package import proto
from gristmill.package.description import describe_shape
from gristmill.package.network_fields import fill
from gristmill.package.network_writer import (  # noqa: F401  # each registers its functions
    activation,
    blocks,
    control_flow,
    conv,
    creation,
    custom,
    elementwise,
    indexing,
    linear,
    lists,
    normalization,
    recurrent,
    reduction,
    registry,
    resize,
    shape,
)
from gristmill.package.network_writer.writer import Refusal, Writer
from gristmill.package.proto import Message

__all__ = ["NetworkRefusedError", "Refusal", "rewrite_network", "write_network"]


class NetworkRefusedError(ConversionError, UnsupportedError):
    """A program has ops that no neural network can hold; it lists all of them at once.

    Args:
        refusals: All of them, each with its place, the reason and what to do.
    """

    def __init__(self, refusals: list[Refusal]) -> None:
        self.refusals = tuple(refusals)
        lines = [f"a neural network cannot hold {len(refusals)} of the program's ops"]
        for refusal in refusals:
            lines.append(f"  {refusal.op}" + (f" at {refusal.location}" if refusal.location else ""))
            lines.append(f"    {refusal.reason}" + (f"; {refusal.hint}" if refusal.hint else ""))
        super().__init__("\n".join(lines))


def write_network(
    program: Program,
    description: Message,
    *,
    scalers: Mapping[str, Mapping[str, Any]] | None = None,
    newest: Opset = Opset.iOS14,
) -> Message:
    """Writes a program as a neural network, of the oldest specification version that holds what it uses.

    Tensors of a network have no types: float16 values are held as float32 ones, integers as floats. Arrays keep their
    shapes, and images have rank 4. A program that ends with ``classify`` becomes a classifier.

    Args:
        program: With one function, typed float32 or untyped.
        description: The ``ModelDescription``.
        scalers: Fields of ``NeuralNetworkImageScaler`` by the names of the images that they scale.
        newest: The newest system that the network may need.

    Returns:
        A ``Model``.

    Raises:
        NetworkRefusedError: A network cannot hold some ops.
        UnsupportedError: It cannot hold the program, which has states or several functions.
    """
    model = proto.message("Model")()
    model.description.CopyFrom(description)
    classifier = any(isinstance(op, classify) for op in program.main.body)
    network = model.neuralNetworkClassifier if classifier else model.neuralNetwork
    for name, fields in (scalers or {}).items():
        fill(network.preprocessing.add(featureName=name), {"scaler": fields})
    model.specificationVersion = int(_write(network, program, newest))
    if any(feature.type.isOptional for feature in description.input):
        model.specificationVersion = max(model.specificationVersion, int(Opset.iOS14))  # which has default values
    return model


def rewrite_network(model: Message, program: Program) -> Message:
    """A network with another program in its place; what it says of inputs and outputs stays.

    Where applications hand over arrays of fewer axes than the program takes, they hand over all of them from now on:
    the network no longer adds any.

    Args:
        model: A ``Model`` that is a network.
        program: What its program has become.

    Raises:
        NetworkRefusedError: A network cannot hold some ops.
        UnsupportedError: The network can be trained, which a program says nothing of.
    """
    if model.isUpdatable:
        raise UnsupportedError("a network that can be trained does not keep that when its layers change")
    new = proto.message("Model")(specificationVersion=model.specificationVersion)
    new.description.CopyFrom(model.description)
    values = {value.name: value for value in program.main.inputs}
    for feature in new.description.input:
        array = feature.type.multiArrayType
        if feature.type.HasField("multiArrayType") and values[feature.name].rank != len(array.shape):
            describe_shape(array, values[feature.name])
    version = _write(getattr(new, model.WhichOneof("Type")), program, Opset.iOS14)
    new.specificationVersion = max(new.specificationVersion, int(version))
    return new


def _write(network: Message, program: Program, newest: Opset) -> Opset:
    """Writes a program into a network of any kind, and says which system that needs."""
    function = _only_function(program)
    fill(network, {"arrayInputShapeMapping": "EXACT_ARRAY_MAPPING", "imageInputShapeMapping": "RANK4_IMAGE_MAPPING"})
    writer = Writer(network, function, newest)
    writer.block(function.body)
    for value in () if writer.refusals else function.outputs:
        if isinstance(value.producer, classify):
            _classify(network, writer, value.producer)
        else:
            writer.output(value)
    if writer.refusals:
        raise NetworkRefusedError(writer.refusals)
    return writer.version


def _only_function(program: Program) -> Function:
    if len(program.functions) > 1:
        raise UnsupportedError(
            "a neural network has one function", actual=", ".join(program.functions), hint="convert to an ML Program"
        )
    function = program.main
    states = [value.name for value in function.inputs if isinstance(value.type, StateType)]
    if states:
        raise UnsupportedError(
            "a neural network has no states", actual=", ".join(states), hint="make them inputs and outputs"
        )
    return function


@registry.writes(classify)
def _end(writer: Writer, op: classify) -> list[str]:
    """No layer: the model says that it is a classifier."""
    return [value.name for value in op.results]


def _classify(network: Message, writer: Writer, op: classify) -> None:
    """The labels, and the tensor that holds their probabilities."""
    assert op.classes.constant is not None
    labels = op.classes.constant.python()
    which = "stringClassLabels" if labels and isinstance(labels[0], str) else "int64ClassLabels"
    network.ClearField(which)  # the label and the probabilities are two outputs of one op
    fill(network, {which: {"vector": labels}, "labelProbabilityLayerName": writer.tensor(op.probabilities)})
