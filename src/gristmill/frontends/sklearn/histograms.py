"""Histogram-based gradient boosting: trees with missing values and categories.

These compare features in float64, as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.frontends import classic
from gristmill.frontends.classic import Branch, Kind, Leaf, Node, TreeEnsemble, TreeTransform, member_of
from gristmill.frontends.sklearn.common import labels, learnt, require, unsupported
from gristmill.frontends.sklearn.flow import Flow, Table
from gristmill.frontends.sklearn.registry import predicts, prepares
from gristmill.frontends.sklearn.trees import CLASSIFICATION, REGRESSION, transform_of
from gristmill.ir.constants import Array

_ESTIMATORS = ("HistGradientBoostingRegressor", "HistGradientBoostingClassifier")
_UNKNOWN = -1
_EXPONENTIAL = ("gamma", "poisson")
"""Losses whose predictions are exponentials of the trees' sums."""


def _places(estimator: Any) -> Array:
    """Where the trees' features stand among the columns: categorical ones come first."""
    categorical = learnt(estimator, "is_categorical_")
    if categorical is None:
        return np.arange(estimator._n_features)
    mask = np.asarray(categorical, bool)
    return np.concatenate([np.flatnonzero(mask), np.flatnonzero(~mask)])


def column_categories(estimator: Any) -> dict[int, list[Any]]:
    """The known categories of categorical columns, by the columns' places: numbers or texts, without missing ones."""
    if learnt(estimator, "is_categorical_") is None:
        return {}
    encoder = estimator._preprocessor.named_transformers_["encoder"]
    found = {}
    for place, categories in zip(_places(estimator).tolist(), encoder.categories_, strict=False):
        known = [one for one in categories.tolist() if one is not None and one == one]
        kinds = {isinstance(one, str) for one in known}
        if len(kinds) > 1 or not all(isinstance(one, str | bool | int | float) for one in known):
            raise unsupported(
                estimator,
                "categorical_features",
                estimator.categorical_features,
                expected="columns whose categories are numbers, or texts",
                hint=f"give the categories of column {place} numbers before fitting, as OrdinalEncoder does",
            )
        found[place] = known
    return found


def _numbers(categories: list[Any]) -> Array:
    """What the trees compare with: categories that are numbers, and the places of those that are texts."""
    texts = any(isinstance(one, str) for one in categories)
    return np.asarray(range(len(categories)) if texts else categories, np.float64)


@prepares(*_ESTIMATORS)
def texts_to_numbers(flow: Flow, estimator: Any, table: Table) -> Table:
    """Columns whose categories are texts become these texts' places; a text that is left out is an unknown one."""
    for place, categories in column_categories(estimator).items():
        if not any(isinstance(one, str) for one in categories):
            continue
        (column,) = flow.take(table, [place])
        nothing = max(categories, key=len) + "?"  # no category
        given = flow.add(classic.Imputer(nothing), [flow.optional(column)], Kind.STRING)
        mapping = classic.CategoricalMapping({text: number for number, text in enumerate(categories)}, _UNKNOWN)
        number = flow.add(mapping, [given], Kind.INT64)
        table = tuple(number if feature == column else feature for feature in table)
    return table


def _grow(predictor: Any, places: Array, numbers: dict[int, Array], dimension: int) -> Node:
    nodes: list[Any] = [None] * len(predictor.nodes)
    for number in reversed(range(len(nodes))):  # children stand after their parents
        node = predictor.nodes[number]
        if node["is_leaf"]:
            nodes[number] = Leaf({dimension: float(node["value"])})
            continue
        left, right = nodes[node["left"]], nodes[node["right"]]
        feature, missing_left = int(places[node["feature_idx"]]), bool(node["missing_go_to_left"])
        if not node["is_categorical"]:
            nodes[number] = Branch(feature, float(node["num_threshold"]), left, right, missing_left)
            continue
        bits = predictor.raw_left_cat_bitsets[node["bitset_idx"]].tolist()
        is_left = np.array([bits[code // 32] >> (code % 32) & 1 for code in range(len(numbers[feature]))], bool)
        if missing_left:  # and so do unknown categories
            nodes[number] = member_of(feature, numbers[feature][~is_left].tolist(), right, left)
        else:
            nodes[number] = member_of(feature, numbers[feature][is_left].tolist(), left, right)
    root: Node = nodes[0]
    return root


def _ensemble(estimator: Any) -> tuple[list[Node], Array]:
    rounds, places = learnt(estimator, "_predictors"), _places(estimator)
    numbers = {place: _numbers(categories) for place, categories in column_categories(estimator).items()}
    roots = [_grow(one, places, numbers, dimension) for row in rounds for dimension, one in enumerate(row)]
    return roots, np.asarray(estimator._baseline_prediction, np.float64).reshape(-1)


@predicts("HistGradientBoostingRegressor", becomes="treeEnsembleRegressor", exactness=REGRESSION)
def histogram_regressor(estimator: Any) -> TreeEnsemble:
    require(
        estimator, "loss", "squared_error", "absolute_error", "quantile", *_EXPONENTIAL, hint="fit it with one of these"
    )
    roots, base = _ensemble(estimator)
    exponential = estimator.loss in _EXPONENTIAL
    return TreeEnsemble(roots, base.tolist(), TreeTransform.EXPONENTIAL if exponential else TreeTransform.NONE)


@predicts("HistGradientBoostingClassifier", becomes="treeEnsembleClassifier", exactness=CLASSIFICATION)
def histogram_classifier(estimator: Any) -> TreeEnsemble:
    classes = labels(estimator)
    roots, base = _ensemble(estimator)
    return TreeEnsemble(roots, base.tolist(), transform_of(base), classes)
