"""Attention."""

from __future__ import annotations

import math

import numpy as np
import torch

from gristmill.frontends.torch.context import Context
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.opset import iOS18
from gristmill.ir.program import Value


@lowers("aten.scaled_dot_product_attention.default")
def attention(
    ctx: Context,
    query: Value,
    key: Value,
    value: Value,
    mask: Value | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    """``softmax(q·kᵀ·scale + mask)·v`` (Vaswani et al., 2017)."""
    if dropout_p > 0:
        raise ctx.unsupported("attention with dropout is random", hint="export the model after model.eval()")
    if enable_gqa:
        key, value = (_repeated_heads(ctx, x, query) for x in (key, value))
    width = query.shape[-1]
    if not isinstance(width, int):
        raise ctx.unsupported("attention over vectors whose size is only known at run time")
    if is_causal:
        mask = _causal_mask(ctx, query, key)
    factor = 1 / math.sqrt(width) if scale is None else float(scale)
    alike = query.rank >= 3 and query.shape[:-2] == key.shape[:-2] == value.shape[:-2]
    if ctx.opset >= iOS18 and alike:  # the op does not broadcast
        if scale is not None and not math.isclose(factor * math.sqrt(width), 1):
            query = ctx.mb.mul(x=query, y=ctx.number(factor * math.sqrt(width), query.dtype))
        return ctx.mb.scaled_dot_product_attention(query=query, key=key, value=value, attn_mask=mask)
    scores = ctx.mb.matmul(x=ctx.mb.mul(x=query, y=ctx.number(factor, query.dtype)), y=key, transpose_y=True)
    if mask is not None:
        if mask.dtype == types.bool_:
            lowest = ctx.number(torch.finfo(ctx.torch_dtype).min, scores.dtype)
            scores = ctx.mb.select(cond=mask, a=scores, b=lowest)
        else:
            scores = ctx.mb.add(x=scores, y=ctx.cast(mask, scores.dtype))
    return ctx.mb.matmul(x=ctx.mb.softmax(x=scores, axis=-1), y=value)


def _causal_mask(ctx: Context, query: Value, key: Value) -> Value:
    """Position i sees positions up to i."""
    rows, columns = query.shape[-2], key.shape[-2]
    if isinstance(rows, int) and isinstance(columns, int):
        return ctx.mb.const(np.tri(rows, columns, dtype=bool), name="causal_mask")
    row = ctx.mb.range_1d(start=0, end=ctx.size(query, -2), step=1)
    column = ctx.mb.range_1d(start=0, end=ctx.size(key, -2), step=1)
    return ctx.mb.less_equal(x=column, y=ctx.mb.expand_dims(x=row, axes=[1]))


def _repeated_heads(ctx: Context, x: Value, query: Value) -> Value:
    """Each head of keys and values serves several heads of queries (Ainslie et al., 2023)."""
    heads, wanted = x.shape[-3], query.shape[-3]
    if not isinstance(heads, int) or not isinstance(wanted, int):
        raise ctx.unsupported("grouped attention with a number of heads that is only known at run time")
    if heads == wanted:
        return x
    sizes = ctx.sizes(x)
    spread = ctx.mb.expand_dims(x=x, axes=[x.rank - 2])
    spread = ctx.expand(spread, [*[-1] * (x.rank - 2), wanted // heads, -1, -1])
    return ctx.reshape(spread, [*sizes[:-3], wanted, *sizes[-2:]])
