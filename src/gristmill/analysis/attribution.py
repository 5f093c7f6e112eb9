"""How much of the outputs' error each op has.

The error of each output flows back through the program. At an op the part that the op makes itself stays there; the
rest goes on to its operands, in proportion to what each of them alone does to the result. All that leaves the outputs
arrives somewhere, so the shares add up to one; it takes one walk over the program.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from gristmill.analysis.metrics import ErrorFigures
from gristmill.ir.op import Op
from gristmill.ir.program import Function, Value


class Account(Protocol):
    """What attribution asks of an op's account; see ``inspect.Ledger``."""

    @property
    def local(self) -> ErrorFigures: ...
    @property
    def accumulated(self) -> ErrorFigures: ...
    @property
    def inherited(self) -> Mapping[Value, float]: ...
    @property
    def broken_operands(self) -> set[Value]: ...
    @property
    def loses(self) -> bool: ...


def attribute(
    function: Function, accounts: Mapping[Op, Account], outputs: Mapping[str, ErrorFigures]
) -> dict[Op, float]:
    """The share of the outputs' error that each op of a function's main block has.

    Args:
        function: The program's function.
        accounts: What one instrumented run counted.
        outputs: The error of each output; each weighs as much as it is wrong.
    """
    waiting: dict[Value, float] = {}
    wrong = {value: _weight(outputs[value.name]) for value in function.outputs if value.name in outputs}
    total = sum(wrong.values())
    if not total:
        return {}
    for value, weight in wrong.items():
        waiting[value] = waiting.get(value, 0.0) + weight / total
    shares: dict[Op, float] = {}
    for op in reversed(function.body):
        arrived = sum(waiting.pop(value, 0.0) for value in op.results)
        if not arrived:
            continue
        own, passed = _split(op, accounts.get(op))
        shares[op] = arrived * own
        for value, part in passed.items():
            waiting[value] = waiting.get(value, 0.0) + arrived * part
    return shares


def _weight(found: ErrorFigures) -> float:
    """An output with broken numbers weighs more than any rounding."""
    return 1e6 if found.broken or math.isinf(found.ratio) else min(found.ratio, 1e6)


def _split(op: Op, account: Account | None) -> tuple[float, dict[Value, float]]:
    """The share of an op's error that is its own, and what goes on to each operand."""
    if account is None:  # what makes no floats, or holds blocks: it passes on what came, to floats first
        makers = [v for _, _, v in op.uses() if v.constant is None]
        return (0.0, dict.fromkeys(makers, 1 / len(set(makers)))) if makers else (1.0, {})
    if account.accumulated.broken and account.broken_operands and not account.loses:
        return 0.0, dict.fromkeys(account.broken_operands, 1 / len(account.broken_operands))
    if account.loses:
        return 1.0, {}
    inherited = sum(account.inherited.values())
    if not inherited:
        return 1.0, {}
    local, gathered = account.local.noise, account.accumulated.noise
    own = min(1.0, local / gathered) if gathered else 0.0
    return own, {value: (1 - own) * energy / inherited for value, energy in account.inherited.items()}
