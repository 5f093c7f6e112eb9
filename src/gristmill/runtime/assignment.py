"""Which unit runs which op, at the least cost: the problem by itself, without programs and chips.

The cost of an assignment is

    Σ cost of each op on its unit
  + Σ for each value and each unit other than its own where it is used: one transfer to that unit
  + Σ for each segment: one launch of its unit.

A *segment* is what a unit runs in one go. An assignment has many schedules; the one with the fewest launches counts:
run all ops that one unit can run now, then all that another can, and so on. Segments so made are convex, and none waits
for a later one.

**Two units.** With a fixed order of execution the launches are costs of neighbours in that order, transfers need one
auxiliary node for each value and destination, and the cheapest assignment is a minimum cut (`expand`). Over all orders
the problem is no cut: whether one more op costs a launch depends on the whole assignment. But an order charges at least
the launches that are needed, and any path of dependencies at most that many. So cuts give solutions from above and
bounds from below, and where they do not meet, branch and bound decides (`_prove`). What is returned is exact if
`Solution.bound` equals its cost: always so for some dozens of ops; for larger problems the work is limited, and the
bound says how far from best the solution can be at most.

**Three units.** Each move lets every op keep its unit or go over to one unit, again the best of all such moves by one
cut (Boykov, Veksler and Zabih's α-expansion, 2001). Moves are repeated from several starts until none helps; in small
problems one op after the other is then put elsewhere by force, and the moves begin again. A cut can express a move
because a transfer's cost depends on the value and its destination, not on where it comes from. The bound is that of two
units, home and the better of the others at everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from gristmill.runtime.mincut import MinCut

HOME = 0
"""The unit that holds what comes from outside and what goes there."""

_WORK = 12_000
"""Ops visited by branch and bound, or by moves beyond the first round: about a second."""

_SMALL = 1_000
"""Problems of at most so many ops are worth more than the first round of moves."""


@dataclass(frozen=True)
class Flow:
    """A value that costs something to bring to another unit.

    Attributes:
        producer: The op that makes it; ``None`` if it comes from outside.
        users: Ops that use it.
        home: Whether it is wanted outside too.
        costs: Of bringing it to each unit.
    """

    producer: int | None
    users: tuple[int, ...]
    home: bool
    costs: tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """Ops, numbered so that each comes after all that it needs. Costs are ints, in any one unit of time.

    Attributes:
        costs: Of each op on each unit; ``None`` where the unit cannot run it.
        flows: The values.
        before: For each op those that run before it, because it uses their values or they share a state.
        launches: Cost of each unit's launch.
    """

    costs: Sequence[Sequence[int | None]]
    flows: Sequence[Flow]
    before: Sequence[Sequence[int]]
    launches: Sequence[int]

    @cached_property
    def after(self) -> list[list[int]]:
        """For each op those that run after it."""
        after: list[list[int]] = [[] for _ in self.before]
        for op, before in enumerate(self.before):
            for needed in before:
                after[needed].append(op)
        return after

    @cached_property
    def infinite(self) -> int:
        """More than any possible assignment costs."""
        ops = sum(max((cost for cost in costs if cost is not None), default=0) for costs in self.costs)
        flows = sum(sum(flow.costs) for flow in self.flows)
        return 1 + ops + flows + max(self.launches) * (len(self.costs) + 1)


@dataclass(frozen=True)
class Solution:
    """An assignment.

    Attributes:
        units: Of each op.
        segments: Ops in the order of execution.
        cost: All together.
        bound: No assignment costs less; ``None`` where that was not looked into.
    """

    units: list[int]
    segments: list[list[int]]
    cost: int
    bound: int | None = None


def solve(problem: Problem) -> Solution:
    """The cheapest assignment: exact for two units as far as the module says, good for more.

    Every op must be possible on some unit.
    """
    count = len(problem.launches)
    if count == 1:
        found = _solution(problem, [HOME] * len(problem.costs))
        return replace(found, bound=found.cost)
    if count == 2:
        return _prove(problem, _two_units(problem, 1))
    starts = [_two_units(problem, unit) for unit in range(1, count)]
    best = min((_improve(problem, start) for start in starts), key=lambda found: found.cost)
    if len(problem.costs) <= _SMALL:
        best = _kick(problem, best)
    return replace(best, bound=_bound(problem, best))


# --- what an assignment costs ----------------------------------------------------------------------------------------


def _solution(problem: Problem, units: list[int]) -> Solution:
    segments = schedule(problem, units)
    return Solution(units, segments, cost_of(problem, units, segments))


def cost_of(problem: Problem, units: Sequence[int], segments: Iterable[Sequence[int]]) -> int:
    """The cost of an assignment and a schedule of it."""
    impossible = problem.infinite
    total = sum(problem.launches[units[segment[0]]] for segment in segments)
    for costs, unit in zip(problem.costs, units, strict=True):
        cost = costs[unit]
        total += impossible if cost is None else cost
    for flow in problem.flows:
        source = HOME if flow.producer is None else units[flow.producer]
        total += sum(flow.costs[unit] for unit in destinations(flow, units) if unit != source)
    return total


def destinations(flow: Flow, units: Sequence[int]) -> set[int]:
    """Units where a value is used."""
    found = {units[user] for user in flow.users}
    return found | {HOME} if flow.home else found


def schedule(problem: Problem, units: Sequence[int]) -> list[list[int]]:
    """Segments in the order of execution, with the fewest launches: exactly so for two units."""
    candidates = [_runs(problem, units, first) for first in sorted(set(units))]
    return min(candidates, key=lambda runs: sum(problem.launches[units[run[0]]] for run in runs), default=[])


def _runs(problem: Problem, units: Sequence[int], first: int) -> list[list[int]]:
    """Runs of ops on one unit, each as long as it can be, beginning with a unit if it has anything to begin with."""
    waits = [len(before) for before in problem.before]
    after = problem.after
    ready: dict[int, list[int]] = {unit: [] for unit in set(units)}
    for op, missing in enumerate(waits):
        if not missing:
            ready[units[op]].append(op)
    urgency = _chains(problem, units) if len(ready) > 2 else [0] * len(units)
    runs = []
    unit = first if ready[first] else max(ready, key=lambda u: len(ready[u]))
    while ready[unit]:
        run = []
        while ready[unit]:
            op = ready[unit].pop()
            run.append(op)
            for user in after[op]:
                waits[user] -= 1
                if not waits[user]:
                    ready[units[user]].append(user)
        runs.append(sorted(run))
        unit = max(ready, key=lambda u: max((urgency[op] + 1 for op in ready[u]), default=0))
    return runs


def _chains(problem: Problem, units: Sequence[int]) -> list[int]:
    """For each op the most launches on a path from it to the end, its own not counted."""
    found = [0] * len(units)
    for op in reversed(range(len(units))):
        for other in problem.after[op]:
            launch = problem.launches[units[other]] if units[other] != units[op] else 0
            found[op] = max(found[op], found[other] + launch)
    return found


def _costliest_path(problem: Problem, units: Sequence[int]) -> list[int]:
    """Ops one after the other, each needing the one before, with the most launches."""
    if not units:
        return []
    after = problem.after
    chains = _chains(problem, units)
    path = [max(range(len(units)), key=lambda op: chains[op] + problem.launches[units[op]])]
    while after[path[-1]]:
        unit = units[path[-1]]
        path.append(
            max(after[path[-1]], key=lambda op: chains[op] + (problem.launches[units[op]] if units[op] != unit else 0))
        )
    return path


# --- cuts ------------------------------------------------------------------------------------------------------------


def expand(problem: Problem, units: Sequence[int], order: Sequence[int], unit: int) -> tuple[int, list[int]]:
    """Lets ops go over to one unit or stay, in the cheapest of all ways.

    Launches are charged where the unit changes from one op in ``order`` to the next. With all ops in it that is what
    running them in this order costs; with a path of dependencies it is at most what any order costs.

    Returns:
        The cost, launches as charged, and the units.
    """
    cut = MinCut(len(units))
    fixed = 0
    never = problem.infinite
    for op, costs in enumerate(problem.costs):  # the source's side goes over
        stay, go = costs[units[op]], costs[unit]
        cut.from_source(op, never if stay is None or units[op] == unit else stay)
        cut.to_sink(op, never if go is None else go)
    for flow in problem.flows:
        fixed += _add_flow(cut, flow, units, unit, never)
    launch = problem.launches[unit]
    for place, op in enumerate(order):
        own = problem.launches[units[op]]
        previous = order[place - 1] if place else None
        if previous is None:
            cut.to_sink(op, launch)
            cut.from_source(op, own)
        else:
            cut.arc(op, previous, launch)
            if units[previous] != units[op]:
                cut.from_source(op, own if units[op] != unit else 0)
            else:
                cut.arc(previous, op, own)
    value, goes = cut.solve()
    return value + fixed, [unit if go else old for go, old in zip(goes[: len(units)], units, strict=True)]


def _add_flow(cut: MinCut, flow: Flow, units: Sequence[int], unit: int, never: int) -> int:
    """Adds a value's transfers; returns what they cost however the cut falls."""
    producer, fixed = flow.producer, 0
    source = HOME if producer is None else units[producer]
    users = [user for user in flow.users if units[user] != unit]
    # To the unit: paid if anything that uses the value is there, and its producer is not.
    if source != unit or producer is not None:
        price = flow.costs[unit]
        if (flow.home and unit == HOME) or len(users) < len(flow.users):  # something is there already
            if producer is None:
                fixed += price
            else:
                cut.from_source(producer, price)
        elif users and price:
            there = _any_of(cut, users, never, source_side=True)
            if producer is None:
                cut.to_sink(there, price)
            else:
                cut.arc(there, producer, price)
    # To the units of those that may stay: paid if any of them stays, and the producer is not there.
    for other in {units[user] for user in users} | ({HOME} if flow.home and unit != HOME else set()):
        price = flow.costs[other]
        if flow.home and other == HOME:
            if producer is not None and source == HOME:
                cut.to_sink(producer, price)
            elif source != HOME:
                fixed += price
        elif price and (source != other or producer is not None):
            stays = _any_of(cut, [user for user in users if units[user] == other], never, source_side=False)
            if source != other:
                cut.from_source(stays, price)
            else:
                assert producer is not None
                cut.arc(producer, stays, price)
    return fixed


