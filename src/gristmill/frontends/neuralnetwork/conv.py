"""Convolutions and their transposes over two and three axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.frontends.neuralnetwork.context import Context, ops
from gristmill.frontends.neuralnetwork.registry import maps
from gristmill.ir.program import Value
from gristmill.ops.windows import same_padding


def border(amounts: Any) -> list[int]:
    """Sizes before and after each axis, one row."""
    edges = amounts.borderAmounts if amounts is not None else ()
    return [n for edge in edges for n in (edge.startEdgeSize, edge.endEdgeSize)] or [0, 0, 0, 0]


def padding_of(p: Any, group: str) -> dict[str, Any]:
    """``pad_type`` and ``pad`` for a layer whose padding is ``valid`` or ``same``."""
    if p.choice(group) == "same":
        heavy_in_front = p.same.asymmetryMode == "TOP_LEFT_HEAVY"
        return {"pad_type": "same_lower" if heavy_in_front else "same"}
    amounts = border(p.valid.paddingAmounts) if p.valid is not None else [0, 0, 0, 0]
    return {"pad_type": "custom", "pad": amounts} if any(amounts) else {"pad_type": "valid"}


@maps("convolution", on_planes=True)
def convolution(ctx: Context, p: Any, x: Value, weight: Value | None = None, bias: Value | None = None) -> Value:
    kernel, groups = p.kernelSize or (3, 3), p.nGroups or 1
    shape = (p.outputChannels, p.kernelChannels, *kernel)
    if p.isDeconvolution:
        shape = (p.kernelChannels, p.outputChannels // groups, *kernel)
    if weight is None:
        weight = ctx.factors(p.weights, shape, axis=1 if p.isDeconvolution else 0)
        bias = ctx.bias(p.hasBias, p.bias, p.outputChannels)
    options: dict[str, Any] = {
        "strides": p.stride or (1, 1),
        "dilations": p.dilationFactor or (1, 1),
        "groups": groups,
        **padding_of(p, "ConvolutionPaddingType"),
    }
    if p.isDeconvolution:
        return ctx.planes(x, lambda y: transposed(ctx, y, weight, bias, kernel, options, p.outputShape))
    return ctx.planes(x, lambda y: ops.conv(x=y, weight=weight, bias=bias, **options))


def transposed(
    ctx: Context,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    kernel: Sequence[int],
    options: dict[str, Any],
    shape: Sequence[int],
) -> Value:
    """A transposed convolution; a stated shape of the result counts more than padding."""
    assert weight is not None
    if shape:
        if not isinstance(x.shape[0], int):
            raise ctx.unsupported("a batch of unknown size with a stated output shape", actual=x.type)
        made = weight.shape[1] * options["groups"]
        options = {**options, "output_shape": (x.shape[0], made, *shape)}
    if options["pad_type"] == "same_lower":  # which the op does not have
        pad: list[int] = []
        for k, stride, dilation in zip(kernel, options["strides"], options["dilations"], strict=True):
            less, more = same_padding(stride, (k - 1) * dilation + 1, stride)
            pad += [int(more), int(less)]
        options = {**options, "pad_type": "custom", "pad": pad}
    return ops.conv_transpose(x=x, weight=weight, bias=bias, **options)


_PADDINGS = ("Front", "Back", "Top", "Bottom", "Left", "Right")


def padding_3d(p: Any) -> dict[str, Any]:
    """``pad_type`` and ``pad`` of a layer over three axes."""
    if p.paddingType != "CUSTOM":
        return {"pad_type": p.paddingType.lower()}
    return {"pad_type": "custom", "pad": [getattr(p, f"customPadding{side}") for side in _PADDINGS]}


def volumes(p: Any, prefix: str) -> list[int]:
    """Depth, height and width of something; 1 where unset."""
    return [getattr(p, f"{prefix}{axis}") or 1 for axis in ("Depth", "Height", "Width")]


@maps("convolution3d")
def convolution_3d(ctx: Context, p: Any, x: Value) -> Value:
    groups, kernel = p.nGroups or 1, volumes(p, "kernel")
    options: dict[str, Any] = {
        "strides": volumes(p, "stride"),
        "dilations": volumes(p, "dilation"),
        "groups": groups,
        **padding_3d(p),
    }
    bias = ctx.bias(p.hasBias, p.bias, p.outputChannels)
    if p.isDeconvolution:
        weight = ctx.factors(p.weights, (p.inputChannels, p.outputChannels // groups, *kernel), axis=1)
        return transposed(ctx, x, weight, bias, kernel, options, p.outputShape)
    weight = ctx.factors(p.weights, (p.outputChannels, p.inputChannels // groups, *kernel))
    return ops.conv(x=x, weight=weight, bias=bias, **options)
