"""Tree ensembles: every branch mode, missing values, sums and what follows them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import FormatError, InputError
from tests.models.classic import specs

NAN = math.nan


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("BranchOnValueLessThanEqual", [10, 10, 20]),
        ("BranchOnValueLessThan", [10, 20, 20]),
        ("BranchOnValueGreaterThanEqual", [20, 10, 10]),
        ("BranchOnValueGreaterThan", [20, 20, 10]),
        ("BranchOnValueEqual", [20, 10, 20]),
        ("BranchOnValueNotEqual", [10, 20, 10]),
    ],
)
def test_branch_modes(mode, expected):
    """Values under, at and over the threshold of 2."""
    model = ct.models.MLModel(specs.stump(mode))
    assert [row["y"] for row in model.predict([{"x": [1.0]}, {"x": [2.0]}, {"x": [3.0]}])] == expected


@pytest.mark.parametrize(("missing", "expected"), [(True, 10), (False, 20)])
def test_missing_values_follow_the_flag(missing, expected):
    for mode in ("BranchOnValueLessThanEqual", "BranchOnValueGreaterThan", "BranchOnValueNotEqual"):
        assert specs.run(specs.stump(mode, missing), x=[NAN]) == {"y": expected}


def test_thresholds_compare_in_double_precision():
    """The next double above 2 is not 2."""
    assert specs.run(specs.stump(), x=np.array([np.nextafter(2, 3)])) == {"y": 20}


def random_tree(generator, trees, tree, depth, features):
    """A complete tree with any modes, and the same tree as a function of a row."""
    modes = {
        "BranchOnValueLessThanEqual": lambda v, t: v <= t,
        "BranchOnValueLessThan": lambda v, t: v < t,
        "BranchOnValueGreaterThanEqual": lambda v, t: v >= t,
        "BranchOnValueGreaterThan": lambda v, t: v > t,
        "BranchOnValueEqual": lambda v, t: v == t,
        "BranchOnValueNotEqual": lambda v, t: v != t,
    }

    def grow(node, level):
        if level == depth or generator.random() < 0.2:
            values = generator.normal(size=trees.numPredictionDimensions)
            specs.leaf(trees, tree, node, *values)
            return lambda row: values
        feature, value = int(generator.integers(features)), float(generator.integers(-2, 3))
        mode = str(generator.choice(list(modes)))
        missing = bool(generator.integers(2))
        specs.branch(
            trees, tree, node, feature, mode, value, (2 * node + 1, 2 * node + 2)
        ).missingValueTracksTrueChild = missing
        yes, no = grow(2 * node + 1, level + 1), grow(2 * node + 2, level + 1)

        def walk(row):
            holds = missing if math.isnan(row[feature]) else modes[mode](row[feature], value)
            return yes(row) if holds else no(row)

        return walk

    return grow(0, 0)


@pytest.mark.parametrize("width", [1, 3])
def test_ensembles_equal_walking_one_tree_after_the_other(width):
    """Trees of any depths and modes, over rows with missing values; sums within an ulp of the terms for each tree."""
    generator = np.random.default_rng(width)
    spec = specs.model({"x": (4,)}, {"y": (width,)}, "y")
    trees = spec.treeEnsembleRegressor.treeEnsemble
    trees.numPredictionDimensions = width
    base = generator.normal(size=width)
    trees.basePredictionValue.extend(base)
    walks = [random_tree(generator, trees, tree, int(generator.integers(7)), 4) for tree in range(30)]
    x = generator.integers(-2, 3, (200, 4)).astype(float)
    x[generator.random(x.shape) < 0.2] = NAN
    expected = [base + sum(walk(row) for walk in walks) for row in x]
    got = [row["y"] for row in ct.models.MLModel(spec).predict([{"x": row} for row in x])]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)


def softmax(*scores):
    powers = [math.exp(s) for s in scores]
    return [p / sum(powers) for p in powers]


@pytest.mark.parametrize(
    ("labels", "scores", "transform", "label", "expected"),
    [
        ("ab", [0.25, 0.75], "NoTransform", "b", [0.25, 0.75]),
        ("ab", [0.25], "NoTransform", "a", [0.75, 0.25]),
        ("ab", [math.log(3)], "Regression_Logistic", "b", [0.25, 0.75]),
        ("abc", [1, 2, 0.5], "Classification_SoftMax", "b", softmax(1, 2, 0.5)),
        ("abc", [1, -2], "Classification_SoftMaxWithZeroClassReference", "b", softmax(0, 1, -2)),
        ("abc", [0.0, 0.0, 0.0], "Classification_SoftMax", "a", [1 / 3] * 3),
        ("ab", [900.0], "Regression_Logistic", "b", [0, 1]),
    ],
)
def test_probabilities(labels, scores, transform, label, expected):
    """Expected values by the formulas' definitions."""
    result = specs.run(specs.tree_classifier(list(labels), scores, transform), x=[0.0])
    assert result["label"] == label
    assert result["p"] == pytest.approx(dict(zip(labels, expected, strict=True)), abs=1e-15)


def test_integer_labels_are_integers():
    result = specs.run(specs.tree_classifier([7, -3], [0.25, 0.75]), x=[0.0])
    assert result == {"label": -3, "p": {7: 0.25, -3: 0.75}}
    assert type(result["label"]) is int


def test_regression_logistic():
    spec = specs.stump()
    spec.treeEnsembleRegressor.postEvaluationTransform = 2
    spec.treeEnsembleRegressor.treeEnsemble.basePredictionValue[0] = -10
    assert specs.run(spec, x=[0.0]) == {"y": 0.5}


def spoil_root(trees):
    trees.nodes[1].nodeId = 5


def spoil_cycle(trees):
    trees.nodes[0].trueChildNodeId = 0


def spoil_second_parent(trees):
    trees.nodes[0].falseChildNodeId = 1


def spoil_leaf(trees):
    trees.nodes[1].evaluationInfo[0].evaluationIndex = 1 << 40


def spoil_dimensions(trees):
    trees.numPredictionDimensions = 1 << 60


def spoil_threshold(trees):
    trees.nodes[0].branchFeatureValue = NAN


def spoil_twice(trees):
    trees.nodes[2].nodeId = 1


def spoil_feature(trees):
    trees.nodes[0].branchFeatureIndex = 1


def spoil_all(trees):
    del trees.nodes[:]


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_root,
        spoil_cycle,
        spoil_second_parent,
        spoil_leaf,
        spoil_dimensions,
        spoil_threshold,
        spoil_twice,
        spoil_feature,
        spoil_all,
    ],
)
def test_malformed_trees(spoil):
    spec = specs.stump()
    spoil(spec.treeEnsembleRegressor.treeEnsemble)
    with pytest.raises(FormatError):
        specs.run(spec, x=[1.0])


def test_another_number_of_features():
    with pytest.raises(InputError, match="shape"):
        specs.run(specs.stump(), x=[1.0, 2.0])