def _any_of(cut: MinCut, ops: list[int], never: int, *, source_side: bool) -> int:
    """A node that is on a side if any of some ops is."""
    if len(ops) == 1:
        return ops[0]
    node = cut.add_node()
    for op in ops:
        cut.arc(*((op, node) if source_side else (node, op)), never)
    return node


# --- two units -------------------------------------------------------------------------------------------------------


def _two_units(problem: Problem, unit: int) -> Solution:
    """Good units for all ops, home or one other: best for its own order of execution."""
    home = [HOME] * len(problem.costs)
    order: Sequence[int] = range(len(home))
    best: Solution | None = None
    while True:
        _, units = expand(problem, home, order, unit)
        found = _solution(problem, units)
        if best is not None and found.cost >= best.cost:
            return best
        best = found
        order = [op for segment in found.segments for op in segment]


def _prove(problem: Problem, best: Solution) -> Solution:
    """Branches on ops until no assignment of two units can be cheaper than the best, or too much work was done."""
    unfinished: list[int] = []
    stack = [(best.cost, problem)]
    work = _WORK
    bound = 0
    first = True
    path = _costliest_path(problem, best.units)
    while stack:
        parent, node = stack.pop()
        if work < 0:
            unfinished.append(parent)
            continue
        work -= len(node.costs)
        lower, relaxed, path = _relax(node, path)
        found = _solution(problem, relaxed)
        if found.cost < best.cost:
            best = found
        if first:
            bound, first = lower, False
        lower = max(lower, bound)
        if lower >= best.cost or found.cost <= lower:
            continue
        op = _undecided(node, path)
        if op is None:
            continue  # one assignment is left, and it was counted
        likely = relaxed[op]  # last in, first out
        stack += [(lower, _pinned(node, op, 1 - likely)), (lower, _pinned(node, op, likely))]
    return replace(best, bound=min([best.cost, *unfinished]))


