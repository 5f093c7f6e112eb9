"""How much of the outputs' error each op has.

The error of each output flows back through the program. At an op the part that the op makes itself stays there; the
rest goes on to its operands, in proportion to what each of them alone does to the result. How much of what arrives is
the op's own rounding, its users say: they know what that rounding alone does to them, as when a large one is at places
that a softmax does not see. All that leaves the outputs arrives somewhere, so the shares add up to one; it takes one
walk over the program, in which a loop's body is walked once for each of its rounds, up to a limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from gristmill.analysis.cost import is_float_cast
from gristmill.analysis.metrics import ErrorFigures
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function, Value
from gristmill.ir.traits import DataMovement
from gristmill.ir.types import TensorType, fp32


class Account(Protocol):
    """What attribution asks of an op's account; see ``inspect.Ledger``."""

    @property
    def runs(self) -> int: ...
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
    """The share of the outputs' error that each op of a function has, those in nested blocks included.

    Args:
        function: The program's function.
        accounts: What one instrumented run counted.
        outputs: The error of each output; each weighs as much as it is wrong.
    """
    wrong = {value: _weight(outputs[value.name]) for value in function.outputs if value.name in outputs}
    total = sum(wrong.values())
    if not total:
        return {}
    flow = _Flow(accounts)
    for value, weight in wrong.items():
        flow.arrive(value, _Arrival(weight / total, None))
    flow.through(function.body)
    return flow.shares


class _Arrival(NamedTuple):
    """Error that came back to a value, and which part of it is the value's own rounding, where its users know."""

    amount: float
    own: float | None


class _Flow:
    """Error on its way back.

    Attributes:
        shares: What stayed at each op.
    """

    def __init__(self, accounts: Mapping[Op, Account]) -> None:
        self._accounts = accounts
        self._arrivals: dict[Value, list[_Arrival]] = {}
        self.shares: dict[Op, float] = {}

    def arrive(self, value: Value, *found: _Arrival) -> None:
        """Puts error on a value that ops further ahead made."""
        self._arrivals.setdefault(value, []).extend(found)

    def through(self, block: Block) -> None:
        """Lets what has arrived at the values of a block flow to where they come from."""
        for op in reversed(block):
            arrived = [self._arrivals.pop(value, []) for value in op.results]
            amount = sum(found.amount for of_one in arrived for found in of_one)
            if not amount:
                continue
            if not op.blocks:
                self._at(op, [found for of_one in arrived for found in of_one], amount)
            elif any(inner.arguments for inner in op.blocks):
                self._around(op, arrived, block)
            else:
                self._branches(op, arrived)

    def _at(self, op: Op, arrived: Sequence[_Arrival], amount: float) -> None:
        own, passed = _split(op, self._accounts.get(op), arrived, amount)
        self.shares[op] = self.shares.get(op, 0.0) + amount * own
        for value, found in passed.items():
            self.arrive(value, _Arrival(amount * found.amount, found.own))

    def _branches(self, op: Op, arrived: Sequence[Sequence[_Arrival]]) -> None:
        """To the branches as often as each ran; to all alike where neither has an op that tells."""
        runs = [self._runs(inner) for inner in op.blocks]
        for inner, count in zip(op.blocks, runs, strict=True):
            part = count / sum(runs) if any(runs) else 1 / len(runs)
            for value, found in zip(inner.outputs, arrived, strict=True):
                self.arrive(value, *(_Arrival(part * one.amount, one.own) for one in found if part))
            self.through(inner)

    def _around(self, op: Op, arrived: Sequence[list[_Arrival]], outer: Block) -> None:
        """Through the body of a loop, its last block, round by round; what is left comes from before the loop.

        Accounts are of all rounds together, so some of the error seems to come from initial values that have none. It
        goes to the ops of the body as their shares are.
        """
        body, before = op.blocks[-1], self.shares
        self.shares = {}
        rounds = round(self._runs(body) / max(1, self._runs(outer)))
        for _ in range(min(rounds, _MOST_ROUNDS)):
            for value, found in zip(body.outputs, arrived, strict=True):
                self.arrive(value, *found)
            self.through(body)
            arrived = [self._arrivals.pop(value, []) for value in body.arguments]
        inside, more = sum(self.shares.values()), 0.0
        for (_, _, value), found in zip(op.uses(), arrived, strict=True):
            if inside and self._is_exact(value):
                more += sum(one.amount for one in found)
            else:
                self.arrive(value, *found)
        for inner, share in self.shares.items():
            before[inner] = before.get(inner, 0.0) + share * (1 + more / inside if inside else 1)
        self.shares = before

    def _is_exact(self, value: Value) -> bool:
        """Whether a value is known to have no error."""
        if value.producer is None:  # a float32 input is what the shadow sees
            return isinstance(value.type, TensorType) and value.dtype == fp32
        account = self._accounts.get(value.producer)
        return value.constant is not None or (account is not None and account.accumulated.ratio == 0)

    def _runs(self, block: Block) -> int:
        """How often a block ran, as far as its ops tell."""
        return max((self._accounts[op].runs for op in block if op in self._accounts), default=0)


_MOST_ROUNDS = 64


def _weight(found: ErrorFigures) -> float:
    """An output with broken numbers weighs more than any rounding."""
    return min(found.ratio, 1e6)


def _split(
    op: Op, account: Account | None, arrived: Sequence[_Arrival], amount: float
) -> tuple[float, dict[Value, _Arrival]]:
    """The share of an op's error that is its own, and what goes on to each operand."""
    if account is None:  # what makes no floats passes on what came
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
