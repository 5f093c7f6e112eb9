"""Blocks of pixels that become channels or images, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.ir.opset import iOS14
from gristmill.ops import tensor_transformation
from gristmill.package.network_writer.registry import RefusedError, writes
from gristmill.package.network_writer.writer import Writer


@writes(tensor_transformation.space_to_depth)
def space_to_depth(w: Writer, op: Any) -> str:
    return w.layer("reorganizeData", w.tensor(op.x), mode="SPACE_TO_DEPTH", blockSize=op.block_size)


@writes(tensor_transformation.depth_to_space)
def depth_to_space(w: Writer, op: Any) -> str:
    return w.layer("reorganizeData", w.tensor(op.x), mode="DEPTH_TO_SPACE", blockSize=op.block_size)


@writes(tensor_transformation.pixel_shuffle)
def pixel_shuffle(w: Writer, op: Any) -> str:
    w.needs(iOS14, "shuffling pixels")
    return w.layer("reorganizeData", w.tensor(op.x), mode="PIXEL_SHUFFLE", blockSize=op.upscale_factor)


@writes(tensor_transformation.pixel_unshuffle)
def pixel_unshuffle(w: Writer, op: Any) -> str:
    """The layer puts the pixels of a block before the channels; here they follow each channel."""
    batch, channels, height, width = _known(op.result.shape)
    pixels = op.downscale_factor**2
    blocks = w.layer("reorganizeData", w.tensor(op.x), mode="SPACE_TO_DEPTH", blockSize=op.downscale_factor)
    apart = w.reshape(blocks, [batch, pixels, channels // pixels, height, width])
    return w.reshape(w.transpose(apart, [0, 2, 1, 3, 4]), [batch, channels, height, width])


# --- blocks and the batch, one axis after the other: tensors have up to five axes ------------------------------------


@writes(tensor_transformation.space_to_batch)
def space_to_batch(w: Writer, op: Any) -> str:
    pairs = w.fixed(op.paddings, "the padding").tolist()
    x = w.layer("constantPad", w.tensor(op.x), padAmounts=[0, 0, 0, 0, *pairs[0], *pairs[1]], value=0.0)
    batch, channels, *space = _known(op.x.shape)
    high, wide = (size + sum(pair) for size, pair in zip(space, pairs, strict=True))
    down, across = op.block_shape
    x = w.transpose(w.reshape(x, [batch, channels, high, wide // across, across]), [4, 0, 1, 2, 3])
    x = w.reshape(x, [across * batch, channels, high // down, down, wide // across])
    x = w.transpose(x, [3, 0, 1, 2, 4])
    return w.reshape(x, [down * across * batch, channels, high // down, wide // across])


@writes(tensor_transformation.batch_to_space)
def batch_to_space(w: Writer, op: Any) -> str:
    batch, channels, high, wide = _known(op.x.shape)
    down, across = op.block_shape
    x = w.reshape(w.tensor(op.x), [down, batch // down, channels, high, wide])
    x = w.reshape(w.transpose(x, [1, 2, 3, 0, 4]), [across, batch // down // across, channels, high * down, wide])
    x = w.reshape(w.transpose(x, [1, 2, 3, 4, 0]), [batch // down // across, channels, high * down, wide * across])
    return w.cut(x, [(0, 0), (0, 0), *w.fixed(op.crops, "the crops").tolist()])


def _known(shape: Sequence[Any]) -> list[int]:
    sizes = [size for size in shape if isinstance(size, int)]
    if len(sizes) < len(shape):
        raise RefusedError("its layers hold sizes", "use images of known sizes")
    return sizes