def _pinned(problem: Problem, op: int, unit: int) -> Problem:
    """The problem with one op on a unit for certain."""
    costs = list(problem.costs)
    costs[op] = tuple(cost if u == unit else None for u, cost in enumerate(costs[op]))
    return replace(problem, costs=costs)


def _relax(problem: Problem, path: list[int]) -> tuple[int, list[int], list[int]]:
    """A lower bound, the assignment that it belongs to, and the path whose launches it counts."""
    home = [HOME] * len(problem.costs)
    lower, units = expand(problem, home, path, 1)
    other = _costliest_path(problem, units)
    if other != path:
        value, changed = expand(problem, home, other, 1)
        if value > lower:
            return value, changed, other
    return lower, units, path


def _undecided(problem: Problem, path: Sequence[int]) -> int | None:
    """An op that both units may still run; one on the path rather than another."""
    for ops in (path, range(len(problem.costs))):
        for op in ops:
            if None not in problem.costs[op]:
                return op
    return None


# --- more units ------------------------------------------------------------------------------------------------------


def _improve(problem: Problem, best: Solution) -> Solution:
    """Moves to one unit after the other until none makes it cheaper; once to each in large problems."""
    failed = unit = moves = 0
    while failed < len(problem.launches) and (moves < len(problem.launches) or len(problem.costs) <= _SMALL):
        moves += 1
        found = _moved(problem, best, unit)
        failed = 0 if found.cost < best.cost else failed + 1
        best = min(best, found, key=lambda solution: solution.cost)
        unit = (unit + 1) % len(problem.launches)
    return best


