"""Formulas that match pieces of programs.

A pattern is written as the formula that it stands for, over variables, numbers and ops:

    x = var("x")
    gelu = 0.5 * x * (1 + op.erf(x / math.sqrt(2)))
    found = find(gelu, some_op)

``found`` is a ``Match``, which says what the variables stand for, or a ``Miss``, which says at which op the formula and
the program part, and why. Sums and products match in any order and association, a division by a number is a product
with its reciprocal, a subtraction of one a sum with its negative. Parameters that a pattern does not mention must have
their defaults: an op with more to it than the formula says is not the formula. An op that something outside the formula
uses as well, or that is in another block than the root, ends a match too: replacing the root would compute it twice.

A match visits a number of ops that the pattern's size bounds, whatever the program's size.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Final, TypeAlias

from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.ir.signature import Const
from gristmill.ir.traits import Commutative
from gristmill.ir.types import fp16, fp32, fp64
from gristmill.passes.rewriting import is_readable


@dataclass(frozen=True)
class Miss:
    """Why a formula does not stand at an op.

    Attributes:
        op: Where formula and program part; ``None`` when that is a value which no op makes.
        reason: In words.
    """

    op: Op | None
    reason: str

    def __str__(self) -> str:
        return f"{self.op.title}: {self.reason}" if self.op is not None else self.reason


@dataclass
class _Trace:
    """The miss that came furthest: the one that tells most."""

    depth: int = -1
    miss: Miss = Miss(None, "nothing was tried")


@dataclass(frozen=True)
class _State:
    """What is matched so far."""

    values: Mapping[str, Value] = field(default_factory=dict)
    named: Mapping[str, Op] = field(default_factory=dict)
    ops: tuple[Op, ...] = ()
    trace: _Trace = field(default_factory=_Trace)

    def miss(self, op: Op | None, reason: str) -> None:
        if len(self.ops) > self.trace.depth:
            self.trace.depth, self.trace.miss = len(self.ops), Miss(op, reason)

    def entering(self, op: Op, name: str | None = None) -> _State:
        named = self.named if name is None else {**self.named, name: op}
        return replace(self, named=named, ops=self.ops if op in self.ops else (*self.ops, op))


@dataclass(frozen=True)
class Match:
    """A place where a formula stands.

    Attributes:
        root: The op that makes the formula's value.
        values: What the variables stand for.
        named: Ops to which the pattern gives names.
        ops: All ops of the formula, the root first.
    """

    root: Op
    values: Mapping[str, Value]
    named: Mapping[str, Op]
    ops: tuple[Op, ...]

    def __getitem__(self, name: str) -> Value:
        return self.values[name]

    def get(self, name: str) -> Value | None:
        """What a variable stands for, ``None`` where the alternative that matched lacks it."""
        return self.values.get(name)

    def number(self, name: str) -> float:
        """The value of a variable that stands for one number."""
        found = number_of(self.values[name])
        assert found is not None
        return found


# --- patterns --------------------------------------------------------------------------------------------------------


class Pattern(ABC):
    """A formula, or a part of one."""

    roots: frozenset[str] = frozenset()
    """Names of the ops that may make the formula's value; empty where any value will do."""

    @abstractmethod
    def matches(self, value: Value, state: _State) -> Iterator[_State]:
        """Every way in which the formula stands for a value, given what is matched already."""

    def __add__(self, other: Pattern | float) -> Pattern:
        return Sum(self, as_pattern(other))

    def __radd__(self, other: float) -> Pattern:
        return Sum(as_pattern(other), self)

    def __sub__(self, other: Pattern | float) -> Pattern:
        return op.sub(self, other) if isinstance(other, Pattern) else Sum(self, Number(-other))

    def __mul__(self, other: Pattern | float) -> Pattern:
        return _times(self, as_pattern(other))

    def __rmul__(self, other: float) -> Pattern:
        return _times(as_pattern(other), self)

    def __truediv__(self, other: Pattern | float) -> Pattern:
        return op.real_div(self, other) if isinstance(other, Pattern) else _times(self, Number(1 / other))

    def __or__(self, other: Pattern) -> Pattern:
        return OneOf.of([self, other])


class Var(Pattern):
    """Any value that ``refuse`` has nothing against; under one name always the same one."""

    def __init__(self, name: str, refuse: Callable[[Value], str | None] | None = None) -> None:
        self.name, self._refuse = name, refuse

    def matches(self, value: Value, state: _State) -> Iterator[_State]:
        bound = state.values.get(self.name)
        reason = self._refuse(value) if self._refuse is not None else None
        if bound is not None and bound is not value:
            reason = f"'{self.name}' is %{bound.name} already, and %{value.name} here"
        if reason is not None:
            state.miss(value.producer, reason)
        else:
            yield replace(state, values={**state.values, self.name: value})


