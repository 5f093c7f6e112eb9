"""The public classes: converting, loading, running and saving models."""

from __future__ import annotations

from gristmill.models import (
    array_feature_extractor,
    compute_device,
    compute_plan,
    datatypes,
    feature_vectorizer,
    ml_program,
    model,
    nearest_neighbors,
    pipeline,
    tree_ensemble,
    utils,
)
from gristmill.models.compiled_model import CompiledMLModel
from gristmill.models.model import MLModel

__all__ = [
    "CompiledMLModel",
    "MLModel",
    "array_feature_extractor",
    "compute_device",
    "compute_plan",
    "datatypes",
    "feature_vectorizer",
    "ml_program",
    "model",
    "nearest_neighbors",
    "pipeline",
    "tree_ensemble",
    "utils",
]
