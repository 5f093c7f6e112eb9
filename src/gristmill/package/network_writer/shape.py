"""Layers that change shapes, join and cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.ir import dims
from gristmill.ir.dims import Dim
from gristmill.ir.opset import iOS14
from gristmill.ir.program import Value
from gristmill.ops import image_resizing, slicing, tensor_operation, tensor_transformation
from gristmill.ops.nn import shape as nn
from gristmill.package.network_writer.conv import borders
from gristmill.package.network_writer.registry import RefusedError, writes
from gristmill.package.network_writer.writer import INDEX_LIMIT, Writer


def _static(value: Value) -> list[int] | None:
    """A shape of known sizes."""
    sizes = [n for n in value.shape if isinstance(n, int)]
    return sizes if len(sizes) == value.rank else None


@writes(tensor_operation.shape)
def shape(w: Writer, op: Any) -> str:
    return w.layer("getShape", w.tensor(op.x))


@writes(tensor_transformation.reshape)
def reshape(w: Writer, op: Any) -> str:
    """By known sizes where there are any, else by a tensor of them."""
    sizes, given = _static(op.result), w.constant(op.shape)
    if sizes is not None:
        return w.reshape(w.tensor(op.x), sizes)
    if given is None:
        return w.layer("reshapeDynamic", w.tensor(op.x), w.tensor(op.shape))
    wanted = [_known(size, asked) for size, asked in zip(op.result.shape, given.tolist(), strict=True)]
    if wanted.count(-1) > 1 or 0 in wanted:
        if op.x.rank != len(wanted):
            raise RefusedError("a layer keeps sizes of an unknown tensor only where the rank stays", "state the sizes")
        return w.layer("rankPreservingReshape", w.tensor(op.x), targetShape=given)
    return w.reshape(w.tensor(op.x), wanted)


def _known(size: Dim, asked: int) -> int:
    return size if isinstance(size, int) else asked


@writes(tensor_transformation.reshape_like)
def reshape_like(w: Writer, op: Any) -> str:
    if (sizes := _static(op.result)) is None:
        raise RefusedError("a network takes a shape from one tensor as a whole", "reshape to a computed shape")
    return w.reshape(w.tensor(op.x), sizes)


@writes(tensor_transformation.expand_dims)
def expand_dims(w: Writer, op: Any) -> str:
    rank = op.result.rank
    if op.x.rank == 0:
        return w.reshape(w.tensor(op.x), [1] * rank)
    return w.expand(w.tensor(op.x), sorted(axis % rank for axis in op.axes))


@writes(tensor_transformation.squeeze)
def squeeze(w: Writer, op: Any) -> str:
    if op.result.rank == 0:
        return w.reshape(w.tensor(op.x), [1])
    rank = op.x.rank
    axes = range(rank) if op.axes is None else sorted(axis % rank for axis in op.axes)
    return w.squeeze(w.tensor(op.x), [axis for axis in axes if not dims.never_equal(op.x.shape[axis], 1)])


@writes(tensor_transformation.transpose)
def transpose(w: Writer, op: Any) -> str:
    return w.transpose(w.tensor(op.x), [axis % op.x.rank for axis in op.perm])


@writes(tensor_operation.flatten2d)
def flatten(w: Writer, op: Any) -> str:
    return w.layer("flattenTo2D", w.tensor(op.x), axis=op.axis)


@writes(tensor_operation.concat)
def concat(w: Writer, op: Any) -> str:
    if op.interleave:
        w.needs(iOS14, "interleaving")
    values = [value for value in op.values if 0 not in value.shape]  # of which a network has none
    return w.layer("concatND", *map(w.tensor, values), axis=op.axis, interleave=op.interleave)


@writes(tensor_operation.stack)
def stack(w: Writer, op: Any) -> str:
    """Numbers are joined: each has an axis already."""
    if op.values[0].rank == 0:
        return w.layer("concatND", *map(w.tensor, op.values), axis=0)
    return w.layer("stack", *map(w.tensor, op.values), axis=op.axis)


@writes(tensor_operation.split)
def split(w: Writer, op: Any) -> list[str]:
    sizes = None if op.split_sizes is None else list(op.split_sizes)
    count = len(op.results)
    parts = {"splitSizes": sizes} if sizes is not None and len(set(sizes)) > 1 else {"numSplits": count}
    return w.layers("splitND", w.tensor(op.x), count=count, axis=op.axis, **parts)


@writes(tensor_operation.tile)
def tile(w: Writer, op: Any) -> str:
    reps = w.constant(op.reps)
    if reps is not None:
        return w.layer("tile", w.tensor(op.x), reps=reps)
    w.needs(iOS14, "computed repetitions")
    return w.layer("tile", w.tensor(op.x), w.tensor(op.reps))


@writes(tensor_transformation.reverse)
def reverse(w: Writer, op: Any) -> str:
    rank = op.x.rank
    turned = range(rank) if op.axes is None else [axis % rank for axis in op.axes]
    return w.layer("reverse", w.tensor(op.x), reverseDim=[axis in turned for axis in range(rank)])


@writes(tensor_transformation.reverse_sequence)
def reverse_sequence(w: Writer, op: Any) -> str:
    x, lengths = w.tensor(op.x), w.tensor(op.lengths)
    return w.layer("reverseSeq", x, lengths, sequenceAxis=op.seq_axis, batchAxis=op.batch_axis)


@writes(tensor_transformation.sliding_windows)
def sliding_windows(w: Writer, op: Any) -> str:
    return w.layer("slidingWindows", w.tensor(op.x), axis=op.axis, windowSize=op.size, step=op.stride)


@writes(nn.nn_broadcast_to)
def broadcast_to(w: Writer, op: Any) -> str:
    if (sizes := _static(op.result)) is not None and sizes:
        return w.layer("broadcastToStatic", w.tensor(op.x), targetShape=sizes)
    return w.layer("broadcastToDynamic", w.tensor(op.x), w.tensor(op.shape))


# --- parts -----------------------------------------------------------------------------------------------------------


@writes(slicing.slice_by_index)
def slice_by_index(w: Writer, op: Any) -> str:
    rank = op.x.rank
    begin, end = w.constant(op.begin), w.constant(op.end)
    begin_masks, end_masks, squeeze = (_mask(m, rank) for m in (op.begin_mask, op.end_mask, op.squeeze_mask))
    strides = list(op.stride or (1,) * rank)
    if any(squeeze):
        w.needs(iOS14, "slices that take axes away")
    if begin is not None and end is not None:
        return w.layer(
            "sliceStatic",
            w.tensor(op.x),
            beginIds=begin,
            beginMasks=begin_masks,
            endIds=end,
            endMasks=end_masks,
            strides=strides,
            squeezeMasks=squeeze,
        )
    if end is not None:
        end_masks = [m or (n >= INDEX_LIMIT and s > 0) for m, n, s in zip(end_masks, end, strides, strict=True)]
        end = np.where(end_masks, 0, end)
    return w.layer(
        "sliceDynamic",
        w.tensor(op.x),
        w.tensor(op.begin),
        w.tensor(op.end) if end is None else w.load(end),
        beginMasks=begin_masks,
        endMasks=end_masks,
        strides=strides,
        squeezeMasks=squeeze,
    )


def _mask(mask: Sequence[bool] | None, rank: int) -> list[bool]:
    return [bool(m) for m in mask] if mask is not None else [False] * rank


@writes(slicing.slice_by_size)
def slice_by_size(w: Writer, op: Any) -> str:
    """The end of each axis is its beginning and its size together; -1 is up to the axis's end."""
    rank, begin, size = op.x.rank, w.constant(op.begin), op.size.contents
    sizes = [None] * rank if size is None else [n if isinstance(n, int) else None for n in size.ravel()]
    if size is None and op.size.producer is not None:
        raise RefusedError(
            "nothing is known of the sizes of a slice, and -1 has a meaning of its own", "slice by index"
        )
    masks = [n == -1 for n in sizes]
    common = {"beginMasks": [False] * rank, "endMasks": masks, "strides": [1] * rank, "squeezeMasks": [False] * rank}
    if begin is not None and None not in sizes:
        ends = [0 if n == -1 or n is None else int(b) + n for b, n in zip(begin, sizes, strict=True)]
        # An end of 0 that counts from a negative beginning is the axis's own end.
        common["endMasks"] = [m or (b < 0 and e == 0) for m, b, e in zip(masks, begin, ends, strict=True)]
        return w.layer("sliceStatic", w.tensor(op.x), beginIds=begin, endIds=ends, **common)
    first = w.tensor(op.begin)
    length = w.tensor(op.size) if None in sizes else w.load(np.array(sizes, np.int32))
    return w.layer("sliceDynamic", w.tensor(op.x), first, w.add(first, length), **common)


