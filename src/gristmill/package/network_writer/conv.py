"""Convolutions and pooling.

Sequences [batch, channels, length] get a height of 1; layers over three axes are of types of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.ops import conv, pooling
from gristmill.ops.windows import axes_of
from gristmill.package.network_writer.registry import RefusedError, writes
from gristmill.package.network_writer.writer import Writer

_HEIGHT = [2]
"""The axis that sequences get."""

_SIDES = ("Front", "Back", "Top", "Bottom", "Left", "Right")
_AXES = ("Depth", "Height", "Width")


def _padding(op: Any, ones: Sequence[int]) -> dict[str, Any]:
    """The field for an op's padding along height and width."""
    if op.pad_type in ("same", "same_lower"):
        heavy = "TOP_LEFT_HEAVY" if op.pad_type == "same_lower" else "BOTTOM_RIGHT_HEAVY"
        return {"same": {"asymmetryMode": heavy}}
    amounts = list(op.pad) if op.pad_type == "custom" else [0, 0] * (op.x.rank - 2)
    return {"valid": {"paddingAmounts": borders([0, 0] * len(ones) + amounts)}}


def borders(amounts: Sequence[int]) -> dict[str, Any]:
    """``BorderAmounts`` of pairs: before and after each axis."""
    edges = zip(amounts[::2], amounts[1::2], strict=True)
    return {"borderAmounts": [{"startEdgeSize": before, "endEdgeSize": after} for before, after in edges]}


def _padding_3d(op: Any) -> dict[str, Any]:
    if op.pad_type == "same_lower":
        raise RefusedError("layers over three axes have no padding 'same_lower'", "pad by amounts")
    if op.pad_type != "custom":
        return {"paddingType": op.pad_type}
    return {"paddingType": "CUSTOM"} | {f"customPadding{side}": n for side, n in zip(_SIDES, op.pad, strict=True)}


def _volume(prefix: str, sizes: Sequence[int]) -> dict[str, int]:
    return {f"{prefix}{axis}": size for axis, size in zip(_AXES, sizes, strict=True)}


# --- convolutions ----------------------------------------------------------------------------------------------------


@writes(conv.conv)
def convolution(w: Writer, op: Any) -> str:
    made, taken, *_ = op.weight.shape
    if op.x.rank == 5:
        return _convolution_3d(w, op, made, {})
    return _convolution(w, op, made, taken, {})


@writes(conv.conv_transpose)
def transposed(w: Writer, op: Any) -> str:
    taken, each, *_ = op.weight.shape
    fields: dict[str, Any] = {"isDeconvolution": True}
    if op.output_shape is not None:
        fields["outputShape"] = [*(1,) * (4 - op.x.rank), *op.output_shape[2:]]
    if op.x.rank == 5:
        return _convolution_3d(w, op, each * op.groups, fields)
    return _convolution(w, op, each * op.groups, taken, fields)


def _sizes(value: Value) -> Sequence[int]:
    """The shape of a weight, which must be known."""
    if not value.tensor.is_static:
        raise RefusedError("its weight is of unknown size", "give it a fixed shape")
    return [n for n in value.shape if isinstance(n, int)]


def _convolution(w: Writer, op: Any, made: int, taken: int, fields: dict[str, Any]) -> str:
    ones = _HEIGHT if op.x.rank == 3 else []
    one = [1] * len(ones)
    inputs = [w.expand(w.tensor(op.x), ones)]
    if not (w.knows(op.weight) and (op.bias is None or w.knows(op.bias))):  # then both are inputs
        inputs.append(w.expand(w.tensor(op.weight), ones))
        inputs += [w.tensor(op.bias)] if op.bias is not None else []
    else:
        axis = _output_axis(op)
        fields = {"weights": w.held(op.weight, "the weight", axis), **_bias(w, op), **fields}
    y = w.layer(
        "convolution",
        *inputs,
        outputChannels=made,
        kernelChannels=taken,
        nGroups=op.groups,
        hasBias=op.bias is not None,
        kernelSize=[*one, *_sizes(op.weight)[2:]],
        stride=[*one, *op.strides],
        dilationFactor=[*one, *op.dilations],
        **_padding(op, ones),
        **fields,
    )
    return w.squeeze(y, ones)


def _output_axis(op: Any) -> int | None:
    """The axis of a weight that has an element for each output channel; transposed in groups there is none."""
    if isinstance(op, conv.conv):
        return 0
    return 1 if op.groups == 1 else None


def _bias(w: Writer, op: Any) -> dict[str, Any]:
    return {} if op.bias is None else {"bias": w.held(op.bias, "the bias")}


def _convolution_3d(w: Writer, op: Any, made: int, fields: dict[str, Any]) -> str:
    return w.layer(
        "convolution3d",
        w.tensor(op.x),
        outputChannels=made,
        inputChannels=op.x.shape[1],
        nGroups=op.groups,
        hasBias=op.bias is not None,
        weights=w.held(op.weight, "the weight"),
        **_bias(w, op),
        **_volume("kernel", _sizes(op.weight)[2:]),
        **_volume("stride", op.strides),
        **_volume("dilation", op.dilations),
        **_padding_3d(op),
        **fields,
    )


# --- pooling ---------------------------------------------------------------------------------------------------------

_POOLS: dict[type[Op], str] = {pooling.avg_pool: "AVERAGE", pooling.l2_pool: "L2", pooling.max_pool: "MAX"}


@writes(*_POOLS)
def pool(w: Writer, op: Any) -> str:
    kind, average = _POOLS[type(op)], isinstance(op, pooling.avg_pool)
    if op.x.rank == 5:
        return _pool_3d(w, op, kind)
    ones = _HEIGHT if op.x.rank == 3 else []
    one = [1] * len(ones)
    padding = _padding(op, ones)
    if op.ceil_mode and not _same_when_floored(op):
        amounts = op.pad[::2] if op.pad_type == "custom" else [0] * (op.x.rank - 2)  # as much behind as in front
        padding = {"includeLastPixel": {"paddingAmounts": [*(0 for _ in ones), *amounts]}}
    y = w.layer(
        "pooling",
        w.expand(w.tensor(op.x), ones),
        type=kind,
        kernelSize=[*one, *op.kernel_sizes],
        stride=[*one, *op.strides],
        avgPoolExcludePadding=average and op.exclude_padding_from_average,
        **padding,
    )
    return w.squeeze(y, ones)


def _same_when_floored(op: Any) -> bool:
    """Whether the last windows end with the data, so that rounding their number up or down is the same."""
    sizes = op.x.shape[2:]
    if not all(isinstance(size, int) for size in sizes):
        return False
    axes = axes_of(op, sizes, op.kernel_sizes, op.strides, [1] * len(sizes), op.pad_type, op.pad)
    return all(axis.count(size, ceil_mode=True) == axis.count(size) for axis, size in zip(axes, sizes, strict=True))


def _pool_3d(w: Writer, op: Any, kind: str) -> str:
    return w.layer(
        "pooling3d",
        w.tensor(op.x),
        type=kind,
        countExcludePadding=isinstance(op, pooling.avg_pool) and op.exclude_padding_from_average,
        **_volume("kernel", op.kernel_sizes),
        **_volume("stride", op.strides),
        **_padding_3d(op),
    )
