"""Blocks of an image moved between axes: views of tensors whose axes are cut into parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gristmill.devices.base import Refusal
from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.layout import PLAIN, Layout
from gristmill.devices.cpu.lowering.movement import pad_with
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.ir.constants import Array
from gristmill.ir.dims import Dim
from gristmill.ops import tensor_transformation as ops


def _regroup(
    emit: Emitter, source: int, result: int, sizes: Mapping[str, Dim], have: Sequence[str], want: Sequence[str], op: Any
) -> None:
    """Moves a tensor of parts ``have`` to one of parts ``want``: axes, or what an axis is cut into."""
    parts = emit.renamed(source, op.x.dtype, [sizes[part] for part in have])
    moved = emit.renamed(result, op.x.dtype, [sizes[part] for part in want])
    emit.call("view", {"perm": [have.index(part) for part in want]}, [parts], [moved])


def _deep(layout: Layout, channel: str) -> str:
    """Parts of an image whose channels hold blocks: i, j within a block, c what else a channel is."""
    return f"n{channel}hw" if layout is PLAIN else f"nhw{channel}"


def _wide(layout: Layout) -> str:
    """Parts of the image with the blocks in its height and width."""
    return "nchiwj" if layout is PLAIN else "nhiwjc"


def _spread(op: Any, emit: Emitter, block: int, channel: str) -> None:
    layout = emit.layout(op.x)
    n, c, h, w = op.x.shape
    sizes = {"n": n, "c": c // block**2, "h": h, "w": w, "i": block, "j": block}
    source, result = emit.tensor(op.x, layout), emit.result(op.result, layout)
    _regroup(emit, source, result, sizes, _deep(layout, channel), _wide(layout), op)


def _gathered(op: Any, emit: Emitter, block: int, channel: str) -> None:
    layout = emit.layout(op.x)
    n, c, h, w = op.x.shape
    sizes = {"n": n, "c": c, "h": h // block, "w": w // block, "i": block, "j": block}
    source, result = emit.tensor(op.x, layout), emit.result(op.result, layout)
    _regroup(emit, source, result, sizes, _wide(layout), _deep(layout, channel), op)


@lowers(ops.depth_to_space)
def _depth_to_space(op: ops.depth_to_space, emit: Emitter) -> None:
    _spread(op, emit, op.block_size, "ijc")


@lowers(ops.space_to_depth)
def _space_to_depth(op: ops.space_to_depth, emit: Emitter) -> None:
    _gathered(op, emit, op.block_size, "ijc")


@lowers(ops.pixel_shuffle)
def _pixel_shuffle(op: ops.pixel_shuffle, emit: Emitter) -> None:
    _spread(op, emit, op.upscale_factor, "cij")


@lowers(ops.pixel_unshuffle)
def _pixel_unshuffle(op: ops.pixel_unshuffle, emit: Emitter) -> None:
    _gathered(op, emit, op.downscale_factor, "cij")


def _pairs(value: Any) -> list[tuple[int, int]]:
    amounts: Array = value.constant.numpy()
    return [(int(before), int(after)) for before, after in amounts]


def _whole_blocks(op: Any) -> Refusal | None:
    return None if all(isinstance(d, int) for d in op.x.shape) else Refusal("the image's size is not fixed")


@lowers(ops.space_to_batch, supports=_whole_blocks)
def _space_to_batch(op: ops.space_to_batch, emit: Emitter) -> None:
    pairs = [(0, 0), (0, 0), *_pairs(op.paddings)]
    n, c, h, w = (size + before + after for size, (before, after) in zip(op.x.shape, pairs, strict=True))
    source = emit.tensor(op.x)
    if any(map(any, pairs)):
        source = pad_with(emit, 0.0, op.x, pairs, emit.scratch(op.x.dtype.name, (n, c, h, w)))
    i, j = op.block_shape
    sizes = {"n": n, "c": c, "h": h // i, "w": w // j, "i": i, "j": j}
    _regroup(emit, source, emit.result(op.result), sizes, "nchiwj", "ijnchw", op)


@lowers(ops.batch_to_space, supports=_whole_blocks)
def _batch_to_space(op: ops.batch_to_space, emit: Emitter) -> None:
    (top, bottom), (left, right) = _pairs(op.crops)
    i, j = op.block_shape
    n, c, h, w = op.x.shape
    sizes = {"n": n // (i * j), "c": c, "h": h, "w": w, "i": i, "j": j}
    result = emit.result(op.result)
    cropped = bool(top or bottom or left or right)
    whole = emit.scratch(op.x.dtype.name, (sizes["n"], c, h * i, w * j)) if cropped else result
    _regroup(emit, emit.tensor(op.x), whole, sizes, "ijnchw", "nchiwj", op)
    if cropped:
        begin = emit.sizes([0, 0, top, left])
        emit.call("view", {"perm": [0, 1, 2, 3], "begin": begin}, [whole], [result])
