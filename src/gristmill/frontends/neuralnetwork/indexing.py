"""Reading and writing by index."""

from __future__ import annotations

from typing import Any

from gristmill.frontends.neuralnetwork.context import Context, ops
from gristmill.frontends.neuralnetwork.registry import maps
from gristmill.ir.program import Value

_MODES = {
    "SCATTER_UPDATE": "update",
    "SCATTER_ADD": "add",
    "SCATTER_SUB": "sub",
    "SCATTER_MUL": "mul",
    "SCATTER_DIV": "div",
    "SCATTER_MAX": "max",
    "SCATTER_MIN": "min",
}


def _numbers(ctx: Context, x: Value) -> Value:
    """What an indexing op takes: a network's truth values are numbers, too."""
    return ctx.floating(x) if x.dtype.kind == "bool" else x


@maps("gather", typed=True)
def gather(ctx: Context, p: Any, x: Value, indices: Value) -> Value:
    return ops.gather(x=_numbers(ctx, x), indices=ctx.integers(indices), axis=p.axis)


@maps("gatherAlongAxis", typed=True)
def gather_along_axis(ctx: Context, p: Any, x: Value, indices: Value) -> Value:
    return ops.gather_along_axis(x=_numbers(ctx, x), indices=ctx.integers(indices), axis=p.axis)


@maps("gatherND", typed=True)
def gather_nd(ctx: Context, p: Any, x: Value, indices: Value) -> Value:
    return ops.gather_nd(x=_numbers(ctx, x), indices=ctx.integers(indices))


def _pair(ctx: Context, data: Value, updates: Value) -> list[Value]:
    alike = ctx.alike(data, updates)
    return [_numbers(ctx, value) for value in alike]


@maps("scatter", typed=True)
def scatter(ctx: Context, p: Any, data: Value, indices: Value, updates: Value) -> Value:
    data, updates = _pair(ctx, data, updates)
    return ops.scatter(data=data, indices=ctx.integers(indices), updates=updates, axis=p.axis, mode=_MODES[p.mode])


@maps("scatterAlongAxis", typed=True)
def scatter_along_axis(ctx: Context, p: Any, data: Value, indices: Value, updates: Value) -> Value:
    data, updates = _pair(ctx, data, updates)
    return ops.scatter_along_axis(
        data=data, indices=ctx.integers(indices), updates=updates, axis=p.axis, mode=_MODES[p.mode]
    )


@maps("scatterND", typed=True)
def scatter_nd(ctx: Context, p: Any, data: Value, indices: Value, updates: Value) -> Value:
    data, updates = _pair(ctx, data, updates)
    return ops.scatter_nd(data=data, indices=ctx.integers(indices), updates=updates, mode=_MODES[p.mode])


@maps("whereNonZero", typed=True)
def where_non_zero(ctx: Context, p: Any, x: Value) -> Value:
    return ops.non_zero(x=x)


@maps("oneHot", typed=True)
def one_hot(ctx: Context, p: Any, indices: Value, size: Value | None = None) -> Value:
    count = ops.const(p.oneHotVectorSize) if size is None else ctx.scalar(ctx.integers(size))
    return ops.one_hot(
        indices=ctx.integers(indices),
        one_hot_vector_size=count,
        axis=p.axis,
        on_value=ctx.number(p.onValue),
        off_value=ctx.number(p.offValue),
    )
