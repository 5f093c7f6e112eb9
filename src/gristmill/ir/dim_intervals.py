"""Bounds: interval arithmetic, sharpened where parts of an expression move together."""

from __future__ import annotations

import math
from typing import Final, TypeAlias

from gristmill.ir import dim_algebra as algebra
from gristmill.ir.dim_expr import Dim, Extremum, FloorDiv, Min, Monomial

RELAXATIONS: Final = 64  # substitutions tried for one bound; fewer only makes bounds looser
_INF: Final = math.inf

Interval: TypeAlias = "tuple[int | float, int | float]"  # exact ints, or -inf below and +inf above


def interval_of(d: Dim) -> Interval:
    """The bounds of a dimension as an interval."""
    low, high = algebra.bounds(d)
    return (-_INF if low is None else low), (_INF if high is None else high)


def lower_bound(terms: algebra.Terms, scale: int, budget: list[int]) -> int | float:
    """A lower bound of the integer that is at least terms / scale.

    Plain interval arithmetic forgets that ``n`` and ``n//2`` move together. So it is tried again with a division or
    extremum replaced by what bounds it, such as ``n//2`` by ``n/2``; the best bound counts.
    """
    low: int | float = 0
    for monomial, c in terms.items():
        part: Interval = (c, c)
        for atom, power in monomial:
            part = _interval_times(part, _interval_power(interval_of(atom), power))
        low = _plus(low, part[0])
    best = low if isinstance(low, float) else -(-low // scale)
    relaxation = _relaxation(terms) if budget[0] else None
    if relaxation is None:
        return best
    budget[0] -= 1
    alternatives, factor, needs_all = relaxation
    found = [lower_bound(t, scale * factor, budget) for t in alternatives]
    return max(best, min(found) if needs_all else max(found))


def _relaxation(terms: algebra.Terms) -> tuple[list[algebra.Terms], int, bool] | None:
    """(alternatives, factor, needs_all): factor * terms is at least each alternative, or only at least their least."""
    found = None
    for monomial, c in terms.items():
        for atom, power in monomial:
            if power == 1 and isinstance(atom, Extremum) and len(monomial) == 1:
                others = algebra.added(terms, {monomial: -c})
                options = [algebra.added(others, algebra.scaled(algebra.terms_of(arg), c)) for arg in atom.args]
                if (c > 0) == isinstance(atom, Min):
                    return options, 1, True  # it is one of its operands: each in turn
                if found is None or found[1] > 1:
                    found = options, 1, False  # it is on the right side of every operand
            elif power == 1 and isinstance(atom, FloorDiv) and found is None:
                found = _relaxed_division(terms, monomial, atom)
    return found


def _relaxed_division(
    terms: algebra.Terms, monomial: Monomial, atom: FloorDiv
) -> tuple[list[algebra.Terms], int, bool] | None:
    """Replace d*(x//d), d > 0 a single term, by the end of [x - d + 1, x] that is lower in the sum."""
    divisor = algebra.terms_of(atom.denominator)
    low = algebra.bounds(atom.denominator)[0]
    if len(divisor) > 1 or low is None or low <= 0:
        return None
    ((variable_part, e),) = divisor.items()
    if algebra.divide_monomials(monomial, ((atom, 1),)) != variable_part:
        return None
    c = terms[monomial]
    end = algebra.terms_of(atom.numerator)
    if c > 0:
        end = algebra.added(end, {variable_part: -e, (): 1} if variable_part else {(): 1 - e})
    others = algebra.scaled(algebra.added(terms, {monomial: -c}), e)
    return [algebra.added(others, algebra.scaled(end, c))], e, False


def _plus(a: int | float, b: int | float) -> int | float:
    """Add without turning an int into a float: a float here is an infinity, and opposite ones do not meet."""
    return a if isinstance(a, float) else b if isinstance(b, float) else a + b


def _times(a: int | float, b: int | float) -> int | float:
    if a == 0 or b == 0:
        return 0
    if isinstance(a, float) or isinstance(b, float):
        return _INF if (a > 0) == (b > 0) else -_INF
    return a * b


def _interval_times(a: Interval, b: Interval) -> Interval:
    ends = [_times(x, y) for x in a for y in b]
    return min(ends), max(ends)


def _interval_power(a: Interval, power: int) -> Interval:
    low, high = a
    if power % 2 == 0 and low < 0:
        return (0 if high >= 0 else high**power), max(low**power, high**power)
    return low**power, high**power


def interval_floor_div(a: Interval, b: Interval) -> Interval:
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
