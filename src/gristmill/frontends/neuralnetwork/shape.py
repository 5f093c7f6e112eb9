"""Layers for any number of axes that change shapes, join and cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.frontends.neuralnetwork.context import Context, ops
from gristmill.frontends.neuralnetwork.registry import maps
from gristmill.ir.program import Value


@maps("copy", typed=True)
def copy(ctx: Context, p: Any, x: Value) -> Value:
    return x


@maps("getShape", typed=True)
def get_shape(ctx: Context, p: Any, x: Value) -> Value:
    return ops.shape(x=x)


@maps("reshapeStatic", "rankPreservingReshape", typed=True)
def reshape_static(ctx: Context, p: Any, x: Value) -> Value:
    return ops.reshape(x=x, shape=np.array(p.targetShape, np.int32))


@maps("reshapeDynamic", typed=True)
def reshape_dynamic(ctx: Context, p: Any, x: Value, shape: Value) -> Value:
    return ops.reshape(x=x, shape=ctx.sizes(shape))


@maps("reshapeLike", typed=True)
def reshape_like(ctx: Context, p: Any, x: Value, like: Value) -> Value:
    return ops.reshape(x=x, shape=ops.shape(x=like))


@maps("transpose", typed=True)
def transpose(ctx: Context, p: Any, x: Value) -> Value:
    return ops.transpose(x=x, perm=p.axes)


@maps("squeeze", typed=True)
def squeeze(ctx: Context, p: Any, x: Value) -> Value:
    if not p.squeezeAll:
        return ctx.without_axes(x, p.axes)
    axes = [axis for axis, size in enumerate(x.shape) if size == 1]
    return ops.squeeze(x=x, axes=axes) if axes else x


@maps("expandDims", typed=True)
def expand_dims(ctx: Context, p: Any, x: Value) -> Value:
    return ops.expand_dims(x=x, axes=p.axes)


@maps("flattenTo2D", typed=True)
def flatten_to_2d(ctx: Context, p: Any, x: Value) -> Value:
    return ops.flatten2d(x=x, axis=p.axis)


@maps("stack", typed=True)
def stack(ctx: Context, p: Any, *values: Value) -> Value:
    return ops.stack(values=ctx.alike(*values), axis=p.axis)


@maps("concatND", typed=True)
def concat(ctx: Context, p: Any, *values: Value) -> Value:
    return ops.concat(values=ctx.alike(*map(ctx.row, values)), axis=p.axis, interleave=p.interleave)


@maps("splitND", typed=True)
def split(ctx: Context, p: Any, x: Value) -> tuple[Value, ...]:
    if p.splitSizes:
        return ops.several("split", x=x, split_sizes=p.splitSizes, axis=p.axis)
    size, count = x.shape[p.axis], ctx.parts(p.numSplits)
    if isinstance(size, int) and count and size % count:  # the first parts are larger by one
        sizes = [size // count + (part < size % count) for part in range(count)]
        return ops.several("split", x=x, split_sizes=sizes, axis=p.axis)
    return ops.several("split", x=x, num_splits=count, axis=p.axis)


@maps("tile", typed=True)
def tile(ctx: Context, p: Any, x: Value, reps: Value | None = None) -> Value:
    """As often along each axis as told; what is told of fewer axes is of the last ones."""
    if reps is None:
        return ops.tile(x=x, reps=np.array([*(1,) * (x.rank - len(p.reps)), *p.reps], np.int32))
    times = ctx.sizes(reps)
    told = times.shape[0]
    if not isinstance(told, int):
        raise ctx.unsupported("the number of axes to repeat must be known", actual=reps.type)
    if told < x.rank:
        times = ops.concat(values=[np.ones(x.rank - told, np.int32), times], axis=0)
    return ops.tile(x=x, reps=times)


@maps("reverse", typed=True)
def reverse(ctx: Context, p: Any, x: Value) -> Value:
    return ops.reverse(x=x, axes=[axis for axis, turned in enumerate(p.reverseDim) if turned])


@maps("reverseSeq", typed=True)
def reverse_sequence(ctx: Context, p: Any, x: Value, lengths: Value) -> Value:
    return ops.reverse_sequence(x=x, lengths=ctx.integers(lengths), seq_axis=p.sequenceAxis, batch_axis=p.batchAxis)


# --- broadcasting ----------------------------------------------------------------------------------------------------


@maps("broadcastToStatic", typed=True)
def broadcast_to(ctx: Context, p: Any, x: Value) -> Value:
    shape = p.targetShape
    missing = len(shape) - x.rank
    if missing < 0:
        raise ctx.wrong("the shape to broadcast to has fewer axes", expected=x.rank, actual=len(shape))
    wide = ops.expand_dims(x=x, axes=list(range(missing))) if missing else x
    reps = [to if size == 1 else 1 for size, to in zip(wide.shape, shape, strict=True)]
    if all(size == 1 or size == to for size, to in zip(wide.shape, shape, strict=True)):
        return ops.tile(x=wide, reps=np.array(reps, np.int32))
    return ops.nn_broadcast_to(x=x, shape=np.array(shape, np.int32))


@maps("broadcastToLike", typed=True)
def broadcast_like(ctx: Context, p: Any, x: Value, like: Value) -> Value:
    return ops.nn_broadcast_to(x=x, shape=ops.shape(x=like))


@maps("broadcastToDynamic", typed=True)
def broadcast_dynamic(ctx: Context, p: Any, x: Value, shape: Value) -> Value:
    return ops.nn_broadcast_to(x=x, shape=ctx.sizes(shape))


# --- parts -----------------------------------------------------------------------------------------------------------


@maps("sliceStatic", typed=True)
def slice_static(ctx: Context, p: Any, x: Value) -> Value:
    return ops.slice_by_index(
        x=x,
        begin=np.array(p.beginIds, np.int32),
        end=np.array(p.endIds, np.int32),
        stride=p.strides or None,
        begin_mask=_mask(p.beginMasks),
        end_mask=_mask(p.endMasks),
        squeeze_mask=_mask(p.squeezeMasks),
    )


@maps("sliceDynamic", typed=True)
def slice_dynamic(ctx: Context, p: Any, x: Value, begin: Value, *others: Value) -> Value:
    """Others are, as far as they are given: end, strides, masks of begin, end and squeezing.

    Parameters may speak of more axes than there are.
    """
    given: list[Value | None] = [*others, *[None] * (5 - len(others))]
    end, strides, begin_mask, end_mask, squeeze_mask = given
    return ops.slice_by_index(
        x=x,
        begin=ctx.sizes(begin),
        end=np.array(p.endIds[: x.rank], np.int32) if end is None else ctx.sizes(end),
        stride=_known(ctx, strides, p.strides, np.int32)[: x.rank] or None,
        begin_mask=_mask(_known(ctx, begin_mask, p.beginMasks, np.bool_)[: x.rank]),
        end_mask=_mask(_known(ctx, end_mask, p.endMasks, np.bool_)[: x.rank]),
        squeeze_mask=_mask(_known(ctx, squeeze_mask, p.squeezeMasks, np.bool_)[: x.rank]),
    )


def _mask(mask: Sequence[bool]) -> Sequence[bool] | None:
    return mask if any(mask) else None


def _known(ctx: Context, value: Value | None, default: Sequence[Any], dtype: Any) -> Sequence[Any]:
    """What an input says that must be known before the network runs."""
    if value is None:
        return default
    found = ctx.known(value)
    if found is None:
        raise ctx.unsupported("strides and masks that another layer computes")
    plain: list[Any] = found.reshape(-1).astype(dtype).tolist()
    return plain


@maps("sliceBySize", typed=True)
def slice_by_size(ctx: Context, p: Any, x: Value, begin: Value) -> Value:
    """``size`` elements of one axis, from an index that another tensor holds."""
    axis = p.axis % x.rank
    zero = np.zeros(1, np.int32)
    starts = [ctx.reshape(ctx.integers(begin), [1]) if k == axis else ops.const(zero) for k in range(x.rank)]
    size = [p.size if k == axis else -1 for k in range(x.rank)]
    return ops.slice_by_size(x=x, begin=ops.concat(values=starts, axis=0), size=np.array(size, np.int32))


@maps("slidingWindows", typed=True)
def sliding_windows(ctx: Context, p: Any, x: Value) -> Value:
    return ops.sliding_windows(x=x, axis=p.axis, size=p.windowSize, stride=p.step or 1)


# --- matrices --------------------------------------------------------------------------------------------------------


@maps("matrixBandPart", typed=True)
def band_part(ctx: Context, p: Any, x: Value) -> Value:
    return ops.band_part(x=x, lower=p.numLower, upper=p.numUpper)


@maps("lowerTriangular", typed=True)
def lower_triangular(ctx: Context, p: Any, x: Value) -> Value:
    """What lies on or below diagonal ``k``."""
    return ops.band_part(x=x, lower=-1, upper=p.k) if p.k >= 0 else ops.nn_triangular(x=x, k=p.k, keep="lower")


@maps("upperTriangular", typed=True)
def upper_triangular(ctx: Context, p: Any, x: Value) -> Value:
    """What lies on or above diagonal ``k``."""
    return ops.band_part(x=x, lower=-p.k, upper=-1) if p.k <= 0 else ops.nn_triangular(x=x, k=p.k, keep="upper")


# --- padding ---------------------------------------------------------------------------------------------------------


@maps("constantPad", typed=True)
def constant_pad(ctx: Context, p: Any, x: Value, amounts: Value | None = None) -> Value:
    x = ctx.floating(x) if x.dtype.kind == "bool" else x
    if amounts is not None:
        return ops.pad(x=x, pad=ctx.sizes(amounts), constant_val=_of_type(ctx, p.value, x))
    pairs = list(p.padAmounts) or [0] * (2 * x.rank)
    if p.padToGivenOutputSizeMode:
        pairs = _up_to(ctx, x, pairs)
    return ops.pad(x=x, pad=np.array(pairs, np.int32), constant_val=_of_type(ctx, p.value, x))


def _of_type(ctx: Context, value: float, x: Value) -> Value:
    return ctx.number(value) if x.dtype.is_float else ops.const(np.int32(value))


def _up_to(ctx: Context, x: Value, sizes: Sequence[int]) -> list[int]:
    """Amounts that make sizes: the first of a pair pads in front, the second behind."""
    amounts: list[int] = []
    for axis, size in enumerate(x.shape):
        front, back = sizes[2 * axis : 2 * axis + 2]
        if not isinstance(size, int) and (front or back):
            raise ctx.unsupported("padding an axis of unknown size up to a size", actual=x.type)
        amounts += [max(0, wanted - size) if wanted and isinstance(size, int) else 0 for wanted in (front, back)]
    return amounts
