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


@lowers(
    "aten.embedding_bag.padding_idx",
    "aten.embedding_bag.default",
    "aten._embedding_bag.default",
    "aten._embedding_bag_forward_only.default",
)
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
    """Sums, averages (mode 1) or maxima (mode 2) of bags of rows, those of the padding left out."""
    indices = ctx.cast(indices, types.int32)
    member = _members(ctx, indices, ctx.cast(offsets, types.int32), include_last_offset)
    if padding_idx is not None and padding_idx >= 0:
        kept = ctx.mb.expand_dims(x=ctx.mb.not_equal(x=indices, y=padding_idx), axes=[0])
        member = ctx.mb.logical_and(x=member, y=kept)
    rows = ctx.mb.gather(x=weight, indices=indices, axis=0)
    ones = ctx.cast(member, rows.dtype)
    count = ctx.mb.reduce_sum(x=ones, axes=[1], keep_dims=True)
    if mode == 2:
        lowest = ctx.number(-np.inf, rows.dtype)
        spread = ctx.select(ctx.mb.expand_dims(x=member, axes=[2]), ctx.mb.expand_dims(x=rows, axes=[0]), lowest)
        most = ctx.mb.reduce_max(x=spread, axes=[1], keep_dims=False)
        bags = ctx.select(ctx.mb.greater(x=count, y=0.0), most, ctx.number(0, rows.dtype))
        return [bags, None, None, None]
    if per_sample_weights is not None:
        rows = ctx.mb.mul(x=rows, y=ctx.mb.expand_dims(x=per_sample_weights, axes=[1]))
    if mode == 1:
        ones = ctx.mb.real_div(x=ones, y=ctx.mb.maximum(x=count, y=1.0))
    return [ctx.mb.matmul(x=ones, y=rows), None, None, None]


def _members(ctx: Context, indices: Value, offsets: Value, include_last: bool) -> Value:
    """Which index [columns] is in which bag [rows]: from a bag's offset to before the next one's."""
    count = ctx.size(indices, 0)
    if include_last:
        begins, ends = ctx.slice(offsets, 0, 0, -1), ctx.slice(offsets, 0, 1)
    else:
        last = np.array([count], np.int32) if isinstance(count, int) else ctx.mb.reshape(x=count, shape=(1,))
        begins, ends = offsets, ctx.mb.concat(values=[ctx.slice(offsets, 0, 1), last], axis=0)
    places = ctx.mb.range_1d(start=0, end=count, step=1)
    row, column = ctx.mb.expand_dims(x=places, axes=[0]), [1]
    after = ctx.mb.greater_equal(x=row, y=ctx.mb.expand_dims(x=begins, axes=column))
    return ctx.mb.logical_and(x=after, y=ctx.mb.less(x=row, y=ctx.mb.expand_dims(x=ends, axes=column)))


@lowers("aten.one_hot.default")
def one_hot(ctx: Context, indices: Value, classes: int) -> Value:
    if classes < 0:
        static = ctx.static(indices)
        if static is None:
            raise ctx.unsupported("the number of classes is left to the data", hint="pass num_classes")
        classes = int(static.max()) + 1
    return ctx.cast(ctx.mb.one_hot(indices=indices, one_hot_vector_size=classes), types.int32)
