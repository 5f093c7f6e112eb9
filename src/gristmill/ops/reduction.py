"""Reductions along axes.

Integers are exact modulo 2ⁿ as long as the result is an integer by nature; means, roots and logarithms of integers drop
their fraction. A NaN among the elements makes the result NaN. Over no elements, sums are 0 and products 1; the
greatest, the least and their places do not exist, which is an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.dims import Dim, Shape
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS17
from gristmill.ir.program import Value
from gristmill.ir.signature import Const, Operand, TypeVar
from gristmill.ir.traits import Exact, Reduction, ShapeArithmetic, Trait
from gristmill.ir.types import DTYPES, TensorType, Type, fp16, fp32, int32
from gristmill.ops.broadcast import normalized_axes, normalized_axis
from gristmill.ops.mathematics import truncated


def _reduced(x: Value, axes: tuple[int, ...], keep_dims: bool) -> Shape:
    if keep_dims:
        return tuple(1 if axis in axes else dim for axis, dim in enumerate(x.shape))
    return tuple(dim for axis, dim in enumerate(x.shape) if axis not in axes)


class _Reduction(Op):
    """``axes`` left out are all of them; an empty list leaves ``x`` as it is but for the function of each element."""

    T = TypeVar(fp16, fp32, int32)

    x = Operand(T)
    axes = Const.ints(default=None)
    keep_dims = Const(bool, default=False)
    traits: ClassVar[tuple[type[Trait], ...]] = (Reduction,)

    def infer(self) -> Type:
        axes = range(self.x.rank) if self.axes is None else self.axes
        return TensorType(self.x.dtype, _reduced(self.x, normalized_axes(axes, self.x.rank, self), self.keep_dims))

    def reference(self, x: Array, axes: tuple[int, ...] | None, keep_dims: bool) -> Array:
        result = self.reduce(x, tuple(range(x.ndim)) if axes is None else axes, keep_dims)
        return truncated(result, self.x.dtype) if x.dtype.kind == "i" and result.dtype.kind == "f" else result

    def reduce(self, x: Array, axes: tuple[int, ...], keep: bool) -> Array:
        """The reduction along given axes; floats that an integer tensor gives are truncated afterwards."""
        raise NotImplementedError


class _ArgReduction(Op):
    T = TypeVar(fp16, fp32, int32)

    x = Operand(T)
    axis = Const(int, default=-1)
    keep_dims = Const(bool, default=False)
    output_dtype = Const(str, default="int32", choices=("int32", "uint16"), since=iOS17)
    traits = (Reduction, Exact)

    def infer(self) -> Type:
        axis = normalized_axis(self.axis, self.x.rank, self)
        dtype = DTYPES[self.output_dtype] if self.opset >= iOS17 else int32
        return TensorType(dtype, _reduced(self.x, (axis,), self.keep_dims))


class reduce_argmax(_ArgReduction):
    """The place of the greatest element along ``axis``: of equal ones the first, and the first NaN if there is one."""

    def reference(self, x: Array, axis: int, keep_dims: bool) -> Array:
        return np.argmax(x, axis=axis, keepdims=keep_dims)


class reduce_argmin(_ArgReduction):
    """The place of the least element along ``axis``: of equal ones the first, and the first NaN if there is one."""

    def reference(self, x: Array, axis: int, keep_dims: bool) -> Array:
        return np.argmin(x, axis=axis, keepdims=keep_dims)


class reduce_l1_norm(_Reduction):
    """``Σ |x|``."""

    def reduce(self, x: Array, axes: tuple[int, ...], keep: bool) -> Array:
        return np.sum(np.abs(x), axis=axes, keepdims=keep)


class reduce_l2_norm(_Reduction):
    """``√(Σ x²)``; of integers the exact root, its fraction dropped."""

    def reduce(self, x: Array, axes: tuple[int, ...], keep: bool) -> Array:
        if x.dtype.kind == "f":
            return np.sqrt(np.sum(x * x, axis=axes, keepdims=keep))
        exact = x.astype(object)
        roots = np.frompyfunc(math.isqrt, 1, 1)(np.sum(exact * exact, axis=axes, keepdims=keep))
        return np.asarray(roots % (1 << 32), dtype=np.uint32)


class reduce_log_sum(_Reduction):
    """``ln(Σ x)``."""

    def reduce(self, x: Array, axes: tuple[int, ...], keep: bool) -> Array:
        return np.asarray(np.log(np.sum(x, axis=axes, keepdims=keep)))


class reduce_log_sum_exp(_Reduction):
    """``ln(Σ exp(x))`` without overflow; -∞ over no elements."""

    def reduce(self, x: Array, axes: tuple[int, ...], keep: bool) -> Array:
        x = x.astype(np.float64, copy=False)
        top = np.max(x, axis=axes, keepdims=True, initial=-np.inf)
        top = np.where(np.isfinite(top), top, 0)  # an infinity is its own result, by way of exp
        total = np.log(np.sum(np.exp(x - top), axis=axes, keepdims=True)) + top
        return total if keep else np.squeeze(total, axis=axes)


class reduce_max(_Reduction):
    """The greatest element."""

    traits = (Reduction, Exact, ShapeArithmetic)

    def reduce(self, x: Array, axes: tuple[int, ...], keep: bool) -> Array:
        return _reduce_dims(dims.maximum, x, axes, keep) if x.dtype == object else np.max(x, axis=axes, keepdims=keep)


class reduce_mean(_Reduction):
    """``Σ x / n``; of integers the exact mean, truncated towards zero. Over no elements it is NaN, or 0."""

    def reduce(self, x: Array, axes: tuple[int, ...], keep: bool) -> Array:
        if x.dtype.kind == "f":
            count = math.prod(x.shape[axis] for axis in axes)
            return np.asarray(np.sum(x, axis=axes, keepdims=keep) / np.float64(count))
        total = np.sum(x, axis=axes, keepdims=keep, dtype=np.int64)
        count = math.prod(x.shape[axis] for axis in axes)
        return np.sign(total) * (np.abs(total) // max(count, 1))


class reduce_min(_Reduction):
    """The least element."""

    traits = (Reduction, Exact, ShapeArithmetic)

    def reduce(self, x: Array, axes: tuple[int, ...], keep: bool) -> Array:
        return _reduce_dims(dims.minimum, x, axes, keep) if x.dtype == object else np.min(x, axis=axes, keepdims=keep)


class reduce_prod(_Reduction):
    """``Π x``."""

    traits = (Reduction, ShapeArithmetic)

    def reduce(self, x: Array, axes: tuple[int, ...], keep: bool) -> Array:
        return np.asarray(np.prod(x, axis=axes, keepdims=keep))


class reduce_sum(_Reduction):
    """``Σ x``."""

    traits = (Reduction, ShapeArithmetic)

    def reduce(self, x: Array, axes: tuple[int, ...], keep: bool) -> Array:
        return np.asarray(np.sum(x, axis=axes, keepdims=keep))


class reduce_sum_square(_Reduction):
    """``Σ x²``."""

    def reduce(self, x: Array, axes: tuple[int, ...], keep: bool) -> Array:
        return np.sum(np.square(x), axis=axes, keepdims=keep)


def _reduce_dims(function: Callable[..., Dim], x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    """One axis at a time from the last, since NumPy reduces by Python's functions along one axis only."""
    by = np.frompyfunc(function, 2, 1)
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = np.asarray(by.reduce(x, axis=axis, keepdims=keep), dtype=object)
    return x


OPS = (
    reduce_argmax,
    reduce_argmin,
    reduce_l1_norm,
    reduce_l2_norm,
    reduce_log_sum,
    reduce_log_sum_exp,
    reduce_max,
    reduce_mean,
    reduce_min,
    reduce_prod,
    reduce_sum,
    reduce_sum_square,
)
