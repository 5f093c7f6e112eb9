"""Sliding windows: what convolution and pooling share, for known and for symbolic sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.dims import Dim
from gristmill.ir.op import Op
from gristmill.ops.sizes import claim

PAD_TYPES = ("valid", "same", "same_lower", "custom")


@dataclass(frozen=True)
class Axis:
    """How windows slide along one spatial axis.

    Attributes:
        kernel: Elements in a window.
        stride: From one window to the next.
        dilation: From one element of a window to the next.
        before: Padding in front.
        after: Padding behind.
    """

    kernel: Dim
    stride: int = 1
    dilation: int = 1
    before: Dim = 0
    after: Dim = 0

    @property
    def extent(self) -> Dim:
        """How far a window reaches."""
        return (self.kernel - 1) * self.dilation + 1

    def count(self, size: Dim, *, ceil_mode: bool = False) -> Dim:
        """How many windows fit.

        That is ⌊(size + before + after - extent) / stride⌋ + 1. With ``ceil_mode`` the quotient is rounded up, so that
        the last window may reach over the end; one that would start behind both the data and the padding in front of
        them is dropped where there is padding at all.
        """
        room = size + self.before + self.after - self.extent
        if not ceil_mode:
            return dims.floor_div(room, self.stride) + 1
        windows = dims.ceil_div(room, self.stride) + 1
        if self.before == 0 and self.after == 0:
            return windows
        starting = dims.ceil_div(size + self.before, self.stride)  # windows that start before the end of the data
        return dims.minimum(windows, dims.maximum(windows - 1, starting))


def same_padding(size: Dim, extent: Dim, stride: int, *, lower: bool = False) -> tuple[Dim, Dim]:
    """Padding that makes ⌈size / stride⌉ windows: the odd element goes behind, with ``lower`` in front."""
    total = dims.maximum(0, (dims.ceil_div(size, stride) - 1) * stride + extent - size)
    less = dims.floor_div(total, 2)
    return (total - less, less) if lower else (less, total - less)


def axes_of(
    op: Op,
    sizes: Sequence[Dim],
    kernel: Sequence[Dim],
    strides: Sequence[int],
    dilations: Sequence[int],
    pad_type: str,
    pad: Sequence[int],
) -> tuple[Axis, ...]:
    """The spatial axes of a convolution or pooling op; ``pad`` counts for the type ``custom`` only.

    Raises:
        TypeInferenceError: The parameters do not fit the rank, or are out of range.
    """
    rank = len(sizes)
    pad_type = pad_type.lower()
    if pad_type not in PAD_TYPES:
        raise op.misfit("unknown pad_type", expected=", ".join(PAD_TYPES), actual=pad_type)
    parameters: tuple[tuple[str, Sequence[Dim]], ...] = (
        ("kernel", kernel),
        ("strides", strides),
        ("dilations", dilations),
    )
    for name, values in parameters:
        if len(values) != rank:
            raise op.misfit(f"{name}: one for each spatial axis", expected=rank, actual=len(values))
        if any(dims.always_lt(v, 1) for v in values):
            raise op.misfit(f"{name}: at least 1", actual=tuple(values))
    if pad_type == "custom" and (len(pad) != 2 * rank or min(pad) < 0):
        raise op.misfit("pad: before and after each spatial axis, not negative", expected=2 * rank, actual=pad)
    axes = []
    for k, (size, taps, stride, dilation) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
        around: tuple[Dim, Dim] = (0, 0)
        if pad_type == "custom":
            around = pad[2 * k], pad[2 * k + 1]
        elif pad_type != "valid":
            extent = Axis(taps, stride, dilation).extent
            around = same_padding(size, extent, stride, lower=pad_type == "same_lower")
        axes.append(Axis(taps, stride, dilation, *around))
    return tuple(axes)


def counts_of(op: Op, sizes: Sequence[Dim], axes: Sequence[Axis], *, ceil_mode: bool = False) -> tuple[Dim, ...]:
    """Windows along each axis.

    Raises:
        TypeInferenceError: Not even one fits.
    """
    counts = tuple(axis.count(size, ceil_mode=ceil_mode) for size, axis in zip(sizes, axes, strict=True))
    if any(dims.always_lt(count, 1) for count in counts):
        raise op.misfit("no window fits", expected="a kernel that fits the padded size", actual=tuple(sizes))
    return counts


def pad_axis(x: Array, axis: int, before: int, after: int, fill: float) -> Array:
    """An array with ``fill`` around one axis; the array itself when there is nothing to add."""
    if before == 0 and after == 0:
        return x
    claim((*x.shape[:axis], x.shape[axis] + before + after, *x.shape[axis + 1 :]), x.itemsize)
    widths = [(0, 0)] * x.ndim
    widths[axis] = (before, after)
    return np.pad(x, widths, constant_values=fill)


def taps(x: Array, axis: int, window: Axis, count: int) -> list[Array]:
    """Views of a padded array, one for each element of the windows: its place in all of them."""
    last = (count - 1) * window.stride + 1
    starts = range(0, int(window.kernel) * window.dilation, window.dilation)
    index: list[slice] = [slice(None)] * axis
    return [x[(*index, slice(start, start + last, window.stride))] for start in starts]
