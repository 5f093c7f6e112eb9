"""Arithmetic, comparison and logic, element by element, with PyTorch's type promotion."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch

from gristmill.frontends.torch.context import Complex, Context, Number
from gristmill.frontends.torch.elementwise_unary import truncated
from gristmill.frontends.torch.quantization import widened_weight
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.program import Value

Operand: TypeAlias = Any  # a Value, a Complex or a number; mypy's narrowing would only repeat the code


# --- arithmetic ------------------------------------------------------------------------------------------------------


@lowers("aten.add")
def add(ctx: Context, x: Operand, y: Operand, alpha: Number = 1) -> Any:
    if isinstance(x, Complex) or isinstance(y, Complex):
        return _complex_sum(ctx, "add", x, y, alpha)
    if ctx.dtype == types.bool_:
        return ctx.mb.logical_or(x=ctx.cast(x, types.bool_), y=ctx.cast(y, types.bool_))
    return ctx.wrap(ctx.mb.add(x=ctx.cast(x, ctx.dtype), y=_scaled(ctx, y, alpha)))


@lowers("aten.sub")
def sub(ctx: Context, x: Operand, y: Operand, alpha: Number = 1) -> Any:
    if isinstance(x, Complex) or isinstance(y, Complex):
        return _complex_sum(ctx, "sub", x, y, alpha)
    return ctx.wrap(ctx.mb.sub(x=ctx.cast(x, ctx.dtype), y=_scaled(ctx, y, alpha)))


@lowers("aten.rsub")
def rsub(ctx: Context, x: Operand, y: Operand, alpha: Number = 1) -> Any:
    return sub(ctx, y, x, alpha)


def _scaled(ctx: Context, y: Operand, alpha: Number) -> Value:
    if alpha == 1:
        return ctx.cast(y, ctx.dtype)
    if not isinstance(y, Value):
        return ctx.number(y * alpha, ctx.dtype)
    return ctx.mb.mul(x=ctx.cast(y, ctx.dtype), y=ctx.number(alpha, ctx.dtype))


def _complex_sum(ctx: Context, op_name: str, x: Any, y: Any, alpha: Number) -> Complex:
    a, b = as_complex(ctx, x), as_complex(ctx, y)
    combine: Callable[..., Value] = getattr(ctx.mb, op_name)
    return Complex(
        combine(x=a.real, y=_scaled(ctx, b.real, alpha)),
        combine(x=a.imag, y=_scaled(ctx, b.imag, alpha)),
    )


def as_complex(ctx: Context, x: Any) -> Complex:
    """A tensor or a number as a complex one of the result's type."""
    if isinstance(x, Complex):
        return Complex(ctx.cast(x.real, ctx.dtype), ctx.cast(x.imag, ctx.dtype))
    if isinstance(x, complex):
        return Complex(ctx.number(x.real, ctx.dtype), ctx.number(x.imag, ctx.dtype))
    real = ctx.cast(x, ctx.dtype)
    return Complex(real, ctx.full(ctx.sizes(real), 0, ctx.dtype))


@lowers("aten.mul")
def mul(ctx: Context, x: Operand, y: Operand) -> Any:
    if isinstance(x, Complex | complex) or isinstance(y, Complex | complex):
        return complex_product(ctx, x, y)
    if ctx.dtype == types.bool_:
        return ctx.mb.logical_and(x=ctx.cast(x, types.bool_), y=ctx.cast(y, types.bool_))
    return ctx.wrap(ctx.mb.mul(x=ctx.cast(x, ctx.dtype), y=ctx.cast(y, ctx.dtype)))