def _moved(problem: Problem, start: Solution, unit: int) -> Solution:
    """The best of the moves to a unit, launches charged by the order of execution or by the costliest path."""
    order = [op for segment in start.segments for op in segment]
    orders = [order]
    if len(order) <= _SMALL:
        orders.append(_costliest_path(problem, start.units))
    moves = [_solution(problem, expand(problem, start.units, order, unit)[1]) for order in orders]
    return min(moves, key=lambda solution: solution.cost)


def _kick(problem: Problem, best: Solution) -> Solution:
    """Puts one op after the other elsewhere and lets the others follow, as long as the work allows."""
    work = _WORK
    again = True
    while again:
        again = False
        for op, costs in enumerate(problem.costs):
            for unit, cost in enumerate(costs):
                if cost is None or unit == best.units[op]:
                    continue
                if work < 0:
                    return best
                work -= 6 * len(problem.costs)  # moves: by two orders to each of three units, or more
                forced = _pinned(problem, op, unit)
                units = list(best.units)
                units[op] = unit
                found = _improve(forced, _solution(forced, units))
                if found.cost < best.cost:
                    best, again = found, True
    return best


def _bound(problem: Problem, best: Solution) -> int:
    """A lower bound: all units but home as one, which is at everything as cheap as the cheapest of them."""

    def merged(costs: Sequence[int | None]) -> tuple[int | None, int | None]:
        return costs[HOME], min((cost for cost in costs[1:] if cost is not None), default=None)

    two = Problem(
        [merged(costs) for costs in problem.costs],
        [replace(flow, costs=(flow.costs[HOME], min(flow.costs[1:]))) for flow in problem.flows],
        problem.before,
        (problem.launches[HOME], min(problem.launches[1:])),
    )
    path = _costliest_path(two, [min(unit, 1) for unit in best.units])
    return min(_relax(two, path)[0], best.cost)
