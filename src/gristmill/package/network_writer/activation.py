"""Activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ops import activation
from gristmill.package.network_writer.registry import Writing, writes
from gristmill.package.network_writer.writer import Writer, weights

_PLAIN: dict[type[Op], str] = {
    activation.relu: "ReLU",
    activation.sigmoid: "sigmoid",
    activation.softplus: "softplus",
    activation.softsign: "softsign",
}
_WITH_ALPHA: dict[type[Op], str] = {
    activation.elu: "ELU",
    activation.leaky_relu: "leakyReLU",
    activation.thresholded_relu: "thresholdedReLU",
}
_WITH_BOTH: dict[type[Op], str] = {
    activation.linear_activation: "linear",
    activation.scaled_tanh: "scaledTanh",
    activation.sigmoid_hard: "sigmoidHard",
}


def _activation(kind: str, parameters: Callable[[Any], dict[str, float]]) -> Writing:
    return lambda w, op: w.layer("activation", w.tensor(op.x), **{kind: parameters(op)})


for _op, _kind in _PLAIN.items():
    writes(_op)(_activation(_kind, lambda op: {}))
for _op, _kind in _WITH_ALPHA.items():
    writes(_op)(_activation(_kind, lambda op: {"alpha": op.alpha}))
for _op, _kind in _WITH_BOTH.items():
    writes(_op)(_activation(_kind, lambda op: {"alpha": op.alpha, "beta": op.beta}))


@writes(activation.relu6)
def relu6(w: Writer, op: Any) -> str:
    return w.layer("clip", w.tensor(op.x), minVal=0.0, maxVal=6.0)


@writes(activation.clamped_relu)
def clamped_relu(w: Writer, op: Any) -> str:
    return w.layer("clampedReLU", w.tensor(op.x), alpha=op.alpha, beta=op.beta)


@writes(activation.gelu)
def gelu(w: Writer, op: Any) -> str:
    return w.layer("gelu", w.tensor(op.x), mode=op.mode)


@writes(activation.silu)
def silu(w: Writer, op: Any) -> str:
    x = w.tensor(op.x)
    return w.layer("multiply", x, w.layer("activation", x, sigmoid={}))


@writes(activation.softmax)
def softmax(w: Writer, op: Any) -> str:
    return w.layer("softmaxND", w.tensor(op.x), axis=op.axis)


# --- a number for each channel ---------------------------------------------------------------------------------------


@writes(activation.prelu)
def prelu(w: Writer, op: Any) -> str:
    """The layer's channels stand before height and width, so other ranks are put together of simpler layers."""
    x, alpha = w.tensor(op.x), w.fixed(op.alpha, "alpha")
    if op.x.rank == 4:
        return w.layer("activation", x, PReLU={"alpha": weights(alpha)})
    if alpha.size and np.all(alpha == alpha[0]):
        return w.layer("activation", x, leakyReLU={"alpha": float(alpha[0])})
    above = w.layer("activation", x, ReLU={})
    below = w.layer("minBroadcastable", x, w.load(np.zeros(1, np.float32)))
    return w.add(above, w.multiply(below, w.load(_over_channels(alpha, op.x.rank))))


@writes(activation.softplus_parametric)
def softplus_parametric(w: Writer, op: Any) -> str:
    x, alpha, beta = w.tensor(op.x), w.fixed(op.alpha, "alpha"), w.fixed(op.beta, "beta")
    if op.x.rank == 4:
        return w.layer("activation", x, parametricSoftplus={"alpha": weights(alpha), "beta": weights(beta)})
    alpha, beta = (_over_channels(each, op.x.rank) for each in (alpha, beta))
    return w.multiply(w.layer("activation", w.multiply(x, w.load(beta)), softplus={}), w.load(alpha))


def _over_channels(numbers: Array, rank: int) -> Array:
    """One number for each element of axis 1, ready to be broadcast."""
    return numbers.reshape(-1, *(1,) * (rank - 2))
