"""The builder's methods for ops, one for each registered op, made when they are called.

Their signatures, derived from the ops' own, are in the generated ``op_methods.pyi``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class OpMethods:
    """Base of the builder."""

    def op(self, op_name: str, **operands: Any) -> Any:
        """Makes an op of a given name; the builder does it."""
        raise NotImplementedError

    def __getattr__(self, op_name: str) -> Callable[..., Any]:
        if op_name.startswith("__"):
            raise AttributeError(op_name)

        def make(**operands: Any) -> Any:
            return self.op(op_name, **operands)

        return make
