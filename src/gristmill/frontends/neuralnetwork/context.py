"""What a mapping works with: the tensors by name, and helpers to make ops.

A tensor of a network has no type. Here it is a ``unit_float``, or int32 or bool where it is known to hold integers or
truth values: shapes stay exact, and inference can follow them. It becomes a float where a layer computes with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gristmill.errors import FormatError, GristmillError, UnsupportedError
from gristmill.frontends.common import UnsupportedOperator, UnsupportedOperatorsError
from gristmill.frontends.neuralnetwork import registry
from gristmill.frontends.neuralnetwork.source import Layer, Network, Weights
from gristmill.ir import types
from gristmill.ir.builder import mb
from gristmill.ir.constants import Array, Data, TransposeData
from gristmill.ir.dims import Dim
from gristmill.ir.program import Location, Value
from gristmill.ir.types import DType, unit_float

MOST_TIMES = 4
SPARE_LAYERS = 1_000
"""A network's layers are mapped so often, and so many more, at most. The bodies of loops are built until the sizes in
them are known, and what follows a branch that may leave a body stands in both its sides: nested ones multiply, and a
layer takes milliseconds."""


class LayerBuilder:
    """Makes ops at the current insertion point, typed for those of one result."""

    def __getattr__(self, op_name: str) -> Callable[..., Value]:
        def make(**operands: Any) -> Value:
            return self.op(op_name, **operands)

        return make

    def op(self, op_name: str, **operands: Any) -> Value:
        """The result of an op that has one."""
        (result,) = self.several(op_name, **operands)
        return result

    def several(self, op_name: str, **operands: Any) -> tuple[Value, ...]:
        """The results of an op."""
        found = mb.op(op_name, **operands)
        return (found,) if isinstance(found, Value) else found or ()

    def const(self, value: object) -> Value:
        """A constant."""
        return mb.const(value)


ops = LayerBuilder()


class Context:
    """The state of one import.

    Attributes:
        tensors: Values by the names that layers give them; a name that is written again stands for the new value.
        layer: The layer at hand.
        results: Values that are outputs already.

    Args:
        layers: How many the network has, those in branches and loops included.
        keep_tables: Whether weights that are indices into a table stay so; otherwise they are numbers.
    """

    def __init__(self, layers: int, *, keep_tables: bool) -> None:
        self._most = MOST_TIMES * layers + SPARE_LAYERS
        self._keep_tables = keep_tables
        self.tensors: dict[str, Value] = {}
        self.results: list[Value] = []
        self.layer: Layer | None = None
        self._named: set[Value] = set()
        self._mapped = 0
        self._expanded: dict[Value, tuple[Value, list[int]]] = {}

    # -- layers ------------------------------------------------------------------------------------------------------

    def run(self, layers: Sequence[Layer]) -> None:
        """Maps layers, one after the other."""
        for layer in layers:
            self.map(layer)

    def map(self, layer: Layer) -> None:
        """Makes the ops of a layer and binds its outputs' names.

        Raises:
            FormatError: It reads what no layer has made, or has too few inputs or parameters.
            UnsupportedError: There are too many layers.
        """
        mapping = registry.find(layer.kind)
        if mapping is None:
            place = Location(module=layer.name, source=layer.kind)
            raise UnsupportedOperatorsError([UnsupportedOperator(layer.kind, (place,))])
        self.begin(layer)
        inputs = [self.tensor(name) for name in layer.inputs]
        with self._located(layer):
            if not mapping.typed:
                inputs = [self.floating(value) for value in inputs]
            axes: list[int] = []
            if mapping.on_planes(layer.params):
                inputs, axes = self._without_front(inputs)
            try:
                results = mapping.function(self, layer.params, *inputs)
            except GristmillError:
                raise
            except (TypeError, IndexError, AttributeError, ValueError, ArithmeticError, MemoryError) as error:
                raise self.wrong(f"the layer lacks an input or a parameter, or one is out of range: {error}") from error
        found = results if isinstance(results, tuple | list) else () if results is None else (results,)
        if len(found) < len(layer.outputs):
            raise self.wrong("the layer makes fewer tensors", expected=len(layer.outputs), actual=len(found))
        for name, value in zip(layer.outputs, found, strict=False):
            with self._located(layer):
                self.bind(name, self.expand(value, axes) if axes else value)

    def begin(self, layer: Layer) -> None:
        """Makes a layer the one at hand.

        Raises:
            UnsupportedError: There have been too many.
        """
        self.layer = layer
        self._mapped += 1
        if self._mapped > self._most:
            raise self.unsupported("loops and branches multiply the layers", expected=f"at most {self._most} in all")

    def expand(self, value: Value, axes: list[int]) -> Value:
        """The value with axes of size 1, which layers that need none of them do without."""
        expanded = ops.expand_dims(x=value, axes=axes)
        self._expanded[expanded] = value, axes
        return expanded

    def _without_front(self, values: list[Value]) -> tuple[list[Value], list[int]]:
        """The values before axes were added to all of them alike, and those axes."""
        found = [self._expanded[value] for value in values if value in self._expanded]
        if not found or len(found) < len(values) or any(axes != found[0][1] for _, axes in found):
            return values, []
        return [value for value, _ in found], found[0][1]

    def drop_unused_axes(self) -> None:
        """Takes out axes that no layer needed."""
        for value in reversed(self._expanded):
            if value.producer is not None and not value.uses:
                value.producer.erase()

    def tensor(self, name: str) -> Value:
        """The value that a name stands for at this point.

        Raises:
            FormatError: Nothing has made it.
        """
        if name not in self.tensors:
            raise self.wrong(f"no layer has made the tensor '{name}'", actual=name)
        return self.tensors[name]

    def bind(self, name: str, value: Value) -> None:
        """Lets a name stand for a value, which is called so if it has no name of its own yet."""
        self.tensors[name] = value
        value, _ = self._expanded.get(value, (value, []))
        if value.producer is None or value in self._named or value.constant is not None:
            return
        value.name = mb.point.function.unique_name(name)
        if len(value.producer.results) == 1:
            value.producer.name = value.name
        self._named.add(value)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """What is bound inside is forgotten afterwards."""
        saved = dict(self.tensors)
        try:
            yield
        finally:
            self.tensors = saved

    @contextlib.contextmanager
    def _located(self, layer: Layer) -> Iterator[None]:
        with mb.located(Location(module=layer.name or None, source=layer.kind)):
            yield

    def wrong(self, message: str, *, expected: object = None, actual: object = None) -> FormatError:
        """An error about the layer at hand."""
        return FormatError(message, location=self._place, expected=expected, actual=actual)

    def unsupported(self, message: str, *, expected: object = None, actual: object = None) -> UnsupportedError:
        """An error about something that the layer at hand does."""
        return UnsupportedError(message, location=self._place, expected=expected, actual=actual)

    @property
    def _place(self) -> str | None:
        return None if self.layer is None else f"layer '{self.layer.name}' ({self.layer.kind})"

    # -- types -------------------------------------------------------------------------------------------------------

    def floating(self, value: Value) -> Value:
        """The value as an untyped tensor."""
        return self._cast(value, unit_float)

    def integers(self, value: Value) -> Value:
        """The value as integers: fractions are dropped."""
        if value.constant is not None and value.dtype == unit_float:
            return ops.const(np.trunc(value.constant.numpy()).astype(np.int32))
        return self._cast(value, types.int32)

    def truth(self, value: Value) -> Value:
        """The value as truth values: all but 0 is true."""
        return self._cast(value, types.bool_)

    def _cast(self, value: Value, dtype: DType) -> Value:
        if value.dtype == dtype:
            return value
        return ops.cast(x=value, dtype=dtype.name)

    def alike(self, *values: Value) -> list[Value]:
        """The values in one type: integers if all are known to be, or are constants that are; else untyped."""
        if any(v.dtype == types.int32 for v in values) and all(map(_is_integral, values)):
            return [self.integers(v) for v in values]
        if all(v.dtype == types.bool_ for v in values):
            return list(values)
        return [self.floating(v) for v in values]

    def known(self, value: Value) -> Array | None:
        """The contents of a constant."""
        return None if value.constant is None else value.constant.numpy()

    # -- constants ---------------------------------------------------------------------------------------------------

    def number(self, value: float | Array) -> Value:
        """An untyped constant."""
        return mb.const(np.asarray(value, np.float32), dtype=unit_float)

    def weights(
        self, weights: Weights | None, shape: Sequence[int], *, axis: int = 0, transposed: bool = False
    ) -> Value:
        """A layer's weights as an untyped constant.

        Args:
            weights: They.
            shape: Theirs in the file.
            axis: The one of the output channels, for quantised weights.
            transposed: Exchange the two axes of a matrix.
        """
        if weights is None:
            raise self.wrong("the layer has no weights", expected=list(shape))
        try:
            data: Data = weights.data([int(n) for n in shape], axis=axis)
        except FormatError as error:
            raise self.wrong(error.message, expected=error.expected, actual=error.actual) from error
        return ops.const(TransposeData(data, (1, 0)) if transposed else data)

    def factors(self, weights: Weights | None, shape: Sequence[int], *, axis: int = 0) -> Value:
        """``weights`` that a product or a convolution multiplies by: compressed ones stay so.

        Args:
            weights: They.
            shape: Theirs in the file.
            axis: The one of the output channels, for quantised weights.
        """
        sizes = [int(n) for n in shape]
        try:
            found = weights.table(sizes, axis=axis) if weights is not None and self._keep_tables else None
        except FormatError as error:
            raise self.wrong(error.message, expected=error.expected, actual=error.actual) from error
        if found is None:
            return self.weights(weights, shape, axis=axis)
        indices, table = found
        return ops.constexpr_lut_to_dense(
            indices=ops.const(indices), lut=self.number(table), shape=np.array(sizes, np.uint32)
        )

    def bias(self, has: bool, weights: Weights | None, channels: int) -> Value | None:
        """A bias for each output channel, if the layer has one."""
        return self.weights(weights, (channels,)) if has else None

    # -- shapes ------------------------------------------------------------------------------------------------------

    def size(self, value: Value, axis: int) -> Value:
        """The size of an axis, as one integer in a row."""
        known = value.shape[axis]
        if isinstance(known, int):
            return ops.const(np.array([known], np.int32))
        return ops.gather(x=ops.shape(x=value), indices=np.array([axis % value.rank], np.int32), axis=0)

    def reshape(self, x: Value, sizes: Sequence[Dim | Value]) -> Value:
        """``x`` in another shape: known sizes, -1 for one that follows, or rows of one integer."""
        if all(isinstance(n, int) for n in sizes):
            return ops.reshape(x=x, shape=np.array(sizes, np.int32))
        rows = [ops.const(np.array([n], np.int32)) if isinstance(n, int) else n for n in sizes]
        return ops.reshape(x=x, shape=ops.concat(values=rows, axis=0))

    def row(self, x: Value) -> Value:
        """``x`` with one axis at least: a single number counts as a row of one."""
        return ops.expand_dims(x=x, axes=[0]) if x.rank == 0 else x

    def sizes(self, x: Value) -> Value:
        """A tensor that another one's shape is read from."""
        return self.row(self.integers(x))

    def scalar(self, x: Value) -> Value:
        """The only element of a tensor, as one of rank 0."""
        return x if x.rank == 0 else ops.reshape(x=x, shape=np.array([], np.int32))

    def without_axes(self, x: Value, axes: Sequence[int]) -> Value:
        """``x`` without axes of size 1, whether that is known of them or not."""
        places = {axis % x.rank for axis in axes}
        if all(x.shape[axis] == 1 for axis in places):
            return ops.squeeze(x=x, axes=sorted(places))
        dropped = [axis in places for axis in range(x.rank)]
        kept = [not drop for drop in dropped]
        zeros = [0] * x.rank
        return ops.slice_by_index(
            x=x, begin=zeros, end=zeros, begin_mask=kept, end_mask=[True] * x.rank, squeeze_mask=dropped
        )

    def parts(self, count: int) -> int:
        """Into how many parts the layer at hand divides: no more than it has outputs."""
        outputs = self.layer.outputs if self.layer is not None else ()
        if count > len(outputs):
            raise self.wrong("the layer makes more parts than it has outputs", expected=len(outputs), actual=count)
        return count

    def planes(self, x: Value, function: Callable[[Value], Value]) -> Value:
        """Applies what takes [batch, channels, height, width] to a tensor with any number of axes before channels."""
        if x.rank < 3:
            raise self.unsupported("the layer works on images", expected="[…, channels, height, width]", actual=x.type)
        if x.rank == 4:
            return function(x)
        if x.rank == 3:
            return ops.squeeze(x=function(ops.expand_dims(x=x, axes=[0])), axes=[0])
        ones = [axis for axis in range(x.rank - 3) if x.shape[axis] == 1]
        if len(ones) >= x.rank - 4:
            axes = ones[: x.rank - 4]
            return self.expand(function(ops.squeeze(x=x, axes=axes)), axes)
        front = [self.size(x, axis) for axis in range(x.rank - 3)]
        y = function(self.reshape(x, [-1, *(self.size(x, axis) for axis in (-3, -2, -1))]))
        return self.reshape(y, [*front, *(self.size(y, axis) for axis in (-3, -2, -1))])

    def slice(self, x: Value, axis: int, begin: int | None, end: int | None, stride: int = 1) -> Value:
        """A part of one axis."""
        axis %= x.rank
        starts, ends, strides = [0] * x.rank, [0] * x.rank, [1] * x.rank
        from_start, to_end = [True] * x.rank, [True] * x.rank
        strides[axis] = stride
        if begin is not None:
            starts[axis], from_start[axis] = begin, False
        if end is not None:
            ends[axis], to_end[axis] = end, False
        return ops.slice_by_index(x=x, begin=starts, end=ends, stride=strides, begin_mask=from_start, end_mask=to_end)


def _is_integral(value: Value) -> bool:
    if value.dtype == types.int32:
        return True
    if value.constant is None or value.dtype != unit_float or value.constant.data.size > 1024:
        return False
    found = value.constant.numpy()
    return bool(np.all(found == np.trunc(found)) and np.all(np.abs(found) < 2**31))


def nested(params: Any) -> Iterator[Network]:
    """The networks that a layer's parameters hold."""
    for name in ("ifBranch", "elseBranch", "conditionNetwork", "bodyNetwork"):
        network = getattr(params, name, None)
        if network is not None:
            yield network
