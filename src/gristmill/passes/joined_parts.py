"""Brings parts of a tensor that go the same way into their layout as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gristmill.ir import registry
from gristmill.ir.builder import mb
from gristmill.ir.dims import is_static
from gristmill.ir.op import Op
from gristmill.ir.program import Function, Value
from gristmill.passes.infra import FunctionPass, blocks_of
from gristmill.passes.rewriting import erase_unused, make_before, perm_of, reshapes, static_shape
from gristmill.passes.slices import cut_of


class JoinParts(FunctionPass):
    """Reshapes and transposes a tensor whose parts would be reshaped and transposed alike, and splits it then.

    After a projection that makes queries, keys and values at once, heads are brought in front of the sequence for all
    three in one step, and the split takes them where they lie. The parts are slices of one axis that together are the
    tensor, or come from a ``split`` already, and each has one use; they may differ in size. No value changes.
    """

    name = "join_parts"

    def run_on(self, function: Function) -> bool:
        changed = False
        seen: set[Value] = set()  # the first slice of a value stands for all: in front of it, nothing has used one
        for block in blocks_of(function):
            for op in list(block):
                if op.block is not block or op.op_name not in ("split", "slice_by_index"):
                    continue
                x = op.operand("x")
                if x not in seen:
                    seen.add(x)
                    parts = _split_parts(op) if op.op_name == "split" else _slices(op)
                    changed |= parts is not None and _join(op, parts)
        return changed


@dataclass
class _Parts:
    """Values that one tensor consists of, in order along one of its axes."""

    whole: Value
    axis: int
    values: list[Value]


def _split_parts(op: Op) -> _Parts | None:
    x = op.operand("x")
    axis: int = getattr(op, "axis", 0) % x.rank
    known = all(isinstance(part.shape[axis], int) for part in op.results)
    return _Parts(x, axis, op.results) if known else None


def _slices(op: Op) -> _Parts | None:
    """The slices of the op's operand, if they are all that uses it and leave nothing out."""
    x = op.operand("x")
    found: list[tuple[int, int, Value]] = []
    axes: set[int] = set()
    for user in x.users:
        cut = cut_of(user) if isinstance(user, Op) and user.op_name == "slice_by_index" else None
        if cut is None or cut.dropped or cut.op.block is not op.block:
            return None
        taken = [(axis, limits) for axis, limits in enumerate(cut.ranges) if limits is not None]
        if len(taken) != 1:
            return None
        axes.add(taken[0][0])
        found.append((*taken[0][1], cut.op.result))
    found.sort(key=lambda part: part[:2])
    axis = axes.pop()
    ends = [0, *(end for _, end, _ in found)]
    if axes or [begin for begin, _, _ in found] != ends[:-1] or ends[-1] != x.shape[axis]:
        return None
    return _Parts(x, axis, [value for _, _, value in found])


def _join(op: Op, parts: _Parts) -> bool:
    """Does for the whole, in front of an op, what is done to each part, as far as that is the same."""
    _, demand = registry.lookup("split", op.opset).signature_in(op.opset).params["x"]
    if parts.whole.dtype not in (demand.dtypes or ()):  # there are slices of more types
        return False
    whole, axis, values = parts.whole, parts.axis, parts.values
    while (users := _users(values, op)) is not None:
        perms = {perm_of(user) for user in users}
        perm = perms.pop()
        if perms:
            break
        if perm is not None:
            whole, axis = make_before(op, "transpose", x=whole, perm=perm), perm.index(axis)
        else:
            found = _reshaped(values, users, axis)
            if found is None:
                break
            shape, axis = found
            whole = make_before(op, "reshape", x=whole, shape=shape)
        values = [user.result for user in users]
    if whole is parts.whole:
        return False
    with mb.before(op):
        made = mb.op("split", x=whole, split_sizes=[value.shape[axis] for value in values], axis=axis)
    for old, new in zip(values, made, strict=True):
        old.replace_uses(new)
        assert old.producer is not None
        erase_unused(old.producer)
        new.name = old.name
    return True


def _users(values: Sequence[Value], op: Op) -> list[Op] | None:
    """The layout op that each value's one use is, or ``None``."""
    users: list[Op] = []
    for value in values:
        if len(value.uses) != 1:
            return None
        (use,) = value.uses
        user = use.user
        if not isinstance(user, Op) or use.slot != "x" or user.block is not op.block:
            return None
        if perm_of(user) is None and not reshapes(user):
            return None
        users.append(user)
    return users


def _reshaped(values: Sequence[Value], users: Sequence[Op], axis: int) -> tuple[list[int], int] | None:
    """The shape of the whole whose parts get the users' shapes, and the axis along which it consists of them.

    The axis becomes one or several, of which the first is cut; what stands before and behind is alike in all parts.
    """
    if not all(reshapes(user) and is_static(user.result.shape) for user in users):
        return None
    if not all(is_static(value.shape) for value in values):
        return None
    shapes = [static_shape(user.result) for user in users]
    sizes = [math.prod(static_shape(value)[axis:]) for value in values]
    rank = len(shapes[0])
    if 0 in sizes or any(len(shape) != rank for shape in shapes):
        return None
    for place in range(rank - 1, -1, -1):
        if all(math.prod(shape[place:]) == size for shape, size in zip(shapes, sizes, strict=True)):
            if len({(*shape[:place], *shape[place + 1 :]) for shape in shapes}) != 1:
                return None
            return [*shapes[0][:place], sum(shape[place] for shape in shapes), *shapes[0][place + 1 :]], place
    return None
