"""Gathering from and scattering to places that are data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gristmill.frontends.torch.context import Context, Number, Size, static_shape
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.program import Value
from gristmill.ir.types import DType


def _carried(x: Value | DType) -> DType:
    """Gathering and scattering move numbers only, so truth values travel as integers."""
    dtype = x.dtype if isinstance(x, Value) else x
    return types.int32 if dtype == types.bool_ else dtype


# --- x[i, j, …] ------------------------------------------------------------------------------------------------------


@lowers("aten.index.Tensor", "aten._unsafe_index.Tensor")
def index(ctx: Context, x: Value, indices: Sequence[Value | None]) -> Value:
    """NumPy's rule: index tensors are broadcast; their axes stand where the first was, or in front if apart."""
    places, axes = _places(ctx, indices)
    source = ctx.cast(x, _carried(x))
    if not places:
        return x
    if len(places) == 1:
        return ctx.cast(ctx.mb.gather(x=source, indices=places[0], axis=axes[0]), x.dtype)
    coordinates = _joined(ctx, places, [x.shape[axis] for axis in axes])
    rest = [axis for axis in range(x.rank) if axis not in axes]
    taken = ctx.mb.gather_nd(x=ctx.transpose(source, [*axes, *rest]), indices=coordinates)
    return ctx.cast(_placed(ctx, taken, coordinates.rank - 1, axes), x.dtype)


def _places(ctx: Context, indices: Sequence[Value | None]) -> tuple[list[Value], list[int]]:
    """Index tensors and the axes they index; a mask indexes as many axes as it has, by where it is true."""
    places: list[Value] = []
    axes: list[int] = []
    axis = 0
    for item in indices:
        if item is None:
            axis += 1
        elif item.dtype == types.bool_:
            true = ctx.mb.non_zero(x=item)
            for k in range(item.rank):
                places.append(ctx.mb.squeeze(x=ctx.slice(true, 1, k, k + 1), axes=[1]))
                axes.append(axis + k)
            axis += item.rank
        else:
            places.append(item)
            axes.append(axis)
            axis += 1
    return places, axes


def _joined(ctx: Context, places: Sequence[Value], sizes: Sequence[object]) -> Value:
    """Index tensors broadcast to one shape and joined along a new last axis."""
    rank = max(place.rank for place in places)
    known = [ctx.static(place) for place in places]
    if all(array is not None for array in known) and all(isinstance(size, int) for size in sizes):
        arrays = np.broadcast_arrays(*(array for array in known if array is not None))
        joined = np.stack([np.where(a < 0, a + n, a) for a, n in zip(arrays, sizes, strict=True)], axis=-1)
        return ctx.mb.const(joined.astype(np.int32))
    target = [_common_size(ctx, places, axis - rank) for axis in range(rank)]
    spread = [ctx.expand(place, target) for place in places]
    return ctx.mb.stack(values=spread, axis=rank)


def _common_size(ctx: Context, places: Sequence[Value], axis: int) -> Size:
    """The size of an axis, counted from the end, to which values are broadcast."""
    sized = [place for place in places if place.rank >= -axis and place.shape[axis] != 1]
    return ctx.size(sized[0], axis) if sized else 1


def _placed(ctx: Context, taken: Value, index_rank: int, axes: Sequence[int]) -> Value:
    """Moves the index's axes from the front to where the first indexed axis was, where the indexed ones adjoin."""
    if list(axes) != list(range(axes[0], axes[0] + len(axes))) or axes[0] == 0:
        return taken
    front = list(range(index_rank, index_rank + axes[0]))
    back = list(range(index_rank + axes[0], taken.rank))
    return ctx.transpose(taken, [*front, *range(index_rank), *back])


@lowers("aten.index_put.default", "aten._unsafe_index_put.default")
def index_put(
    ctx: Context, x: Value, indices: Sequence[Value | None], values: Value, accumulate: bool = False
) -> Value:
    """``x[i, j, …] = values``, or ``+=``."""
    present = [item for item in indices if item is not None]
    single = all(dim == 1 for dim in values.shape)
    if len(present) == 1 and present[0].dtype == types.bool_ and single:
        return _put_where(ctx, x, present[0], list(indices).index(present[0]), values, accumulate)
    dtype = _carried(x)
    places, axes = _places(ctx, indices)
    coordinates = _joined(ctx, places, [x.shape[axis] for axis in axes])
    rest = [axis for axis in range(x.rank) if axis not in axes]
    perm = [*axes, *rest]
    data = ctx.transpose(ctx.cast(x, dtype), perm)
    updates = _updates(ctx, ctx.cast(values, dtype), coordinates, data, axes)
    mode = "add" if accumulate else "update"
    put = ctx.mb.scatter_nd(data=data, indices=coordinates, updates=updates, mode=mode)
    return ctx.cast(ctx.transpose(put, [int(axis) for axis in np.argsort(perm)]), x.dtype)


