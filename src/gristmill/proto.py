"""Messages of the model format under coremltools' names: ``proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT16``.

Each module ``X_pb2`` has what the schema's file ``X.proto`` defines. The messages are those of ``MLModel.get_spec()``,
and of no other package: coremltools' are classes of their own.
"""

from __future__ import annotations

import sys
from typing import Any

from gristmill.package.pb2 import modules

_MODULES = modules(__name__)
__path__: list[str] = []  # a package to the import system, which finds the modules where they are registered
__all__ = list(_MODULES)  # names are the schema's

sys.modules.update({f"{__name__}.{name}": module for name, module in _MODULES.items()})


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _MODULES[name]


def __dir__() -> list[str]:
    return sorted(_MODULES)
