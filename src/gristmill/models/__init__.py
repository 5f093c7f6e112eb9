"""The public classes: converting, loading, running and saving models.

Modules are loaded when they are first used: who runs a model needs neither plans nor debugging tools.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gristmill.models import compute_device, compute_plan, ml_program, model, utils
    from gristmill.models.model import MLModel

__all__ = ["MLModel", "compute_device", "compute_plan", "ml_program", "model", "utils"]


def __getattr__(name: str) -> Any:
    if name == "MLModel":
        value = importlib.import_module("gristmill.models.model").MLModel
    elif name in __all__:
        value = importlib.import_module(f"gristmill.models.{name}")
    else:
        raise AttributeError(f"module 'gristmill.models' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
