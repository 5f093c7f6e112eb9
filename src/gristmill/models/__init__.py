"""The public classes: converting, loading, running and saving models.

Each module is loaded when it is first used: running a model needs few of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gristmill.models import model
from gristmill.models.model import MLModel

if TYPE_CHECKING:
    from gristmill.models import (
        array_feature_extractor,
        compute_device,
        compute_plan,
        datatypes,
        feature_vectorizer,
        ml_program,
        nearest_neighbors,
        neural_network,
        pipeline,
        tree_ensemble,
        utils,
    )
    from gristmill.models.compiled_model import CompiledMLModel

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
    "neural_network",
    "pipeline",
    "tree_ensemble",
    "utils",
]


def __getattr__(name: str) -> Any:
    if name == "CompiledMLModel":
        return importlib.import_module("gristmill.models.compiled_model").CompiledMLModel
    if name not in __all__:
        raise AttributeError(f"module 'gristmill.models' has no attribute {name!r}")
    return importlib.import_module(f"gristmill.models.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
