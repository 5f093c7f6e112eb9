"""Estimators of scikit-learn as descriptions of classic models.

They are read by their attributes; scikit-learn itself is not imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gristmill.errors import InputError, InputTypeError
from gristmill.frontends.classic import Feature, Kind, Stage
from gristmill.frontends.sklearn import (  # the families register their functions
    composition,
    encoding,
    histograms,
    linear,
    neighbors,
    registry,
    scaling,
    support_vectors,
    trees,
)
from gristmill.frontends.sklearn.common import UnsupportedEstimatorError, learnt
from gristmill.frontends.sklearn.flow import Flow, width

FAMILIES = (linear, trees, histograms, support_vectors, neighbors, scaling, encoding, composition)

__all__ = ["FAMILIES", "UnsupportedEstimatorError", "convert"]


def convert(estimator: Any, inputs: str | Sequence[Feature]) -> Flow:
    """Describes a fitted estimator.

    Args:
        estimator: A classifier, regressor or transformer, a pipeline of them, or a list that is applied in order.
        inputs: The name of one array of all columns, or a feature for each column or several columns. With a name,
            columns of texts make each column a feature of its own.

    Returns:
        The models; the last one is the classifier or regressor, or gives the transformer's array.

    Raises:
        UnsupportedEstimatorError: Core ML cannot express an estimator, or a parameter of it.
        InputTypeError: It has not been fitted, or the features do not suit it.
    """
    everything = list(composition.steps(estimator))
    if not everything:
        raise InputError("there is no estimator", expected="one or more", actual=estimator)
    *before, last = everything
    predictor = registry.predictor(last)
    description = predictor(last) if predictor is not None else None
    flow = Flow(_features(everything, inputs))
    table = composition.apply(flow, before, tuple(flow.inputs))
    if description is None:
        flow.finish(composition.apply(flow, last, table))
        return flow
    prepare = registry.preparation(last)
    if prepare is not None:
        table = prepare(flow, last, table)
    flow.stages.append(Stage(description, (flow.array(table),)))
    return flow


def _features(estimators: list[Any], inputs: str | Sequence[Feature]) -> list[Feature]:
    """The inputs, with columns of texts as such."""
    first = estimators[0]
    if registry.class_name(first) == "DictVectorizer":
        return [_dictionary(first, inputs)]
    if registry.predictor(first) is None and registry.transformer(first) is None:
        raise composition.unknown(first)
    count, texts = int(learnt(first, "n_features_in_")), composition.text_columns(estimators)
    if isinstance(inputs, str):
        if not texts:
            return [Feature(inputs, Kind.ARRAY, count)]
        names = [inputs] if count == 1 else [f"{inputs}_{place}" for place in range(count)]
        inputs = [Feature(str(name)) for name in getattr(first, "feature_names_in_", names)]
    if width(tuple(inputs)) != count:
        raise InputTypeError(
            "the features have another number of columns than the estimator was fitted with",
            op=registry.class_name(first),
            expected=count,
            actual=width(tuple(inputs)),
        )
    result, place = [], 0
    for feature in inputs:
        result.append(replace(feature, kind=Kind.STRING) if place in texts and feature.kind is Kind.DOUBLE else feature)
        place += feature.size
    return result


def _dictionary(estimator: Any, inputs: str | Sequence[Feature]) -> Feature:
    texts = isinstance(encoding.dictionary_keys(estimator)[0], str)
    kind = Kind.STRING_KEYS if texts else Kind.INT64_KEYS
    if isinstance(inputs, str):
        return Feature(inputs, kind)
    if len(inputs) == 1 and inputs[0].kind is kind:
        return inputs[0]
    raise InputTypeError(
        "DictVectorizer takes one dictionary",
        op="DictVectorizer",
        expected=f"a name, or a name with a {kind.value}",
        actual=[f"{feature.name}: {feature.kind.value}" for feature in inputs],
    )
