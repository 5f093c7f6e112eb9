"""Reductions: many elements to one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from gristmill.frontends.torch.context import Complex, Context, Number, Size, positive_axes
from gristmill.frontends.torch.elementwise_unary import magnitude
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.program import Value

Axes: TypeAlias = int | Sequence[int] | None


def reduced(ctx: Context, op_name: str, x: Value, axes: Axes, keep: bool) -> Value:
    """Applies a reduction; a scalar is its own only element."""
    if x.rank == 0:
        x = ctx.mb.expand_dims(x=x, axes=[0])
        keep, axes = False, [0]
    reduce: Callable[..., Value] = getattr(ctx.mb, op_name)
    return reduce(x=x, axes=positive_axes(axes, x.rank), keep_dims=keep)


@lowers("aten.sum.default")
def sum_all(ctx: Context, x: Any) -> Any:
    return sum_(ctx, x, None, False)


@lowers("aten.sum.dim_IntList")
def sum_(ctx: Context, x: Any, dim: Axes, keepdim: bool) -> Any:
    if isinstance(x, Complex):
        return Complex(
            reduced(ctx, "reduce_sum", x.real, dim, keepdim), reduced(ctx, "reduce_sum", x.imag, dim, keepdim)
        )
    return reduced(ctx, "reduce_sum", ctx.cast(x, ctx.dtype), dim, keepdim)


@lowers("aten.nansum.default")
def nansum(ctx: Context, x: Value, dim: Axes, keepdim: bool) -> Value:
    x = ctx.cast(x, ctx.dtype)
    if x.dtype.is_float:
        x = ctx.mb.select(cond=ctx.mb.equal(x=x, y=x), a=x, b=ctx.number(0, x.dtype))
    return reduced(ctx, "reduce_sum", x, dim, keepdim)


@lowers("aten.mean.default")
def mean_all(ctx: Context, x: Value) -> Value:
    return mean(ctx, x, None, False)


@lowers("aten.mean.dim")
def mean(ctx: Context, x: Value, dim: Axes, keepdim: bool) -> Value:
    return reduced(ctx, "reduce_mean", ctx.cast(x, ctx.dtype), dim, keepdim)


@lowers("aten.prod.default")
def prod_all(ctx: Context, x: Value) -> Value:
    return prod(ctx, x, None, False)


@lowers("aten.prod.dim_int")
def prod(ctx: Context, x: Value, dim: Axes, keepdim: bool) -> Value:
    return reduced(ctx, "reduce_prod", ctx.cast(x, ctx.dtype), dim, keepdim)


@lowers("aten.amax.default", "aten.amin.default")
def extreme(ctx: Context, x: Value, dim: Axes = (), keepdim: bool = False) -> Value:
    op_name = "reduce_max" if "max" in ctx.operator else "reduce_min"
    carried = ctx.cast(x, types.int32) if x.dtype == types.bool_ else x
    return ctx.cast(reduced(ctx, op_name, carried, dim, keepdim), x.dtype)


@lowers("aten.max.default", "aten.min.default")
def extreme_all(ctx: Context, x: Value) -> Value:
    return extreme(ctx, x)


@lowers("aten.aminmax.default")
def aminmax(ctx: Context, x: Value, *, dim: int | None = None, keepdim: bool = False) -> list[Value]:
    return [reduced(ctx, op_name, x, dim, keepdim) for op_name in ("reduce_min", "reduce_max")]


@lowers("aten.max.dim", "aten.min.dim")
def extreme_with_place(ctx: Context, x: Value, dim: int, keepdim: bool) -> list[Value]:
    return [extreme(ctx, x, dim, keepdim), place_of_extreme(ctx, x, dim, keepdim)]


@lowers("aten.argmax.default", "aten.argmin.default")
def place_of_extreme(ctx: Context, x: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    """The first place, where several hold the extreme."""
    op_name = "reduce_argmax" if "max" in ctx.operator else "reduce_argmin"
    carried = ctx.cast(x, types.int32) if x.dtype == types.bool_ else x
    find: Callable[..., Value] = getattr(ctx.mb, op_name)
    if dim is None:
        place = find(x=ctx.reshape(carried, [-1]), axis=0, keep_dims=False)
        return ctx.reshape(place, [1] * x.rank) if keepdim else place
    if x.rank == 0:
        return ctx.number(0, types.int32)
    return find(x=carried, axis=dim % x.rank, keep_dims=keepdim)


@lowers("aten.any.default", "aten.all.default")
def truth_all(ctx: Context, x: Value) -> Value:
    return truth(ctx, x, None, False)


@lowers("aten.any.dim", "aten.all.dim", "aten.any.dims", "aten.all.dims")
def truth(ctx: Context, x: Value, dim: Axes, keepdim: bool) -> Value:
    """Whether any, or all, elements differ from zero: the greatest, or the least, of 0 and 1."""
    op_name = "reduce_max" if "any" in ctx.operator else "reduce_min"
    ones = ctx.cast(ctx.cast(x, types.bool_), types.int32)
    return ctx.cast(reduced(ctx, op_name, ones, dim, keepdim), ctx.dtype)


@lowers("aten.logsumexp.default")
def logsumexp(ctx: Context, x: Value, dim: Axes, keepdim: bool = False) -> Value:
    return reduced(ctx, "reduce_log_sum_exp", ctx.cast(x, ctx.dtype), dim, keepdim)


# --- spread ----------------------------------------------------------------------------------------------------------


def variance(ctx: Context, x: Value, axes: Axes, correction: Number, keep: bool) -> tuple[Value, Value]:
    """Variance about the mean, divided by the number of elements less the correction, and the mean."""
    if x.rank == 0:
        x, keep, axes = ctx.mb.expand_dims(x=x, axes=[0]), False, [0]
    listed = positive_axes(axes, x.rank)
    mean_kept = ctx.mb.reduce_mean(x=x, axes=listed, keep_dims=True)
    squares = ctx.mb.square(x=ctx.mb.sub(x=x, y=mean_kept))
    average = mean_kept if keep else ctx.mb.squeeze(x=mean_kept, axes=listed)
    if correction == 0:
        return ctx.mb.reduce_mean(x=squares, axes=listed, keep_dims=keep), average
    count: Size = 1
    for axis in listed:
        size = ctx.size(x, axis)
        count = count * size if isinstance(count, int) and isinstance(size, int) else ctx.mb.mul(x=count, y=size)
    if isinstance(count, int):
        divisor = ctx.number(max(count - correction, 0), x.dtype)
    else:
        divisor = ctx.mb.maximum(x=ctx.mb.sub(x=ctx.cast(count, x.dtype), y=float(correction)), y=0.0)
    return ctx.mb.real_div(x=ctx.mb.reduce_sum(x=squares, axes=listed, keep_dims=keep), y=divisor), average


def _spread(ctx: Context, x: Value, axes: Axes, correction: Number | None, keep: bool) -> Any:
    found, average = variance(ctx, ctx.cast(x, ctx.dtype), axes, 1 if correction is None else correction, keep)
    if "std" in ctx.operator:
        found = ctx.mb.sqrt(x=found)
    return [found, average] if "_mean" in ctx.operator else found


@lowers("aten.var.default", "aten.std.default", "aten.var_mean.default", "aten.std_mean.default")
def spread_all(ctx: Context, x: Value, unbiased: bool = True) -> Any:
    return _spread(ctx, x, None, int(unbiased), False)


@lowers("aten.var.dim", "aten.std.dim", "aten.var_mean.dim", "aten.std_mean.dim")
def spread_of_axes(ctx: Context, x: Value, dim: Axes, unbiased: bool = True, keepdim: bool = False) -> Any:
    return _spread(ctx, x, dim, int(unbiased), keepdim)


@lowers("aten.var.correction", "aten.std.correction", "aten.var_mean.correction", "aten.std_mean.correction")
def spread_corrected(
    ctx: Context, x: Value, dim: Axes = None, *, correction: Number | None = None, keepdim: bool = False
) -> Any:
    return _spread(ctx, x, dim, correction, keepdim)


# --- norms -----------------------------------------------------------------------------------------------------------


@lowers("aten.linalg_vector_norm.default")
def vector_norm(ctx: Context, x: Any, order: Number = 2, dim: Axes = None, keepdim: bool = False) -> Value:
    """``(Σ|x|ᵖ)^(1/p)``; the greatest or least magnitude for ±∞, the number of non-zeros for 0."""
    x = magnitude(ctx, x) if isinstance(x, Complex) else ctx.cast(x, ctx.dtype)
    if order == 2:
        return reduced(ctx, "reduce_l2_norm", x, dim, keepdim)
    if order == 1:
        return reduced(ctx, "reduce_l1_norm", x, dim, keepdim)
    if order == 0:
        ones = ctx.cast(ctx.mb.not_equal(x=x, y=ctx.number(0, x.dtype)), x.dtype)
        return reduced(ctx, "reduce_sum", ones, dim, keepdim)
    sizes = ctx.mb.abs(x=x)
    if math.isinf(order):
        return reduced(ctx, "reduce_max" if order > 0 else "reduce_min", sizes, dim, keepdim)
    powers = ctx.mb.pow(x=sizes, y=ctx.number(order, x.dtype))
    return ctx.mb.pow(x=reduced(ctx, "reduce_sum", powers, dim, keepdim), y=ctx.number(1 / order, x.dtype))


@lowers("aten.norm.ScalarOpt_dim", "aten.norm.ScalarOpt_dim_dtype")
def norm(ctx: Context, x: Value, order: Number | None, dim: Axes, keepdim: bool = False) -> Value:
    return vector_norm(ctx, x, 2 if order is None else order, dim, keepdim)


@lowers("aten.norm.Scalar", "aten.norm.ScalarOpt_dtype")
def norm_all(ctx: Context, x: Value, order: Number | None = 2) -> Value:
    return vector_norm(ctx, x, 2 if order is None else order)


@lowers("aten._pdist_forward.default", "aten.pdist.default")
def pdist(ctx: Context, x: Value, order: Number = 2) -> Value:
    """Distances of all pairs of rows, each pair once."""
    count = x.shape[0]
    if not isinstance(count, int):
        raise ctx.unsupported("distances between a number of rows that is only known at run time", hint="use cdist")
    first, second = np.triu_indices(count, 1)
    apart = ctx.mb.sub(
        x=ctx.mb.gather(x=x, indices=first.astype(np.int32), axis=0),
        y=ctx.mb.gather(x=x, indices=second.astype(np.int32), axis=0),
    )
    return vector_norm(ctx, apart, order, [1])


@lowers("aten.cdist.default", "aten._cdist_forward.default", "aten._euclidean_dist.default")
def cdist(ctx: Context, x: Value, y: Value, order: Number = 2, compute_mode: int | None = None) -> Value:
    """The norm of the difference of each row of x and each row of y."""
    rows = ctx.mb.expand_dims(x=x, axes=[x.rank - 1])
    columns = ctx.mb.expand_dims(x=y, axes=[y.rank - 2])
    return vector_norm(ctx, ctx.mb.sub(x=rows, y=columns), order, -1)


@lowers("aten.cosine_similarity.default")
def cosine_similarity(ctx: Context, x: Value, y: Value, dim: int, eps: float) -> Value:
    """Each vector's norm is at least ε."""
    x, y = ctx.cast(x, ctx.dtype), ctx.cast(y, ctx.dtype)
    axes = [dim % max(x.rank, y.rank)]
    dot = ctx.mb.reduce_sum(x=ctx.mb.mul(x=x, y=y), axes=axes, keep_dims=False)

    def length(v: Value) -> Value:
        return ctx.mb.maximum(x=ctx.mb.reduce_l2_norm(x=v, axes=[dim % v.rank], keep_dims=False), y=float(eps))

    return ctx.mb.real_div(x=dot, y=ctx.mb.mul(x=length(x), y=length(y)))
