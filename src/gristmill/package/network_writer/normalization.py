"""Normalisations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.ir.constants import Array
from gristmill.ir.program import Value
from gristmill.ops import normalization
from gristmill.package.network_writer.registry import writes
from gristmill.package.network_writer.writer import Writer, epsilon, weights


def _or(w: Writer, value: Value | None, default: float, shape: Sequence[int]) -> Array:
    """A constant operand, or one number where it is left out."""
    return np.full(shape, default, np.float32) if value is None else w.fixed(value, f"'{value.name}'")


@writes(normalization.batch_norm)
def batch_norm(w: Writer, op: Any) -> str:
    mean, variance = w.fixed(op.mean, "the mean"), w.fixed(op.variance, "the variance")
    gamma, beta = _or(w, op.gamma, 1.0, mean.shape), _or(w, op.beta, 0.0, mean.shape)
    if op.x.rank > 4 or op.x.rank < 3:  # the layer's channels stand before height and width
        factor = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + op.epsilon)
        shift = beta - mean * factor
        factor, shift = (each.astype(np.float32).reshape(-1, *(1,) * (op.x.rank - 2)) for each in (factor, shift))
        return w.add(w.multiply(w.tensor(op.x), w.load(factor)), w.load(shift))
    statistics = {"mean": weights(mean), "variance": weights(variance)}
    return _batchnorm(w, op, gamma, beta, **statistics)


@writes(normalization.instance_norm)
def instance_norm(w: Writer, op: Any) -> str:
    channels = op.x.shape[1]
    gamma, beta = (_or(w, given, default, (channels,)) for given, default in ((op.gamma, 1.0), (op.beta, 0.0)))
    return _batchnorm(w, op, gamma, beta, computeMeanVar=True, instanceNormalization=True)


def _batchnorm(w: Writer, op: Any, gamma: Array, beta: Array, **fields: Any) -> str:
    """The layer; sequences [batch, channels, length] get a height."""
    ones = [2] if op.x.rank == 3 else []
    x = w.expand(w.tensor(op.x), ones)
    y = w.layer(
        "batchnorm",
        x,
        channels=len(gamma),
        gamma=weights(gamma),
        beta=weights(beta),
        epsilon=epsilon(op.epsilon),
        **fields,
    )
    return w.squeeze(y, ones)


@writes(normalization.layer_norm)
def layer_norm(w: Writer, op: Any) -> str:
    """The layer knows the last axes of known sizes; elsewhere its formula stands."""
    rank = op.x.rank
    axes = sorted(axis % rank for axis in (range(rank) if op.axes is None else op.axes))
    shape = [op.x.shape[axis] for axis in axes]
    last = axes == list(range(rank - len(axes), rank))
    if last and all(isinstance(size, int) for size in shape):
        gamma, beta = _or(w, op.gamma, 1.0, shape), _or(w, op.beta, 0.0, shape)
        return w.layer(
            "layerNormalization",
            w.tensor(op.x),
            normalizedShape=shape,
            gamma=weights(gamma),
            beta=weights(beta),
            eps=op.epsilon,
        )
    if last and rank >= 3 and len(axes) in (2, 3) and op.gamma is None and op.beta is None:
        return w.layer(
            "mvn",
            w.tensor(op.x),
            acrossChannels=len(axes) == 3,
            normalizeVariance=True,
            epsilon=epsilon(op.epsilon),
        )
    return _standardised(w, op, axes)


def _standardised(w: Writer, op: Any, axes: Sequence[int]) -> str:
    x = w.tensor(op.x)
    centred = w.layer("subtractBroadcastable", x, w.layer("reduceMean", x, axes=axes, keepDims=True))
    variance = w.layer("reduceMean", w.multiply(centred, centred), axes=axes, keepDims=True)
    y = w.multiply(centred, w.layer("unary", variance, type="RSQRT", epsilon=epsilon(op.epsilon)))
    for given, combine in ((op.gamma, w.multiply), (op.beta, w.add)):
        if given is not None:
            numbers = w.fixed(given, f"'{given.name}'")
            sizes = iter(numbers.shape)
            spread = numbers.reshape([next(sizes) if axis in axes else 1 for axis in range(op.x.rank)])
            y = combine(y, w.load(spread))
    return y


@writes(normalization.l2_norm)
def l2_norm(w: Writer, op: Any) -> str:
    return w.layer("l2normalize", w.tensor(op.x), epsilon=epsilon(op.epsilon))


@writes(normalization.local_response_norm)
def local_response_norm(w: Writer, op: Any) -> str:
    return w.layer("lrn", w.tensor(op.x), localSize=op.size, alpha=op.alpha, beta=op.beta, k=epsilon(op.k))
