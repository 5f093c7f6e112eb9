"""Choosing precision: the float16 typing pass, precision maps, and the types at a program's boundary.

``inspect`` and ``search`` need models that run, and are therefore at home above this package; users find them here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gristmill.precision.choice import FLOAT16, FLOAT32, Precision

if TYPE_CHECKING:
    from gristmill.models.explain import inspect
    from gristmill.models.mend import search
    from gristmill.precision.map import PrecisionMap

__all__ = ["FLOAT16", "FLOAT32", "Precision", "PrecisionMap", "inspect", "search"]

_HOME = {
    "PrecisionMap": "gristmill.precision.map",
    "inspect": "gristmill.models.explain",
    "search": "gristmill.models.mend",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gristmill.precision' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
