"""Order: sorting, selection by rank, search in sorted sequences, distinct elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.frontends.torch.context import Context, Number, Size
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.opset import iOS16, iOS17
from gristmill.ir.program import Value


@lowers("aten.topk.default")
def topk(ctx: Context, x: Value, k: Size, dim: int = -1, largest: bool = True, in_order: bool = True) -> list[Value]:
    if x.rank == 0:
        return [x, ctx.number(0, types.int32)]
    if ctx.known(k) is None and ctx.opset < iOS17:  # the op wants a constant then
        return [ctx.slice(part, dim, 0, k) for part in sort(ctx, x, dim, largest)]
    options = {"sort": in_order} if ctx.opset >= iOS16 else {}
    return ctx.mb.results("topk", x=x, k=k, axis=dim % x.rank, ascending=not largest, **options)


@lowers("aten.sort.default", "aten.msort.default")
def sort(ctx: Context, x: Value, dim: int = -1, descending: bool = False) -> list[Value]:
    carried = ctx.cast(x, types.int32) if x.dtype == types.bool_ else x
    order = argsort(ctx, carried, dim, descending)
    if x.rank == 0:
        return [x, order]
    return [ctx.cast(ctx.mb.gather_along_axis(x=carried, indices=order, axis=dim % x.rank), x.dtype), order]


@lowers("aten.sort.stable")
def sort_stable(
    ctx: Context, x: Value, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> list[Value]:
    return sort(ctx, x, dim, descending)


@lowers("aten.argsort.default")
def argsort(ctx: Context, x: Value, dim: int = -1, descending: bool = False) -> Value:
    if x.rank == 0:
        return ctx.number(0, types.int32)
    carried = ctx.cast(x, types.int32) if x.dtype == types.bool_ else x
    return ctx.mb.argsort(x=carried, axis=dim % x.rank, ascending=not descending)


@lowers("aten.argsort.stable")
def argsort_stable(ctx: Context, x: Value, *, stable: bool = True, dim: int = -1, descending: bool = False) -> Value:
    return argsort(ctx, x, dim, descending)


def _of_rank(ctx: Context, x: Value, place: int, dim: int, keepdim: bool) -> list[Value]:
    if x.rank == 0:
        return [x, ctx.number(0, types.int32)]
    dim %= x.rank
    parts = [ctx.slice(part, dim, place, place + 1) for part in sort(ctx, x, dim)]
    return parts if keepdim else [ctx.mb.squeeze(x=part, axes=[dim]) for part in parts]


@lowers("aten.kthvalue.default")
def kthvalue(ctx: Context, x: Value, k: int, dim: int = -1, keepdim: bool = False) -> list[Value]:
    return _of_rank(ctx, x, k - 1, dim, keepdim)


@lowers("aten.median.dim")
def median(ctx: Context, x: Value, dim: int, keepdim: bool = False) -> list[Value]:
    """The lower of the two in the middle."""
    size = x.shape[dim] if x.rank else 1
    if not isinstance(size, int):
        raise ctx.unsupported("the median of an axis whose size is only known at run time")
    return _of_rank(ctx, x, (size - 1) // 2, dim, keepdim)


@lowers("aten.median.default")
def median_all(ctx: Context, x: Value) -> Value:
    return median(ctx, ctx.reshape(x, [-1]), 0)[0]


@lowers("aten.searchsorted.Tensor")
def searchsorted(
    ctx: Context,
    ordered: Value,
    x: Value,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Value | None = None,
) -> Value:
    """The number of elements before the place: those less than x, or not greater if the place is to the right."""
    if sorter is not None:
        ordered = ctx.mb.gather_along_axis(x=ordered, indices=sorter, axis=ordered.rank - 1)
    dtype = ctx.common_dtype
    values = ctx.mb.expand_dims(x=ctx.cast(x, dtype), axes=[x.rank])
    limits = ctx.cast(ordered, dtype)
    if limits.rank > 1:
        limits = ctx.mb.expand_dims(x=limits, axes=[limits.rank - 1])
    compare = ctx.mb.less_equal if right or side == "right" else ctx.mb.less
    return ctx.mb.reduce_sum(x=ctx.cast(compare(x=limits, y=values), types.int32), axes=[-1], keep_dims=False)


@lowers("aten.searchsorted.Scalar")
def searchsorted_number(
    ctx: Context,
    ordered: Value,
    x: Number,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Value | None = None,
) -> Value:
    number = ctx.number(x, ordered.dtype)
    return searchsorted(ctx, ordered, number, right=right, side=side, sorter=sorter)


@lowers("aten.bucketize.Tensor")
def bucketize(ctx: Context, x: Value, boundaries: Value, *, out_int32: bool = False, right: bool = False) -> Value:
    return searchsorted(ctx, boundaries, x, right=right)


@lowers("aten.histc.default")
def histc(ctx: Context, x: Value, bins: int = 100, low: Number = 0, high: Number = 0) -> Value:
    """How many elements fall into each of equal bins; the last one holds its upper end too."""
    if low == high:
        raise ctx.unsupported("a histogram between limits that the data decides", hint="pass min and max")
    flat = ctx.cast(ctx.reshape(x, [-1]), types.fp32)
    place = ctx.mb.floor(x=ctx.mb.mul(x=ctx.mb.sub(x=flat, y=float(low)), y=bins / (high - low)))
    place = ctx.mb.select(cond=ctx.mb.equal(x=flat, y=float(high)), a=ctx.number(bins - 1, types.fp32), b=place)
    bin_numbers = ctx.mb.expand_dims(x=ctx.mb.range_1d(start=0.0, end=float(bins), step=1.0), axes=[1])
    member = ctx.cast(ctx.mb.equal(x=bin_numbers, y=place), ctx.dtype)
    return ctx.mb.reduce_sum(x=member, axes=[1], keep_dims=False)


@lowers("aten.bincount.default")
def bincount(ctx: Context, x: Value, weights: Value | None = None, minlength: int = 0) -> Value:
    """How often each number occurs, up to the greatest."""
    top = ctx.mb.maximum(x=ctx.mb.add(x=ctx.mb.reduce_max(x=x, axes=[0], keep_dims=False), y=1), y=minlength)
    numbers = ctx.mb.expand_dims(x=ctx.mb.range_1d(start=0, end=top, step=1), axes=[1])
    member = ctx.cast(ctx.mb.equal(x=numbers, y=x), ctx.dtype)
    if weights is not None:
        member = ctx.mb.mul(x=member, y=ctx.cast(weights, ctx.dtype))
    return ctx.mb.reduce_sum(x=member, axes=[1], keep_dims=False)


@lowers("aten._unique2.default", "aten._unique.default")
def unique(ctx: Context, x: Value, in_order: bool, return_inverse: bool, return_counts: bool = False) -> list[Any]:
    """Distinct elements in order; where each element of x is among them; how often each occurs."""
    flat = ctx.reshape(ctx.cast(x, types.int32) if x.dtype == types.bool_ else x, [-1])
    distinct, _, counts = _runs(ctx, sort(ctx, flat, 0)[0])
    inverse = None
    if return_inverse:  # as many distinct elements are smaller
        smaller = ctx.mb.less(x=distinct, y=ctx.mb.expand_dims(x=flat, axes=[1]))
        inverse = ctx.mb.reduce_sum(x=ctx.cast(smaller, types.int32), axes=[1], keep_dims=False)
        inverse = ctx.reshape(inverse, ctx.sizes(x))
    return [ctx.cast(distinct, x.dtype), inverse, counts if return_counts else None]


@lowers("aten.unique_consecutive.default")
def unique_consecutive(
    ctx: Context, x: Value, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> list[Any]:
    """The same for runs of equal elements."""
    if dim is not None:
        raise ctx.unsupported("distinct runs along an axis")
    flat = ctx.reshape(ctx.cast(x, types.int32) if x.dtype == types.bool_ else x, [-1])
    distinct, run, counts = _runs(ctx, flat)
    inverse = ctx.reshape(run, ctx.sizes(x)) if return_inverse else None
    return [ctx.cast(distinct, x.dtype), inverse, counts if return_counts else None]


def _runs(ctx: Context, x: Value) -> tuple[Value, Value, Value]:
    """First elements of runs of equal ones, the run that each element belongs to, and the runs' lengths."""
    differs = ctx.mb.not_equal(x=ctx.slice(x, 0, 1), y=ctx.slice(x, 0, 0, -1))
    starts = ctx.mb.concat(values=[ctx.full([1], 1, types.int32), ctx.cast(differs, types.int32)], axis=0)
    places = ctx.mb.squeeze(x=ctx.mb.non_zero(x=starts), axes=[1])
    run = ctx.mb.sub(x=ctx.mb.cumsum(x=starts, axis=0), y=1)
    count = ctx.vector([ctx.size(x, 0)])
    end = np.array(count, np.int32) if isinstance(count, tuple) else count
    ends = ctx.mb.concat(values=[ctx.slice(places, 0, 1), end], axis=0)
    return ctx.mb.gather(x=x, indices=places, axis=0), run, ctx.mb.sub(x=ends, y=places)
