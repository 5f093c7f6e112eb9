"""The layers of the first Core ML versions that know images: sequence, batch, channels, height and width."""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.frontends.neuralnetwork.context import Context, ops
from gristmill.frontends.neuralnetwork.conv import border
from gristmill.frontends.neuralnetwork.registry import maps
from gristmill.ir.program import Value


@maps("loadConstant")
def load_constant(ctx: Context, p: Any) -> Value:
    """A constant [C, H, W] of rank 5."""
    return ctx.weights(p.data, (*(1,) * (5 - len(p.shape)), *p.shape))


@maps("reshape", typed=True)
def reshape(ctx: Context, p: Any, x: Value) -> Value:
    """To [C, H, W] or [sequence, C, H, W], elements in the order of C, H, W or of H, W, C."""
    five = _of_rank_5(ctx, x)
    channels, height, width = p.targetShape[-3:]
    sequence = ctx.size(five, 0) if len(p.targetShape) == 3 else p.targetShape[0]
    batch = ctx.size(five, 1)
    if p.mode == "CHANNEL_FIRST":
        return ctx.reshape(five, [sequence, batch, channels, height, width])
    last = ops.transpose(x=five, perm=[0, 1, 3, 4, 2])
    return ops.transpose(x=ctx.reshape(last, [sequence, batch, height, width, channels]), perm=[0, 1, 4, 2, 3])


def _of_rank_5(ctx: Context, x: Value) -> Value:
    """The tensor with axes of size 1 in front."""
    if x.rank > 5:
        raise ctx.unsupported("the layer works on up to five axes", actual=x.type)
    return x if x.rank == 5 else ops.expand_dims(x=x, axes=list(range(5 - x.rank)))


@maps("flatten", typed=True)
def flatten(ctx: Context, p: Any, x: Value) -> Value:
    """Channels, height and width become channels."""
    if p.mode == "CHANNEL_LAST":
        front = list(range(x.rank - 3))
        x = ops.transpose(x=x, perm=[*front, x.rank - 2, x.rank - 1, x.rank - 3])
    return ctx.reshape(x, [*(ctx.size(x, axis) for axis in range(x.rank - 3)), -1, 1, 1])


@maps("permute", typed=True)
def permute(ctx: Context, p: Any, x: Value) -> Value:
    """Permutes sequence, channels, height and width; the batch stays."""
    five = _of_rank_5(ctx, x)
    where = (0, 2, 3, 4)
    if sorted(p.axis) != [0, 1, 2, 3]:
        raise ctx.wrong("'axis' permutes four axes", expected="0, 1, 2, 3 in some order", actual=p.axis)
    first, *others = (where[axis] for axis in p.axis)
    return ops.transpose(x=five, perm=[first, 1, *others])


@maps("concat", typed=True, on_planes=lambda p: not p.sequenceConcat)
def concat(ctx: Context, p: Any, *values: Value) -> Value:
    return ops.concat(values=ctx.alike(*values), axis=-5 if p.sequenceConcat else -3)


@maps("split", typed=True, on_planes=True)
def split(ctx: Context, p: Any, x: Value) -> tuple[Value, ...]:
    return ops.several("split", x=x, num_splits=ctx.parts(p.nOutputs), axis=-3)


@maps("sequenceRepeat", typed=True)
def sequence_repeat(ctx: Context, p: Any, x: Value) -> Value:
    five = _of_rank_5(ctx, x)
    return ops.tile(x=five, reps=np.array([p.nRepetitions or 1, 1, 1, 1, 1], np.int32))


@maps("reorganizeData", typed=True, on_planes=True)
def reorganize(ctx: Context, p: Any, x: Value) -> Value:
    match p.mode:
        case "SPACE_TO_DEPTH":
            return ctx.planes(x, lambda y: ops.space_to_depth(x=y, block_size=p.blockSize))
        case "DEPTH_TO_SPACE":
            return ctx.planes(x, lambda y: ops.depth_to_space(x=y, block_size=p.blockSize))
        case _:
            return ctx.planes(x, lambda y: ops.pixel_shuffle(x=y, upscale_factor=p.blockSize))


_AXES = {"CHANNEL_AXIS": -3, "HEIGHT_AXIS": -2, "WIDTH_AXIS": -1}


@maps("slice", typed=True, on_planes=True)
def slice_axis(ctx: Context, p: Any, x: Value) -> Value:
    """A part of an axis; what is below 0 counts from the axis's end."""
    return ctx.slice(x, _AXES[p.axis], p.startIndex, p.endIndex, p.stride or 1)


@maps("crop", typed=True, on_planes=True)
def crop(ctx: Context, p: Any, x: Value, like: Value | None = None) -> Value:
    """By amounts, or to the height and width of another tensor from an offset on."""
    if like is None:
        top, bottom, left, right = border(p.cropAmounts)
        x = ctx.slice(x, -2, top, -bottom if bottom else None)
        return ctx.slice(x, -1, left, -right if right else None)
    down, across = p.offset or (0, 0)
    zero = ops.const(np.zeros(x.rank - 2, np.int32))
    begin = ops.concat(values=[zero, np.array([down, across], np.int32)], axis=0)
    front = ops.const(np.full(x.rank - 2, -1, np.int32))
    size = ops.concat(values=[front, ctx.size(like, -2), ctx.size(like, -1)], axis=0)
    return ops.slice_by_size(x=x, begin=begin, size=size)


@maps("padding", on_planes=True)
def padding(ctx: Context, p: Any, x: Value) -> Value:
    pad = np.array(border(p.paddingAmounts), np.int32)
    match p.choice("PaddingType"):
        case "reflection":
            return ops.pad(x=x, pad=pad, mode="reflect")
        case "replication":
            return ops.pad(x=x, pad=pad, mode="replicate")
        case "constant":
            return ops.pad(x=x, pad=pad, mode="constant", constant_val=ctx.number(p.constant.value))
        case _:
            return ops.pad(x=x, pad=pad, mode="constant", constant_val=ctx.number(0))
