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
from gristmill.ir.constants import Array, Data, LazyData
from gristmill.ir.opset import iOS16, iOS17, iOS18
from gristmill.ir.program import Value
from gristmill.ir.types import DType

_STORED = (types.int8, types.uint8)

WEIGHT_SIZE = 1024
"""Least elements of a constant of bytes that stays one: a smaller one is no weight, and folding it saves ops."""


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


@lowers("torchao.dequantize_affine.default")
def dequantize_blocks(
    ctx: Context,
    q: Value,
    block_size: list[int],
    scale: Value,
    zero_point: Value | None,
    dtype: torch.dtype,
    low: int | None = None,
    high: int | None = None,
    output_dtype: torch.dtype = torch.float32,
) -> Value:
    """Torchao's form: one scale for each block of a tensor."""
    weight, step = ctx.folded(q), _static(ctx, scale).astype(np.float32)
    if weight is None:
        raise ctx.unsupported("blocks of values that the model computes", hint="quantise the weights only")
    counts = tuple(size // block for size, block in zip(weight.shape, block_size, strict=True))
    offset = np.zeros(counts) if zero_point is None else _static(ctx, zero_point).reshape(counts)
    return _decoded(ctx, weight, step.reshape(counts), offset, _smallest(dtype, low, high))


def widened_weight(ctx: Context, x: Value, dtype: torch.dtype) -> Value | None:
    """A constant weight of bytes as floats, decoded when it is used; ``None`` where that is no weight."""
    stored = narrow_integer(dtype)
    if stored not in _STORED or x.rank < 2 or ctx.opset < iOS16 or not ctx.dtype.is_float:
        return None
    weight = ctx.folded(x)
    if weight is None or weight.size < WEIGHT_SIZE:
        return None
    one, none = np.ones((1,) * x.rank, np.float32), np.zeros((1,) * x.rank)
    return ctx.cast(_decoded(ctx, weight, one, none, stored), ctx.dtype)


def _smallest(dtype: torch.dtype, low: int | None, high: int | None) -> DType:
    """The narrowest type that holds the integers of a range, or all of PyTorch's type."""
    stored = narrow_integer(dtype) or types.int32
    if low is not None and high is not None:
        for narrow in (types.int4, types.uint4):
            if narrow.min <= low and high <= narrow.max:
                return narrow
    return stored


def _integers(ctx: Context, weight: Data, stored: DType) -> Value:
    """A weight's integers as a constant of their own type."""
    data = LazyData(stored, weight.shape, lambda: weight.read().astype(stored.numpy), "quantised weight")
    return ctx.mb.const(data, name="quantized")


def _by_channel(ctx: Context, weight: Data, scale: Array, zero_point: Array, axis: int, stored: DType) -> Value:
    """A weight with one scale for each place along an axis, or one for all."""
    return ctx.mb.constexpr_affine_dequantize(
        quantized_data=_integers(ctx, weight, stored),
        zero_point=zero_point.astype(stored.numpy),
        scale=scale.astype(np.float32),
        axis=axis,
    )


def _decoded(ctx: Context, weight: Data, scale: Array, offset: Array, stored: DType) -> Value:
    """``(weight - offset)·scale`` with one of both for each block, kept in integers as far as the opset can."""
    if stored.bits < 8 and ctx.opset < iOS18:
        stored = types.uint8 if stored.kind == "uint" else types.int8
    varying = [axis for axis, count in enumerate(scale.shape) if count > 1]
    by_channel = not varying or (len(varying) == 1 and scale.shape[varying[0]] == weight.shape[varying[0]])
    if ctx.opset >= iOS18 and stored in (*_STORED, types.int4, types.uint4):
        shift = None if not offset.any() else ctx.mb.const(offset.astype(stored.numpy), dtype=stored, name="offset")
        data = _integers(ctx, weight, stored)
        return ctx.mb.constexpr_blockwise_shift_scale(data=data, scale=scale, offset=shift)
    if ctx.opset >= iOS16 and stored in _STORED and by_channel:
        flat = (-1,) if varying else ()
        return _by_channel(ctx, weight, scale.reshape(flat), offset.reshape(flat), varying[0] if varying else 0, stored)

    def dense() -> Array:
        blocks = [size // count for size, count in zip(weight.shape, scale.shape, strict=True)]
        step, shift = scale, offset
        for axis, block in enumerate(blocks):
            step, shift = np.repeat(step, block, axis), np.repeat(shift, block, axis)
        return ((weight.read() - shift) * step).astype(np.float32)

    return ctx.mb.const(LazyData(types.fp32, weight.shape, dense, "decoded weight"))


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
        return _by_channel(ctx, weight, scale, zero_point, axis or 0, stored)
    narrow = _before_cast(q)
    if ctx.opset >= iOS17 and stored in _STORED and narrow is not None and narrow.dtype == stored:
        return ctx.mb.dequantize(input=narrow, **_parameters(scale, zero_point, axis, stored))
    step, offset = (_along(p, axis, q.rank).astype(np.float32) for p in (scale, zero_point))
    return ctx.mb.mul(x=ctx.mb.sub(x=ctx.cast(q, types.fp32), y=offset), y=step)


def _before_cast(q: Value) -> Value | None:
    """What was cast to int32 to make a value."""
    producer = q.producer
    return producer.operand("x") if producer is not None and producer.op_name == "cast" else None
