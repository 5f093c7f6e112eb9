"""Quantised values and weights, as PyTorch's export and eager quantisation write them.

Weights stay integers in the program, with Core ML's own decoding; values are rounded by its ``quantize`` where the
opset has it. Integers under 32 bits travel as int32 between the two, and the casts cancel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gristmill.frontends.torch.context import Context
from gristmill.frontends.torch.dtypes import narrow_integer
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.constants import Array, LazyData
from gristmill.ir.opset import iOS16, iOS17
from gristmill.ir.program import Value
from gristmill.ir.types import DType

_STORED = (types.int8, types.uint8)


@lowers("quantized_decomposed.quantize_per_tensor.default", "quantized_decomposed.quantize_per_tensor.tensor")
def quantize_tensor(
    ctx: Context, x: Value, scale: Any, zero_point: Any, low: int, high: int, dtype: torch.dtype
) -> Value:
    return _quantized(ctx, x, _static(ctx, scale), _static(ctx, zero_point), None, low, high, dtype)


@lowers("quantized_decomposed.quantize_per_channel.default")
def quantize_channels(
    ctx: Context, x: Value, scale: Value, zero_point: Value, axis: int, low: int, high: int, dtype: torch.dtype
) -> Value:
    return _quantized(ctx, x, _static(ctx, scale), _static(ctx, zero_point), axis, low, high, dtype)


@lowers("quantized_decomposed.dequantize_per_tensor.default", "quantized_decomposed.dequantize_per_tensor.tensor")
def dequantize_tensor(
    ctx: Context,
    q: Value,
    scale: Any,
    zero_point: Any,
    low: int,
    high: int,
    dtype: torch.dtype,
    *,
    out_dtype: torch.dtype | None = None,
) -> Value:
    return _dequantized(ctx, q, _static(ctx, scale), _static(ctx, zero_point), None, dtype)


@lowers("quantized_decomposed.dequantize_per_channel.default")
def dequantize_channels(
    ctx: Context,
    q: Value,
    scale: Value,
    zero_point: Value | None,
    axis: int,
    low: int,
    high: int,
    dtype: torch.dtype,
    *,
    out_dtype: torch.dtype | None = None,
) -> Value:
    step = _static(ctx, scale)
    offset = np.zeros(step.shape) if zero_point is None else _static(ctx, zero_point)
    return _dequantized(ctx, q, step, offset, axis, dtype)


def _static(ctx: Context, parameter: Any) -> Array:
    found = ctx.static(parameter)
    if found is None:
        raise ctx.unsupported("a scale or zero point that the model computes", hint="quantise statically")
    return found if not isinstance(parameter, Value) or parameter.rank == 0 or found.size > 1 else found.reshape(())


def _along(parameter: Array, axis: int | None, rank: int) -> Array:
    return (
        parameter.reshape([-1 if k == (axis or 0) % rank else 1 for k in range(rank)]) if parameter.ndim else parameter
    )


def _parameters(scale: Array, zero_point: Array, axis: int | None, stored: DType) -> dict[str, Any]:
    return {
        "scale": scale.astype(np.float32),
        "zero_point": zero_point.astype(stored.numpy),
        "axis": axis if scale.ndim else None,
    }


def _quantized(
    ctx: Context, x: Value, scale: Array, zero_point: Array, axis: int | None, low: int, high: int, dtype: torch.dtype
) -> Value:
    stored = narrow_integer(dtype)
    if ctx.opset >= iOS17 and stored in _STORED and (low, high) == (stored.min, stored.max):
        q = ctx.mb.quantize(input=x, output_dtype=stored.name, **_parameters(scale, zero_point, axis, stored))
        return ctx.cast(q, types.int32)
    step, offset = (_along(p, axis, x.rank).astype(np.float32) for p in (scale, zero_point))
    place = ctx.mb.add(x=ctx.mb.round(x=ctx.mb.real_div(x=x, y=step)), y=offset)
    return ctx.cast(ctx.mb.clip(x=place, alpha=float(low), beta=float(high)), types.int32)


def _dequantized(
    ctx: Context, q: Value, scale: Array, zero_point: Array, axis: int | None, dtype: torch.dtype
) -> Value:
    stored = narrow_integer(dtype)
    weight = ctx.folded(q)
    if stored in _STORED and weight is not None and weight.shape and ctx.opset >= iOS16:
        source = weight
        data = LazyData(stored, weight.shape, lambda: source.read().astype(stored.numpy), "quantised weight")
        return ctx.mb.constexpr_affine_dequantize(
            quantized_data=ctx.mb.const(data, name="quantized"),
            zero_point=zero_point.astype(stored.numpy),
            scale=scale.astype(np.float32),
            axis=axis or 0,
        )
    narrow = _before_cast(q)
    if ctx.opset >= iOS17 and stored in _STORED and narrow is not None and narrow.dtype == stored:
        return ctx.mb.dequantize(input=narrow, **_parameters(scale, zero_point, axis, stored))
    step, offset = (_along(p, axis, q.rank).astype(np.float32) for p in (scale, zero_point))
    return ctx.mb.mul(x=ctx.mb.sub(x=ctx.cast(q, types.fp32), y=offset), y=step)


def _before_cast(q: Value) -> Value | None:
    """What was cast to int32 to make a value."""
    producer = q.producer
    return producer.operand("x") if producer is not None and producer.op_name == "cast" else None
