"""Pooling over channels-last images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.devices.base import Refusal
from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.layout import CHANNELS_LAST
from gristmill.devices.cpu.lowering.conv import window_arguments
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.ir import types
from gristmill.ops.pooling import avg_pool, l2_pool, max_pool
from gristmill.ops.reduction import reduce_mean
from gristmill.ops.windows import Axis


def _arguments(emit: Emitter, axes: Sequence[Axis], *, counts: bool) -> dict[str, object]:
    """The arguments of a kernel; ``counts`` says whether padding counts in a mean."""
    return {**window_arguments(emit, axes), "after": emit.sizes([axis.after for axis in axes]), "counts": counts}


@lowers(avg_pool, l2_pool, max_pool)
def _pool(op: Any, emit: Emitter) -> None:
    counts = isinstance(op, avg_pool) and not op.exclude_padding_from_average
    arguments = _arguments(emit, op.axes(op.x.shape[2:]), counts=counts)
    emit.call(op.op_name, arguments, [emit.tensor(op.x, CHANNELS_LAST)], [emit.result(op.result, CHANNELS_LAST)])


def _over_all_space(op: reduce_mean) -> Refusal | None:
    rank = op.x.rank
    axes = range(rank) if op.axes is None else [axis % rank for axis in op.axes]
    if not 3 <= rank <= 5 or sorted(axes) != list(range(2, rank)):
        return Refusal("only the mean over all spatial axes has a native kernel")
    if not all(isinstance(size, int) and size > 0 for size in op.x.shape[2:]):
        return Refusal("the mean over a size that is known only at run time has no native kernel")
    return None if op.x.dtype in (types.fp16, types.fp32) else Refusal("only floats have a native kernel")


@lowers(reduce_mean, supports=_over_all_space)
def _global_average(op: reduce_mean, emit: Emitter) -> None:
    axes = [Axis(size) for size in op.x.shape[2:]]
    batch, channels = op.x.shape[:2]
    averages = emit.scratch(op.x.dtype.name, (batch, *(1 for _ in axes), channels))
    arguments = _arguments(emit, axes, counts=False)
    emit.call("avg_pool", arguments, [emit.tensor(op.x, CHANNELS_LAST)], [averages])
    emit.alias(op.result, averages)  # the same elements in the same order, whatever axes of size 1 remain
