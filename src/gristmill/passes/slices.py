"""Moves slices in front of what only changes a tensor's layout."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from gristmill.ir.dims import is_static
from gristmill.ir.op import Op
from gristmill.ir.program import Function, Value
from gristmill.passes.infra import FunctionPass, blocks_of
from gristmill.passes.rewriting import make_before, perm_of, replace, reshapes, static_shape

Range: TypeAlias = "tuple[int, int] | None"
"""The first element that is taken along an axis and the one after the last; ``None`` for the whole axis."""


class MoveSlices(FunctionPass):
    """Takes slices of what was transposed or reshaped, and transposes or reshapes the slices.

    So a projection that makes queries, keys and values at once is cut first, and each part brought into its layout by
    what was one step of many: then layout ops of a part meet and merge. Only where slices are all that uses the layout
    op and together take no more than there is, so nothing is computed twice. The slices have known limits and go
    forward without gaps. No value changes.
    """

    name = "move_slices"

    def run_on(self, function: Function) -> bool:
        changed = False
        for block in blocks_of(function):
            for op in list(block):  # a move replaces several ops
                while op.block is block and (moved := _move_before(op)) is not None:
                    op, changed = moved, True
        return changed


@dataclass
class Cut:
    """A slice: what it takes along each axis of its operand, and which axes it drops."""

    op: Op
    ranges: list[Range]
    dropped: list[int]

    def share(self) -> Fraction:
        """How much of its operand it takes."""
        sizes = self.op.operand("x").shape
        return math.prod(
            (
                Fraction(r[1] - r[0], s)
                for r, s in zip(self.ranges, sizes, strict=True)
                if r is not None and isinstance(s, int)
            ),
            start=Fraction(1),
        )


def _move_before(op: Op) -> Op | None:
    """Moves all slices of the op's operand in front of what made that; returns the new one, or ``None``."""
    if op.op_name != "slice_by_index":
        return None
    layout = op.operand("x").producer
    if layout is None or layout.block is not op.block:
        return None
    users = layout.results[0].users
    cuts = [cut_of(user) for user in users if isinstance(user, Op) and user.op_name == "slice_by_index"]
    found = [cut for cut in cuts if cut is not None and cut.op.block is op.block]
    if len(found) != len(users) or sum(cut.share() for cut in found) > 1:
        return None
    if all(r is None for cut in found for r in cut.ranges):
        return None
    plans = [_plan(layout, cut) for cut in found]
    if any(plan is None for plan in plans):
        return None
    first: Op | None = None
    for cut, plan in zip(found, plans, strict=True):
        assert plan is not None
        ranges, again = plan
        begun = _slice(cut.op, layout.operand("x"), ranges)
        made = again(cut.op, begun)
        if cut.dropped:
            made = make_before(cut.op, "squeeze", x=made, axes=cut.dropped)
        if cut.op is op:
            first = begun.producer
        replace(cut.op, made)
    return first


def cut_of(op: Op) -> Cut | None:
    """What a slice takes; ``None`` where its limits are not known, or it goes backwards or leaves gaps."""
    begin, end = op.operand("begin").contents, op.operand("end").contents
    shape = op.operand("x").shape
    rank = len(shape)
    given: dict[str, Any] = {name: getattr(op, name) for name in ("stride", "begin_mask", "end_mask", "squeeze_mask")}
    if begin is None or end is None or any(s != 1 for s in given["stride"] or ()):
        return None
    nothing = [False] * rank
    first, last, single = (given[name] or nothing for name in ("begin_mask", "end_mask", "squeeze_mask"))
    ranges: list[Range] = []
    for axis, size in enumerate(shape):
        if first[axis] and last[axis] and not single[axis]:
            ranges.append(None)
            continue
        low, high = begin[axis], end[axis]
        if not isinstance(size, int) or not isinstance(low, int) or not isinstance(high, int):
            return None
        start, stop, _ = slice(None if first[axis] else low, None if last[axis] else high).indices(size)
        if single[axis]:  # which, unlike limits, is not brought into the axis
            start = 0 if first[axis] else low % size if -size <= low < size else size
            stop = start + 1
        if not 0 <= start < stop <= size:
            return None
        ranges.append((start, stop) if stop - start < size else None)
    return Cut(op, ranges, [axis for axis in range(rank) if single[axis]])


_Plan: TypeAlias = "tuple[list[Range], Callable[[Op, Value], Value]]"
"""What to take of a layout op's operand, and the layout op again, before another op, of what was taken."""


def _plan(layout: Op, cut: Cut) -> _Plan | None:
    perm = perm_of(layout)
    if perm is not None:
        source: list[Range] = [None] * len(perm)
        for axis, taken in zip(perm, cut.ranges, strict=True):
            source[axis] = taken
        return source, lambda place, value: make_before(place, "transpose", x=value, perm=perm)
    return _reshape_plan(layout, cut) if reshapes(layout) else None


def _reshape_plan(layout: Op, cut: Cut) -> _Plan | None:
    """A slice that takes neighbouring elements of an axis takes neighbouring ones of the one that it is a part of."""
    x = layout.operand("x")
    if not is_static(x.shape) or not is_static(layout.result.shape):
        return None
    before, after = static_shape(x), static_shape(layout.result)
    if 0 in before:
        return None
    source: list[Range] = [None] * len(before)
    for axis, taken in enumerate(cut.ranges):
        if taken is None:
            continue
        inner = math.prod(after[axis + 1 :])  # elements in one step along the axis
        found = _axis_of(before, inner, after[axis])
        if found is None or source[found[0]] is not None:
            return None
        whole, step = found
        source[whole] = (taken[0] * step, taken[1] * step)
    shape = [n if r is None else r[1] - r[0] for n, r in zip(after, cut.ranges, strict=True)]
    return source, lambda place, value: make_before(place, "reshape", x=value, shape=shape)


def _axis_of(shape: Sequence[int], inner: int, size: int) -> tuple[int, int] | None:
    """The axis whose outermost part has so many steps of so many elements, and how long a step is along that axis."""
    for axis in range(len(shape) - 1, -1, -1):
        behind = math.prod(shape[axis + 1 :])
        if behind * shape[axis] == inner * size and inner % behind == 0:
            return axis, inner // behind
    return None


def _slice(place: Op, source: Value, ranges: Sequence[Range]) -> Value:
    whole = [taken is None for taken in ranges]
    limits = [(0, 0) if taken is None else taken for taken in ranges]
    return make_before(
        place,
        "slice_by_index",
        x=source,
        begin=[begin for begin, _ in limits],
        end=[end for _, end in limits],
        begin_mask=whole,
        end_mask=whole,
    )
