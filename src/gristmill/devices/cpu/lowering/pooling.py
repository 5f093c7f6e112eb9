"""Pooling over channels-last images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.layout import CHANNELS_LAST
from gristmill.devices.cpu.lowering.conv import window_arguments
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.ops.pooling import avg_pool, l2_pool, max_pool
from gristmill.ops.windows import Axis


def pooling_arguments(emit: Emitter, axes: Sequence[Axis], *, counts: bool) -> dict[str, object]:
    """The arguments of a kernel; ``counts`` says whether padding counts in a mean."""
    return {**window_arguments(emit, axes), "after": emit.sizes([axis.after for axis in axes]), "counts": counts}


@lowers(avg_pool, l2_pool, max_pool)
def _pool(op: Any, emit: Emitter) -> None:
    counts = isinstance(op, avg_pool) and not op.exclude_padding_from_average
    arguments = pooling_arguments(emit, op.axes(op.x.shape[2:]), counts=counts)
    emit.call(op.op_name, arguments, [emit.tensor(op.x, CHANNELS_LAST)], [emit.result(op.result, CHANNELS_LAST)])
