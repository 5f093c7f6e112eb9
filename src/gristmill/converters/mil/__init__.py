"""The MIL builder and what converters are extended with, under coremltools' names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gristmill.converters.mil import mil
from gristmill.converters.mil.builder import Builder, get_new_symbol
from gristmill.ir.op import Op as Operation
from gristmill.ir.program import Block, Function, Program
from gristmill.ir.program import Value as Var
from gristmill.models.io_types import (
    ClassifierConfig,
    ColorLayout,
    EnumeratedShapes,
    ImageType,
    InputType,
    RangeDim,
    Shape,
    StateType,
    TensorType,
)

if TYPE_CHECKING:
    from gristmill.frontends.torch import register_torch_op

__all__ = [
    "Block",
    "Builder",
    "ClassifierConfig",
    "ColorLayout",
    "EnumeratedShapes",
    "Function",
    "ImageType",
    "InputType",
    "Operation",
    "Program",
    "RangeDim",
    "Shape",
    "StateType",
    "TensorType",
    "Var",
    "get_new_symbol",
    "mil",
    "register_torch_op",
]


def __getattr__(name: str) -> Any:
    if name == "register_torch_op":  # loads PyTorch
        from gristmill.frontends.torch import register_torch_op

        return register_torch_op
    raise AttributeError(f"module 'gristmill.converters.mil' has no attribute {name!r}")
