"""Activations, and unary functions with parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

from gristmill.frontends.neuralnetwork.context import Context, ops
from gristmill.frontends.neuralnetwork.registry import maps
from gristmill.frontends.neuralnetwork.source import Weights
from gristmill.ir.program import Value


class Nonlinearity(NamedTuple):
    """An activation without weights, as recurrent layers name theirs.

    Attributes:
        name: Of the op.
        alpha: Its first parameter.
        beta: Its second.
    """

    name: str
    alpha: float = 0.0
    beta: float = 0.0


_PLAIN = {
    "ReLU": "relu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "softsign": "softsign",
    "softplus": "softplus",
}
_WITH_ALPHA = {"leakyReLU": "leaky_relu", "thresholdedReLU": "thresholded_relu", "ELU": "elu"}
_WITH_BOTH = {"linear": "linear_activation", "scaledTanh": "scaled_tanh", "sigmoidHard": "sigmoid_hard"}


def nonlinearity(ctx: Context, p: Any) -> Nonlinearity:
    """The activation that parameters describe.

    Raises:
        UnsupportedError: It has weights, or is of an unknown type.
    """
    kind = p.choice("NonlinearityType")
    chosen: Any = getattr(p, kind) if kind else None
    if kind in _PLAIN:
        return Nonlinearity(_PLAIN[kind])
    if kind in _WITH_ALPHA:
        return Nonlinearity(_WITH_ALPHA[kind], chosen.alpha)
    if kind in _WITH_BOTH:
        return Nonlinearity(_WITH_BOTH[kind], chosen.alpha, chosen.beta)
    raise ctx.unsupported("the activation is of a type that is not known here", actual=kind)


@maps("activation", on_planes=True)
def activation(ctx: Context, p: Any, x: Value) -> Value:
    kind = p.choice("NonlinearityType")
    if kind == "PReLU":
        alpha = _per_channel(ctx, p.PReLU.alpha, x)
        return ctx.planes(x, lambda y: ops.prelu(x=y, alpha=alpha))
    if kind == "parametricSoftplus":
        alpha, beta = (_per_channel(ctx, w, x) for w in (p.parametricSoftplus.alpha, p.parametricSoftplus.beta))
        return ctx.planes(x, lambda y: ops.softplus_parametric(x=y, alpha=alpha, beta=beta))
    chosen = nonlinearity(ctx, p)
    if kind in _PLAIN:
        return ops.op(chosen.name, x=x)
    if kind in _WITH_ALPHA:
        return ops.op(chosen.name, x=x, alpha=chosen.alpha)
    return ops.op(chosen.name, x=x, alpha=chosen.alpha, beta=chosen.beta)


def _per_channel(ctx: Context, weights: Weights | None, x: Value) -> Value:
    """One number for each channel; a single one in the file counts for all."""
    channels = x.shape[-3] if x.rank >= 3 else None
    if not isinstance(channels, int):
        raise ctx.unsupported("the number of channels must be known", actual=x.type)
    data = weights.raw() if weights is not None else None
    if data is not None and data.shape == (1,):
        return ctx.number(data.read().repeat(channels))
    return ctx.weights(weights, (channels,))


@maps("clampedReLU", on_planes=True)
def clamped_relu(ctx: Context, p: Any, x: Value) -> Value:
    return ops.clamped_relu(x=x, alpha=p.alpha, beta=p.beta)


@maps("gelu", on_planes=True)
def gelu(ctx: Context, p: Any, x: Value) -> Value:
    return ops.gelu(x=x, mode=p.mode)


@maps("softmax", on_planes=True)
def softmax(ctx: Context, p: Any, x: Value) -> Value:
    return ops.softmax(x=x, axis=-3)


@maps("softmaxND")
def softmax_nd(ctx: Context, p: Any, x: Value) -> Value:
    return ops.softmax(x=x, axis=p.axis)


@maps("unary", on_planes=True)
def unary(ctx: Context, p: Any, x: Value) -> Value:
    """A function of ``scale·x + shift``; unset, the scale is 1 and epsilon 1e-6."""
    if p.scale not in (0, 1) or p.shift:
        x = ops.linear_activation(x=x, alpha=p.scale or 1.0, beta=p.shift)
    epsilon = p.epsilon or 1e-6
    match p.type:
        case "SQRT":
            return ops.sqrt(x=x)
        case "RSQRT":
            return ops.rsqrt(x=x, epsilon=epsilon)
        case "INVERSE":
            return ops.inverse(x=x, epsilon=epsilon)
        case "POWER":
            return ops.pow(x=x, y=ctx.number(p.alpha))
        case "EXP":
            return ops.exp(x=x)
        case "LOG":
            return ops.log(x=x, epsilon=epsilon)
        case "ABS":
            return ops.abs(x=x)
        case _:
            return ops.threshold(x=x, alpha=p.alpha)
