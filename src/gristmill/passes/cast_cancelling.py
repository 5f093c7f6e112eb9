"""Removes casts that need not be there."""

from __future__ import annotations

from gristmill.ir.op import Op
from gristmill.ir.program import Function
from gristmill.ir.types import DType, fp16, fp32
from gristmill.passes.infra import FunctionPass, blocks_of
from gristmill.passes.rewriting import bypass, make_before, replace


class CastCancelling(FunctionPass):
    """Lets a cast start from what the cast before it started from, and drops it where the types are then equal.

    The first cast of two must be one that typing inserted: its rounding, which nobody asked for, disappears. Or it must
    round nothing that the second one leaves to see, as when every value of its operand's type exists in its own. What
    the source model wrote as a rounding point stays one. The first cast stays as long as it has other users.
    """

    name = "cast_cancelling"

    def run_on(self, function: Function) -> bool:
        changed = False
        for block in blocks_of(function):
            for op in block:
                changed |= op.op_name == "cast" and _merge(op)
        return changed


def _merge(second: Op) -> bool:
    first = second.operand("x").producer
    if first is None or first.op_name != "cast":
        return False
    source = first.operand("x")
    start, middle, end = source.dtype, second.operand("x").dtype, second.result.dtype
    if not (first.inserted or _holds(middle, start) or _too_large_anyway(start, middle, end)):
        return False
    if not _alike(start, middle, end):
        return False
    if start == end:
        return bypass(second, source)
    new = make_before(second, "cast", x=source, dtype=end.name)
    assert new.producer is not None
    new.producer.inserted = second.inserted
    replace(second, new)
    return True


def _alike(start: DType, middle: DType, end: DType) -> bool:
    """Whether a cast from ``start`` does what one from ``middle`` does to the same number.

    Integers become narrower modulo 2ⁿ, floats stop at the ends of the range.
    """
    return start == end or not (start.is_integer and middle.is_float and end.is_integer)


def _too_large_anyway(start: DType, middle: DType, end: DType) -> bool:
    """Whether the integers that the middle type rounds are infinite in the last one: those over 2²⁴ are in float16."""
    return start.is_integer and middle == fp32 and end == fp16


_SIGNIFICANT_BITS = {"fp16": 11, "fp32": 24, "fp64": 53}


def _holds(wide: DType, narrow: DType) -> bool:
    """Whether every value of one type exists in another."""
    if wide == narrow:
        return True
    if narrow.kind == "bool":
        return wide.is_float or wide.is_integer
    if narrow.is_float:
        return wide.is_float and _SIGNIFICANT_BITS.get(narrow.name, 99) <= _SIGNIFICANT_BITS.get(wide.name, 0)
    if not narrow.is_integer:
        return False
    if wide.is_integer:
        return wide.min <= narrow.min and narrow.max <= wide.max
    return wide.is_float and narrow.max <= 1 << _SIGNIFICANT_BITS.get(wide.name, 0)
