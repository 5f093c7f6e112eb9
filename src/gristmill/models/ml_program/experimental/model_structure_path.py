"""Where an operation or a layer stands in a model, as a path through its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeAlias

from gristmill.errors import InputError
from gristmill.package.proto import Message


@dataclass(frozen=True)
class _Part:
    """One part of a path; as a dictionary ``{key: {"data": {its own fields}}}``."""

    _key: ClassVar[str]
    _fields: ClassVar[Mapping[str, str]] = {}  # names in the dictionary, by attribute

    @classmethod
    def from_dict(cls, dict: Mapping[str, Any]) -> Self | None:
        """The part that a dictionary describes, or ``None`` if it describes another kind."""
        content = dict.get(cls._key)
        if not isinstance(content, Mapping):
            return None
        data = content.get("data", {})
        return cls(**{name: data.get(key) for name, key in cls._fields.items()})

    def to_dict(self) -> dict[str, Any]:
        """The part as a dictionary."""
        if not self._fields:
            return {self._key: {}}
        return {self._key: {"data": {key: getattr(self, name) for name, key in self._fields.items()}}}


@dataclass(frozen=True)
class _Program(_Part):
    _key = "program"

    @dataclass(frozen=True)
    class Function(_Part):
        """A function of a program."""

        name: str
        _key = "programFunction"
        _fields: ClassVar[Mapping[str, str]] = {"name": "name"}

    @dataclass(frozen=True)
    class Block(_Part):
        """A block: -1 for a function's own, else its place among those of an operation."""

        index: int
        _key = "programBlock"
        _fields: ClassVar[Mapping[str, str]] = {"index": "index"}

    @dataclass(frozen=True)
    class Operation(_Part):
        """An operation, by an output."""

        output_name: str
        _key = "programOperation"
        _fields: ClassVar[Mapping[str, str]] = {"output_name": "outputName"}


@dataclass(frozen=True)
class _NeuralNetwork(_Part):
    _key = "neuralNetwork"

    @dataclass(frozen=True)
    class Layer(_Part):
        """A layer of a neural network."""

        name: str
        _key = "neuralNetworkLayer"
        _fields: ClassVar[Mapping[str, str]] = {"name": "name"}


@dataclass(frozen=True)
class _Pipeline(_Part):
    _key = "pipeline"

    @dataclass(frozen=True)
    class Model(_Part):
        """A model of a pipeline."""

        name: str
        _key = "pipelineModel"
        _fields: ClassVar[Mapping[str, str]] = {"name": "name"}


@dataclass(frozen=True)
class ModelStructurePath:
    """A path.

    Attributes:
        components: From the outermost part inwards.
    """

    components: tuple[_Part, ...]

    Program = _Program
    NeuralNetwork = _NeuralNetwork
    Pipeline = _Pipeline
    Component: ClassVar[Any] = _Part

    _KINDS: ClassVar[tuple[type[_Part], ...]] = (
        _Program,
        _Program.Function,
        _Program.Block,
        _Program.Operation,
        _NeuralNetwork,
        _NeuralNetwork.Layer,
        _Pipeline,
        _Pipeline.Model,
    )

    @classmethod
    def from_dict(cls, dict: Mapping[str, Any]) -> ModelStructurePath:
        """The path that ``to_dict`` wrote.

        Raises:
            InputError: It is none.
        """
        parts = []
        for item in dict.get("components", ()):
            found = next((part for kind in cls._KINDS if (part := kind.from_dict(item)) is not None), None)
            if found is None:
                raise InputError("this is no part of a model", expected=[k._key for k in cls._KINDS], actual=item)
            parts.append(found)
        return cls(tuple(parts))

    def to_dict(self) -> dict[str, Any]:
        """The path as a dictionary that JSON can hold."""
        return {"components": [part.to_dict() for part in self.components]}


Located: TypeAlias = tuple[Any, ModelStructurePath]
"""An operation or a layer, and where it stands."""


def map_model_spec_to_path(model_spec: Message, components: Sequence[_Part] = ()) -> list[Located]:
    """Every operation or layer of a specification with its path, once for each output of an operation.

    Raises:
        InputError: The model is of another kind.
    """
    kind = model_spec.WhichOneof("Type")
    base = tuple(components)
    if kind == "mlProgram":
        base = (*base, _Program())
        blocks = (
            ((*base, _Program.Function(name)), function.block_specializations[function.opset])
            for name, function in model_spec.mlProgram.functions.items()
            if function.opset in function.block_specializations
        )
        return [found for path, block in blocks for found in _block(block, path, -1)]
    if kind in ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor"):
        return _layers(getattr(model_spec, kind).layers, base)
    if kind == "pipeline":
        parts = zip(model_spec.pipeline.names, model_spec.pipeline.models, strict=False)
        return [
            found
            for name, model in parts
            for found in map_model_spec_to_path(model, (*base, _Pipeline(), _Pipeline.Model(name)))
        ]
    raise InputError("the model has no operations or layers", actual=kind)


def map_model_structure_to_path(model_structure: Any, components: Sequence[_Part] = ()) -> list[Located]:
    """The same for an ``MLModelStructure``: its operations or layers with their paths.

    Raises:
        InputError: The model is of another kind.
    """
    base = tuple(components)
    if model_structure.program:
        base = (*base, _Program())
        functions = model_structure.program.functions.items()
        return [
            found
            for name, function in functions
            for found in _block(function.block, (*base, _Program.Function(name)), -1)
        ]
    if model_structure.neuralnetwork:
        return _layers(model_structure.neuralnetwork.layers, base)
    if model_structure.pipeline:
        parts = dict(model_structure.pipeline.sub_models).items()
        return [
            found
            for name, model in parts
            for found in map_model_structure_to_path(model, (*base, _Pipeline(), _Pipeline.Model(name)))
        ]
    raise InputError("the model has no operations or layers")


def _block(block: Any, path: tuple[_Part, ...], index: int) -> Iterator[Located]:
    """Operations of a block, as messages or as parts of a structure: both have the same fields."""
    inside = (*path, _Program.Block(index))
    for operation in block.operations:
        for output in operation.outputs:
            own = (*inside, _Program.Operation(output.name))
            yield operation, ModelStructurePath(own)
            for place, nested in enumerate(operation.blocks):
                yield from _block(nested, own, place)


def _layers(layers: Any, base: tuple[_Part, ...]) -> list[Located]:
    inside = (*base, _NeuralNetwork())
    return [(layer, ModelStructurePath((*inside, _NeuralNetwork.Layer(layer.name)))) for layer in layers]
