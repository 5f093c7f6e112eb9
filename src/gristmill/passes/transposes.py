"""Merges transpositions, and moves them to where they cancel."""

from __future__ import annotations

from collections.abc import Mapping, Set

from gristmill.ir.constants import ReshapeData, TransposeData
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function, Use, Value
from gristmill.ir.signature import Const
from gristmill.ir.traits import Elementwise
from gristmill.passes.infra import FunctionPass, blocks_of
from gristmill.passes.reshapes import static_or_one_open
from gristmill.passes.rewriting import (
    Perm,
    bypass,
    data_of,
    erase_unused,
    is_readable,
    make_before,
    make_constant,
    perm_of,
    rebuilt,
    replace,
    static_shape,
)


def _after(first: Perm, second: Perm) -> Perm:
    """One permutation for two in turn."""
    return tuple(first[axis] for axis in second)


def _inverse(perm: Perm) -> Perm:
    return tuple(sorted(range(len(perm)), key=perm.__getitem__))


def _is_identity(perm: Perm) -> bool:
    return perm == tuple(range(len(perm)))


class MergeTransposes(FunctionPass):
    """Lets a transposition start from what the one before it started from, and drops it where nothing is permuted.

    One that swaps the last two axes before a matrix product becomes a flag of the product. The first one stays as long
    as it has other users. No value changes.
    """

    name = "merge_transposes"

    def run_on(self, function: Function) -> bool:
        changed = False
        for block in blocks_of(function):
            for op in block:
                changed |= _into_matmul(op) if op.op_name == "matmul" else _merge(op)
        return changed


def _merge(op: Op) -> bool:
    second = perm_of(op)
    if second is None or _awaits_matmul(op, second):
        return False
    maker = op.operand("x").producer
    first = perm_of(maker) if maker is not None else None
    if maker is None or first is None:
        return _is_identity(second) and bypass(op, op.operand("x"))
    perm, source = _after(first, second), maker.operand("x")
    if _is_identity(perm):
        return bypass(op, source)
    replace(op, make_before(op, "transpose", x=source, perm=perm))
    return True


def _awaits_matmul(op: Op, perm: Perm) -> bool:
    """Whether matrix products will take the permutation as a flag: then it need not merge with the one before."""
    return perm == _swapping_last_two(len(perm)) and all(
        isinstance(use.user, Op) and use.user.op_name == "matmul" for use in op.result.uses
    )


def _into_matmul(op: Op) -> bool:
    changed: dict[str, Value | bool] = {}
    for name in ("x", "y"):
        value = op.operand(name)
        maker = value.producer
        perm = perm_of(maker) if maker is not None else None
        if maker is None or perm is None or perm != _swapping_last_two(len(perm)):
            continue
        changed[name] = maker.operand("x")
        changed[f"transpose_{name}"] = not getattr(op, f"transpose_{name}")
    if not changed:
        return False
    replace(op, rebuilt(op, op, changed))
    return True


def _swapping_last_two(rank: int) -> Perm:
    return (*range(rank - 2), rank - 1, rank - 2)


class TransposesAsReshapes(FunctionPass):
    """Makes a ``reshape`` of each transposition that moves dimensions of size 1 alone, where it can meet others.

    One that matrix products take as a flag stays. No element moves in memory, and no value changes.
    """

    name = "transposes_as_reshapes"

    def run_on(self, function: Function) -> bool:
        changed = False
        for block in blocks_of(function):
            for op in block:
                changed |= _as_reshape(op)
        return changed


def _as_reshape(op: Op) -> bool:
    perm = perm_of(op)
    if perm is None or _awaits_matmul(op, perm):
        return False
    x = op.operand("x")
    longer = [axis for axis in perm if x.shape[axis] != 1]
    sizes = static_or_one_open(op.result.shape)
    if longer != sorted(longer) or sizes is None:
        return False
    replace(op, make_before(op, "reshape", x=x, shape=sizes))
    return True


# --- moving through element-wise ops ---------------------------------------------------------------------------------


class MoveTransposes(FunctionPass):
    """Moves transpositions behind the element-wise ops that follow them, wherever fewer remain.

    Ops that are connected by values, all of which arrive transposed alike, form a group: it is computed on what was
    transposed instead. Transpositions in front of it that nothing else uses disappear, and so do those behind it that
    undo them; every other user of a value of the group needs one behind it. The group changes if that makes fewer.
    Constants in it are transposed where they are. Element-wise values do not depend on the order of elements, so none
    changes. A round visits each op once; there is another one only after one that moved something.
    """

    name = "move_transposes"

    def run_on(self, function: Function) -> bool:
        changed = False
        for block in blocks_of(function):
            while _move_groups(block):
                changed = True
        return changed


