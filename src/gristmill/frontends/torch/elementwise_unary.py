"""Functions of one tensor, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gristmill.frontends.torch.context import Complex, Context
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.program import Value

_UNARY = {
    "acos": "acos",
    "asin": "asin",
    "atan": "atan",
    "atanh": "atanh",
    "cos": "cos",
    "cosh": "cosh",
    "erf": "erf",
    "special_erf": "erf",
    "exp": "exp",
    "exp2": "exp2",
    "sigmoid": "sigmoid",
    "sin": "sin",
    "sinh": "sinh",
    "sqrt": "sqrt",
    "tan": "tan",
    "tanh": "tanh",
}


def _unary(op_name: str) -> Callable[..., Value]:
    def lowering(ctx: Context, x: Value) -> Value:
        apply: Callable[..., Value] = getattr(ctx.mb, op_name)
        return apply(x=ctx.cast(x, ctx.dtype))

    return lowering


for _name, _op_name in _UNARY.items():
    lowers(f"aten.{_name}.default")(_unary(_op_name))


@lowers("aten.abs.default")
def absolute(ctx: Context, x: Any) -> Value:
    if isinstance(x, Complex):
        return magnitude(ctx, x)
    return x if x.dtype == types.bool_ else ctx.mb.abs(x=x)


def magnitude(ctx: Context, x: Complex) -> Value:
    """``|x|`` of a complex tensor."""
    return ctx.mb.sqrt(x=ctx.mb.add(x=ctx.mb.square(x=x.real), y=ctx.mb.square(x=x.imag)))


@lowers("aten.neg.default")
def neg(ctx: Context, x: Any) -> Any:
    if isinstance(x, Complex):
        return Complex(neg(ctx, x.real), neg(ctx, x.imag))
    return ctx.wrap(ctx.mb.mul(x=x, y=ctx.number(-1, x.dtype)))


@lowers("aten.positive.default")
def positive(ctx: Context, x: Value) -> Value:
    return x


@lowers("aten.sign.default", "aten.sgn.default")
def sign(ctx: Context, x: Value) -> Value:
    return x if x.dtype == types.bool_ else ctx.mb.sign(x=x)


@lowers("aten.signbit.default")
def signbit(ctx: Context, x: Value) -> Value:
    if x.dtype == types.bool_:
        return ctx.full(ctx.sizes(x), False, types.bool_)
    return ctx.mb.less(x=x, y=ctx.number(0, x.dtype))


@lowers("aten.square.default")
def square(ctx: Context, x: Value) -> Value:
    return ctx.wrap(ctx.mb.square(x=ctx.cast(x, ctx.dtype)))


@lowers("aten.reciprocal.default")
def reciprocal(ctx: Context, x: Value) -> Value:
    return ctx.mb.real_div(x=1.0, y=ctx.cast(x, ctx.dtype))


# Core ML's logarithm and reciprocal root add a small number to their operand unless told not to.


@lowers("aten.rsqrt.default")
def rsqrt(ctx: Context, x: Value) -> Value:
    return ctx.mb.rsqrt(x=ctx.cast(x, ctx.dtype), epsilon=0.0)


@lowers("aten.log.default")
def log(ctx: Context, x: Value) -> Value:
    return ctx.mb.log(x=ctx.cast(x, ctx.dtype), epsilon=0.0)


@lowers("aten.log2.default")
def log2(ctx: Context, x: Value) -> Value:
    return ctx.mb.mul(x=log(ctx, x), y=1 / math.log(2))


@lowers("aten.log10.default")
def log10(ctx: Context, x: Value) -> Value:
    return ctx.mb.mul(x=log(ctx, x), y=1 / math.log(10))


@lowers("aten.log1p.default", "aten.special_log1p.default")
def log1p(ctx: Context, x: Value) -> Value:
    """``log(x + ε)`` with ε = 1: the sum is the op's own, so it is not rounded."""
    return ctx.mb.log(x=ctx.cast(x, ctx.dtype), epsilon=1.0)