def complex_product(ctx: Context, x: Any, y: Any) -> Complex:
    """``(a + bi)(c + di)``; a real factor scales both parts."""
    if not isinstance(x, Complex):
        x, y = y, x
    a, b = ctx.cast(x.real, ctx.dtype), ctx.cast(x.imag, ctx.dtype)
    if not isinstance(y, Complex | complex):
        factor = ctx.cast(y, ctx.dtype)
        return Complex(ctx.mb.mul(x=a, y=factor), ctx.mb.mul(x=b, y=factor))
    other = as_complex(ctx, y)
    c, d = other.real, other.imag
    real = ctx.mb.sub(x=ctx.mb.mul(x=a, y=c), y=ctx.mb.mul(x=b, y=d))
    return Complex(real, ctx.mb.add(x=ctx.mb.mul(x=a, y=d), y=ctx.mb.mul(x=b, y=c)))


@lowers("aten.div", "aten.true_divide")
def div(ctx: Context, x: Operand, y: Operand, *, rounding_mode: str | None = None) -> Any:
    if isinstance(x, Complex) or isinstance(y, Complex):
        return _complex_quotient(ctx, x, y)
    if rounding_mode == "floor":
        return floor_divide(ctx, x, y)
    if rounding_mode == "trunc":
        return _truncated_quotient(ctx, x, y)
    return ctx.mb.real_div(x=ctx.cast(x, ctx.dtype), y=ctx.cast(y, ctx.dtype))


def _complex_quotient(ctx: Context, x: Any, y: Any) -> Complex:
    if not isinstance(y, Complex | complex):
        divisor = ctx.cast(y, ctx.dtype)
        return Complex(ctx.mb.real_div(x=x.real, y=divisor), ctx.mb.real_div(x=x.imag, y=divisor))
    other = as_complex(ctx, y)
    norm = ctx.mb.add(x=ctx.mb.square(x=other.real), y=ctx.mb.square(x=other.imag))
    conjugate = Complex(other.real, ctx.mb.mul(x=other.imag, y=-1.0))
    product = complex_product(ctx, as_complex(ctx, x), conjugate)
    return Complex(ctx.mb.real_div(x=product.real, y=norm), ctx.mb.real_div(x=product.imag, y=norm))


@lowers("aten.floor_divide")
def floor_divide(ctx: Context, x: Operand, y: Operand) -> Value:
    return ctx.wrap(ctx.mb.floor_div(x=ctx.cast(x, ctx.dtype), y=ctx.cast(y, ctx.dtype)))


def _truncated_quotient(ctx: Context, x: Operand, y: Operand) -> Value:
    a, b = ctx.cast(x, ctx.dtype), ctx.cast(y, ctx.dtype)
    if ctx.dtype.is_float:
        return truncated(ctx, ctx.mb.real_div(x=a, y=b))
    magnitude = ctx.mb.floor_div(x=ctx.mb.abs(x=a), y=ctx.mb.abs(x=b))
    return ctx.wrap(ctx.mb.mul(x=magnitude, y=ctx.mb.mul(x=ctx.mb.sign(x=a), y=ctx.mb.sign(x=b))))


@lowers("aten.remainder")
def remainder(ctx: Context, x: Operand, y: Operand) -> Value:
    """Has the sign of the divisor."""
    return ctx.wrap(ctx.mb.mod(x=ctx.cast(x, ctx.dtype), y=ctx.cast(y, ctx.dtype)))


@lowers("aten.fmod")
def fmod(ctx: Context, x: Operand, y: Operand) -> Value:
    """Has the sign of the dividend."""
    a, b = ctx.cast(x, ctx.dtype), ctx.cast(y, ctx.dtype)
    magnitude = ctx.mb.mod(x=ctx.mb.abs(x=a), y=ctx.mb.abs(x=b))
    return ctx.wrap(ctx.mb.mul(x=ctx.mb.sign(x=a), y=magnitude))


