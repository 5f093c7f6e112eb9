"""Normalisations: by statistics of the training data, or of the tensor itself.

Variances are biased: ``Σ(x - μ)²/n``.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from gristmill.ir import types
from gristmill.ir.constants import Array
from gristmill.ir.dims import Shape
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS13, iOS17
from gristmill.ir.signature import ByOpset, Const, Operand, OptionalOperand, TypeVar
from gristmill.ir.traits import Normalization, Trait
from gristmill.ir.types import TensorType, Type, fp16, fp32
from gristmill.ops.broadcast import along, normalized_axes


class _Normalization(Op):
    T = TypeVar(fp16, fp32)
    U = TypeVar(fp16, fp32)

    x = Operand(T)
    traits: ClassVar[tuple[type[Trait], ...]] = (Normalization,)

    def _require_rank(self, least: int) -> None:
        if self.x.rank < least:
            raise self.misfit("rank of 'x'", expected=f"{least} or more", actual=self.x.rank)

    def _require_shape(self, name: str, shape: Shape) -> None:
        value = self.optional_operand(name)
        if value is not None and not types.compatible(TensorType(value.dtype, shape), value.type):
            raise self.misfit(f"shape of '{name}'", expected=list(shape), actual=list(value.shape))


def _affine(y: Array, gamma: Array | None, beta: Array | None, axes: tuple[int, ...]) -> Array:
    """``gamma·y + beta`` in place."""
    if gamma is not None:
        y *= along(gamma, axes, y.ndim)
    if beta is not None:
        y += along(beta, axes, y.ndim)
    return y


def _standardised(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    y = np.asanyarray(x - x.mean(axis=axes, keepdims=True))
    variance = np.mean(np.square(y), axis=axes, keepdims=True)
    y /= np.sqrt(variance + epsilon)
    return y


class batch_norm(_Normalization):
    """``gamma·(x - mean) / √(variance + epsilon) + beta``, one of each for a channel, axis 1 of ``x``."""

    mean = Operand(ByOpset({iOS13: _Normalization.T, iOS17: _Normalization.U}), const=True, rank=1)
    variance = Operand(ByOpset({iOS13: _Normalization.T, iOS17: _Normalization.U}), const=True, rank=1)
    gamma = OptionalOperand(ByOpset({iOS13: _Normalization.T, iOS17: _Normalization.U}), const=True, rank=1)
    beta = OptionalOperand(ByOpset({iOS13: _Normalization.T, iOS17: _Normalization.U}), const=True, rank=1)
    epsilon = Const(float, ByOpset({iOS13: _Normalization.T, iOS17: _Normalization.U}), default=1e-5)

    def infer(self) -> Type:
        self._require_rank(2)
        for name in ("mean", "variance", "gamma", "beta"):
            self._require_shape(name, (self.x.shape[1],))
        return self.x.type

    def reference(
        self, x: Array, mean: Array, variance: Array, gamma: Array | None, beta: Array | None, epsilon: float
    ) -> Array:
        y = x - along(mean, (1,), x.ndim)
        y /= along(np.sqrt(variance + epsilon), (1,), x.ndim)
        return _affine(y, gamma, beta, (1,))


class instance_norm(_Normalization):
    """``gamma·(x - μ) / √(σ² + epsilon) + beta`` with μ and σ² of each channel (axis 1) of each instance (axis 0)."""

    gamma = OptionalOperand(ByOpset({iOS13: _Normalization.T, iOS17: _Normalization.U}), const=True, rank=1)
    beta = OptionalOperand(ByOpset({iOS13: _Normalization.T, iOS17: _Normalization.U}), const=True, rank=1)
    epsilon = Const(float, ByOpset({iOS13: _Normalization.T, iOS17: _Normalization.U}), default=1e-5)

    def infer(self) -> Type:
        self._require_rank(3)
        self._require_shape("gamma", (self.x.shape[1],))
        self._require_shape("beta", (self.x.shape[1],))
        return self.x.type

    def reference(self, x: Array, gamma: Array | None, beta: Array | None, epsilon: float) -> Array:
        return _affine(_standardised(x, tuple(range(2, x.ndim)), epsilon), gamma, beta, (1,))


class l2_norm(_Normalization):
    """``x / √(Σ x² + epsilon)``, the sum over the last three axes."""

    epsilon = Const(float, ByOpset({iOS13: _Normalization.T, iOS17: _Normalization.U}), default=1e-6)

    def infer(self) -> Type:
        self._require_rank(3)
        return self.x.type

    def reference(self, x: Array, epsilon: float) -> Array:
        return x / np.sqrt(np.sum(np.square(x), axis=(-3, -2, -1), keepdims=True) + epsilon)


class layer_norm(_Normalization):
    """``gamma·(x - μ) / √(σ² + epsilon) + beta`` with μ and σ² over ``axes``, by default all.

    ``gamma`` and ``beta`` have the dimensions of those axes, in the order of ``x`` whatever the order of ``axes``.
    """

    axes = Const.ints(default=None)
    gamma = OptionalOperand(ByOpset({iOS13: _Normalization.T, iOS17: _Normalization.U}), const=True)
    beta = OptionalOperand(ByOpset({iOS13: _Normalization.T, iOS17: _Normalization.U}), const=True)
    epsilon = Const(float, ByOpset({iOS13: _Normalization.T, iOS17: _Normalization.U}), default=1e-5)

    def infer(self) -> Type:
        shape = tuple(self.x.shape[axis] for axis in self._axes(self.x.rank))
        self._require_shape("gamma", shape)
        self._require_shape("beta", shape)
        return self.x.type

    def _axes(self, rank: int) -> tuple[int, ...]:
        axes = range(rank) if self.axes is None else self.axes
        return tuple(sorted(normalized_axes(axes, rank, self)))

    def reference(self, x: Array, gamma: Array | None, beta: Array | None, epsilon: float) -> Array:
        axes = self._axes(x.ndim)
        return _affine(_standardised(x, axes, epsilon), gamma, beta, axes)


class local_response_norm(_Normalization):
    """``x / (k + alpha/size·Σ x²)^beta``, the sum over ``size`` neighbouring channels.

    The window of channel c begins at channel ``c - size // 2``; what it holds beyond the tensor counts as 0. Channels
    are axis 1; a tensor of rank 3 is [C, H, W], without a batch, as Core ML's results show (its documentation says axis
    1 there, too).
    """

    size = Const(int)
    alpha = Const(float, ByOpset({iOS13: _Normalization.T, iOS17: _Normalization.U}), default=1e-4)
    beta = Const(float, ByOpset({iOS13: _Normalization.T, iOS17: _Normalization.U}), default=0.75)
    k = Const(float, ByOpset({iOS13: _Normalization.T, iOS17: _Normalization.U}), default=1.0)

    def infer(self) -> Type:
        self._require_rank(3)
        if self.size < 1:
            raise self.misfit("'size' of the window", expected="1 or more", actual=self.size)
        return self.x.type

    def reference(self, x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
        square = np.square(x[np.newaxis] if x.ndim == 3 else x)
        channels = square.shape[1]
        total = np.zeros_like(square)
        for shift in range(-min(size // 2, channels), min((size - 1) // 2, channels) + 1):
            start, stop = max(0, -shift), max(0, channels - max(0, shift))
            total[:, start:stop] += square[:, start + shift : stop + shift]
        return x / (k + alpha / size * total.reshape(x.shape)) ** beta


OPS = (batch_norm, instance_norm, l2_norm, layer_norm, local_response_norm)