def _put_where(ctx: Context, x: Value, mask: Value, axis: int, values: Value, accumulate: bool) -> Value:
    behind = x.rank - axis - mask.rank
    if behind:
        mask = ctx.mb.expand_dims(x=mask, axes=[mask.rank + k for k in range(behind)])
    value = ctx.reshape(ctx.cast(values, x.dtype), [])
    if accumulate:
        value = ctx.mb.add(x=x, y=value)
    return ctx.mb.select(cond=mask, a=value, b=x)


def _updates(ctx: Context, values: Value, coordinates: Value, data: Value, axes: Sequence[int]) -> Value:
    """New elements in the layout of a scatter: the index's axes first, then the axes that are not indexed."""
    index_rank = coordinates.rank - 1
    shape = [ctx.size(coordinates, k) for k in range(index_rank)]
    rest = [ctx.size(data, k) for k in range(len(axes), data.rank)]
    if list(axes) == list(range(axes[0], axes[0] + len(axes))):
        before = rest[: axes[0]]
        spread = ctx.expand(values, [*before, *shape, *rest[axes[0] :]])
        inner = range(len(before), len(before) + index_rank)
        others = [k for k in range(spread.rank) if k not in inner]
        return ctx.transpose(spread, [*inner, *others])
    return ctx.expand(values, [*shape, *rest])


# --- along one axis --------------------------------------------------------------------------------------------------


@lowers("aten.gather.default")
def gather(ctx: Context, x: Value, dim: int, index: Value, sparse_grad: bool = False) -> Value:
    """``x[i][index[i][j]]``; axes of the index may be shorter than those of x."""
    if x.rank == 0:
        return ctx.reshape(x, [*ctx.sizes(index)])
    source = ctx.cast(x, _carried(x))
    for axis in range(x.rank):
        size = index.shape[axis]
        if axis != dim % x.rank and size != x.shape[axis] and isinstance(size, int):
            source = ctx.slice(source, axis, 0, size)
    return ctx.cast(ctx.mb.gather_along_axis(x=source, indices=index, axis=dim % x.rank), x.dtype)


@lowers("aten.index_select.default")
def index_select(ctx: Context, x: Value, dim: int, index: Value) -> Value:
    if x.rank == 0:
        return x
    if index.rank == 0:
        index = ctx.reshape(index, [1])
    taken = ctx.mb.gather(x=ctx.cast(x, _carried(x)), indices=index, axis=dim % x.rank)
    return ctx.cast(taken, x.dtype)


@lowers("aten.take.default")
def take(ctx: Context, x: Value, index: Value) -> Value:
    flat = ctx.reshape(ctx.cast(x, _carried(x)), [-1])
    return ctx.cast(ctx.mb.gather(x=flat, indices=index, axis=0), x.dtype)


@lowers("aten.scatter.src", "aten.scatter.value")
def scatter(ctx: Context, x: Value, dim: int, index: Value, source: Value | Number) -> Value:
    return scattered(ctx, x, dim, index, source, "update")


@lowers("aten.scatter_add.default")
def scatter_add(ctx: Context, x: Value, dim: int, index: Value, source: Value) -> Value:
    return scattered(ctx, x, dim, index, source, "add")


@lowers("aten.scatter.reduce", "aten.scatter.value_reduce")
def scatter_with_mode(ctx: Context, x: Value, dim: int, index: Value, source: Value | Number, *, reduce: str) -> Value:
    return scattered(ctx, x, dim, index, source, {"add": "add", "multiply": "mul"}[reduce])


_MODES = {"sum": ("add", 0.0), "mean": ("add", 0.0), "prod": ("mul", 1.0), "amax": ("max", 0.0), "amin": ("min", 0.0)}


