"""Dimensions: exact integer expressions over named, bounded symbols.

A dimension (``Dim``) is a Python ``int`` or a ``DimExpr``. Every ``DimExpr`` is kept in one canonical form, an
integer polynomial whose variables are *atoms*: a ``Symbol``, a ``FloorDiv``, a ``Min`` or a ``Max``. An expression
that is itself one atom is represented by that atom, anything else by a ``Polynomial``. Arithmetic
simplifies as it builds, so ``==`` and ``hash`` are structural, and a result that is constant is a plain ``int``.

What the canonical form promises: wherever the expression as written has a value (no division by zero) and every symbol
is within its bounds, the canonical form has that value. Two different forms may still be equal as functions;
``always_equal`` and ``never_equal`` decide more than ``==`` does, and "neither" means that it is not known.

Division is floor division and ``%`` its remainder, as Python defines them, for negative values too.

Expressions come from files that nobody has vetted, so their size is limited (``MAX_*`` below): what would exceed a
limit raises ``DimError`` at once, which keeps time and memory bounded.
"""

from __future__ import annotations

import math
import operator
import re
import threading
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from gristmill.errors import DimError

__all__ = [
    "Dim",
    "DimExpr",
    "FloorDiv",
    "Max",
    "Min",
    "Polynomial",
    "Shape",
    "Symbol",
    "UnboundSymbolError",
    "always_equal",
    "always_le",
    "always_lt",
    "bounds",
    "broadcast",
    "ceil_div",
    "floor_div",
    "fresh",
    "is_static",
    "maximum",
    "minimum",
    "mod",
    "never_equal",
    "parse_dim",
    "product",
    "symbol",
]

MAX_TERMS: Final = 256  # terms of one polynomial
MAX_DEGREE: Final = 64  # factors in one term
MAX_COEFFICIENT_BITS: Final = 1024
MAX_SIZE: Final = 1024  # leaves of the expression written out as a tree
MAX_DEPTH: Final = 32  # divisions, minima and maxima inside one another; keeps recursion far from Python's limit
MAX_OPERANDS: Final = 64  # of one minimum or maximum
MAX_NAME: Final = 64  # characters in a symbol's name
MAX_TEXT: Final = 1 << 15  # characters that parse_dim reads
MAX_NESTING: Final = 100  # parentheses inside one another in the text
_RELAXATIONS: Final = 64  # substitutions tried for one bound; fewer only makes bounds looser

_INF: Final = math.inf

