"""From ops to layers: the names of tensors, constants, and what several ops need.

A tensor of a network has no type and at least one axis. A value of rank 0 is a tensor with one element, whose rank
readers of the format do not agree on (none or one axis): what is written here means the same either way.
"""

from __future__ import annotations

import contextlib
from collections import ChainMap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gristmill.ir import types
from gristmill.ir.builtin import const
from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.opset import Opset
from gristmill.ir.program import Block, Function, Location, Value
from gristmill.ir.traits import Decompresses
from gristmill.package.network_fields import fill
from gristmill.package.network_reader import StoredData
from gristmill.package.network_writer.compressed import as_scaled, as_table
from gristmill.package.network_writer.registry import WRITINGS, RefusedError
from gristmill.package.proto import Message

_SINCE_IOS14 = frozenset(
    {
        "argSort",
        "clampedReLU",
        "convolution3d",
        "cumSum",
        "globalPooling3d",
        "oneHot",
        "pooling3d",
        "sliceBySize",
    }
)
"""Layers that came with iOS 14 (``NeuralNetworkBuilder`` of coremltools raises the version for the same ones)."""

INDEX_LIMIT = 1 << 24
"""Integers up to here are float32 numbers, each of them."""

_TINY = float(np.finfo(np.float32).smallest_subnormal)


@dataclass(frozen=True)
class Refusal:
    """Why a network cannot hold an op.

    Attributes:
        op: Its type and name.
        location: Its place in the source model.
        reason: Why.
        hint: What to do about it.
    """

    op: str
    location: Location | None
    reason: str
    hint: str | None


