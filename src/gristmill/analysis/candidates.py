"""What to keep in float32, ranked by what an inspection found.

The rounding of a value goes away only if both its maker and its users are float32, so what is ranked are values, each
with the ops that this takes; the rounding of an op's constants goes away with the op alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gristmill.analysis.inspect import LARGEST, Inspection, Ledger
from gristmill.ir.op import Op
from gristmill.ir.program import Function, Value
from gristmill.ir.traits import ControlFlow, DataMovement, Reduction
from gristmill.passes.stabilizing import Cure
from gristmill.precision.map import name_of


@dataclass(frozen=True)
class Item:
    """Ops that become float32 together.

    Attributes:
        ops: Their names.
        share: Of the outputs' error that goes away.
        loses: Whether numbers become infinite or NaN without it.
    """

    ops: tuple[str, ...]
    share: float
    loses: bool = False


def ranked(function: Function, found: Inspection, origins: Mapping[str, str]) -> list[Item]:
    """Items in the order in which they help: what loses numbers first, then by share of the error.

    Args:
        function: The inspected function, typed in float16.
        found: The inspection.
        origins: Names of ops by the names of their float16 results.
    """
    shares = {op: row.share for op, row in zip(found.ledgers, found.rows, strict=True)}
    items: dict[tuple[str, ...], Item] = {}

    def add(names: Iterable[str], share: float, loses: bool) -> None:
        ops = tuple(sorted(set(names)))
        old = items.get(ops, Item(ops, 0.0))
        if ops:
            items[ops] = Item(ops, old.share + share, old.loses or loses)

    for op, ledger in found.ledgers.items():
        share = shares[op]
        if not (share or ledger.loses):
            continue
        own = [origins[result.name] for result in op.results if result.name in origins]
        rounding = 1.0 if ledger.loses else _rounding(ledger)
        if rounding > 0.01:
            users = [name for result in op.results for name in _takers(result, origins)]
            add([*own, *users], share * rounding, ledger.loses)
        if rounding < 0.99:
            add(own, share * (1 - rounding), loses=False)
    return sorted(items.values(), key=lambda item: (not item.loses, -item.share))


def _rounding(ledger: Ledger) -> float:
    """How much of an op's own error is the rounding of its results, not that of constants."""
    noise = ledger.local.noise
    return min(1.0, ledger.rounding.noise / noise) if noise else 1.0


def _takers(value: Value, origins: Mapping[str, str]) -> Iterable[str]:
    """Ops that compute with a value, and those that move it there."""
    for user in value.users:
        if not isinstance(user, Op):
            continue
        yield from (origins[result.name] for result in user.results if result.name in origins)
        moves = user.has(DataMovement) and not user.has(ControlFlow)
        if moves or (user.op_name == "cast" and user.inserted):
            for result in user.results:
                yield from _takers(result, origins)


def troubled(found: Inspection, origins: Mapping[str, str]) -> dict[Cure, list[str]]:
    """Names of ops at which a rewrite may help, by what it cures.

    Numbers leave the range where they get lost or the shadow is beyond it; digits get lost where much of the error
    comes from, or where numbers vanish. What a device does to sums no inspection sees, so every reduction is named.
    """
    names: dict[Cure, set[str]] = {"range": set(), "digits": set(), "sums": set()}
    for (op, ledger), row in zip(found.ledgers.items(), found.rows, strict=True):
        is_beyond = ledger.loses or max(abs(row.low), abs(row.high)) > LARGEST
        if is_beyond and row.count:
            names["range"] |= _around(op, origins)
        if ledger.loses or row.underflow > _NOTABLE or row.share > _NOTABLE:
            names["digits"] |= _around(op, origins)
        if op.has(Reduction):
            names["sums"] |= _around(op, origins)
    return {cure: sorted(found) for cure, found in names.items()}


_NOTABLE = 0.02
"""From such a share of the error, or of vanished elements, on a rewrite is worth trying."""


def _around(op: Op, origins: Mapping[str, str]) -> set[str]:
    """An op and those that make its operands."""
    values = [*op.results, *(value for _, _, value in op.uses())]
    return {origins.get(v.name, name_of(v.producer)) for v in values if v.producer is not None}
