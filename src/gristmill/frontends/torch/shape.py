"""Rearranging: views, slices, joining, splitting, padding. Views are values here, so nothing aliases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from gristmill.frontends.torch.context import Complex, Context, Number, Size, positive_axes
from gristmill.frontends.torch.linear import diagonal_of
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.program import Value

F = TypeVar("F", bound=Callable[..., Any])


def on_parts(function: F) -> F:
    """Makes a lowering that moves elements work on complex tensors: it is applied to both parts."""

    def lowering(ctx: Context, x: Any, *arguments: Any) -> Any:
        if not isinstance(x, Complex):
            return function(ctx, x, *arguments)
        real, imag = function(ctx, x.real, *arguments), function(ctx, x.imag, *arguments)
        if isinstance(real, list):
            return [Complex(a, b) for a, b in zip(real, imag, strict=True)]
        return Complex(real, imag)

    return cast(F, lowering)


# --- one shape for another -------------------------------------------------------------------------------------------


@lowers("aten.view.default", "aten._unsafe_view.default", "aten.reshape.default", "aten._reshape_copy.default")
@on_parts
def view(ctx: Context, x: Value, shape: Sequence[Size]) -> Value:
    return ctx.reshape(x, shape)


@lowers("aten.reshape_as.default", "aten.view_as.default")
def view_as(ctx: Context, x: Value, other: Value) -> Value:
    return ctx.reshape(x, ctx.sizes(other))


@lowers("aten.flatten.using_ints")
@on_parts
def flatten(ctx: Context, x: Value, start: int, end: int) -> Value:
    if x.rank == 0:
        return ctx.reshape(x, [1])
    start, end = start % x.rank, end % x.rank
    if start == end:
        return x
    joined: Size = 1
    for axis in range(start, end + 1):
        dim = x.shape[axis]
        if not isinstance(dim, int) or not isinstance(joined, int):
            joined = -1
            break
        joined *= dim
    sizes = [ctx.size(x, axis) for axis in range(x.rank) if not start <= axis <= end]
    if joined == -1 and any(isinstance(size, Value) for size in sizes):
        joined = ctx.mb.reduce_prod(x=ctx.vector([ctx.size(x, a) for a in range(start, end + 1)]), keep_dims=False)
    return ctx.reshape(x, [*sizes[:start], joined, *sizes[start:]])


@lowers("aten.unflatten.int")
def unflatten(ctx: Context, x: Value, dim: int, sizes: Sequence[Size]) -> Value:
    dim %= x.rank
    return ctx.reshape(
        x, [*(ctx.size(x, a) for a in range(dim)), *sizes, *(ctx.size(x, a) for a in range(dim + 1, x.rank))]
    )


@lowers("aten.squeeze")
@on_parts
def squeeze(ctx: Context, x: Value, dims: int | Sequence[int] | None = None) -> Value:
    axes = [axis for axis in positive_axes(dims, x.rank) if x.shape[axis] == 1]
    if isinstance(dims, list) and not dims:
        axes = []
    return ctx.mb.squeeze(x=x, axes=axes) if axes else x


@lowers("aten.unsqueeze.default")
@on_parts
def unsqueeze(ctx: Context, x: Value, dim: int) -> Value:
    return ctx.mb.expand_dims(x=x, axes=[dim % (x.rank + 1)])


@lowers("aten.permute.default", "aten.permute_copy.default")
@on_parts
def permute(ctx: Context, x: Value, dims: Sequence[int]) -> Value:
    return ctx.transpose(x, dims)


@lowers("aten.transpose.int", "aten.transpose_copy.int", "aten.swapaxes.default")
@on_parts
def transpose(ctx: Context, x: Value, first: int, second: int) -> Value:
    if x.rank == 0:
        return x
    perm = list(range(x.rank))
    perm[first], perm[second] = perm[second], perm[first]
    return ctx.transpose(x, perm)


@lowers("aten.t.default", "aten.t_copy.default", "aten.numpy_T.default")
@on_parts
def reverse_axes(ctx: Context, x: Value) -> Value:
    return ctx.transpose(x, list(reversed(range(x.rank))))


@lowers("aten.expand.default", "aten.expand_copy.default", "aten.broadcast_to.default")
@on_parts
def expand(ctx: Context, x: Value, shape: Sequence[Size]) -> Value:
    return ctx.expand(x, shape)


@lowers("aten.expand_as.default")
def expand_as(ctx: Context, x: Value, other: Value) -> Value:
    return ctx.expand(x, ctx.sizes(other))


@lowers("aten.repeat.default", "aten.tile.default")
@on_parts
def repeat(ctx: Context, x: Value, reps: Sequence[Size]) -> Value:
    if x.rank < len(reps):
        x = ctx.mb.expand_dims(x=x, axes=list(range(len(reps) - x.rank)))
    padded = [*[1] * (x.rank - len(reps)), *reps]
    if all(ctx.known(count) == 1 for count in padded):
        return x
    if any(ctx.known(count) == 0 for count in padded):
        shape = [0 if ctx.known(count) == 0 else ctx.size(x, axis) for axis, count in enumerate(padded)]
        return ctx.full(shape, 0, x.dtype)
    return ctx.mb.tile(x=x, reps=ctx.vector(padded))


@lowers("aten.as_strided.default", "aten.as_strided_copy.default")
def as_strided(
    ctx: Context, x: Value, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Value:
    """Gathers the elements that the strides address, in row-major order of a contiguous x."""
    places = np.full((), storage_offset or 0, np.int32)
    for axis, (count, step) in enumerate(zip(size, stride, strict=True)):
        along = np.arange(count, dtype=np.int32) * step
        places = places + along.reshape([-1 if a == axis else 1 for a in range(len(size))])
    flat = ctx.cast(ctx.reshape(x, [-1]), types.int32 if x.dtype == types.bool_ else x.dtype)
    taken = ctx.mb.gather(x=flat, indices=np.ascontiguousarray(places.reshape(-1)), axis=0)
    return ctx.cast(ctx.reshape(taken, list(size)), x.dtype)


# --- parts -----------------------------------------------------------------------------------------------------------


@lowers("aten.slice.Tensor", "aten.slice_copy.Tensor")
@on_parts
def slice_(ctx: Context, x: Value, dim: int, start: Size | None, end: Size | None, step: int = 1) -> Value:
    """PyTorch clamps both ends to the axis, Core ML does not."""
    begin, stop = slice_ends(ctx, x, dim, start, end)
    return ctx.slice(x, dim, begin, stop, step)


def slice_ends(ctx: Context, x: Value, dim: int, start: Size | None, end: Size | None) -> tuple[Size, Size | None]:
    """Both ends of a slice, clamped to the axis and counted from its start where that can be told now.

    The end is ``None`` where the slice reaches the end of the axis.
    """
    size = x.shape[dim]
    begin: Size = 0 if start is None else start
    stop: Size | None = end
    known_begin, known_end = ctx.known(begin), None if stop is None else ctx.known(stop)
    if known_end is not None and known_end >= types.int32.max:
        stop = known_end = None
    if isinstance(size, int):
        if known_begin is not None:
            begin = min(max(known_begin + size if known_begin < 0 else known_begin, 0), size)
        if known_end is not None:
            stop = min(max(known_end + size if known_end < 0 else known_end, 0), size)
            if isinstance(begin, int):
                stop = max(stop, begin)
            if stop == size:
                stop = None
        elif isinstance(stop, Value):
            stop = ctx.mb.minimum(x=stop, y=size)
    elif stop is not None and (known_end is None or known_end > 0):
        whole = ctx.size(x, dim)
        if ctx.dim(stop) == ctx.dim(whole):
            stop = None
        else:
            stop = ctx.mb.minimum(x=stop, y=whole)
    return begin, stop


@lowers("aten.narrow.default")
def narrow(ctx: Context, x: Value, dim: int, start: Size, length: Size) -> Value:
    if isinstance(start, Value) and start.rank:
        start = ctx.reshape(start, [])
    if isinstance(start, int) and isinstance(length, int):
        size = x.shape[dim]
        start = start + size if start < 0 and isinstance(size, int) else start
        return slice_(ctx, x, dim, start, start + length)
    return ctx.slice(x, dim, start, ctx.mb.add(x=start, y=length))


@lowers("aten.select.int", "aten.select_copy.int")
@on_parts
def select(ctx: Context, x: Value, dim: int, index: Size) -> Value:
    dim %= x.rank
    place = ctx.known(index)
    if place is None:
        carried = ctx.cast(x, types.int32) if x.dtype == types.bool_ else x
        return ctx.cast(ctx.mb.gather(x=carried, indices=index, axis=dim), x.dtype)
    here = [axis == dim for axis in range(x.rank)]
    last = place == -1
    return ctx.mb.slice_by_index(
        x=x,
        begin=[place if h else 0 for h in here],
        end=[place + 1 if h and not last else 0 for h in here],
        begin_mask=[not h for h in here],
        end_mask=[not h or last for h in here],
        squeeze_mask=here,
    )


@lowers("aten.unbind.int", "aten.unbind_copy.int")
@on_parts
def unbind(ctx: Context, x: Value, dim: int) -> list[Value]:
    count = x.shape[dim]
    if not isinstance(count, int):
        raise ctx.unsupported("taking apart an axis whose size is only known at run time", actual=count)
    return [select(ctx, x, dim, place) for place in range(count)]


@lowers("aten.split.Tensor", "aten.split_copy.Tensor")
@on_parts
def split(ctx: Context, x: Value, size: int, dim: int) -> list[Value]:
    total = x.shape[dim]
    if not isinstance(total, int):
        raise ctx.unsupported("splitting an axis whose size is only known at run time", actual=total)
    sizes = [min(size, total - start) for start in range(0, total, size)] if total else [0]
    return split_with_sizes(ctx, x, sizes, dim)


@lowers("aten.chunk.default")
@on_parts
def chunk(ctx: Context, x: Value, chunks: int, dim: int) -> list[Value]:
    total = x.shape[dim]
    if not isinstance(total, int):
        raise ctx.unsupported("splitting an axis whose size is only known at run time", actual=total)
    return split(ctx, x, max(-(-total // chunks), 1), dim)


@lowers("aten.split_with_sizes.default", "aten.split.sizes", "aten.split_with_sizes_copy.default")
@on_parts
def split_with_sizes(ctx: Context, x: Value, sizes: Sequence[Size], dim: int) -> list[Value]:
    known = [ctx.known(size) for size in sizes]
    if len(sizes) == 1:
        return [x]
    if None in known or 0 in known:
        parts, begin = [], 0
        for place, size in enumerate(known):
            if size is None:
                raise ctx.unsupported("splitting into sizes that are only known at run time", actual=sizes[place])
            parts.append(ctx.slice(x, dim, begin, begin + size))
            begin += size
        return parts
    sizes_given = [size for size in known if size is not None]
    return ctx.mb.results("split", x=x, split_sizes=sizes_given, axis=dim % x.rank)


@lowers("aten.diagonal.default", "aten.diagonal_copy.default")
def diagonal(ctx: Context, x: Value, offset: int, dim1: int, dim2: int) -> Value:
    return diagonal_of(ctx, x, dim1 % x.rank, dim2 % x.rank, offset)


@lowers("aten.trace.default")
def trace(ctx: Context, x: Value) -> Value:
    return ctx.mb.reduce_sum(x=ctx.cast(diagonal_of(ctx, x, 0, 1), ctx.dtype), axes=[-1], keep_dims=False)


@lowers("aten.unfold.default")
def unfold(ctx: Context, x: Value, dim: int, size: int, step: int) -> Value:
    """Windows of an axis; their elements become a new last axis."""
    if x.rank == 0:
        return ctx.reshape(x, [1])
    dim %= x.rank
    carried = ctx.cast(x, types.int32) if x.dtype == types.bool_ else x
    windows = ctx.mb.sliding_windows(x=carried, axis=dim, size=size, stride=step)
    return ctx.cast(ctx.move_axis(windows, dim + 1, -1), x.dtype)


# --- joining ---------------------------------------------------------------------------------------------------------


@lowers("aten.cat.default", "aten.concat.default", "aten.concatenate.default")
def cat(ctx: Context, tensors: Sequence[Any], dim: int = 0) -> Any:
    if any(isinstance(x, Complex) for x in tensors):
        parts = [x if isinstance(x, Complex) else Complex(x, ctx.full(ctx.sizes(x), 0, x.dtype)) for x in tensors]
        return Complex(cat(ctx, [x.real for x in parts], dim), cat(ctx, [x.imag for x in parts], dim))
    values = [x for x in tensors if x.shape != (0,) or len(ctx.meta.shape) == 1]  # PyTorch skips empty vectors
    values = [ctx.cast(x, ctx.dtype) for x in values]
    values = [x for x in values if x.shape[dim] != 0] or values[:1]
    if len(values) == 1:
        return values[0]
    return ctx.mb.concat(values=values, axis=dim % values[0].rank)


@lowers("aten.stack.default")
def stack(ctx: Context, tensors: Sequence[Any], dim: int = 0) -> Any:
    if any(isinstance(x, Complex) for x in tensors):
        return Complex(stack(ctx, [x.real for x in tensors], dim), stack(ctx, [x.imag for x in tensors], dim))
    values = [ctx.cast(x, ctx.dtype) for x in tensors]
    return ctx.mb.stack(values=values, axis=dim % (values[0].rank + 1))


# --- writing into a part ---------------------------------------------------------------------------------------------


@lowers("aten.slice_scatter.default")
def slice_scatter(
    ctx: Context, x: Value, source: Value, dim: int, start: Size | None, end: Size | None, step: int = 1
) -> Value:
    """``x`` with a slice of an axis replaced."""
    dim %= x.rank
    begin, stop = slice_ends(ctx, x, dim, start, end)
    source = ctx.cast(source, x.dtype)
    size = x.shape[dim]
    if step == 1 and isinstance(begin, int) and (stop is None or isinstance(stop, int)):
        source = ctx.expand(source, [*(ctx.size(x, a) if a != dim else -1 for a in range(x.rank))])
        before = [ctx.slice(x, dim, 0, begin)] if begin else []
        after = [] if stop is None or stop == size else [ctx.slice(x, dim, stop)]
        return ctx.mb.concat(values=[*before, source, *after], axis=dim) if before or after else source
    if not isinstance(size, int) or not isinstance(begin, int) or isinstance(stop, Value):
        places = ctx.mb.range_1d(start=begin, end=stop if stop is not None else ctx.size(x, dim), step=step)
    else:
        places = ctx.mb.const(np.arange(begin, size if stop is None else stop, step, dtype=np.int32))
    carried = types.int32 if x.dtype == types.bool_ else x.dtype
    scattered = ctx.mb.scatter(
        data=ctx.cast(x, carried), indices=places, updates=ctx.cast(source, carried), axis=dim, mode="update"
    )
    return ctx.cast(scattered, x.dtype)


@lowers("aten.select_scatter.default")
def select_scatter(ctx: Context, x: Value, source: Value, dim: int, index: Size) -> Value:
    dim %= x.rank
    place = ctx.known(index)
    source = ctx.mb.expand_dims(x=ctx.cast(source, x.dtype), axes=[dim])
    size = x.shape[dim]
    if place is None or not isinstance(size, int):
        carried = types.int32 if x.dtype == types.bool_ else x.dtype
        where = ctx.vector([index])
        y = ctx.mb.scatter(
            data=ctx.cast(x, carried), indices=where, updates=ctx.cast(source, carried), axis=dim, mode="update"
        )
        return ctx.cast(y, x.dtype)
    place %= size
    parts = [source]
    if place > 0:
        parts.insert(0, ctx.slice(x, dim, 0, place))
    if place + 1 < size:
        parts.append(ctx.slice(x, dim, place + 1))
    return ctx.mb.concat(values=parts, axis=dim) if len(parts) > 1 else source


@lowers("aten.diagonal_scatter.default")
def diagonal_scatter(ctx: Context, x: Value, source: Value, offset: int, dim1: int, dim2: int) -> Value:
    """``x`` with a diagonal replaced: the source spread over the matrix, chosen where the diagonal is."""
    dim1, dim2 = dim1 % x.rank, dim2 % x.rank
    rows, columns = x.shape[dim1], x.shape[dim2]
    if not isinstance(rows, int) or not isinstance(columns, int):
        raise ctx.unsupported("a diagonal of a matrix whose size is only known at run time")
    rest = [axis for axis in range(x.rank) if axis not in (dim1, dim2)]
    moved = ctx.transpose(x, [*rest, dim1, dim2])
    here = np.eye(rows, columns, offset, dtype=bool)
    begin = max(-offset, 0)
    count = int(here.sum())
    carried = types.int32 if x.dtype == types.bool_ else x.dtype
    spread = ctx.mb.expand_dims(x=ctx.cast(source, carried), axes=[-1])
    if count < rows:
        spread = pad_axes(ctx, spread, {spread.rank - 2: (begin, rows - begin - count)}, 0)
    chosen = ctx.mb.select(cond=here, a=spread, b=ctx.cast(moved, carried))
    back = list(np.argsort([*rest, dim1, dim2]))
    return ctx.cast(ctx.transpose(chosen, [int(axis) for axis in back]), x.dtype)


# --- order -----------------------------------------------------------------------------------------------------------


@lowers("aten.flip.default", "aten.fliplr.default", "aten.flipud.default")
def flip(ctx: Context, x: Value, dims: Sequence[int] | None = None) -> Value:
    if dims is None:
        dims = [1 if "fliplr" in ctx.operator else 0]
    return ctx.mb.reverse(x=x, axes=[axis % x.rank for axis in dims]) if dims and x.rank else x


@lowers("aten.roll.default")
def roll(ctx: Context, x: Value, shifts: Sequence[Size], dims: Sequence[int] = ()) -> Value:
    if not dims:
        flat = roll(ctx, ctx.reshape(x, [-1]), shifts, [0])
        return ctx.reshape(flat, ctx.sizes(x))
    for shift, dim in zip(shifts, dims, strict=True):
        size, amount = x.shape[dim], ctx.known(shift)
        if amount is not None and isinstance(size, int):
            amount = amount % size if size else 0
        if amount is None:
            raise ctx.unsupported("rolling by an amount that is only known at run time")
        if amount:
            cut = size - amount if isinstance(size, int) else -amount
            parts = [ctx.slice(x, dim, cut), ctx.slice(x, dim, 0, cut)]
            x = ctx.mb.concat(values=parts, axis=dim % x.rank)
    return x


@lowers("aten.pixel_shuffle.default")
def pixel_shuffle(ctx: Context, x: Value, factor: int) -> Value:
    """(…, C·r², H, W) to (…, C, H·r, W·r)."""
    if x.rank == 4:
        return ctx.mb.pixel_shuffle(x=x, upscale_factor=factor)
    flat = ctx.reshape(x, [-1, *(ctx.size(x, a) for a in (-3, -2, -1))])
    y = ctx.mb.pixel_shuffle(x=flat, upscale_factor=factor)
    return ctx.reshape(y, [*(ctx.size(x, a) for a in range(x.rank - 3)), *(ctx.size(y, a) for a in (1, 2, 3))])


@lowers("aten.pixel_unshuffle.default")
def pixel_unshuffle(ctx: Context, x: Value, factor: int) -> Value:
    """(…, C, H·r, W·r) to (…, C·r², H, W)."""
    channels, height, width = x.shape[-3:]
    if not (isinstance(channels, int) and isinstance(height, int) and isinstance(width, int)):
        raise ctx.unsupported("pixel_unshuffle of an image whose size is only known at run time")
    flat = ctx.reshape(x, [-1, height // factor, factor, width // factor, factor])
    moved = ctx.transpose(flat, [0, 2, 4, 1, 3])
    lead = [ctx.size(x, axis) for axis in range(x.rank - 3)]
    return ctx.reshape(moved, [*lead, channels * factor**2, height // factor, width // factor])


@lowers("aten.channel_shuffle.default", "aten.native_channel_shuffle.default")
def channel_shuffle(ctx: Context, x: Value, groups: int) -> Value:
    channels = x.shape[1]
    if not isinstance(channels, int):
        raise ctx.unsupported("shuffling channels whose number is only known at run time")
    rest = [ctx.size(x, axis) for axis in range(2, x.rank)]
    batch = ctx.size(x, 0)
    grouped = ctx.reshape(x, [batch, groups, channels // groups, *rest])
    perm = [0, 2, 1, *range(3, grouped.rank)]
    return ctx.reshape(ctx.transpose(grouped, perm), [batch, channels, *rest])


@lowers("aten.tril.default", "aten.triu.default")
def triangle(ctx: Context, x: Value, diagonal: int = 0) -> Value:
    """Elements below (tril) or above (triu) a diagonal, zero elsewhere."""
    rows, columns = x.shape[-2:]
    lower = "tril" in ctx.operator
    keep: Any
    if isinstance(rows, int) and isinstance(columns, int):
        ones = np.ones((rows, columns), bool)
        keep = np.tril(ones, diagonal) if lower else np.triu(ones, diagonal)
    else:
        row = ctx.mb.range_1d(start=0, end=ctx.size(x, -2), step=1)
        column = ctx.mb.range_1d(start=0, end=ctx.size(x, -1), step=1)
        distance = ctx.mb.sub(x=column, y=ctx.mb.expand_dims(x=row, axes=[1]))
        compare = ctx.mb.less_equal if lower else ctx.mb.greater_equal
        keep = compare(x=distance, y=diagonal)
    if x.dtype == types.bool_:
        return ctx.mb.logical_and(x=x, y=keep)
    return ctx.mb.select(cond=keep, a=x, b=ctx.number(0, x.dtype))


# --- padding ---------------------------------------------------------------------------------------------------------


def pad_axes(ctx: Context, x: Value, amounts: dict[int, tuple[Size, Size]], value: Number = 0) -> Value:
    """``x`` with equal elements put before and after some axes; Core ML pads floats only, others are joined."""
    if x.dtype.is_float:
        counts = [size for axis in range(x.rank) for size in amounts.get(axis, (0, 0))]
        return ctx.mb.pad(x=x, pad=ctx.vector(counts), mode="constant", constant_val=ctx.number(value, x.dtype))
    for axis, (before, after) in amounts.items():
        sizes = ctx.sizes(x)
        ends = [
            ctx.full([*sizes[:axis], n, *sizes[axis + 1 :]], value, x.dtype) if n != 0 else None
            for n in (before, after)
        ]
        values = [part for part in (ends[0], x, ends[1]) if part is not None]
        x = ctx.mb.concat(values=values, axis=axis) if len(values) > 1 else x
    return x


@lowers("aten.constant_pad_nd.default")
@on_parts
def constant_pad(ctx: Context, x: Value, pad: Sequence[Size], value: Number = 0) -> Value:
    """Amounts come from the last axis on, as (before, after); negative ones crop."""
    amounts: dict[int, tuple[Size, Size]] = {}
    for place in range(len(pad) // 2):
        axis = x.rank - 1 - place
        before, after = pad[2 * place], pad[2 * place + 1]
        if isinstance(before, int) and before < 0:
            x, before = ctx.slice(x, axis, -before), 0
        if isinstance(after, int) and after < 0:
            x, after = ctx.slice(x, axis, 0, after), 0
        if before != 0 or after != 0:
            amounts[axis] = before, after
    return pad_axes(ctx, x, dict(sorted(amounts.items())), value) if amounts else x


@lowers("aten.reflection_pad1d.default", "aten.reflection_pad2d.default", "aten.reflection_pad3d.default")
def reflection_pad(ctx: Context, x: Value, pad: Sequence[Size]) -> Value:
    return _mirrored(ctx, x, pad, "reflect")


@lowers("aten.replication_pad1d.default", "aten.replication_pad2d.default", "aten.replication_pad3d.default")
def replication_pad(ctx: Context, x: Value, pad: Sequence[Size]) -> Value:
    return _mirrored(ctx, x, pad, "replicate")


def _mirrored(ctx: Context, x: Value, pad: Sequence[Size], mode: str) -> Value:
    """Core ML mirrors the last two axes at most; an axis before them is gathered at mirrored places."""
    known = [ctx.known(size) for size in pad]
    if len(pad) <= 4 and all(size is None or size >= 0 for size in known) and x.dtype.is_float:
        counts: list[Size] = [0] * (2 * x.rank)
        for place in range(len(pad) // 2):
            axis = x.rank - 1 - place
            counts[2 * axis : 2 * axis + 2] = pad[2 * place : 2 * place + 2]
        return ctx.mb.pad(x=x, pad=ctx.vector(counts), mode=mode)
    for place in range(len(pad) // 2):
        axis = x.rank - 1 - place
        before, after, size = known[2 * place], known[2 * place + 1], x.shape[axis]
        if before is None or after is None or not isinstance(size, int):
            raise ctx.unsupported("mirroring an axis whose size is only known at run time")
        places = np.arange(-before, size + after)
        if mode == "replicate":
            places = places.clip(0, size - 1)
        else:
            places = (size - 1) - np.abs((size - 1) - np.abs(places))
        x = ctx.mb.gather(x=x, indices=places.astype(np.int32), axis=axis)
    return x
