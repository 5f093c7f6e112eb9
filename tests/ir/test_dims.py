"""Dimension arithmetic, against plain Python integers."""

from __future__ import annotations

import copy
import math
import operator
import pickle
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gristmill.errors import DimError
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
    is_unknown,
    maximum,
    minimum,
    mod,
    never_equal,
    parse_dim,
    product,
    symbol,
    unknown,
)

# --- expression trees; the oracle evaluates them with Python's own operators -----------------------------------------

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


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.lists(st.sampled_from(SYMBOLS), max_size=3)), max_size=6), st.randoms()
)
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


# --- by hand ----------------------------------------------------------------------------------------------------------

n = symbol("n")
m = symbol("m")
batch = symbol("batch", 1, 64)


def test_convolution_output_size() -> None:
    """(n + pads - dilation*(kernel-1) - 1)//stride + 1: kernel 3, stride 2, pads 1 gives ceil(n/2)."""
    size = (n + 1 + 1 - 1 * (3 - 1) - 1) // 2 + 1
    assert isinstance(size, DimExpr)
    assert [size.evaluate({"n": i}) for i in (1, 2, 3, 224, 225)] == [1, 1, 2, 112, 113]
    assert size == ceil_div(n, 2)
    assert size.substitute({"n": 224}) == 112
    assert symbol("h", 32, 64) * 1 // 2 + 1 != size


def test_five_strided_convolutions_are_one_division() -> None:
    """A backbone of stride 32 gives one division by 32, not five inside one another."""
    size: Dim = n
    for _ in range(5):
        size = (size + 2 - 3) // 2 + 1
    assert str(size) == "(n+31)//32"


