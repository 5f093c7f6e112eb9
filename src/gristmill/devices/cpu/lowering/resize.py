"""Resizing of channels-last images."""

from __future__ import annotations

from typing import Any

from gristmill.devices.base import Refusal
from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.layout import CHANNELS_LAST
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.ir import dims, types
from gristmill.ir.dims import Shape
from gristmill.ops import image_resizing as ops


def _images(op: Any) -> Refusal | None:
    if op.x.rank < 2:
        return Refusal("only images are resized natively")
    if isinstance(op, ops.resize):
        if op.resized_dims > 2:
            return Refusal("more than height and width is resized")
        if op.interpolation_mode == "LINEAR" and op.x.dtype not in (types.fp16, types.fp32):
            return Refusal("only floats are interpolated natively")
    return None


def _planes(shape: Shape) -> Shape:
    return (dims.product(shape[:-2]), *shape[-2:], 1)


def _resize(op: Any, emit: Emitter, grid: str, *, linear: bool) -> None:
    arguments = {"grid": grid, "linear": linear}
    if op.x.rank != 4:  # one channel, and as many images as there are planes
        source = emit.renamed(emit.tensor(op.x), op.x.dtype, _planes(op.x.shape))
        emit.call(
            "resize", arguments, [source], [emit.renamed(emit.result(op.result), op.x.dtype, _planes(op.result.shape))]
        )
        return
    emit.call("resize", arguments, [emit.tensor(op.x, CHANNELS_LAST)], [emit.result(op.result, CHANNELS_LAST)])


@lowers(ops.upsample_nearest_neighbor, supports=_images)
def _upsample_nearest(op: ops.upsample_nearest_neighbor, emit: Emitter) -> None:
    _resize(op, emit, "floor", linear=False)


@lowers(ops.resize_nearest_neighbor, supports=_images)
def _resize_nearest(op: ops.resize_nearest_neighbor, emit: Emitter) -> None:
    _resize(op, emit, "DEFAULT", linear=False)


@lowers(ops.resize_bilinear, supports=_images)
def _resize_bilinear(op: ops.resize_bilinear, emit: Emitter) -> None:
    _resize(op, emit, op.sampling_mode, linear=True)


@lowers(ops.upsample_bilinear, supports=_images)
def _upsample_bilinear(op: ops.upsample_bilinear, emit: Emitter) -> None:
    _resize(op, emit, op.grid, linear=True)


@lowers(ops.resize, supports=_images, reads=("x",))
def _resize_to_shape(op: ops.resize, emit: Emitter) -> None:
    _resize(op, emit, op.sampling_mode, linear=op.interpolation_mode == "LINEAR")
