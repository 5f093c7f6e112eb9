"""Decision trees, forests, and gradient boosting of them.

These round features to float32 before they compare them with thresholds in float64; the histogram-based ones do not.
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
    member_of,
)
from gristmill.frontends.sklearn.common import labels, learnt, require, unsupported
from gristmill.frontends.sklearn.registry import class_name, predicts
from gristmill.ir.constants import Array

_LEAF = -1  # as a child in scikit-learn's arrays

_REGRESSION = "to rounding; decisions equal"
_CLASSIFICATION = "classes equal, probabilities to rounding; decisions equal"


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
    exactness=_REGRESSION,
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
    exactness=_CLASSIFICATION,
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


@predicts("GradientBoostingRegressor", becomes="treeEnsembleRegressor", exactness=_REGRESSION)
def boosted_regressor(estimator: Any) -> TreeEnsemble:
    roots, base = _boosted(estimator)
    return TreeEnsemble(roots, base.tolist())


@predicts("GradientBoostingClassifier", becomes="treeEnsembleClassifier", exactness=_CLASSIFICATION)
def boosted_classifier(estimator: Any) -> TreeEnsemble:
    classes = labels(estimator)
    factor = 2.0 if estimator.loss == "exponential" else 1.0  # its probability is that of twice the sum
    roots, base = _boosted(estimator, factor)
    return TreeEnsemble(roots, base.tolist(), _transform(base), classes)


def _transform(base: Array) -> TreeTransform:
    return TreeTransform.LOGISTIC if len(base) == 1 else TreeTransform.SOFTMAX


# --- histogram-based gradient boosting -------------------------------------------------------------------------------


class _Columns:
    """The features of the trees of a histogram-based estimator: which columns they are, and which categories they know.

    Categorical columns come first, as places of categories that an encoder has learnt.
    """

    def __init__(self, estimator: Any) -> None:
        categorical = learnt(estimator, "is_categorical_")
        self.places = np.arange(learnt(estimator, "_n_features"))
        self.categories: list[Array] = []
        if categorical is None:
            return
        mask = np.asarray(categorical, bool)
        self.places = np.concatenate([np.flatnonzero(mask), np.flatnonzero(~mask)])
        for found in estimator._preprocessor.named_transformers_["encoder"].categories_:
            if found.dtype.kind not in "fiub":
                raise unsupported(
                    estimator,
                    "categorical_features",
                    estimator.categorical_features,
                    expected="categories that are numbers",
                    hint="give each category a number before fitting, as OrdinalEncoder does",
                )
            numbers = found.astype(np.float64)
            self.categories.append(numbers[~np.isnan(numbers)])


def _grow_histogram(predictor: Any, columns: _Columns, dimension: int) -> Node:
    nodes: list[Any] = [None] * len(predictor.nodes)
    for number in reversed(range(len(nodes))):  # children stand after their parents
        node = predictor.nodes[number]
        if node["is_leaf"]:
            nodes[number] = Leaf({dimension: float(node["value"])})
            continue
        left, right = nodes[node["left"]], nodes[node["right"]]
        feature, missing_left = int(columns.places[node["feature_idx"]]), bool(node["missing_go_to_left"])
        if not node["is_categorical"]:
            nodes[number] = Branch(feature, float(node["num_threshold"]), left, right, missing_left)
            continue
        known = columns.categories[node["feature_idx"]]
        bits = predictor.raw_left_cat_bitsets[node["bitset_idx"]]
        is_left = np.array([bits[code // 32] >> (code % 32) & 1 for code in range(len(known))], bool)
        if missing_left:  # and so do unknown categories
            nodes[number] = member_of(feature, known[~is_left].tolist(), right, left)
        else:
            nodes[number] = member_of(feature, known[is_left].tolist(), left, right)
    root: Node = nodes[0]
    return root


def _histogram(estimator: Any) -> tuple[list[Node], Array]:
    rounds, columns = learnt(estimator, "_predictors"), _Columns(estimator)
    roots = [_grow_histogram(one, columns, place) for row in rounds for place, one in enumerate(row)]
    return roots, np.asarray(estimator._baseline_prediction, np.float64).reshape(-1)


@predicts("HistGradientBoostingRegressor", becomes="treeEnsembleRegressor", exactness=_REGRESSION)
def histogram_regressor(estimator: Any) -> TreeEnsemble:
    require(
        estimator,
        "loss",
        "squared_error",
        "absolute_error",
        "quantile",
        hint="its predictions are exponentials, which the format lacks: fit the target's logarithm instead",
    )
    roots, base = _histogram(estimator)
    return TreeEnsemble(roots, base.tolist())


@predicts("HistGradientBoostingClassifier", becomes="treeEnsembleClassifier", exactness=_CLASSIFICATION)
def histogram_classifier(estimator: Any) -> TreeEnsemble:
    classes = labels(estimator)
    roots, base = _histogram(estimator)
    return TreeEnsemble(roots, base.tolist(), _transform(base), classes)
