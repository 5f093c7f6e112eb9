"""Convolutions over one to three spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.dims import Dim
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS13, iOS16, iOS17
from gristmill.ir.signature import ByOpset, Const, Operand, OptionalOperand, TypeVar
from gristmill.ir.traits import Contraction
from gristmill.ir.types import Type, fp16, fp32, uint8
from gristmill.ops.sizes import claim, sized
from gristmill.ops.windows import Axis, axes_of, counts_of, same_padding

SLAB = 1 << 22
"""Elements of the unrolled input that a convolution multiplies at a time."""


def _ones(op: Any) -> tuple[int, ...]:
    return (1,) * (op.x.rank - 2)


def _zeros(op: Any) -> tuple[int, ...]:
    return (0,) * 2 * (op.x.rank - 2)


class _Convolution(Op):
    T = TypeVar(fp16, fp32)
    U = TypeVar(fp16, fp32)

    x = Operand(T, rank=(3, 5))
    strides = Const.ints(default=_ones)
    pad_type = Const(str, default="valid")
    pad = Const.ints(default=_zeros)
    dilations = Const.ints(default=_ones)
    groups = Const(int, default=1)
    traits = (Contraction,)

    def channels(self, channels: Dim, groups: int) -> None:
        """Refuses channels that groups cannot share evenly."""
        if groups < 1 or dims.never_equal(dims.mod(channels, groups), 0):
            raise self.misfit("channels are a multiple of the groups", expected=groups, actual=channels)


_WEIGHT = ByOpset({iOS13: _Convolution.T, iOS17: _Convolution.U})
_UNTIL_IOS17 = ByOpset({iOS13: True, iOS17: False})


class _Forward(_Convolution):
    """What ``conv`` and ``conv_quantized`` share; both have the operands ``weight`` and ``bias``."""

    def infer(self) -> Type:
        weight, bias = self.operand("weight"), self.optional_operand("bias")
        batch, channels, *sizes = self.x.shape
        if weight.rank != self.x.rank:
            raise self.misfit("rank of the weight", expected=self.x.rank, actual=weight.rank)
        made, taken, *kernel = weight.shape
        self.channels(channels, self.groups)
        self.channels(made, self.groups)
        if dims.never_equal(channels, taken * self.groups):
            raise self.misfit("channels of x, by those of the weight", expected=taken * self.groups, actual=channels)
        if bias is not None and (bias.rank != 1 or dims.never_equal(bias.shape[0], made)):
            raise self.misfit("shape of the bias", expected=(made,), actual=bias.shape)
        if self.pad_type == "same_lower" and self.opset < iOS16:
            raise self.misfit("pad_type 'same_lower'", expected="iOS16 or later", actual=self.opset)
        axes = axes_of(self, sizes, kernel, self.strides, self.dilations, self.pad_type, self.pad)
        return self.x.tensor.with_shape(sized((batch, made, *counts_of(self, sizes, axes))))

    def run(self, x: Array, weight: Array, bias: Array | None) -> Array:
        kernel, sizes = weight.shape[2:], x.shape[2:]
        axes = axes_of(self, sizes, kernel, self.strides, self.dilations, self.pad_type, self.pad)
        counts = tuple(map(int, counts_of(self, sizes, axes)))
        return _with_bias(convolve(x, weight, axes, counts, self.groups), bias)


class conv(_Forward):
    """Convolution: ``y[n, o, p] = bias[o] + Σ_{c, k} weight[o, c, k]·x[n, g·C + c, p·stride + k·dilation - before]``.

    ``C`` is ``weight.shape[1]``, ``g`` the group of output channel ``o``, and x is 0 outside. Shapes: x [N, C·groups,
    *D], weight [O, C, *K], bias [O].

    ``pad_type``: ``valid`` pads nothing, ``custom`` by ``pad`` (before and after each axis), ``same`` so that ⌈D /
    stride⌉ windows fit, with the odd element behind the data, ``same_lower`` with it in front. ``pad`` is ignored
    unless the type is ``custom``. Core ML itself takes dilations other than 1 with constant weights only.
    """

    weight = Operand(_WEIGHT)
    bias = OptionalOperand(_WEIGHT, const=_UNTIL_IOS17)

    def reference(self, x: Array, weight: Array, bias: Array | None) -> Array:
        return self.run(x, weight, bias)


class conv_quantized(_Forward):
    """``conv`` with the weight ``quant_scale·weight + quant_bias``.

    Scale and bias are one for each output channel, or one for all. ``quantization_type`` is ``linear``; with ``lut``
    the op has no operand for the table, so there is nothing that it could mean.
    """

    B = TypeVar(uint8)

    weight = Operand(B)
    bias = OptionalOperand(B, const=True)
    quantization_type = Const(str, choices=("linear", "lut"))
    nbits = Const(int, default=8)
    quant_scale = Operand(_Convolution.T, const=True)
    quant_bias = Operand(_Convolution.T, const=True)

    def reference(
        self, x: Array, weight: Array, bias: Array | None, quant_scale: Array, quant_bias: Array, quantization_type: str
    ) -> Array:
        if quantization_type == "lut":
            raise self.misfit("a look-up table is no operand of the op", expected="linear", actual="lut")
        axes = (1,) * (weight.ndim - 1)
        decoded = weight * quant_scale.reshape(-1, *axes) + quant_bias.reshape(-1, *axes)
        return self.run(x, decoded, None if bias is None else bias.astype(np.float64))


class conv_transpose(_Convolution):
    """Transposed convolution, the gradient of ``conv`` with respect to its input.

    ``y[n, o, p·stride + k·dilation - before] += x[n, c, p]·weight[c, o, k]`` over all c, p and k, and the bias once.
    Shapes: x [N, C, *D], weight [C, O/groups, *K], bias [O].

    The result has (D-1)·stride + (K-1)·dilation + 1 elements along an axis with ``pad_type`` ``valid``, less ``pad``
    with ``custom``, and D·stride with ``same``. ``output_shape``, the whole shape, overrides that: ``same`` then crops
    as the convolution of that shape would pad, the other types crop or extend the end; where nothing is added the
    result is the bias.
    """

    weight = Operand(_WEIGHT, const=_UNTIL_IOS17)
    bias = OptionalOperand(_WEIGHT, const=_UNTIL_IOS17)
    output_shape = Const.ints(default=None)

    def infer(self) -> Type:
        batch, channels, *sizes = self.x.shape
        if self.weight.rank != self.x.rank:
            raise self.misfit("rank of the weight", expected=self.x.rank, actual=self.weight.rank)
        taken, made, *kernel = self.weight.shape
        made = made * self.groups
        self.channels(channels, self.groups)
        if dims.never_equal(channels, taken):
            raise self.misfit("channels of x, by those of the weight", expected=taken, actual=channels)
        if self.bias is not None and (self.bias.rank != 1 or dims.never_equal(self.bias.shape[0], made)):
            raise self.misfit("shape of the bias", expected=(made,), actual=self.bias.shape)
        result = self.output_shape
        if result is not None and (
            len(result) != self.x.rank
            or min(result) < 1
            or dims.never_equal(result[0], batch)
            or dims.never_equal(result[1], made)
        ):
            raise self.misfit("output_shape", expected=(batch, made, *sizes), actual=result)
        lengths = [size for size, _ in self.extents(sizes, kernel)]
        if any(dims.always_lt(length, 1) for length in lengths):
            raise self.misfit("nothing is left after cropping", actual=tuple(lengths))
        return self.x.tensor.with_shape(sized(result if result is not None else (batch, made, *lengths)))

    def extents(self, sizes: Sequence[Dim], kernel: Sequence[Dim]) -> list[tuple[Dim, Axis]]:
        """Length of each spatial axis of the result, and how windows slide along it."""
        if self.pad_type not in ("valid", "same", "custom"):
            raise self.misfit("unknown pad_type", expected="valid, same, custom", actual=self.pad_type)
        custom = "custom" if self.pad_type == "custom" else "valid"
        axes = axes_of(self, sizes, kernel, self.strides, self.dilations, custom, self.pad)
        found: list[tuple[Dim, Axis]] = []
        for k, (size, axis) in enumerate(zip(sizes, axes, strict=True)):
            same = self.pad_type == "same"
            length = size * axis.stride if same else (size - 1) * axis.stride + axis.extent - axis.before - axis.after
            if self.output_shape is not None:
                length = self.output_shape[2 + k]
            before, after = same_padding(length, axis.extent, axis.stride) if same else (axis.before, axis.after)
            found.append((length, Axis(axis.kernel, axis.stride, axis.dilation, before, after)))
        return found

    def reference(self, x: Array, weight: Array, bias: Array | None) -> Array:
        extents = self.extents(x.shape[2:], weight.shape[2:])
        lengths = tuple(int(length) for length, _ in extents)
        if min(lengths) < 0:
            raise self.misfit("nothing is left after cropping", actual=lengths)
        return _with_bias(scatter(x, weight, [axis for _, axis in extents], lengths, self.groups), bias)


def _with_bias(y: Array, bias: Array | None) -> Array:
    if bias is not None:
        y += bias.reshape(-1, *(1,) * (y.ndim - 2))
    return y


def convolve(x: Array, weight: Array, axes: Sequence[Axis], counts: tuple[int, ...], groups: int) -> Array:
    """The convolution of float64 arrays without bias, as a matrix product over unrolled windows, slab by slab."""
    widths = [(int(axis.before), int(axis.after)) for axis in axes]
    claim((*x.shape[:2], *(sum(width) + n for width, n in zip(widths, x.shape[2:], strict=True))), x.itemsize)
    padded = np.pad(x, [(0, 0), (0, 0), *widths]) if np.any(widths) else x
    batch, made, taken = len(x), len(weight), weight.shape[1]
    if x.shape[1] != taken * groups:
        raise ValueError(f"x has {x.shape[1]} channels, the weight takes {groups} times {taken}")
    if taken == 1 and made < 8 * groups:
        return _convolve_channelwise(padded, weight, axes, counts)
    rank = len(axes)
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, [int(axis.extent) for axis in axes], tuple(range(2, 2 + rank))
    )
    steps = [slice(None, None, axis.stride) for axis in axes] + [slice(None, None, axis.dilation) for axis in axes]
    kernel_first = np.moveaxis(windows[(slice(None), slice(None), *steps)], range(2, 2 + rank), range(-rank, 0))
    unrolled = kernel_first.reshape(batch, groups, taken, *kernel_first.shape[2:])
    matrix = weight.reshape(groups, made // groups, -1)
    y = np.empty((batch, groups, made // groups, *counts))
    row = groups * matrix.shape[-1] * math.prod(counts[1:])
    height = max(1, SLAB // max(1, row))
    for n, start in product(range(batch), range(0, counts[0], height)):
        slab = unrolled[n][(slice(None),) * (2 + rank) + (slice(start, start + height),)]
        rows = slab.shape[2 + rank]
        columns = slab.reshape(groups, matrix.shape[-1], rows * math.prod(counts[1:]))
        y[n, :, :, start : start + rows] = (matrix @ columns).reshape(groups, -1, rows, *counts[1:])
    return y.reshape(batch, made, *counts)


def _convolve_channelwise(padded: Array, weight: Array, axes: Sequence[Axis], counts: tuple[int, ...]) -> Array:
    """Every input channel has few output channels of its own: matrices of one column waste what tap sums do not."""
    batch, channels = padded.shape[:2]
    y = np.zeros((batch, channels, len(weight) // channels, *counts))
    for tap in np.ndindex(*weight.shape[2:]):
        factors = weight[(slice(None), 0, *tap)].reshape(channels, -1, *(1,) * len(axes))
        window = _tap_index(tap, axes, counts)
        y += factors * padded[(slice(None), slice(None), *window)][:, :, np.newaxis]
    return y.reshape(batch, len(weight), *counts)


def scatter(x: Array, weight: Array, axes: Sequence[Axis], lengths: tuple[int, ...], groups: int) -> Array:
    """The transposed convolution of float64 arrays without bias: each tap's products, added where they belong."""
    batch, channels, *counts = x.shape
    per_group = weight.shape[1]
    starts = [int(axis.before) for axis in axes]
    reach = [
        max((count - 1) * axis.stride + int(axis.extent), start + length)
        for count, axis, start, length in zip(counts, axes, starts, lengths, strict=True)
    ]
    y = np.zeros(claim((batch, groups, per_group, *reach), x.itemsize))
    columns = x.reshape(batch, groups, channels // groups, math.prod(counts))
    for tap in np.ndindex(*weight.shape[2:]):
        matrix = weight[(slice(None), slice(None), *tap)].reshape(groups, channels // groups, per_group)
        matrix = matrix.swapaxes(1, 2)
        products = matrix * columns if channels == groups else matrix @ columns
        window = _tap_index(tap, axes, counts)
        y[(slice(None), slice(None), slice(None), *window)] += products.reshape(batch, groups, per_group, *counts)
    crop = [slice(start, start + length) for start, length in zip(starts, lengths, strict=True)]
    return np.ascontiguousarray(y.reshape(batch, groups * per_group, *reach)[(slice(None), slice(None), *crop)])


def _tap_index(tap: Sequence[int], axes: Sequence[Axis], counts: Sequence[int]) -> list[slice]:
    """Where one element of every window lies."""
    starts = [k * axis.dilation for k, axis in zip(tap, axes, strict=True)]
    return [
        slice(start, start + (count - 1) * axis.stride + 1, axis.stride)
        for start, axis, count in zip(starts, axes, counts, strict=True)
    ]


OPS = (conv, conv_quantized, conv_transpose)
