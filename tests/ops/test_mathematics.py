"""Functions behind several references, against the standard library's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gristmill.ir.types import int8, int32, uint16
from gristmill.ops.mathematics import erf, sigmoid_of, softmax_of, softplus_of, truncated


def test_erf_agrees_with_the_c_library():
    """Within the error bound that it states, dense around the seam of its two approximations and wide beyond."""
    x = np.concatenate([np.linspace(0.46, 0.48, 2001), np.linspace(-7, 7, 20001), np.geomspace(1e-300, 1e-3, 500)])
    exact = np.vectorize(math.erf)(x)
    assert np.max(np.abs(erf(x) - exact) / np.spacing(np.abs(exact))) < 6


def test_erf_of_special_values():
    np.testing.assert_array_equal(erf(np.array([np.inf, -np.inf, np.nan, 0.0])), [1, -1, np.nan, 0])
    assert erf(np.array(0.5)).shape == ()
    assert erf(np.zeros((2, 0))).shape == (2, 0)
    assert np.signbit(erf(np.array([-0.0])))


def test_exponentials_do_not_overflow():
    """Warnings are errors in the tests, so an overflow inside would show."""
    x = np.array([-1e5, 0.0, 1e5])
    np.testing.assert_array_equal(sigmoid_of(x), [0, 0.5, 1])
    np.testing.assert_array_equal(softplus_of(x), [0, math.log(2), 1e5])
    np.testing.assert_array_equal(softmax_of(x), [0, 0, 1])


@pytest.mark.parametrize("dtype", [int8, uint16, int32])
def test_truncated_takes_the_nearest_integer_there_is(dtype):
    """What is in range loses its fraction; beyond, the ends of the range; NaN is 0."""
    x = np.array([1.9, dtype.min - 0.5, dtype.max + 0.5, 1e30, -1e30, np.inf, -np.inf, np.nan])
    wanted = [1, dtype.min, dtype.max, dtype.max, dtype.min, dtype.max, dtype.min, 0]
    assert truncated(x, dtype).tolist() == wanted
    assert truncated(x, dtype).dtype == dtype.numpy
