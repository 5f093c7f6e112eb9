"""Activations: functions of one element."""

from __future__ import annotations

import math

import numpy as np

from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS13, iOS17
from gristmill.ir.signature import ByOpset, Const, Operand, TypeVar
from gristmill.ir.traits import Elementwise
from gristmill.ir.types import Type, fp16, fp32
from gristmill.ops.mathematics import erf, sigmoid_of


class _Activation(Op):
    T = TypeVar(fp16, fp32)
    U = TypeVar(fp16, fp32)

    x = Operand(T)
    traits = (Elementwise,)

    def infer(self) -> Type:
        return self.x.type


class clamped_relu(_Activation):
    """``min(beta, x)`` where x ≥ 0, ``min(beta, alpha·x)`` elsewhere."""

    alpha = Const(float, ByOpset({iOS13: _Activation.T, iOS17: _Activation.U}))
    beta = Const(float, ByOpset({iOS13: _Activation.T, iOS17: _Activation.U}))

    def reference(self, x: Array, alpha: float, beta: float) -> Array:
        return np.minimum(beta, np.where(x >= 0, x, alpha * x))


class gelu(_Activation):
    """Gaussian error linear unit, ``x·Φ(x)`` (Hendrycks and Gimpel, 2016).

    ``TANH_APPROXIMATION`` is ``x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))``; ``SIGMOID_APPROXIMATION`` is
    ``x·σ(1.702·x)``.
    """

    mode = Const(str, default="EXACT", choices=("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"))

    def reference(self, x: Array, mode: str) -> Array:
        if mode == "TANH_APPROXIMATION":
            return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        if mode == "SIGMOID_APPROXIMATION":
            return x * sigmoid_of(1.702 * x)
        return 0.5 * x * (1 + erf(x / math.sqrt(2)))


class relu(_Activation):
    """``max(x, 0)``; a NaN stays one."""

    def reference(self, x: Array) -> Array:
        return np.maximum(x, 0)


class sigmoid(_Activation):
    """``1 / (1 + exp(-x))``."""

    def reference(self, x: Array) -> Array:
        return sigmoid_of(x)


OPS = (clamped_relu, gelu, relu, sigmoid)
