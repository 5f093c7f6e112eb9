"""Cases of ``gristmill.ops.linear``."""

from __future__ import annotations

import numpy as np
import torch

from gristmill.ir.opset import iOS17, iOS26
from gristmill.ir.types import fp16, fp32, int32
from tests.op_cases.case import Case, Fixed

RNG = np.random.default_rng(5)
X = RNG.integers(-8, 8, (2, 3, 4)) / 4
WEIGHT = RNG.integers(-8, 8, (5, 4)) / 4
BIAS = RNG.integers(-8, 8, 5) / 4
INTS = np.array([[2**20, 3], [-(2**16), 2**16 + 1]], np.int32)
MODERN = (iOS17, iOS26)


def t(array):
    return torch.from_numpy(array)


def wrapped(exact):
    """Python's integers modulo 2³²."""
    return ((exact + 2**31) % 2**32 - 2**31).astype(np.int32)


def matmul(id, x, y, equation, **operands):
    """Small multiples of a fraction, so that the sums are exact and the expected bits are known."""
    a, b = RNG.integers(-8, 8, x) / 4, RNG.integers(-8, 8, y) / 4
    return Case(
        "matmul",
        {"x": a, "y": b, **operands},
        lambda x, y: torch.einsum(equation, t(x), t(y)).numpy(),
        id=id,
        ulp=0.5,
    )


def einsum(id, equation, x, y):
    a, b = RNG.integers(-8, 8, x) / 4, RNG.integers(-8, 8, y) / 4
    return Case(
        "einsum",
        {"values": [a, b], "equation": equation},
        lambda values_0, values_1: torch.einsum(equation, t(values_0), t(values_1)).numpy(),
        id=id,
        ulp=0.5,
    )


CASES = [
    Case(
        "linear",
        {"x": X, "weight": Fixed(WEIGHT), "bias": Fixed(BIAS)},
        lambda x: torch.nn.functional.linear(t(x), t(WEIGHT), t(BIAS)).numpy(),
        ulp=0.5,
    ),
    Case("linear", {"x": X[0, 0], "weight": Fixed(WEIGHT)}, lambda x: WEIGHT.dot(x), id="vector", ulp=0.5),
    Case(
        "linear",
        {"x": X, "weight": Fixed(WEIGHT, fp16), "bias": Fixed(BIAS, fp16)},
        lambda x: torch.nn.functional.linear(t(x), t(WEIGHT), t(BIAS)).numpy(),
        id="weight-of-another-type",
        dtypes=(fp32,),
        opsets=MODERN,
        ulp=0.5,
    ),
    Case(
        "linear",
        {"x": X, "weight": Fixed(np.array([[1, 2, 3, -4]], np.int32))},
        lambda x: np.sum(x * [1, 2, 3, -4], axis=-1, keepdims=True),
        id="integer-weight",
        opsets=MODERN,
        ulp=0.5,
    ),
    Case(
        "linear",
        {"x": INTS, "weight": Fixed(np.array([[2**12, 1]], np.int32)), "bias": Fixed(np.array([-1], np.int32))},
        np.array([[2], [2**16 - 2**28]]),
        id="int-modulo",
    ),
    Case(
        "linear",
        {"x": np.array([[3, -3]], np.int32), "weight": Fixed(np.array([[0.5, 0.25], [-0.5, -0.25]]), fp32)},
        np.array([[0, 0]]),
        id="int-by-float-truncates",
        opsets=MODERN,
    ),
    matmul("matrices", (3, 4), (4, 5), "ij,jk->ik"),
    matmul("transposed", (4, 3), (5, 4), "ji,kj->ik", transpose_x=True, transpose_y=True),
    matmul("batches", (2, 1, 3, 4), (5, 4, 2), "abij,bjk->abik"),
    matmul("vectors", (4,), (4,), "i,i->", transpose_x=True, transpose_y=True),
    matmul("vector-on-the-left", (4,), (2, 4, 3), "j,bjk->bk"),
    matmul("vector-on-the-right", (2, 3, 4), (4,), "bij,j->bi"),
    matmul("nothing-to-sum", (2, 0), (0, 3), "ij,jk->ik"),
    Case("matmul", {"x": INTS, "y": INTS}, wrapped(INTS.astype(object) @ INTS.astype(object)), id="int-modulo"),
    Case(
        "matmul",
        {"x": X, "y": Fixed(WEIGHT.T, fp16)},
        lambda x: x @ WEIGHT.T,
        id="constant-of-another-type",
        dtypes=(fp32,),
        opsets=MODERN,
        ulp=0.5,
    ),
    Case(
        "matmul",
        {"x": Fixed(np.array([[1, -2]]), int32), "y": np.array([[0.5], [0.25]])},
        [[0.0]],
        id="constant-integer",
        opsets=MODERN,
    ),
    einsum("rank-4", "nchw,nwhu->nchu", (2, 3, 4, 5), (2, 5, 4, 6)),
    einsum("rank-3", "chw,whr->chr", (3, 4, 5), (5, 4, 6)),
    einsum("letters", "abcd,adce->abce", (2, 3, 4, 5), (2, 5, 4, 6)),
    einsum("broadcast", "nchw,nwhu->nchu", (2, 3, 1, 5), (1, 5, 4, 6)),
    einsum("summed-alone", "ijk,jl->li", (2, 3, 4), (3, 5)),
    einsum("outer", "i,j->ji", (2,), (3,)),
    einsum("diagonal", "ii,i->i", (3, 3), (3,)),
    Case(
        "einsum",
        {
            "values": [np.full((1, 1, 2), 2**20, np.int32), np.array([[[2**12]], [[3]]], np.int32)],
            "equation": "chw,whr->chr",
        },
        np.array([[[3 * 2**20]]]),
        id="int-modulo",
    ),
    Case(
        "einsum",
        {"values": [X, X, X], "equation": "abc,abc,abd->bd"},
        lambda values_0, values_1, values_2: np.sum(np.sum(values_0 * values_1, -1, keepdims=True) * values_2, axis=0),
        id="three",
        ulp=0.5,
    ),
]
