"""Cases of ``gristmill.ops.elementwise_unary``."""

from __future__ import annotations

import math

import numpy as np

from gristmill.ir.opset import iOS15, iOS16, iOS17, iOS26
from gristmill.ir.types import fp16, fp32, int8, int16, int32, uint8, uint16
from tests.op_cases.case import Case, Fixed, Typed

X = np.array([[-3.0, -0.5, 0.0], [0.25, 1.0, 6.5]])
UNIT = np.array([-1.0, -0.75, 0.0, 0.125, 1.0])
POSITIVE = np.array([0.0009765625, 0.25, 1.0, 3.0, 100.0])
HALVES = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4375])
SPECIAL = np.array([np.nan, np.inf, -np.inf])
INTS = np.array([-(2**31), -7, -1, 0, 1, 9, 2**31 - 1], np.int32)


def each(function):
    """An oracle from the standard library's scalar functions."""
    return lambda x: np.vectorize(function, otypes=[np.float64])(x)


def cast(id, x, dtype, expected, **more):
    return Case("cast", {"x": x, "dtype": dtype}, np.asarray(expected), id=id, **more)


MODERN = (iOS17, iOS26)

CASES = [
    Case("abs", {"x": X}, [[3, 0.5, 0], [0.25, 1, 6.5]]),
    Case("abs", {"x": INTS}, np.array([-(2**31), 7, 1, 0, 1, 9, 2**31 - 1]), id="int"),
    Case("acos", {"x": UNIT}, each(math.acos)),
    Case("acos", {"x": np.array([1.5, -2.0])}, [np.nan, np.nan], id="outside"),
    Case("asin", {"x": UNIT}, each(math.asin)),
    Case("atan", {"x": X}, each(math.atan)),
    Case("atanh", {"x": UNIT[1:-1]}, each(math.atanh)),
    Case("atanh", {"x": np.array([1.0, -1.0, 2.0])}, [np.inf, -np.inf, np.nan], id="edges"),
    Case("ceil", {"x": HALVES}, [-2, -1, 0, 1, 2, 3, 3]),
    Case("clip", {"x": X, "alpha": -1.0, "beta": 0.5}, [[-1, -0.5, 0], [0.25, 0.5, 0.5]]),
    Case("clip", {"x": SPECIAL, "alpha": -1.0, "beta": 0.5}, [np.nan, 0.5, -1], id="special"),
    Case("clip", {"x": X, "alpha": 1.0, "beta": -1.0}, np.full((2, 3), -1.0), id="reversed", opsets=(iOS15, iOS16)),
    Case("cos", {"x": X}, each(math.cos)),
    Case("cosh", {"x": X}, each(math.cosh)),
    Case("erf", {"x": X}, each(math.erf)),
    Case("exp", {"x": X}, each(math.exp)),
    Case("exp", {"x": np.array([-1e4, 1e4])}, [0, np.inf], id="overflow"),
    Case("exp2", {"x": X}, lambda x: 2.0**x),
    Case(
        "exp2",
        {"x": np.array([-(2**31), -1, 0, 5, 30, 31, 32, 2**31 - 1], np.int32)},
        np.array([0, 0, 1, 32, 2**30, -(2**31), 0, 0]),
        id="int-modulo",
    ),
    Case("floor", {"x": HALVES}, [-3, -2, -1, 0, 1, 2, 2]),
    Case("inverse", {"x": POSITIVE, "epsilon": 0.25}, lambda x: 1 / (x + 0.25)),
    Case("inverse", {"x": POSITIVE}, lambda x: 1 / (x + np.float64(np.float32(1e-4))), id="default", dtypes=(fp32,)),
    Case("inverse", {"x": POSITIVE}, lambda x: 1 / (x + np.float64(np.float16(1e-4))), id="default", dtypes=(fp16,)),
    Case(
        "inverse",
        {"x": POSITIVE, "epsilon": Fixed(0.25, fp32)},
        lambda x: 1 / (x + 0.25),
        id="epsilon-of-another-type",
        dtypes=(fp16,),
    ),
    Case("log", {"x": POSITIVE}, each(math.log)),
    Case("log", {"x": POSITIVE, "epsilon": 0.5}, lambda x: np.log(x + 0.5), id="epsilon"),
    Case("log", {"x": np.array([0.0, -1.0])}, [math.log(2.0**-149), np.nan], id="zero", dtypes=(fp32,)),
    Case("log", {"x": np.array([0.0, -1.0])}, [-np.inf, np.nan], id="zero", dtypes=(fp16,)),
    Case("logical_not", {"x": np.array([True, False])}, np.array([False, True])),
    Case("round", {"x": HALVES}, [-2, -2, 0, 0, 2, 2, 2]),
    Case("rsqrt", {"x": POSITIVE}, lambda x: x**-0.5),
    Case("rsqrt", {"x": POSITIVE, "epsilon": 1.0}, lambda x: (x + 1) ** -0.5, id="epsilon"),
    Case("rsqrt", {"x": np.array([0.0, -1.0])}, [1e6, np.nan], id="zero", dtypes=(fp32,)),
    Case("rsqrt", {"x": np.array([0.0, -1.0])}, [np.inf, np.nan], id="zero", dtypes=(fp16,)),
    Case("sign", {"x": X}, [[-1, -1, 0], [1, 1, 1]]),
    Case("sign", {"x": SPECIAL}, [np.nan, 1, -1], id="special"),
    Case("sign", {"x": INTS}, np.array([-1, -1, -1, 0, 1, 1, 1]), id="int"),
    Case("sin", {"x": X}, each(math.sin)),
    Case("sinh", {"x": X}, each(math.sinh)),
    Case("sqrt", {"x": POSITIVE}, each(math.sqrt), ulp=0.5),
    Case("sqrt", {"x": np.array([-1.0, np.inf])}, [np.nan, np.inf], id="special"),
    Case("square", {"x": X}, [[9, 0.25, 0], [0.0625, 1, 42.25]]),
    Case("square", {"x": np.array([300.0])}, lambda x: x * x, id="overflow-of-float16"),
    Case("square", {"x": INTS}, np.array([0, 49, 1, 0, 1, 81, 1]), id="int-modulo"),
    Case("tan", {"x": X}, each(math.tan)),
    Case("tanh", {"x": X}, each(math.tanh)),
    Case("threshold", {"x": X, "alpha": 0.25}, [[0.25, 0.25, 0.25], [0.25, 1, 6.5]]),
    Case("threshold", {"x": INTS, "alpha": -1}, np.array([-1, -1, -1, 0, 1, 9, 2**31 - 1]), id="int"),
    cast("truncates", np.array([-1.75, -0.5, 0.5, 2.999, 1000.0]), "int32", [-1, 0, 0, 2, 1000]),
    cast(
        "saturates",
        np.array([1e10, -1e10, np.nan, np.inf]),
        "int32",
        [2**31 - 1, -(2**31), 0, 2**31 - 1],
        dtypes=(fp32,),
    ),
    cast("to-uint8", np.array([-3.5, 255.75, 256.0]), "uint8", [0, 255, 255], opsets=MODERN),
    cast("to-bool", np.array([0.0, -0.0, 0.25, np.nan]), "bool", [False, False, True, True]),
    cast("bool-to-float", np.array([True, False]), "fp16", [1.0, 0.0]),
    cast("bool-to-int", np.array([True, False]), "int32", [1, 0]),
    cast("int-to-float", np.array([2**24 + 1, -(2**31), 7], np.int32), "fp32", [2.0**24, -(2.0**31), 7]),
    cast("int-to-half", np.array([2049, 65520, -5], np.int32), "fp16", [2048, np.inf, -5]),
    cast("rounds-to-even", Typed(np.array([2049.0, 2051.0, 65519.9]), fp32), "fp16", [2048, 2052, 65504]),
    cast("int-wraps", np.array([300, -1, 2**31 - 1], np.int32), "int8", [44, -1, -1], opsets=MODERN),
    cast("int-to-uint16", np.array([65536 + 5, -1], np.int32), "uint16", [5, 65535], opsets=MODERN),
    cast("int16-to-int32", Typed(np.array([-300, 300]), int16), "int32", [-300, 300], opsets=MODERN),
    cast("uint16-to-int8", Typed(np.array([200, 256]), uint16), "int8", [-56, 0], opsets=MODERN),
    cast("int8-to-uint8", Typed(np.array([-1, 5]), int8), "uint8", [255, 5], opsets=MODERN),
    cast("uint8-to-bool", Typed(np.array([0, 200]), uint8), "bool", [False, True], opsets=MODERN),
    cast("same", Typed(np.array([0, 200]), int32), "int32", [0, 200]),
]
