"""Dimension expressions in the postfix form that the native core evaluates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from gristmill.errors import UnsupportedError
from gristmill.ir.dims import Dim, FloorDiv, Max, Min, Polynomial, Symbol

Step: TypeAlias = "tuple[int, int]"
"""An operation and its value, as ``SizeTable::Step`` has them."""

CONSTANT, SYMBOL, ADD, MULTIPLY, FLOOR_DIV, MIN, MAX = range(7)


def postfix(dim: Dim, symbol: Callable[[Symbol], int]) -> list[Step]:
    """The steps that compute a dimension.

    Args:
        dim: The expression.
        symbol: Gives the number of a symbol.

    Raises:
        UnsupportedError: A number in it does not fit 64 bits.
    """
    match dim:
        case int():
            if not -(1 << 63) <= dim < 1 << 63:
                raise UnsupportedError("a dimension does not fit 64 bits", actual=dim)
            return [(CONSTANT, dim)]
        case Symbol():
            return [(SYMBOL, symbol(dim))]
        case FloorDiv():
            return [*postfix(dim.numerator, symbol), *postfix(dim.denominator, symbol), (FLOOR_DIV, 0)]
        case Min() | Max():
            return _fold([postfix(arg, symbol) for arg in dim.args], MIN if isinstance(dim, Min) else MAX)
        case Polynomial():
            terms = []
            for monomial, coefficient in dim.terms:
                factors = [postfix(coefficient, symbol)] if coefficient != 1 or not monomial else []
                factors += [postfix(atom, symbol) for atom, power in monomial for _ in range(power)]
                terms.append(_fold(factors, MULTIPLY))
            return _fold(terms, ADD)
    raise UnsupportedError("a dimension of an unknown kind", actual=type(dim).__name__)


def _fold(parts: Sequence[list[Step]], operation: int) -> list[Step]:
    steps = list(parts[0])
    for part in parts[1:]:
        steps += [*part, (operation, 0)]
    return steps
