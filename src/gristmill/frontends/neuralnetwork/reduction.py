"""Reductions, and where extremes and orders are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gristmill.frontends.neuralnetwork.context import Context, ops
from gristmill.frontends.neuralnetwork.registry import maps
from gristmill.ir.program import Value

_REDUCTIONS = {
    "reduceL1": "reduce_l1_norm",
    "reduceL2": "reduce_l2_norm",
    "reduceLogSum": "reduce_log_sum",
    "reduceLogSumExp": "reduce_log_sum_exp",
    "reduceMax": "reduce_max",
    "reduceMean": "reduce_mean",
    "reduceMin": "reduce_min",
    "reduceProd": "reduce_prod",
    "reduceSum": "reduce_sum",
    "reduceSumSquare": "reduce_sum_square",
}
_MODES = {
    "SUM": "reduce_sum",
    "AVG": "reduce_mean",
    "PROD": "reduce_prod",
    "LOGSUM": "reduce_log_sum",
    "SUMSQUARE": "reduce_sum_square",
    "L1": "reduce_l1_norm",
    "L2": "reduce_l2_norm",
    "MAX": "reduce_max",
    "MIN": "reduce_min",
}
_AXES = {"CHW": [-3, -2, -1], "HW": [-2, -1], "C": [-3], "H": [-2], "W": [-1]}


def _reduction(op_name: str) -> Callable[..., Value]:
    def mapping(ctx: Context, p: Any, x: Value) -> Value:
        axes = list(range(x.rank)) if p.reduceAll or not p.axes else p.axes
        return ops.op(op_name, x=x, axes=axes, keep_dims=p.keepDims)

    return mapping


for _kind, _op in _REDUCTIONS.items():
    maps(_kind)(_reduction(_op))


@maps("reduce", on_planes=True)
def reduce(ctx: Context, p: Any, x: Value) -> Value:
    axes = _AXES[p.axis]
    if p.mode == "ARGMAX":
        if len(axes) > 1:
            raise ctx.wrong("the place of the maximum is along one axis", expected="C, H or W", actual=p.axis)
        return ops.reduce_argmax(x=x, axis=axes[0], keep_dims=True)
    if p.mode == "LOGSUM":
        x = ops.add(x=x, y=ctx.number(p.epsilon or 1e-6))
    return ops.op(_MODES[p.mode], x=x, axes=axes, keep_dims=True)


def _extreme(op_name: str) -> Callable[..., Value]:
    def mapping(ctx: Context, p: Any, x: Value) -> Value:
        return ops.op(op_name, x=x, axis=p.axis, keep_dims=not p.removeDim)

    return mapping


maps("argMax")(_extreme("reduce_argmax"))
maps("argMin")(_extreme("reduce_argmin"))


@maps("argSort")
def argsort(ctx: Context, p: Any, x: Value) -> Value:
    return ops.argsort(x=x, axis=p.axis, ascending=not p.descending)


@maps("topK", typed=True)
def topk(ctx: Context, p: Any, x: Value, k: Value | None = None) -> tuple[Value, ...]:
    count = p.K
    if k is not None:
        found = ctx.known(k)
        if found is None:
            return _largest(ctx, x, ctx.integers(k), p)
        count = int(found.reshape(-1)[0])
    return ops.several("topk", x=x, k=count, axis=p.axis, ascending=p.useBottomK)


def _largest(ctx: Context, x: Value, k: Value, p: Any) -> tuple[Value, ...]:
    """As many elements as another tensor says."""
    order = ops.argsort(x=x, axis=p.axis, ascending=p.useBottomK)
    values = ops.gather_along_axis(x=x, indices=order, axis=p.axis)
    axis = p.axis % x.rank
    ends = [ctx.reshape(k, [1]) if place == axis else ctx.size(x, place) for place in range(x.rank)]
    end = ops.concat(values=ends, axis=0)
    values, order = (ops.slice_by_index(x=v, begin=[0] * x.rank, end=end) for v in (values, order))
    return values, order


@maps("cumSum")
def cumsum(ctx: Context, p: Any, x: Value, axis: Value | None = None) -> Value:
    along = p.axis
    if axis is not None:
        found = ctx.known(axis)
        if found is None:
            raise ctx.unsupported("an axis that another layer computes")
        along = int(found.reshape(-1)[0])
    return ops.cumsum(x=x, axis=along, exclusive=p.excludeFinalSum, reverse=p.reverse)
