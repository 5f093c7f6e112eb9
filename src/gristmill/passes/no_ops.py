"""Removes ops that give back their operand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gristmill.ir.op import Op
from gristmill.ir.program import Function, Value
from gristmill.ir.traits import Reshapes
from gristmill.passes.infra import FunctionPass, blocks_of
from gristmill.passes.rewriting import bypass, data_of, is_readable, same_type

_READ_LIMIT = 1 << 12
"""Constants of more elements are not looked through for neutral elements: reading them costs more than the op."""


class NoOps(FunctionPass):
    """Lets the users of an op take its operand where the two are equal bit by bit, NaNs and signs of zeros included.

    A cast is one when both types are equal, whoever wrote it: there is nothing to round. ``x + 0`` is none, since it
    turns -0 into 0. No value changes.
    """

    name = "no_ops"

    def run_on(self, function: Function) -> bool:
        changed = False
        for block in blocks_of(function):
            for op in block:
                source = _source(op)
                changed |= source is not None and bypass(op, source)
        return changed


def _source(op: Op) -> Value | None:
    """The operand that an op gives back."""
    if len(op.results) != 1:
        return None
    found = _neutral_operation(op) if op.op_name in _NEUTRAL else _unmoved(op)
    return found if found is not None and same_type(found, op.result) else None


# --- arithmetic with neutral elements --------------------------------------------------------------------------------

_MINUS_ZERO = np.float64(-0.0)

_NEUTRAL: Mapping[str, tuple[Any, bool]] = {
    "add": (_MINUS_ZERO, True),  # x + 0 would turn -0 into 0
    "sub": (np.float64(0.0), False),
    "mul": (np.float64(1.0), True),
    "real_div": (np.float64(1.0), False),
    "pow": (np.float64(1.0), False),
}
"""By op: the second operand that gives back the first one, and whether the first may as well give back the second."""


def _neutral_operation(op: Op) -> Value | None:
    neutral, either = _NEUTRAL[op.op_name]
    x, y = op.operand("x"), op.operand("y")
    if _all_equal(y, neutral):
        return x
    return y if either and _all_equal(x, neutral) else None


def _all_equal(value: Value, wanted: Any) -> bool:
    if not is_readable(value) or data_of(value).size > _READ_LIMIT:
        return False
    array = data_of(value).read()
    same = array == wanted
    if array.dtype.kind == "f":
        same &= np.signbit(array) == np.signbit(wanted)
    return bool(array.size and same.all())


# --- movements that move nothing -------------------------------------------------------------------------------------


def _unmoved(op: Op) -> Value | None:
    """The operand of an op that gives it back if its type is the same."""
    if op.op_name in ("concat", "split") or op.has(Reshapes):
        operands = [value for name, _, value in op.uses() if name in ("x", "values")]
        return operands[0] if len(operands) == 1 else None
    gives_back = _GIVES_BACK.get(op.op_name)
    return op.operand("x") if gives_back is not None and gives_back(op) else None


def _keeps_order(op: Op) -> bool:
    """Whether a transposition moves only axes of size 1."""
    perm = [axis % op.operand("x").rank for axis in getattr(op, "perm", ())]
    moved = [axis for axis in perm if op.operand("x").shape[axis] != 1]
    return moved == sorted(moved)


def _has_unit_strides(op: Op) -> bool:
    """Whether a slice that is as large as its operand is all of it."""
    return all(stride == 1 for stride in getattr(op, "stride", None) or ())


def _pads_nothing(op: Op) -> bool:
    amounts = op.operand("pad").contents
    return amounts is not None and all(isinstance(amount, int) and amount == 0 for amount in amounts.flat)


_GIVES_BACK: Mapping[str, Callable[[Op], bool]] = {
    "cast": lambda op: True,
    "identity": lambda op: True,
    "pad": _pads_nothing,
    "slice_by_index": _has_unit_strides,
    "slice_by_size": lambda op: True,
    "tile": lambda op: True,
    "transpose": _keeps_order,
}
"""By op: whether it gives back its operand ``x``, provided that the types are the same."""
