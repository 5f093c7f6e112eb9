"""Making, joining, repeating and padding tensors, and asking for their shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gristmill.errors import DimError
from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.dims import Dim, Shape
from gristmill.ir.op import Op, RuntimeValue
from gristmill.ir.opset import iOS16, iOS17
from gristmill.ir.program import Value
from gristmill.ir.signature import ANY, Const, Operand, OptionalOperand, TypeVar, Variadic
from gristmill.ir.traits import DataDependentShape, DataMovement, Elementwise, Exact, Reshapes, ShapeArithmetic
from gristmill.ir.types import (
    DType,
    TensorType,
    Type,
    bool_,
    fp16,
    fp32,
    int8,
    int16,
    int32,
    uint8,
    uint16,
)
from gristmill.ops.broadcast import normalized_axis
from gristmill.ops.sizes import agree, claim, known_length, sized, sizes_of

ANY_BASIC = TypeVar(fp16, fp32, int32, bool_)
ANY_ELEMENT = TypeVar(fp16, fp32, int32, bool_, int8, int16, uint8, uint16)


# --- whole tensors ---------------------------------------------------------------------------------------------------


class identity(Op):
    """``x`` itself: a tensor, a list or a dictionary."""

    x = Operand(ANY)
    traits = (DataMovement, Elementwise, ShapeArithmetic)

    def infer(self) -> Type:
        return self.x.type

    def reference(self, x: RuntimeValue) -> RuntimeValue:
        return x


class shape(Op):
    """The sizes of ``x``'s dimensions."""

    x = Operand(ANY_ELEMENT)
    traits = (Exact, ShapeArithmetic)

    def infer(self) -> Type:
        return TensorType(int32, (self.x.rank,))

    def result_contents(self) -> Array | None:
        contents = np.empty(self.x.rank, dtype=object)
        contents[:] = self.x.shape
        return contents

    def reference(self, x: Array) -> Array:
        return np.array(x.shape, dtype=np.int32)


class flatten2d(Op):
    """``x`` as a matrix: the dimensions before ``axis`` together, and those from it on."""

    x = Operand(ANY_BASIC)
    axis = Const(int, default=1)
    traits = (Reshapes, ShapeArithmetic)

    def infer(self) -> Type:
        return self.x.tensor.with_shape(self._flat(self.x.shape))

    def _flat(self, shape: Sequence[Dim]) -> Shape:
        axis, rank = self.axis, len(shape)
        if not -rank <= axis <= rank:
            raise DimError("there is no such axis", expected=f"-{rank} to {rank}", actual=axis)
        axis = axis + rank if axis < 0 else axis
        return dims.product(shape[:axis]), dims.product(shape[axis:])

    def reference(self, x: Array) -> Array:
        return x.reshape(self._flat(x.shape))


# --- filling ---------------------------------------------------------------------------------------------------------


def _type_of(value: Value | None) -> DType:
    return fp32 if value is None else value.dtype


class fill(Op):
    """A tensor of ``shape`` whose elements are all ``value`` (0.0 in float32 by default)."""

    T = TypeVar(fp16, fp32, int32, bool_)

    shape = Operand(int32, rank=1)
    value = OptionalOperand(T, const=True, rank=0)
    traits = (DataMovement, ShapeArithmetic)

    def infer(self) -> Type:
        sizes = sizes_of(self.shape)
        if sizes is None:
            sizes = [dims.unknown() for _ in range(known_length(self.shape, "'shape'"))]
        return TensorType(_type_of(self.value), sized(sizes))

    def reference(self, shape: Array, value: Array | None) -> Array:
        value = np.zeros((), np.float32) if value is None else value
        return np.full(claim(shape.tolist(), value.itemsize), value)


class fill_like(Op):
    """A tensor of ``ref_tensor``'s shape whose elements are all ``value`` (0.0 in float32 by default)."""

    T = TypeVar(fp16, fp32, int32, bool_)
    U = TypeVar(fp16, fp32, int32, bool_)

    since = iOS16
    ref_tensor = Operand(T)
    value = OptionalOperand(U, const=True, rank=0)
    traits = (DataMovement,)

    def infer(self) -> Type:
        return TensorType(_type_of(self.value), self.ref_tensor.shape)

    def reference(self, ref_tensor: Array, value: Array | None) -> Array:
        return np.full(ref_tensor.shape, np.zeros((), np.float32) if value is None else value)


