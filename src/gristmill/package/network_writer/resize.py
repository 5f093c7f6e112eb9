"""Resizing, parts of images resized, and choosing among boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.ir.opset import iOS14, iOS17
from gristmill.ops import detection, image_resizing
from gristmill.ops.nn import detection as nn
from gristmill.package.network_writer.registry import RefusedError, writes
from gristmill.package.network_writer.writer import Writer

_SAMPLING = {
    "STRICT_ALIGN_CORNERS": "STRICT_ALIGN_ENDPOINTS_MODE",
    "ALIGN_CORNERS": "ALIGN_ENDPOINTS_MODE",
    "DEFAULT": "UPSAMPLE_MODE",
    "OFFSET_CORNERS": "ROI_ALIGN_MODE",
}


def _mode(grid: str) -> dict[str, str]:
    if grid not in _SAMPLING:
        raise RefusedError(f"the layer has no grid {grid}", f"use one of {', '.join(_SAMPLING)}")
    return {"samplingMethod": _SAMPLING[grid]}


def _upsample(w: Writer, op: Any, factors: Sequence[float], **fields: Any) -> str:
    """Whole factors are as old as the layer; others came later, in a field of their own."""
    if all(float(factor).is_integer() for factor in factors):
        return w.layer("upsample", w.tensor(op.x), scalingFactor=[int(f) for f in factors], **fields)
    w.needs(iOS14, "factors that are no integers")
    return w.layer("upsample", w.tensor(op.x), fractionalScalingFactor=factors, **fields)


def _factors(op: Any) -> list[float]:
    """Float32 factors that make the sizes of the result from those of x, rounded down."""
    found = []
    for before, after in zip(op.x.shape[-2:], op.result.shape[-2:], strict=True):
        if not isinstance(before, int) or not isinstance(after, int):
            raise RefusedError("the layer takes factors, which do not follow from unknown sizes", "scale by factors")
        factor = np.float32(after / before)
        while int(np.float32(factor) * np.float32(before)) < after:
            factor = np.nextafter(factor, np.float32(np.inf))
        found.append(float(factor))
    return found


@writes(image_resizing.upsample_nearest_neighbor)
def upsample_nearest(w: Writer, op: Any) -> str:
    return _upsample(w, op, [op.scale_factor_height, op.scale_factor_width], mode="NN")


@writes(image_resizing.resize_nearest_neighbor)
def resize_nearest(w: Writer, op: Any) -> str:
    """By whole factors an upsampling; else the layer would take other pixels, which are gathered here."""
    factors = _factors(op)
    if all(factor.is_integer() for factor in factors):
        return _upsample(w, op, factors, mode="NN")
    x = w.tensor(op.x)
    for axis in (-2, -1):
        places = image_resizing.nearest_index(op.x.shape[axis], op.result.shape[axis], "DEFAULT")
        x = w.layer("gather", x, w.load(places), axis=axis)
    return x


@writes(image_resizing.upsample_bilinear)
def upsample_bilinear(w: Writer, op: Any) -> str:
    if op.grid == "DEFAULT":
        return _resize(w, op)
    w.needs(iOS14, "this grid")
    factors = [op.scale_factor_height, op.scale_factor_width]
    return _bilinear(w, op, factors, aligned=op.grid == "STRICT_ALIGN_CORNERS")


def _bilinear(w: Writer, op: Any, factors: Sequence[float], aligned: bool) -> str:
    mode = "ALIGN_CORNERS_TRUE" if aligned else "ALIGN_CORNERS_FALSE"
    return _upsample(w, op, factors, mode="BILINEAR", linearUpsampleMode=mode)


@writes(image_resizing.resize_bilinear)
def resize_bilinear(w: Writer, op: Any) -> str:
    if op.sampling_mode == "UNALIGN_CORNERS":
        w.needs(iOS14, "this grid")
        return _bilinear(w, op, _factors(op), aligned=False)
    return _resize(w, op, op.sampling_mode)


def _resize(w: Writer, op: Any, grid: str = "DEFAULT") -> str:
    sizes = op.result.shape[-2:]
    if not all(isinstance(size, int) for size in sizes):
        raise RefusedError("the layer holds the size of the result", "use images of known sizes")
    return w.layer("resizeBilinear", w.tensor(op.x), targetSize=sizes, mode=_mode(grid))


@writes(image_resizing.crop_resize)
def crop_resize(w: Writer, op: Any) -> str:
    """The layer takes images [1, B, C, H, W] and boxes [N, 1, 4 or 5, 1, 1], and makes [N, B or 1, C, h, w]."""
    if op.opset < iOS17:
        boxes, one_each = w.tensor(op.roi), False
    else:
        rows, one_each = w.tensor(op.boxes), True
        boxes = w.expand(w.layer("concatND", _indices(w, op), rows, axis=1), [1, 3, 4])
    if getattr(op, "pad_value", None):
        raise RefusedError("outside of an image there is 0", "leave pad_value out")
    made = w.layer(
        "cropResize",
        w.expand(w.tensor(op.x), [0]),
        boxes,
        targetSize=[op.target_height, op.target_width],
        normalizedCoordinates=op.normalized_coordinates,
        spatialScale=op.spatial_scale,
        boxIndicesMode={"boxMode": op.box_coordinate_mode},
        mode=_mode(op.sampling_mode),
    )
    return w.squeeze(made, [1]) if one_each else made


def _indices(w: Writer, op: Any) -> str:
    """Which image each box is of, as a column."""
    if op.box_indices is not None:
        return w.expand(w.tensor(op.box_indices), [1])
    count = op.boxes.shape[0]
    if not isinstance(count, int):
        raise RefusedError("the number of boxes is not known", "give box_indices")
    return w.load(np.arange(count, dtype=np.float32).reshape(-1, 1))


@writes(detection.non_maximum_suppression)
def suppression(w: Writer, op: Any) -> list[str]:
    """Since iOS 17 boxes and scores come last, and no score is too low."""
    last = op.opset >= iOS17
    order = [0, 2, 1] if last else [0, 1, 2]
    found = w.layers(
        "NonMaximumSuppression",
        w.transpose(w.tensor(op.boxes), order),
        w.transpose(w.tensor(op.scores), order),
        count=4,
        iouThreshold=op.iou_threshold,
        scoreThreshold=float(np.finfo(np.float32).min) if last else op.score_threshold,
        maxBoxes=op.max_boxes,
        perClassSuppression=op.per_class_suppression,
    )
    return [*(w.transpose(name, order) for name in found[:2]), *found[2 : len(op.results)]]


@writes(nn.nn_non_maximum_suppression)
def suppression_by_operands(w: Writer, op: Any) -> list[str]:
    limits = (op.iou_threshold, op.score_threshold, op.max_boxes)
    numbers = [w.number(value) for value in limits]
    inputs = [] if None not in numbers else [w.row(value) for value in limits]
    fields = dict(zip(("iouThreshold", "scoreThreshold", "maxBoxes"), numbers, strict=True)) if not inputs else {}
    if fields:
        fields["maxBoxes"] = int(fields["maxBoxes"] or 0)
    return w.layers(
        "NonMaximumSuppression",
        w.tensor(op.boxes),
        w.tensor(op.scores),
        *inputs,
        count=4,
        perClassSuppression=op.per_class_suppression,
        **fields,
    )
