"""Slices of tensors, read and replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gristmill.errors import DimError
from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.dims import Dim, Shape, Symbol
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS13, iOS17, iOS18
from gristmill.ir.program import Value
from gristmill.ir.signature import ByOpset, Const, Operand, TypeVar
from gristmill.ir.traits import DataMovement, ShapeArithmetic
from gristmill.ir.types import Type, bool_, fp16, fp32, int8, int16, int32, uint8, uint16
from gristmill.ops.sizes import agree, sized, sizes_of

T = TypeVar(fp16, fp32, int32, bool_).also(iOS17, int8, int16, uint8, uint16)
U = TypeVar(int8, int16, int32)


@dataclass(frozen=True)
class _Along:
    """What is taken along one axis; ``None`` is as far as the axis goes."""

    begin: Dim | None
    end: Dim | None
    stride: int
    single: bool

    def size(self, dim: Dim) -> Dim:
        """How many elements, by NumPy's rules for slices."""
        step = abs(self.stride)
        if self.stride > 0:
            first = _within(self.begin, 0, dim, 0)
            last = _within(self.end, dim, dim, 0)
            return dims.maximum(dims.ceil_div(last - first, step), 0)
        first = _within(self.begin, dim - 1, dim, -1)
        last = _within(self.end, -1, dim, -1)
        return dims.maximum(dims.ceil_div(first - last, step), 0)

    def key(self, size: int) -> int | slice:
        """As NumPy indexes an axis of ``size`` with it."""
        if not self.single:
            return slice(self.begin, self.end, self.stride)
        begin = 0 if self.begin is None else int(self.begin)
        if not -size <= begin < size:
            raise IndexError(f"index {begin} is out of range for a dimension of size {size}")
        return begin


def _within(place: Dim | None, default: Dim, dim: Dim, low: int) -> Dim:
    """A slice's limit counted from the front and held between ``low`` and ``dim + low``.

    Raises:
        DimError: Its sign is not known, so it cannot be said from where it counts.
    """
    if place is None:
        return default
    return dims.maximum(dims.minimum(_from_front(place, dim), dim + low), low)


def _from_front(place: Dim, dim: Dim) -> Dim:
    """A place counted from the front.

    Raises:
        DimError: Its sign is not known.
    """
    least, most = dims.bounds(place)
    if most is not None and most < 0:
        return place + dim
    if least is None or least < 0:
        raise DimError(f"whether {place} counts from the front or the end is not known")
    return place


class _Slices(Op):
    """What ops share that name a slice by begin, end and stride on each axis."""

    x = Operand(T)
    begin = Operand(ByOpset({iOS13: int32, iOS17: U}), rank=1)
    end = Operand(ByOpset({iOS13: int32, iOS17: U}), rank=1)
    stride = Const.ints(ByOpset({iOS13: int32, iOS17: U}), default=None)
    begin_mask = Const.bools(default=None)
    end_mask = Const.bools(default=None)
    squeeze_mask = Const.bools(default=None)

    def _sliced(self) -> Shape:
        """The slice's shape."""
        begin, end = sizes_of(self.begin), sizes_of(self.end)
        rank = self.x.rank
        for name, operand in (("begin", self.begin), ("end", self.end)):
            if dims.never_equal(operand.shape[0], rank):
                raise self.misfit(f"'{name}' has an element for each axis", expected=rank, actual=operand.shape[0])
        unknown: list[Dim | None] = [None] * rank
        shape: list[Dim] = []
        along = self._along(begin or unknown, end or unknown, rank)
        for axis, (dim, taken) in enumerate(zip(self.x.shape, along, strict=True)):
            if taken.single:
                continue
            shape.append(self._size(axis, dim, taken, begin is not None, end is not None))
        return sized(shape)

    def _size(self, axis: int, dim: Dim, taken: _Along, begin_known: bool, end_known: bool) -> Dim:
        known = (begin_known or self._mask("begin_mask")[axis]) and (end_known or self._mask("end_mask")[axis])
        if known:
            try:
                return taken.size(dim)
            except DimError:
                pass
        return dims.unknown(upper=dims.bounds(dim)[1])

    def _mask(self, name: str) -> Sequence[bool]:
        return getattr(self, name) or [False] * self.x.rank

    def _along(self, begin: Sequence[Dim | None], end: Sequence[Dim | None], rank: int) -> list[_Along]:
        stride = self.stride or [1] * rank
        masks = [self._mask(name) for name in ("begin_mask", "end_mask", "squeeze_mask")]
        if any(len(part) != rank for part in (begin, end, stride, *masks)):
            raise self.misfit("begin, end, stride and masks have an element for each axis", expected=rank)
        if 0 in stride:
            raise self.misfit("a stride is not 0", actual=list(stride))
        return [
            _Along(None if ignore_b else b, None if ignore_e else e, s, bool(single))
            for b, e, s, ignore_b, ignore_e, single in zip(begin, end, stride, *masks, strict=True)
        ]

    def starts(self) -> list[Dim] | None:
        """The first element taken on each axis, counted from the front; ``None`` where that is not known."""
        begin = sizes_of(self.begin)
        if begin is None and not all(self._mask("begin_mask")):
            return None
        unknown: list[Dim | None] = [None] * self.x.rank
        found: list[Dim] = []
        for taken, dim in zip(self._along(begin or unknown, unknown, self.x.rank), self.x.shape, strict=True):
            default, low = (0, 0) if taken.stride > 0 or taken.single else (dim - 1, -1)
            try:
                found.append(_within(taken.begin, default, dim, low))
            except DimError:
                return None
        return found

    def _key(self, x: Array, begin: Array, end: Array) -> tuple[int | slice, ...]:
        along = self._along(begin.tolist(), end.tolist(), x.ndim)
        return tuple(a.key(n) for a, n in zip(along, x.shape, strict=True))


