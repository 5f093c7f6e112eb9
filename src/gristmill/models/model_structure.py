"""What a model consists of, under coremltools' names: functions and operations, layers, parts of a pipeline."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gristmill.ir.builtin import const
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Program, Value
from gristmill.ir.types import Type
from gristmill.package import Package, load
from gristmill.package.proto import Message


@dataclass(frozen=True)
class MLModelStructureNeuralNetworkLayer:
    """A layer of a neural network.

    Attributes:
        name: Its name.
        type: As the specification calls it, such as ``convolution``.
        input_names: What it reads.
        output_names: What it makes.
    """

    name: str
    type: str
    input_names: list[str]
    output_names: list[str]
    __proxy__: Any = None


@dataclass(frozen=True)
class MLModelStructureNeuralNetwork:
    """A neural network: its layers in order."""

    layers: list[MLModelStructureNeuralNetworkLayer]


@dataclass(frozen=True)
class MLModelStructureProgramValue:
    """A constant that stands at its one use."""

    __proxy__: Any = None


@dataclass(frozen=True)
class MLModelStructureProgramBinding:
    """What an argument is bound to: a value by name, or a constant."""

    name: str | None
    value: MLModelStructureProgramValue | None


@dataclass(frozen=True)
class MLModelStructureProgramArgument:
    """An argument of an operation: one binding, or several for a variadic one."""

    bindings: list[MLModelStructureProgramBinding]


@dataclass(frozen=True)
class MLModelStructureProgramValueType:
    """The type of a value; its text is the type in MIL."""

    __proxy__: Type | None = None

    def __str__(self) -> str:
        return str(self.__proxy__)


@dataclass(frozen=True)
class MLModelStructureProgramNamedValueType:
    """A value's name and type."""

    name: str
    type: MLModelStructureProgramValueType


@dataclass(frozen=True)
class MLModelStructureProgramOperation:
    """An operation.

    Attributes:
        inputs: The arguments by name.
        operator_name: Such as ``conv``, without the opset that Core ML writes before it (``ios18.conv``).
        outputs: What it makes.
        blocks: Nested blocks: two of a condition, two of a loop.
    """

    inputs: dict[str, MLModelStructureProgramArgument]
    operator_name: str
    outputs: list[MLModelStructureProgramNamedValueType]
    blocks: list[MLModelStructureProgramBlock]
    __proxy__: Any = None


@dataclass(frozen=True)
class MLModelStructureProgramBlock:
    """A block: its arguments, its operations in order, and the names of its results."""

    inputs: list[MLModelStructureProgramNamedValueType]
    operations: list[MLModelStructureProgramOperation]
    output_names: list[str]


@dataclass(frozen=True)
class MLModelStructureProgramFunction:
    """A function: its inputs, states among them, and its block."""

    inputs: list[MLModelStructureProgramNamedValueType]
    block: MLModelStructureProgramBlock


@dataclass(frozen=True)
class MLModelStructureProgram:
    """An ML Program: its functions by name."""

    functions: dict[str, MLModelStructureProgramFunction]


@dataclass(frozen=True)
class MLModelStructurePipeline:
    """A pipeline: its parts in order, each with its name."""

    sub_models: list[tuple[str, MLModelStructure]]


@dataclass(frozen=True)
class MLModelStructure:
    """What a model consists of; one of the three, or none of them for a model of another type.

    Attributes:
        neuralnetwork: Of a neural network.
        program: Of an ML Program.
        pipeline: Of a pipeline.
    """

    neuralnetwork: MLModelStructureNeuralNetwork | None
    program: MLModelStructureProgram | None
    pipeline: MLModelStructurePipeline | None

    @classmethod
    def load_from_path(cls, compiled_model_path: str | os.PathLike[str]) -> MLModelStructure:
        """The structure of a model.

        Args:
            compiled_model_path: A ``.mlmodelc``, and here a ``.mlpackage`` or ``.mlmodel`` too.

        Raises:
            FormatError: The files are no model, or a malformed one.
            MissingFileError: There is nothing at the path.
        """
        return structure_of(load(compiled_model_path))


def structure_of(package: Package) -> MLModelStructure:
    """The structure of a loaded model."""
    if package.kind == "mlProgram":
        return MLModelStructure(None, program_structure(package.program), None)
    return _of_spec(package.spec)


def program_structure(program: Program) -> MLModelStructureProgram:
    """The structure of a program; operations keep the ops that they stand for."""
    return MLModelStructureProgram(
        {
            name: MLModelStructureProgramFunction(_named(function.inputs), _block(function.body))
            for name, function in program.functions.items()
        }
    )


def _block(block: Block) -> MLModelStructureProgramBlock:
    shown = [op for op in block if not (isinstance(op, const) and op.inline)]
    return MLModelStructureProgramBlock(
        _named(block.arguments), [_operation(op) for op in shown], [value.name for value in block.outputs]
    )


def _operation(op: Op) -> MLModelStructureProgramOperation:
    arguments = {
        name: MLModelStructureProgramArgument(
            [_binding(value) for value in (bound if isinstance(bound, tuple) else (bound,))]
        )
        for name, bound in op.operands.items()
    }
    return MLModelStructureProgramOperation(
        arguments, op.op_name, _named(op.results), [_block(block) for block in op.blocks], op
    )


def _binding(value: Value) -> MLModelStructureProgramBinding:
    if isinstance(value.producer, const) and value.producer.inline:
        return MLModelStructureProgramBinding(None, MLModelStructureProgramValue(value.constant))
    return MLModelStructureProgramBinding(value.name, None)


def _named(values: Iterable[Value]) -> list[MLModelStructureProgramNamedValueType]:
    return [
        MLModelStructureProgramNamedValueType(value.name, MLModelStructureProgramValueType(value.type))
        for value in values
    ]


def _of_spec(spec: Message) -> MLModelStructure:
    """The structure of what is no program, from its specification."""
    kind = str(spec.WhichOneof("Type") or "")
    if kind.startswith("neuralNetwork"):
        layers = [
            MLModelStructureNeuralNetworkLayer(
                layer.name, str(layer.WhichOneof("layer")), list(layer.input), list(layer.output), layer
            )
            for layer in getattr(spec, kind).layers
        ]
        return MLModelStructure(MLModelStructureNeuralNetwork(layers), None, None)
    if kind.startswith("pipeline"):
        pipeline = getattr(spec, kind)
        pipeline = pipeline if kind == "pipeline" else pipeline.pipeline
        names = [*pipeline.names, *[""] * len(pipeline.models)]
        parts = [(name, _of_part(part)) for name, part in zip(names, pipeline.models, strict=False)]
        return MLModelStructure(None, None, MLModelStructurePipeline(parts))
    return MLModelStructure(None, None, None)


def _of_part(spec: Message) -> MLModelStructure:
    return structure_of(Package.from_spec(spec)) if spec.WhichOneof("Type") == "mlProgram" else _of_spec(spec)
