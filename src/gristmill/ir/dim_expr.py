"""The expressions themselves: one class for each kind of node, immutable, always in canonical form."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from gristmill.errors import DimError

MAX_TERMS: Final = 256  # terms of one polynomial
MAX_DEGREE: Final = 64  # factors in one term
MAX_COEFFICIENT_BITS: Final = 1024
MAX_SIZE: Final = 1024  # leaves of the expression written out as a tree
MAX_DEPTH: Final = 32  # divisions, minima and maxima inside one another; keeps recursion far from Python's limit
MAX_OPERANDS: Final = 64  # of one minimum or maximum
MAX_NAME: Final = 64  # characters in a symbol's name
MAX_TEXT: Final = 1 << 15  # characters that parse_dim reads
MAX_NESTING: Final = 100  # parentheses inside one another in the text


Monomial: TypeAlias = "tuple[tuple[DimExpr, int], ...]"  # (atom, power) pairs in order; () is the constant term

NAME: Final = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{MAX_NAME - 1}}}")
used_names: Final[set[str]] = set()  # by any symbol of this process


class UnboundSymbolError(DimError, KeyError):
    """A symbol has no value in the mapping that an expression was evaluated with."""


class DimExpr:
    """An integer expression that is not a constant. Immutable and hashable; build it with operators and functions.

    ``+ - * // %`` work with ints, NumPy integers and other dimensions on both sides and return an ``int`` when the
    result is constant, so object arrays of dimensions work with NumPy's arithmetic, ``prod``, ``sum``, ``concatenate``
    and indexing. ``np.minimum`` and ``np.maximum`` compare, so they work only where the bounds decide;
    ``minimum`` and ``maximum`` here always do.
    """

    __slots__ = ("_bounds", "_depth", "_hash", "_size", "_symbols", "_text")
    _depth: int
    _size: int

    def __init__(self, key: tuple[object, ...], parts: Iterable[Dim], depth: int, size: int) -> None:
        symbols: frozenset[Symbol] = frozenset()
        for part in parts:
            if isinstance(part, DimExpr):
                symbols |= part.symbols
                depth = max(depth, part._depth + (not isinstance(self, Polynomial)))
                size += part._size
        if len({s.name for s in symbols}) < len(symbols):
            names = sorted(f"{s.name!r} in {_show_interval(s.bounds)}" for s in symbols)
            raise DimError(f"one expression uses two symbols of one name with different bounds: {', '.join(names)}")
        if size > MAX_SIZE or depth > MAX_DEPTH:
            raise DimError(f"dimension expression too large: at most {MAX_SIZE} leaves and {MAX_DEPTH} levels")
        self._symbols = symbols
        self._depth = depth
        self._size = size
        self._hash = hash((type(self).__name__, *key))
        self._text: str | None = None
        self._bounds: tuple[int | None, int | None] | None = None

    @property
    def symbols(self) -> frozenset[Symbol]:
        """The symbols that occur in the expression."""
        return self._symbols

    @property
    def bounds(self) -> tuple[int | None, int | None]:
        """Inclusive (lower, upper) that hold for every admissible value of the symbols; None is unbounded."""
        if self._bounds is None:
            low, high = self._interval()
            self._bounds = (
                None if isinstance(low, float) else low,
                None if isinstance(high, float) else high,
            )
        return self._bounds

    def evaluate(self, env: Mapping[str, int]) -> int:
        """The exact value for the symbols' values in ``env``.

        Raises:
            UnboundSymbolError: ``env`` lacks a symbol (it is a ``DimError`` and a ``KeyError``).
            DimError: A value is outside its symbol's bounds, or a divisor is zero.
        """
        raise NotImplementedError

    def substitute(self, env: Mapping[str, Dim]) -> Dim:
        """The expression with the symbols named in ``env`` replaced; the others stay.

        Raises:
            DimError: A replacement is certainly outside its symbol's bounds, or makes a divisor zero.
        """
        raise NotImplementedError

    def _interval(self) -> intervals.Interval:
        raise NotImplementedError

    def _same(self, other: DimExpr) -> bool:
        raise NotImplementedError

    def _write(self, declared: set[str]) -> str:
        """The text, with the bounds of each symbol that is not yet in ``declared`` behind its name."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, DimExpr):
            return NotImplemented if algebra.coerce(other) is None else False
        return type(self) is type(other) and self._hash == other._hash and self._same(other)

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        if self._text is None:
            self._text = self._write(set())
        return self._text

    __repr__ = __str__

    def __reduce__(self) -> tuple[object, ...]:
        return text.parse_dim, (str(self),)

    def __add__(self, other: Dim) -> Dim:
        b = algebra.coerce(other)
        return NotImplemented if b is None else algebra.add_up((self, b))

    __radd__ = __add__

    def __sub__(self, other: Dim) -> Dim:
        b = algebra.coerce(other)
        return NotImplemented if b is None else algebra.add_up((self, -b))

    def __rsub__(self, other: Dim) -> Dim:
        b = algebra.coerce(other)
        return NotImplemented if b is None else algebra.add_up((-self, b))

    def __mul__(self, other: Dim) -> Dim:
        b = algebra.coerce(other)
        return (
            NotImplemented
            if b is None
            else algebra.from_terms(algebra.multiply(algebra.terms_of(self), algebra.terms_of(b)))
        )

    __rmul__ = __mul__

    def __neg__(self) -> Dim:
        return algebra.from_terms({m: -c for m, c in algebra.terms_of(self).items()})

    def __pos__(self) -> Dim:
        return self

    def __floordiv__(self, other: Dim) -> Dim:
        b = algebra.coerce(other)
        return NotImplemented if b is None else algebra.floor_div(self, b)

    def __rfloordiv__(self, other: Dim) -> Dim:
        b = algebra.coerce(other)
        return NotImplemented if b is None else algebra.floor_div(b, self)

    def __mod__(self, other: Dim) -> Dim:
        b = algebra.coerce(other)
        return NotImplemented if b is None else algebra.mod(self, b)

    def __rmod__(self, other: Dim) -> Dim:
        b = algebra.coerce(other)
        return NotImplemented if b is None else algebra.mod(b, self)

    def __lt__(self, other: Dim) -> bool:
        b = algebra.coerce(other)
        return (
            NotImplemented
            if b is None
            else _decide(algebra.always_lt(self, b), algebra.always_le(b, self), self, "<", b)
        )

    def __le__(self, other: Dim) -> bool:
        b = algebra.coerce(other)
        return (
            NotImplemented
            if b is None
            else _decide(algebra.always_le(self, b), algebra.always_lt(b, self), self, "<=", b)
        )

    def __gt__(self, other: Dim) -> bool:
        b = algebra.coerce(other)
        return (
            NotImplemented
            if b is None
            else _decide(algebra.always_lt(b, self), algebra.always_le(self, b), self, ">", b)
        )

    def __ge__(self, other: Dim) -> bool:
        b = algebra.coerce(other)
        return (
            NotImplemented
            if b is None
            else _decide(algebra.always_le(b, self), algebra.always_lt(self, b), self, ">=", b)
        )

    def __bool__(self) -> bool:
        raise DimError(f"the truth of the unknown dimension {self} is not known; compare it with never_equal(d, 0)")

    def __index__(self) -> int:
        raise DimError(f"the dimension {self} is not a known integer; give its symbols values with evaluate()")

    __int__ = __index__