class range_1d(Op):
    """``start, start + step, …`` up to ``end``, exclusive: ``max(0, ⌈(end - start) / step⌉)`` elements.

    A step of 0 is an error.
    """

    T = TypeVar(fp16, fp32, int32)

    end = Operand(T, rank=0)
    start = Operand(T, rank=0)
    step = Operand(T, rank=0)
    traits = (ShapeArithmetic, DataDependentShape)

    def infer(self) -> Type:
        return TensorType(self.start.dtype, sized((self._length(),)))

    def _length(self) -> Dim:
        start, end, step = map(self._known, (self.start, self.end, self.step))
        if start is None or end is None or step is None:
            return dims.unknown()
        return _range_length(start, end, step)

    @staticmethod
    def _known(value: Value) -> Dim | float | None:
        if value.contents is not None:
            found: Dim = value.contents.item()
            return found
        return None if value.constant is None else float(value.constant.numpy())

    def reference(self, end: Array, start: Array, step: Array) -> Array:
        first, last, by = start.item(), end.item(), step.item()
        (length,) = claim((int(_range_length(first, last, by)),), 8)
        return np.asarray(first) + np.arange(length, dtype=np.asarray(first).dtype) * by


def _range_length(start: Dim | float, end: Dim | float, step: Dim | float) -> Dim:
    if isinstance(start, float) or isinstance(end, float) or isinstance(step, float):
        span = (float(end) - float(start)) / float(step) if float(step) else math.nan
        if not math.isfinite(span):
            raise DimError("a range has a step other than 0 and finite limits", actual=f"{start} to {end} by {step}")
        return max(0, math.ceil(span))
    if step == 0:
        raise DimError("a range has a step other than 0", actual=step)
    return dims.maximum(dims.ceil_div(end - start, step), 0)


# --- joining and parting ---------------------------------------------------------------------------------------------


class _Joins(Op):
    values = Variadic(ANY_ELEMENT)
    axis = Const(int)
    traits = (DataMovement, ShapeArithmetic)

    def _shapes(self) -> list[Shape]:
        """Shapes of the values, of which there is one at least and which have one rank."""
        shapes = [value.shape for value in self.values]
        if not shapes or any(len(shape) != len(shapes[0]) for shape in shapes):
            raise self.misfit("there are values, all of one rank", actual=[list(shape) for shape in shapes])
        return shapes


class concat(_Joins):
    """``values`` one after another along ``axis``; scalars count as vectors of one element.

    With ``interleave`` all have one shape, and their slices along ``axis`` take turns: the first of each, the second of
    each, and so on.
    """

    interleave = Const(bool, default=False)

    def infer(self) -> Type:
        first, *others = (shape or (1,) for shape in self._shapes())
        axis = normalized_axis(self.axis, len(first), self)
        result = list(first)
        for other in others:
            for k, (mine, theirs) in enumerate(zip(result, other, strict=True)):
                both = mine + theirs if k == axis else agree(mine, theirs)
                if both is None or (self.interleave and dims.never_equal(first[k], theirs)):
                    raise self.misfit(
                        "values have one shape, but for the axis", expected=list(first), actual=list(other)
                    )
                result[k] = both
        return self.values[0].tensor.with_shape(sized(result))

    def reference(self, values: tuple[Array, ...], axis: int, interleave: bool) -> Array:
        values = tuple(map(np.atleast_1d, values))
        if not interleave:
            return np.concatenate(values, axis)
        shape = list(values[0].shape)
        shape[axis] *= len(values)
        return np.stack(values, normalized_axis(axis, len(shape), self) + 1).reshape(shape)


class stack(_Joins):
    """``values``, all of one shape, along a new axis; a negative ``axis`` counts from the end of the result."""

    def infer(self) -> Type:
        first, *others = self._shapes()
        result = list(first)
        for other in others:
            for k, theirs in enumerate(other):
                both = agree(result[k], theirs)
                if both is None:
                    raise self.misfit("values have one shape", expected=list(first), actual=list(other))
                result[k] = both
        result.insert(normalized_axis(self.axis, len(first) + 1, self), len(self.values))
        return self.values[0].tensor.with_shape(sized(result))

    def reference(self, values: tuple[Array, ...], axis: int) -> Array:
        return np.stack(values, axis)


