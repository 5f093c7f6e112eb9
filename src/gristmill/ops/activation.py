"""Activations: functions of one element, and softmax."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS13, iOS17
from gristmill.ir.signature import ByOpset, Const, Operand, TypeVar
from gristmill.ir.traits import Elementwise, Normalization, Trait
from gristmill.ir.types import Type, fp16, fp32
from gristmill.ops.broadcast import along, normalized_axis
from gristmill.ops.mathematics import erf, sigmoid_of, softmax_of, softplus_of


class _Activation(Op):
    T = TypeVar(fp16, fp32)
    U = TypeVar(fp16, fp32)

    x = Operand(T)
    traits: ClassVar[tuple[type[Trait], ...]] = (Elementwise,)

    def infer(self) -> Type:
        return self.x.type


class _WithAlpha(_Activation):
    alpha = Const(float, ByOpset({iOS13: _Activation.T, iOS17: _Activation.U}))


class _WithAlphaAndBeta(_WithAlpha):
    beta = Const(float, ByOpset({iOS13: _Activation.T, iOS17: _Activation.U}))


class clamped_relu(_WithAlphaAndBeta):
    """``min(beta, x)`` where x ≥ 0, ``min(beta, alpha·x)`` elsewhere."""

    def reference(self, x: Array, alpha: float, beta: float) -> Array:
        return np.minimum(beta, np.where(x >= 0, x, alpha * x))


class elu(_WithAlpha):
    """Exponential linear unit: ``x`` where x > 0, ``alpha·(exp(x) - 1)`` elsewhere."""

    def reference(self, x: Array, alpha: float) -> Array:
        return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


class gelu(_Activation):
    """Gaussian error linear unit, ``x·Φ(x)`` (Hendrycks and Gimpel, 2016).

    ``TANH_APPROXIMATION`` is ``x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))``; ``SIGMOID_APPROXIMATION`` is
    ``x·σ(1.702·x)``.
    """

    mode = Const(str, default="EXACT", choices=("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"))

    def reference(self, x: Array, mode: str) -> Array:
        if mode == "TANH_APPROXIMATION":
            return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * x * (1 + 0.044715 * x * x)))
        if mode == "SIGMOID_APPROXIMATION":
            return x * sigmoid_of(1.702 * x)
        return 0.5 * x * (1 + erf(x / math.sqrt(2)))


class leaky_relu(_WithAlpha):
    """``x`` where x ≥ 0, ``alpha·x`` elsewhere."""

    def reference(self, x: Array, alpha: float) -> Array:
        return np.where(x >= 0, x, alpha * x)


class linear_activation(_WithAlphaAndBeta):
    """``alpha·x + beta``."""

    def reference(self, x: Array, alpha: float, beta: float) -> Array:
        return alpha * x + beta


class _PerChannel(_Activation):
    """What has one parameter for each channel, the second axis of ``x``."""

    alpha = Operand(ByOpset({iOS13: _Activation.T, iOS17: _Activation.U}), const=True, rank=1)
    traits: ClassVar[tuple[type[Trait], ...]] = ()

    def infer(self) -> Type:
        if not 3 <= self.x.rank <= 5:
            raise self.misfit("rank of 'x'", expected="3 to 5", actual=self.x.rank)
        for name in ("alpha", "beta"):
            if name in self.operands and dims.never_equal(self.operand(name).shape[0], self.x.shape[1]):
                raise self.misfit(
                    f"length of '{name}'",
                    expected=f"{self.x.shape[1]}, the channels of 'x'",
                    actual=self.operand(name).shape[0],
                )
        return self.x.type


class prelu(_PerChannel):
    """``x`` where x > 0, ``alpha[c]·x`` elsewhere; ``c`` is the channel, axis 1.

    Core ML itself runs tensors of rank 3 and 5 only where all ``alpha`` are equal; here any will do.
    """

    def reference(self, x: Array, alpha: Array) -> Array:
        return np.where(x > 0, x, along(alpha, (1,), x.ndim) * x)


class relu(_Activation):
    """``max(x, 0)``; a NaN stays one."""

    def reference(self, x: Array) -> Array:
        return np.maximum(x, 0)


class relu6(_Activation):
    """``min(max(x, 0), 6)``; a NaN stays one."""

    def reference(self, x: Array) -> Array:
        return np.minimum(np.maximum(x, 0), 6)


class scaled_tanh(_WithAlphaAndBeta):
    """``alpha·tanh(beta·x)``."""

    def reference(self, x: Array, alpha: float, beta: float) -> Array:
        return alpha * np.tanh(beta * x)


class sigmoid(_Activation):
    """``1 / (1 + exp(-x))``."""

    def reference(self, x: Array) -> Array:
        return sigmoid_of(x)


class sigmoid_hard(_WithAlphaAndBeta):
    """``min(max(alpha·x + beta, 0), 1)``."""

    def reference(self, x: Array, alpha: float, beta: float) -> Array:
        return np.minimum(np.maximum(alpha * x + beta, 0), 1)


class silu(_Activation):
    """Sigmoid linear unit, or swish: ``x / (1 + exp(-x))``."""

    def reference(self, x: Array) -> Array:
        return x * sigmoid_of(x)


class softmax(_Activation):
    """``exp(x) / Σ exp(x)`` along ``axis``; NaN where all elements of a sum are -∞."""

    axis = Const(int, default=-1)
    traits = (Normalization,)

    def infer(self) -> Type:
        normalized_axis(self.axis, self.x.rank, self)
        return self.x.type

    def reference(self, x: Array, axis: int) -> Array:
        return softmax_of(x, axis)


class softplus(_Activation):
    """``log(1 + exp(x))``."""

    def reference(self, x: Array) -> Array:
        return softplus_of(x)


class softplus_parametric(_PerChannel):
    """``alpha[c]·log(1 + exp(beta[c]·x))``; ``c`` is the channel, axis 1."""

    beta = Operand(ByOpset({iOS13: _Activation.T, iOS17: _Activation.U}), const=True, rank=1)

    def reference(self, x: Array, alpha: Array, beta: Array) -> Array:
        return along(alpha, (1,), x.ndim) * softplus_of(along(beta, (1,), x.ndim) * x)


class softsign(_Activation):
    """``x / (1 + |x|)``; NaN for an infinite x."""

    def reference(self, x: Array) -> Array:
        return x / (1 + np.abs(x))


class thresholded_relu(_WithAlpha):
    """``x`` where x ≥ alpha, 0 elsewhere."""

    def reference(self, x: Array, alpha: float) -> Array:
        return np.where(x >= alpha, x, 0)


OPS = (
    clamped_relu,
    elu,
    gelu,
    leaky_relu,
    linear_activation,
    prelu,
    relu,
    relu6,
    scaled_tanh,
    sigmoid,
    sigmoid_hard,
    silu,
    softmax,
    softplus,
    softplus_parametric,
    softsign,
    thresholded_relu,
)