def _move_groups(block: Block) -> bool:
    changed = False
    places = {op: place for place, op in enumerate(block)}
    for group in _groups(block):
        untouched = all(op.block is block for op in group.ops)  # a group before it may have taken a transposition
        if untouched and group.gain() > 0:
            group.move(places)
            changed = True
    return changed


def _groups(block: Block) -> list[_Group]:
    """Groups of a block, found in one walk with a forest of merged groups."""
    home: dict[Value, _Group] = {}
    for op in block:
        perm = perm_of(op)
        if perm is not None:
            home[op.result] = _Group(perm, [op])
            continue
        joined = _joined(op, home)
        if joined:
            group = joined[0]
            for other in joined[1:]:
                group.absorb(other)
            group.ops.append(op)
            home[op.result] = group
    return list(dict.fromkeys(group.found() for group in home.values()))


def _joined(op: Op, home: dict[Value, _Group]) -> list[_Group]:
    """The groups that an element-wise op connects; none if one of its operands is not transposed alike."""
    if not op.has(Elementwise) or len(op.results) != 1:
        return []
    found: list[_Group] = []
    rank = op.result.rank
    for name, _, value in op.uses():
        if value in home and value.rank == rank:
            found.append(home[value].found())
        elif not _moves_along(op, name, value, rank):
            return []
    if len({group.perm for group in found}) != 1:
        return []
    return list(dict.fromkeys(found))


def _moves_along(op: Op, name: str, value: Value, rank: int) -> bool:
    """Whether an operand that is not transposed serves the op on other axes: a parameter, a number, a constant."""
    if isinstance(op.params[name], Const) or value.rank == 0:
        return True
    return is_readable(value) and value.rank <= rank


class _Group:
    """Connected values that all are ``perm`` applied to something, and the ops that make them."""

    def __init__(self, perm: Perm, ops: list[Op]) -> None:
        self.perm, self.ops = perm, ops
        self._into: _Group | None = None

    def found(self) -> _Group:
        """The group that this one has become part of."""
        group = self
        while group._into is not None:
            if group._into._into is not None:
                group._into = group._into._into
            group = group._into
        return group

    def absorb(self, other: _Group) -> None:
        """Takes over another group; the shorter of the two lists moves."""
        if len(other.ops) > len(self.ops):
            self.ops, other.ops = other.ops, self.ops
        self.ops += other.ops
        other.ops, other._into = [], self

    def gain(self) -> int:
        """How many transpositions fewer there are once the group has moved."""
        inside = set(self.ops)
        if all(map(perm_of, inside)):
            return 0
        gain = 0
        for op in self.ops:
            stays = False
            for use in op.result.uses:
                perm = _perm_of_user(use)
                if perm is not None:
                    gain += _is_identity(_after(self.perm, perm))
                elif use.user not in inside:
                    stays = True
            gain += (perm_of(op) is not None) - stays
        return gain

    def move(self, places: Mapping[Op, int]) -> None:
        """Computes the group on what was transposed."""
        self.ops.sort(key=places.__getitem__)
        inside = set(self.ops)
        straight: dict[Value, Value] = {}
        for op in self.ops:
            straight[op.result] = op.operand("x") if perm_of(op) is not None else self._moved(op, straight)
        for op in self.ops:
            self._serve(op, straight[op.result], inside)
        for op in reversed(self.ops):
            erase_unused(op)

    def _moved(self, op: Op, straight: Mapping[Value, Value]) -> Value:
        operands: dict[str, Value] = {}
        for name, _, value in op.uses():
            if value in straight:
                operands[name] = straight[value]
            elif value.rank and not isinstance(op.params[name], Const):
                operands[name] = self._constant(op, value)
        return rebuilt(op, op, operands)

    def _constant(self, op: Op, value: Value) -> Value:
        """The constant that a transposition would make the given one."""
        shape = (1,) * (op.result.rank - value.rank) + static_shape(value)
        data = TransposeData(ReshapeData(data_of(value), shape), _inverse(self.perm))
        return make_constant(op, data, value.name)

    def _serve(self, op: Op, straight: Value, inside: Set[Op]) -> None:
        """Gives the users outside the group what they had."""
        stays = False
        for use in list(op.result.uses):
            perm = _perm_of_user(use)
            if perm is None:
                stays |= use.user not in inside
                continue
            assert isinstance(use.user, Op)
            merged = _after(self.perm, perm)
            if not _is_identity(merged):
                replace(use.user, make_before(use.user, "transpose", x=straight, perm=merged))
            elif not bypass(use.user, straight):
                stays = True
        if stays and perm_of(op) is None:
            replace(op, make_before(op, "transpose", x=straight, perm=self.perm))


def _perm_of_user(use: Use) -> Perm | None:
    return perm_of(use.user) if isinstance(use.user, Op) else None
