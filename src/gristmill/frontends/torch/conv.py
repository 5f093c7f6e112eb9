"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gristmill.frontends.torch.context import Context, is_constant
from gristmill.frontends.torch.registry import lowers
from gristmill.ir.opset import iOS17
from gristmill.ir.program import Value


@lowers("aten.convolution.default", "aten._convolution.default")
def convolution(
    ctx: Context,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    *ignored: object,
) -> Value:
    """Any number of spatial axes; without a batch axis one is added and taken away."""
    spatial = weight.rank - 2
    stride, padding, dilation = (list(v) * spatial if len(v) == 1 else list(v) for v in (stride, padding, dilation))
    batched = x.rank == weight.rank
    if not batched:
        x = ctx.mb.expand_dims(x=x, axes=[0])
    weight, bias = ctx.constant_operand(weight) or weight, ctx.constant_operand(bias)
    if transposed and not is_constant(weight) and ctx.opset < iOS17:
        raise ctx.unsupported(
            "the weight of a transposed convolution is computed by the model",
            expected=f"a constant weight, or opset {iOS17} or later",
            actual=ctx.opset,
            hint="set minimum_deployment_target to iOS17 or later",
        )
    late_bias = None
    if bias is not None and not is_constant(bias) and ctx.opset < iOS17:
        bias, late_bias = None, bias
    if transposed:
        y = _transposed(ctx, x, weight, bias, stride, padding, dilation, list(output_padding), groups)
    else:
        y = ctx.mb.conv(
            x=x,
            weight=weight,
            bias=bias,
            strides=stride,
            pad_type="custom" if any(padding) else "valid",
            pad=[amount for amount in padding for _ in range(2)] if any(padding) else None,
            dilations=dilation,
            groups=groups,
        )
    if late_bias is not None:
        y = ctx.mb.add(x=y, y=ctx.reshape(late_bias, [-1] + [1] * spatial))
    return y if batched else ctx.mb.squeeze(x=y, axes=[0])


@lowers("aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default")
def conv(
    ctx: Context,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Value:
    return convolution(ctx, x, weight, bias, stride, padding, dilation, False, (), groups)


@lowers("aten.conv_transpose1d.default", "aten.conv_transpose2d.input", "aten.conv_transpose3d.input")
def conv_transpose(
    ctx: Context,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    groups: int,
    dilation: Sequence[int],
) -> Value:
    return convolution(ctx, x, weight, bias, stride, padding, dilation, True, output_padding, groups)


def _transposed(
    ctx: Context,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    output_padding: list[int],
    groups: int,
) -> Value:
    """The op crops ``pad`` from the full result, so the output padding is cropped less at the far end.

    Where it exceeds the padding, the rest is appended: no input reaches there, so it holds only the bias.
    """
    output_padding = output_padding * len(stride) if len(output_padding) == 1 else output_padding
    before, after = list(padding), [p - extra for p, extra in zip(padding, output_padding, strict=True)]
    missing = [max(-a, 0) for a in after]
    after = [max(a, 0) for a in after]
    pads = [amount for pair in zip(before, after, strict=True) for amount in pair]
    y = ctx.mb.conv_transpose(
        x=x,
        weight=weight,
        bias=None if any(missing) else bias,
        strides=stride,
        pad_type="custom" if any(pads) else "valid",
        pad=pads if any(pads) else None,
        dilations=dilation,
        groups=groups,
    )
    if not any(missing):
        return y
    y = ctx.mb.pad(x=y, pad=[0, 0, 0, 0, *(n for amount in missing for n in (0, amount))], mode="constant")
    return y if bias is None else ctx.mb.add(x=y, y=ctx.reshape(bias, [-1] + [1] * len(stride)))


@lowers("aten.im2col.default")
def im2col(
    ctx: Context,
    x: Value,
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Value:
    """``torch.nn.Unfold``: a convolution whose weight picks one element of the window for each channel."""
    batched = x.rank == 4
    if not batched:
        x = ctx.mb.expand_dims(x=x, axes=[0])
    channels = x.shape[1]
    if not isinstance(channels, int):
        raise ctx.unsupported("unfolding channels whose number is only known at run time")
    size = kernel[0] * kernel[1]
    picks = np.tile(np.eye(size, dtype=x.dtype.numpy).reshape(size, 1, *kernel), (channels, 1, 1, 1))
    columns = ctx.mb.conv(
        x=x,
        weight=picks,
        strides=list(stride),
        pad_type="custom",
        pad=[padding[0], padding[0], padding[1], padding[1]],
        dilations=list(dilation),
        groups=channels,
    )
    y = ctx.reshape(columns, [ctx.size(x, 0), channels * size, -1])
    return y if batched else ctx.mb.squeeze(x=y, axes=[0])


@lowers("aten.col2im.default")
def col2im(
    ctx: Context,
    x: Value,
    output_size: Sequence[int],
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Value:
    """``torch.nn.Fold``: overlapping windows are added, which is the transposed convolution of the same picks."""
    batched = x.rank == 3
    if not batched:
        x = ctx.mb.expand_dims(x=x, axes=[0])
    rows = x.shape[1]
    if not isinstance(rows, int):
        raise ctx.unsupported("folding channels whose number is only known at run time")
    size = kernel[0] * kernel[1]
    channels = rows // size
    counts = [(output_size[k] + 2 * padding[k] - dilation[k] * (kernel[k] - 1) - 1) // stride[k] + 1 for k in range(2)]
    columns = ctx.reshape(x, [ctx.size(x, 0), rows, *counts])
    picks = np.tile(np.eye(size, dtype=x.dtype.numpy).reshape(size, 1, *kernel), (channels, 1, 1, 1))
    covered = [(counts[k] - 1) * stride[k] + dilation[k] * (kernel[k] - 1) + 1 for k in range(2)]
    y = ctx.mb.conv_transpose(
        x=columns,
        weight=picks,
        strides=list(stride),
        pad_type="valid",
        dilations=list(dilation),
        groups=channels,
    )
    rest = [max(output_size[k] + 2 * padding[k] - covered[k], 0) for k in range(2)]
    if any(rest):
        y = ctx.mb.pad(x=y, pad=[0, 0, 0, 0, 0, rest[0], 0, rest[1]], mode="constant")
    for axis in (0, 1):
        if padding[axis]:
            y = ctx.slice(y, axis + 2, padding[axis], padding[axis] + output_size[axis])
    return y if batched else ctx.mb.squeeze(x=y, axes=[0])
