"""Lets ops whose parameters are equal have them from one constant."""

from __future__ import annotations

from collections.abc import Hashable

from gristmill.ir.builtin import const
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function
from gristmill.passes.common_subexpressions import constant_key, is_output_name
from gristmill.passes.infra import FunctionPass


class SharedParameters(FunctionPass):
    """Replaces small constants that are equal by the first of them; a nested block sees its surroundings' constants.

    Strides, axes and flags are most of a program's ops, and all that read the program spend time on each. It runs last:
    until then a constant stays with the op that uses it, and its name tells what it is for. Those that the file writes
    into their op stay there.
    """

    name = "shared_parameters"

    def run_on(self, function: Function) -> bool:
        return _share(function.body, {})


def _share(block: Block, seen: dict[Hashable, Op]) -> bool:
    changed = False
    for op in block:
        for nested in op.blocks:
            changed |= _share(nested, dict(seen))
        if not isinstance(op, const) or op.inline or is_output_name(op):
            continue
        key = constant_key(op.value)
        if key is None:
            continue
        first = seen.setdefault(key, op)
        if first is not op:
            op.result.replace_uses(first.results[0])
            op.erase()
            changed = True
    return changed