Dim: TypeAlias = int | DimExpr
Shape: TypeAlias = tuple[Dim, ...]


class Symbol(DimExpr):
    """A named unknown integer with inclusive bounds. Its identity is its name and its bounds together."""

    __slots__ = ("_lower", "_name", "_upper")

    def __init__(self, name: str, lower: int = 0, upper: int | None = None) -> None:
        lower = operator.index(lower)
        upper = None if upper is None else operator.index(upper)
        if not NAME.fullmatch(name) or name in FUNCTIONS:
            raise DimError(f"{name!r} cannot name a dimension: expected an identifier of at most {MAX_NAME} characters")
        if upper is not None and upper < lower:
            raise DimError(f"dimension {name!r} has lower bound {lower} above its upper bound {upper}")
        self._name = name
        self._lower = lower
        self._upper = upper
        algebra.check_coefficient(lower)
        algebra.check_coefficient(upper or 0)
        super().__init__((name, lower, upper), (), depth=0, size=1)
        self._symbols = frozenset((self,))
        used_names.add(name)

    @property
    def name(self) -> str:
        """The name under which ``evaluate`` and ``substitute`` look the value up."""
        return self._name

    @property
    def lower(self) -> int:
        """The least value, inclusive."""
        return self._lower

    @property
    def upper(self) -> int | None:
        """The greatest value, inclusive, or None."""
        return self._upper

    def evaluate(self, env: Mapping[str, int]) -> int:
        if self._name not in env:
            raise UnboundSymbolError(f"no value is given for dimension {self._name!r}")
        value = operator.index(env[self._name])
        self._check(value)
        return value

    def substitute(self, env: Mapping[str, Dim]) -> Dim:
        if self._name not in env:
            return self
        value = algebra.as_dim(env[self._name])
        self._check(value)
        return value

    def _check(self, value: Dim) -> None:
        """Refuse what is certainly out of bounds: simplifications relied on the bounds, so results would be wrong."""
        low, high = algebra.bounds(value)
        if (high is not None and high < self._lower) or (
            low is not None and self._upper is not None and low > self._upper
        ):
            raise DimError(
                f"the value {value} is outside the bounds of dimension {self._name!r}",
                expected=f"a value in {_show_interval(self.bounds)}",
                actual=value,
            )

    def _interval(self) -> intervals.Interval:
        return self._lower, (math.inf if self._upper is None else self._upper)

    def _same(self, other: DimExpr) -> bool:
        return isinstance(other, Symbol) and (self._name, *self.bounds) == (other._name, *other.bounds)

    def _write(self, declared: set[str]) -> str:
        if self._name in declared or (self._lower == 0 and self._upper is None):
            return self._name
        declared.add(self._name)
        return f"{self._name}{{{self._lower}..{'' if self._upper is None else self._upper}}}"


