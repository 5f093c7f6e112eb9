"""Ways from few ops in float32 to many, with the error that an inspection predicts to remain at each rung.

An inspection says of items, sets of ops, how much of the outputs' error goes away when all of an item's ops are
float32. So it predicts for any set of ops what remains: the shares of the items that are not within it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gristmill.analysis.candidates import Item


@dataclass(frozen=True)
class Ladder:
    """Sets of ops in float32, each within the next.

    Attributes:
        start: What all rungs have in float32.
        steps: What each rung has beside the one before it.
        left: The share of the error that is predicted to remain at each rung.
        left_at_start: The same where only ``start`` is float32.
    """

    start: frozenset[str]
    steps: Sequence[Iterable[str]]
    left: Sequence[float]
    left_at_start: float

    def __len__(self) -> int:
        return len(self.steps)

    def kept(self, rung: int) -> frozenset[str]:
        """The ops that are float32 at a rung."""
        return self.start.union(*self.steps[: rung + 1])


def by_share(items: Sequence[Item], start: frozenset[str] = frozenset()) -> Ladder:
    """What loses numbers at once, then always the item with the largest share for each op that it adds."""
    account = _Account(items, start)
    first = frozenset(name for item in items if item.loses for name in item.ops) - start
    account.keep(first)
    steps, left = ([first], [account.left]) if first else ([], [])
    queue = [(-account.worth(index), index) for index in range(len(items))]
    heapq.heapify(queue)
    while queue:
        _, index = heapq.heappop(queue)
        if not account.missing[index]:
            continue
        added = tuple(account.missing[index])
        for other in account.keep(added):  # which are worth more than before, and so come before their older entries
            heapq.heappush(queue, (-account.worth(other), other))
        steps.append(frozenset(added))
        left.append(account.left)
    return Ladder(start, steps, left, _Account(items, start).left)


def beginnings(items: Sequence[Item], names: Sequence[str]) -> Ladder:
    """The first op of the program, the first two, and so on.

    Whatever else an inspection may misjudge, nothing before the end of a beginning is wrong.
    """
    account = _Account(items, frozenset())
    whole, left = account.left, []
    for name in names:
        account.keep((name,))
        left.append(account.left)
    return Ladder(frozenset(), [(name,) for name in names], left, whole)


def thinned(items: Sequence[Item], kept: frozenset[str]) -> Ladder:
    """From what loses numbers up to a set of ops, of which the one that is missed least goes first."""
    needed = frozenset(name for item in items if item.loses for name in item.ops) & kept
    alive = [set(item.ops) <= kept for item in items]
    using: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        for name in item.ops if alive[index] else ():
            using.setdefault(name, []).append(index)

    def missed(name: str) -> float:
        return sum(items[index].share for index in using.get(name, ()) if alive[index])

    left = 1 - sum(item.share for index, item in enumerate(items) if alive[index])
    gone: list[tuple[str]] = []
    remaining: list[float] = []
    queue = [(missed(name), name) for name in sorted(kept - needed)]
    heapq.heapify(queue)
    removed: set[str] = set()
    while queue:
        price, name = heapq.heappop(queue)
        if name in removed:
            continue
        removed.add(name)
        gone.append((name,))
        remaining.append(max(0.0, left))
        left += price
        for index in using.get(name, ()):
            if alive[index]:
                alive[index] = False
                for other in items[index].ops:  # they are missed less than before: their older entries come later
                    if other not in removed and other not in needed:
                        heapq.heappush(queue, (missed(other), other))
    return Ladder(needed, gone[::-1], remaining[::-1], max(0.0, left))


class _Account:
    """Which ops each item still lacks, and what remains of the error."""

    def __init__(self, items: Sequence[Item], start: frozenset[str]) -> None:
        self._items = items
        self._using: dict[str, list[int]] = {}
        self.missing = [set(item.ops) - start for item in items]
        self._gone = sum(item.share for item, missing in zip(items, self.missing, strict=True) if not missing)
        for index, missing in enumerate(self.missing):
            for name in missing:
                self._using.setdefault(name, []).append(index)

    @property
    def left(self) -> float:
        return max(0.0, 1 - self._gone)

    def worth(self, index: int) -> float:
        """An item's share for each op that it lacks."""
        return self._items[index].share / max(1, len(self.missing[index]))

    def keep(self, names: Iterable[str]) -> set[int]:
        """Makes ops float32; returns the items that lack others yet."""
        touched = set()
        for name in names:
            for index in self._using.pop(name, ()):
                self.missing[index].discard(name)
                if self.missing[index]:
                    touched.add(index)
                else:
                    self._gone += self._items[index].share
                    touched.discard(index)
        return touched


def next_rung(
    ladder: Ladder, low: int, high: int, wanted: float | None, at_low: float | None, at_high: float | None
) -> int | None:
    """Which rung to try next, between one that is too low and one that is high enough.

    What was measured at these corrects the prediction between them. Without a measure of noise it takes the middle.

    Args:
        ladder: Of sets of ops.
        low: The highest rung that was not good enough; -1 is the start.
        high: The lowest one that was; the number of rungs where none is known.
        wanted: The noise that is good enough, where the metric is one.
        at_low: The noise that was measured at ``low``, if it was and is a number.
        at_high: The same of ``high``.

    Returns:
        A rung between them; ``None`` where nothing is to be gained there.
    """
    if high - low <= max(1, len(ladder) // 100):
        return None
    below = _factor(at_low, ladder.left[low] if low >= 0 else ladder.left_at_start)
    above = _factor(at_high, ladder.left[high]) if high < len(ladder) else None
    between = range(low + 1, high)
    if wanted is None or (below is None and above is None):
        if high < len(ladder):
            return (low + high) // 2
        if low >= 0:
            return min(len(ladder) - 1, 2 * low + 1)
        return next((rung for rung in between if ladder.left[rung] <= _FIRST_GUESS), between[-1])
    below, above = below or above or 1.0, above or below or 1.0
    for rung in between:
        way = (rung - low) / (high - low)
        if ladder.left[rung] * below ** (1 - way) * above**way <= wanted:
            return rung
    return None if high < len(ladder) else between[-1]


_FIRST_GUESS = 0.1
"""The share of the error that may remain where nothing says how much is too much."""


def _factor(noise: float | None, left: float) -> float | None:
    """The noise that the whole error stands for, if a share of it was measured."""
    return noise / left if noise is not None and 0 < noise < math.inf and left > 0 else None
