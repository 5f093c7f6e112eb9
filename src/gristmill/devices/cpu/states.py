"""Which ops may write to a state's own array, and the order that lets them.

A program reads a cache, replaces a slice and writes the whole back. Where nobody needs the old contents afterwards, the
slice is all that has to be written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.ir.traits import ReadsState, WritesState
from gristmill.ops.scatter_gather import scatter
from gristmill.ops.slicing import slice_by_index, slice_by_size, slice_update
from gristmill.ops.state import coreml_update_state, read_state, write_state
from gristmill.ops.tensor_operation import identity, split
from gristmill.ops.tensor_transformation import expand_dims, reshape, squeeze, transpose

# Results may be bytes of the operand.
_RENAMES = (reshape, expand_dims, squeeze, identity, transpose, slice_by_index, slice_by_size, split)


def written_by(op: Op) -> tuple[Value, Value] | None:
    """The state that an op writes, with what it leaves there."""
    if isinstance(op, write_state):
        return op.input, op.data
    return (op.state, op.value) if isinstance(op, coreml_update_state) else None


def _replaced_in(op: Op | None) -> Value | None:
    """The tensor of which an op replaces slices."""
    if isinstance(op, slice_update):
        return op.x
    return op.data if isinstance(op, scatter) and op.mode == "update" else None


def brought_together(ops: Sequence[Op]) -> list[Op]:
    """The same ops, with states read as late as may be, and written as soon as a slice was replaced.

    Converters read states first and write them last; between the two there may be ops without a native kernel, which
    end a segment.
    """
    if not any(op.has(ReadsState) or op.has(WritesState) for op in ops):
        return list(ops)
    return _reads_late(_writes_early(ops))


def _writes_early(ops: Sequence[Op]) -> list[Op]:
    place: dict[Op, int] = {}
    last: dict[Value, Op] = {}  # op that read or wrote a state
    after: defaultdict[Op, list[Op]] = defaultdict(list)
    for index, op in enumerate(ops):
        place[op] = index
        written = written_by(op)
        if written is not None and written[1].producer in place and _replaced_in(written[1].producer) is not None:
            state, value = written
            assert value.producer is not None
            earlier = [value.producer, *([last[state]] if state in last else [])]
            anchor = max(earlier, key=place.__getitem__)
            after[anchor].append(op)
            place[op] = place[anchor]
        for state in _touched(op):
            last[state] = op
    moved = {op for held in after.values() for op in held}

    def with_followers(op: Op) -> Iterator[Op]:
        yield op
        for follower in after[op]:
            yield from with_followers(follower)

    return [placed for op in ops if op not in moved for placed in with_followers(op)]


def _reads_late(ops: Sequence[Op]) -> list[Op]:
    order: list[Op] = []
    waiting: dict[read_state, None] = {}
    for op in ops:
        if isinstance(op, read_state):
            waiting[op] = None
            continue
        used = {value for inner in _with_nested(op) for _, _, value in inner.uses()}
        for inner in _with_nested(op):
            used.update(value for block in inner.blocks for value in block.outputs)
        for read in list(waiting):
            if read.result in used or read.input in used:
                order.append(read)
                del waiting[read]
        order.append(op)
    return [*order, *waiting]


def _with_nested(op: Op) -> Iterator[Op]:
    yield op
    for block in op.blocks:
        yield from block.walk()


def _touched(op: Op) -> set[Value]:
    return {effect.state for inner in _with_nested(op) for effect in inner.effects()}


@dataclass(eq=False)
class _Contents:
    """What a state held for a while.

    Attributes:
        state: Which.
        at_home: Whether it lies in the array that the run was given.
        values: That are bytes of it.
    """

    state: Value
    at_home: bool
    values: list[Value] = field(default_factory=list)


def updates_in_place(
    ops: Sequence[Op],
    place: Mapping[Op, int],
    users: Callable[[Value], Sequence[object]],
    leaves: Callable[[Value], bool],
) -> dict[Op, Value]:
    """The ops of a segment that may replace slices of a state where it is, each with the state.

    Args:
        ops: In the program's order.
        place: When each runs.
        users: Of a value, those that count.
        leaves: Whether a value is needed after the segment; it is copied when all calls have run.
    """
    denied: set[Op] = set()
    while True:
        found = _candidates(ops, denied)
        wrong = {
            op
            for op, (old, new) in found.items()
            if not _is_over(old, op, place, users, leaves) or not _is_kept(op, new, found, users)
        }
        if not wrong:
            return {op: old.state for op, (old, _) in found.items()}
        denied |= wrong


def _candidates(ops: Sequence[Op], denied: set[Op]) -> dict[Op, tuple[_Contents, _Contents]]:
    """Ops that replace slices of a state's array, with the contents before and after."""
    found: dict[Op, tuple[_Contents, _Contents]] = {}
    present: dict[Value, _Contents] = {}
    part_of: dict[Value, _Contents] = {}

    def belongs(value: Value, contents: _Contents) -> None:
        part_of[value] = contents
        contents.values.append(value)

    for op in ops:
        replaced, written = _replaced_in(op), written_by(op)
        if isinstance(op, read_state):
            belongs(op.result, present.setdefault(op.input, _Contents(op.input, at_home=True)))
        elif written is not None:
            state, value = written
            present[state] = part_of.get(value) or _Contents(state, at_home=False)
            for result in op.results:
                belongs(result, present[state])
        elif replaced in part_of and part_of[replaced].at_home and op not in denied:
            old = part_of[replaced]
            new = _Contents(old.state, at_home=True)
            belongs(op.result, new)
            found[op] = old, new
        elif isinstance(op, _RENAMES):
            for _, _, value in op.uses():
                if value in part_of:
                    for result in op.results:
                        belongs(result, part_of[value])
    return found


def _is_over(
    old: _Contents,
    op: Op,
    place: Mapping[Op, int],
    users: Callable[[Value], Sequence[object]],
    leaves: Callable[[Value], bool],
) -> bool:
    """Whether all who see the old contents have run before an op that overwrites a part of them."""
    replaced = _replaced_in(op)
    if sum(value in old.values for _, _, value in op.uses()) != 1 or any(map(leaves, old.values)):
        return False
    makers = {value.producer for value in old.values}
    seers = {user for value in old.values for user in users(value)} | makers
    return replaced is not None and all(isinstance(o, Op) and place[o] < place[op] for o in seers if o is not op)


def _is_kept(
    op: Op,
    new: _Contents,
    found: Mapping[Op, tuple[_Contents, _Contents]],
    users: Callable[[Value], Sequence[object]],
) -> bool:
    """Whether what an op makes becomes the state's contents, at once or after a further slice was replaced."""
    written = [pair for user in users(op.result) if isinstance(user, Op) and (pair := written_by(user))]
    if any(state is not new.state for state, _ in written):
        return False
    return bool(written) or any(old is new for old, _ in found.values())
