"""Which ops become one kernel.

A group is an optional root, whose kernel finishes its result through an epilogue, and element-wise ops of the root's
shape. It runs at the place of its last op. An op joins the group of an operand when that delay changes nothing: every
other user of the group's values comes later. Some roots also take a product of their operand with factors, which their
kernels multiply as they read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from gristmill.devices.cpu.dataflow import operands_of
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Value
from gristmill.ir.types import TensorType

Users: TypeAlias = "Callable[[Value], Iterable[Op | Block]]"
"""The users of a value that count: not those whose own results nobody needs."""

MAX_OPS = 12
"""Of one group, where one with more than two operands counts as several. They load at most 13 values beside a bias, and
keep at most 12: a tile program has 32 registers."""


@dataclass(eq=False)
class Group:
    """Ops that one kernel runs.

    Attributes:
        ops: In the program's order.
        root: The op whose kernel the others finish.
        scaling: The product that the root's kernel makes of its operand.
    """

    ops: list[Op] = field(default_factory=list)
    root: Op | None = None
    scaling: Op | None = None

    @property
    def first(self) -> Op:
        """The root, or the first op where there is none."""
        return self.root or self.ops[0]

    @property
    def followers(self) -> list[Op]:
        """The element-wise ops that come after the root."""
        return [op for op in self.ops if op is not self.root and op is not self.scaling]

    def outputs(self, users: Users) -> list[Value]:
        """Results that somebody outside the group needs."""
        inside = set(self.ops)
        return [value for op in self.ops for value in op.results if any(user not in inside for user in users(value))]


def group(
    ops: Sequence[Op],
    is_elementwise: Callable[[Op], bool],
    is_root: Callable[[Op], bool],
    joins_root: Callable[[Op, Op], bool],
    users: Users,
) -> list[Group]:
    """Divides ops that follow one another into groups, in the order in which they run.

    Args:
        ops: Of one block, in order.
        is_elementwise: Whether an op can be part of a tile program.
        is_root: Whether an op's kernel has an epilogue.
        joins_root: Whether an op's operands beside the root's result suit the epilogue of that root.
        users: Of a value, those that count.
    """
    place = {op: index for index, op in enumerate(ops)}
    group_of: dict[Op, Group] = {}
    weight = functools.cache(_weight)

    def may_move(members: Sequence[Op], others: Sequence[Op], to: Op) -> bool:
        """Whether the members can wait until ``to``, which others have joined already."""
        inside = {*members, *others}
        for member in members:
            for value in member.results:
                for user in users(value):
                    outside = isinstance(user, Block) or user not in inside
                    if outside and isinstance(user, Op) and _place_in(user, place) < place[to]:
                        return False
        return True

    for op in ops:
        own = Group([op], root=op if is_root(op) else None)
        if is_elementwise(op):
            for value in operands_of(op):
                producer = value.producer
                found = group_of.get(producer) if producer is not None else None
                if found is None or found is own or value.shape != op.result.shape:
                    continue
                if found.root is None and not is_elementwise(found.ops[0]):
                    continue  # a kernel that finishes nothing
                if sum(map(weight, [*found.ops, *own.ops])) > MAX_OPS or not may_move(found.ops, own.ops, op):
                    continue
                if found.root is not None and (own.root is not None or not joins_root(op, found.root)):
                    continue
                merged = Group(sorted({*found.ops, *own.ops}, key=place.__getitem__), found.root or own.root)
                if merged.root is not None and merged.ops[0] is not merged.root:
                    continue  # the root's kernel would need what an earlier member makes
                if merged.root is not None and not all(joins_root(o, merged.root) for o in merged.followers):
                    continue
                for member in merged.ops:
                    group_of[member] = merged
                own = merged
        for member in own.ops:
            group_of[member] = own
    unique = dict.fromkeys(group_of[op] for op in ops)
    return sorted(unique, key=lambda g: place[g.ops[-1]])


def absorb_scalings(groups: Sequence[Group], scaling_of: Callable[[Op], Op | None], users: Users) -> list[Group]:
    """Gives the products that roots can make themselves to these.

    Args:
        groups: In the order in which they run.
        scaling_of: The op that makes a root's operand of a tensor and factors, if its kernel can do that.
        users: Of a value, those that count.
    """
    alone = {found.ops[0]: found for found in groups if len(found.ops) == 1 and found.root is None}
    absorbed: set[Group] = set()
    for found in groups:
        scaling = scaling_of(found.root) if found.root is not None else None
        if scaling in alone and list(users(scaling.result)) == [found.root]:
            absorbed.add(alone[scaling])
            found.ops.insert(0, scaling)
            found.scaling = scaling
    return [found for found in groups if found not in absorbed]


def _weight(op: Op) -> int:
    return max(1, sum(not _is_number(value) for _, _, value in op.uses()) - 1)


def _is_number(value: Value) -> bool:
    """Whether a value is an immediate number of a step, or no tensor at all."""
    return not isinstance(value.type, TensorType) or (value.constant is not None and value.constant.data.size == 1)


def _place_in(user: Op, place: dict[Op, int]) -> int:
    """Where a user stands: its own place, or that of the op in whose block it is; outside, after everything."""
    seen: Op | None = user
    while seen is not None and seen not in place:
        owner = seen.block.owner if seen.block is not None else None
        seen = owner if isinstance(owner, Op) else None
    return place[seen] if seen is not None else 1 << 60
