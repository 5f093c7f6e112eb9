"""Tensors made from nothing. What is known at conversion becomes a constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.frontends.torch.context import Complex, Context, Number, Size
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.program import Value


def _filled(ctx: Context, shape: Sequence[Size], value: Any) -> Any:
    if isinstance(value, Value):
        return ctx.expand(ctx.cast(value, ctx.dtype), shape)
    if ctx.torch_dtype.is_complex:
        number = complex(value)
        return Complex(ctx.full(shape, number.real, ctx.dtype), ctx.full(shape, number.imag, ctx.dtype))
    return ctx.full(shape, value, ctx.dtype)


def _sizes_like(ctx: Context, x: Any) -> list[Size]:
    return ctx.sizes(x.real if isinstance(x, Complex) else x)


@lowers("aten.zeros.default", "aten.empty.memory_format", "aten.empty_strided.default", "aten.empty_permuted.default")
def zeros(ctx: Context, shape: Sequence[Size], order: Any = None) -> Any:
    """What PyTorch leaves unset is zero here."""
    return _filled(ctx, shape, 0)


@lowers("aten.ones.default")
def ones(ctx: Context, shape: Sequence[Size]) -> Any:
    return _filled(ctx, shape, 1)


@lowers("aten.full.default")
def full(ctx: Context, shape: Sequence[Size], value: Any) -> Any:
    return _filled(ctx, shape, value)


@lowers("aten.zeros_like.default", "aten.empty_like.default")
def zeros_like(ctx: Context, x: Any) -> Any:
    return _filled(ctx, _sizes_like(ctx, x), 0)


@lowers("aten.ones_like.default")
def ones_like(ctx: Context, x: Any) -> Any:
    return _filled(ctx, _sizes_like(ctx, x), 1)


@lowers("aten.full_like.default")
def full_like(ctx: Context, x: Any, value: Any) -> Any:
    return _filled(ctx, _sizes_like(ctx, x), value)


@lowers("aten.new_zeros.default", "aten.new_empty.default", "aten.new_empty_strided.default")
def new_zeros(ctx: Context, x: Any, shape: Sequence[Size], stride: Any = None) -> Any:
    return _filled(ctx, shape, 0)


@lowers("aten.new_ones.default")
def new_ones(ctx: Context, x: Any, shape: Sequence[Size]) -> Any:
    return _filled(ctx, shape, 1)


@lowers("aten.new_full.default")
def new_full(ctx: Context, x: Any, shape: Sequence[Size], value: Any) -> Any:
    return _filled(ctx, shape, value)


@lowers("aten.scalar_tensor.default")
def scalar_tensor(ctx: Context, value: Any) -> Any:
    return _filled(ctx, [], value)


@lowers("aten.arange.default")
def arange(ctx: Context, end: Size | float) -> Value:
    return arange_step(ctx, 0, end, 1)


@lowers("aten.arange.start")
def arange_start(ctx: Context, start: Size | float, end: Size | float) -> Value:
    return arange_step(ctx, start, end, 1)


@lowers("aten.arange.start_step")
def arange_step(ctx: Context, start: Any, end: Any, step: Any = 1) -> Value:
    if not any(isinstance(bound, Value) for bound in (start, end, step)):
        count = ctx.meta.shape[0]  # as PyTorch rounds it
        # PyTorch multiplies in double precision for floats, exactly for integers.
        values = start + np.arange(count) * step
        return ctx.mb.const(values.astype(ctx.dtype.numpy))
    bounds = [ctx.cast(bound, ctx.dtype) for bound in (start, end, step)]
    return ctx.mb.range_1d(start=bounds[0], end=bounds[1], step=bounds[2])


@lowers("aten.linspace")
def linspace(ctx: Context, start: Any, end: Any, steps: int) -> Value:
    """Both halves count from their own end, as PyTorch does, so that the ends are exact."""
    ends = [bound if not isinstance(bound, Value) else ctx.static(bound) for bound in (start, end)]
    place = np.arange(steps, dtype=np.float64)
    if ends[0] is not None and ends[1] is not None:
        first, last = (float(np.asarray(bound).reshape(-1)[0]) for bound in ends)
        step = (last - first) / (steps - 1) if steps > 1 else 0.0
        values = np.where(place < steps / 2, first + step * place, last - step * (steps - 1 - place))
        return ctx.mb.const(values.astype(ctx.dtype.numpy))
    fraction = (place / max(steps - 1, 1)).astype(np.float32)
    low, high = ctx.cast(start, types.fp32), ctx.cast(end, types.fp32)
    ramp = ctx.mb.add(x=ctx.mb.mul(x=low, y=1 - fraction), y=ctx.mb.mul(x=high, y=fraction))
    return ctx.cast(ramp, ctx.dtype)


@lowers("aten.logspace")
def logspace(ctx: Context, start: Number, end: Number, steps: int, base: float = 10.0) -> Value:
    return ctx.mb.const(np.logspace(start, end, steps, base=base).astype(ctx.dtype.numpy))


@lowers("aten.eye.default", "aten.eye.m")
def eye(ctx: Context, rows: int, columns: int | None = None) -> Value:
    return ctx.mb.const(np.eye(rows, rows if columns is None else columns, dtype=ctx.dtype.numpy))


@lowers("aten.tril_indices.default", "aten.triu_indices.default")
def triangle_indices(ctx: Context, rows: int, columns: int, offset: int = 0) -> Value:
    places = np.tril_indices if "tril" in ctx.operator else np.triu_indices
    return ctx.mb.const(np.stack(places(rows, offset, columns)).astype(np.int32))