Monomial: TypeAlias = "tuple[tuple[DimExpr, int], ...]"  # (atom, power) pairs in order; () is the constant term
Terms: TypeAlias = "dict[Monomial, int]"
_Interval: TypeAlias = "tuple[int | float, int | float]"  # exact ints, or -inf below and +inf above


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

    def _interval(self) -> _Interval:
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
            return NotImplemented if _coerce(other) is None else False
        return type(self) is type(other) and self._hash == other._hash and self._same(other)

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        if self._text is None:
            self._text = self._write(set())
        return self._text

    __repr__ = __str__

    def __reduce__(self) -> tuple[object, ...]:
        return parse_dim, (str(self),)

    def __add__(self, other: Dim) -> Dim:
        b = _coerce(other)
        return NotImplemented if b is None else _sum((self, b))

    __radd__ = __add__

    def __sub__(self, other: Dim) -> Dim:
        b = _coerce(other)
        return NotImplemented if b is None else _sum((self, -b))

    def __rsub__(self, other: Dim) -> Dim:
        b = _coerce(other)
        return NotImplemented if b is None else _sum((-self, b))

    def __mul__(self, other: Dim) -> Dim:
        b = _coerce(other)
        return NotImplemented if b is None else _from_terms(_multiply(_terms(self), _terms(b)))

    __rmul__ = __mul__

    def __neg__(self) -> Dim:
        return _from_terms({m: -c for m, c in _terms(self).items()})

    def __pos__(self) -> Dim:
        return self

    def __floordiv__(self, other: Dim) -> Dim:
        b = _coerce(other)
        return NotImplemented if b is None else floor_div(self, b)

    def __rfloordiv__(self, other: Dim) -> Dim:
        b = _coerce(other)
        return NotImplemented if b is None else floor_div(b, self)

    def __mod__(self, other: Dim) -> Dim:
        b = _coerce(other)
        return NotImplemented if b is None else mod(self, b)

    def __rmod__(self, other: Dim) -> Dim:
        b = _coerce(other)
        return NotImplemented if b is None else mod(b, self)

    def __lt__(self, other: Dim) -> bool:
        b = _coerce(other)
        return NotImplemented if b is None else _decide(always_lt(self, b), always_le(b, self), self, "<", b)

    def __le__(self, other: Dim) -> bool:
        b = _coerce(other)
        return NotImplemented if b is None else _decide(always_le(self, b), always_lt(b, self), self, "<=", b)

    def __gt__(self, other: Dim) -> bool:
        b = _coerce(other)
        return NotImplemented if b is None else _decide(always_lt(b, self), always_le(self, b), self, ">", b)

    def __ge__(self, other: Dim) -> bool:
        b = _coerce(other)
        return NotImplemented if b is None else _decide(always_le(b, self), always_lt(self, b), self, ">=", b)

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
        if not _NAME.fullmatch(name) or name in _FUNCTIONS:
            raise DimError(f"{name!r} cannot name a dimension: expected an identifier of at most {MAX_NAME} characters")
        if upper is not None and upper < lower:
            raise DimError(f"dimension {name!r} has lower bound {lower} above its upper bound {upper}")
        self._name = name
        self._lower = lower
        self._upper = upper
        _check_coefficient(lower)
        _check_coefficient(upper or 0)
        super().__init__((name, lower, upper), (), depth=0, size=1)
        self._symbols = frozenset((self,))
        _used_names.add(name)

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
        value = _dim(env[self._name])
        self._check(value)
        return value

    def _check(self, value: Dim) -> None:
        """Refuse what is certainly out of bounds: simplifications relied on the bounds, so results would be wrong."""
        low, high = bounds(value)
        if (high is not None and high < self._lower) or (
            low is not None and self._upper is not None and low > self._upper
        ):
            raise DimError(
                f"the value {value} is outside the bounds of dimension {self._name!r}",
                expected=f"a value in {_show_interval(self.bounds)}",
                actual=value,
            )

    def _interval(self) -> _Interval:
        return self._lower, (_INF if self._upper is None else self._upper)

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
        atoms = [atom for monomial, _ in terms for atom, _ in monomial]
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
        return _sum(c * product(values[atom] for atom, power in m for _ in range(power)) for m, c in self._terms)

    def _interval(self) -> _Interval:
        terms = dict(self._terms)
        return _lower_bound(terms, 1, [_RELAXATIONS]), -_lower_bound(_scaled(terms, -1), 1, [_RELAXATIONS])

    def _same(self, other: DimExpr) -> bool:
        return isinstance(other, Polynomial) and self._terms == other._terms

    def _write(self, declared: set[str]) -> str:
        text = ""
        for monomial, c in self._terms:
            factors = [atom for atom, power in monomial for _ in range(power)]
            alone = c == 1 and len(factors) == 1
            words = [] if abs(c) == 1 and factors else [str(abs(c))]
            words += [_operand(f, declared) if not alone else f._write(declared) for f in factors]
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
        return floor_div(_substitute(self._numerator, env), _substitute(self._denominator, env))

    def _interval(self) -> _Interval:
        return _interval_floor_div(_interval_of(self._numerator), _interval_of(self._denominator))

    def _same(self, other: DimExpr) -> bool:
        return (
            isinstance(other, FloorDiv)
            and self._numerator == other._numerator
            and self._denominator == other._denominator
        )

    def _write(self, declared: set[str]) -> str:
        return f"{_operand(self._numerator, declared)}//{_operand(self._denominator, declared)}"


class _Extremum(DimExpr):
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
        return _extremum(Min if isinstance(self, Min) else Max, [_substitute(a, env) for a in self._args])

    def _interval(self) -> _Interval:
        lows, highs = zip(*map(_interval_of, self._args), strict=True)
        choose = min if isinstance(self, Min) else max
        return choose(lows), choose(highs)

    def _same(self, other: DimExpr) -> bool:
        return isinstance(other, _Extremum) and self._args == other._args

    def _write(self, declared: set[str]) -> str:
        args = ",".join(a._write(declared) if isinstance(a, DimExpr) else str(a) for a in self._args)
        return f"{type(self).__name__.lower()}({args})"


class Min(_Extremum):
    """The least of its operands."""

    __slots__ = ()


