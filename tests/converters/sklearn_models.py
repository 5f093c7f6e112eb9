"""Data, and how what is converted from scikit-learn is held against it.

Probabilities and numbers agree to 1e-9 of their size: both sides compute in float64, and differ in the order of sums
and in dividing by a number or multiplying by its inverse.
"""

from __future__ import annotations

import numpy as np
import pytest

import gristmill as ct

TOLERANCE = 1e-9
ROWS = 1000
RNG = np.random.default_rng(7)
X = RNG.normal(size=(300, 5)) * [1, 10, 0.1, 1, 100] + [0, 5, 0, -3, 20]
SCORE = X @ [1, 0.2, 8, -1, 0.01] + RNG.normal(size=300)
TWO = np.where(np.median(SCORE) < SCORE, "yes", "no")
THREE = np.digitize(SCORE, np.quantile(SCORE, [0.3, 0.7])) * 10
NEW = RNG.normal(size=(ROWS, 5)) * [1, 10, 0.1, 1, 100] + [0, 5, 0, -3, 20]


def with_gaps(x):
    """A fifth of the values is missing, in all columns but the last."""
    gaps = np.random.default_rng(1).random(x.shape) < 0.2
    gaps[:, -1] = False
    return np.where(gaps, np.nan, x)


def convert(estimator, *arguments):
    """The converted model, as coremltools and Gristmill read it from a file."""
    return ct.converters.sklearn.convert(estimator, *arguments)


def predictions(model, x, name="input"):
    """What a model gives for each row."""
    return model.predict([{name: row} for row in x])


def check_classifier(estimator, x, probabilities=True):
    found = predictions(convert(estimator), x)
    classes = np.array([row["classLabel"] for row in found])
    decided = np.ones(len(classes), bool)
    if probabilities:  # few trees share some rows out equally: then roundings decide, of sums here, of their mean there
        expected = estimator.predict_proba(x)
        chosen = expected[np.arange(len(x)), np.searchsorted(estimator.classes_, classes)]
        np.testing.assert_allclose(chosen, expected.max(axis=1), rtol=0, atol=1e-12)
        decided = (expected > expected.max(axis=1, keepdims=True) - 1e-12).sum(axis=1) == 1
        assert decided.mean() > 0.75
    np.testing.assert_array_equal(classes[decided], estimator.predict(x)[decided])
    if probabilities:
        shares = [list(row["classProbability"].values()) for row in found]
        np.testing.assert_allclose(shares, expected, rtol=0, atol=TOLERANCE)
        assert list(found[0]["classProbability"]) == estimator.classes_.tolist()


def check_regressor(estimator, x):
    found = [row["prediction"] for row in predictions(convert(estimator), x)]
    np.testing.assert_allclose(found, estimator.predict(x), rtol=TOLERANCE, atol=TOLERANCE)


def check_transformer(estimator, x):
    found = [row["transformed_features"] for row in predictions(convert(estimator), x)]
    expected = estimator.transform(x)
    expected = expected.toarray() if hasattr(expected, "toarray") else expected
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def parameters(*estimators):
    return [pytest.param(one, id=repr(one).replace("\n", "")) for one in estimators]
