"""Transformers of numbers: scaling, normalising, imputing, choosing columns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gristmill.frontends import classic
from gristmill.frontends.classic import Kind
from gristmill.frontends.sklearn.common import learnt, require, unsupported
from gristmill.frontends.sklearn.flow import Flow, Table, width
from gristmill.frontends.sklearn.registry import transforms
from gristmill.ir.constants import Array

_ROUNDING = "to rounding"


def _scale(flow: Flow, table: Table, shift: Array | None, scale: Array | None) -> Table:
    """``scale · (x + shift)``."""
    count = width(table)
    shift = np.zeros(count) if shift is None else np.asarray(shift, np.float64)
    scale = np.ones(count) if scale is None else np.asarray(scale, np.float64)
    return (flow.add(classic.Scaler(shift, scale), [flow.array(table)], Kind.ARRAY, count),)


@transforms("StandardScaler", becomes="scaler", exactness=_ROUNDING)
def standard_scaler(flow: Flow, estimator: Any, table: Table) -> Table:
    learnt(estimator, "scale_")
    shift = -estimator.mean_ if estimator.with_mean else None
    return _scale(flow, table, shift, 1 / estimator.scale_ if estimator.with_std else None)


@transforms("RobustScaler", becomes="scaler", exactness=_ROUNDING)
def robust_scaler(flow: Flow, estimator: Any, table: Table) -> Table:
    learnt(estimator, "scale_")
    shift = -estimator.center_ if estimator.with_centering else None
    return _scale(flow, table, shift, 1 / estimator.scale_ if estimator.with_scaling else None)


@transforms("MinMaxScaler", becomes="scaler", exactness=_ROUNDING)
def min_max_scaler(flow: Flow, estimator: Any, table: Table) -> Table:
    require(estimator, "clip", False, hint="the format's scaler has no limits: clip the inputs")
    scale = learnt(estimator, "scale_")
    return _scale(flow, table, estimator.min_ / scale, scale)


@transforms("MaxAbsScaler", becomes="scaler", exactness=_ROUNDING)
def max_abs_scaler(flow: Flow, estimator: Any, table: Table) -> Table:
    if getattr(estimator, "clip", False):
        require(estimator, "clip", False, hint="the format's scaler has no limits: clip the inputs")
    return _scale(flow, table, None, 1 / learnt(estimator, "scale_"))


@transforms("Normalizer", becomes="normalizer", exactness=_ROUNDING)
def normalizer(flow: Flow, estimator: Any, table: Table) -> Table:
    array, count = flow.array(table), width(table)
    if estimator.norm != "max":
        return (flow.add(classic.Normalizer(estimator.norm.upper()), [array], Kind.ARRAY, count),)
    # The largest magnitude is the largest element of the row and its negative; the format's norm knows elements only.
    negative = flow.add(classic.Scaler(np.zeros(count), -np.ones(count)), [array], Kind.ARRAY, count)
    both = flow.array((array, negative))
    result = flow.add(classic.Normalizer("LMax"), [both], Kind.ARRAY, 2 * count)
    return flow.take((result,), range(count))


@transforms("SimpleImputer", becomes="imputer", exactness="equal; a text is missing where its input is left out")
def simple_imputer(flow: Flow, estimator: Any, table: Table) -> Table:
    require(estimator, "add_indicator", False, hint="there is no model of the format that shows what is missing")
    statistics = learnt(estimator, "statistics_")
    if table and all(feature.kind is Kind.STRING for feature in table):
        return _impute_texts(flow, estimator, table)
    try:
        values, replaced = np.asarray(statistics, np.float64), float(estimator.missing_values)
    except (TypeError, ValueError) as error:
        raise unsupported(
            estimator,
            "missing_values",
            estimator.missing_values,
            expected="a number or NaN, in columns of numbers only",
            hint="impute columns of texts and of numbers apart, with ColumnTransformer",
        ) from error
    known = np.flatnonzero(~np.isnan(values))  # columns without any value are left out
    if not len(known):
        raise unsupported(
            estimator, "statistics_", statistics, expected="a column with a value", hint="fit on more data"
        )
    array = flow.array(flow.take(table, known.tolist()))
    return (flow.add(classic.Imputer(values[known], replaced), [array], Kind.ARRAY, len(known)),)


def _impute_texts(flow: Flow, estimator: Any, table: Table) -> Table:
    missing = estimator.missing_values
    absent = not isinstance(missing, str)  # NaN, None or pandas' NA: no text at all
    results = []
    for feature, value in zip(table, estimator.statistics_, strict=True):
        if not isinstance(value, str):
            raise unsupported(estimator, "statistics_", value, expected="texts", hint="leave the empty column out")
        source = flow.optional(feature) if absent else feature
        results.append(flow.add(classic.Imputer(value, math.nan if absent else missing), [source], Kind.STRING))
    return tuple(results)


@transforms(
    "VarianceThreshold",
    "SelectKBest",
    "SelectPercentile",
    "SelectFpr",
    "SelectFdr",
    "SelectFwe",
    "GenericUnivariateSelect",
    "SelectFromModel",
    "RFE",
    "RFECV",
    "SequentialFeatureSelector",
    becomes="arrayFeatureExtractor",
    exactness="equal",
)
def selector(flow: Flow, estimator: Any, table: Table) -> Table:
    places = estimator.get_support(indices=True).tolist()
    if not places:
        raise unsupported(estimator, "get_support()", [], expected="a column or more", hint="nothing is selected")
    return flow.take(table, places)