class split(Op):
    """``x`` cut along ``axis``: into ``split_sizes``, or into ``num_splits`` equal parts.

    The sizes add up to the dimension, which is a multiple of ``num_splits`` where no sizes are given. Where both are
    given, they agree in number.
    """

    x = Operand(ANY_BASIC)
    num_splits = Const(int, default=None)
    split_sizes = Const.ints(default=None)
    axis = Const(int)
    traits = (DataMovement,)

    def infer(self) -> Sequence[Type]:
        axis = normalized_axis(self.axis, self.x.rank, self)
        return [
            self.x.tensor.with_shape(sized((*self.x.shape[:axis], size, *self.x.shape[axis + 1 :])))
            for size in self._sizes(self.x.shape[axis])
        ]

    def _sizes(self, dim: Dim) -> Sequence[Dim]:
        sizes, count = self.split_sizes, self.num_splits
        if sizes is None:
            if count is None or count < 1:
                raise self.misfit("'num_splits' or 'split_sizes' says into how many parts", actual=count)
            if dims.never_equal(dim % count, 0):
                raise self.misfit("the dimension is a multiple of 'num_splits'", expected=count, actual=dim)
            return [dim // count] * count
        if count is not None and count != len(sizes):
            raise self.misfit("'num_splits' is the number of 'split_sizes'", expected=len(sizes), actual=count)
        if min(sizes, default=-1) < 0 or dims.never_equal(sum(sizes), dim):
            raise self.misfit("'split_sizes' add up to the dimension", expected=dim, actual=list(sizes))
        return sizes

    def reference(self, x: Array, axis: int) -> list[Array] | tuple[Array]:
        sizes = [int(n) for n in self._sizes(x.shape[axis])]
        if sum(sizes) != x.shape[axis]:
            raise ValueError(f"the parts {sizes} do not add up to {x.shape[axis]}")
        parts = np.split(x, np.cumsum(sizes)[:-1], axis)
        return (parts[0],) if len(parts) == 1 else parts


# --- repeating and padding -------------------------------------------------------------------------------------------


class tile(Op):
    """``x`` repeated ``reps[k]`` times along each axis; 0 times gives an empty tensor."""

    x = Operand(ANY_BASIC)
    reps = Operand(int32, rank=1)
    traits = (DataMovement, ShapeArithmetic)

    def infer(self) -> Type:
        rank = self.x.rank
        if dims.never_equal(self.reps.shape[0], rank):
            raise self.misfit("'reps' has an element for each axis", expected=rank, actual=self.reps.shape[0])
        reps = sizes_of(self.reps)
        if reps is None:
            return self.x.tensor.with_shape(tuple(dims.unknown() for _ in range(rank)))
        sized(reps)
        return self.x.tensor.with_shape(sized(d * r for d, r in zip(self.x.shape, reps, strict=True)))

    def reference(self, x: Array, reps: Array) -> Array:
        times = [int(r) for r in reps.tolist()]
        claim([n * r for n, r in zip(x.shape, times, strict=True)], x.itemsize)
        return np.tile(x, times)


class pad(Op):
    """``x`` with elements added around its last dimensions.

    ``pad`` holds a pair (before, after) for each of the last ``len(pad) / 2`` dimensions, in order. ``constant`` adds
    ``constant_val``, and a negative amount takes elements away there; ``reflect`` mirrors without repeating the edge,
    by less than the dimension's size; ``replicate`` repeats the edge of a dimension that is not empty, by any amount.
    """

    T = TypeVar(fp16, fp32)

    x = Operand(T)
    pad = Operand(int32, rank=1)
    mode = Const(str, default="constant", choices=("constant", "reflect", "replicate"))
    constant_val = Const(float, T, default=0.0)
    traits = (DataMovement,)

    def infer(self) -> Type:
        length = known_length(self.pad, "'pad'")
        rank, count = self.x.rank, length // 2
        if length % 2 or count > rank:
            raise self.misfit("'pad' has two elements for each of the last axes", expected=f"up to {2 * rank}, even")
        kept, padded = self.x.shape[: rank - count], self.x.shape[rank - count :]
        amounts = sizes_of(self.pad)
        if amounts is None:
            grown: list[Dim] = [dims.unknown() for _ in padded]
        else:
            pairs = list(zip(amounts[::2], amounts[1::2], strict=True))
            for dim, pair in zip(padded, pairs, strict=True):
                for amount in pair:
                    self._check(dim, amount)
            grown = [before + d + after for d, (before, after) in zip(padded, pairs, strict=True)]
        return self.x.tensor.with_shape(sized((*kept, *grown)))

    def _check(self, dim: Dim, amount: Dim) -> None:
        if self.mode == "constant":
            return
        if dims.always_lt(amount, 0):
            raise DimError(f"padding by '{self.mode}' is not negative", actual=amount)
        if self.mode == "reflect" and dims.always_le(dim, amount) and amount != 0:
            raise DimError("padding by 'reflect' is less than the dimension", expected=f"below {dim}", actual=amount)
        if self.mode == "replicate" and dim == 0 and dims.always_lt(0, amount):
            raise DimError("an empty dimension has no edge to repeat", actual=amount)

    def reference(self, x: Array, pad: Array, mode: str, constant_val: float) -> Array:
        amounts = [0] * (2 * x.ndim - len(pad)) + [int(n) for n in pad]
        pairs = list(zip(amounts[::2], amounts[1::2], strict=True))
        for size, pair in zip(x.shape, pairs, strict=True):
            for amount in pair:
                self._check(size, amount)
        claim([before + size + after for size, (before, after) in zip(x.shape, pairs, strict=True)], x.itemsize)
        cropped = x[tuple(slice(max(0, -b), n - max(0, -a)) for n, (b, a) in zip(x.shape, pairs, strict=True))]
        grown = [(max(0, before), max(0, after)) for before, after in pairs]
        if mode == "constant":
            return np.pad(cropped, grown, constant_values=x.dtype.type(constant_val))
        return np.pad(cropped, grown, mode="reflect" if mode == "reflect" else "edge")


# --- order and position ----------------------------------------------------------------------------------------------


def _order(x: Array, axis: int, ascending: bool) -> Array:
    """Indices that sort along an axis. Of equal elements the first comes first; a NaN is greater than all numbers."""
    if ascending:
        return np.argsort(x, axis, kind="stable")
    from_the_end = np.argsort(np.flip(x, axis), axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(from_the_end, axis)


class argsort(Op):
    """Indices that sort ``x`` along ``axis``, in descending order unless ``ascending``.

    Equal elements keep their order, in both directions; a NaN counts as greater than all numbers.
    """

    T = TypeVar(fp16, fp32, int32)

    x = Operand(T)
    axis = Const(int, default=-1)
    ascending = Const(bool, default=False)
    traits = (Exact,)

    def infer(self) -> Type:
        normalized_axis(self.axis, self.x.rank, self)
        return TensorType(int32, self.x.shape)

    def reference(self, x: Array, axis: int, ascending: bool) -> Array:
        return _order(x, axis, ascending)


class topk(Op):
    """The ``k`` largest elements along ``axis``, or the smallest with ``ascending``, and their indices.

    They come in order, also where ``sort`` is false and any order would do. Of equal elements the first comes first,
    and is taken first; a NaN counts as greater than all numbers. A ``k`` of -1 takes all; one above the dimension is an
    error.
    """

    T = TypeVar(fp16, fp32, int32).also(iOS17, int8, int16, uint8, uint16)
    K = TypeVar(int32).also(iOS17, int8, int16)

    x = Operand(T)
    k = Const(int, K, default=1)
    axis = Const(int, default=-1)
    ascending = Const(bool, default=False)
    sort = Const(bool, default=True, since=iOS16)
    return_indices = Const(bool, default=True, since=iOS16)
    output_indices_dtype = Const(str, default="int32", choices=("int32", "uint16"), since=iOS17)
    traits = (Exact,)

    def infer(self) -> Sequence[Type]:
        axis, source = normalized_axis(self.axis, self.x.rank, self), self.x.tensor
        count = source.shape[axis] if self.k == -1 else self.k
        if dims.always_lt(source.shape[axis], count) or self.k < -1:
            raise self.misfit("'k' is at most the dimension", expected=f"0 to {source.shape[axis]}", actual=self.k)
        values = source.with_shape((*source.shape[:axis], count, *source.shape[axis + 1 :]))
        indices = values.with_dtype(uint16 if self.output_indices_dtype == "uint16" else int32)
        return [values, indices] if self.return_indices else [values]

    def reference(self, x: Array, k: int, axis: int, ascending: bool) -> list[Array] | tuple[Array]:
        if k > x.shape[axis]:
            raise ValueError(f"{k} elements of a dimension of size {x.shape[axis]} are asked for")
        order = _order(x, axis, ascending)
        chosen = order if k == -1 else np.take(order, range(k), axis)
        values = np.take_along_axis(x, chosen, axis)
        return [values, chosen] if self.return_indices else (values,)


class cumsum(Op):
    """Sums of the elements along ``axis`` up to each, without itself if ``exclusive``, from the end if ``reverse``.

    Integers wrap. Each sum of floats is rounded once, not at every step.
    """

    T = TypeVar(fp16, fp32, int32)

    x = Operand(T)
    axis = Const(int, default=0)
    exclusive = Const(bool, default=False)
    reverse = Const(bool, default=False)

    def infer(self) -> Type:
        normalized_axis(self.axis, self.x.rank, self)
        return self.x.type

    def reference(self, x: Array, axis: int, exclusive: bool, reverse: bool) -> Array:
        ordered = np.moveaxis(np.flip(x, axis) if reverse else x, axis, 0)
        sums = np.cumsum(ordered, 0)
        if exclusive:
            sums = np.concatenate([np.zeros_like(sums[:1]), sums[:-1]])
        back = np.moveaxis(sums, 0, axis)
        return np.flip(back, axis) if reverse else back


class band_part(Op):
    """Matrices (the last two axes) with zeros outside a band around the diagonal.

    Row m and column n are in the band where ``m - n ≤ lower`` and ``n - m ≤ upper``; a negative limit is none.
    """

    x = Operand(ANY_BASIC, rank=(2, 64))
    lower = Const(int, default=-1)
    upper = Const(int, default=-1)
    traits = (DataMovement,)

    def infer(self) -> Type:
        return self.x.type

    def reference(self, x: Array, lower: int, upper: int) -> Array:
        below = np.arange(x.shape[-2])[:, None] - np.arange(x.shape[-1])
        inside = np.logical_and(lower < 0 or below <= lower, upper < 0 or -below <= upper)
        return np.where(inside, x, np.zeros((), x.dtype))


class non_zero(Op):
    """Indices of the elements that are not 0, one row each, in row-major order. A NaN is not 0."""

    x = Operand(ANY_BASIC)
    traits = (Exact, DataDependentShape)

    def infer(self) -> Type:
        return TensorType(int32, (dims.unknown(upper=dims.bounds(dims.product(self.x.shape))[1]), self.x.rank))

    def reference(self, x: Array) -> Array:
        return np.argwhere(x)


class one_hot(Op):
    """For each index a vector along a new ``axis``: ``on_value`` at the index, ``off_value`` elsewhere.

    An index outside 0 to ``one_hot_vector_size - 1``, negative ones included, gives a vector of ``off_value`` only. The
    type is that of the values, int32 where neither is given (1 and 0 then).
    """

    T = TypeVar(fp16, fp32, int32, bool_)

    indices = Operand(int32)
    one_hot_vector_size = Operand(int32, rank=0)
    axis = Const(int, default=-1)
    on_value = OptionalOperand(T, const=True, rank=0)
    off_value = OptionalOperand(T, const=True, rank=0)
    traits = (DataMovement,)

    def infer(self) -> Type:
        given = self.on_value or self.off_value
        size = self.one_hot_vector_size.contents
        shape = list(self.indices.shape)
        shape.insert(normalized_axis(self.axis, len(shape) + 1, self), dims.unknown() if size is None else size.item())
        return TensorType(int32 if given is None else given.dtype, sized(shape))

    def reference(
        self, indices: Array, one_hot_vector_size: Array, axis: int, on_value: Array | None, off_value: Array | None
    ) -> Array:
        size = int(one_hot_vector_size)
        dtype = next((v.dtype for v in (on_value, off_value) if v is not None), np.dtype(np.int32))
        claim((*indices.shape, size), dtype.itemsize)
        hot = indices[..., None] == np.arange(size)
        on = np.ones((), dtype) if on_value is None else on_value
        off = np.zeros((), dtype) if off_value is None else off_value
        return np.moveaxis(np.where(hot, on, off), -1, axis)


OPS = (
    argsort,
    band_part,
    concat,
    cumsum,
    fill,
    fill_like,
    flatten2d,
    identity,
    non_zero,
    one_hot,
    pad,
    range_1d,
    shape,
    split,
    stack,
    tile,
    topk,
)
