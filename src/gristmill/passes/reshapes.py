"""Merges reshaping ops that follow one another."""

from __future__ import annotations

from collections.abc import Sequence

from gristmill.ir.dims import Dim, Shape, always_equal
from gristmill.ir.op import Op
from gristmill.ir.program import Function, Value
from gristmill.passes.infra import FunctionPass, blocks_of
from gristmill.passes.rewriting import bypass, erase_unused, make_before, perm_of, replace, reshapes, same_type


class MergeReshapes(FunctionPass):
    """Lets ``reshape``, ``expand_dims``, ``squeeze`` and their like start from what the ones before them started from.

    What remains is nothing where the shapes are equal, else an ``expand_dims`` or a ``squeeze`` where that will do,
    else a ``reshape``; with several sizes that only the run decides, two reshapes stay two unless the second one's
    shape can be asked of the first one's operand. The first op stays as long as it has other users. Where a
    transposition stands between two and the second one only adds or drops dimensions of size 1, these are added or
    dropped before it. No value changes.
    """

    name = "merge_reshapes"

    def run_on(self, function: Function) -> bool:
        changed = False
        for block in blocks_of(function):
            for op in block:
                changed |= _merge(op) or _before_transpose(op)
        return changed


def _merge(op: Op) -> bool:
    if not reshapes(op):
        return False
    middle = op.operand("x")
    if middle.producer is None or not reshapes(middle.producer):
        return False
    source = middle.producer.operand("x")
    if same_type(source, op.result):
        return bypass(op, source)
    new = _direct(op, source)
    if new is None:
        return False
    if not same_type(new, op.result):  # sizes that nothing says are not certainly equal
        assert new.producer is not None
        erase_unused(new.producer)
        return False
    replace(op, new)
    return True


def _before_transpose(op: Op) -> bool:
    """Lets a transposition that stands between two reshapes have the second one's rank, so that the two can merge."""
    moved = op.operand("x").producer if reshapes(op) else None
    perm = perm_of(moved) if moved is not None else None
    if moved is None or perm is None or len(moved.result.uses) != 1:
        return False
    source = moved.operand("x")
    if source.producer is None or not reshapes(source.producer):
        return False
    found = _with_other_ones(source.shape, perm, op.result.shape)
    sizes = None if found is None else static_or_one_open(found[0])
    if found is None or sizes is None:
        return False
    straight = make_before(op, "reshape", x=source, shape=sizes)
    made = make_before(op, "transpose", x=straight, perm=found[1])
    if not same_type(made, op.result):
        assert made.producer is not None
        erase_unused(made.producer)
        return False
    replace(op, made)
    assert straight.producer is not None
    _merge(straight.producer)
    return True


def _with_other_ones(source: Shape, perm: Sequence[int], target: Shape) -> tuple[Shape, list[int]] | None:
    """A shape, and how it is permuted to ``target``, if permuting the source's longer dimensions gives those."""
    longer = [axis for axis in perm if source[axis] != 1]
    wanted = [place for place, dim in enumerate(target) if dim != 1]
    if len(longer) != len(wanted) or not all(
        always_equal(source[axis], target[place]) for axis, place in zip(longer, wanted, strict=True)
    ):
        return None
    # Dimensions of size 1 stay where they are to be, and the others fill the places between in the source's order.
    shape: list[Dim] = [1] * len(target)
    place_of = dict(zip(sorted(longer), wanted, strict=True))
    for axis, place in place_of.items():
        shape[place] = source[axis]
    new = list(range(len(target)))
    for axis, place in zip(longer, wanted, strict=True):
        new[place] = place_of[axis]
    return tuple(shape), new


def _direct(op: Op, source: Value) -> Value | None:
    """One op from the source to the result of two."""
    target = op.result.shape
    if (axes := inserted_ones(source.shape, target)) is not None:
        return make_before(op, "expand_dims", x=source, axes=axes)
    if (axes := inserted_ones(target, source.shape)) is not None:
        return make_before(op, "squeeze", x=source, axes=axes)
    if (sizes := static_or_one_open(target)) is not None:
        return make_before(op, "reshape", x=source, shape=sizes)
    if op.op_name == "reshape" and _copies_nothing(op.operand("shape")):
        return make_before(op, "reshape", x=source, shape=op.operand("shape"))
    return None


def inserted_ones(short: Shape, long: Shape) -> list[int] | None:
    """Places of ``long`` at which it has a 1 that ``short`` lacks, if that is all in which they differ."""
    places: list[int] = []
    taken = 0
    for place, dim in enumerate(long):
        if taken < len(short) and always_equal(dim, short[taken]):
            taken += 1
        elif dim == 1:
            places.append(place)
        else:
            return None
    return places if taken == len(short) and places else None


def static_or_one_open(shape: Shape) -> list[int] | None:
    """A shape as ``reshape`` takes it, -1 standing for one unknown size; ``None`` where there are more."""
    unknown = [dim for dim in shape if not isinstance(dim, int)]
    if len(unknown) > 1 or any(dim == 0 for dim in shape):
        return None
    return [dim if isinstance(dim, int) else -1 for dim in shape]


def _copies_nothing(shape: Value) -> bool:
    """Whether a reshape's operand has no 0, which would stand for a size of another tensor now."""
    sizes: Sequence[Dim] | None = None if shape.contents is None else list(shape.contents.ravel())
    return sizes is not None and not any(isinstance(size, int) and size == 0 for size in sizes)
