"""Sorting, and sums of the elements up to each."""

from __future__ import annotations

import contextlib

from gristmill.devices.base import Refusal
from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.ir import types
from gristmill.ir.program import Value
from gristmill.ops.reduction import reduce_argmax, reduce_argmin
from gristmill.ops.tensor_operation import argsort, cumsum, topk

MOST_PLACES = 1 << 16
"""That a place of 16 bits can name."""


def _sort(
    emit: Emitter, x: Value, axis: int, values: Value | None, places: Value | None, *, ascending: bool, nan_first: bool
) -> None:
    arguments = {"ascending": ascending, "nan_first": nan_first}
    source = emit.axis_last(x, axis)
    with contextlib.ExitStack() as stack:
        results = [
            -1 if value is None else stack.enter_context(emit.result_axis_last(value, axis))
            for value in (values, places)
        ]
        emit.call("sort", arguments, [source], results)


@lowers(argsort)
def _argsort(op: argsort, emit: Emitter) -> None:
    axis, ascending = op.axis % op.x.rank, op.ascending
    _sort(emit, op.x, axis, None, op.result, ascending=ascending, nan_first=not ascending)


def _nameable(op: topk) -> Refusal | None:
    size = op.x.shape[op.axis % op.x.rank]
    if op.output_indices_dtype == "uint16" and not (isinstance(size, int) and size <= MOST_PLACES):
        return Refusal("places may not fit their type")
    return None


@lowers(topk, supports=_nameable)
def _topk(op: topk, emit: Emitter) -> None:
    values, *places = op.results
    axis, ascending = op.axis % op.x.rank, op.ascending
    _sort(emit, op.x, axis, values, places[0] if places else None, ascending=ascending, nan_first=not ascending)


def _something(op: reduce_argmax | reduce_argmin) -> Refusal | None:
    size = op.x.shape[op.axis % op.x.rank]
    return (
        None if isinstance(size, int) and size > 0 else Refusal("the extreme over a size that may be 0 has no kernel")
    )


@lowers(reduce_argmax, reduce_argmin, supports=_something)
def _arg_extreme(op: reduce_argmax | reduce_argmin, emit: Emitter) -> None:
    """The first place of a sorted row; as in NumPy a NaN is the extreme."""
    axis = op.axis % op.x.rank
    source = emit.axis_last(op.x, axis)
    # Of one element a row, which axis it lies on makes no difference.
    others = [size for a, size in enumerate(op.x.shape) if a != axis]
    result = emit.renamed(emit.result(op.result), op.result.dtype, [*others, 1])
    emit.call("sort", {"ascending": isinstance(op, reduce_argmin), "nan_first": True}, [source], [-1, result])


def _numbers(op: cumsum) -> Refusal | None:
    return None if op.x.dtype in (types.fp16, types.fp32, types.int32) else Refusal("only numbers are summed natively")


@lowers(cumsum, supports=_numbers)
def _cumsum(op: cumsum, emit: Emitter) -> None:
    arguments = {"axis": op.axis % op.x.rank, "exclusive": op.exclusive, "reverse": op.reverse}
    emit.call("cumsum", arguments, [emit.tensor(op.x)], [emit.result(op.result)])
