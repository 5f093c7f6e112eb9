"""Dimension arithmetic, against plain Python integers."""

from __future__ import annotations

import copy
import math
import operator
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gristmill.errors import DimError
from gristmill.ir import dims
from gristmill.ir.dims import (
    Dim,
    DimExpr,
    Symbol,
    UnboundSymbolError,
    always_equal,
    always_le,
    always_lt,
    bounds,
    broadcast,
    ceil_div,
    floor_div,
    fresh,
    is_static,
    maximum,
    minimum,
    mod,
    never_equal,
    parse_dim,
    product,
    symbol,
)

# --- expression trees: the oracle evaluates them with Python's own operators --------------------------------------------

SYMBOLS = (symbol("n"), symbol("k", 1), symbol("p", 2, 7), symbol("z", -5, 6), symbol("w", -9))

BINARY = {
    "+": (operator.add, operator.add),
    "-": (operator.sub, operator.sub),
    "*": (operator.mul, operator.mul),
    "//": (operator.floordiv, floor_div),
    "%": (operator.mod, mod),
    "ceil": (lambda a, b: math.ceil(Fraction(a, b)), ceil_div),
    "min": (min, minimum),
    "max": (max, maximum),
}

leaves = st.one_of(st.integers(-7, 12), st.sampled_from([s.name for s in SYMBOLS]))
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(sorted(BINARY)), inner, inner),
        # by a constant, as strides and pooling divide; random trees would hardly ever nest such divisions
        st.tuples(st.sampled_from(["//", "%", "ceil", "*"]), inner, st.integers(-6, 6).filter(bool)),
    ),
    max_leaves=9,
)


def build(tree: object) -> Dim:
    """The tree as a canonical dimension; discards those that certainly divide by zero."""
    if isinstance(tree, int):
        return tree
    if isinstance(tree, str):
        return next(s for s in SYMBOLS if s.name == tree)
    name, left, right = tree
    try:
        return BINARY[name][1](build(left), build(right))
    except DimError as error:
        assume("division by zero" not in str(error))
        raise


def value(tree: object, env: dict[str, int]) -> int:
    """The tree evaluated by Python; raises ZeroDivisionError where it has no value."""
    if isinstance(tree, int):
        return tree
    if isinstance(tree, str):
        return env[tree]
    name, left, right = tree
    return BINARY[name][0](value(left, env), value(right, env))


def run(d: Dim, env: dict[str, int]) -> int:
    return d.evaluate(env) if isinstance(d, DimExpr) else d


def _values(s: Symbol) -> st.SearchStrategy[int]:
    return st.integers(s.lower, s.lower + 40 if s.upper is None else s.upper)


envs = st.fixed_dictionaries({s.name: _values(s) for s in SYMBOLS})
env_lists = st.lists(envs, min_size=4, max_size=4)


def defined(tree: object, env_list: list[dict[str, int]]) -> list[tuple[dict[str, int], int]]:
    """The environments in which the tree has a value, with it."""
    found = []
    for env in env_list:
        try:
            found.append((env, value(tree, env)))
        except ZeroDivisionError:
            continue
    return found


@given(trees, env_lists)
def test_canonical_form_keeps_the_value(tree: object, env_list: list[dict[str, int]]) -> None:
    """A canonical expression has the value of the expression as written, and it is within the bounds."""
    d = build(tree)
    low, high = bounds(d)
    for env, expected in defined(tree, env_list):
        assert run(d, env) == expected
        assert low is None or low <= expected
        assert high is None or expected <= high


@given(trees, trees, env_lists)
def test_decisions_are_sound(first: object, second: object, env_list: list[dict[str, int]]) -> None:
    """What is decided about two expressions holds for every value of the symbols."""
    a, b = build(first), build(second)
    for env, x in defined(first, env_list):
        for _, y in defined(second, [env]):
            assert x == y or not (a == b or always_equal(a, b))
            assert x != y or not never_equal(a, b)
            assert x <= y or not always_le(a, b)
            assert x < y or not always_lt(a, b)
            if isinstance(a, DimExpr):
                for relation in (operator.lt, operator.le, operator.gt, operator.ge):
                    try:
                        decided = relation(a, b)
                    except DimError:
                        continue
                    assert decided == relation(x, y)


@given(trees)
def test_text_round_trip(tree: object) -> None:
    """The text reads back as the same expression, bounds of its symbols included, and so does a pickle."""
    d = build(tree)
    again = parse_dim(str(d))
    assert again == d
    assert hash(again) == hash(d)
    assert str(again) == str(d)
    assert bounds(again) == bounds(d)
    if isinstance(d, DimExpr):
        assert {s.name: s.bounds for s in again.symbols} == {s.name: s.bounds for s in d.symbols}
        assert pickle.loads(pickle.dumps(d)) == d
        assert copy.deepcopy([d]) == [d]


@given(trees, env_lists, st.sets(st.sampled_from([s.name for s in SYMBOLS])))
def test_substitution_commutes_with_evaluation(tree: object, env_list: list[dict[str, int]], names: set[str]) -> None:
    """Substituting some symbols, then evaluating the rest, gives what evaluating at once gives."""
    d = build(tree)
    for env, expected in defined(tree, env_list):
        if isinstance(d, DimExpr):
            assert run(d.substitute({n: env[n] for n in names}), env) == expected
            assert d.substitute(env) == expected


@given(trees, trees, envs)
def test_substituting_an_expression(tree: object, replacement: object, env: dict[str, int]) -> None:
    """An expression may replace a symbol; its value is then that symbol's value."""
    d, r = build(tree), build(replacement)
    if not isinstance(d, DimExpr) or not defined(replacement, [env]):
        return
    inner = value(replacement, env)
    if inner < 0 or not defined(tree, [{**env, "n": inner}]):
        return
    assert run(d.substitute({"n": r}), env) == value(tree, {**env, "n": inner})


@given(st.lists(st.tuples(st.integers(-5, 5), st.lists(st.sampled_from(SYMBOLS), max_size=3)), max_size=6), st.randoms())
def test_polynomials_are_canonical(terms: list[tuple[int, list[Symbol]]], random: object) -> None:
    """Two polynomials that differ only in the order of terms and factors are the same object of comparison."""

    def add_up() -> Dim:
        total: Dim = 0
        for c, factors in terms:
            total = total + c * product(factors)
        return total

    first = add_up()
    random.shuffle(terms)
    for _, factors in terms:
        random.shuffle(factors)
    second = add_up()
    assert first == second
    assert hash(first) == hash(second)
    assert first - second == 0


polynomials = st.recursive(leaves, lambda inner: st.tuples(st.sampled_from("+-*"), inner, inner), max_leaves=6)


@given(polynomials, st.integers(1, 6), st.integers(1, 6), st.integers(-20, 20))
def test_divisions_by_constants_combine(tree: object, k: int, j: int, r: int) -> None:
    """(k*x + r)//k is x + r//k, divisions inside one another are one, and rounding up is minus rounding down."""
    x = build(tree)
    assert (k * x + r) // k == x + r // k
    assert (x // k + r) // j == (x + r * k) // (k * j)
    assert ceil_div(x, k) == -(-x // k)
    assert x % k == x - k * (x // k)
    assert 0 <= x % k < k