def test_pooling_in_ceil_mode() -> None:
    """Kernel 3, stride 2, rounding up, on n >= 3: as the windows counted by hand."""
    h = symbol("h", 3)
    size = ceil_div(h - 3, 2) + 1
    assert isinstance(size, DimExpr)
    assert [size.evaluate({"h": i}) for i in (3, 4, 5, 6, 7)] == [1, 2, 2, 3, 3]
    assert size == -((3 - h) // 2) + 1
    assert size.bounds == (1, None)


def test_inferred_reshape_dimension() -> None:
    """The size behind a reshape's -1 cancels a dimension only when that one cannot be zero."""
    assert product([batch, 12, 64]) // (batch * 12) == 64
    assert (batch * n + batch) // batch == n + 1
    assert (n * m + m) // (n + 1) == m
    unsure = product([n, 12]) // (n * 4)
    assert isinstance(unsure, DimExpr)
    assert unsure.evaluate({"n": 5}) == 3
    with pytest.raises(DimError, match="division by zero"):
        unsure.evaluate({"n": 0})


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (n, "n"),
        (n + 2, "n+2"),
        (2 - n, "-n+2"),
        ((n + 1) // 2 - 3, "(n+1)//2-3"),
        (-(n // 3), "-(n//3)"),
        (2 * (n // 3) * m, "2*m*(n//3)"),
        (n // m, "n//m"),
        (-7 // m, "(-7)//m"),
        ((n // m) // (n + 1), "(n//m)//(n+1)"),
        (minimum(n, 5), "min(n,5)"),
        (maximum(m, 3 * n, 4), "max(3*n,m,4)"),
        (batch * n * n + batch, "batch{1..64}*n*n+batch"),
        (symbol("q", -3) + 1, "q{-3..}+1"),
    ],
)
def test_text(expression: Dim, text: str) -> None:
    """The text of an expression; bounds stand where a symbol first occurs, unless they are 0 and none."""
    assert str(expression) == text
    assert parse_dim(text) == expression


def test_text_that_people_write() -> None:
    """Spaces and redundant parentheses are read; the result is canonical; ints are ints."""
    assert parse_dim(" ( n - 3 ) // 2 + 1 ") == (n - 3) // 2 + 1
    assert parse_dim("7 % 4 - -2") == 5
    assert parse_dim("2*n//2") == n
    assert parse_dim("batch+1", {"batch": batch}) == batch + 1
    assert parse_dim("min(n, m, 3)") == minimum(3, m, n)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?",
        "n+",
        "(n",
        "n)",
        "n m",
        "min",
        "min(n",
        "n{1..",
        "n{3..1}",
        "n{1..5}+n{1..6}",
        "1.5",
        "n//0",
        "n%0",
        "é",
        "n+n{1..5}",
        "9" * 400,
        "n" * 65,
        "--",
        "n{}",
        "²",
        "min()",
        "n/2",
        "n**2",
    ],
)
def test_bad_text_is_refused(text: str) -> None:
    """What is not a dimension is a DimError, which is also a ValueError."""
    with pytest.raises(DimError) as caught:
        parse_dim(text)
    assert isinstance(caught.value, ValueError)


@given(st.text(alphabet="nm01 9+-*/%(){}.,minax", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the parser fail in another way than a DimError."""
    try:
        d = parse_dim(text)
    except DimError:
        return
    assert parse_dim(str(d)) == d


@pytest.mark.parametrize(
    "text",
    [
        "(" * 20_000,
        "-" * 20_000 + "n//" + "(n*n+1)//" * 500 + "7",
        "*".join(["n"] * 5_000),
        "*".join(f"(a{i}+b{i})" for i in range(40)),
        "+".join(f"a{i}" for i in range(3_000)),
        "min(" + ",".join(f"a{i}" for i in range(3_000)) + ")",
        "max(" * 300 + "n" + ",m)" * 300,
        "9" * 300 + "*n" + ("*" + "9" * 300) * 20,
        "n" * 40_000,
    ],
    ids=range(9),
)
def test_hostile_text_is_refused_soon(text: str) -> None:
    """Expressions made to blow up are refused by a limit; the suite's own time shows that it is soon."""
    with pytest.raises(DimError):
        parse_dim(text)


def _iterate(d: Dim, step: Callable[[Dim], Dim]) -> None:
    for _ in range(64):
        d = step(d)


@pytest.mark.parametrize(
    "step",
    [lambda d: d * d, lambda d: (d * d + 1) // 5, lambda d: minimum(d * n, m) * d, lambda d: n // (d * d + 1)],
    ids=["square", "square and divide", "minimum", "divisor"],
)
def test_growth_without_end_is_refused(step: Callable[[Dim], Dim]) -> None:
    """An expression that doubles its size each step meets a limit instead of filling the memory."""
    with pytest.raises(DimError, match="too large"):
        _iterate(n + m + 1, step)


# --- decisions --------------------------------------------------------------------------------------------------------


def test_bounds() -> None:
    """Bounds see that the parts of an expression move together."""
    assert bounds(3) == (3, 3)
    assert bounds(n) == (0, None)
    assert bounds(2 * batch + 1) == (3, 129)
    assert bounds(-n) == (None, 0)
    assert bounds(n % 3) == (0, 2)
    assert bounds(n % batch) == (0, 63)
    assert bounds(n - n // 2) == (0, None)
    assert bounds(n - minimum(n, 5)) == (0, None)
    assert bounds(maximum(n, m) - n) == (0, None)
    assert bounds(symbol("z", -3, 2) * symbol("z", -3, 2)) == (0, 9)
    assert bounds(7 // batch) == (0, 7)


def test_certainty() -> None:
    """Equality and order are decided where canonical form, bounds or divisibility decide, and only there."""
    assert always_equal(n - n // 2, (n + 1) // 2)
    assert always_equal(n + m, m + n)
    assert not always_equal(n, m)
    assert not never_equal(n, m)
    assert never_equal(n, n + 1)
    assert never_equal(batch, 65)
    assert never_equal(2 * n, 2 * m + 1)
    assert not never_equal(batch, 64)
    assert never_equal(2, 3)
    assert not never_equal(2, 2)
    assert always_le(n, n)
    assert always_lt(n, n + batch)
    assert not always_lt(n, n + m)


def test_order_is_refused_where_it_is_unknown() -> None:
    """Python's own comparisons give a truth value only if there is one."""
    assert batch > 0
    assert batch <= 64
    assert batch < 65
    assert not batch < 1
    assert n + 1 >= 1
    with pytest.raises(DimError, match="depends on unknown"):
        assert n < m


def test_a_dimension_is_no_number() -> None:
    """Truth, index and int of an unknown raise, so that no unknown size is taken for 1."""
    for use in (bool, int, operator.index, range):
        with pytest.raises(DimError, match=r"not known|not a known"):
            use(n)
    with pytest.raises(TypeError):
        n / 2
    with pytest.raises(TypeError):
        n + 1.0
    with pytest.raises(DimError, match="not a dimension"):
        minimum(n, 2.5)  # type: ignore[arg-type]


def test_simplification_of_extrema() -> None:
    """Extrema are flat, without duplicates, and without operands that another one always beats."""
    assert minimum(n, minimum(m, n)) == minimum(m, n)
    assert minimum(n, n + 1) == n
    assert maximum(n, n // 2) == n
    assert minimum(batch, 64) == batch
    assert maximum(batch, 0, 1) == batch
    assert minimum(4, 7) == 4
    assert maximum(n, 3, 5) == maximum(5, n)


def test_constants_are_ints() -> None:
    """What is constant is an int again, of any size."""
    for d in (n - n, 0 * n, (n + 3) - n, (n % 3) // 3, 7 % batch - 7 % batch, floor_div(-7, 2), mod(-7, 2)):
        assert type(d) is int
    assert (10**40 * n).substitute({"n": 10**40}) == 10**80  # type: ignore[union-attr]
    assert type(np.int64(2) + n - n) is int
    assert product([]) == 1


def test_symbols() -> None:
    """A symbol is its name and bounds; two of one name and different bounds do not meet in an expression."""
    assert symbol("n") == n
    assert symbol("n", 1) != n
    assert (n + m).symbols == {n, m}  # type: ignore[union-attr]
    with pytest.raises(DimError, match="different bounds"):
        n + symbol("n", 1)
    for name in ("", "1n", "a b", "min", "a.b", "x" * 65):
        with pytest.raises(DimError, match="cannot name"):
            symbol(name)
    with pytest.raises(DimError, match="above its upper bound"):
        symbol("n", 3, 2)


def test_evaluation_errors() -> None:
    """A missing symbol is a KeyError that names it; a value out of bounds is refused."""
    with pytest.raises(UnboundSymbolError, match="'m'") as caught:
        (n + m).evaluate({"n": 1})  # type: ignore[union-attr]
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, DimError)
    with pytest.raises(DimError, match="outside the bounds"):
        batch.evaluate({"batch": 65})
    with pytest.raises(DimError, match="outside the bounds"):
        batch.substitute({"batch": -n})
    with pytest.raises(DimError, match="division by zero"):
        floor_div(n, 0)


def test_fresh_names_are_new() -> None:
    """A fresh symbol has a name that no symbol had before, however that one was made."""
    first = fresh("fresh")
    number = int(first.name.removeprefix("fresh"))
    symbol(f"fresh{number + 1}")
    assert fresh("fresh", 1, 9) == symbol(f"fresh{number + 2}", 1, 9)


def test_unknown_dimensions() -> None:
    """An unknown is a new symbol each time, and is told from those that somebody named."""
    first, second = unknown(), unknown(1, 9)
    assert first != second
    assert second.bounds == (1, 9)
    assert is_unknown(first)
    assert is_unknown(second)
    assert not is_unknown(n)
    assert not is_unknown(symbol("unknown"))


def test_is_static() -> None:
    """A shape is static when each dimension is an int."""
    assert is_static((1, 2))
    assert is_static(())
    assert not is_static((1, n))


# --- broadcasting -----------------------------------------------------------------------------------------------------


def test_broadcast() -> None:
    """NumPy's rule, with what is unknown assumed to be legal."""
    assert broadcast(3, 3) == 3
    assert broadcast(1, n) == n
    assert broadcast(n, 1) == n
    assert broadcast(2, 3) is None
    assert broadcast(0, 1) == 0
    assert broadcast(n, 7) == 7
    assert broadcast(0, n) == 0
    assert broadcast(n, n) == n
    assert broadcast(symbol("h", 2, 5), 7) is None
    assert broadcast(symbol("h", 2), n) == symbol("h", 2)
    assert broadcast(batch, symbol("b", 1)) == maximum(batch, symbol("b", 1))


@settings(max_examples=50)
@given(st.sampled_from([n, m, batch, batch + 1, 2 * n]), st.sampled_from([n, m, batch, 0, 1, 5]), st.data())
def test_broadcast_agrees_with_numpy(a: Dim, b: Dim, data: st.DataObject) -> None:
    """Wherever NumPy broadcasts the sizes, the result is NumPy's."""
    env = data.draw(st.fixed_dictionaries({"n": st.integers(0, 4), "m": st.integers(0, 4), "batch": st.integers(1, 4)}))
    try:
        (expected,) = np.broadcast_shapes((run(a, env),), (run(b, env),))
    except ValueError:
        return
    result = broadcast(a, b)
    assert result is not None
    assert run(result, env) == expected


# --- NumPy ------------------------------------------------------------------------------------------------------------


def test_object_arrays() -> None:
    """The shape arithmetic of programs runs on NumPy object arrays of dimensions."""
    shape = np.array([batch, 3, n], dtype=object)
    assert list(shape + 1) == [batch + 1, 4, n + 1]
    assert list(2 * shape - np.array([0, 1, 2])) == [2 * batch, 5, 2 * n - 2]
    assert list(n + shape) == [batch + n, n + 3, 2 * n]
    assert list(shape // 2) == [batch // 2, 1, n // 2]
    assert list(-shape % 2) == [-batch % 2, 1, -n % 2]
    assert list(shape == n) == [False, False, True]
    assert np.prod(shape) == 3 * batch * n
    assert np.sum(shape) == batch + n + 3
    assert list(np.cumprod(shape)) == [batch, 3 * batch, 3 * batch * n]
    assert list(np.concatenate([shape[:1], [7], shape[[2, 1]]])) == [batch, 7, n, 3]
    assert list(np.maximum(shape[:2], 1)) == [batch, 3]
    with pytest.raises(DimError, match="depends on unknown"):
        np.maximum(shape, 1)
    assert list(np.frompyfunc(maximum, 2, 1)(shape, 1)) == [batch, 3, maximum(n, 1)]


def test_numpy_integers() -> None:
    """NumPy's integers are integers, on both sides, and never stay in an expression."""
    two = np.int64(2)
    for d in (two + n, n + two, two * n, n - two, n // two, two - n, two // (n + 1), n % two):
        assert isinstance(d, DimExpr)
        assert parse_dim(str(d)) == d
    assert n != two
    assert two != n
    assert batch.evaluate({"batch": two}) == 2  # type: ignore[dict-item]
    assert type(batch.evaluate({"batch": two})) is int  # type: ignore[dict-item]
