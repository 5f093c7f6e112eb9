"""Tables of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.frontends.torch.context import Context
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.program import Value


@lowers("aten.embedding.default")
def embedding(ctx: Context, weight: Value, indices: Value, *ignored: object) -> Value:
    return ctx.mb.gather(x=weight, indices=indices, axis=0)


@lowers("aten.embedding_bag.padding_idx", "aten.embedding_bag.default", "aten._embedding_bag_forward_only.default")
def embedding_bag(
    ctx: Context,
    weight: Value,
    indices: Value,
    offsets: Value,
    scale_grad: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Value | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """Sums, averages or maxima of bags of rows; the bags' limits must be known at conversion."""
    starts = ctx.static(offsets)
    count = indices.shape[0]
    if starts is None or not isinstance(count, int) or (padding_idx is not None and padding_idx >= 0):
        raise ctx.unsupported(
            "bags whose limits are only known at run time, or with padding", hint="use nn.Embedding and a reduction"
        )
    ends = list(starts[1:]) if include_last_offset else [*starts[1:], count]
    begins = list(starts[: len(ends)])
    rows = ctx.mb.gather(x=weight, indices=indices, axis=0)
    if per_sample_weights is not None:
        rows = ctx.mb.mul(x=rows, y=ctx.mb.expand_dims(x=per_sample_weights, axes=[1]))
    if mode == 2:
        parts = [
            ctx.mb.reduce_max(x=ctx.slice(rows, 0, int(a), int(b)), axes=[0], keep_dims=True)
            for a, b in zip(begins, ends, strict=True)
        ]
        return [ctx.mb.concat(values=parts, axis=0), None, None, None]
    member = np.zeros((len(ends), count), rows.dtype.numpy)
    for bag, (a, b) in enumerate(zip(begins, ends, strict=True)):
        member[bag, a:b] = 1 / max(b - a, 1) if mode == 1 else 1
    return [ctx.mb.matmul(x=member, y=rows), None, None, None]


@lowers("aten.one_hot.default")
def one_hot(ctx: Context, indices: Value, classes: int) -> Value:
    if classes < 0:
        static = ctx.static(indices)
        if static is None:
            raise ctx.unsupported("the number of classes is left to the data", hint="pass num_classes")
        classes = int(static.max()) + 1
    return ctx.cast(ctx.mb.one_hot(indices=indices, one_hot_vector_size=classes), types.int32)
