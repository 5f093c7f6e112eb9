"""Cases of ``gristmill.ops.conv``."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from gristmill.ir.opset import iOS16, iOS17, iOS26
from gristmill.ir.types import fp16, fp32, uint8
from tests.op_cases.case import Case, Fixed, Typed

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
LATER = (iOS17, iOS26)


def eighths(*shape):
    """Multiples of 1/8: float16 holds them, and float64 holds their products and sums."""
    return np.random.default_rng(len(shape) + sum(shape)).integers(-16, 17, shape) / 8


def parameters(x, weight, bias, stride, dilation, groups):
    """Operands, defaults left out."""
    found = {"x": x, "weight": Fixed(weight)}
    if bias is not None:
        found["bias"] = Fixed(bias)
    for name, value in (("strides", stride), ("dilations", dilation)):
        if value != 1:
            found[name] = np.broadcast_to(value, x.ndim - 2).tolist()
    return found if groups == 1 else found | {"groups": groups}


def case(label, x, weight, pads, *, bias=None, stride=1, dilation=1, groups=1, opsets=None, **operands):
    """A convolution whose oracle is PyTorch's on an input padded by ``pads``: (before, after) for each axis."""
    rank = x.ndim - 2

    def expected(x):
        padding = [n for pair in reversed(pads) for n in pair]
        bias_tensor = None if bias is None else torch.from_numpy(bias)
        tensors = F.pad(torch.from_numpy(x), padding), torch.from_numpy(weight), bias_tensor
        return CONVOLUTIONS[rank](*tensors, stride, 0, dilation, groups).numpy()

    operands |= parameters(x, weight, bias, stride, dilation, groups)
    return Case("conv", operands, expected, id=label, opsets=opsets)


def transposed(label, x, weight, *, bias=None, stride=1, dilation=1, groups=1, pads=None, crop=None, **operands):
    """A transposed convolution whose oracle is PyTorch's, all of it, cut and extended as ``crop`` says.

    ``crop`` holds (elements cut in front, length) for each axis; past what there is comes nothing but the bias.
    """
    rank = x.ndim - 2

    def expected(x):
        tensors = torch.from_numpy(x), torch.from_numpy(weight)
        whole = TRANSPOSED[rank](*tensors, None, stride, 0, 0, groups, dilation)
        for axis, (start, length) in enumerate(crop or []):
            whole = whole.narrow(2 + axis, start, min(length, whole.shape[2 + axis] - start))
            missing = [*whole.shape]
            missing[2 + axis] = length - whole.shape[2 + axis]
            whole = torch.cat((whole, whole.new_zeros(missing)), 2 + axis)
        return whole.numpy() + (0 if bias is None else bias.reshape(-1, *(1,) * rank))

    operands |= parameters(x, weight, bias, stride, dilation, groups)
    if pads is not None:
        operands |= {"pad_type": "custom", "pad": pads}
    return Case("conv_transpose", operands, expected, id=label)


LINE, IMAGE, VOLUME = eighths(2, 4, 9), eighths(1, 4, 7, 6), eighths(1, 2, 4, 5, 3)
NONE = [(0, 0)] * 2

