"""Matrix products."""

from __future__ import annotations

from gristmill.devices.base import Refusal
from gristmill.devices.cpu import _native
from gristmill.devices.cpu.compression import MatrixView, compressed_matrix
from gristmill.devices.cpu.contents import is_known, sizes_of
from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.layout import PLAIN
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.devices.cpu.packing import are_few, packed
from gristmill.ir import types
from gristmill.ir.program import Value
from gristmill.ops.linear import linear, matmul


def _float_matrix(value: Value) -> bool:
    return is_known(value) and value.dtype in (types.fp16, types.fp32) and value.rank == 2


def pack(emit: Emitter, weight: Value, *, transposed: bool, few_rows: bool) -> _native.Prepared:
    """A constant matrix [K, N], or [N, K] when transposed, for products: packed at once for few rows."""

    def make() -> _native.Prepared:
        found = compressed_matrix(weight, MatrixView.of(2, columns=0 if transposed else 1), strict=emit.strict)
        if found is not None:
            return found
        k, n = reversed(sizes_of(weight)) if transposed else sizes_of(weight)
        return packed(weight, (1, k, n), (0, 1, k) if transposed else (0, n, 1), few_rows=few_rows)

    return emit.prepared((weight, "matrix", transposed), make)


def _floats(op: linear) -> Refusal | None:
    if not _float_matrix(op.weight):
        return Refusal("the weight is no constant matrix of floats")
    return None if op.x.dtype in (types.fp16, types.fp32) else Refusal("the operand is not of floats")


@lowers(linear, supports=_floats, epilogue=PLAIN)
def _linear(op: linear, emit: Emitter) -> None:
    weight = pack(emit, op.weight, transposed=True, few_rows=are_few(*op.x.shape[:-1]))
    emit.finish(op, "linear", {"weight": weight}, [emit.tensor(op.x)], bias=op.bias)


def _constant_right(op: matmul) -> bool:
    return _float_matrix(op.y) and op.x.rank >= 2 and not op.transpose_x


def _matrices(op: matmul) -> Refusal | None:
    if any(value.dtype not in (types.fp16, types.fp32) for value in (op.x, op.y)):
        return Refusal("an operand is not of floats")
    return Refusal("products with a vector have no native kernel") if min(op.x.rank, op.y.rank) < 2 else None


@lowers(matmul, supports=_matrices, epilogue=PLAIN)
def _matmul(op: matmul, emit: Emitter) -> None:
    if _constant_right(op):
        weight = pack(emit, op.y, transposed=op.transpose_y, few_rows=are_few(*op.x.shape[:-1]))
        emit.finish(op, "linear", {"weight": weight}, [emit.tensor(op.x)])
        return
    arguments = {"transpose_x": op.transpose_x, "transpose_y": op.transpose_y}
    emit.finish(op, "matmul", arguments, [emit.tensor(op.x), emit.tensor(op.y)])
