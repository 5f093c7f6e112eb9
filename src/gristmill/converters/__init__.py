"""Where coremltools keeps its converters; code that imports them from there finds the same names here, and more."""

from __future__ import annotations

from gristmill.converters import catboost, libsvm, lightgbm, mil, sklearn, xgboost
from gristmill.models.convert import convert
from gristmill.models.io_types import (
    ClassifierConfig,
    ColorLayout,
    EnumeratedShapes,
    ImageType,
    RangeDim,
    Shape,
    StateType,
    TensorType,
)

__all__ = [
    "ClassifierConfig",
    "ColorLayout",
    "EnumeratedShapes",
    "ImageType",
    "RangeDim",
    "Shape",
    "StateType",
    "TensorType",
    "catboost",
    "convert",
    "libsvm",
    "lightgbm",
    "mil",
    "sklearn",
    "xgboost",
]