CASES = [
    Case(
        "conv",
        {"x": np.array([[[1.0, 2, 3, 4]]]), "weight": Fixed(np.array([[[1.0, 10, 100]]]))},
        [[[321, 432]]],
        id="by-hand",
    ),
    Case(
        "conv",
        {"x": np.array([[[1.0, 2, 3, 4]]]), "weight": Fixed(np.array([[[1.0, 10]]])), "pad_type": "same"},
        [[[21, 32, 43, 4]]],
        id="same-pads-behind",
    ),
    Case(
        "conv",
        {"x": np.array([[[1.0, 2, 3, 4]]]), "weight": Fixed(np.array([[[1.0, 10]]])), "pad_type": "same_lower"},
        [[[10, 21, 32, 43]]],
        id="same-lower-pads-in-front",
        opsets=(iOS16, iOS26),
    ),
    case("line", LINE, eighths(6, 4, 3), [(0, 0)], bias=eighths(6)),
    case("line-dilated", LINE, eighths(6, 4, 3), [(3, 1)], dilation=3, stride=2, pad_type="custom", pad=[3, 1]),
    case("image", IMAGE, eighths(5, 4, 3, 2), NONE, bias=eighths(5)),
    case(
        "image-custom",
        IMAGE,
        eighths(5, 4, 3, 2),
        [(2, 0), (1, 3)],
        stride=(1, 2),
        dilation=(2, 1),
        pad_type="custom",
        pad=[2, 0, 1, 3],
    ),
    # 7 rows in strides of 2 make 4 windows of 3, which take 9: one row of padding on each side; 6 columns make 3, of 7
    case("image-same-strided", IMAGE, eighths(5, 4, 3, 3), [(1, 1), (0, 1)], stride=2, pad_type="same"),
    case(
        "image-same-lower-strided",
        IMAGE,
        eighths(5, 4, 3, 3),
        [(1, 1), (1, 0)],
        stride=2,
        pad_type="same_lower",
        opsets=(iOS16, iOS26),
    ),
    case("same-stride-past-the-kernel", IMAGE, eighths(5, 4, 1, 1), NONE, stride=3, pad_type="same"),
    case("pointwise", IMAGE, eighths(8, 4, 1, 1), NONE, bias=eighths(8)),
    case("grouped", IMAGE, eighths(6, 2, 2, 2), NONE, groups=2, bias=eighths(6)),
    case("depthwise", IMAGE, eighths(4, 1, 3, 3), [(1, 1), (1, 1)], groups=4, pad_type="same", bias=eighths(4)),
    case("depthwise-multiplied", IMAGE, eighths(12, 1, 2, 3), NONE, groups=4, stride=2),
    case("depthwise-widened", IMAGE, eighths(40, 1, 2, 3), NONE, groups=4, dilation=2),
    case("one-channel", eighths(1, 1, 30), eighths(9, 1, 8), [(0, 0)], stride=4),
    case("volume", VOLUME, eighths(3, 2, 2, 3, 1), [(0, 0)] * 3, bias=eighths(3)),
    case(
        "volume-strided",
        VOLUME,
        eighths(4, 1, 2, 2, 2),
        [(1, 1), (0, 1), (1, 0)],
        stride=(2, 1, 2),
        groups=2,
        pad_type="custom",
        pad=[1, 1, 0, 1, 1, 0],
    ),
    Case(
        "conv",
        {"x": IMAGE, "weight": eighths(3, 4, 2, 2)},
        lambda x, weight: F.conv2d(torch.from_numpy(x), torch.from_numpy(weight)).numpy(),
        id="weight-at-run-time",
    ),
    Case(
        "conv",
        {"x": IMAGE, "weight": Fixed(eighths(3, 4, 2, 2), fp16), "bias": Typed(eighths(3), fp16)},
        lambda x, bias: F.conv2d(*map(torch.from_numpy, (x, eighths(3, 4, 2, 2), bias))).numpy(),
        id="weight-of-another-type",
        dtypes=(fp32,),
        opsets=LATER,
    ),
    Case(
        "conv",
        {"x": np.full((1, 3000, 1), 60.0), "weight": Fixed(np.full((1, 3000, 1), 0.25))},
        [[[45000]]],
        id="sum-past-half-precision",  # 3000 additions of 15 in float16 would stop at 32768
    ),
    Case(
        "conv_quantized",
        {
            "x": LINE,
            "weight": Fixed(np.arange(24).reshape(2, 4, 3), uint8),
            "bias": Fixed(np.array([1, 7]), uint8),
            "quantization_type": "linear",
            "quant_scale": Fixed(np.array([0.5, 0.25])),
            "quant_bias": Fixed(np.array([-1.0, 2.0])),
        },
        lambda x: F.conv1d(
            torch.from_numpy(x),
            torch.arange(24.0).double().reshape(2, 4, 3) * torch.tensor([[[0.5]], [[0.25]]])
            + torch.tensor([[[-1]], [[2]]]),
            torch.tensor([1.0, 7]).double(),
        ).numpy(),
    ),
    Case(
        "conv_transpose",
        {"x": np.array([[[1.0, 2]]]), "weight": Fixed(np.array([[[1.0, 10, 100]]])), "strides": [2]},
        [[[1, 10, 102, 20, 200]]],
        id="by-hand",
    ),
    transposed("line", LINE, eighths(4, 3, 4), stride=3, bias=eighths(3)),
    transposed("image", IMAGE, eighths(4, 5, 3, 2), bias=eighths(5), stride=(2, 1), dilation=(1, 2)),
    transposed(
        "image-cropped", IMAGE, eighths(4, 5, 3, 3), stride=2, pads=[1, 0, 1, 1], crop=[(1, 14), (1, 11)], groups=1
    ),
    transposed("grouped", IMAGE, eighths(4, 3, 2, 2), groups=2, stride=2),
    transposed("depthwise", IMAGE, eighths(4, 2, 3, 3), groups=4, bias=eighths(8)),
    transposed("volume", VOLUME, eighths(2, 2, 2, 3, 1), stride=(1, 2, 3)),
    # `same` makes size times stride: of 15 rows 14 stay, of 13 columns 12; the odd one goes behind
    transposed("same", IMAGE, eighths(4, 5, 3, 3), stride=2, pad_type="same", crop=[(0, 14), (0, 12)]),
    transposed("same-dilated", LINE, eighths(4, 5, 3), dilation=2, pad_type="same", crop=[(2, 9)]),
    transposed("same-stride-past-the-kernel", LINE, eighths(4, 5, 1), stride=2, pad_type="same", crop=[(0, 18)]),
    # a convolution `same` of 13 elements in strides of 2 makes 7, from 15 when the kernel has 3: 1 in front
    transposed(
        "output-shape-same",
        eighths(1, 2, 7),
        eighths(2, 3, 3),
        stride=2,
        pad_type="same",
        output_shape=[1, 3, 13],
        crop=[(1, 13)],
    ),
    transposed(
        "output-shape-longer",
        eighths(1, 2, 3),
        eighths(2, 3, 3),
        bias=eighths(3),
        stride=4,
        pad_type="valid",
        output_shape=[1, 3, 13],
        crop=[(0, 13)],
    ),
    Case(
        "conv_transpose",
        {"x": LINE, "weight": eighths(4, 3, 2), "bias": eighths(3)},
        lambda x, weight, bias: F.conv_transpose1d(*map(torch.from_numpy, (x, weight, bias))).numpy(),
        id="weight-at-run-time",
        opsets=LATER,
    ),
]
