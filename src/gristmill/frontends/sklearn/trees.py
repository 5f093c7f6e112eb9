"""Decision trees, forests, and gradient boosting of them.

These round features to float32 before they compare them with thresholds in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.frontends.classic import (
    Branch,
    Leaf,
    Node,
    TreeEnsemble,
    TreeTransform,
    float32_at_most,
)
from gristmill.frontends.sklearn.common import labels, learnt, unsupported
from gristmill.frontends.sklearn.registry import class_name, predicts
from gristmill.ir.constants import Array

_LEAF = -1  # as a child in scikit-learn's arrays

REGRESSION = "to rounding; decisions equal"
CLASSIFICATION = "classes equal but for equal probabilities, which go to rounding; decisions equal"


def _grow(tree: Any, values: Array, first: int | None = None) -> Node:
    """A tree of scikit-learn's arrays.

    Args:
        tree: The ``Tree``.
        values: What nodes add, ``[nodes, dimensions]``.
        first: The dimension of the first value, where others are not added to.
    """
    thresholds = float32_at_most(tree.threshold).tolist()
    features, missing = tree.feature.tolist(), np.asarray(tree.missing_go_to_left, bool).tolist()
    left, right = tree.children_left.tolist(), tree.children_right.tolist()
    nodes: list[Any] = [None] * tree.node_count
    for number in reversed(range(tree.node_count)):  # children stand after their parents
        if left[number] == _LEAF:
            nodes[number] = Leaf(dict(enumerate(values[number].tolist(), first or 0)))
        else:
            below = nodes[left[number]], nodes[right[number]]
            nodes[number] = Branch(features[number], thresholds[number], *below, missing[number])
    root: Node = nodes[0]
    return root


def _one_output(estimator: Any) -> None:
    if learnt(estimator, "n_outputs_") != 1:
        raise unsupported(
            estimator, "n_outputs_", estimator.n_outputs_, expected="1", hint="fit an estimator for each output"
        )


def _trees(estimator: Any) -> Sequence[Any]:
    """The trees of a forest, or the one tree."""
    return [tree.tree_ for tree in getattr(estimator, "estimators_", None) or [estimator]]


@predicts(
    "DecisionTreeRegressor",
    "ExtraTreeRegressor",
    "RandomForestRegressor",
    "ExtraTreesRegressor",
    becomes="treeEnsembleRegressor",
    exactness=REGRESSION,
)
def mean_of_trees(estimator: Any) -> TreeEnsemble:
    _one_output(estimator)
    trees = _trees(estimator)
    return TreeEnsemble([_grow(tree, tree.value[:, 0] / len(trees)) for tree in trees], [0.0])


@predicts(
    "DecisionTreeClassifier",
    "ExtraTreeClassifier",
    "RandomForestClassifier",
    "ExtraTreesClassifier",
    becomes="treeEnsembleClassifier",
    exactness=CLASSIFICATION,
)
def mean_of_classifying_trees(estimator: Any) -> TreeEnsemble:
    classes = labels(estimator)
    trees = _trees(estimator)
    roots = [_grow(tree, tree.value[:, 0] / len(trees)) for tree in trees]
    return TreeEnsemble(roots, [0.0] * len(classes), labels=classes)


def _boosted(estimator: Any, factor: float = 1.0) -> tuple[list[Node], Array]:
    """The trees and the base of boosted trees.

    Raises:
        UnsupportedEstimatorError: What boosting began with differs from row to row.
    """
    rounds = learnt(estimator, "estimators_")
    if class_name(estimator.init_) not in ("DummyClassifier", "DummyRegressor") and estimator.init_ != "zero":
        raise unsupported(
            estimator, "init", estimator.init, expected="init=None or 'zero'", hint="the format adds trees to constants"
        )
    scale = factor * estimator.learning_rate
    roots = [_grow(one.tree_, scale * one.tree_.value[:, 0], place) for row in rounds for place, one in enumerate(row)]
    start = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), np.float32))
    return roots, factor * np.asarray(start, np.float64)[0]


@predicts("GradientBoostingRegressor", becomes="treeEnsembleRegressor", exactness=REGRESSION)
def boosted_regressor(estimator: Any) -> TreeEnsemble:
    roots, base = _boosted(estimator)
    return TreeEnsemble(roots, base.tolist())


@predicts("GradientBoostingClassifier", becomes="treeEnsembleClassifier", exactness=CLASSIFICATION)
def boosted_classifier(estimator: Any) -> TreeEnsemble:
    classes = labels(estimator)
    factor = 2.0 if estimator.loss == "exponential" else 1.0  # its probability is that of twice the sum
    roots, base = _boosted(estimator, factor)
    return TreeEnsemble(roots, base.tolist(), transform_of(base), classes)


def transform_of(base: Array) -> TreeTransform:
    """What makes probabilities of a classifier's sums: one for two classes, or one for each class."""
    return TreeTransform.LOGISTIC if len(base) == 1 else TreeTransform.SOFTMAX
