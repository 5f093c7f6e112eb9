"""Debugging and measuring converted PyTorch models beside their sources. Importing the modules imports torch."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["debugging_utils", "perf_utils"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
