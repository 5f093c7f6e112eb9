"""Activations."""

from __future__ import annotations

from typing import Any

from gristmill.frontends.torch.context import Context, Number
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.program import Value


@lowers("aten.relu.default")
def relu(ctx: Context, x: Value) -> Value:
    if x.dtype.is_integer:
        return ctx.mb.maximum(x=x, y=0)
    return ctx.mb.relu(x=x)


@lowers("aten.relu6.default")
def relu6(ctx: Context, x: Value) -> Value:
    return ctx.mb.relu6(x=x)


@lowers("aten.leaky_relu.default")
def leaky_relu(ctx: Context, x: Value, negative_slope: float) -> Value:
    return ctx.mb.leaky_relu(x=x, alpha=float(negative_slope))


@lowers("aten.rrelu.default")
def rrelu(ctx: Context, x: Value, lower: float, upper: float, training: bool, *ignored: object) -> Value:
    if training:
        raise ctx.unsupported("rrelu in training mode draws random slopes", hint="export the model after model.eval()")
    return ctx.mb.leaky_relu(x=x, alpha=(lower + upper) / 2)


@lowers("aten.prelu.default", "aten._prelu_kernel.default")
def prelu(ctx: Context, x: Value, weight: Value) -> Value:
    """One slope for all, or one for each channel (axis 1)."""
    slope = ctx.static(weight)
    channels = x.shape[1] if x.rank >= 2 else None
    if slope is not None and slope.size == 1 and not isinstance(channels, int):
        return ctx.mb.leaky_relu(x=x, alpha=float(slope.reshape(-1)[0]))
    if slope is not None and 3 <= x.rank <= 5 and isinstance(channels, int):
        return ctx.mb.prelu(x=x, alpha=slope.reshape(-1).repeat(channels // slope.size))
    if weight.rank == 1 and weight.shape != (1,):
        weight = ctx.reshape(weight, [-1] + [1] * (x.rank - 2))
    elif weight.rank > x.rank:
        weight = ctx.reshape(weight, [])
    negative = ctx.mb.mul(x=ctx.mb.minimum(x=x, y=0.0), y=weight)
    return ctx.mb.add(x=ctx.mb.relu(x=x), y=negative)


@lowers("aten.elu.default")
def elu(ctx: Context, x: Value, alpha: Number, scale: Number, input_scale: Number) -> Value:
    if input_scale == 1:
        y = ctx.mb.elu(x=x, alpha=float(alpha))
    else:  # only selu's derivatives have it
        inner = ctx.mb.mul(x=x, y=float(input_scale))
        below = ctx.mb.mul(x=ctx.mb.sub(x=ctx.mb.exp(x=inner), y=1.0), y=float(alpha))
        y = ctx.mb.select(cond=ctx.mb.greater(x=x, y=0.0), a=x, b=below)
    return y if scale == 1 else ctx.mb.mul(x=y, y=float(scale))


@lowers("aten.celu.default")
def celu(ctx: Context, x: Value, alpha: Number) -> Value:
    """``max(x, 0) + min(0, α·(exp(x/α) − 1))``, which is ``α·elu(x/α)``."""
    y = ctx.mb.elu(x=ctx.mb.real_div(x=x, y=float(alpha)), alpha=1.0)
    return ctx.mb.mul(x=y, y=float(alpha))


@lowers("aten.selu.default")
def selu(ctx: Context, x: Value) -> Value:
    """Klambauer et al., 2017; the constants are the paper's, to float64."""
    y = ctx.mb.elu(x=x, alpha=1.6732632423543772848170429916717)
    return ctx.mb.mul(x=y, y=1.0507009873554804934193349852946)


@lowers("aten.gelu.default")
def gelu(ctx: Context, x: Value, *, approximate: str = "none") -> Value:
    return ctx.mb.gelu(x=x, mode="TANH_APPROXIMATION" if approximate == "tanh" else "EXACT")


@lowers("aten.silu.default")
def silu(ctx: Context, x: Value) -> Value:
    return ctx.mb.silu(x=x)


@lowers("aten.mish.default")
def mish(ctx: Context, x: Value) -> Value:
    """``x·tanh(softplus(x))`` (Misra, 2019)."""
    return ctx.mb.mul(x=x, y=ctx.mb.tanh(x=ctx.mb.softplus(x=x)))


@lowers("aten.hardswish.default")
def hardswish(ctx: Context, x: Value) -> Value:
    """``x·relu6(x + 3)/6`` (Howard et al., 2019)."""
    return ctx.mb.mul(x=x, y=ctx.mb.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5))


@lowers("aten.hardsigmoid.default")
def hardsigmoid(ctx: Context, x: Value) -> Value:
    return ctx.mb.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5)


@lowers("aten.hardtanh.default")
def hardtanh(ctx: Context, x: Value, low: Number, high: Number) -> Value:
    if x.dtype.is_integer:
        return ctx.mb.minimum(x=ctx.mb.maximum(x=x, y=int(low)), y=int(high))
    return ctx.mb.clip(x=x, alpha=float(low), beta=float(high))


