"""What of a block's values is needed, and by whom."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Set
from typing import TypeAlias

from gristmill.devices.base import Refusal
from gristmill.ir.dims import DimExpr
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Value
from gristmill.ir.signature import Const
from gristmill.ir.traits import ControlFlow, WritesState
from gristmill.ir.types import TensorType

User: TypeAlias = Op | Block


def operands_of(op: Op) -> list[Value]:
    """The values that an op takes, without its parameters: those are constants by declaration."""
    kind = type(op)
    if kind not in _FIELDS:
        _FIELDS[kind] = tuple(name for name, param in op.params.items() if not isinstance(param, Const))
    found: list[Value] = []
    for name in _FIELDS[kind]:
        given = op.operands.get(name, ())
        if isinstance(given, Value):
            found.append(given)
        else:
            found += given
    return found


_FIELDS: dict[type[Op], tuple[str, ...]] = {}  # found before


def symbols_met(op: Op) -> set[str]:
    """Symbols in the shapes of an op's operands and results."""
    found: set[str] = set()
    for value in (*op.results, *operands_of(op)):
        if isinstance(value.type, TensorType):
            for dim in value.type.shape:
                if isinstance(dim, DimExpr):
                    found.update(symbol.name for symbol in dim.symbols)
    return found


def read_in(block: Block) -> set[Value]:
    """What a block and those in it read, of their own values and of others."""
    found = set(block.outputs)
    for op in block.walk():
        found.update(operands_of(op))
        found.update(value for inner in op.blocks for value in inner.outputs)
    return found


class Dataflow:
    """A block's ops in the order in which they run, and who needs what they make.

    Args:
        block: Whose ops they are.
        refusals: For each op why it has no native kernel, or ``None``.
        sized: Ops whose results' elements are sizes that are known before they run: they need not.
        live: The ops that run.
    """

    def __init__(
        self, block: Block, refusals: Mapping[Op, Refusal | None], sized: Set[Op], live: Mapping[Op, None]
    ) -> None:
        self.block, self.refusals, self.sized, self.live = block, refusals, sized, live
        self._users: dict[Value, list[User]] = {}

    def users(self, value: Value) -> list[User]:
        """The users of a value that count: not those whose own results nobody needs."""
        found = self._users.get(value)
        if found is None:  # every value is asked for several times
            found = self._users[value] = [user for user in value.users if self._counts(user)]
        return found

    def _counts(self, user: User) -> bool:
        elsewhere = not isinstance(user, Op) or user.block is not self.block
        return elsewhere or (user in self.live and user not in self.sized)

    def needed_outside(self, value: Value, inside: Set[Op]) -> bool:
        """Whether anybody but some native ops reads a value."""
        if value.producer in self.sized:  # a native op makes its own
            return any(not isinstance(user, Op) or self.refusals.get(user, True) is not None for user in value.users)
        return any(user not in inside for user in self.users(value))


def live_ops(
    block: Block,
    refusals: Mapping[Op, Refusal | None],
    sized: Set[Op],
    decided: Mapping[str, Value],
    reads: Callable[[Op], Collection[str] | None],
) -> dict[Op, None]:
    """Ops whose results somebody reads, or whose sizes a native op needs.

    Shapes that a program computes are often known to the planner already, so nobody reads them.

    Args:
        block: Whose ops they are.
        refusals: Why ops have no native kernel, in the order in which they run.
        sized: Ops that need not run.
        decided: Sizes that are known once a value is there.
        reads: Names of the operands that a native op reads; ``None`` for all.
    """
    live: dict[Op, None] = {}
    needed: set[Value] = set(block.outputs)
    for op in reversed(list(refusals)):
        if not (op.has(WritesState) or op.has(ControlFlow) or any(result in needed for result in op.results)):
            continue
        live[op] = None
        if op in sized:
            continue
        names = reads(op) if refusals[op] is None else None
        needed.update(operands_of(op) if names is None else (v for name, _, v in op.uses() if name in names))
        if refusals[op] is None and decided:
            needed.update(decided[name] for name in symbols_met(op) & decided.keys())
        for inner in op.blocks:
            needed |= read_in(inner)
    return dict.fromkeys(reversed(list(live)))
