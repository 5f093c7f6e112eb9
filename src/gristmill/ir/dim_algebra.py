"""Arithmetic in canonical form, and what bounds decide."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import TypeAlias

from gristmill.errors import DimError
from gristmill.ir.dim_expr import (
    MAX_COEFFICIENT_BITS,
    MAX_DEGREE,
    MAX_OPERANDS,
    MAX_TERMS,
    Dim,
    DimExpr,
    FloorDiv,
    Max,
    Min,
    Monomial,
    Polynomial,
    Symbol,
)

Terms: TypeAlias = "dict[Monomial, int]"  # a polynomial: the coefficient of each monomial


def floor_div(a: Dim, b: Dim) -> Dim:
    """``a // b`` rounded towards minus infinity, as Python does.

    A divisor that may be zero is kept as it is and refused when it evaluates to zero; nothing is cancelled against it.

    Raises:
        DimError: ``b`` is the constant 0.
    """
    a, b = as_dim(a), as_dim(b)
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
    if type(a) is int and type(b) is int:
        return -floor_div(-a, b)
    a, b = as_dim(a), as_dim(b)
    return floor_div(a + b - 1, b) if always_lt(0, b) else -floor_div(-a, b)


def mod(a: Dim, b: Dim) -> Dim:
    """``a - b * (a // b)``: the remainder with the sign of ``b``, as Python's ``%``.

    Raises:
        DimError: ``b`` is the constant 0.
    """
    a, b = as_dim(a), as_dim(b)
    return a - b * floor_div(a, b)


def minimum(first: Dim, *others: Dim) -> Dim:
    """The least of the dimensions."""
    return extremum(Min, [first, *others])


def maximum(first: Dim, *others: Dim) -> Dim:
    """The greatest of the dimensions."""
    return extremum(Max, [first, *others])


def product(dims: Iterable[Dim]) -> Dim:
    """The product, 1 when there are none: the number of elements of a shape."""
    return math.prod(map(as_dim, dims), start=1)


def bounds(d: Dim) -> tuple[int | None, int | None]:
    """Inclusive (lower, upper) of a dimension; None is unbounded."""
    if type(d) is int:
        return d, d
    d = as_dim(d)
    return d.bounds if isinstance(d, DimExpr) else (d, d)


def always_equal(a: Dim, b: Dim) -> bool:
    """Whether the dimensions are certainly equal; False if they differ or if that is not known."""
    if type(a) is int and type(b) is int:  # by far the most common case, here and below
        return a == b
    a, b = as_dim(a), as_dim(b)
    return a == b or bounds(a - b) == (0, 0)


def never_equal(a: Dim, b: Dim) -> bool:
    """Whether the dimensions certainly differ; False if they are equal or if that is not known."""
    if type(a) is int and type(b) is int:
        return a != b
    a, b = as_dim(a), as_dim(b)
    difference = terms_of(a - b)
    constant = difference.pop((), 0)
    step = math.gcd(*difference.values())
    if constant % step if step else constant:
        return True  # such as 2*n and an odd number
    return always_lt(a, b) or always_lt(b, a)


def always_le(a: Dim, b: Dim) -> bool:
    """Whether ``a <= b`` certainly holds; False if it does not or if that is not known."""
    if type(a) is int and type(b) is int:
        return a <= b
    a, b = as_dim(a), as_dim(b)
    low = bounds(b - a)[0]
    return low is not None and low >= 0


def always_lt(a: Dim, b: Dim) -> bool:
    """Whether ``a < b`` certainly holds; False if it does not or if that is not known."""
    if type(a) is int and type(b) is int:
        return a < b
    a, b = as_dim(a), as_dim(b)
    low = bounds(b - a)[0]
    return low is not None and low > 0


def as_dim(value: object) -> Dim:
    """The value as a dimension; DimError when it is something else."""
    if type(value) is int:
        return value
    d = coerce(value)
    if d is None:
        raise DimError(
            f"{value!r} is not a dimension",
            expected="an int or a dimension expression",
            actual=type(value).__name__,
        )
    return d


def coerce(value: object) -> Dim | None:
    """The value as a dimension, NumPy integers included, or None when it is something else."""
    if isinstance(value, DimExpr) or type(value) is int:
        return value
    try:
        return operator.index(value)  # type: ignore[arg-type]  # what is no integer raises, and that is the question
    except TypeError:
        return None


def terms_of(d: Dim) -> Terms:
    """The polynomial that a dimension is."""
    if isinstance(d, Polynomial):
        return dict(d._terms)
    if isinstance(d, DimExpr):
        return {((d, 1),): 1}
    return {(): d} if d else {}


def from_terms(terms: Terms) -> Dim:
    """The dimension that a polynomial is, in canonical form."""
    terms = {m: c for m, c in terms.items() if c}
    if not terms:
        return 0
    if len(terms) > MAX_TERMS:
        raise DimError(f"dimension expression too large: it has more than {MAX_TERMS} terms")
    for c in terms.values():
        check_coefficient(c)
    if len(terms) == 1:
        ((monomial, c),) = terms.items()
        if not monomial:
            return c
        if c == 1 and len(monomial) == 1 and monomial[0][1] == 1:
            return monomial[0][0]
    return Polynomial(tuple(sorted(terms.items(), key=lambda term: _monomial_order(term[0]))))


def check_coefficient(c: int) -> None:
    """Refuse a number that no honest expression contains."""
    if c.bit_length() > MAX_COEFFICIENT_BITS:
        raise DimError(f"dimension expression too large: a number has more than {MAX_COEFFICIENT_BITS} bits")


def _atom_order(atom: DimExpr) -> tuple[bool, str]:
    return not isinstance(atom, Symbol), str(atom)


def _monomial_order(monomial: Monomial) -> tuple[int, list[tuple[bool, str, int]]]:
    return -sum(p for _, p in monomial), [(*_atom_order(atom), -p) for atom, p in monomial]


def add_up(dims: Iterable[Dim]) -> Dim:
    """The sum."""
    total: Terms = {}
    for d in dims:
        for monomial, c in terms_of(d).items():
            total[monomial] = total.get(monomial, 0) + c
    return from_terms(total)


def multiply(a: Terms, b: Terms) -> Terms:
    """The product of two polynomials."""
    result: Terms = {}
    for m, c in a.items():
        for n, d in b.items():
            monomial = _multiply_monomials(m, n)
            result[monomial] = result.get(monomial, 0) + c * d
        if len(result) > 2 * MAX_TERMS:
            raise DimError(f"dimension expression too large: it has more than {MAX_TERMS} terms")
    return result


def scaled(terms: Terms, factor: int) -> Terms:
    """A polynomial times an integer."""
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


def divide_monomials(m: Monomial, n: Monomial) -> Monomial | None:
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
        quotient = divide_monomials(m, monomial)
        times = 0 if quotient is None else (abs(c) // coefficient) * (1 if c > 0 else -1)
        if quotient is not None and times:
            whole[quotient] = times
        rest[m] = c - coefficient * times
    return whole, {m: c for m, c in rest.items() if c}


def _floor_div_constant(a: Dim, b: int) -> Dim:
    """``a // b`` for ``b`` > 0, by identities that hold for all integers."""
    # (b*w + r)//b = w + r//b
    whole, rest = _split(terms_of(a), (), b)
    sign = 1
    if _leading_sign(from_terms({m: c for m, c in rest.items() if m})) < 0:
        # r//b = -((b-1 - r)//b): one form for roundings up and down
        sign, rest = -1, scaled(rest, -1)
        rest[()] = rest.get((), 0) + b - 1
    carry, constant = divmod(rest.pop((), 0), b)
    outside = add_up((from_terms(whole), sign * carry))
    # (g*x + c)//(g*b) = (x + c//g)//b
    common = math.gcd(b, *rest.values())
    rest = {m: c // common for m, c in rest.items()}
    b //= common
    constant //= common
    numerator = add_up((from_terms(rest), constant))
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
    others = add_up((from_terms({m: c for m, c in terms.items() if m != ((atom, 1),)}), constant))
    if isinstance(d, DimExpr) and (sign < 0 or isinstance(others, DimExpr) or not _nonzero(d)):
        return None
    if sign > 0:  # x//d + y = (x + y*d)//d
        return atom.numerator + others * d, d
    return others * d - atom.numerator + d - 1, d  # y - x//d = -((x - y*d)//d), rounded up


def _floor_div_symbolic(a: Dim, b: DimExpr) -> Dim:
    """``a // b`` for an expression ``b``; what is cancelled against it must be certainly nonzero."""
    top, bottom = terms_of(a), terms_of(b)
    common = math.gcd(*top.values(), *bottom.values())
    top, bottom = ({m: c // common for m, c in t.items()} for t in (top, bottom))
    if not _nonzero(b):
        return FloorDiv(from_terms(top), from_terms(bottom))
    if not top:
        return 0
    shared = _shared_factor([*top, *bottom])
    if shared:
        top, bottom = _cancelled(top, shared), _cancelled(bottom, shared)
        return floor_div(from_terms(top), from_terms(bottom))
    a, divisor = from_terms(top), from_terms(bottom)
    if len(bottom) == 1:
        ((monomial, coefficient),) = bottom.items()
        whole, rest = _split(top, monomial, coefficient)
        if whole:
            return from_terms(whole) + floor_div(from_terms(rest), divisor)
    else:
        quotient = _divide_exactly(top, bottom)
        if quotient is not None:
            return from_terms(quotient)
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
    quotients = ((divide_monomials(m, factor), c) for m, c in terms.items())
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
        monomial = divide_monomials(top, lead)
        times, remainder = divmod(a[top], b[lead])
        if monomial is None or remainder or len(quotient) == MAX_TERMS:
            return None
        quotient[monomial] = times
        a = added(a, multiply(b, {monomial: -times}))
    return quotient


def added(a: Terms, b: Terms) -> Terms:
    """The sum of two polynomials."""
    total = dict(a)
    for m, c in b.items():
        total[m] = total.get(m, 0) + c
    return {m: c for m, c in total.items() if c}


def extremum(kind: type[Min] | type[Max], operands: Iterable[Dim]) -> Dim:
    """The least or greatest: flat, in order, and without operands that another one always beats."""
    given = list(map(as_dim, operands))
    if set(map(type, given)) == {int}:
        return min(given) if kind is Min else max(given)
    flat: dict[Dim, None] = {}
    for d in given:
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
