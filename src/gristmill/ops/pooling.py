"""Pooling over one to three spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from gristmill.ir.constants import Array
from gristmill.ir.dims import Dim
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS16
from gristmill.ir.signature import Const, Operand, TypeVar
from gristmill.ir.traits import Exact, Pooling, Trait
from gristmill.ir.types import Type, fp16, fp32
from gristmill.ops.sizes import sized
from gristmill.ops.windows import Axis, axes_of, counts_of, pad_axis, taps


def _ones(op: Any) -> tuple[int, ...]:
    return (1,) * (op.x.rank - 2)


def _zeros(op: Any) -> tuple[int, ...]:
    return (0,) * 2 * (op.x.rank - 2)


class _Pool(Op):
    """Pooling over the windows of the spatial axes of x [N, C, *D].

    ``pad_type`` and ``pad`` are those of ``conv``. With ``ceil_mode`` the last window may reach over the end, and over
    the padding; a window that would start behind the data is dropped if there is padding.
    """

    T = TypeVar(fp16, fp32)

    x = Operand(T, rank=(3, 5))
    kernel_sizes = Const.ints()
    strides = Const.ints(default=_ones)
    pad_type = Const(str)
    pad = Const.ints(default=_zeros)
    ceil_mode = Const(bool, default=False)
    traits: ClassVar[tuple[type[Trait], ...]] = (Pooling,)

    def axes(self, sizes: Sequence[Dim]) -> tuple[Axis, ...]:
        return axes_of(self, sizes, self.kernel_sizes, self.strides, (1,) * len(sizes), self.pad_type, self.pad)

    def infer(self) -> Type:
        batch, channels, *sizes = self.x.shape
        pad_type = self.pad_type.lower()
        if pad_type == "same_lower" and self.opset < iOS16:
            raise self.misfit("pad_type 'same_lower'", expected="iOS16 or later", actual=self.opset)
        if self.ceil_mode:
            if len(sizes) > 2:
                raise self.misfit("ceil_mode", expected="one or two spatial axes", actual=len(sizes))
            if pad_type == "same":
                raise self.misfit("ceil_mode", expected="pad_type valid or custom", actual=pad_type)
            if self.pad[::2] != self.pad[1::2]:
                raise self.misfit("ceil_mode", expected="the same padding before and after", actual=self.pad)
        axes = self.axes(sizes)
        counts = counts_of(self, sizes, axes, ceil_mode=self.ceil_mode)
        return self.x.tensor.with_shape(sized((batch, channels, *counts)))

    def combine(self, x: Array, function: np.ufunc, fill: float) -> Array:
        """Folds a function over each window, one axis after another."""
        axes = self.axes(x.shape[2:])
        counts = counts_of(self, x.shape[2:], axes, ceil_mode=self.ceil_mode)
        for k, (axis, count) in enumerate(zip(axes, map(int, counts), strict=True)):
            reach = (count - 1) * axis.stride + int(axis.extent)  # past the padding in ceil_mode
            before = int(axis.before)
            padded = pad_axis(x, 2 + k, before, max(0, reach - before - x.shape[2 + k]), fill)
            first, *others = taps(padded, 2 + k, axis, count)
            x = first.copy()
            for other in others:
                function(x, other, out=x)
        return x


class avg_pool(_Pool):
    """Mean of each window.

    Padding counts as zeros in the mean, or not at all with ``exclude_padding_from_average``. What ``ceil_mode`` adds
    beyond the padding never counts. A window that holds nothing to count gives 0.
    """

    exclude_padding_from_average = Const(bool, default=False)

    def reference(self, x: Array, exclude_padding_from_average: bool) -> Array:
        axes = self.axes(x.shape[2:])
        total = self.combine(x, np.add, 0)
        for k, (axis, size, count) in enumerate(zip(axes, x.shape[2:], total.shape[2:], strict=True)):
            padding = (0, 0) if exclude_padding_from_average else (int(axis.before), int(axis.after))
            start = np.arange(count) * axis.stride - int(axis.before)
            end = np.minimum(start + int(axis.extent), size + padding[1])
            counted = np.maximum(1, end - np.maximum(start, -padding[0]))
            total /= counted.reshape(-1, *(1,) * (len(axes) - 1 - k))
        return total


class l2_pool(_Pool):
    """Square root of the sum of each window's squares; padding adds nothing."""

    x = Operand(_Pool.T, rank=(3, 4))

    def reference(self, x: Array) -> Array:
        return np.sqrt(self.combine(x * x, np.add, 0))


class max_pool(_Pool):
    """Greatest element of each window.

    Padding never wins; a window of nothing else gives -∞. A NaN in a window is its result.
    """

    traits: ClassVar[tuple[type[Trait], ...]] = (Pooling, Exact)

    def reference(self, x: Array) -> Array:
        return self.combine(x, np.maximum, -np.inf)


OPS = (avg_pool, l2_pool, max_pool)
