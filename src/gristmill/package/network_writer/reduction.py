"""Reductions, and where extremes and orders are."""

from __future__ import annotations

from typing import Any

from gristmill.ir.op import Op
from gristmill.ops import reduction, tensor_operation
from gristmill.package.network_writer.elementwise import whole
from gristmill.package.network_writer.registry import RefusedError, writes
from gristmill.package.network_writer.writer import Writer

_REDUCTIONS: dict[type[Op], str] = {
    reduction.reduce_l1_norm: "reduceL1",
    reduction.reduce_l2_norm: "reduceL2",
    reduction.reduce_log_sum: "reduceLogSum",
    reduction.reduce_log_sum_exp: "reduceLogSumExp",
    reduction.reduce_max: "reduceMax",
    reduction.reduce_mean: "reduceMean",
    reduction.reduce_min: "reduceMin",
    reduction.reduce_prod: "reduceProd",
    reduction.reduce_sum: "reduceSum",
    reduction.reduce_sum_square: "reduceSumSquare",
}
_FRACTIONS = (
    reduction.reduce_l2_norm,
    reduction.reduce_log_sum,
    reduction.reduce_log_sum_exp,
    reduction.reduce_mean,
)
"""Those that make fractions of integers."""
_EXTREMES: dict[type[Op], str] = {reduction.reduce_argmax: "argMax", reduction.reduce_argmin: "argMin"}


@writes(*_REDUCTIONS)
def reduce(w: Writer, op: Any) -> str:
    rank = op.x.rank
    axes = list(range(rank)) if op.axes is None else sorted(axis % rank for axis in op.axes)
    every = len(axes) == rank and not op.keep_dims
    found = w.layer(_REDUCTIONS[type(op)], w.row(op.x), axes=axes or [0], keepDims=op.keep_dims, reduceAll=every)
    return whole(w, op, found) if isinstance(op, _FRACTIONS) else found


@writes(*_EXTREMES)
def extreme(w: Writer, op: Any) -> str:
    return w.layer(_EXTREMES[type(op)], w.row(op.x), axis=op.axis, removeDim=not op.keep_dims)


@writes(tensor_operation.argsort)
def argsort(w: Writer, op: Any) -> str:
    return w.layer("argSort", w.tensor(op.x), axis=op.axis, descending=not op.ascending)


@writes(tensor_operation.topk)
def topk(w: Writer, op: Any) -> list[str]:
    count = op.x.shape[op.axis] if op.k == -1 else op.k
    if not isinstance(count, int):
        raise RefusedError("the layer holds the number of elements", "use an axis of known size")
    found = w.layers("topK", w.tensor(op.x), count=2, axis=op.axis, K=count, useBottomK=op.ascending)
    return found[: len(op.results)]


@writes(tensor_operation.cumsum)
def cumsum(w: Writer, op: Any) -> str:
    return w.layer("cumSum", w.tensor(op.x), axis=op.axis, excludeFinalSum=op.exclusive, reverse=op.reverse)