@lowers("aten.expm1.default", "aten.special_expm1.default")
def expm1(ctx: Context, x: Value) -> Value:
    """``tanh(x/2)·(exp(x) + 1)``: equal to ``exp(x) − 1``, but nothing cancels for small x."""
    x = ctx.cast(x, ctx.dtype)
    return ctx.mb.mul(x=ctx.mb.tanh(x=ctx.mb.mul(x=x, y=0.5)), y=ctx.mb.add(x=ctx.mb.exp(x=x), y=1.0))


@lowers("aten.acosh.default")
def acosh(ctx: Context, x: Value) -> Value:
    """``log(x + √(x − 1)·√(x + 1))``: the product does not overflow where the square would."""
    x = ctx.cast(x, ctx.dtype)
    root = ctx.mb.mul(x=ctx.mb.sqrt(x=ctx.mb.sub(x=x, y=1.0)), y=ctx.mb.sqrt(x=ctx.mb.add(x=x, y=1.0)))
    return ctx.mb.log(x=ctx.mb.add(x=x, y=root), epsilon=0.0)


@lowers("aten.asinh.default")
def asinh(ctx: Context, x: Value) -> Value:
    """``sign(x)·log1p(a + a²/(1 + √(a² + 1)))`` with a = |x|: accurate near zero."""
    x = ctx.cast(x, ctx.dtype)
    a = ctx.mb.abs(x=x)
    a2 = ctx.mb.square(x=a)
    inner = ctx.mb.real_div(x=a2, y=ctx.mb.add(x=ctx.mb.sqrt(x=ctx.mb.add(x=a2, y=1.0)), y=1.0))
    return ctx.mb.mul(x=ctx.mb.sign(x=x), y=ctx.mb.log(x=ctx.mb.add(x=a, y=inner), epsilon=1.0))


@lowers("aten.erfc.default", "aten.special_erfc.default")
def erfc(ctx: Context, x: Value) -> Value:
    return ctx.mb.sub(x=1.0, y=ctx.mb.erf(x=ctx.cast(x, ctx.dtype)))


@lowers("aten.logit.default", "aten.special_logit.default")
def logit(ctx: Context, x: Value, eps: float | None) -> Value:
    x = ctx.cast(x, ctx.dtype)
    if eps is not None:
        x = ctx.mb.clip(x=x, alpha=float(eps), beta=1 - float(eps))
    return ctx.mb.log(x=ctx.mb.real_div(x=x, y=ctx.mb.sub(x=1.0, y=x)), epsilon=0.0)


@lowers("aten.ceil.default")
def ceil(ctx: Context, x: Value) -> Value:
    return ctx.mb.ceil(x=x) if x.dtype.is_float else x


@lowers("aten.floor.default")
def floor(ctx: Context, x: Value) -> Value:
    return ctx.mb.floor(x=x) if x.dtype.is_float else x


@lowers("aten.round.default", "aten.round.decimals")
def round_(ctx: Context, x: Value, *, decimals: int = 0) -> Value:
    """To nearest, ties to even."""
    if not x.dtype.is_float:
        return x
    if decimals == 0:
        return ctx.mb.round(x=x)
    factor = 10.0 ** abs(decimals)
    if decimals > 0:
        return ctx.mb.real_div(x=ctx.mb.round(x=ctx.mb.mul(x=x, y=factor)), y=factor)
    return ctx.mb.mul(x=ctx.mb.round(x=ctx.mb.real_div(x=x, y=factor)), y=factor)


@lowers("aten.trunc.default", "aten.fix.default")
def trunc(ctx: Context, x: Value) -> Value:
    return truncated(ctx, x) if x.dtype.is_float else x


def truncated(ctx: Context, x: Value) -> Value:
    """``x`` rounded towards zero."""
    return ctx.mb.mul(x=ctx.mb.sign(x=x), y=ctx.mb.floor(x=ctx.mb.abs(x=x)))


@lowers("aten.frac.default")
def frac(ctx: Context, x: Value) -> Value:
    return ctx.mb.sub(x=x, y=truncated(ctx, x))