@writes(image_resizing.crop)
def crop(w: Writer, op: Any) -> str:
    return w.layer("crop", w.tensor(op.x), cropAmounts=borders([*op.crop_height, *op.crop_width]))


# --- matrices --------------------------------------------------------------------------------------------------------


@writes(tensor_operation.band_part)
def band_part(w: Writer, op: Any) -> str:
    return w.layer("matrixBandPart", w.tensor(op.x), numLower=op.lower, numUpper=op.upper)


@writes(nn.nn_triangular)
def triangular(w: Writer, op: Any) -> str:
    return w.layer(f"{op.keep}Triangular", w.tensor(op.x), k=op.k)


# --- padding ---------------------------------------------------------------------------------------------------------


@writes(tensor_operation.pad)
def pad(w: Writer, op: Any) -> str:
    amounts = w.constant(op.pad)
    x, rank = w.tensor(op.x), op.x.rank
    if amounts is None:
        if op.mode != "constant" or op.pad.shape[0] != 2 * rank:
            raise RefusedError("computed padding is by a constant, and of all axes", "pad by known amounts")
        return w.layer("constantPad", x, w.tensor(op.pad), value=op.constant_val)
    pairs = [(0, 0)] * (rank - len(amounts) // 2) + list(zip(amounts[::2], amounts[1::2], strict=True))
    if min(amounts, default=0) < 0:
        x = w.cut(x, [(max(-before, 0), max(-after, 0)) for before, after in pairs])
        pairs = [(max(before, 0), max(after, 0)) for before, after in pairs]
    if op.mode == "constant":
        return w.layer("constantPad", x, padAmounts=[n for pair in pairs for n in pair], value=op.constant_val)
    return _mirrored(w, op, x, pairs)


def _mirrored(w: Writer, op: Any, x: str, pairs: list[tuple[int, int]]) -> str:
    """Reflection and replication, which the layer does along height and width: two axes at a time are brought there."""
    rank = op.x.rank
    ones = max(3 - rank, 0)
    x = w.expand(x, list(range(ones)))
    pairs = [(0, 0)] * ones + pairs
    todo = [axis for axis, pair in enumerate(pairs) if any(pair)]
    kind = "reflection" if op.mode == "reflect" else "replication"
    while todo:
        last = todo[-2:] if len(todo) > 1 else [next(a for a in reversed(range(len(pairs))) if a != todo[0]), todo[0]]
        last = sorted(last)
        todo = [axis for axis in todo if axis not in last]
        perm = [axis for axis in range(len(pairs)) if axis not in last] + last
        x = w.transpose(x, perm)
        amounts = [n for axis in last for n in pairs[axis]]
        x = w.layer("padding", x, paddingAmounts=borders(amounts), **{kind: {}})
        x = w.transpose(x, np.argsort(perm).tolist())
    return w.squeeze(x, list(range(ones)))
