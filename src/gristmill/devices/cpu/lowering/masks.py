"""Elements chosen by their place: element-wise programs over constants that name places."""

from __future__ import annotations

import numpy as np

from gristmill.devices.base import Refusal
from gristmill.devices.cpu import _native
from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.ir.program import Value
from gristmill.ops.tensor_operation import band_part, one_hot


def _known_size(op: one_hot) -> Refusal | None:
    axis = op.axis % op.result.rank
    return None if isinstance(op.result.shape[axis], int) else Refusal("the vectors' size is not fixed")


def _number(value: Value | None, default: float) -> float:
    return default if value is None or value.constant is None else float(value.constant.numpy())


@lowers(one_hot, supports=_known_size, reads=("indices",))
def _one_hot(op: one_hot, emit: Emitter) -> None:
    axis = op.axis % op.result.rank
    shape = op.result.shape
    size = shape[axis]
    assert isinstance(size, int)
    made = emit.result(op.result)  # which refuses what memory does not hold, before there are places
    indices = emit.renamed(emit.tensor(op.indices), op.indices.dtype, [*shape[:axis], 1, *shape[axis + 1 :]])
    places = np.arange(size, dtype=np.int32).reshape(-1, *[1] * (len(shape) - axis - 1))
    constant = "Constant" if op.result.dtype.is_float else "ConstantInt"
    program = _native.tile_program(
        2,
        5,
        [
            ("EqualInt", 2, 0, 1, 0, 0.0, 0.0),
            (constant, 3, 0, 0, 0, _number(op.on_value, 1.0), 0.0),
            (constant, 4, 0, 0, 0, _number(op.off_value, 0.0), 0.0),
            ("Select", 2, 2, 3, 4, 0.0, 0.0),
        ],
        [2],
    )
    emit.call("elementwise", {"program": program}, [indices, emit.constant(places, "int32")], [made])


def _known_matrix(op: band_part) -> Refusal | None:
    return None if all(isinstance(d, int) for d in op.x.shape[-2:]) else Refusal("the matrices' size is not fixed")


@lowers(band_part, supports=_known_matrix)
def _band_part(op: band_part, emit: Emitter) -> None:
    made = emit.result(op.result)  # which refuses what memory does not hold, before there is a mask
    matrix = [size for size in op.x.shape[-2:] if isinstance(size, int)]
    inside = op.reference(np.ones(matrix, np.bool_), op.lower, op.upper)
    steps = [("ConstantInt", 2, 0, 0, 0, 0.0, 0.0), ("Select", 2, 1, 0, 2, 0.0, 0.0)]
    program = _native.tile_program(2, 3, steps, [2])
    operands = [emit.tensor(op.x), emit.constant(inside, "bool")]
    emit.call("elementwise", {"program": program}, operands, [made])
