"""Reductions."""

from __future__ import annotations

from typing import Any

from gristmill.devices.base import Refusal
from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.layout import CHANNELS_LAST
from gristmill.devices.cpu.lowering.pooling import pooling_arguments
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.ir import types
from gristmill.ops import reduction as ops
from gristmill.ops.windows import Axis


def _axes(op: Any) -> list[int]:
    rank = op.x.rank
    return list(range(rank)) if op.axes is None else sorted({axis % rank for axis in op.axes})


def _floats(op: Any) -> Refusal | None:
    if op.x.dtype not in (types.fp16, types.fp32):
        return Refusal("only floats have a native kernel")
    # Over nothing there is no greatest element, and the reference says so.
    empty = any(not isinstance(op.x.shape[axis], int) or op.x.shape[axis] == 0 for axis in _axes(op))
    if empty and isinstance(op, ops.reduce_max | ops.reduce_min):
        return Refusal("the extreme over a size that may be 0 has no native kernel")
    return None


def _is_global_average(op: Any, emit: Emitter) -> bool:
    """Whether an image in channels-last order is averaged over all its places."""
    return (
        isinstance(op, ops.reduce_mean)
        and emit.layout(op.x) is CHANNELS_LAST
        and 3 <= op.x.rank <= 5
        and _axes(op) == list(range(2, op.x.rank))
        and all(isinstance(size, int) and size > 0 for size in op.x.shape[2:])
    )


@lowers(
    ops.reduce_sum,
    ops.reduce_mean,
    ops.reduce_max,
    ops.reduce_min,
    ops.reduce_sum_square,
    ops.reduce_l1_norm,
    ops.reduce_l2_norm,
    supports=_floats,
)
def _reduce(op: Any, emit: Emitter) -> None:
    if _is_global_average(op, emit):
        _global_average(op, emit)
        return
    axes = _axes(op)
    others = [axis for axis in range(op.x.rank) if axis not in axes]
    first = axes[0] if axes else 0
    if axes == list(range(first, first + len(axes))):
        x = emit.tensor(op.x)
    else:
        x, first = emit.moved(op.x, [*others, *axes]), len(others)
    arguments = {"how": op.op_name, "first": first, "last": first + len(axes)}
    emit.call("reduce", arguments, [x], [emit.result(op.result)])


def _global_average(op: Any, emit: Emitter) -> None:
    axes = [Axis(size) for size in op.x.shape[2:]]
    batch, channels = op.x.shape[:2]
    averages = emit.scratch(op.x.dtype.name, (batch, *(1 for _ in axes), channels))
    arguments = pooling_arguments(emit, axes, counts=False)
    emit.call("avg_pool", arguments, [emit.tensor(op.x, CHANNELS_LAST)], [averages])
    emit.alias(op.result, averages)  # the same elements in the same order, whatever axes of size 1 remain
