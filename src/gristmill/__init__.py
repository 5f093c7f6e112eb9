"""Gristmill: Core ML for every computer.

Names are those of coremltools for the same things, so ``import gristmill as ct`` runs code written for it. Everything
is loaded when it is first used: importing this package loads neither a source framework nor protobuf nor NumPy.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from gristmill._version import __version__

if TYPE_CHECKING:
    from gristmill import _version as version
    from gristmill import converters, errors, models, precision, proto
    from gristmill.models import transform, utils
    from gristmill.models.compute_units import ComputeUnit, ReshapeFrequency, SpecializationStrategy
    from gristmill.models.convert import convert
    from gristmill.models.io_types import (
        ClassifierConfig,
        EnumeratedShapes,
        ImageType,
        RangeDim,
        Shape,
        StateType,
        TensorType,
    )
    from gristmill.models.io_types import ColorLayout as colorlayout  # noqa: N813  # coremltools' name
    from gristmill.models.target import DeploymentTarget as target  # noqa: N813  # a namespace of releases
    from gristmill.ops.nn.custom import register_custom_layer
    from gristmill.passes.pipeline import PassPipeline

_HOME = {
    "ClassifierConfig": "gristmill.models.io_types",
    "colorlayout": "gristmill.models.io_types",
    "ComputeUnit": "gristmill.models.compute_units",
    "EnumeratedShapes": "gristmill.models.io_types",
    "ImageType": "gristmill.models.io_types",
    "PassPipeline": "gristmill.passes.pipeline",
    "RangeDim": "gristmill.models.io_types",
    "ReshapeFrequency": "gristmill.models.compute_units",
    "SpecializationStrategy": "gristmill.models.compute_units",
    "Shape": "gristmill.models.io_types",
    "StateType": "gristmill.models.io_types",
    "TensorType": "gristmill.models.io_types",
    "convert": "gristmill.models.convert",
    "register_custom_layer": "gristmill.ops.nn.custom",
}
_RENAMED = {"colorlayout": "ColorLayout"}
_MODULES = {
    "converters": "gristmill.converters",
    "errors": "gristmill.errors",
    "models": "gristmill.models",
    "precision": "gristmill.precision",
    "proto": "gristmill.proto",
    "transform": "gristmill.models.transform",
    "utils": "gristmill.models.utils",
    "version": "gristmill._version",
}
_NOT_YET = {"optimize": "weights cannot be compressed yet"}

SPECIFICATION_VERSION = 1
"""The version of a specification that needs nothing newer than iOS 11, as in coremltools."""


__all__ = [
    "SPECIFICATION_VERSION",
    "ClassifierConfig",
    "ComputeUnit",
    "EnumeratedShapes",
    "ImageType",
    "PassPipeline",
    "RangeDim",
    "ReshapeFrequency",
    "Shape",
    "SpecializationStrategy",
    "StateType",
    "TensorType",
    "__version__",
    "colorlayout",
    "convert",
    "converters",
    "errors",
    "models",
    "precision",
    "proto",
    "register_custom_layer",
    "target",
    "transform",
    "utils",
    "version",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), _RENAMED.get(name, name))
    elif name in _MODULES:
        value = importlib.import_module(_MODULES[name])
    elif name == "target":
        value = importlib.import_module("gristmill.models.target").DeploymentTarget
    else:
        why = f": {_NOT_YET[name]}" if name in _NOT_YET else ""
        message = f"module 'gristmill' has no attribute {name!r}{why}"
        raise AttributeError(message, name=name, obj=sys.modules[__name__])  # so that Python suggests another name
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