@lowers("aten.pow")
def power(ctx: Context, x: Operand, y: Operand) -> Value:
    if y == 2 and isinstance(x, Value):
        return ctx.wrap(ctx.mb.square(x=ctx.cast(x, ctx.dtype)))
    if y == 0.5 and isinstance(x, Value):
        return ctx.mb.sqrt(x=ctx.cast(x, ctx.dtype))
    if y == 1 and isinstance(x, Value):
        return ctx.cast(x, ctx.dtype)
    return ctx.wrap(ctx.mb.pow(x=ctx.cast(x, ctx.dtype), y=ctx.cast(y, ctx.dtype)))


@lowers("aten.maximum.default", "aten.max.other", "aten.fmax.default")
def maximum(ctx: Context, x: Operand, y: Operand) -> Value:
    return _extremum(ctx, "maximum", x, y)


@lowers("aten.minimum.default", "aten.min.other", "aten.fmin.default")
def minimum(ctx: Context, x: Operand, y: Operand) -> Value:
    return _extremum(ctx, "minimum", x, y)


def _extremum(ctx: Context, op_name: str, x: Operand, y: Operand) -> Value:
    if ctx.dtype == types.bool_:
        logical = "logical_or" if op_name == "maximum" else "logical_and"
        return getattr(ctx.mb, logical)(x=x, y=y)  # type: ignore[no-any-return]  # getattr erases the builder's type
    a, b = ctx.cast(x, ctx.dtype), ctx.cast(y, ctx.dtype)
    combine: Callable[..., Value] = getattr(ctx.mb, op_name)
    if "fm" not in ctx.operator or not ctx.dtype.is_float:
        return combine(x=a, y=b)
    # fmax and fmin prefer a number to a NaN.
    a_or_b = ctx.mb.select(cond=ctx.mb.equal(x=a, y=a), a=a, b=b)
    b_or_a = ctx.mb.select(cond=ctx.mb.equal(x=b, y=b), a=b, b=a)
    return combine(x=a_or_b, y=b_or_a)


@lowers("aten.atan2.default")
def atan2(ctx: Context, y: Value, x: Value) -> Value:
    """``atan(y/x)``, moved into the quadrant of the point (x, y)."""
    y, x = ctx.cast(y, ctx.dtype), ctx.cast(x, ctx.dtype)
    return arc_tangent(ctx, y, x)


def arc_tangent(ctx: Context, y: Value, x: Value) -> Value:
    """The angle of the point (x, y) in (−π, π], of magnitudes first, so that no quotient exceeds 1."""
    ax, ay = ctx.mb.abs(x=x), ctx.mb.abs(x=y)
    large = ctx.mb.maximum(x=ax, y=ay)
    origin = ctx.mb.equal(x=large, y=0.0)
    divisor = ctx.mb.select(cond=origin, a=ctx.number(1, x.dtype), b=large)
    base = ctx.mb.atan(x=ctx.mb.real_div(x=ctx.mb.minimum(x=ax, y=ay), y=divisor))
    first = ctx.mb.select(cond=ctx.mb.greater(x=ay, y=ax), a=ctx.mb.sub(x=math.pi / 2, y=base), b=base)
    upper = ctx.mb.select(cond=ctx.mb.less(x=x, y=0.0), a=ctx.mb.sub(x=math.pi, y=first), b=first)
    return ctx.mb.select(cond=ctx.mb.less(x=y, y=0.0), a=ctx.mb.mul(x=upper, y=-1.0), b=upper)


@lowers("aten.copysign")
def copysign(ctx: Context, x: Operand, y: Operand) -> Value:
    """``|x|`` with the sign of ``y``; that of a negative zero shows in its reciprocal."""
    y = ctx.cast(y, ctx.dtype)
    size = ctx.mb.abs(x=ctx.cast(x, ctx.dtype))
    negative = ctx.mb.logical_or(x=ctx.mb.less(x=y, y=0.0), y=ctx.mb.less(x=ctx.mb.real_div(x=1.0, y=y), y=0.0))
    return ctx.select(negative, ctx.mb.mul(x=size, y=-1.0), size)


