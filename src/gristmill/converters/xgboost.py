"""The converter of XGBoost's models."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from gristmill.converters.boosted import write_boosted
from gristmill.converters.common import is_path, library, not_fitted, parse_json, read_json, unknown_model
from gristmill.errors import FormatError, UnsupportedError
from gristmill.frontends.boosting.boosted import Boosted
from gristmill.frontends.boosting.xgboost import read_xgboost
from gristmill.frontends.classic import Label
from gristmill.models.model import MLModel

_WHAT = "model of XGBoost"


def convert(
    model: Any,
    feature_names: Any = None,
    target: str = "target",
    force_32bit_float: bool = True,
    mode: str = "regressor",
    class_labels: Sequence[Label] | None = None,
    n_classes: int | None = None,
) -> MLModel:
    """Converts boosted trees of XGBoost.

    Predictions are those of the source: of an estimator its ``predict`` and ``predict_proba``, with the best iteration
    where training stopped early; of a ``Booster`` its ``predict``, with all trees. Missing features are not-a-number.
    Categories are their numbers. XGBoost sums in float32 and Core ML in float64, so results differ by the rounding of
    float32.

    Args:
        model: A ``Booster``, an estimator such as ``XGBClassifier``, or the path of a file that ``save_model`` wrote:
            JSON, or with XGBoost installed also UBJSON.
        feature_names: Names of the inputs in the order of the features. One text names an array of all features. The
            model's own names by default, or f0, f1, ….
        target: Name of the output; of a classifier, of its label.
        force_32bit_float: Features count as rounded to float32, which is how XGBoost compares them, whatever precision
            the model runs in. Otherwise they are compared in float64 with XGBoost's thresholds: a feature within half a
            float32 step of a threshold may then take another way.
        mode: ``regressor``, ``classifier``, or ``raw`` for a regressor of the sums before the objective's function, as
            ``output_margin=True`` gives them. Objectives with several results give an array.
        class_labels: A classifier's labels, 0, 1, … by default.
        n_classes: How many labels a classifier has; the model says it, and it is checked.

    Returns:
        A tree ensemble; for objectives that predict exponentials, a pipeline of one and a linear model.

    Raises:
        InputError: The arguments do not fit the model, or this is none.
        FormatError: The file is malformed.
        UnsupportedError: Core ML's trees lack the objective's function, or XGBoost is needed and not installed.
    """
    return write_boosted(_read(model, force_32bit_float), feature_names, target, mode, class_labels, n_classes)


def _read(model: Any, rounds_features: bool) -> Boosted:
    if is_path(model):
        return read_xgboost(_read_file(model), rounds_features=rounds_features)
    xgboost = library("xgboost")
    estimator = isinstance(model, xgboost.XGBModel)
    if estimator:
        if not model.__sklearn_is_fitted__():
            raise not_fitted()
        if not math.isnan(model.missing):
            raise UnsupportedError(
                "the model takes another number for a missing feature",
                expected="missing=nan, as in Core ML",
                actual=f"missing={model.missing}",
                hint="train with not-a-number in its place",
            )
        model = model.get_booster()
    if not isinstance(model, xgboost.Booster):
        raise unknown_model(model, "an xgboost.Booster, an estimator of XGBoost, or the path of a file")
    return read_xgboost(_document(model), estimator=estimator, rounds_features=rounds_features)


def _document(booster: Any) -> Any:
    return parse_json(bytes(booster.save_raw("json")), _WHAT)


def _read_file(path: str | os.PathLike[str]) -> Any:
    document = read_json(path, _WHAT)
    if document is not None:
        return document
    xgboost = library("xgboost")
    try:
        return _document(xgboost.Booster(model_file=os.fspath(path)))
    except xgboost.core.XGBoostError as error:
        raise FormatError(f"this is no {_WHAT}", location=path, actual=str(error).strip()[-200:]) from error
