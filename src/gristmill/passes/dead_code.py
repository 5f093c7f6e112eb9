"""Removes ops whose results nobody uses."""

from __future__ import annotations

from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function
from gristmill.ir.traits import WritesState
from gristmill.passes.infra import FunctionPass


class DeadCode(FunctionPass):
    """Erases, from the end backwards, every op without uses that writes no state."""

    name = "dead_code"

    def run_on(self, function: Function) -> bool:
        return _sweep(function.body)


def _sweep(block: Block) -> bool:
    changed = False
    for op in reversed(block):
        if _is_dead(op):
            op.erase()
            changed = True
        else:
            for nested in op.blocks:
                changed |= _sweep(nested)
    return changed


def _is_dead(op: Op) -> bool:
    return not any(value.uses for value in op.results) and not _writes(op)


def _writes(op: Op) -> bool:
    return op.has(WritesState) or any(_writes(inner) for block in op.blocks for inner in block.walk())