@lowers("aten.hypot.default")
def hypot(ctx: Context, x: Value, y: Value) -> Value:
    return ctx.mb.sqrt(x=ctx.mb.add(x=ctx.mb.square(x=x), y=ctx.mb.square(x=y)))


@lowers("aten.lerp")
def lerp(ctx: Context, start: Value, end: Value, weight: Operand) -> Value:
    start = ctx.cast(start, ctx.dtype)
    step = ctx.mb.mul(x=ctx.cast(weight, ctx.dtype), y=ctx.mb.sub(x=ctx.cast(end, ctx.dtype), y=start))
    return ctx.mb.add(x=start, y=step)


@lowers("aten.addcmul.default")
def addcmul(ctx: Context, x: Value, a: Value, b: Value, value: Number = 1) -> Value:
    product = ctx.mb.mul(x=_scaled(ctx, a, value), y=ctx.cast(b, ctx.dtype))
    return ctx.mb.add(x=ctx.cast(x, ctx.dtype), y=product)


@lowers("aten.addcdiv.default")
def addcdiv(ctx: Context, x: Value, a: Value, b: Value, value: Number = 1) -> Value:
    quotient = ctx.mb.real_div(x=_scaled(ctx, a, value), y=ctx.cast(b, ctx.dtype))
    return ctx.mb.add(x=ctx.cast(x, ctx.dtype), y=quotient)


# --- limits ----------------------------------------------------------------------------------------------------------


@lowers("aten.clamp", "aten.clip")
def clamp(ctx: Context, x: Value, low: Operand | None = None, high: Operand | None = None) -> Value:
    """PyTorch takes the upper bound where the bounds cross, and lets a NaN through."""
    x = ctx.cast(x, ctx.dtype)
    if low is not None:
        x = ctx.mb.maximum(x=x, y=_bound(ctx, low))
    if high is not None:
        x = ctx.mb.minimum(x=x, y=_bound(ctx, high))
    return x


@lowers("aten.clamp_min")
def clamp_min(ctx: Context, x: Value, low: Operand) -> Value:
    return clamp(ctx, x, low)


@lowers("aten.clamp_max")
def clamp_max(ctx: Context, x: Value, high: Operand) -> Value:
    return clamp(ctx, x, None, high)


def _bound(ctx: Context, bound: Operand) -> Value:
    if isinstance(bound, int) and ctx.dtype == types.int32:  # a limit beyond the type's own is none
        bound = min(max(bound, types.int32.min), types.int32.max)
    return ctx.cast(bound, ctx.dtype)