class slice_by_index(_Slices):
    """``x[begin[0]:end[0]:stride[0], …]`` by NumPy's rules: negative limits count from the end, and all are clamped.

    Where ``begin_mask`` or ``end_mask`` is true the slice goes as far as the axis does in the stride's direction. Where
    ``squeeze_mask`` is true the single element at ``begin`` is taken and the axis dropped; it must be within range. An
    empty slice gives an empty tensor.
    """

    traits = (DataMovement, ShapeArithmetic)

    def infer(self) -> Type:
        return self.x.tensor.with_shape(self._sliced())

    def reference(self, x: Array, begin: Array, end: Array) -> Array:
        return np.asarray(x[self._key(x, begin, end)], dtype=x.dtype)


class slice_update(_Slices):
    """``x`` with the slice that ``slice_by_index`` would take replaced by ``update``, which has the slice's shape."""

    since = iOS18
    update = Operand(T)
    traits = (DataMovement, ShapeArithmetic)

    def infer(self) -> Type:
        wanted = self._sliced()
        shape = self.update.shape
        if len(shape) != len(wanted) or any(agree(a, b) is None for a, b in zip(wanted, shape, strict=True)):
            raise self.misfit("'update' has the slice's shape", expected=list(wanted), actual=list(shape))
        return self.x.type

    @property
    def slice_shape(self) -> Shape | None:
        """The shape of what is replaced; ``None`` where begin and end do not tell."""
        shape = self._sliced()
        return None if any(isinstance(size, Symbol) and dims.is_unknown(size) for size in shape) else shape

    def reference(self, x: Array, update: Array, begin: Array, end: Array) -> Array:
        result = x.copy()
        key = self._key(x, begin, end)
        if result[key].shape != update.shape:
            raise ValueError(f"'update' has shape {list(update.shape)}, the slice {list(result[key].shape)}")
        result[key] = update
        return result


class slice_by_size(Op):
    """``size`` elements of each axis from ``begin`` on; a size of -1 takes all that remain.

    A negative ``begin`` counts from the end. A slice that does not lie within ``x`` is an error.
    """

    x = Operand(T)
    begin = Operand(ByOpset({iOS13: int32, iOS17: U}), rank=1)
    size = Operand(ByOpset({iOS13: int32, iOS17: U}), rank=1)
    traits = (DataMovement, ShapeArithmetic)

    def infer(self) -> Type:
        rank = self.x.rank
        for name, operand in (("begin", self.begin), ("size", self.size)):
            if dims.never_equal(operand.shape[0], rank):
                raise self.misfit(f"'{name}' has an element for each axis", expected=rank, actual=operand.shape[0])
        return self.x.tensor.with_shape(sized(self._sizes(self.begin, self.size)))

    def _sizes(self, begin: Value, size: Value) -> list[Dim]:
        begins, sizes = sizes_of(begin), sizes_of(size)
        found: list[Dim] = []
        for axis, dim in enumerate(self.x.shape):
            wanted = None if sizes is None else sizes[axis]
            if isinstance(wanted, int) and wanted < -1:
                raise self.misfit("a size is -1 or not negative", actual=sizes)
            if wanted is None or (wanted == -1 and begins is None):
                found.append(dims.unknown(upper=dims.bounds(dim)[1]))
            elif wanted == -1:
                assert begins is not None
                found.append(self._rest(dim, begins[axis]))
            else:
                found.append(wanted)
        return found

    def starts(self) -> list[Dim] | None:
        """The first element taken on each axis, counted from the front; ``None`` where that is not known."""
        begin = sizes_of(self.begin)
        try:
            return begin and [_from_front(place, dim) for place, dim in zip(begin, self.x.shape, strict=True)]
        except DimError:
            return None

    @staticmethod
    def _rest(dim: Dim, begin: Dim) -> Dim:
        try:
            return dim - _within(begin, 0, dim, 0)
        except DimError:
            return dims.unknown(upper=dims.bounds(dim)[1])

    def reference(self, x: Array, begin: Array, size: Array) -> Array:
        key = []
        for n, start, count in zip(x.shape, begin.tolist(), size.tolist(), strict=True):
            first = start + n if start < 0 else start
            last = n if count == -1 else first + count
            if not 0 <= first <= last <= n:
                raise IndexError(f"{count} elements from {start} on do not lie within a dimension of size {n}")
            key.append(slice(first, last))
        return x[tuple(key)]


OPS = (slice_by_index, slice_by_size, slice_update)