class Max(_Extremum):
    """The greatest of its operands."""

    __slots__ = ()


# --- making dimensions -----------------------------------------------------------------------------------------------

_FUNCTIONS: Final[dict[str, type[Min] | type[Max]]] = {"min": Min, "max": Max}
_NAME: Final = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{MAX_NAME - 1}}}")
_used_names: Final[set[str]] = set()
_fresh_counts: Final[dict[str, int]] = {}
_fresh_lock: Final = threading.Lock()


def symbol(name: str, lower: int = 0, upper: int | None = None) -> Symbol:
    """An unknown dimension with inclusive bounds; ``upper`` None leaves it unbounded above.

    Raises:
        DimError: The name is not an identifier, or the bounds are empty.
    """
    return Symbol(name, lower, upper)


def fresh(prefix: str = "d", lower: int = 0, upper: int | None = None) -> Symbol:
    """A symbol whose name, the prefix and a number, no symbol of this process has had before."""
    with _fresh_lock:
        count = _fresh_counts.get(prefix, 0)
        while f"{prefix}{count}" in _used_names:
            count += 1
        _fresh_counts[prefix] = count + 1
    return Symbol(f"{prefix}{count}", lower, upper)


def floor_div(a: Dim, b: Dim) -> Dim:
    """``a // b`` rounded towards minus infinity, as Python does.

    A divisor that may be zero is kept as it is and refused when it evaluates to zero; nothing is cancelled against it.

    Raises:
        DimError: ``b`` is the constant 0.
    """
    a, b = _dim(a), _dim(b)
    if b == 0:
        raise DimError(f"division by zero: {a}//0")
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if _leading_sign(b) < 0:
        a, b = -a, -b
    return _floor_div_constant(a, b) if isinstance(b, int) else _floor_div_symbolic(a, b)


def ceil_div(a: Dim, b: Dim) -> Dim:
    """``a / b`` rounded towards plus infinity.

    Raises:
        DimError: ``b`` is the constant 0.
    """
    a, b = _dim(a), _dim(b)
    return floor_div(a + b - 1, b) if always_lt(0, b) else -floor_div(-a, b)


def mod(a: Dim, b: Dim) -> Dim:
    """``a - b * (a // b)``: the remainder with the sign of ``b``, as Python's ``%``.

    Raises:
        DimError: ``b`` is the constant 0.
    """
    a, b = _dim(a), _dim(b)
    return a - b * floor_div(a, b)


def minimum(first: Dim, *others: Dim) -> Dim:
    """The least of the dimensions."""
    return _extremum(Min, [first, *others])


def maximum(first: Dim, *others: Dim) -> Dim:
    """The greatest of the dimensions."""
    return _extremum(Max, [first, *others])


def product(dims: Iterable[Dim]) -> Dim:
    """The product, 1 when there are none: the number of elements of a shape."""
    return math.prod(map(_dim, dims), start=1)


def is_static(shape: Iterable[Dim]) -> bool:
    """Whether every dimension is a known integer."""
    return not any(isinstance(d, DimExpr) for d in shape)


def bounds(d: Dim) -> tuple[int | None, int | None]:
    """Inclusive (lower, upper) of a dimension; None is unbounded."""
    d = _dim(d)
    return d.bounds if isinstance(d, DimExpr) else (d, d)


def always_equal(a: Dim, b: Dim) -> bool:
    """Whether the dimensions are certainly equal; False if they differ or if that is not known."""
    a, b = _dim(a), _dim(b)
    return a == b or bounds(a - b) == (0, 0)


def never_equal(a: Dim, b: Dim) -> bool:
    """Whether the dimensions certainly differ; False if they are equal or if that is not known."""
    difference = _terms(_dim(a) - _dim(b))
    constant = difference.pop((), 0)
    step = math.gcd(*difference.values())
    if constant % step if step else constant:
        return True  # such as 2*n and an odd number
    return always_lt(a, b) or always_lt(b, a)


def always_le(a: Dim, b: Dim) -> bool:
    """Whether ``a <= b`` certainly holds; False if it does not or if that is not known."""
    low = bounds(_dim(b) - _dim(a))[0]
    return low is not None and low >= 0


def always_lt(a: Dim, b: Dim) -> bool:
    """Whether ``a < b`` certainly holds; False if it does not or if that is not known."""
    low = bounds(_dim(b) - _dim(a))[0]
    return low is not None and low > 0


