"""Functions that NumPy lacks, for the references of several ops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gristmill.ir.constants import Array
from gristmill.ir.types import DType

_BLOCK = 1 << 13
"""Elements evaluated at a time: the temporaries of one block stay in the first-level caches."""


def erf(x: Array) -> Array:
    """The error function, ``2/√π·∫₀ˣ exp(-t²) dt``, in float64.

    Rational approximations of W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of
    Computation 23 (1969), 631-637: of ``erf`` for |x| ≤ 0.46875 and of ``erfc`` above. The error stays under 6 ulp of
    float64. The second one is meant for |x| ≤ 4; past it ``erfc`` is under 2e-8 and its own error does not show.
    """
    x = np.asarray(x, dtype=np.float64)
    result = np.empty(x.shape)
    source, target = x.reshape(-1), result.reshape(-1)
    for start in range(0, x.size, _BLOCK):
        target[start : start + _BLOCK] = _erf_block(source[start : start + _BLOCK])
    return result


_SMALL = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
_LARGE = (
    (
        2.15311535474403846e-8,
        5.64188496988670089e-1,
        8.88314979438837594,
        6.61191906371416295e1,
        2.98635138197400131e2,
        8.81952221241769090e2,
        1.71204761263407058e3,
        2.05107837782607147e3,
        1.23033935479799725e3,
    ),
    (
        1.0,
        1.57449261107098347e1,
        1.17693950891312499e2,
        5.37181101862009858e2,
        1.62138957456669019e3,
        3.29079923573345963e3,
        4.36261909014324716e3,
        3.43936767414372164e3,
        1.23033935480374942e3,
    ),
)


def _erf_block(x: Array) -> Array:
    y = np.minimum(np.abs(x), 6)  # where erf rounds to 1
    result = 1 - np.exp(-y * y) * _quotient(_LARGE, y)
    np.copysign(result, x, out=result)
    small = y <= 0.46875
    near = x[small]
    result[small] = near * _quotient(_SMALL, near * near)
    return result


def _quotient(coefficients: tuple[Sequence[float], Sequence[float]], x: Array) -> Array:
    above, below = (_polynomial(c, x) for c in coefficients)
    return above / below


def _polynomial(coefficients: Sequence[float], x: Array) -> Array:
    """Horner's scheme; the leading coefficient comes first."""
    total = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        total *= x
        total += c
    return total


def sigmoid_of(x: Array) -> Array:
    """``1 / (1 + exp(-x))`` without overflow: each sign takes the form whose exponential is at most 1."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def softplus_of(x: Array) -> Array:
    """``log(1 + exp(x))`` without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softmax_of(x: Array, axis: int = -1) -> Array:
    """``exp(x) / Σ exp(x)`` along an axis without overflow; where all are -∞ the result is NaN, as the formula is."""
    result = np.asanyarray(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
    np.exp(result, out=result)
    result /= result.sum(axis=axis, keepdims=True)
    return result


def truncated(x: Array, dtype: DType) -> Array:
    """Floats as integers: the fraction is dropped, what is out of range becomes the nearest value, NaN becomes 0."""
    x = np.trunc(x, dtype=np.promote_types(x.dtype, np.float64))  # float64 holds every integer of up to 32 bits
    return np.clip(np.nan_to_num(x, nan=0.0), dtype.min, dtype.max).astype(dtype.numpy)