class Polynomial(DimExpr):
    """A sum of coefficient × product of powers of atoms, none of whose simpler representations applies."""

    __slots__ = ("_terms",)

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self._terms = terms
        atoms = [atom for monomial, _ in terms for atom, power in monomial for _ in range(power)]
        super().__init__(terms, atoms, depth=0, size=len(terms))

    @property
    def terms(self) -> tuple[tuple[Monomial, int], ...]:
        """Pairs of a monomial, as (atom, power) pairs, and its nonzero coefficient; the constant term has no atoms."""
        return self._terms

    def evaluate(self, env: Mapping[str, int]) -> int:
        values = {atom: atom.evaluate(env) for monomial, _ in self._terms for atom, _ in monomial}
        return sum(c * math.prod(values[atom] ** power for atom, power in m) for m, c in self._terms)

    def substitute(self, env: Mapping[str, Dim]) -> Dim:
        values = {atom: atom.substitute(env) for monomial, _ in self._terms for atom, _ in monomial}
        return algebra.add_up(
            c * algebra.product(values[atom] for atom, power in m for _ in range(power)) for m, c in self._terms
        )

    def _interval(self) -> intervals.Interval:
        terms = dict(self._terms)
        return intervals.lower_bound(terms, 1, [intervals.RELAXATIONS]), -intervals.lower_bound(
            algebra.scaled(terms, -1), 1, [intervals.RELAXATIONS]
        )

    def _same(self, other: DimExpr) -> bool:
        return isinstance(other, Polynomial) and self._terms == other._terms

    def _write(self, declared: set[str]) -> str:
        text = ""
        for monomial, c in self._terms:
            factors = [atom for atom, power in monomial for _ in range(power)]
            alone = c == 1 and len(factors) == 1
            words = [] if abs(c) == 1 and factors else [str(abs(c))]
            words += [operand(f, declared) if not alone else f._write(declared) for f in factors]
            text += ("-" if c < 0 else "+" if text else "") + "*".join(words)
        return text


