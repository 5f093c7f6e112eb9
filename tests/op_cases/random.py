"""Cases of ``gristmill.ops.random``: bounds and moments, since no generator is prescribed."""

from __future__ import annotations

import math

import numpy as np

from gristmill.ir.types import fp16
from tests.op_cases.case import Case, Fixed

SIZES = np.array([40, 50], np.int32)
COUNT = 2000
WEIGHTS = np.array([[1.0, 0.0, 3.0], [2.0, 2.0, 0.0]])


def near(value, expected, deviation):
    """Within five standard errors, which a right generator misses once in two million draws; the seed is fixed."""
    assert abs(value - expected) < 5 * deviation / math.sqrt(COUNT)


def distribution(mean, deviation, low=-np.inf, high=np.inf):
    def check(got):
        got = got.astype(np.float64)
        assert got.shape == (40, 50)
        near(got.mean(), mean, deviation)
        near((got - mean).std(), deviation, deviation)
        assert low <= got.min()
        assert got.max() <= high
        assert np.unique(got).size > 200

    return check


def zeros_and_ones(probability):
    def check(got):
        assert set(np.unique(got)) == {0.0, 1.0}
        near(got.astype(np.float64).mean(), probability, math.sqrt(probability * (1 - probability)))

    return check


def categories(got):
    """Counts of the draws follow the weights; what has no weight is never drawn."""
    assert got.shape == (2, COUNT)
    shares = [[np.mean(row == k) for k in range(3)] for row in got]
    for row, weights in zip(shares, WEIGHTS / WEIGHTS.sum(axis=1, keepdims=True), strict=True):
        for share, weight in zip(row, weights, strict=True):
            near(share, weight, math.sqrt(weight * (1 - weight)) or 1e-9)


def is_half(got):
    assert got.dtype == np.float16


CASES = [
    Case("random_bernoulli", {"shape": SIZES, "prob": 0.25, "seed": 1}, None, check=zeros_and_ones(0.25)),
    Case("random_bernoulli", {"shape": SIZES, "seed": 1}, None, id="default", check=zeros_and_ones(0.5)),
    Case("random_bernoulli", {"shape": SIZES, "prob": Fixed(0.5, fp16)}, None, id="float16", check=is_half),
    Case(
        "random_categorical",
        {"x": WEIGHTS, "mode": "probs", "size": COUNT, "seed": 1},
        None,
        id="weights",
        check=categories,
    ),
    Case(
        "random_categorical",
        {"x": np.log(np.maximum(WEIGHTS, 1e-30)), "size": COUNT, "seed": 1},
        None,
        id="logarithms",
        check=categories,
    ),
    Case("random_categorical", {"x": np.array([-50.0, 50.0])}, [1.0], id="certain"),
    Case("random_normal", {"shape": SIZES, "seed": 1}, None, id="default", check=distribution(0, 1)),
    Case(
        "random_normal",
        {"shape": SIZES, "mean": -3.0, "stddev": 0.5, "seed": 1},
        None,
        check=distribution(-3, 0.5),
    ),
    Case(
        "random_uniform",
        {"shape": SIZES, "seed": 1},
        None,
        id="default",
        check=distribution(0.5, 12**-0.5, 0, 0.9999999),
    ),
    Case(
        "random_uniform",
        {"shape": SIZES, "low": -2.0, "high": 4.0, "seed": 1},
        None,
        check=distribution(1, 6 * 12**-0.5, -2, 4),
    ),
]
