"""Cases of ``gristmill.ops.elementwise_binary``."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from tests.op_cases.case import Case

X = np.array([[-3.0, -0.5, 0.0], [0.25, 1.0, 6.5]])
ROW = np.array([2.0, -0.5, 4.0])
COLUMN = np.array([[2.0], [-0.75]])
NAN = np.array([np.nan, 1.0, np.nan])
ONES = np.array([1.0, np.nan, np.nan])
BOOLS = {"x": np.array([True, True, False, False]), "y": np.array([True, False, True, False])}
TOP, BOTTOM = 2**31 - 1, -(2**31)
DIVIDENDS = np.array([7, -7, 7, -7, 5, 0, BOTTOM, 6], np.int32)
DIVISORS = np.array([2, 2, -2, -2, 0, 0, -1, 3], np.int32)


def exact(operation):
    """An oracle in exact rationals, rounded once to float64 (and then, by the comparison, to the result's type)."""
    by_element = np.vectorize(lambda a, b: float(operation(Fraction(a), Fraction(b))), otypes=[np.float64])
    return lambda x, y: by_element(x, y)


def floats(op, expected, **more):
    return [
        Case(op, {"x": X, "y": ROW}, expected, id="row", **more),
        Case(op, {"x": X, "y": COLUMN}, expected, id="column", **more),
        Case(op, {"x": X[0], "y": COLUMN}, expected, id="both-ways", **more),
        Case(op, {"x": X, "y": np.array(0.25)}, expected, id="scalar", **more),
        Case(op, {"x": np.zeros((2, 0)), "y": COLUMN}, np.zeros((2, 0)), id="empty"),
    ]


def ints(op, x, y, expected, id="int"):
    return Case(op, {"x": np.asarray(x, np.int32), "y": np.asarray(y, np.int32)}, np.asarray(expected), id=id)


def comparison(op, plain, with_nan, of_ints):
    return [
        Case(op, {"x": X, "y": np.array([-0.5, -0.5, 0.0])}, np.asarray(plain, bool)),
        Case(op, {"x": NAN, "y": ONES}, np.full(3, with_nan), id="nan"),
        # these two differ in the last bit, which float32 would lose
        ints(op, [2**24 + 1, 2**24, 5], [2**24, 2**24 + 1, 5], np.asarray(of_ints, bool)),
    ]


CASES = [
    *floats("add", exact(lambda a, b: a + b), ulp=0.5),
    Case("add", {"x": np.array([60000.0]), "y": np.array([60000.0])}, lambda x, y: x + y, id="overflow-of-float16"),
    ints("add", [TOP, BOTTOM, 5], [1, -1, 6], [BOTTOM, TOP, 11]),
    *comparison("equal", [[0, 1, 1], [0, 0, 0]], False, [0, 0, 1]),
    *floats("floor_div", exact(lambda a, b: a // b)),
    Case("floor_div", {"x": np.array([1.0, -1.0, 0.0]), "y": np.zeros(3)}, [np.inf, -np.inf, np.nan], id="by-zero"),
    ints("floor_div", DIVIDENDS, DIVISORS, [3, -4, -4, 3, 0, 0, BOTTOM, 2]),
    *comparison("greater", [[0, 0, 0], [1, 1, 1]], False, [1, 0, 0]),
    *comparison("greater_equal", [[0, 1, 1], [1, 1, 1]], False, [1, 0, 1]),
    *comparison("less", [[1, 0, 0], [0, 0, 0]], False, [0, 1, 0]),
    *comparison("less_equal", [[1, 1, 1], [0, 0, 0]], False, [0, 1, 1]),
    Case("logical_and", BOOLS, np.array([True, False, False, False])),
    Case("logical_or", BOOLS, np.array([True, True, True, False])),
    Case("logical_xor", BOOLS, np.array([False, True, True, False])),
    *floats("maximum", exact(max)),
    Case("maximum", {"x": NAN, "y": ONES}, [np.nan, np.nan, np.nan], id="nan"),
    ints("maximum", [2**24 + 1, BOTTOM], [2**24, TOP], [2**24 + 1, TOP]),
    *floats("minimum", exact(min)),
    Case("minimum", {"x": NAN, "y": ONES}, [np.nan, np.nan, np.nan], id="nan"),
    ints("minimum", [2**24 + 1, BOTTOM], [2**24, TOP], [2**24, BOTTOM]),
    *floats("mod", exact(lambda a, b: a % b)),
    Case("mod", {"x": np.array([1.0]), "y": np.array([0.0])}, [np.nan], id="by-zero"),
    ints("mod", DIVIDENDS, DIVISORS, [1, 1, -1, -1, 0, 0, 0, 0]),
    *floats("mul", exact(lambda a, b: a * b), ulp=0.5),
    ints("mul", [65536, TOP, -3], [65536, 2, 5], [0, -2, -15]),
    *comparison("not_equal", [[1, 0, 0], [1, 1, 1]], True, [1, 1, 0]),
    Case("pow", {"x": np.array([0.25, 2.0, 9.0, -2.0]), "y": np.array([0.5, -3.0, 0.5, 3.0])}, [0.5, 0.125, 3, -8]),
    Case("pow", {"x": np.abs(X) + 0.5, "y": ROW}, lambda x, y: np.vectorize(math.pow)(x, y), id="broadcast"),
    Case("pow", {"x": np.array([-2.0]), "y": np.array([0.5])}, [np.nan], id="root-of-negative"),
    ints("pow", [3, 2, 2, -2, 0], [4, 31, 32, 3, 0], [81, BOTTOM, 0, -8, 1]),
    ints("pow", [1, -1, -1, 2, 0, 5], [-5, -3, -2, -1, -1, BOTTOM], [1, -1, 1, 0, 0, 0], id="int-negative-exponent"),
    *floats("real_div", exact(lambda a, b: a / b), ulp=0.5),
    Case("real_div", {"x": np.array([1.0, -1.0, 0.0]), "y": np.zeros(3)}, [np.inf, -np.inf, np.nan], id="by-zero"),
    ints("real_div", DIVIDENDS, DIVISORS, [3, -3, -3, 3, 0, 0, BOTTOM, 2]),
    *floats("sub", exact(lambda a, b: a - b), ulp=0.5),
    ints("sub", [BOTTOM, 0, 5], [1, BOTTOM, 6], [TOP, BOTTOM, -1]),
]