class FloorDiv(DimExpr):
    """``numerator // denominator``, rounded towards minus infinity."""

    __slots__ = ("_denominator", "_numerator")

    def __init__(self, numerator: Dim, denominator: Dim) -> None:
        self._numerator = numerator
        self._denominator = denominator
        super().__init__((numerator, denominator), (numerator, denominator), depth=1, size=1)

    @property
    def numerator(self) -> Dim:
        """What is divided."""
        return self._numerator

    @property
    def denominator(self) -> Dim:
        """What it is divided by."""
        return self._denominator

    def evaluate(self, env: Mapping[str, int]) -> int:
        divisor = _evaluate(self._denominator, env)
        if divisor == 0:
            raise DimError(f"division by zero: the divisor of {self} is 0", hint="give its symbols other values")
        return _evaluate(self._numerator, env) // divisor

    def substitute(self, env: Mapping[str, Dim]) -> Dim:
        return algebra.floor_div(_substitute(self._numerator, env), _substitute(self._denominator, env))

    def _interval(self) -> intervals.Interval:
        return intervals.interval_floor_div(
            intervals.interval_of(self._numerator), intervals.interval_of(self._denominator)
        )

    def _same(self, other: DimExpr) -> bool:
        return (
            isinstance(other, FloorDiv)
            and self._numerator == other._numerator
            and self._denominator == other._denominator
        )

    def _write(self, declared: set[str]) -> str:
        return f"{operand(self._numerator, declared)}//{operand(self._denominator, declared)}"


class Extremum(DimExpr):
    """What ``Min`` and ``Max`` share: at least two operands in order, none of which another one always beats."""

    __slots__ = ("_args",)

    def __init__(self, args: tuple[Dim, ...]) -> None:
        self._args = args
        super().__init__(args, args, depth=1, size=sum(isinstance(a, int) for a in args))

    @property
    def args(self) -> tuple[Dim, ...]:
        """The operands."""
        return self._args

    def evaluate(self, env: Mapping[str, int]) -> int:
        values = [_evaluate(a, env) for a in self._args]
        return min(values) if isinstance(self, Min) else max(values)

    def substitute(self, env: Mapping[str, Dim]) -> Dim:
        return algebra.extremum(Min if isinstance(self, Min) else Max, [_substitute(a, env) for a in self._args])

    def _interval(self) -> intervals.Interval:
        lows, highs = zip(*map(intervals.interval_of, self._args), strict=True)
        choose = min if isinstance(self, Min) else max
        return choose(lows), choose(highs)

    def _same(self, other: DimExpr) -> bool:
        return isinstance(other, Extremum) and self._args == other._args

    def _write(self, declared: set[str]) -> str:
        args = ",".join(a._write(declared) if isinstance(a, DimExpr) else str(a) for a in self._args)
        return f"{type(self).__name__.lower()}({args})"


class Min(Extremum):
    """The least of its operands."""

    __slots__ = ()


class Max(Extremum):
    """The greatest of its operands."""

    __slots__ = ()


FUNCTIONS: Final[dict[str, type[Min] | type[Max]]] = {"min": Min, "max": Max}


def _evaluate(d: Dim, env: Mapping[str, int]) -> int:
    return d.evaluate(env) if isinstance(d, DimExpr) else d


def _substitute(d: Dim, env: Mapping[str, Dim]) -> Dim:
    return d.substitute(env) if isinstance(d, DimExpr) else d


def operand(d: Dim, declared: set[str]) -> str:
    """The text of an operand of ``*`` or ``//``."""
    if isinstance(d, int):
        return str(d) if d >= 0 else f"({d})"
    text = d._write(declared)
    return f"({text})" if isinstance(d, Polynomial | FloorDiv) else text


def _show_interval(interval: tuple[int | None, int | None]) -> str:
    low, high = interval
    return f"{'' if low is None else low}..{'' if high is None else high}"


def _decide(yes: bool, no: bool, a: Dim, relation: str, b: Dim) -> bool:
    if yes or no:
        return yes
    raise DimError(
        f"whether {a} {relation} {b} depends on unknown dimensions",
        hint="ask always_le or always_lt, or take minimum or maximum",
    )


# Expressions and their algebra need each other. By now the classes that those modules import exist, and each module
# here reaches into the algebra only when it is called, so any of them may be imported first.
from gristmill.ir import dim_algebra as algebra  # noqa: E402
from gristmill.ir import dim_intervals as intervals  # noqa: E402
from gristmill.ir import dim_text as text  # noqa: E402