@lowers("aten.scatter_reduce.two")
def scatter_reduce(
    ctx: Context, x: Value, dim: int, index: Value, source: Value, reduce: str, *, include_self: bool = True
) -> Value:
    """Elements that meet at one place are combined, with x's own or without it."""
    mode, neutral = _MODES[reduce]
    if not include_self:
        if mode in ("max", "min"):
            integer = x.dtype.is_integer
            low, high = (types.int32.min, types.int32.max) if integer else (float("-inf"), float("inf"))
            neutral = low if mode == "max" else high
        x = scattered(ctx, x, dim, index, neutral if x.dtype.is_float else int(neutral), "update")
    y = scattered(ctx, x, dim, index, source, mode)
    if reduce != "mean":
        return y
    ones = ctx.full(ctx.sizes(x), 1 if include_self else 0, x.dtype)
    counts = scattered(ctx, ones, dim, index, 1, "add")
    counts = ctx.mb.maximum(x=counts, y=ctx.number(1, x.dtype))
    return ctx.mb.floor_div(x=y, y=counts) if x.dtype.is_integer else ctx.mb.real_div(x=y, y=counts)


def scattered(ctx: Context, x: Value, dim: int, index: Value, source: Value | Number, mode: str) -> Value:
    """Scatters along an axis. Core ML wants the other axes equal; a shorter index goes by full coordinates."""
    if x.rank == 0:
        x, index = ctx.reshape(x, [1]), ctx.reshape(index, [1])
        source = ctx.reshape(source, [1]) if isinstance(source, Value) else source
        return ctx.reshape(scattered(ctx, x, 0, index, source, mode), [])
    dim %= x.rank
    dtype = _carried(x)
    if isinstance(source, Value):
        updates = ctx.cast(source, dtype)
        for axis in range(x.rank):
            size = index.shape[axis]
            if size != updates.shape[axis] and isinstance(size, int):
                updates = ctx.slice(updates, axis, 0, size)
    else:
        updates = ctx.full(ctx.sizes(index), source, dtype)
    data = ctx.cast(x, dtype)
    if all(index.shape[axis] == x.shape[axis] for axis in range(x.rank) if axis != dim):
        put = ctx.mb.scatter_along_axis(data=data, indices=index, updates=updates, axis=dim, mode=mode)
        return ctx.cast(put, x.dtype)
    shape = static_shape(index.shape)
    if shape is None:
        raise ctx.unsupported("scattering by an index whose shape is only known at run time")
    grid = np.indices(shape, dtype=np.int32)
    places = [index if axis == dim else ctx.mb.const(np.ascontiguousarray(grid[axis])) for axis in range(x.rank)]
    put = ctx.mb.scatter_nd(data=data, indices=ctx.mb.stack(values=places, axis=x.rank), updates=updates, mode=mode)
    return ctx.cast(put, x.dtype)


@lowers("aten.index_add.default")
def index_add(ctx: Context, x: Value, dim: int, index: Value, source: Value, *, alpha: Number = 1) -> Value:
    if alpha != 1:
        source = ctx.mb.mul(x=source, y=ctx.number(alpha, source.dtype))
    return _scatter_slices(ctx, x, dim, index, source, "add")


@lowers("aten.index_copy.default")
def index_copy(ctx: Context, x: Value, dim: int, index: Value, source: Value) -> Value:
    return _scatter_slices(ctx, x, dim, index, source, "update")


@lowers("aten.index_fill.int_Scalar", "aten.index_fill.int_Tensor")
def index_fill(ctx: Context, x: Value, dim: int, index: Value, value: Value | Number) -> Value:
    sizes = ctx.sizes(x)
    sizes[dim % x.rank] = ctx.size(index, 0) if index.rank else 1
    if isinstance(value, Value):
        source = ctx.expand(ctx.cast(value, x.dtype), sizes)
    else:
        source = ctx.full(sizes, value, x.dtype)
    return _scatter_slices(ctx, x, dim, index, source, "update")


def _scatter_slices(ctx: Context, x: Value, dim: int, index: Value, source: Value, mode: str) -> Value:
    dtype = _carried(x)
    index = index if index.rank else ctx.reshape(index, [1])
    put = ctx.mb.scatter(
        data=ctx.cast(x, dtype), indices=index, updates=ctx.cast(source, dtype), axis=dim % x.rank, mode=mode
    )
    return ctx.cast(put, x.dtype)


# --- masks -----------------------------------------------------------------------------------------------------------