def broadcast(a: Dim, b: Dim) -> Dim | None:
    """The dimension that NumPy's broadcasting makes of two, or None when they certainly do not broadcast.

    Where legality depends on unknown values, it is assumed: the program is valid, and the run checks.
    So a dimension that cannot be 1 is the result, whatever the unknown other one is. If both may be 1, the result is
    ``max(a, b) * min(a, b, 1)``, which is exact in each legal case, empty dimensions included, and is just
    ``max(a, b)`` when neither can be empty. (coremltools picks one of the two, which is wrong when that one is 1.)
    """
    a, b = _dim(a), _dim(b)
    if always_equal(a, b):
        return a if isinstance(a, int) else b
    if a == 1 or b == 1:
        return b if a == 1 else a
    a_fixed, b_fixed = never_equal(a, 1), never_equal(b, 1)
    if a_fixed and b_fixed and never_equal(a, b):
        return None
    if a_fixed and b_fixed:  # both are the result; the more definite says more
        return b if isinstance(b, int) else a
    if a_fixed or b_fixed:
        return a if a_fixed else b
    return maximum(a, b) * minimum(a, b, 1)


# --- canonical form --------------------------------------------------------------------------------------------------


def _dim(value: object) -> Dim:
    d = _coerce(value)
    if d is None:
        raise DimError(
            f"{value!r} is not a dimension",
            expected="an int or a dimension expression",
            actual=type(value).__name__,
        )
    return d


def _coerce(value: object) -> Dim | None:
    """The value as a dimension, NumPy integers included, or None when it is something else."""
    if isinstance(value, DimExpr) or type(value) is int:
        return value
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def _terms(d: Dim) -> Terms:
    if isinstance(d, Polynomial):
        return dict(d._terms)
    if isinstance(d, DimExpr):
        return {((d, 1),): 1}
    return {(): d} if d else {}


def _from_terms(terms: Terms) -> Dim:
    terms = {m: c for m, c in terms.items() if c}
    if not terms:
        return 0
    if len(terms) > MAX_TERMS:
        raise DimError(f"dimension expression too large: it has more than {MAX_TERMS} terms")
    for c in terms.values():
        _check_coefficient(c)
    if len(terms) == 1:
        ((monomial, c),) = terms.items()
        if not monomial:
            return c
        if c == 1 and len(monomial) == 1 and monomial[0][1] == 1:
            return monomial[0][0]
    return Polynomial(tuple(sorted(terms.items(), key=lambda term: _monomial_order(term[0]))))


def _check_coefficient(c: int) -> None:
    if c.bit_length() > MAX_COEFFICIENT_BITS:
        raise DimError(f"dimension expression too large: a number has more than {MAX_COEFFICIENT_BITS} bits")


def _atom_order(atom: DimExpr) -> tuple[bool, str]:
    return not isinstance(atom, Symbol), str(atom)


def _monomial_order(monomial: Monomial) -> tuple[int, list[tuple[bool, str, int]]]:
    return -sum(p for _, p in monomial), [(*_atom_order(atom), -p) for atom, p in monomial]


def _sum(dims: Iterable[Dim]) -> Dim:
    total: Terms = {}
    for d in dims:
        for monomial, c in _terms(d).items():
            total[monomial] = total.get(monomial, 0) + c
    return _from_terms(total)


def _multiply(a: Terms, b: Terms) -> Terms:
    result: Terms = {}
    for m, c in a.items():
        for n, d in b.items():
            monomial = _multiply_monomials(m, n)
            result[monomial] = result.get(monomial, 0) + c * d
        if len(result) > 2 * MAX_TERMS:
            raise DimError(f"dimension expression too large: it has more than {MAX_TERMS} terms")
    return result


def _scaled(terms: Terms, factor: int) -> Terms:
    return {m: c * factor for m, c in terms.items()}


def _multiply_monomials(m: Monomial, n: Monomial) -> Monomial:
    if not m or not n:
        return m or n
    powers = dict(m)
    for atom, power in n:
        powers[atom] = powers.get(atom, 0) + power
    if sum(powers.values()) > MAX_DEGREE:
        raise DimError(f"dimension expression too large: more than {MAX_DEGREE} factors in one product")
    return tuple(sorted(powers.items(), key=lambda item: _atom_order(item[0])))


