"""Programs and their parts under the names that coremltools has for them."""

from __future__ import annotations

from gristmill.converters.mil.builder import Builder, Placeholder, get_new_symbol
from gristmill.converters.mil.mil import types
from gristmill.ir.dims import Symbol
from gristmill.ir.op import Op as Operation
from gristmill.ir.program import Block, Function, Program
from gristmill.ir.program import Value as Var

__all__ = [
    "Block",
    "Builder",
    "Function",
    "Operation",
    "Placeholder",
    "Program",
    "Symbol",
    "Var",
    "get_new_symbol",
    "types",
]
