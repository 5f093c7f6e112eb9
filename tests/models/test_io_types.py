"""Descriptions of inputs, outputs, states and classes: what they accept, and what they say of what they do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gristmill as ct
from gristmill.errors import InputError, InputTypeError
from gristmill.ir.types import fp16, fp32, int8, int32


@pytest.mark.parametrize(
    ("given", "declared"),
    [
        (np.float32, fp32),
        (np.float64, fp32),
        (float, fp32),
        (np.float16, fp16),
        (torch.float16, fp16),
        ("float16", fp16),
        (np.int32, int32),
        (np.int64, int32),
        (int, int32),
        (bool, int32),
        (torch.bool, int32),
        (np.int8, int8),
        (fp16, fp16),
        (None, None),
    ],
)
def test_element_types(given, declared):
    """NumPy's, Python's, PyTorch's and our own; types that Core ML's inputs lack become their kin."""
    assert ct.TensorType(shape=(1,), dtype=given).dtype == declared


@pytest.mark.parametrize("given", [np.complex64, np.uint8, np.int16, "text", torch.bfloat16, 3])
def test_element_types_that_inputs_lack(given):
    with pytest.raises(InputTypeError, match="float16, float32, int32 or int8"):
        ct.TensorType(shape=(1,), dtype=given)


@pytest.mark.parametrize(
    "bounds", [{"lower_bound": -1}, {"lower_bound": 3, "upper_bound": 2}, {"upper_bound": 4, "default": 5}]
)
def test_ranges_run_upwards(bounds):
    with pytest.raises(InputError):
        ct.RangeDim(**bounds)


def test_range_defaults():
    """The default size is the smallest; -1 is no limit."""
    assert ct.RangeDim(3, 9).default == 3
    assert ct.RangeDim(3, 9).dim.bounds == (3, 9)
    assert ct.RangeDim(3).dim.bounds == (3, None)


def test_shape_defaults():
    shape = ct.Shape((1, ct.RangeDim(2, 8, default=4)))
    assert shape.default == (1, 4)
    assert ct.Shape(shape.shape, default=(1, 7)).default == (1, 7)


@pytest.mark.parametrize(
    ("shape", "kind"), [((1, -1), InputError), ((1, 2.0), InputTypeError), ((True,), InputTypeError)]
)
def test_sizes_are_counts(shape, kind):
    with pytest.raises(kind):
        ct.Shape(shape)


def test_shape_default_has_the_rank():
    with pytest.raises(InputError, match="rank"):
        ct.Shape((1, ct.RangeDim()), default=(1,))


@pytest.mark.parametrize("shapes", [[], [(1, 2), (1,)], [(n,) for n in range(129)]])
def test_enumerated_shapes_are_at_most_128_of_one_rank(shapes):
    with pytest.raises(InputError):
        ct.EnumeratedShapes(shapes)


def test_enumerated_default_is_one_of_them():
    assert ct.EnumeratedShapes([(1,), (2,)]).default == (1,)
    with pytest.raises(InputError, match="not among"):
        ct.EnumeratedShapes([(1,), (2,)], default=(3,))


def test_default_value_has_the_shape():
    with pytest.raises(InputError, match="another shape"):
        ct.TensorType(shape=(2,), default_value=np.zeros(3, np.float32))
    with pytest.raises(InputError, match="shape"):
        ct.TensorType(default_value=np.zeros(3, np.float32))


def test_bias_is_one_or_one_a_channel():
    assert ct.ImageType(bias=0.5).bias == (0.5, 0.5, 0.5)
    assert ct.ImageType(bias=[1], color_layout="GRAYSCALE").bias == (1,)
    with pytest.raises(InputError, match="one bias for each channel"):
        ct.ImageType(bias=[1, 2])


def test_unknown_colour_layout():
    with pytest.raises(InputError, match="GRAYSCALE_FLOAT16"):
        ct.ImageType(color_layout="CMYK")


def test_state_wraps_a_nameless_tensor():
    with pytest.raises(InputTypeError, match="TensorType"):
        ct.StateType((1, 2), name="s")
    with pytest.raises(InputError, match="name"):
        ct.StateType(ct.TensorType(name="s", shape=(1,)))
