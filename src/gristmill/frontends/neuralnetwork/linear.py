"""Products with matrices, and embeddings."""

from __future__ import annotations

from typing import Any

from gristmill.frontends.neuralnetwork.context import Context, ops
from gristmill.frontends.neuralnetwork.registry import maps
from gristmill.ir.program import Value


@maps("innerProduct")
def inner_product(ctx: Context, p: Any, x: Value) -> Value:
    """Along the last axis, or of a tensor of rank 4 or more along channels, height and width taken together.

    Weights that ask for dynamic quantisation are decoded, which is more exact than what they ask for.
    """
    weight = ctx.factors(p.weights, (p.outputChannels, p.inputChannels))
    bias = ctx.bias(p.hasBias, p.bias, p.outputChannels)
    if x.rank < 4:
        return ops.linear(x=x, weight=weight, bias=bias)
    if x.shape[-2:] == (1, 1):
        rows = ops.squeeze(x=x, axes=[-2, -1])
    else:
        rows = ctx.reshape(x, [*(ctx.size(x, axis) for axis in range(x.rank - 3)), p.inputChannels])
    y = ops.linear(x=rows, weight=weight, bias=bias)
    return ops.expand_dims(x=y, axes=[-2, -1])


@maps("batchedMatmul")
def batched_matmul(ctx: Context, p: Any, x: Value, y: Value | None = None) -> Value:
    if y is None:  # the file holds the matrix transposed
        weight = ctx.factors(p.weights, (p.weightMatrixSecondDimension, p.weightMatrixFirstDimension))
        bias = ctx.bias(p.hasBias, p.bias, p.weightMatrixSecondDimension)
        if p.transposeA:
            x = ops.transpose(x=x, perm=[*range(x.rank - 2), x.rank - 1, x.rank - 2])
        return ops.linear(x=x, weight=weight, bias=bias)
    ones = []
    if x.rank == 1:
        x, ones = ops.expand_dims(x=x, axes=[0]), [-2]
    if y.rank == 1:
        y, ones = ops.expand_dims(x=y, axes=[1]), [*ones, -1]
    product = ops.matmul(x=x, y=y, transpose_x=p.transposeA, transpose_y=p.transposeB)
    return ops.squeeze(x=product, axes=ones) if ones else product


@maps("embedding", typed=True)
def embedding(ctx: Context, p: Any, x: Value) -> Value:
    indices = ops.squeeze(x=ctx.integers(x), axes=[-3, -2, -1])
    return ops.expand_dims(x=_looked_up(ctx, p, indices, p.outputChannels, p.inputDim), axes=[-2, -1])


@maps("embeddingND", typed=True)
def embedding_nd(ctx: Context, p: Any, x: Value) -> Value:
    indices = ops.squeeze(x=ctx.integers(x), axes=[-1])
    return _looked_up(ctx, p, indices, p.embeddingSize, p.vocabSize)


def _looked_up(ctx: Context, p: Any, indices: Value, width: int, count: int) -> Value:
    table = ctx.weights(p.weights, (width, count), transposed=True)
    found = ops.gather(x=table, indices=indices, axis=0)
    bias = ctx.bias(p.hasBias, p.bias, width)
    return found if bias is None else ops.add(x=found, y=bias)
