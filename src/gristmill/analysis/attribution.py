"""How much of the outputs' error each op has.

The error of each output flows back through the program. At an op the part that the op makes itself stays there; the
rest goes on to its operands, in proportion to what each of them alone does to the result. How much of what arrives is
the op's own rounding, its users say: they know what that rounding alone does to them, as when a large one is at places
that a softmax does not see. All that leaves the outputs arrives somewhere, so the shares add up to one; it takes one
walk over the program.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from gristmill.analysis.cost import is_float_cast
from gristmill.analysis.metrics import ErrorFigures
from gristmill.ir.op import Op
from gristmill.ir.program import Function, Value
from gristmill.ir.traits import DataMovement


class Account(Protocol):
    """What attribution asks of an op's account; see ``inspect.Ledger``."""

    @property
    def local(self) -> ErrorFigures: ...
    @property
    def rounding(self) -> ErrorFigures: ...
    @property
    def accumulated(self) -> ErrorFigures: ...
    @property
    def inherited(self) -> Mapping[Value, float]: ...
    @property
    def rounded(self) -> Mapping[Value, float]: ...
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
    arrivals: dict[Value, list[_Arrival]] = {}
    wrong = {value: _weight(outputs[value.name]) for value in function.outputs if value.name in outputs}
    total = sum(wrong.values())
    if not total:
        return {}
    for value, weight in wrong.items():
        arrivals.setdefault(value, []).append(_Arrival(weight / total, None))
    shares: dict[Op, float] = {}
    for op in reversed(function.body):
        arrived = [found for value in op.results for found in arrivals.pop(value, ())]
        amount = sum(found.amount for found in arrived)
        if not amount:
            continue
        own, passed = _split(op, accounts.get(op), arrived, amount)
        shares[op] = amount * own
        for value, found in passed.items():
            arrivals.setdefault(value, []).append(_Arrival(amount * found.amount, found.own))
    return shares


class _Arrival(NamedTuple):
    """Error that came back to a value, and which part of it is the value's own rounding, where its users know."""

    amount: float
    own: float | None


def _weight(found: ErrorFigures) -> float:
    """An output with broken numbers weighs more than any rounding."""
    return 1e6 if found.broken or math.isinf(found.ratio) else min(found.ratio, 1e6)


def _split(
    op: Op, account: Account | None, arrived: Sequence[_Arrival], amount: float
) -> tuple[float, dict[Value, _Arrival]]:
    """The share of an op's error that is its own, and what goes on to each operand."""
    if account is None:  # what makes no floats, or holds blocks, passes on what came
        makers = {v for _, _, v in op.uses() if v.constant is None}
        return (0.0, dict.fromkeys(makers, _Arrival(1 / len(makers), None))) if makers else (1.0, {})
    if account.loses:
        return 1.0, {}
    local, rounding, gathered = account.local.noise, account.rounding.noise, account.accumulated.noise
    known = any(found.own is not None for found in arrived)
    if account.accumulated.broken and account.broken_operands:
        own = _seen(arrived, amount, 0.0)
        each = (1 - own) / len(account.broken_operands)
        return own, dict.fromkeys(account.broken_operands, _Arrival(each, None))
    inherited = sum(account.inherited.values())
    if not inherited:
        return 1.0, {}
    seen = _seen(arrived, amount, rounding / gathered if gathered else 0.0)
    own = (seen if rounding else 0.0) + (max(0.0, local - rounding) / gathered if gathered else 0.0)
    own = min(1.0, own)
    moves = not rounding and (op.has(DataMovement) or is_float_cast(op))
    passed = {}
    for value, energy in account.inherited.items():
        part: float | None = _fraction(account.rounded.get(value, 0.0), energy)
        if moves:  # its users know of its operand what they know of its result
            part = seen if known else None
        passed[value] = _Arrival((1 - own) * energy / inherited, part)
    return own, passed


def _seen(arrived: Sequence[_Arrival], amount: float, otherwise: float) -> float:
    """Which part of what arrived is the op's own rounding; of what nobody knows it of, by the sizes of the errors."""
    return sum(found.amount * (otherwise if found.own is None else found.own) for found in arrived) / amount


def _fraction(part: float, whole: float) -> float:
    return min(1.0, part / whole) if whole else 0.0