class Number(Pattern):
    """A constant with one element, equal to a number within the last place of the constant's type.

    That much is lost where a source writes √2 or 2/π in its own type; a number that is further off is another formula.
    """

    def __init__(self, value: float) -> None:
        self.value = value

    def matches(self, value: Value, state: _State) -> Iterator[_State]:
        found = number_of(value)
        if found is None:
            state.miss(value.producer, f"%{value.name} is not the number {self.value:g}")
        elif not math.isclose(found, self.value, rel_tol=_last_place(value), abs_tol=0):
            state.miss(value.producer, f"%{value.name} is {found:.9g}, not {self.value:.9g}")
        else:
            yield state


class OneOf(Pattern):
    """Alternative spellings, tried in order."""

    def __init__(self, *patterns: Pattern) -> None:
        self.patterns = patterns
        self.roots = frozenset().union(*(p.roots for p in patterns))

    @staticmethod
    def of(patterns: Sequence[Pattern]) -> Pattern:
        """Alternatives of alternatives are alternatives."""
        flat = [p for q in patterns for p in (q.patterns if isinstance(q, OneOf) else (q,))]
        return flat[0] if len(flat) == 1 else OneOf(*flat)

    def matches(self, value: Value, state: _State) -> Iterator[_State]:
        for pattern in self.patterns:
            yield from pattern.matches(value, state)


class _Anything:
    def __repr__(self) -> str:
        return "ANYTHING"


ANYTHING: Final = _Anything()
"""Stands for any value of an op's parameter."""

Operand: TypeAlias = "Pattern | _Anything | Any"


class Apply(Pattern):
    """The result of an op.

    Args:
        names: Of ops, any of which will do.
        operands: Patterns for operands; for parameters their values, or ``ANYTHING``.
        rest: Whether operands and parameters that are not mentioned may be anything.
        name: Under which the match tells the op; under one name always the same one.
    """

    def __init__(
        self, names: tuple[str, ...], operands: Mapping[str, Operand], *, rest: bool = False, name: str | None = None
    ) -> None:
        self.roots = frozenset(names)
        self.operands, self.rest, self.name = dict(operands), rest, name

    def named(self, name: str) -> Apply:
        """The same pattern; the match tells the op under this name."""
        return Apply(tuple(self.roots), self.operands, rest=self.rest, name=name)

    def matches(self, value: Value, state: _State) -> Iterator[_State]:
        op = value.producer
        if op is None or op.op_name not in self.roots or len(op.results) != 1:
            state.miss(op, f"%{value.name} is not made by {' or '.join(sorted(self.roots))}")
            return
        reason = self._parameters(op)
        if reason is not None:
            state.miss(op, reason)
            return
        if self.name is not None and state.named.get(self.name, op) is not op:
            state.miss(op, f"'{self.name}' is {state.named[self.name].title} already")
            return
        patterns = {name: p for name, p in self.operands.items() if isinstance(p, Pattern)}
        entered = state.entering(op, self.name)
        yield from _all(patterns, op, entered)
        if op.has(Commutative) and {"x", "y"} <= patterns.keys():
            yield from _all({**patterns, "x": patterns["y"], "y": patterns["x"]}, op, entered)

    def _parameters(self, op: Op) -> str | None:
        """Why the op's parameters do not fit."""
        for name, wanted in self.operands.items():
            if not isinstance(wanted, Pattern | _Anything) and (found := getattr(op, name, None)) != wanted:
                return f"'{name}' is {found}, not {wanted}"
        if self.rest:
            return None
        for name in op.operands.keys() - self.operands.keys():
            param = op.params[name]
            if not isinstance(param, Const) or not param.optional or param.of(op) != param.default_for(op):
                return f"it has '{name}', which the formula lacks"
        return None


def _all(patterns: Mapping[str, Pattern], op: Op, state: _State) -> Iterator[_State]:
    if not patterns:
        yield state
        return
    (name, pattern), *others = patterns.items()
    value = op.operands.get(name)
    if not isinstance(value, Value):
        state.miss(op, f"it lacks '{name}'")
        return
    for found in pattern.matches(value, state):
        yield from _all(dict(others), op, found)


class Sum(Pattern):
    """``a + b`` in either order, and ``a - c`` for a number ``b = -c``."""

    roots = frozenset({"add", "sub"})

    def __init__(self, a: Pattern, b: Pattern) -> None:
        self.terms = (a, b)

    def matches(self, value: Value, state: _State) -> Iterator[_State]:
        op = value.producer
        if op is None or op.op_name not in self.roots:
            state.miss(op, f"%{value.name} is not made by add")
            return
        for a, b in (self.terms, self.terms[::-1]):
            if op.op_name == "add":
                yield from _all({"x": a, "y": b}, op, state.entering(op))
            elif isinstance(b, Number):
                yield from _all({"x": a, "y": Number(-b.value)}, op, state.entering(op))


