"""Operators of torchvision."""

from __future__ import annotations

import contextlib
import functools
import importlib

import torch

from gristmill.frontends.torch.context import Context
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.dims import bounds
from gristmill.ir.opset import iOS17
from gristmill.ir.program import Value


@functools.cache
def declare_operators() -> None:
    """Makes the operators known to torch where torchvision, which does that, is not installed or does not fit torch.

    A file of an exported program that uses them can be read then. Where only torchvision's compiled part does not fit,
    its models can be imported afterwards: declaring two operators is all that they ask of it.
    """
    if _import_torchvision():
        return
    torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

    def kept(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
        return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.long)

    # torchvision's own form, if it can be imported now, refuses sizes that only their symbols tell apart. An old
    # PyTorch does not let it be replaced.
    _import_torchvision()
    with contextlib.suppress(RuntimeError):
        torch.library.register_fake("torchvision::nms", kept)


def _import_torchvision() -> bool:
    with contextlib.suppress(Exception):  # whatever a build for another torch raises
        importlib.import_module("torchvision")
        return True
    return False


@lowers("torchvision.nms.default")
def nms(ctx: Context, boxes: Value, scores: Value, iou_threshold: float) -> Value:
    """Places of the boxes that no better box covers, the best first.

    Boxes are (x1, y1, x2, y2) in PyTorch, centre and size in Core ML, whose results are padded to a fixed number.
    """
    count = bounds(boxes.shape[0])[1]
    if count is None:
        raise ctx.unsupported("suppression of boxes whose number has no limit", hint="give the size an upper bound")
    low, high = ctx.mb.results("split", x=boxes, num_splits=2, axis=1)
    center = ctx.mb.mul(x=ctx.mb.add(x=low, y=high), y=0.5)
    corners = ctx.mb.concat(values=[center, ctx.mb.sub(x=high, y=low)], axis=1)
    boxes_last = ctx.opset >= iOS17
    options = {} if boxes_last else {"score_threshold": ctx.number(float("-inf"), scores.dtype)}
    found = ctx.mb.results(
        "non_maximum_suppression",
        boxes=ctx.mb.expand_dims(x=ctx.transpose(corners, [1, 0]) if boxes_last else corners, axes=[0]),
        scores=ctx.mb.expand_dims(x=scores, axes=[0, 1] if boxes_last else [0, 2]),
        iou_threshold=ctx.number(float(iou_threshold), boxes.dtype),
        max_boxes=count,
        per_class_suppression=False,
        **options,
    )
    places = ctx.mb.squeeze(x=found[2], axes=[0])
    kept = ctx.cast(ctx.mb.greater_equal(x=places, y=0), types.int32)
    return ctx.slice(places, 0, 0, ctx.mb.reduce_sum(x=kept, axes=[0], keep_dims=False))
