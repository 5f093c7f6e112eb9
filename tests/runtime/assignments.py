"""Random assignment problems, and the cheapest solution by trying all."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from gristmill.runtime.assignment import HOME, Flow, Problem

IMPOSSIBLE = 1 << 40


def random_problem(seed: int, most_ops: int, units: int, *, least_ops: int = 1) -> Problem:
    """Ops that use up to two of the four before them; a quarter is refused by each unit but the first.

    Costs of ops, transfers and launches are of one order, so that all matter.
    """
    pick = random.Random(seed)
    count = pick.randint(least_ops, most_ops)
    before = [
        sorted({pick.randrange(max(0, op - 4), op) for _ in range(pick.randint(0, 2)) if op}) for op in range(count)
    ]
    users = [tuple(op for op in range(count) if made in before[op]) for made in range(count)]

    def costs() -> tuple[int | None, ...]:
        return tuple(None if unit and pick.random() < 0.25 else pick.randint(1, 100) for unit in range(units))

    def transfer() -> tuple[int, ...]:
        return tuple(pick.randint(0, 60) * pick.choice([0, 1, 1]) for _ in range(units))

    flows = [Flow(op, users[op], not users[op] or pick.random() < 0.1, transfer()) for op in range(count)]
    for _ in range(pick.randint(0, 3)):
        taken = tuple(sorted(pick.sample(range(count), pick.randint(1, min(3, count)))))
        flows.append(Flow(None, taken, False, transfer()))
    launches = tuple(pick.randint(0, 60) for _ in range(units))
    return Problem([costs() for _ in range(count)], flows, before, launches)


def cheapest(problem: Problem) -> int:
    """The least cost over all assignments and all orders of execution."""
    best = IMPOSSIBLE
    for cost, units in _assignments(problem):
        if cost + min(problem.launches) >= best:
            break  # the rest costs more even without launches
        best = min(best, cost + fewest_launches(problem, units))
    return best


def _assignments(problem: Problem) -> Iterator[tuple[int, tuple[int, ...]]]:
    """All assignments with their costs without launches, the cheapest first."""
    count, kinds = len(problem.costs), len(problem.launches)
    units = np.indices((kinds,) * count).reshape(count, -1)
    total = np.zeros(units.shape[1], np.int64)
    for op, costs in enumerate(problem.costs):
        total += np.array([IMPOSSIBLE if cost is None else cost for cost in costs])[units[op]]
    for flow in problem.flows:
        source = units[flow.producer] if flow.producer is not None else HOME
        for unit, cost in enumerate(flow.costs):
            wanted = np.any([units[user] == unit for user in flow.users], axis=0) if flow.users else np.False_
            wanted = wanted | (flow.home and unit == HOME)
            total += np.where(wanted & (source != unit), cost, 0)
    for column in np.argsort(total, kind="stable"):
        if total[column] < IMPOSSIBLE:
            yield int(total[column]), tuple(units[:, column].tolist())


def fewest_launches(problem: Problem, units: Sequence[int]) -> int:
    """The least cost of launches of an assignment: a shortest path over the sets of ops that have run."""
    everything = (1 << len(units)) - 1
    needs = [sum(1 << op for op in before) for before in problem.before]

    @cache
    def after(done: int, unit: int) -> int:
        """What has run after a unit ran all that it can."""
        for op, mine in enumerate(units):
            if mine == unit and not done >> op & 1 and needs[op] & done == needs[op]:
                return after(done | 1 << op, unit)
        return done

    best, queue = {0: 0}, [(0, 0)]
    while queue:
        cost, done = heapq.heappop(queue)
        if done == everything:
            return cost
        for unit in set(units):
            following = after(done, unit)
            if following != done and cost + problem.launches[unit] < best.get(following, IMPOSSIBLE):
                best[following] = cost + problem.launches[unit]
                heapq.heappush(queue, (best[following], following))
    raise AssertionError("ops wait for each other")