def _divide_monomials(m: Monomial, n: Monomial) -> Monomial | None:
    """``m / n``, or None when ``n`` does not divide ``m``."""
    powers = dict(m)
    for atom, power in n:
        powers[atom] = powers.get(atom, 0) - power
    return None if any(p < 0 for p in powers.values()) else tuple((a, p) for a, p in powers.items() if p)


def _leading_sign(d: Dim) -> int:
    """The sign of an int, or of the first coefficient of an expression."""
    lead = d._terms[0][1] if isinstance(d, Polynomial) else d if isinstance(d, int) else 1
    return -1 if lead < 0 else 1


def _split(terms: Terms, monomial: Monomial, coefficient: int) -> tuple[Terms, Terms]:
    """(whole, rest) with terms = coefficient * monomial * whole + rest; rest's coefficients keep their signs."""
    whole: Terms = {}
    rest: Terms = {}
    for m, c in terms.items():
        quotient = _divide_monomials(m, monomial)
        times = 0 if quotient is None else (abs(c) // coefficient) * (1 if c > 0 else -1)
        if quotient is not None and times:
            whole[quotient] = times
        rest[m] = c - coefficient * times
    return whole, {m: c for m, c in rest.items() if c}


def _floor_div_constant(a: Dim, b: int) -> Dim:
    """``a // b`` for ``b`` > 0, by identities that hold for all integers."""
    # (b*w + r)//b = w + r//b
    whole, rest = _split(_terms(a), (), b)
    sign = 1
    if _leading_sign(_from_terms({m: c for m, c in rest.items() if m})) < 0:
        # r//b = -((b-1 - r)//b): one form for roundings up and down
        sign, rest = -1, _scaled(rest, -1)
        rest[()] = rest.get((), 0) + b - 1
    carry, constant = divmod(rest.pop((), 0), b)
    outside = _sum((_from_terms(whole), sign * carry))
    # (g*x + c)//(g*b) = (x + c//g)//b
    common = math.gcd(b, *rest.values())
    rest = {m: c // common for m, c in rest.items()}
    b //= common
    constant //= common
    numerator = _sum((_from_terms(rest), constant))
    if b == 1:
        quotient = numerator
    elif (merged := _merged_division(rest, constant)) is not None:
        quotient = floor_div(merged[0], merged[1] * b)
    else:
        quotient = _floor_div_node(numerator, b)
    return outside + sign * quotient


def _merged_division(terms: Terms, constant: int) -> tuple[Dim, Dim] | None:
    """(x, d) with terms + constant == x//d, where the terms hold one division that can take in the others."""
    inner = [(m[0][0], c) for m, c in terms.items() if len(m) == 1 and m[0][1] == 1 and isinstance(m[0][0], FloorDiv)]
    if len(inner) != 1 or abs(inner[0][1]) != 1:
        return None
    atom, sign = inner[0]
    d = atom.denominator
    others = _sum((_from_terms({m: c for m, c in terms.items() if m != ((atom, 1),)}), constant))
    if isinstance(d, DimExpr) and (sign < 0 or isinstance(others, DimExpr) or not _nonzero(d)):
        return None
    if sign > 0:  # x//d + y = (x + y*d)//d
        return atom.numerator + others * d, d
    return others * d - atom.numerator + d - 1, d  # y - x//d = -((x - y*d)//d), rounded up


def _floor_div_symbolic(a: Dim, b: DimExpr) -> Dim:
    """``a // b`` for an expression ``b``; what is cancelled against it must be certainly nonzero."""
    top, bottom = _terms(a), _terms(b)
    common = math.gcd(*top.values(), *bottom.values())
    top, bottom = ({m: c // common for m, c in t.items()} for t in (top, bottom))
    if not _nonzero(b):
        return FloorDiv(_from_terms(top), _from_terms(bottom))
    if not top:
        return 0
    shared = _shared_factor([*top, *bottom])
    if shared:
        top, bottom = _cancelled(top, shared), _cancelled(bottom, shared)
        return floor_div(_from_terms(top), _from_terms(bottom))
    a, divisor = _from_terms(top), _from_terms(bottom)
    if len(bottom) == 1:
        ((monomial, coefficient),) = bottom.items()
        whole, rest = _split(top, monomial, coefficient)
        if whole:
            return _from_terms(whole) + floor_div(_from_terms(rest), divisor)
    else:
        quotient = _divide_exactly(top, bottom)
        if quotient is not None:
            return _from_terms(quotient)
    if isinstance(a, FloorDiv) and _nonzero(a.denominator) and always_lt(0, divisor):
        return floor_div(a.numerator, a.denominator * divisor)
    if always_le(0, a) and always_lt(a, divisor):
        return 0
    return _floor_div_node(a, divisor)


def _floor_div_node(numerator: Dim, divisor: Dim) -> Dim:
    """The quotient as an atom, or its value where the bounds leave one; the divisor is nonzero."""
    node = FloorDiv(numerator, divisor)
    low, high = node.bounds
    return low if low is not None and low == high else node


def _nonzero(d: Dim) -> bool:
    low, high = bounds(d)
    return (low is not None and low > 0) or (high is not None and high < 0)


def _shared_factor(monomials: list[Monomial]) -> Monomial:
    """The greatest monomial that divides all of them."""
    first, *others = map(dict, monomials)
    powers = ((atom, min([power, *(o.get(atom, 0) for o in others)])) for atom, power in first.items())
    return tuple((atom, power) for atom, power in powers if power)


def _cancelled(terms: Terms, factor: Monomial) -> Terms:
    quotients = ((_divide_monomials(m, factor), c) for m, c in terms.items())
    return {m: c for m, c in quotients if m is not None}


def _divide_exactly(a: Terms, b: Terms) -> Terms | None:
    """The polynomial ``a / b``, or None where that is none: long division in graded lexicographic order."""
    atoms = sorted({atom for m in (*a, *b) for atom, _ in m}, key=_atom_order)

    def rank(m: Monomial) -> tuple[int, list[int]]:
        powers = dict(m)
        return sum(powers.values()), [powers.get(atom, 0) for atom in atoms]

    lead = max(b, key=rank)
    quotient: Terms = {}
    while a:
        top = max(a, key=rank)
        monomial = _divide_monomials(top, lead)
        times, remainder = divmod(a[top], b[lead])
        if monomial is None or remainder or len(quotient) == MAX_TERMS:
            return None
        quotient[monomial] = times
        a = _added(a, _multiply(b, {monomial: -times}))
    return quotient


def _added(a: Terms, b: Terms) -> Terms:
    total = dict(a)
    for m, c in b.items():
        total[m] = total.get(m, 0) + c
    return {m: c for m, c in total.items() if c}


def _extremum(kind: type[Min] | type[Max], operands: Iterable[Dim]) -> Dim:
    flat: dict[Dim, None] = {}
    for d in map(_dim, operands):
        flat.update(dict.fromkeys(d.args if isinstance(d, kind) else (d,)))
    if len(flat) > MAX_OPERANDS:
        raise DimError(f"dimension expression too large: more than {MAX_OPERANDS} operands of one minimum or maximum")

    def beats(a: Dim, b: Dim) -> bool:
        return always_le(a, b) if kind is Min else always_le(b, a)

    kept: list[Dim] = []
    for d in sorted(flat, key=lambda d: (isinstance(d, int), str(d))):
        if not any(beats(k, d) for k in kept):
            kept = [k for k in kept if not beats(d, k)] + [d]
    return kept[0] if len(kept) == 1 else kind(tuple(kept))


def _evaluate(d: Dim, env: Mapping[str, int]) -> int:
    return d.evaluate(env) if isinstance(d, DimExpr) else d


def _substitute(d: Dim, env: Mapping[str, Dim]) -> Dim:
    return d.substitute(env) if isinstance(d, DimExpr) else d


def _decide(yes: bool, no: bool, a: Dim, relation: str, b: Dim) -> bool:
    if yes or no:
        return yes
    raise DimError(
        f"whether {a} {relation} {b} depends on unknown dimensions",
        hint="ask always_le or always_lt, or take minimum or maximum",
    )


# --- bounds ----------------------------------------------------------------------------------------------------------


def _interval_of(d: Dim) -> _Interval:
    low, high = bounds(d)
    return (-_INF if low is None else low), (_INF if high is None else high)


def _show_interval(interval: tuple[int | None, int | None]) -> str:
    low, high = interval
    return f"{'' if low is None else low}..{'' if high is None else high}"


def _lower_bound(terms: Terms, scale: int, budget: list[int]) -> int | float:
    """A lower bound of the integer that is at least terms / scale.

    Plain interval arithmetic forgets that ``n`` and ``n//2`` move together. So it is tried again with a division or
    extremum replaced by what bounds it, such as ``n//2`` by ``n/2``; the best bound counts.
    """
    low: int | float = 0
    for monomial, c in terms.items():
        part: _Interval = (c, c)
        for atom, power in monomial:
            part = _interval_times(part, _interval_power(_interval_of(atom), power))
        low = _plus(low, part[0])
    best = low if isinstance(low, float) else -(-low // scale)
    relaxation = _relaxation(terms) if budget[0] else None
    if relaxation is None:
        return best
    budget[0] -= 1
    alternatives, factor, needs_all = relaxation
    found = [_lower_bound(t, scale * factor, budget) for t in alternatives]
    return max(best, min(found) if needs_all else max(found))


def _relaxation(terms: Terms) -> tuple[list[Terms], int, bool] | None:
    """(alternatives, factor, needs_all): factor * terms is at least each alternative, or only at least their least."""
    found = None
    for monomial, c in terms.items():
        for atom, power in monomial:
            if power == 1 and isinstance(atom, _Extremum) and len(monomial) == 1:
                others = _added(terms, {monomial: -c})
                options = [_added(others, _scaled(_terms(arg), c)) for arg in atom.args]
                if (c > 0) == isinstance(atom, Min):
                    return options, 1, True  # it is one of its operands: each in turn
                if found is None or found[1] > 1:
                    found = options, 1, False  # it is on the right side of every operand
            elif power == 1 and isinstance(atom, FloorDiv) and found is None:
                found = _relaxed_division(terms, monomial, atom)
    return found


def _relaxed_division(terms: Terms, monomial: Monomial, atom: FloorDiv) -> tuple[list[Terms], int, bool] | None:
    """Replace d*(x//d), d > 0 a single term, by the end of [x - d + 1, x] that is lower in the sum."""
    divisor = _terms(atom.denominator)
    low = bounds(atom.denominator)[0]
    if len(divisor) > 1 or low is None or low <= 0:
        return None
    ((variable_part, e),) = divisor.items()
    if _divide_monomials(monomial, ((atom, 1),)) != variable_part:
        return None
    c = terms[monomial]
    end = _terms(atom.numerator)
    if c > 0:
        end = _added(end, {variable_part: -e, (): 1} if variable_part else {(): 1 - e})
    others = _scaled(_added(terms, {monomial: -c}), e)
    return [_added(others, _scaled(end, c))], e, False


def _plus(a: int | float, b: int | float) -> int | float:
    """Add without turning an int into a float: a float here is an infinity, and opposite ones do not meet."""
    return a if isinstance(a, float) else b if isinstance(b, float) else a + b


def _times(a: int | float, b: int | float) -> int | float:
    if a == 0 or b == 0:
        return 0
    if isinstance(a, float) or isinstance(b, float):
        return _INF if (a > 0) == (b > 0) else -_INF
    return a * b


def _interval_times(a: _Interval, b: _Interval) -> _Interval:
    ends = [_times(x, y) for x in a for y in b]
    return min(ends), max(ends)


def _interval_power(a: _Interval, power: int) -> _Interval:
    low, high = a
    if power % 2 == 0 and low < 0:
        return (0 if high >= 0 else high**power), max(low**power, high**power)
    return low**power, high**power


def _interval_floor_div(a: _Interval, b: _Interval) -> _Interval:
    """For a divisor of one sign the quotient is monotone in each argument, so the corners hold the extremes."""
    corners = [
        _corner(sign * x, sign * y)
        for sign, (low, high) in ((1, (max(b[0], 1), b[1])), (-1, (b[0], min(b[1], -1))))
        if low <= high
        for x in a
        for y in (low, high)
    ]
    return (min(corners), max(corners)) if corners else (-_INF, _INF)


def _corner(x: int | float, y: int | float) -> int | float:
    """Give x // y for y > 0, in the limit where they are infinite; a finite y with the same x covers other limits."""
    if isinstance(y, float):
        return 0 if x >= 0 else -1
    return x if isinstance(x, float) else x // y


# --- text ------------------------------------------------------------------------------------------------------------


def _operand(d: Dim, declared: set[str]) -> str:
    if isinstance(d, int):
        return str(d) if d >= 0 else f"({d})"
    text = d._write(declared)
    return f"({text})" if isinstance(d, Polynomial | FloorDiv) else text


def parse_dim(text: str, symbols: Mapping[str, Symbol] | None = None) -> Dim:
    """Read a dimension from the text that ``str`` writes; ``parse_dim(str(d)) == d`` for every dimension.

    Operators are ``+ - * // %`` with Python's precedence, then ``min(a,b)``, ``max(a,b)`` and parentheses. A symbol
    whose bounds are not the default ones carries them where it first occurs: ``n{1..512}*2+n``, ``m{-3..}``.

    Args:
        text: The text.
        symbols: Symbols declared elsewhere, which may then stand without bounds.

    Raises:
        DimError: The text is not a dimension, or is too large.
    """
    return _Parser(text, symbols or {}).parse()


class _Parser:
    """Recursive descent, one method a precedence level."""

    TOKEN: Final = re.compile(r"\s*([0-9]+|[A-Za-z_][A-Za-z0-9_]*|//|\.\.|[-+*%(){},]|$)")

    def __init__(self, text: str, symbols: Mapping[str, Symbol]) -> None:
        if len(text) > MAX_TEXT:
            raise DimError(f"dimension text too long: {len(text)} characters, at most {MAX_TEXT}")
        self.text = text
        self.symbols = dict(symbols)
        self.position = 0  # where the current token ends
        self.nesting = 0
        self.current = ""  # the current token; empty at the end
        self.advance()

    def parse(self) -> Dim:
        result = self.sum()
        if self.current:
            raise self.error("an operator or the end")
        return result

    def error(self, expected: str) -> DimError:
        return DimError(
            f"cannot read {self.text[:200]!r} as a dimension",
            expected=expected,
            actual=f"{self.current or 'the end'!r} before character {self.position + 1}",
        )

    def advance(self) -> str:
        """Move to the next token and return the one left."""
        left = self.current
        match = self.TOKEN.match(self.text, self.position)
        if match is None:
            self.current = self.text[self.position :].strip()[:1]
            raise self.error("a name, a number or an operator")
        self.current, self.position = match[1], match.end()
        return left

    def expect(self, token: str) -> None:
        if self.current != token:
            raise self.error(repr(token))
        self.advance()

    def sum(self) -> Dim:
        terms = [self.product()]
        while self.current in ("+", "-"):
            terms.append(self.product() if self.advance() == "+" else -self.product())
        return _sum(terms)

    def product(self) -> Dim:
        result = self.factor()
        while self.current in ("*", "//", "%"):
            operator_, right = self.advance(), self.factor()
            if operator_ == "*":
                result = result * right
            else:
                result = floor_div(result, right) if operator_ == "//" else mod(result, right)
        return result

    def factor(self) -> Dim:
        negative = False
        while self.current == "-":
            self.advance()
            negative = not negative
        d = self.primary()
        return -d if negative else d

    def primary(self) -> Dim:
        if self.current.isdigit():
            return self.number()
        if self.current == "(":
            return self.nested()[0]
        if not _NAME.fullmatch(self.current):
            raise self.error("a name, a number or '('")
        name = self.advance()
        if name in _FUNCTIONS:
            return _extremum(_FUNCTIONS[name], self.nested(many=True))
        if self.current == "{":
            self.symbols[name] = self.declaration(name)
        elif name not in self.symbols:
            self.symbols[name] = Symbol(name)
        return self.symbols[name]

    def nested(self, many: bool = False) -> list[Dim]:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise DimError(f"dimension text nested too deeply: more than {MAX_NESTING} parentheses")
        self.expect("(")
        dims = [self.sum()]
        while many and self.current == ",":
            self.advance()
            dims.append(self.sum())
        self.expect(")")
        self.nesting -= 1
        return dims

    def declaration(self, name: str) -> Symbol:
        self.expect("{")
        lower = self.number()
        self.expect("..")
        upper = None if self.current == "}" else self.number()
        self.expect("}")
        declared = Symbol(name, lower, upper)
        if self.symbols.get(name, declared) != declared:
            raise DimError(f"dimension {name!r} is declared twice, with different bounds, in {self.text[:200]!r}")
        return declared

    def number(self) -> int:
        sign = 1
        if self.current == "-":
            self.advance()
            sign = -1
        if not self.current.isdigit():
            raise self.error("a number")
        if len(self.current) > MAX_COEFFICIENT_BITS // 3:
            raise DimError(f"number too large in a dimension: {len(self.current)} digits")
        return sign * int(self.advance())
