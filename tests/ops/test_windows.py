"""Sizes of convolutions and pooling: against PyTorch, and for sizes that are not known yet."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st

from gristmill.errors import ExecutionError, TypeInferenceError
from gristmill.ir import dims
from gristmill.ir.builder import mb
from gristmill.ir.opset import iOS15, iOS18
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp32
from gristmill.ops.windows import Axis

sizes, kernels, strides, pads = (st.integers(1, high) for high in (40, 6, 5, 4))


def result(op, shape, opset=iOS18, **operands):
    """The shape that the op infers for an input of a given one."""
    program = Program()
    operands = {name: np.zeros(value, np.float32) if name == "weight" else value for name, value in operands.items()}
    with mb.function(program, "main", {"x": TensorType(fp32, shape)}, opset) as (x,):
        return mb.op(op, x=x, **operands).shape


@given(sizes, kernels, strides, st.integers(1, 3), pads, pads)
def test_convolutions_are_as_long_as_pytorchs(size, kernel, stride, dilation, before, after):
    """The inferred length is that of PyTorch's result on a padded input."""
    assume(size + before + after > (kernel - 1) * dilation)
    padded, weight = torch.zeros(1, 1, size + before + after), torch.zeros(1, 1, kernel)
    expected = F.conv1d(padded, weight, None, stride, 0, dilation).shape[2]
    assert Axis(kernel, stride, dilation, before, after).count(size) == expected


@given(sizes, kernels, strides, st.data())
def test_ceiled_pooling_is_as_long_as_pytorchs(size, kernel, stride, data):
    """With padding, or windows without gaps; PyTorch alone drops a window behind the data without any padding."""
    pad = data.draw(st.integers(0, kernel // 2))
    assume(size + 2 * pad >= kernel)
    assume(pad or stride <= kernel)
    expected = F.max_pool1d(torch.zeros(1, 1, size), kernel, stride, pad, 1, ceil_mode=True).shape[2]
    assert Axis(kernel, stride, 1, pad, pad).count(size, ceil_mode=True) == expected


CONFIGURATIONS = [
    ("conv", {"weight": (2, 2, 3), "strides": [2], "dilations": [2], "pad_type": "custom", "pad": [3, 1]}),
    ("conv", {"weight": (2, 2, 4), "strides": [3], "pad_type": "same"}),
    ("conv", {"weight": (2, 2, 4), "strides": [3], "pad_type": "same_lower"}),
    ("conv_transpose", {"weight": (2, 2, 3), "strides": [2], "pad_type": "custom", "pad": [1, 0]}),
    ("conv_transpose", {"weight": (2, 2, 3), "strides": [2], "pad_type": "same"}),
    ("max_pool", {"kernel_sizes": [3], "strides": [2], "pad_type": "custom", "pad": [1, 1], "ceil_mode": True}),
    ("avg_pool", {"kernel_sizes": [2], "strides": [3], "pad_type": "valid", "ceil_mode": True}),
    ("l2_pool", {"kernel_sizes": [4], "strides": [3], "pad_type": "same"}),
]


@pytest.mark.parametrize(("op", "operands"), CONFIGURATIONS)
def test_an_unknown_size_is_followed(op, operands):
    """The expression inferred for an unknown size has, for every size, the value inferred for that size."""
    length = dims.symbol("length", 3, 300)
    expression = result(op, (1, 2, length), **operands)[2]
    for size in range(3, 30):
        assert expression.evaluate({"length": size}) == result(op, (1, 2, size), **operands)[2]


@pytest.mark.parametrize(
    ("op", "operands", "says"),
    [
        ("conv", {"weight": (2, 3, 3)}, "channels of x"),
        ("conv", {"weight": (3, 2, 3), "groups": 2}, "multiple of the groups"),
        ("conv", {"weight": (2, 4, 9)}, "no window fits"),
        ("conv", {"weight": (2, 4, 3), "strides": [0]}, "strides"),
        ("conv", {"weight": (2, 4, 3), "strides": [1, 1]}, "strides"),
        ("conv", {"weight": (2, 4, 3), "pad_type": "custom", "pad": [1]}, "pad"),
        ("conv", {"weight": (2, 4, 3), "pad_type": "custom", "pad": [-1, 1]}, "pad"),
        ("conv", {"weight": (2, 4, 3), "pad_type": "full"}, "pad_type"),
        ("conv", {"weight": (2, 4, 3), "bias": [1.0]}, "bias"),
        ("conv_transpose", {"weight": (4, 2, 3), "pad_type": "same_lower"}, "pad_type"),
        ("conv_transpose", {"weight": (4, 2, 1), "pad_type": "custom", "pad": [4, 4]}, "nothing is left"),
        ("conv_transpose", {"weight": (4, 2, 3), "output_shape": [1, 3, 9]}, "output_shape"),
        ("max_pool", {"kernel_sizes": [9], "pad_type": "valid"}, "no window fits"),
        ("max_pool", {"kernel_sizes": [2], "pad_type": "same", "ceil_mode": True}, "ceil_mode"),
        ("max_pool", {"kernel_sizes": [2], "pad_type": "custom", "pad": [0, 1], "ceil_mode": True}, "ceil_mode"),
    ],
)
def test_what_does_not_fit_is_refused(op, operands, says):
    """The message names what does not fit."""
    with pytest.raises(TypeInferenceError, match=says):
        result(op, (1, 4, 7), **operands)


@pytest.mark.parametrize("op", ["conv", "max_pool"])
def test_same_lower_came_with_ios16(op):
    """Before, the padding type is refused."""
    operands = {"weight": (2, 4, 3)} if op == "conv" else {"kernel_sizes": [2]}
    with pytest.raises(TypeInferenceError, match="same_lower"):
        result(op, (1, 4, 7), iOS15, pad_type="same_lower", **operands)


def test_weights_at_run_time_came_with_ios17():
    """``conv`` took them always, ``conv_transpose`` took constants."""
    types = {"x": TensorType(fp32, (1, 2, 4)), "w": TensorType(fp32, (2, 2, 3))}
    with mb.function(Program(), "main", types, iOS15) as (x, w):
        assert mb.conv(x=x, weight=w).shape == (1, 2, 2)
        with pytest.raises(TypeInferenceError, match="weight"):
            mb.conv_transpose(x=x, weight=w)


def test_boundless_padding_is_an_error():
    """A file can ask for any padding; that costs no memory."""
    most = (1 << 31) - 1
    with mb.function(Program(), "main", {"x": TensorType(fp32, (1, 1, 4, 4))}, iOS18) as (x,):
        weight = np.zeros((1, 1, 1, 1), np.float32)
        op = mb.conv(x=x, weight=weight, strides=[most, most], pad_type="custom", pad=[most] * 4).producer
    with pytest.raises(ExecutionError, match="too large"):
        op.compute({"x": np.zeros((1, 1, 4, 4), np.float32), "weight": weight})


def test_channels_that_only_the_run_knows_are_checked():
    """An unknown number of channels that turns out not to fit the weight is an error, not a read beyond the data."""
    channels, weight = dims.symbol("channels"), np.zeros((4, 2, 3), np.float32)
    with mb.function(Program(), "main", {"x": TensorType(fp32, (1, channels, 8))}, iOS18) as (x,):
        op = mb.conv(x=x, weight=weight, groups=2).producer
    assert op.compute({"x": np.zeros((1, 4, 8), np.float32), "weight": weight})[0].shape == (1, 4, 6)
    with pytest.raises(ExecutionError, match="channels"):
        op.compute({"x": np.zeros((1, 2, 8), np.float32), "weight": weight})
