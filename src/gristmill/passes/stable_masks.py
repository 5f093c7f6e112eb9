"""Attention masks whose sentinels float16 cannot hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.program import Function, Value
from gristmill.ir.traits import DataMovement, Elementwise
from gristmill.passes.infra import blocks_of
from gristmill.passes.patterns import ANYTHING, find_all, op, var
from gristmill.passes.rewriting import is_readable, make_constant
from gristmill.passes.stabilizing import Stabilizer

SENTINEL: Final = 3e4
"""What masks are clamped to: beside other scores ``exp(-3·10⁴)`` is 0 in every type, and twice it is in range still."""

_added = op.softmax(op.add(var("a"), var("b")), axis=ANYTHING)
_chosen = op.softmax(op.select(cond=ANYTHING, a=var("a"), b=var("b")).named("select"), axis=ANYTHING)
_attention = op.scaled_dot_product_attention(query=ANYTHING, key=ANYTHING, value=ANYTHING, attn_mask=var("a"))


class ClampMasks(Stabilizer):
    """Sentinels of masks, such as -10⁹ or float32's least number, become -3·10⁴.

    A mask is what is added to scores before softmax, or chosen in their place, or given to attention. Its constants are
    found by way of whatever moves them, multiplies them by zeros and ones, or adds masks. In float16 larger ones are
    infinite: then a row that is masked as a whole is NaN, where it was a mean, and the ops that have the constants stay
    float32.
    """

    name = "clamp_masks"
    exact = False  # a row that is masked as a whole shows its scores beside a smaller sentinel

    def run_on(self, function: Function) -> bool:
        places = [
            found
            for block in blocks_of(function)
            for root in block
            for pattern in (_added, _chosen, _attention)
            for found in find_all(pattern, root)
        ]
        cone = {op for found in places for op in found.ops}  # layers share masks
        wanted = any(self.wants(found.ops) for found in places)
        changed = False
        for mask in dict.fromkeys(value for found in places for value in found.values.values()):
            for maker, slot, index, value in list(_sentinels(mask, cone)):
                if wanted or self.wants([maker]):
                    clamped = make_constant(maker, _clamped(value), f"{value.name}_clamped")
                    maker.set_operand(slot, clamped, index)
                    self.touched.append(maker.name)
                    changed = True
        return changed


def _sentinels(mask: Value, cone: set[Op]) -> Iterator[tuple[Op, str, int, Value]]:
    """Operands that are constants beyond what masks need, of what makes a mask and nothing else.

    Args:
        mask: What is added, chosen or given.
        cone: Ops that take masks; those that make this one join them.
    """
    if _is_sentinel(mask):
        yield from ((u.user, u.slot, u.position, mask) for u in mask.uses if u.user in cone and u.slot is not None)
    pending = [mask]
    while pending:
        maker = pending.pop().producer
        if maker is None or maker in cone or not (maker.has(Elementwise) or maker.has(DataMovement)):
            continue
        if not all(user in cone for result in maker.results for user in result.users):
            continue
        cone.add(maker)
        for slot, index, value in maker.uses():
            if _is_sentinel(value):
                yield maker, slot, index, value
            elif value.constant is None:
                pending.append(value)


def _is_sentinel(value: Value) -> bool:
    """Whether a constant has finite elements beyond what masks need."""
    if not is_readable(value) or not value.dtype.is_float:
        return False
    assert value.constant is not None
    numbers = value.constant.numpy()
    return bool(np.any(np.isfinite(numbers) & (np.abs(numbers) > SENTINEL)))


def _clamped(value: Value) -> Array:
    assert value.constant is not None
    numbers = value.constant.numpy()
    return np.where(np.isfinite(numbers), np.clip(numbers, -SENTINEL, SENTINEL), numbers).astype(numbers.dtype)
