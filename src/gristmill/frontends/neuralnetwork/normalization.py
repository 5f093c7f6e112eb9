"""Normalisations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.frontends.neuralnetwork.context import Context, ops
from gristmill.frontends.neuralnetwork.registry import maps
from gristmill.frontends.neuralnetwork.source import Weights
from gristmill.ir.program import Value


@maps("batchnorm", on_planes=True)
def batchnorm(ctx: Context, p: Any, x: Value) -> Value:
    """By the statistics in the file, or by the data's own: of each image, or of the batch."""
    epsilon = p.epsilon or 1e-5
    if p.computeMeanVar and p.instanceNormalization:
        scale, shift = (_unless(ctx, w, (p.channels,), value) for w, value in ((p.gamma, 1), (p.beta, 0)))
        return ctx.planes(x, lambda y: ops.instance_norm(x=y, gamma=scale, beta=shift, epsilon=epsilon))
    gamma, beta = (ctx.weights(w, (p.channels,)) for w in (p.gamma, p.beta))
    if not p.computeMeanVar:
        mean, variance = (ctx.weights(w, (p.channels,)) for w in (p.mean, p.variance))
        return ctx.planes(
            x, lambda y: ops.batch_norm(x=y, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=epsilon)
        )
    axes = [axis for axis in range(x.rank) if axis != x.rank - 3]
    factor, offset = (ctx.reshape(value, [p.channels, 1, 1]) for value in (gamma, beta))
    return ops.add(x=ops.mul(x=_normalized(ctx, x, axes, epsilon), y=factor), y=offset)


def _normalized(ctx: Context, x: Value, axes: list[int], epsilon: float) -> Value:
    centred = ops.sub(x=x, y=ops.reduce_mean(x=x, axes=axes, keep_dims=True))
    variance = ops.reduce_mean(x=ops.mul(x=centred, y=centred), axes=axes, keep_dims=True)
    return ops.mul(x=centred, y=ops.rsqrt(x=variance, epsilon=epsilon))


def _unless(ctx: Context, weights: Weights | None, shape: Sequence[int], trivial: float) -> Value | None:
    """Weights as an operand, unless they change nothing: layers must have them, ops need not."""
    found = ctx.weights(weights, shape)
    assert found.constant is not None
    assert found.producer is not None
    if not np.all(found.constant.numpy() == trivial):
        return found
    found.producer.erase()
    return None


@maps("mvn", on_planes=True)
def mean_variance(ctx: Context, p: Any, x: Value) -> Value:
    axes = [-3, -2, -1] if p.acrossChannels else [-2, -1]
    if p.normalizeVariance:
        return ops.layer_norm(x=x, axes=axes, epsilon=p.epsilon or 1e-5)
    return ops.sub(x=x, y=ops.reduce_mean(x=x, axes=axes, keep_dims=True))


@maps("l2normalize", on_planes=True)
def l2_normalize(ctx: Context, p: Any, x: Value) -> Value:
    return ops.l2_norm(x=x, epsilon=p.epsilon or 1e-6)


@maps("lrn", on_planes=True)
def local_response(ctx: Context, p: Any, x: Value) -> Value:
    return ctx.planes(
        x, lambda y: ops.local_response_norm(x=y, size=p.localSize, alpha=p.alpha, beta=p.beta, k=p.k or 1.0)
    )


@maps("layerNormalization")
def layer_normalization(ctx: Context, p: Any, x: Value) -> Value:
    shape = p.normalizedShape
    if math.prod(shape) < 1:
        raise ctx.wrong("'normalizedShape'", expected="positive sizes", actual=shape)
    gamma, beta = (_unless(ctx, w, shape, value) for w, value in ((p.gamma, 1), (p.beta, 0)))
    return ops.layer_norm(x=x, axes=list(range(-len(shape), 0)), gamma=gamma, beta=beta, epsilon=p.eps)
