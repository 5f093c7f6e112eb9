"""Functions, element by element."""

from __future__ import annotations

import numpy as np

from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.signature import Operand, TypeVar
from gristmill.ir.traits import Elementwise
from gristmill.ir.types import Type, fp16, fp32


class _Unary(Op):
    T = TypeVar(fp16, fp32)

    x = Operand(T)
    traits = (Elementwise,)
    dialect = "nn"

    def infer(self) -> Type:
        return self.x.type


class nn_acosh(_Unary):
    """Inverse hyperbolic cosine; NaN below 1."""

    def reference(self, x: Array) -> Array:
        return np.arccosh(x)


class nn_asinh(_Unary):
    """Inverse hyperbolic sine."""

    def reference(self, x: Array) -> Array:
        return np.arcsinh(x)


OPS = (nn_acosh, nn_asinh)
