"""Estimators made of others: pipelines, transformers side by side, searches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gristmill.frontends.sklearn import histograms, registry
from gristmill.frontends.sklearn.common import UnsupportedEstimatorError, learnt, unsupported
from gristmill.frontends.sklearn.encoding import is_text
from gristmill.frontends.sklearn.flow import Flow, Table
from gristmill.frontends.sklearn.registry import class_name, transforms

_SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")

_PARTS = "as its parts"


def steps(estimator: Any) -> Iterator[Any]:
    """The estimators that an estimator applies one after the other: itself, or a pipeline's, or a search's best."""
    if isinstance(estimator, list | tuple):
        for one in estimator:
            yield from steps(one)
    elif class_name(estimator) == "Pipeline":
        for _, step in estimator.steps:
            if step is not None and not (isinstance(step, str) and step == "passthrough"):
                yield from steps(step)
    elif class_name(estimator) in _SEARCHES:
        yield from steps(learnt(estimator, "best_estimator_"))
    else:
        yield estimator


def apply(flow: Flow, estimator: Any, table: Table) -> Table:
    """Adds the models of a transformer, which may be a pipeline of some.

    Raises:
        UnsupportedEstimatorError: It cannot be expressed.
    """
    for step in steps(estimator):
        function = registry.transformer(step)
        if function is None:
            raise unknown(step)
        table = function(flow, step, table)
    return table


def unknown(estimator: Any) -> UnsupportedEstimatorError:
    """An error about an estimator that has no mapping, or stands where it must not."""
    name = class_name(estimator)
    if registry.predictor(estimator) is not None:
        return UnsupportedEstimatorError(
            f"{name} stands before the end of a pipeline",
            op=name,
            expected="transformers, and a classifier or regressor at the end",
            hint="convert it alone, or leave out what follows",
        )
    known = ", ".join(known for known, _ in registry.rows())
    return UnsupportedEstimatorError(
        f"{name} is not converted",
        op=name,
        expected=f"one of scikit-learn's {known}",
        hint="use one of these in its place, or compute it in the application, outside the converted model",
    )


@transforms("Pipeline", becomes="pipeline", exactness=_PARTS)
def pipeline(flow: Flow, estimator: Any, table: Table) -> Table:
    return apply(flow, estimator, table)


@transforms("FunctionTransformer", becomes="no model", exactness="equal; without a function only")
def function_transformer(flow: Flow, estimator: Any, table: Table) -> Table:
    if estimator.func is not None:
        raise unsupported(
            estimator, "func", estimator.func, expected="func=None", hint="call the function in the application"
        )
    return table


@transforms(
    "ColumnTransformer", becomes="arrayFeatureExtractor, featureVectorizer, those of its parts", exactness=_PARTS
)
def column_transformer(flow: Flow, estimator: Any, table: Table) -> Table:
    _no_weights(estimator)
    parts: Table = ()
    for transformer, places in _column_parts(estimator):
        parts += apply(flow, transformer, flow.take(table, places))
    return parts


def _column_parts(estimator: Any) -> Iterator[tuple[Any, Sequence[int]]]:
    """The transformers of a ``ColumnTransformer`` that give something, each with its columns' places."""
    places = learnt(estimator, "_transformer_to_input_indices")
    for name, transformer, _ in learnt(estimator, "transformers_"):
        own = np.asarray(places[name], int).tolist()
        if own and not (isinstance(transformer, str) and transformer == "drop"):
            yield ([] if isinstance(transformer, str) else transformer), own  # no steps pass columns through


@transforms("FeatureUnion", becomes="featureVectorizer, those of its parts", exactness=_PARTS)
def feature_union(flow: Flow, estimator: Any, table: Table) -> Table:
    _no_weights(estimator)
    parts: Table = ()
    for transformer in _union_parts(estimator):
        parts += apply(flow, transformer, table)
    return parts


def _union_parts(estimator: Any) -> list[Any]:
    used = [one for _, one in estimator.transformer_list if not (isinstance(one, str) and one == "drop")]
    return [[] if isinstance(one, str) else one for one in used]


def _no_weights(estimator: Any) -> None:
    if estimator.transformer_weights:
        raise unsupported(
            estimator,
            "transformer_weights",
            estimator.transformer_weights,
            expected="transformer_weights=None",
            hint="scale columns with a scaler in each part",
        )


def text_columns(estimator: Any) -> set[int]:
    """Places of the columns in which an estimator expects texts, of those that its first step is given."""
    first = next(steps(estimator), None)
    match class_name(first):
        case "OneHotEncoder":
            return {place for place, found in enumerate(learnt(first, "categories_")) if is_text(found)}
        case "SimpleImputer":
            return {place for place, value in enumerate(learnt(first, "statistics_")) if is_text(value)}
        case "ColumnTransformer":
            parts = list(_column_parts(first))
            return {places[within] for one, places in parts for within in text_columns(one)}
        case "FeatureUnion":
            return {place for one in _union_parts(first) for place in text_columns(one)}
        case "HistGradientBoostingClassifier" | "HistGradientBoostingRegressor":
            return {place for place, found in histograms.column_categories(first).items() if is_text(found)}
        case _:
            return set()
