"""Data and checks for the converters of boosted trees and of LIBSVM."""

from __future__ import annotations

import numpy as np

ROWS = 1000


def grid(rows: int, columns: int, seed: int, missing: bool = True):
    """Numbers of two decimals from -2 to 2, the same ones everywhere; every tenth is missing.

    Most have no float32 that equals them, so whoever compares float64 numbers with float32 thresholds decides otherwise
    than a library that rounds first.
    """
    state = np.arange(1, rows * columns + 1, dtype=np.uint64) + np.uint64(seed << 32)
    for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):  # the mixing function of SplitMix64
        state = (state ^ (state >> np.uint64(30))) * np.uint64(factor)
    bits = (state ^ (state >> np.uint64(31))).reshape(rows, columns)
    numbers = (bits % np.uint64(401)).astype(float) / 100 - 2
    return np.where(bits >> np.uint64(40) & np.uint64(1023) < 102, np.nan, numbers) if missing else numbers


X, NEW = grid(600, 5, seed=1), grid(ROWS, 5, seed=2)
"""What the tests' models learn from, and what they predict for."""

SCORE = np.nan_to_num(X) @ [1, -1, 0.5, 2, 0] + (X[:, 0] > 0) * np.nan_to_num(X[:, 1])
TWO = (SCORE > 0).astype(int)
THREE = np.digitize(SCORE, [-1, 1])


def with_categories(x, seed: int):
    """Categories 0 to 11 and 0 to 2 in the first two columns, with missing and unknown ones."""
    x = x.copy()
    codes = np.nan_to_num(grid(len(x), 2, seed, missing=False) * 100).astype(int)
    x[:, 0], x[:, 1] = codes[:, 0] % 14, codes[:, 1] % 3
    x[::9, :2] = np.nan
    return x


def near(thresholds, features: int):
    """Rows of features at, beside and between float32 neighbours of thresholds: all that rounding could decide."""
    t = np.unique(np.asarray(thresholds, np.float32))
    below, above = np.nextafter(t, np.float32(-np.inf)), np.nextafter(t, np.float32(np.inf))
    exact = [edge.astype(float) for edge in (below, t, above)]
    middles = [(exact[0] + exact[1]) / 2, (exact[1] + exact[2]) / 2]
    values = np.concatenate(exact + middles)
    values = np.concatenate([values, np.nextafter(values, -np.inf), np.nextafter(values, np.inf)])
    return np.repeat(values[:, None], features, axis=1)


def predictions(model, x):
    """What a converted model gives for each row."""
    names = [feature.name for feature in model.get_spec().description.input]
    return model.predict([dict(zip(names, row, strict=True)) for row in x.tolist()])


def numbers(model, x):
    """A regressor's results."""
    return np.array([row["target"] for row in predictions(model, x)])


def classes(model, x):
    """A classifier's labels and probabilities."""
    rows = predictions(model, x)
    return np.array([row["target"] for row in rows]), np.array([list(row["classProbability"].values()) for row in rows])


def check_two(model, x, second, atol):
    """A classifier of two labels agrees with the probabilities of the second one."""
    second = np.asarray(second, np.float64)
    labels, shares = classes(model, x)
    np.testing.assert_array_equal(labels, second > 0.5)
    np.testing.assert_allclose(shares, np.stack([1 - second, second], axis=1), rtol=0, atol=atol)


def check_many(model, x, probabilities, atol):
    """A classifier of more labels agrees with their probabilities."""
    labels, shares = classes(model, x)
    np.testing.assert_array_equal(labels, np.argmax(probabilities, axis=1))
    np.testing.assert_allclose(shares, probabilities, rtol=0, atol=atol)


def softmax(scores):
    powers = np.exp(np.asarray(scores, np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


def thresholds(model):
    """What the branches of a converted model compare with."""
    spec = model.get_spec()
    nodes = getattr(spec, spec.WhichOneof("Type")).treeEnsemble.nodes
    return [node.branchFeatureValue for node in nodes if node.nodeBehavior != node.LeafNode]
