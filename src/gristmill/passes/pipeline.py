"""The passes of a conversion, in order, in groups."""

from __future__ import annotations

from gristmill.passes.common_subexpressions import CommonSubexpressions
from gristmill.passes.constant_folding import ConstantFolding
from gristmill.passes.dead_code import DeadCode
from gristmill.passes.infra import Pass


def cleanup() -> list[Pass]:
    """What may run at any time and leaves the values as they are."""
    return [
        ConstantFolding(),  # first: it makes equal constants of equal computations, and leaves operands unused
        CommonSubexpressions(),
        DeadCode(),  # last: the others leave ops without uses
    ]


def default_passes() -> list[Pass]:
    """What a conversion runs on the frontend's program before its types are chosen."""
    return cleanup()
