"""Debugging and measuring models: coremltools' interfaces, running on this computer.

The modules are loaded when they are first used; ``torch`` needs PyTorch.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "async_wrapper",
    "compute_plan_utils",
    "debugging_utils",
    "model_structure_path",
    "perf_utils",
    "remote_device",
    "torch",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