class Product(Pattern):
    """A product of any number of factors, in any order and association; one by a number may be a division."""

    roots = frozenset({"mul", "real_div"})

    def __init__(self, *factors: Pattern) -> None:
        flat: list[Pattern] = []
        for factor in factors:
            flat += factor.factors if isinstance(factor, Product) else (factor,)
        self.factors: tuple[Pattern, ...] = tuple(flat)
        self._splits = [
            (_product_of(left), _product_of(right))
            for chosen in product((True, False), repeat=len(self.factors))
            if (left := [f for f, here in zip(self.factors, chosen, strict=True) if here])
            and (right := [f for f, here in zip(self.factors, chosen, strict=True) if not here])
        ]

    def matches(self, value: Value, state: _State) -> Iterator[_State]:
        op = value.producer
        if op is None or op.op_name not in self.roots:
            state.miss(op, f"%{value.name} is not made by mul")
            return
        for left, right in self._splits:
            if op.op_name == "mul":
                yield from _all({"x": left, "y": right}, op, state.entering(op))
            elif isinstance(right, Number) and right.value:
                yield from _all({"y": Number(1 / right.value), "x": left}, op, state.entering(op))


def _times(a: Pattern, b: Pattern) -> Pattern:
    """A product; where a factor may be a product or something else, each product is associated anew."""
    return OneOf.of([Product(x, y) for x in _alternatives(a) for y in _alternatives(b)])


def _alternatives(factor: Pattern) -> tuple[Pattern, ...]:
    if isinstance(factor, OneOf) and any(isinstance(p, Product) for p in factor.patterns):
        return factor.patterns
    return (factor,)


def _product_of(factors: list[Pattern]) -> Pattern:
    return factors[0] if len(factors) == 1 else Product(*factors)


# --- making patterns -------------------------------------------------------------------------------------------------


class _Ops:
    """``op.erf(x)`` is the pattern of an ``erf``; operands without a name are ``x`` and ``y``."""

    def __getattr__(self, op_name: str) -> Callable[..., Apply]:
        def make(*operands: Pattern | float, rest: bool = False, **named: Operand) -> Apply:
            places = dict(zip(("x", "y"), map(as_pattern, operands), strict=False))
            return Apply((op_name,), {**places, **named}, rest=rest)

        return make


op: Final = _Ops()


def as_pattern(value: Pattern | float) -> Pattern:
    """A number as a pattern."""
    return value if isinstance(value, Pattern) else Number(value)


def var(name: str) -> Var:
    """Any value."""
    return Var(name)


def constant(name: str) -> Var:
    """A tensor that is known before the program runs."""
    return Var(name, lambda value: None if is_readable(value) else f"%{value.name} is not constant")


def scalar(name: str) -> Var:
    """A constant with one element."""
    return Var(name, lambda value: None if number_of(value) is not None else f"%{value.name} is not a number")


def nonzero(name: str) -> Var:
    """A constant with one element that is not 0."""
    return Var(name, lambda value: None if number_of(value) else f"%{value.name} is not a number, or 0")


def number_of(value: Value) -> float | None:
    """The element of a constant that has one, if it is a number."""
    if not is_readable(value) or value.constant is None or value.constant.data.size != 1:
        return None
    array: Array = value.constant.numpy()
    if array.dtype.kind not in "fiu":
        return None
    found: float = array.reshape(()).item()
    return found


def _last_place(value: Value) -> float:
    return {fp16: 2.0**-10, fp32: 2.0**-23, fp64: 2.0**-52}.get(value.dtype, 0.0)


# --- finding ---------------------------------------------------------------------------------------------------------


def find(pattern: Pattern, root: Op) -> Match | Miss:
    """The first way in which a formula's value is made by an op, or why there is none."""
    trace = _Trace()
    found = next(find_all(pattern, root, trace), None)
    return trace.miss if found is None else found


def find_all(pattern: Pattern, root: Op, trace: _Trace | None = None) -> Iterator[Match]:
    """Every way in which a formula's value is made by an op; few, since only its alternatives multiply them."""
    if len(root.results) != 1:
        return
    for state in pattern.matches(root.result, _State(trace=trace or _Trace())):
        inner = _inseparable(root, state.ops)
        if inner is None:
            yield Match(root, state.values, state.named, state.ops)
        else:
            state.miss(inner.op, inner.reason)


def _inseparable(root: Op, ops: tuple[Op, ...]) -> Miss | None:
    for inner in ops:
        if inner is root:
            continue
        if inner.block is not root.block:
            return Miss(inner, "it is in another block")
        if any(use.user not in ops for use in inner.result.uses):
            return Miss(inner, "something else uses it too")
    return None
