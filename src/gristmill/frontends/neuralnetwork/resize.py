"""Resizing, and parts of images resized."""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.frontends.neuralnetwork.context import Context, ops
from gristmill.frontends.neuralnetwork.registry import maps
from gristmill.ir.program import Value

_SAMPLING = {
    "STRICT_ALIGN_ENDPOINTS_MODE": "STRICT_ALIGN_CORNERS",
    "ALIGN_ENDPOINTS_MODE": "ALIGN_CORNERS",
    "UPSAMPLE_MODE": "DEFAULT",
    "ROI_ALIGN_MODE": "OFFSET_CORNERS",
}


def _sampling(mode: Any) -> str:
    return _SAMPLING[mode.samplingMethod] if mode is not None else "STRICT_ALIGN_CORNERS"


@maps("upsample", on_planes=True)
def upsample(ctx: Context, p: Any, x: Value) -> Value:
    factors = p.fractionalScalingFactor or p.scalingFactor or (1, 1)
    down, across = (float(factor) for factor in factors)
    if p.mode == "NN":
        return ctx.planes(
            x, lambda y: ops.upsample_nearest_neighbor(x=y, scale_factor_height=down, scale_factor_width=across)
        )
    if p.linearUpsampleMode == "DEFAULT":
        height, width = (_times(ctx, size, factor) for size, factor in zip(x.shape[-2:], (down, across), strict=True))
        return ctx.planes(x, lambda y: ops.resize_bilinear(x=y, target_size_height=height, target_size_width=width))
    ends = p.linearUpsampleMode == "ALIGN_CORNERS_TRUE"
    return ctx.planes(
        x,
        lambda y: ops.upsample_bilinear(x=y, scale_factor_height=down, scale_factor_width=across, align_corners=ends),
    )


def _times(ctx: Context, size: Any, factor: float) -> int:
    if not isinstance(size, int):
        raise ctx.unsupported("this way of upsampling an image of unknown size")
    return int(size * factor)


@maps("resizeBilinear", on_planes=True)
def resize_bilinear(ctx: Context, p: Any, x: Value) -> Value:
    height, width = p.targetSize or (1, 1)
    return ctx.planes(
        x,
        lambda y: ops.resize_bilinear(
            x=y, target_size_height=height, target_size_width=width, sampling_mode=_sampling(p.mode)
        ),
    )


@maps("cropResize")
def crop_resize(ctx: Context, p: Any, x: Value, boxes: Value) -> Value:
    """Boxes [N, 1, 4 or 5, 1, 1] of images [1, B, C, H, W], or [N, 4 or 5] of [B, C, H, W].

    A fifth number, in front, is the image's index. Without it every box is cut from every image.
    """
    height, width = p.targetSize or (1, 1)
    images = ops.squeeze(x=x, axes=[0]) if x.rank == 5 else x
    rows = ops.squeeze(x=boxes, axes=[1, 3, 4]) if boxes.rank == 5 else boxes
    count, numbers = rows.shape
    options = {
        "target_height": height,
        "target_width": width,
        "normalized_coordinates": p.normalizedCoordinates,
        "spatial_scale": p.spatialScale or 1.0,
        "box_coordinate_mode": p.boxIndicesMode.boxMode if p.boxIndicesMode is not None else "CORNERS_HEIGHT_FIRST",
        "sampling_mode": _sampling(p.mode),
    }
    if numbers == 5:
        chosen = ops.squeeze(x=ctx.integers(ctx.slice(rows, 1, 0, 1)), axes=[1])
        found = ops.crop_resize(x=images, boxes=ctx.slice(rows, 1, 1, None), box_indices=chosen, **options)
        return ops.expand_dims(x=found, axes=[1]) if x.rank == 5 else found
    if not isinstance(count, int):
        raise ctx.unsupported("the number of boxes must be known", actual=boxes.type)
    batch = ctx.size(images, 0)
    times = ops.concat(values=[np.array([1], np.int32), batch, np.array([1], np.int32)], axis=0)
    each = ops.reshape(x=ops.tile(x=ops.expand_dims(x=rows, axes=[1]), reps=times), shape=np.array([-1, 4], np.int32))
    numbered = ops.range_1d(end=ctx.scalar(batch), start=np.int32(0), step=np.int32(1))
    chosen = ops.tile(x=numbered, reps=np.array([count], np.int32))
    found = ops.crop_resize(x=images, boxes=each, box_indices=chosen, **options)
    sizes = [ctx.size(found, axis) for axis in (1, 2, 3)]
    return ctx.reshape(found, [count, batch, *sizes]) if x.rank == 5 else found


@maps("NonMaximumSuppression")
def non_maximum_suppression(
    ctx: Context,
    p: Any,
    boxes: Value,
    scores: Value,
    iou_threshold: Value | None = None,
    score_threshold: Value | None = None,
    max_boxes: Value | None = None,
) -> tuple[Value, ...]:
    iou = ctx.number(p.iouThreshold) if iou_threshold is None else ctx.scalar(iou_threshold)
    score = ctx.number(p.scoreThreshold) if score_threshold is None else ctx.scalar(score_threshold)
    most = ops.const(np.int32(p.maxBoxes)) if max_boxes is None else ctx.scalar(ctx.integers(max_boxes))
    return ops.several(
        "nn_non_maximum_suppression",
        boxes=boxes,
        scores=scores,
        iou_threshold=iou,
        score_threshold=score,
        max_boxes=most,
        per_class_suppression=p.perClassSuppression,
    )
