"""Sizes of resized images, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.errors import ExecutionError, GristmillError, TypeInferenceError
from gristmill.ir.builder import mb
from gristmill.ir.dims import DimExpr, symbol
from gristmill.ir.opset import iOS15, iOS16, iOS18
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp32, int32

HEIGHT, WIDTH = symbol("height", 1, 500), symbol("width", 1, 500)


def result(make, shape=(1, 2, HEIGHT, WIDTH), opset=iOS18):
    """What a function of an image makes."""
    with mb.function(Program(), "main", {"x": TensorType(fp32, shape)}, opset) as (x,):
        return make(x)


def values(shape, **sizes):
    return tuple(d.evaluate(sizes) if isinstance(d, DimExpr) else d for d in shape)


@pytest.mark.parametrize("op", ["upsample_bilinear", "upsample_nearest_neighbor"])
def test_factors_scale_unknown_sizes(op):
    """Whole factors and simple fractions give expressions; a fraction that float32 rounds gives an unknown size."""
    made = result(lambda x: mb.op(op, x=x, scale_factor_height=1.5, scale_factor_width=3.0))
    assert values(made.shape, height=5, width=4) == (1, 2, 7, 12)
    made = result(lambda x: mb.op(op, x=x, scale_factor_height=1.1, scale_factor_width=3.0))
    assert isinstance(made.shape[2], DimExpr)
    assert not made.shape[2].symbols & {HEIGHT, WIDTH}


def test_resize_follows_a_computed_shape():
    """The result has twice the unknown size of x."""
    made = result(
        lambda x: mb.resize(x=x, shape=mb.mul(x=mb.shape(x=x), y=np.array([1, 1, 2, 3], np.int32)), resized_dims=2)
    )
    assert values(made.shape, height=5, width=4) == (1, 2, 10, 12)


def test_resize_keeps_sizes_where_the_shape_says_0():
    """Counted from the right, whatever the length of the shape."""
    assert result(lambda x: mb.resize(x=x, shape=[9, 0, 8], resized_dims=2)).shape == (1, 2, HEIGHT, 8)


def test_crop_takes_from_unknown_sizes():
    """Both amounts of both axes."""
    made = result(lambda x: mb.crop(x=x, crop_height=[1, 2], crop_width=[3, 0]))
    assert values(made.shape, height=9, width=9) == (1, 2, 6, 6)


def test_crop_resize_makes_one_crop_of_a_chosen_image():
    """Five numbers a box choose an image, four take all of them; since iOS17 there is no such axis."""
    sizes = {"target_height": 3, "target_width": 4}
    boxes = np.zeros((6, 1, 5, 1, 1), np.float32)
    assert result(lambda x: mb.crop_resize(x=x, roi=boxes, **sizes), (7, 2, 9, 9), iOS16).shape == (6, 1, 2, 3, 4)
    boxes = boxes[:, :, :4]
    assert result(lambda x: mb.crop_resize(x=x, roi=boxes, **sizes), (7, 2, 9, 9), iOS16).shape == (6, 7, 2, 3, 4)
    boxes = boxes[:, 0, :, 0, 0]
    assert result(lambda x: mb.crop_resize(x=x, boxes=boxes, **sizes), (7, 2, 9, 9)).shape == (6, 2, 3, 4)


BOXES, POINTS = np.zeros((2, 4), np.float32), np.zeros((1, 3, 3, 2), np.float32)
SAMPLING = {"padding_mode": "constant", "padding_value": 0.0, "coordinates_mode": "unnormalized", "align_corners": True}
AFFINE = {**SAMPLING, "coordinates_mode": "normalized_minus_one_to_one", "sampling_mode": "bilinear"}
AFFINE |= {"output_height": 2, "output_width": 2}

REFUSED = [
    ("resize_bilinear", {"target_size_height": 0}, "at least 1"),
    ("resize_bilinear", {"sampling_mode": "HALF_PIXEL"}, "sampling_mode"),
    ("upsample_bilinear", {"scale_factor_width": 0.0}, "scale factor"),
    ("upsample_bilinear", {"scale_factor_width": float("nan")}, "scale factor"),
    ("upsample_nearest_neighbor", {"scale_factor_width": 0.1}, "at least 1"),
    ("upsample_nearest_neighbor", {"scale_factor_width": 1e30}, "too large"),
    ("crop", {"crop_height": [1, 1, 1], "crop_width": [0, 0]}, "crop_height"),
    ("crop", {"crop_height": [1, 1], "crop_width": [2, 2]}, "at least 1"),
    ("resize", {"shape": [1, 2], "resized_dims": 3}, "resized_dims"),
    ("resize", {"shape": [1, 1, 1, 1, 1], "resized_dims": 2}, "length of shape"),
    ("resize", {"shape": [-3], "resized_dims": 1}, "negative"),
    ("crop_resize", {"boxes": BOXES}, "boxes without box_indices"),
    ("crop_resize", {"boxes": BOXES, "box_indices": [0]}, "box_indices"),
    ("crop_resize", {"boxes": BOXES[:, :3], "box_indices": [0, 0]}, "shape of boxes"),
    ("resample", {"coordinates": POINTS[..., :1], "sampling_mode": "nearest", **SAMPLING}, "last dimension"),
    ("resample", {"coordinates": POINTS, "sampling_mode": "bicubic", **SAMPLING}, "sampling_mode"),
    ("affine", {"transform_matrix": np.zeros((1, 5), np.float32), **AFFINE}, "transform_matrix"),
    ("affine", {"transform_matrix": np.zeros((1, 6), np.float32), **AFFINE, "padding_mode": "border"}, "padding_mode"),
]


@pytest.mark.parametrize(("op", "operands", "says"), REFUSED, ids=[f"{op}-{says}" for op, _, says in REFUSED])
def test_what_does_not_fit_is_refused(op, operands, says):
    """The message names what does not fit."""
    with pytest.raises(TypeInferenceError, match=says):
        result(lambda x: mb.op(op, x=x, **operands), (1, 2, 4, 4))


def test_half_pixel_centers_came_with_ios16():
    """Before, there is no such operand."""
    with pytest.raises(TypeInferenceError, match="half_pixel_centers"):
        result(lambda x: mb.upsample_bilinear(x=x, half_pixel_centers=True), opset=iOS15)


@pytest.mark.parametrize("index", [-1, 1])
def test_a_box_of_no_image_is_an_error(index):
    """An index out of range does not wrap around."""
    x, boxes, indices = np.zeros((1, 1, 4, 4), np.float32), BOXES[:1], np.array([index], np.int32)
    op = result(lambda x: mb.crop_resize(x=x, boxes=boxes, box_indices=indices), x.shape).producer
    with pytest.raises(ExecutionError, match="image"):
        op.compute({"x": x, "boxes": boxes, "box_indices": indices})


def test_a_boundless_size_at_run_time_is_an_error():
    """A shape that a program computes can be any; that costs no memory."""
    x, shape = np.zeros((1, 1), np.float32), np.array([1 << 30, 1 << 30], np.int32)
    types = {"x": TensorType(fp32, (1, 1)), "shape": TensorType(int32, (2,))}
    with mb.function(Program(), "main", types, iOS18) as (image, size):
        op = mb.resize(x=image, shape=size, resized_dims=2).producer
    with pytest.raises(GristmillError, match="too large"):
        op.compute({"x": x, "shape": shape})
