"""Assigning ops to units, against the cheapest of all assignments and orders."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_flow

from gristmill.runtime.assignment import Flow, Problem, Solution, cost_of, expand, schedule, solve
from gristmill.runtime.mincut import MinCut
from tests.runtime.assignments import cheapest, fewest_launches, random_problem


def check_consistent(problem: Problem, solution: Solution) -> None:
    """Every op runs once, on a unit that can, after what it needs; a segment has one unit; the cost is as stated."""
    order = [op for segment in solution.segments for op in segment]
    assert sorted(order) == list(range(len(problem.costs)))
    place = {op: index for index, op in enumerate(order)}
    assert all(place[needed] < place[op] for op in order for needed in problem.before[op])
    for segment in solution.segments:
        assert len({solution.units[op] for op in segment}) == 1
    assert all(costs[unit] is not None for costs, unit in zip(problem.costs, solution.units, strict=True))
    assert solution.cost == cost_of(problem, solution.units, solution.segments)


@pytest.mark.parametrize("seed", range(120))
def test_two_units_are_exact(seed):
    """On graphs of up to 12 ops the solution costs what the cheapest of all costs, and the bound proves it."""
    problem = random_problem(seed, 12, units=2)
    solution = solve(problem)
    check_consistent(problem, solution)
    assert solution.cost == cheapest(problem) == solution.bound


@pytest.mark.parametrize("seed", range(60))
def test_three_units_are_within_two_per_cent(seed):
    """Three units, up to 8 ops, where trying all takes a moment; 12 ops in the slow test."""
    problem = random_problem(seed, 8, units=3)
    solution, least = solve(problem), cheapest(problem)
    check_consistent(problem, solution)
    assert least <= solution.cost <= 1.02 * least
    assert solution.bound <= least


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1012))
def test_three_units_of_twelve_ops_are_within_two_per_cent(seed):
    problem = random_problem(seed, 12, units=3, least_ops=12)
    least = cheapest(problem)
    assert least <= solve(problem).cost <= 1.02 * least


@pytest.mark.parametrize("seed", range(100))
def test_schedules_of_two_units_have_the_fewest_launches(seed):
    problem = random_problem(seed, 12, units=2)
    units = random.Random(seed).choices(range(2), k=len(problem.costs))
    launches = sum(problem.launches[units[segment[0]]] for segment in schedule(problem, units))
    assert launches == fewest_launches(problem, units)


@pytest.mark.parametrize("seed", range(60))
def test_moves_are_the_best_of_all_moves(seed):
    """`expand` finds the cheapest way to let ops go over to a unit or stay, in a fixed order, and its cost."""
    problem = random_problem(seed, 7, units=3)
    pick = random.Random(seed)
    possible = [[unit for unit, cost in enumerate(costs) if cost is not None] for costs in problem.costs]
    units = [pick.choice(row) for row in possible]
    unit, order = pick.randrange(3), list(range(len(units)))

    def cost(chosen: list[int]) -> int:
        runs = [[op] for op in order if not op or chosen[op] != chosen[op - 1]]
        return cost_of(problem, chosen, runs)

    moves = [
        [unit if goes else old for old, goes in zip(units, choice, strict=True)]
        for choice in itertools.product((False, True), repeat=len(units))
    ]
    allowed = [move for move in moves if all(u in row for u, row in zip(move, possible, strict=True))]
    value, moved = expand(problem, units, order, unit)
    assert value == min(map(cost, allowed)) == cost(moved)


def chain(costs, launches, transfer=0) -> Problem:
    """Ops one after the other, the first of which takes an input and the last of which makes an output."""
    count = len(costs)
    flows = [Flow(None, (0,), False, (transfer,) * len(launches))]
    flows += [
        Flow(op, (op + 1,) if op + 1 < count else (), op + 1 == count, (transfer,) * len(launches))
        for op in range(count)
    ]
    return Problem(costs, flows, [[op - 1] if op else [] for op in range(count)], launches)


def test_what_is_fast_alone_may_not_be_worth_the_way():
    """Each op is cheaper on unit 1; the way there and back costs more than that saves, until there are enough ops."""
    assert solve(chain([(10, 8)] * 5, launches=(0, 6), transfer=3)).units == [0] * 5  # saves 10, costs 12
    assert solve(chain([(10, 8)] * 7, launches=(0, 6), transfer=3)).units == [1] * 7  # saves 14


def test_an_op_between_stays_where_its_neighbours_are():
    """Greedy assignment would move the middle op to its faster unit and pay two more transfers and a launch."""
    solution = solve(chain([(90, 1), (2, 4), (90, 1)], launches=(0, 6), transfer=3))
    assert solution.units == [1, 1, 1]
    assert len(solution.segments) == 1


def test_a_refused_op_splits_the_segment():
    solution = solve(chain([(90, 1), (2, None), (90, 1)], launches=(5, 6), transfer=3))
    assert solution.units == [1, 0, 1]
    assert solution.segments == [[0], [1], [2]]
    assert solution.cost == 1 + 2 + 1 + 4 * 3 + 6 + 5 + 6


def test_a_value_is_transferred_once_however_many_use_it():
    """Four users on unit 1 of one value that was made at home."""
    problem = Problem(
        costs=[(1, None)] + [(None, 1)] * 4,
        flows=[Flow(0, (1, 2, 3, 4), False, (50, 50))],
        before=[[], [0], [0], [0], [0]],
        launches=(0, 0),
    )
    assert solve(problem).cost == 5 + 50


def test_independent_branches_run_in_one_segment():
    """Program order alternates between two branches on different units; each unit is launched once all the same."""
    costs = [(1, None), (None, 1)] * 3
    problem = Problem(costs, [], [[]] * 2 + [[op - 2] for op in range(2, 6)], launches=(10, 10))
    solution = solve(problem)
    assert solution.segments in ([[0, 2, 4], [1, 3, 5]], [[1, 3, 5], [0, 2, 4]])
    assert solution.cost == 6 + 20 == solution.bound


def test_no_ops():
    assert solve(Problem([], [], [], (1, 1))) == Solution([], [], 0, 0)


@pytest.mark.parametrize(("units", "gap"), [(2, 1.001), (3, 1.5)])
def test_three_thousand_ops(units, gap):
    """A long program is placed within seconds, and its bound says how good that is: proved for two units."""
    pick = random.Random(0)
    costs = []
    for _ in range(3000):
        work = pick.randint(1, 60)
        row = [8 * work, 3 * work, work] if units == 3 else [8 * work, work]
        costs.append((*row[:-1], None if pick.random() < 0.02 else row[-1]))
    solution = solve(chain(costs, launches=(5, 50, 100)[-units:], transfer=20))
    assert solution.bound <= solution.cost <= gap * solution.bound


@pytest.mark.parametrize("seed", range(200))
def test_minimum_cuts(seed):
    """The cut's value is the maximum flow that SciPy finds, and the sides that it names have that value."""
    pick = random.Random(seed)
    nodes = pick.randint(1, 12)
    network = np.zeros((nodes + 2, nodes + 2), np.int32)
    cut = MinCut(nodes)
    for node in range(nodes):
        supply, demand = pick.choice([0, pick.randint(0, 20)]), pick.choice([0, pick.randint(0, 20)])
        cut.from_source(node, supply)
        cut.to_sink(node, demand)
        network[nodes, node], network[node, nodes + 1] = supply, demand
    for _ in range(pick.randint(0, 30)):
        tail, head, capacity = pick.randrange(nodes), pick.randrange(nodes), pick.randint(0, 15)
        cut.arc(tail, head, capacity)
        network[tail, head] += capacity * (tail != head)
    value, near_source = cut.solve()
    assert value == maximum_flow(csr_matrix(network), nodes, nodes + 1).flow_value
    side = np.array([*near_source, True, False])
    assert value == network[side][:, ~side].sum()
