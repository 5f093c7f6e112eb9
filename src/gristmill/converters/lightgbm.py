"""The converter of LightGBM's models; coremltools has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gristmill.converters.boosted import write_boosted
from gristmill.converters.common import is_path, library, not_fitted, read_file, unknown_model
from gristmill.frontends.boosting.boosted import Boosted, as_labels
from gristmill.frontends.boosting.lightgbm import read_lightgbm
from gristmill.frontends.classic import Label
from gristmill.frontends.common import reading
from gristmill.models.model import MLModel


def convert(
    model: Any,
    feature_names: Any = None,
    target: str = "target",
    mode: str | None = None,
    class_labels: Sequence[Label] | None = None,
    n_classes: int | None = None,
) -> MLModel:
    """Converts boosted trees and random forests of LightGBM.

    Predictions are those of the source, with the best iteration where training stopped early. Missing features are
    not-a-number, and zero where the model was trained so (``zero_as_missing``). Categories are their numbers, whole
    ones. LightGBM and Core ML both compute in float64.

    Args:
        model: A ``Booster``, an estimator such as ``LGBMClassifier``, or the path of a file that ``save_model`` wrote,
            which needs no LightGBM.
        feature_names: Names of the inputs in the order of the features. One text names an array of all features. The
            model's own names by default.
        target: Name of the output; of a classifier, of its label.
        mode: ``regressor``, ``classifier``, or ``raw`` for a regressor of the sums before the objective's function, as
            ``raw_score=True`` gives them. The objective says it by default. Several results are an array.
        class_labels: A classifier's labels; those of the estimator, or 0, 1, …, by default.
        n_classes: How many labels a classifier has; the model says it, and it is checked.

    Returns:
        A tree ensemble; for objectives that predict exponentials, a pipeline of one and a linear model.

    Raises:
        InputError: The arguments do not fit the model, or this is none.
        FormatError: The file is malformed.
        UnsupportedError: Core ML's trees lack the objective's function or the model's linear leaves, or LightGBM is
            needed and not installed.
    """
    return write_boosted(_read(model), feature_names, target, mode, class_labels, n_classes)


def _read(model: Any) -> Boosted:
    if is_path(model):
        with reading("model of LightGBM"):
            return read_lightgbm(read_file(model).decode())
    lightgbm = library("lightgbm")
    labels = None
    if isinstance(model, lightgbm.LGBMModel):
        if not model.__sklearn_is_fitted__():
            raise not_fitted()
        labels = as_labels(model.classes_.tolist()) if isinstance(model, lightgbm.LGBMClassifier) else None
        model = model.booster_
    if not isinstance(model, lightgbm.Booster):
        raise unknown_model(model, "a lightgbm.Booster, an estimator of LightGBM, or the path of a file")
    return replace(read_lightgbm(model.model_to_string()), labels=labels)
