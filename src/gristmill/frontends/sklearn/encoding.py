"""Transformers of categories and dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.frontends import classic
from gristmill.frontends.classic import Feature, Kind, Label
from gristmill.frontends.sklearn.common import learnt, unsupported
from gristmill.frontends.sklearn.flow import Flow, Table
from gristmill.frontends.sklearn.registry import transforms


@transforms(
    "DictVectorizer",
    becomes="dictVectorizer, featureVectorizer",
    exactness="equal; a text `t` at the key `k` is given as the key `k=t` with the number 1",
)
def dict_vectorizer(flow: Flow, estimator: Any, table: Table) -> Table:
    keys = dictionary_keys(estimator)
    return (flow.add(classic.DictVectorizer(keys), table, Kind.INT64_KEYS, len(keys)),)


def dictionary_keys(estimator: Any) -> Sequence[Label]:
    """The keys that a ``DictVectorizer`` knows, texts or integers, in order."""
    keys = list(learnt(estimator, "feature_names_"))
    if keys and (all(isinstance(key, str) for key in keys) or all(isinstance(key, int) for key in keys)):
        return keys
    raise unsupported(
        estimator, "feature_names_", keys[:8], expected="all texts or all integers", hint="fit with such keys"
    )


@transforms(
    "OneHotEncoder",
    becomes="arrayFeatureExtractor, oneHotEncoder, featureVectorizer",
    exactness="equal for integers and texts",
)
def one_hot_encoder(flow: Flow, estimator: Any, table: Table) -> Table:
    unknown = estimator.handle_unknown
    grouped = getattr(estimator, "_infrequent_enabled", False)
    if grouped and any(indices is not None for indices in estimator.infrequent_categories_):
        raise unsupported(
            estimator,
            "min_frequency" if estimator.min_frequency is not None else "max_categories",
            estimator.min_frequency if estimator.min_frequency is not None else estimator.max_categories,
            expected="no infrequent categories",
            hint="replace rare categories by one before fitting",
        )
    parts: Table = ()
    for place, found in enumerate(learnt(estimator, "categories_")):
        (column,) = flow.take(table, [place])
        categories = _categories(estimator, found)
        source = column if isinstance(categories[0], str) else flow.integer(column)
        encoder = classic.OneHotEncoder(categories, ignores_unknown=unknown != "error")
        encoded = flow.add(encoder, [source], Kind.INT64_KEYS, len(categories))
        parts += _without_dropped(flow, encoded, estimator.drop_idx_, place)
    return parts


def _categories(estimator: Any, found: Any) -> list[Label]:
    values = np.asarray(found).tolist()
    if all(isinstance(value, str) for value in values):
        return [str(value) for value in values]
    if all(isinstance(value, bool | int | float) and value == value and value == int(value) for value in values):
        return [int(value) for value in values]
    raise unsupported(
        estimator,
        "categories_",
        values[:8],
        expected="all texts, or all integers",
        hint="impute missing values and give other categories numbers before",
    )


def _without_dropped(flow: Flow, encoded: Feature, dropped: Any, place: int) -> Table:
    if dropped is None or dropped[place] is None:
        return (encoded,)
    kept = [at for at in range(encoded.size) if at != dropped[place]]
    return flow.take((encoded,), kept) if kept else ()


def is_text(categories: Any) -> bool:
    """Whether what an estimator has learnt of a column are texts."""
    return any(isinstance(value, str) for value in np.asarray(categories).reshape(-1).tolist())
