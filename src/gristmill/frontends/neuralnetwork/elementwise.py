"""Arithmetic, comparisons and functions, element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gristmill.frontends.neuralnetwork.context import Context, ops
from gristmill.frontends.neuralnetwork.registry import maps
from gristmill.frontends.neuralnetwork.source import Weights
from gristmill.ir.program import Value

_FUNCTIONS = {
    "acos": "acos",
    "acosh": "nn_acosh",
    "asin": "asin",
    "asinh": "nn_asinh",
    "atan": "atan",
    "atanh": "atanh",
    "ceil": "ceil",
    "cos": "cos",
    "cosh": "cosh",
    "erf": "erf",
    "exp2": "exp2",
    "floor": "floor",
    "round": "round",
    "sign": "sign",
    "sin": "sin",
    "sinh": "sinh",
    "tan": "tan",
    "tanh": "tanh",
}
_ARITHMETIC = {
    "addBroadcastable": "add",
    "floorDivBroadcastable": "floor_div",
    "maxBroadcastable": "maximum",
    "minBroadcastable": "minimum",
    "modBroadcastable": "mod",
    "multiplyBroadcastable": "mul",
    "subtractBroadcastable": "sub",
}
_FLOATING = {"divideBroadcastable": "real_div", "powBroadcastable": "pow"}
_COMPARISONS = {
    "equal": "equal",
    "greaterEqual": "greater_equal",
    "greaterThan": "greater",
    "lessEqual": "less_equal",
    "lessThan": "less",
    "notEqual": "not_equal",
}
_LOGICAL = {"logicalAnd": "logical_and", "logicalOr": "logical_or", "logicalXor": "logical_xor"}
_FOLDS = {"max": "maximum", "min": "minimum"}


def _function(op_name: str) -> Callable[..., Value]:
    def mapping(ctx: Context, p: Any, x: Value) -> Value:
        return ops.op(op_name, x=x)

    return mapping


def _arithmetic(op_name: str) -> Callable[..., Value]:
    def mapping(ctx: Context, p: Any, *values: Value) -> Value:
        first, *others = _numbers(ctx, *values)
        for other in others:
            first = ops.op(op_name, x=first, y=other)
        return first

    return mapping


def _comparison(op_name: str) -> Callable[..., Value]:
    def mapping(ctx: Context, p: Any, x: Value, y: Value | None = None) -> Value:
        """With one input, compares with ``alpha``."""
        x, y = _numbers(ctx, x, ctx.number(p.alpha) if y is None else y)
        return ops.op(op_name, x=x, y=y)

    return mapping


def _logical(op_name: str) -> Callable[..., Value]:
    def mapping(ctx: Context, p: Any, x: Value, y: Value) -> Value:
        return ops.op(op_name, x=ctx.truth(x), y=ctx.truth(y))

    return mapping


def _numbers(ctx: Context, *values: Value) -> list[Value]:
    """The values in one type that has arithmetic."""
    alike = ctx.alike(*values)
    return [ctx.floating(v) for v in alike] if alike[0].dtype.kind == "bool" else alike


for _kind, _op in _FUNCTIONS.items():
    maps(_kind, on_planes=True)(_function(_op))
for _kind, _op in _ARITHMETIC.items():
    maps(_kind, typed=True, on_planes=True)(_arithmetic(_op))
for _kind, _op in {**_FLOATING, **_FOLDS}.items():
    maps(_kind, on_planes=True)(_arithmetic(_op))
for _kind, _op in _COMPARISONS.items():
    maps(_kind, typed=True)(_comparison(_op))
for _kind, _op in _LOGICAL.items():
    maps(_kind, typed=True)(_logical(_op))


@maps("logicalNot", typed=True)
def logical_not(ctx: Context, p: Any, x: Value) -> Value:
    return ops.logical_not(x=ctx.truth(x))


@maps("clip", on_planes=True)
def clip(ctx: Context, p: Any, x: Value) -> Value:
    return ops.clip(x=x, alpha=p.minVal, beta=p.maxVal)


@maps("add", on_planes=True)
def add(ctx: Context, p: Any, *values: Value) -> Value:
    """The sum; of a single input and ``alpha``."""
    return _fold(ctx, "add", values, p.alpha)


@maps("multiply", on_planes=True)
def multiply(ctx: Context, p: Any, *values: Value) -> Value:
    """The product; of a single input and ``alpha``."""
    return _fold(ctx, "mul", values, p.alpha)


def _fold(ctx: Context, op_name: str, values: tuple[Value, ...], alpha: float) -> Value:
    first, *others = values if len(values) > 1 else (*values, ctx.number(alpha))
    for other in others:
        first = ops.op(op_name, x=first, y=other)
    return first


@maps("average", on_planes=True)
def average(ctx: Context, p: Any, *values: Value) -> Value:
    total = _fold(ctx, "add", values, 0.0)
    return ops.mul(x=total, y=ctx.number(1 / len(values)))


@maps("whereBroadcastable", typed=True)
def where(ctx: Context, p: Any, condition: Value, x: Value, y: Value) -> Value:
    a, b = ctx.alike(x, y)
    return ops.select(cond=ctx.truth(condition), a=a, b=b)


@maps("scale", on_planes=True)
def scale(ctx: Context, p: Any, x: Value) -> Value:
    y = ops.mul(x=x, y=_aligned(ctx, p.scale, p.shapeScale))
    return ops.add(x=y, y=_aligned(ctx, p.bias, p.shapeBias)) if p.hasBias else y


@maps("bias", on_planes=True)
def bias(ctx: Context, p: Any, x: Value) -> Value:
    return ops.add(x=x, y=_aligned(ctx, p.bias, p.shape))


def _aligned(ctx: Context, weights: Weights | None, shape: tuple[int, ...]) -> Value:
    """Weights that broadcast: [1], [C], [1, H, W] or [C, H, W]."""
    full = (*shape, 1, 1) if len(shape) == 1 else shape
    return ctx.weights(weights, full)


@maps("dot", on_planes=True)
def dot(ctx: Context, p: Any, x: Value, y: Value) -> Value:
    """The sum of products along the channels, by the norms if it is a cosine."""
    product = ops.reduce_sum(x=ops.mul(x=x, y=y), axes=[-3], keep_dims=True)
    if not p.cosineSimilarity:
        return product
    norms = [ops.reduce_l2_norm(x=value, axes=[-3], keep_dims=True) for value in (x, y)]
    return ops.real_div(x=product, y=ops.mul(x=norms[0], y=norms[1]))