@lowers("aten.nan_to_num.default")
def nan_to_num(
    ctx: Context, x: Value, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Value:
    if not x.dtype.is_float:
        return x
    limits = torch.finfo(ctx.torch_dtype)
    y = ctx.mb.select(cond=ctx.mb.equal(x=x, y=x), a=x, b=ctx.number(nan or 0.0, x.dtype))
    for infinity, replacement in (
        (math.inf, limits.max if posinf is None else posinf),
        (-math.inf, limits.min if neginf is None else neginf),
    ):
        here = ctx.mb.equal(x=x, y=ctx.number(infinity, x.dtype))
        y = ctx.mb.select(cond=here, a=ctx.number(replacement, x.dtype), b=y)
    return y


@lowers("aten.isnan.default")
def isnan(ctx: Context, x: Value) -> Value:
    if not x.dtype.is_float:
        return ctx.full(ctx.sizes(x), False, types.bool_)
    return ctx.mb.not_equal(x=x, y=x)


@lowers("aten.isinf.default")
def isinf(ctx: Context, x: Value) -> Value:
    if not x.dtype.is_float:
        return ctx.full(ctx.sizes(x), False, types.bool_)
    return ctx.mb.equal(x=ctx.mb.abs(x=x), y=ctx.number(math.inf, x.dtype))


@lowers("aten.isfinite.default")
def isfinite(ctx: Context, x: Value) -> Value:
    if not x.dtype.is_float:
        return ctx.full(ctx.sizes(x), True, types.bool_)
    return ctx.mb.less(x=ctx.mb.abs(x=x), y=ctx.number(math.inf, x.dtype))


# --- comparison, logic, choice ---------------------------------------------------------------------------------------


def _comparison(op_name: str) -> Callable[..., Value]:
    def lowering(ctx: Context, x: Operand, y: Operand) -> Value:
        dtype = ctx.common_dtype
        if dtype == types.bool_:  # False < True
            dtype = types.int32
        compare: Callable[..., Value] = getattr(ctx.mb, op_name)
        return compare(x=ctx.cast(x, dtype), y=ctx.cast(y, dtype))

    return lowering


for _name, _op_name in {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}.items():
    lowers(f"aten.{_name}")(_comparison(_op_name))


@lowers("aten.logical_and", "aten.__and__", "aten.bitwise_and")
def logical_and(ctx: Context, x: Operand, y: Operand) -> Value:
    return _logical(ctx, "and", x, y)


@lowers("aten.logical_or", "aten.__or__", "aten.bitwise_or")
def logical_or(ctx: Context, x: Operand, y: Operand) -> Value:
    return _logical(ctx, "or", x, y)


@lowers("aten.logical_xor", "aten.__xor__", "aten.bitwise_xor")
def logical_xor(ctx: Context, x: Operand, y: Operand) -> Value:
    return _logical(ctx, "xor", x, y)


def _logical(ctx: Context, kind: str, x: Operand, y: Operand) -> Value:
    if ctx.dtype == types.bool_:
        combine: Callable[..., Value] = getattr(ctx.mb, f"logical_{kind}")
        return combine(x=ctx.cast(x, types.bool_), y=ctx.cast(y, types.bool_))
    both = _bitwise_and(ctx, ctx.cast(x, types.int32), ctx.cast(y, types.int32))
    if kind == "and":
        return both
    total = ctx.mb.add(x=ctx.cast(x, types.int32), y=ctx.cast(y, types.int32))
    overlap = both if kind == "or" else ctx.mb.add(x=both, y=both)
    return ctx.mb.sub(x=total, y=overlap)


def _bitwise_and(ctx: Context, x: Value, y: Value) -> Value:
    """Core ML has no operation on bits: each of the 32 is taken out, multiplied and put back.

    A right operand that is one bit or a low mask, as code mostly has it, needs only a division or a remainder.
    """
    mask = ctx.static(y)
    if mask is not None and mask.size == 1:
        number = int(mask.reshape(-1)[0])
        if number >= 0 and number & (number + 1) == 0 and number < types.int32.max:
            return ctx.mb.mod(x=x, y=number + 1)
        if number > 0 and number & (number - 1) == 0:
            return ctx.mb.mul(x=ctx.mb.mod(x=ctx.mb.floor_div(x=x, y=number), y=2), y=number)
    powers = np.array([1 << bit for bit in range(31)], np.int32)

    def bits(value: Value) -> Value:
        spread = ctx.mb.expand_dims(x=value, axes=[-1])
        return ctx.mb.mod(x=ctx.mb.floor_div(x=spread, y=powers), y=2)

    low = ctx.mb.reduce_sum(x=ctx.mb.mul(x=ctx.mb.mul(x=bits(x), y=bits(y)), y=powers), axes=[-1], keep_dims=False)
    negative = ctx.mb.logical_and(x=ctx.mb.less(x=x, y=0), y=ctx.mb.less(x=y, y=0))
    return ctx.mb.add(x=low, y=ctx.mb.mul(x=ctx.cast(negative, types.int32), y=types.int32.min))


@lowers("aten.logical_not.default")
def logical_not(ctx: Context, x: Value) -> Value:
    return ctx.mb.logical_not(x=ctx.cast(x, types.bool_))


@lowers("aten.bitwise_not.default")
def bitwise_not(ctx: Context, x: Value) -> Value:
    """Of two's complement numbers: ``−1 − x``."""
    if x.dtype == types.bool_:
        return ctx.mb.logical_not(x=x)
    return ctx.wrap(ctx.mb.sub(x=-1, y=x))


@lowers("aten.bitwise_left_shift", "aten.__lshift__")
def left_shift(ctx: Context, x: Operand, y: Operand) -> Value:
    factor = ctx.mb.pow(x=ctx.number(2, types.int32), y=ctx.cast(y, types.int32))
    return ctx.wrap(ctx.mb.mul(x=ctx.cast(x, types.int32), y=factor))


@lowers("aten.bitwise_right_shift", "aten.__rshift__")
def right_shift(ctx: Context, x: Operand, y: Operand) -> Value:
    """Arithmetic: the sign is kept, which is division rounded down."""
    divisor = ctx.mb.pow(x=ctx.number(2, types.int32), y=ctx.cast(y, types.int32))
    return ctx.mb.floor_div(x=ctx.cast(x, types.int32), y=divisor)


@lowers("aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf", "aten.where.Scalar")
def where(ctx: Context, condition: Value, x: Operand, y: Operand) -> Any:
    if isinstance(x, Complex) or isinstance(y, Complex):
        a, b = as_complex(ctx, x), as_complex(ctx, y)
        return Complex(select(ctx, condition, a.real, b.real), select(ctx, condition, a.imag, b.imag))
    return select(ctx, condition, x, y)


def select(ctx: Context, condition: Value, x: Operand, y: Operand) -> Value:
    """``x`` where the condition holds, ``y`` elsewhere, all broadcast."""
    return ctx.select(ctx.cast(condition, types.bool_), ctx.cast(x, ctx.dtype), ctx.cast(y, ctx.dtype))


@lowers("aten.masked_fill")
def masked_fill(ctx: Context, x: Value, mask: Value, value: Operand) -> Value:
    return select(ctx, mask, value, x)


# --- casts and copies ------------------------------------------------------------------------------------------------


@lowers("aten._to_copy.default", "aten.to", "aten.type_as.default", "prims.convert_element_type.default")
def to(ctx: Context, x: Any, *others: Any) -> Any:
    if isinstance(x, Complex):
        if not ctx.torch_dtype.is_complex:
            x = x.real
        else:
            return Complex(ctx.cast(x.real, ctx.dtype), ctx.cast(x.imag, ctx.dtype))
    if ctx.torch_dtype.is_complex:
        return as_complex(ctx, x)
    source = ctx.argument_meta[0] if ctx.argument_meta else None
    weight = widened_weight(ctx, x, source.dtype) if isinstance(source, torch.Tensor) else None
    return weight if weight is not None else ctx.wrap(ctx.cast(x, ctx.dtype))


@lowers(
    "aten.clone.default",
    "aten.alias.default",
    "aten.detach.default",
    "aten.lift_fresh_copy.default",
    "aten.lift_fresh.default",
    "aten.contiguous.default",
    "aten.view_of.default",
    "prims.view_of.default",
)
def same(ctx: Context, x: Any) -> Any:
    return x


@lowers("aten.copy.default")
def copy(ctx: Context, target: Any, source: Any, non_blocking: bool = False) -> Any:
    """The source in the target's type and shape."""
    if isinstance(source, Complex) or isinstance(target, Complex):
        real = as_complex(ctx, source)
        shape = ctx.sizes(target.real if isinstance(target, Complex) else target)
        return Complex(ctx.expand(real.real, shape), ctx.expand(real.imag, shape))
    return ctx.expand(ctx.cast(source, ctx.dtype), ctx.sizes(target))


@lowers("aten.fill")
def fill(ctx: Context, x: Value, value: Operand) -> Value:
    if not isinstance(value, Value):
        return ctx.full(ctx.sizes(x), value, ctx.dtype)
    return ctx.expand(ctx.cast(value, ctx.dtype), ctx.sizes(x))