@lowers("aten.masked_scatter.default")
def masked_scatter(ctx: Context, x: Value, mask: Value, source: Value) -> Value:
    """The n-th true place takes the n-th element of the source."""
    sizes = ctx.sizes(x)
    mask = ctx.expand(mask, sizes)
    order = ctx.mb.cumsum(x=ctx.cast(ctx.reshape(mask, [-1]), types.int32), axis=0)
    places = ctx.mb.maximum(x=ctx.mb.sub(x=order, y=1), y=0)
    flat = ctx.reshape(ctx.cast(source, _carried(x)), [-1])
    last = flat.shape[0]
    if isinstance(last, int):  # places behind the last true one are not looked at
        places = ctx.mb.minimum(x=places, y=last - 1)
    taken = ctx.reshape(ctx.mb.gather(x=flat, indices=places, axis=0), sizes)
    return ctx.mb.select(cond=mask, a=ctx.cast(taken, x.dtype), b=x)


@lowers("aten.masked_select.default")
def masked_select(ctx: Context, x: Value, mask: Value) -> Value:
    rank = max(x.rank, mask.rank)
    wider = x if x.rank == rank and all(dim != 1 for dim in x.shape) else mask
    sizes = ctx.sizes(wider)
    x, mask = ctx.expand(x, sizes), ctx.expand(mask, sizes)
    taken = ctx.mb.gather_nd(x=ctx.cast(x, _carried(x)), indices=ctx.mb.non_zero(x=mask))
    return ctx.cast(taken, x.dtype)


@lowers("aten.nonzero.default", "aten.argwhere.default")
def nonzero(ctx: Context, x: Value) -> Value:
    return ctx.mb.non_zero(x=x)


@lowers("aten.nonzero_numpy.default", "aten.where.default")
def nonzero_by_axis(ctx: Context, x: Value) -> list[Value]:
    places = ctx.mb.non_zero(x=x)
    return [ctx.mb.squeeze(x=ctx.slice(places, 1, axis, axis + 1), axes=[1]) for axis in range(x.rank)]


# --- repetition ------------------------------------------------------------------------------------------------------


@lowers("aten.repeat_interleave.self_int")
def repeat_interleave(ctx: Context, x: Value, repeats: Size, dim: int | None = None, **ignored: object) -> Value:
    if dim is None:
        x, dim = ctx.reshape(x, [-1]), 0
    dim %= x.rank
    sizes = ctx.sizes(x)
    spread = ctx.mb.tile(
        x=ctx.mb.expand_dims(x=x, axes=[dim + 1]),
        reps=ctx.vector([repeats if axis == dim + 1 else 1 for axis in range(x.rank + 1)]),
    )
    size = sizes[dim]
    joined = size * repeats if isinstance(size, int) and isinstance(repeats, int) else -1
    return ctx.reshape(spread, [*sizes[:dim], joined, *sizes[dim + 1 :]])


@lowers("aten.repeat_interleave.self_Tensor")
def repeat_each(
    ctx: Context, x: Value, repeats: Value, dim: int | None = None, *, output_size: int | None = None
) -> Value:
    if dim is None:
        x, dim = ctx.reshape(x, [-1]), 0
    return index_select(ctx, x, dim, repeated_places(ctx, repeats, x.shape[dim % x.rank]))


@lowers("aten.repeat_interleave.Tensor")
def repeat_places(ctx: Context, repeats: Value, *, output_size: int | None = None) -> Value:
    return repeated_places(ctx, repeats, repeats.shape[0])


def repeated_places(ctx: Context, repeats: Value, count: object) -> Value:
    """Place i, ``repeats[i]`` times: position p belongs to the first i whose running total exceeds p."""
    known = ctx.static(repeats)
    if known is not None and isinstance(count, int):
        return ctx.mb.const(np.repeat(np.arange(count, dtype=np.int32), known.reshape(-1)))
    if repeats.rank == 0 or repeats.shape == (1,):
        repeats = ctx.expand(ctx.reshape(repeats, [1]), [count if isinstance(count, int) else -1])
    totals = ctx.mb.cumsum(x=repeats, axis=0)
    whole = ctx.mb.reduce_sum(x=repeats, axes=[0], keep_dims=False)
    position = ctx.mb.expand_dims(x=ctx.mb.range_1d(start=0, end=whole, step=1), axes=[1])
    passed = ctx.cast(ctx.mb.greater_equal(x=position, y=totals), types.int32)
    return ctx.mb.reduce_sum(x=passed, axes=[1], keep_dims=False)
