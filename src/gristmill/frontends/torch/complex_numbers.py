"""Complex tensors as pairs of real ones, and Fourier transforms as products with matrices of roots of unity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gristmill.frontends.torch.context import Complex, Context
from gristmill.frontends.torch.dtypes import tensor_data
from gristmill.frontends.torch.elementwise import arc_tangent
from gristmill.frontends.torch.pooling import apply_along_axis
from gristmill.frontends.torch.registry import lowers
from gristmill.ir.constants import Array
from gristmill.ir.program import Value


@lowers("aten.complex.default")
def complex_(ctx: Context, real: Value, imag: Value) -> Complex:
    return Complex(real, imag)


@lowers("aten.polar.default")
def polar(ctx: Context, magnitude: Value, angle: Value) -> Complex:
    return Complex(ctx.mb.mul(x=magnitude, y=ctx.mb.cos(x=angle)), ctx.mb.mul(x=magnitude, y=ctx.mb.sin(x=angle)))


@lowers("aten.view_as_complex.default", "aten.view_as_complex_copy.default")
def view_as_complex(ctx: Context, x: Value) -> Complex:
    last = x.rank - 1
    parts = [ctx.mb.squeeze(x=ctx.slice(x, last, k, k + 1), axes=[last]) for k in range(2)]
    return Complex(parts[0], parts[1])


@lowers("aten.view_as_real.default", "aten.view_as_real_copy.default")
def view_as_real(ctx: Context, x: Complex) -> Value:
    return ctx.mb.stack(values=[x.real, x.imag], axis=x.real.rank)


@lowers("aten.real.default")
def real(ctx: Context, x: Any) -> Value:
    found: Value = x.real if isinstance(x, Complex) else x
    return found


@lowers("aten.imag.default")
def imag(ctx: Context, x: Complex) -> Value:
    return x.imag


@lowers("aten.angle.default")
def angle(ctx: Context, x: Any) -> Value:
    if isinstance(x, Complex):
        return arc_tangent(ctx, x.imag, x.real)
    negative = ctx.mb.less(x=ctx.cast(x, ctx.dtype), y=0.0)
    return ctx.select(negative, ctx.number(math.pi, ctx.dtype), ctx.number(0, ctx.dtype))


@lowers("aten._conj.default", "aten._conj_physical.default", "aten.conj_physical.default", "aten.conj.default")
def conjugate(ctx: Context, x: Any) -> Any:
    return Complex(x.real, ctx.mb.mul(x=x.imag, y=-1.0)) if isinstance(x, Complex) else x


@lowers("aten.resolve_conj.default", "aten.resolve_neg.default")
def resolved(ctx: Context, x: Any) -> Any:
    return x


@lowers("aten._neg_view.default")
def negated(ctx: Context, x: Value) -> Value:
    return ctx.mb.mul(x=x, y=-1.0)


# --- Fourier transforms ----------------------------------------------------------------------------------------------


def _roots(rows: int, columns: int, n: int, sign: int) -> tuple[Array, Array]:
    """``exp(sign·2πi·jk/n)``; the exponent is reduced modulo n first, so that the angle is exact."""
    turns = np.outer(np.arange(rows), np.arange(columns)) % n
    theta = 2 * np.pi * turns / n
    return np.cos(theta), sign * np.sin(theta)


def _scale(normalization: int, n: int) -> float:
    return {0: 1.0, 1: 1 / math.sqrt(n), 2: 1 / n}[normalization]


def _length(ctx: Context, x: Value, axis: int) -> int:
    size = x.shape[axis]
    if not isinstance(size, int):
        raise ctx.unsupported("a Fourier transform of an axis whose size is only known at run time")
    return size


@lowers("aten._fft_c2c.default")
def transform(ctx: Context, x: Complex, dims: Sequence[int], normalization: int, forward: bool) -> Complex:
    for dim in dims:
        n = _length(ctx, x.real, dim)
        cos, sin = (part * _scale(normalization, n) for part in _roots(n, n, n, -1 if forward else 1))
        axis = dim % x.real.rank
        real = ctx.mb.sub(x=apply_along_axis(ctx, x.real, axis, cos), y=apply_along_axis(ctx, x.imag, axis, sin))
        imag = ctx.mb.add(x=apply_along_axis(ctx, x.real, axis, sin), y=apply_along_axis(ctx, x.imag, axis, cos))
        x = Complex(real, imag)
    return x


@lowers("aten._fft_r2c.default")
def transform_real(ctx: Context, x: Value, dims: Sequence[int], normalization: int, onesided: bool) -> Complex:
    """The last of the axes is real; half of its spectrum is enough."""
    axis = dims[-1] % x.rank
    n = _length(ctx, x, axis)
    rows = n // 2 + 1 if onesided else n
    cos, sin = (part * _scale(normalization, n) for part in _roots(rows, n, n, -1))
    found = Complex(apply_along_axis(ctx, x, axis, cos), apply_along_axis(ctx, x, axis, sin))
    return transform(ctx, found, dims[:-1], normalization, True)


@lowers("aten._fft_c2r.default")
def transform_to_real(ctx: Context, x: Complex, dims: Sequence[int], normalization: int, last_size: int) -> Value:
    """From half a spectrum: each coefficient but the first, and the middle one, counts for its mirror image too."""
    x = transform(ctx, x, dims[:-1], normalization, False)
    axis = dims[-1] % x.real.rank
    half = last_size // 2 + 1
    cos, sin = (part * _scale(normalization, last_size) for part in _roots(last_size, half, last_size, 1))
    twice = np.full(half, 2.0)
    twice[0] = 1
    if last_size % 2 == 0:
        twice[-1] = 1
    parts = [part if part.shape[axis] == half else ctx.slice(part, axis, 0, half) for part in (x.real, x.imag)]
    return ctx.mb.sub(
        x=apply_along_axis(ctx, parts[0], axis, cos * twice), y=apply_along_axis(ctx, parts[1], axis, sin * twice)
    )


@lowers(
    "aten.hann_window",
    "aten.hamming_window",
    "aten.blackman_window",
    "aten.bartlett_window",
    "aten.kaiser_window",
)
def window(ctx: Context, length: int, *shape: Any) -> Value:
    """A window function has no operands: PyTorch's own values are the constant."""
    make = getattr(torch, ctx.operator.split(".")[1])
    return ctx.mb.const(tensor_data(make(length, *shape, dtype=ctx.torch_dtype), ctx.name))
