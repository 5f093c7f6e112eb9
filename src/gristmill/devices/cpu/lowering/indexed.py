"""Reading and writing at indices that are known only while the model runs."""

from __future__ import annotations

from typing import Any

from gristmill.devices.base import Refusal
from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.lowering.linear import pack
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.devices.cpu.packing import stays_in_file
from gristmill.ir import types
from gristmill.ir.dims import Dim
from gristmill.ir.opset import iOS17
from gristmill.ir.program import Value
from gristmill.ops import scatter_gather as ops
from gristmill.ops.linear import linear


def _indices(op: Any, axis: int, batch: int = 0, depth: Dim = 1) -> dict[str, Any]:
    """How a kernel takes indices; the family's rule stands in ``gristmill.ops.scatter_gather``."""
    assert isinstance(depth, int)  # inference asks for it
    return {
        "axis": axis,
        "batch": batch,
        "depth": depth,
        "negative": not op.validate_indices,
        "forgives": op.opset >= iOS17 and not op.validate_indices,
    }


def _some_vectors(op: Any) -> Refusal | None:
    if op.indices.shape[-1] == 0:
        return Refusal("index vectors without elements have no native kernel")
    return _combined(op) if hasattr(op, "mode") else None


def _combined(op: Any) -> Refusal | None:
    if op.mode != "update" and op.data.dtype not in (types.fp16, types.fp32, types.int32):
        return Refusal("only floats and 32-bit integers are combined natively")
    return None


def _is_weight(table: Value) -> bool:
    """Whether the rows of a constant table are the columns of a matrix that products keep packed."""
    return (
        table.constant is not None
        and not stays_in_file(table)  # where it takes no memory beside the packed matrix
        and table.rank == 2
        and any(isinstance(user, linear) and user.weight is table for user in table.users)
    )


@lowers(ops.gather)
def _gather(op: ops.gather, emit: Emitter) -> None:
    arguments = _indices(op, op.axis % op.x.rank, op.batch_dims)
    if _is_weight(op.x) and arguments["axis"] == 0:
        arguments = {name: arguments[name] for name in ("negative", "forgives")}
        arguments["matrix"] = pack(emit, op.x, transposed=True, few_rows=True)
        emit.call("columns", arguments, [emit.tensor(op.indices)], [emit.result(op.result)])
        return
    emit.call("gather", arguments, [emit.tensor(op.x), emit.tensor(op.indices)], [emit.result(op.result)])


@lowers(ops.gather_nd, supports=_some_vectors)
def _gather_nd(op: ops.gather_nd, emit: Emitter) -> None:
    arguments = _indices(op, op.batch_dims, op.batch_dims, op.indices.shape[-1])
    emit.call("gather", arguments, [emit.tensor(op.x), emit.tensor(op.indices)], [emit.result(op.result)])


@lowers(ops.scatter, supports=_combined)
def _scatter(op: ops.scatter, emit: Emitter) -> None:
    arguments = _indices(op, op.axis % op.data.rank) | {"mode": op.mode}
    operands = [emit.tensor(value) for value in (op.data, op.indices, op.updates)]
    results = emit.replaced(op, op.data, [(op.data.dtype, op.updates.shape), (types.int32, op.indices.shape)])
    emit.call("scatter", arguments, operands, results)


@lowers(ops.scatter_nd, supports=_some_vectors)
def _scatter_nd(op: ops.scatter_nd, emit: Emitter) -> None:
    arguments = _indices(op, 0, 0, op.indices.shape[-1]) | {"mode": op.mode}
    operands = [emit.tensor(value) for value in (op.data, op.indices, op.updates)]
    emit.call("scatter", arguments, operands, [emit.result(op.result)])


# One index for each element: with the axis moved to the end, single elements at indices of a batch of rows.


@lowers(ops.gather_along_axis)
def _gather_along_axis(op: ops.gather_along_axis, emit: Emitter) -> None:
    rank = op.x.rank
    axis = op.axis % rank
    operands = [emit.axis_last(op.x, axis), emit.axis_last(op.indices, axis)]
    with emit.result_axis_last(op.result, axis) as result:
        emit.call("gather", _indices(op, rank - 1, rank - 1), operands, [result])


@lowers(ops.scatter_along_axis, supports=_combined)
def _scatter_along_axis(op: ops.scatter_along_axis, emit: Emitter) -> None:
    rank = op.data.rank
    axis = op.axis % rank
    operands = [emit.axis_last(value, axis) for value in (op.data, op.indices, op.updates)]
    with emit.result_axis_last(op.result, axis) as result:
        emit.call("scatter", _indices(op, rank - 1, rank - 1) | {"mode": op.mode}, operands, [result])
