"""The converter of CatBoost's models; coremltools has none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gristmill.converters.boosted import write_boosted
from gristmill.converters.common import is_path, library, not_fitted, parse_json, read_json, unknown_model
from gristmill.errors import InputError
from gristmill.frontends.boosting.boosted import Boosted
from gristmill.frontends.boosting.catboost import read_catboost
from gristmill.frontends.classic import Label
from gristmill.models.model import MLModel

_WHAT = "model of CatBoost"


def convert(
    model: Any,
    feature_names: Any = None,
    target: str = "target",
    mode: str | None = None,
    class_labels: Sequence[Label] | None = None,
    n_classes: int | None = None,
) -> MLModel:
    """Converts boosted trees of CatBoost, oblivious ones and others.

    Predictions are those of the source. Missing features are not-a-number, and count as the least or the greatest
    number, as the model was trained (``nan_mode``). Models that encode categories or texts themselves cannot be
    converted.

    Args:
        model: A ``CatBoost`` or one of its estimators, or the path of a file that ``save_model`` wrote: JSON
            (``format="json"``), or with CatBoost installed its own.
        feature_names: Names of the inputs in the order of the features. One text names an array of all features. The
            model's own names by default, or feature_0, feature_1, ….
        target: Name of the output; of a classifier, of its label.
        mode: ``regressor``, ``classifier``, or ``raw`` for a regressor of the sums before the loss's function, as
            ``RawFormulaVal`` gives them. The loss says it by default. Several results are an array.
        class_labels: A classifier's labels; those of the model by default.
        n_classes: How many labels a classifier has; the model says it, and it is checked.

    Returns:
        A tree ensemble; for losses that predict exponentials, a pipeline of one and a linear model.

    Raises:
        InputError: The arguments do not fit the model, or this is none.
        FormatError: The file is malformed.
        UnsupportedError: Core ML's trees lack the loss's function, the model encodes categories, or CatBoost is needed
            and not installed.
    """
    return write_boosted(_read(model), feature_names, target, mode, class_labels, n_classes)


def _read(model: Any) -> Boosted:
    if is_path(model):
        document = read_json(model, _WHAT)
        if document is not None:
            return read_catboost(document)
        model = _load(model)
    catboost = library("catboost")
    if not isinstance(model, catboost.CatBoost):
        raise unknown_model(model, "a catboost.CatBoost, one of its estimators, or the path of a file")
    if not model.is_fitted():
        raise not_fitted()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        return read_catboost(parse_json(path.read_bytes(), _WHAT))


def _load(path: str | os.PathLike[str]) -> Any:
    """A model from a file of CatBoost's own format."""
    catboost = library("catboost")
    try:
        return catboost.CatBoost().load_model(os.fspath(path))
    except catboost.CatBoostError as error:
        raise InputError(f"this is no {_WHAT}", location=path, actual=str(error)[:200]) from error