class Writer:
    """Writes the ops of a function as layers of a network.

    Args:
        network: The message that gets the layers.
        function: The function.
        newest: The newest system that the network may need.

    Attributes:
        refusals: Ops that the network cannot hold.
        version: The system that it needs.
        op: The op at hand.
    """

    def __init__(self, network: Message, function: Function, newest: Opset) -> None:
        self.refusals: list[Refusal] = []
        self.version = Opset.iOS13
        self.op: Op
        self._newest = newest
        self._layers = network.layers
        self._tensors: ChainMap[Value, str] = ChainMap({value: value.name for value in function.inputs})
        self._taken = {value.name for value in function.values()}
        self._layer_names: set[str] = set()
        self._made: set[str] = set()
        self._loaded: set[str] = set()

    # -- ops ---------------------------------------------------------------------------------------------------------

    def block(self, block: Block) -> None:
        """Writes the ops of a block, in order, but for those of which nothing comes out."""
        for op in block:
            if isinstance(op, const) or op.has(Decompresses):  # these are loaded where they are needed
                continue
            if not op.results or not all(map(_is_empty, op.results)):
                self._write(op)

    def _write(self, op: Op) -> None:
        outer, self.op = getattr(self, "op", op), op
        before, made = len(self._layers), self._made
        self._made = set()
        try:
            writing = WRITINGS.get(type(op))
            if writing is None:
                raise RefusedError("neural networks have no layer for it", "convert to an ML Program")
            found = writing(self, op)
            names = [found] if isinstance(found, str) else list(found)
        except RefusedError as refusal:
            self.refusals.append(Refusal(op.title, op.location, refusal.message, refusal.hint))
            names = [value.name for value in op.results]  # so that what follows can be looked at, too
        self._bind(op, names, before)
        self._name_layers(op, before)
        self._made, self.op = made, outer

    def _bind(self, op: Op, names: Sequence[str], first: int) -> None:
        """Lets tensors stand for the op's results; what its layers have made is called as the results are."""
        own: dict[str, str] = {}
        for value, name in zip(op.results, names, strict=True):
            if name in self._made and name not in own:
                own[name] = value.name
            self._tensors[value] = own.get(name, name)
        for layer in self._layers[first:] if own else ():
            for tensors in (layer.input, layer.output):
                for k, name in enumerate(tensors):
                    if name in own:
                        tensors[k] = own[name]

    def _name_layers(self, op: Op, first: int) -> None:
        """The last layer gets the op's name, those before it names made from that."""
        title = op.name or (op.results[0].name if op.results else op.op_name)
        unnamed = [layer for layer in self._layers[first:] if not layer.name]
        for layer in unnamed:
            kind = layer.WhichOneof("layer")
            layer.name = _unique(title if layer is unnamed[-1] else f"{title}_{kind}", self._layer_names)

    def output(self, value: Value) -> None:
        """Lets a tensor have the name of a value that the network returns."""
        try:
            name = self.tensor(value)
        except RefusedError as refusal:
            place = value.producer.location if value.producer is not None else None
            self.refusals.append(Refusal(f"output '{value.name}'", place, refusal.message, refusal.hint))
            return
        if name != value.name:
            self._layer("copy", [name], [value.name])
            self._layers[-1].name = _unique(value.name, self._layer_names)
            self._tensors[value] = value.name

    @contextlib.contextmanager
    def nested(self, network: Message, names: dict[Value, str] | None = None) -> Iterator[None]:
        """What is written inside goes into a network of a branch or loop, where ``names`` stand for values."""
        layers, tensors = self._layers, self._tensors
        network.SetInParent()
        self._layers, self._tensors = network.layers, tensors.new_child(dict(names or {}))
        try:
            yield
        finally:
            self._layers, self._tensors = layers, tensors

    # -- layers ------------------------------------------------------------------------------------------------------

    def layer(self, kind: str, *inputs: str, **fields: Any) -> str:
        """Adds a layer with one output, and gives its name.

        Args:
            kind: Its type in the specification's words.
            *inputs: Names of its inputs.
            **fields: Of its parameters; see ``network_fields.fill``.
        """
        (name,) = self.layers(kind, *inputs, count=1, **fields)
        return name

    def layers(self, kind: str, *inputs: str, count: int, **fields: Any) -> list[str]:
        """Adds a layer with several outputs, and gives their names."""
        names = [self.fresh(kind) for _ in range(count)]
        self._layer(kind, inputs, names, **fields)
        return names

    def into(self, kind: str, outputs: Sequence[str], *inputs: str, **fields: Any) -> Message:
        """Adds a layer whose outputs have given names, perhaps those of tensors which it overwrites."""
        return self._layer(kind, inputs, outputs, **fields)

    def fresh(self, hint: str) -> str:
        """A new name for a tensor of this op."""
        name = _unique(f"{self.op.name or self.op.op_name}_{hint}", self._taken)
        self._made.add(name)
        return name

    def _layer(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **fields: Any) -> Message:
        if kind in _SINCE_IOS14:
            self.needs(Opset.iOS14, f"layers of type '{kind}'")
        layer = self._layers.add(input=inputs, output=outputs)
        params = getattr(layer, kind)
        params.SetInParent()
        fill(params, fields)
        return params

    def needs(self, opset: Opset, what: str) -> None:
        """Something that networks can say since a system."""
        if opset > self._newest:
            raise RefusedError(f"{what} came with {opset}", f"minimum_deployment_target=gristmill.target.{opset}")
        self.version = max(self.version, opset)

    # -- tensors -----------------------------------------------------------------------------------------------------

    def tensor(self, value: Value) -> str:
        """Name of the tensor that holds a value; a constant is loaded first, once."""
        if value in self._tensors:
            return self._tensors[value]
        if _is_empty(value):
            raise RefusedError("a network has no empty tensors", "convert to an ML Program")
        if value.constant is not None and isinstance(value.constant.payload, StoredData):
            self._tensors[value] = self._load(value.shape, value.constant.payload.message, value.name)
            return self._tensors[value]
        found = self.constant(value)
        if found is None:
            raise RefusedError(f"it takes a value that no tensor can hold ('{value.name}', {value.type})")
        self._tensors[value] = self._load(found.shape, self.derived(value, found), value.name)
        return self._tensors[value]

    def load(self, numbers: Array, hint: str = "") -> str:
        """Loads a constant tensor; one of rank 0 gets an axis."""
        return self._load(numbers.shape, weights(numbers), hint)

    def _load(self, shape: Sequence[Any], data: Any, hint: str) -> str:
        name = self.fresh("constant") if not hint or hint in self._loaded else hint
        self._loaded.add(name)  # a constant that two branches load is two tensors
        self._layer("loadConstantND", (), [name], shape=shape or (1,), data=data)
        self._layers[-1].name = _unique(name, self._layer_names)
        return name

    def knows(self, value: Value) -> bool:
        """Whether a value's contents are known before the network runs."""
        return value.constant is not None or (value.producer is not None and value.producer.has(Decompresses))

    def constant(self, value: Value) -> Array | None:
        """A value's contents where they are known, decompressed."""
        if not isinstance(value.type, types.TensorType):
            return None
        if value.constant is not None:
            return value.constant.numpy()
        op = value.producer
        if op is None or not op.has(Decompresses):
            return None
        operands = {name: self.constant(each) for name, each in op.operands.items() if isinstance(each, Value)}
        return np.asarray(op.compute(operands)[op.results.index(value)])

    def fixed(self, value: Value, what: str) -> Array:
        """The contents of an operand that a layer holds itself.

        Raises:
            RefusedError: They are not known before the network runs.
        """
        found = self.constant(value)
        if found is None:
            raise RefusedError(f"{what} is computed, and the layer holds a constant", "convert to an ML Program")
        return found

    def held(self, value: Value, what: str, axis: int | None = None) -> Any:
        """A constant for a field of weights: as a network held it that was read, or its numbers.

        Args:
            value: It.
            what: It in words.
            axis: That of the output channels, where the layer takes codes: then compressed ones stay compressed.

        Raises:
            RefusedError: It is not known before the network runs.
        """
        stored = self._stored(value)
        if stored is not None:
            return stored.message
        op = value.producer
        if op is None or axis is None or not op.has(Decompresses):
            return weights(self.fixed(value, what))
        numbers = self.fixed(value, what)
        return as_table(numbers) or as_scaled(op, axis) or weights(numbers)

    def derived(self, value: Value, numbers: Array) -> Any:
        """Numbers for a field of weights that are a constant's, transposed or a part of them."""
        compressed = value.producer is not None and value.producer.has(Decompresses)
        return (as_table(numbers) if compressed else None) or weights(numbers)

    def _stored(self, value: Value) -> StoredData | None:
        """What a network held that was read, if a value still is that."""
        data = value.constant.payload if value.constant is not None else None
        if isinstance(data, StoredData) or value.producer is None or value.constant is not None:
            return data if isinstance(data, StoredData) else None
        held = [v.constant.payload for _, _, v in value.producer.uses() if v.constant is not None]
        for data in held:
            if isinstance(data, StoredData) and np.array_equal(data.numbers(), self.fixed(value, "a weight")):
                return data
        return None

    def number(self, value: Value) -> float | None:
        """The only number of a constant, unless it has more of them."""
        if value.constant is None or value.constant.data.size != 1:
            return None
        return float(np.float32(weights_checked(value.constant.numpy()).reshape(-1)[0]))

    # -- what several ops need ---------------------------------------------------------------------------------------

    def reshape(self, name: str, shape: Sequence[int]) -> str:
        """The tensor in a shape of known sizes, one of which may be -1."""
        return self.layer("reshapeStatic", name, targetShape=list(shape) or [1])

    def expand(self, name: str, axes: Sequence[int]) -> str:
        """The tensor with axes of size 1."""
        return self.layer("expandDims", name, axes=axes) if axes else name

    def squeeze(self, name: str, axes: Sequence[int]) -> str:
        """The tensor without axes of size 1."""
        return self.layer("squeeze", name, axes=axes) if axes else name

    def transpose(self, name: str, perm: Sequence[int]) -> str:
        """The tensor with its axes in another order."""
        return name if list(perm) == sorted(perm) else self.layer("transpose", name, axes=perm)

    def cut(self, name: str, pairs: Sequence[Sequence[int]]) -> str:
        """The tensor without so many elements before and behind, a pair for each axis."""
        if not any(map(any, pairs)):
            return name
        begin, end = zip(*pairs, strict=True)
        return self.layer(
            "sliceStatic",
            name,
            beginIds=begin,
            beginMasks=[False for _ in pairs],
            endIds=[-n for n in end],
            endMasks=[not n for n in end],
            strides=[1 for _ in pairs],
            squeezeMasks=[False for _ in pairs],
        )

    def row(self, value: Value) -> str:
        """A value with one axis at least."""
        name = self.tensor(value)
        return name if value.rank or value.constant is not None else self.reshape(name, [1])

    def add(self, x: str, y: str) -> str:
        """The sum, with broadcasting."""
        return self.layer("addBroadcastable", x, y)

    def multiply(self, x: str, y: str) -> str:
        """The product, with broadcasting."""
        return self.layer("multiplyBroadcastable", x, y)


def weights(numbers: Array) -> Any:
    """Numbers for a field of weights: float16 stays so, all others become float32."""
    if numbers.dtype == np.float16:
        return {"float16Value": numbers.astype("<f2").tobytes()}
    return weights_checked(numbers).astype(np.float32)


def weights_checked(numbers: Array) -> Array:
    """Numbers that float32 can hold.

    Raises:
        RefusedError: There are integers among them that it cannot.
    """
    if numbers.dtype.kind in "iu" and not np.array_equal(numbers.astype(np.float32).astype(np.float64), numbers):
        raise RefusedError(f"it has integers beyond {INDEX_LIMIT}, and a network's numbers are float32")
    return numbers


def epsilon(value: float) -> float:
    """An epsilon for a layer that takes 0 as unset: the smallest number there is, then."""
    return float(np.float32(value)) or _TINY


def _is_empty(value: Value) -> bool:
    return isinstance(value.type, types.TensorType) and 0 in value.shape


def _unique(hint: str, taken: set[str]) -> str:
    name, suffix = hint, 0
    while name in taken:
        name, suffix = f"{hint}_{suffix}", suffix + 1
    taken.add(name)
    return name