@lowers("aten.softplus.default")
def softplus(ctx: Context, x: Value, beta: Number, threshold: Number) -> Value:
    """``log(1 + exp(βx))/β``; the threshold only guards PyTorch's own arithmetic, its error is exp(−threshold)."""
    if beta == 1:
        y = ctx.mb.softplus(x=x)
    else:
        y = ctx.mb.mul(x=ctx.mb.softplus(x=ctx.mb.mul(x=x, y=float(beta))), y=1.0 / float(beta))
    if float(threshold) >= 15:  # exp(-15) is under half an ulp of float32 at 15·2²
        return y
    above = ctx.mb.greater(x=ctx.mb.mul(x=x, y=float(beta)), y=float(threshold))
    return ctx.mb.select(cond=above, a=x, b=y)


@lowers("aten.softshrink.default")
def softshrink(ctx: Context, x: Value, threshold: Number) -> Value:
    """``x − clamp(x, −λ, λ)``."""
    return ctx.mb.sub(x=x, y=ctx.mb.clip(x=x, alpha=-float(threshold), beta=float(threshold)))


@lowers("aten.hardshrink.default")
def hardshrink(ctx: Context, x: Value, threshold: Number) -> Value:
    outside = ctx.mb.greater(x=ctx.mb.abs(x=x), y=float(threshold))
    return ctx.mb.select(cond=outside, a=x, b=ctx.number(0, x.dtype))


@lowers("aten.tanhshrink.default")
def tanhshrink(ctx: Context, x: Value) -> Value:
    return ctx.mb.sub(x=x, y=ctx.mb.tanh(x=x))


@lowers("aten.threshold.default")
def threshold(ctx: Context, x: Value, threshold: Number, value: Number) -> Value:
    """``x`` where it is above the threshold, ``value`` elsewhere."""
    above = ctx.mb.greater(x=x, y=ctx.number(threshold, x.dtype))
    return ctx.mb.select(cond=above, a=x, b=ctx.number(value, x.dtype))


@lowers("aten.softsign.default")
def softsign(ctx: Context, x: Value) -> Value:
    return ctx.mb.softsign(x=x)


@lowers("aten.log_sigmoid.default", "aten.log_sigmoid_forward.default")
def log_sigmoid(ctx: Context, x: Value) -> Any:
    """``−softplus(−x)``; the second result of the internal form is for the backward pass only."""
    negated = ctx.mb.softplus(x=ctx.mb.mul(x=x, y=-1.0))
    y = ctx.mb.mul(x=negated, y=-1.0)
    return [y, None] if "forward" in ctx.operator else y


@lowers("aten.glu.default")
def glu(ctx: Context, x: Value, dim: int) -> Value:
    first, second = ctx.mb.results("split", x=x, num_splits=2, axis=dim % x.rank)
    return ctx.mb.mul(x=first, y=ctx.mb.sigmoid(x=second))


@lowers("aten.softmax.int", "aten._softmax.default", "aten._safe_softmax.default")
def softmax(ctx: Context, x: Value, dim: int, dtype_or_half: Any = None) -> Value:
    x = ctx.cast(x, ctx.dtype)
    if x.rank == 0:
        return ctx.number(1, x.dtype)
    y = ctx.mb.softmax(x=x, axis=dim % x.rank)
    if "safe" not in ctx.operator:
        return y
    # A row of -inf gives zeros here.
    empty = ctx.mb.equal(x=ctx.mb.reduce_max(x=x, axes=[dim % x.rank], keep_dims=True), y=float("-inf"))
    return ctx.mb.select(cond=empty, a=ctx.number(0, x.dtype), b=y)


@lowers("aten.log_softmax.int", "aten._log_softmax.default")
def log_softmax(ctx: Context, x: Value, dim: int, dtype_or_half: Any = None) -> Value:
    """``x − logsumexp(x)`` after subtracting the maximum, so that nothing overflows."""
    x = ctx.cast(x, ctx.dtype)
    if x.rank == 0:
        return ctx.number(0, x.dtype)
    axes = [dim % x.rank]
    shifted = ctx.mb.sub(x=x, y=ctx.mb.reduce_max(x=x, axes=axes, keep_dims=True))
    return ctx.mb.sub(x=shifted, y=ctx.mb.reduce_log_sum_exp(x=shifted, axes=axes, keep_dims=True))


@lowers("aten.softmin.int")
def softmin(ctx: Context, x: Value, dim: int) -> Value:
    return softmax(ctx, ctx.mb.mul(x=x, y=-1.0), dim)


@lowers("aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default")
def dropout(ctx: Context, x: Value, p: float, train: bool) -> Value:
    if train and p > 0:
        raise ctx.unsupported("dropout in training mode is random", hint="export the model after model.eval()")
    return x


@lowers("aten.native_dropout.default")
def native_dropout(ctx: Context, x: Value, p: float, train: bool | None) -> Any:
    return [dropout(ctx, x, p, bool(train)), ctx.full(ctx.sizes(x), True, types.bool_)]
