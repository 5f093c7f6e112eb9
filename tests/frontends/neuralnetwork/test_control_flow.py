"""Branches, loops and names that are written twice, worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gristmill.errors import FormatError, UnsupportedError
from gristmill.frontends.neuralnetwork import context
from tests.frontends.neuralnetwork.small import L, case_of, layers, model_of, numbers


def constant(name: str, *values: float) -> L:
    """A constant tensor of one axis."""
    return L("loadConstantND", {"shape": [len(values)], "data": numbers(np.array(values))}, [], [name])


def network(*given: L) -> dict[str, Any]:
    return {"layers": layers(*given)}


def run(*given: L, **inputs: float) -> float:
    """``y`` for inputs of one element each."""
    model = model_of(*given, inputs=dict.fromkeys(inputs, (1,)))
    return float(model.predict({name: np.array([value], np.float32) for name, value in inputs.items()})["y"][0])


def test_a_name_that_is_written_twice() -> None:
    """Each layer reads what stands under a name when its turn comes: y = (x + 1)² + x."""
    plus, square = L("add", {"alpha": 1}, ["x"], ["t"]), L("multiplyBroadcastable", {}, ["t", "t"], ["t"])
    assert run(plus, square, L("addBroadcastable", {}, ["t", "x"]), x=3) == 19


def test_an_input_that_is_overwritten() -> None:
    assert run(L("add", {"alpha": 1}, ["x"], ["x"]), L("copy"), x=3) == 4


@pytest.mark.parametrize(("x", "y"), [(2, 12), (-2, -4)])
def test_branch(x: float, y: float) -> None:
    """One side overwrites a tensor of before, both make a new one."""
    yes = network(L("add", {"alpha": 10}, ["x"], ["t"]), L("copy", {}, ["t"], ["y"]))
    no = network(L("multiply", {"alpha": 2}, ["x"], ["y"]))
    test = L("greaterThan", {"alpha": 0}, ["x"], ["c"])
    start = L("copy", {}, ["x"], ["t"])
    assert run(start, test, L("branch", {"ifBranch": yes, "elseBranch": no}, ["c"], []), x=x) == y


def test_what_only_one_side_makes_is_not_there_afterwards() -> None:
    yes = network(L("copy", {}, ["x"], ["y"]))
    with pytest.raises(FormatError, match="no layer has made the tensor 'y'"):
        run(L("branch", {"ifBranch": yes}, ["x"], []), x=1)


COUNT_DOWN = L("add", {"alpha": -1}, ["n"], ["n"])
DOUBLE = L("multiply", {"alpha": 2}, ["y"], ["y"])


@pytest.mark.parametrize(("n", "y"), [(0, 1), (1, 2), (5, 32)])
def test_loop_with_a_condition(n: int, y: int) -> None:
    """2ⁿ; the condition network runs before each round, also before the first."""
    test = network(L("greaterThan", {"alpha": 0}, ["n"], ["go"]))
    loop = L(
        "loop", {"conditionVar": "go", "conditionNetwork": test, "bodyNetwork": network(DOUBLE, COUNT_DOWN)}, [], []
    )
    assert run(constant("y", 1), loop, n=n) == y


@pytest.mark.parametrize("by_input", [False, True])
def test_loop_of_so_many_rounds(by_input: bool) -> None:
    """As often as the layer says, or an input."""
    loop = L("loop", {"maxLoopIterations": 3, "bodyNetwork": network(DOUBLE)}, ["n"] if by_input else [], [])
    assert run(constant("y", 1), loop, n=5) == (32 if by_input else 8)


@case_of("loop")
def test_condition_that_the_body_sets() -> None:
    """Without a network for it the condition is what the last round left; at most so many rounds."""
    body = network(DOUBLE, L("lessThan", {"alpha": 20}, ["y"], ["go"]))
    loop = L("loop", {"conditionVar": "go", "maxLoopIterations": 100, "bodyNetwork": body}, [], [])
    assert run(constant("y", 1), constant("go", 1), loop, n=0) == 32


@case_of("loopBreak")
def test_break_leaves_the_loop() -> None:
    """In the round in which n reaches 2 nothing after the branch happens any more."""
    leave = network(L("loopBreak", {}, [], []))
    at_two = [L("equal", {"alpha": 2}, ["n"], ["two"]), L("branch", {"ifBranch": leave}, ["two"], [])]
    loop = L("loop", {"maxLoopIterations": 100, "bodyNetwork": network(COUNT_DOWN, *at_two, DOUBLE)}, [], [])
    assert run(constant("y", 1), loop, n=6) == 8


@case_of("loopContinue")
def test_continue_begins_the_next_round() -> None:
    """Odd n are passed over, whichever side of the branch they are on; the condition is asked all the same."""
    odd = [L("modBroadcastable", {}, ["n", "two"], ["odd"])]
    on = network(L("loopContinue", {}, [], []))
    skip = L("branch", {"ifBranch": network(L("copy", {}, ["n"], ["seen"])), "elseBranch": {}}, ["odd"], [])
    choose = L("branch", {"ifBranch": on}, ["odd"], [])
    body = network(COUNT_DOWN, *odd, skip, choose, DOUBLE)
    test = network(L("greaterThan", {"alpha": 0}, ["n"], ["go"]))
    loop = L("loop", {"conditionVar": "go", "conditionNetwork": test, "bodyNetwork": body}, [], [])
    assert run(constant("y", 1), constant("two", 2), constant("seen", 0), loop, n=7) == 16  # of 6, 4, 2, 0


@case_of("loopBreak")
def test_break_leaves_the_inner_loop_only() -> None:
    """The inner loop doubles once in each of three rounds of the outer one."""
    inner = L("loop", {"maxLoopIterations": 9, "bodyNetwork": network(DOUBLE, L("loopBreak", {}, [], []))}, [], [])
    outer = L("loop", {"maxLoopIterations": 3, "bodyNetwork": network(inner, COUNT_DOWN)}, [], [])
    assert run(constant("y", 1), outer, n=5) == 8


@case_of("loopBreak")
@pytest.mark.parametrize(("n", "y"), [(1, 2), (-1, -1)])
def test_break_on_both_sides_of_a_branch(n: float, y: float) -> None:
    """Whichever side runs, there is no second round, and what follows the branch never happens."""
    leave = L("loopBreak", {}, [], [])
    sides = {
        "ifBranch": network(DOUBLE, leave),
        "elseBranch": network(L("multiply", {"alpha": -1}, ["y"], ["y"]), leave),
    }
    test = L("greaterThan", {"alpha": 0}, ["n"], ["positive"])
    body = network(test, L("branch", sides, ["positive"], []), L("add", {"alpha": 100}, ["y"], ["y"]))
    assert run(constant("y", 1), L("loop", {"maxLoopIterations": 9, "bodyNetwork": body}, [], []), n=n) == y


@case_of("loopContinue")
def test_continue_in_every_round() -> None:
    """What stands behind it never runs; the rounds are counted all the same."""
    body = network(DOUBLE, L("loopContinue", {}, [], []), L("add", {"alpha": 100}, ["y"], ["y"]))
    assert run(constant("y", 1), L("loop", {"maxLoopIterations": 4, "bodyNetwork": body}, [], []), n=0) == 16


@case_of("loopContinue")
def test_continue_beside_break() -> None:
    """N counts down from 7: 5 is passed over, at 2 it ends; y doubles at 6, 4 and 3."""
    at = [L("equal", {"alpha": k}, ["n"], [f"at {k}"]) for k in (5, 2)]
    skip = L("branch", {"ifBranch": network(L("loopContinue", {}, [], []))}, ["at 5"], [])
    end = L("branch", {"ifBranch": network(L("loopBreak", {}, [], []))}, ["at 2"], [])
    body = network(COUNT_DOWN, *at, skip, end, DOUBLE)
    assert run(constant("y", 1), L("loop", {"maxLoopIterations": 99, "bodyNetwork": body}, [], []), n=7) == 8


@case_of("loop")
def test_a_tensor_that_grows_in_a_loop() -> None:
    """Its size is unknown inside, and what it is afterwards."""
    grow = network(L("concatND", {"axis": 0}, ["y", "x"], ["y"]))
    loop = L("loop", {"maxLoopIterations": 3, "bodyNetwork": grow}, [], [])
    got = model_of(constant("y", 1, 2), loop, inputs={"x": (1,)}).predict({"x": np.array([7], np.float32)})["y"]
    assert got.tolist() == [1, 2, 7, 7, 7]


def test_a_loop_that_changes_the_rank_is_refused() -> None:
    body = network(L("expandDims", {"axes": [0]}, ["y"], ["y"]))
    with pytest.raises(UnsupportedError, match="changes the rank"):
        run(constant("y", 1), L("loop", {"maxLoopIterations": 2, "bodyNetwork": body}, [], []), n=1)


@pytest.mark.parametrize("between", [[], [COUNT_DOWN]], ids=["branches alone", "with layers between"])
def test_branches_that_multiply_the_body_are_refused_in_time(between: list[L], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these branches may fall through on both sides, so the rest of the body doubles with every one."""
    monkeypatch.setattr(context, "SPARE_LAYERS", 20)
    monkeypatch.setattr(context, "MOST_TIMES", 1)
    leave = L("branch", {"ifBranch": network(L("loopBreak", {}, [], []))}, ["n"], [])
    outer = L("branch", {"ifBranch": network(leave)}, ["n"], [])
    with pytest.raises(UnsupportedError, match="multiply the layers"):
        run(L("loop", {"maxLoopIterations": 2, "bodyNetwork": network(*[outer, *between] * 20)}, [], []), n=1)


def test_layers_that_nothing_multiplies_are_as_many_as_the_file_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "SPARE_LAYERS", 0)
    monkeypatch.setattr(context, "MOST_TIMES", 1)
    body = network(L("greaterThan", {"alpha": 1}, ["y"], ["c"]), L("branch", {"ifBranch": network(DOUBLE)}, ["c"], []))
    loop = L("loop", {"maxLoopIterations": 2, "bodyNetwork": body}, [], [])
    assert run(constant("y", 1), *[DOUBLE] * 10, loop, n=1) == 2**12


def test_a_missing_tensor_is_reported_where_it_is_read() -> None:
    with pytest.raises(FormatError, match=r"made the tensor 'u'\n  at: layer 'layer 1' \(copy\)"):
        run(L("copy", {}, ["n"], ["t"]), L("copy", {}, ["u"]), n=1)


@pytest.mark.parametrize("kind", ["loopBreak", "loopContinue"])
def test_leaving_no_loop(kind: str) -> None:
    with pytest.raises(FormatError, match="the layer is in no loop"):
        run(L(kind, {}, [], []), L("copy"), x=1)
