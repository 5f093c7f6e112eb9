"""Convolutions over channels-last images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from gristmill.devices.base import Refusal
from gristmill.devices.cpu import _native
from gristmill.devices.cpu.compression import MatrixView, compressed_matrix
from gristmill.devices.cpu.contents import array_of, is_known, sizes_of
from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.layout import CHANNELS_LAST, PLAIN, Layout
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.devices.cpu.packing import are_few, packed, transformed
from gristmill.ir import types
from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.ops.conv import conv, conv_transpose
from gristmill.ops.elementwise_binary import mul
from gristmill.ops.windows import Axis, axes_of

MAX_DEPTHWISE_TAPS = 256
"""Depthwise sums are one block of terms, whose length the contract's bound limits."""

MAX_PLANES, MAX_PLANES_TAPS = 4, 256
"""Channels of an image that is read plane by plane, and numbers under a window: sums are one block."""

MAX_WINOGRAD_BYTES = 1 << 24
"""Of one convolution's transformed weights: larger ones would come from memory each time, and fill it."""


def _constant_weight(op: Any) -> Refusal | None:
    if not is_known(op.weight) or 0 in op.weight.shape:
        return Refusal("the weight is no constant")
    return None if op.weight.dtype in (types.fp16, types.fp32) else Refusal("the weight is not of floats")


def window_arguments(emit: Emitter, axes: Sequence[Axis]) -> dict[str, object]:
    """How windows slide, as kernels take it."""
    return {
        "kernel": [axis.kernel for axis in axes],
        "strides": [axis.stride for axis in axes],
        "dilations": [axis.dilation for axis in axes],
        "before": emit.sizes([axis.before for axis in axes]),
    }


def _matrix(array: Array) -> _native.Prepared:
    """Taps and channels, in any order, [..., O] as a packed matrix of O columns."""
    made = array.shape[-1]
    matrix = np.ascontiguousarray(array.reshape(-1, made))
    return _native.pack_matrix(types.dtype_of(matrix.dtype).name, matrix, (1, len(matrix), made), (0, made, 1))


def _group_matrix(weight: Value, groups: int, group: int, *, few_rows: bool) -> _native.Prepared:
    """A group's part of a weight [O, C, *K] as a packed matrix [taps · C, O / groups]."""
    made, taken, *kernel = sizes_of(weight)
    taps, columns = math.prod(kernel), made // groups
    return packed(
        weight, (taps, taken, columns), (1, taps, taken * taps), group * columns * taken * taps, few_rows=few_rows
    )


def winograd_tile(op: conv) -> int | None:
    """The tile of Winograd's filters that a convolution takes, if it is worth while.

    Only for float16: the transforms lose a few bits of float32, which the contract leaves to float16 alone. Transformed
    weights are float32 and 16 / 9 or 36 / 9 times as many, and are read once for each prediction: large weights keep
    their windows. Estimated in multiply-adds; one read from memory takes the time of about 10, and counts as 16 because
    the memory has to be made and filled too.
    """
    half = op.x.dtype is types.fp16 and op.weight.dtype is types.fp16
    made, taken, *kernel = (int(size) for size in op.weight.shape)
    plain = set(op.strides) <= {1} and set(op.dilations) <= {1} and op.groups == 1
    if not half or not plain or kernel != [3, 3] or min(made, taken) < 16:
        return None
    batch, _, *spatial = op.result.shape
    if not all(isinstance(size, int) for size in (batch, *spatial)):
        return 2  # sizes that depend on the input: the smaller weights
    costs: dict[int | None, float] = {None: int(batch) * math.prod(map(int, spatial)) * 9 * made * taken * 1.1}
    costs[None] += 9 * made * taken * 5
    for tile in (2, 4):
        places = (tile + 2) ** 2
        tiles = int(batch) * math.prod(-(-int(size) // tile) for size in spatial)
        if places * made * taken * 4 > MAX_WINOGRAD_BYTES:
            continue
        products = tiles * places * made * taken
        transforms = tiles * places * (made + taken) * 8
        costs[tile] = products * 1.1 + transforms + places * made * taken * 16
    return min(costs, key=costs.__getitem__)


def reads_planes(op: conv, layout: Layout) -> bool:
    """Whether a convolution is one of an image with few channels, which it takes as it comes, plane after plane."""
    _, taken, *kernel = (int(size) for size in op.weight.shape)
    small = taken <= MAX_PLANES and taken * math.prod(kernel) <= MAX_PLANES_TAPS
    return small and layout is PLAIN and op.groups == 1 and len(kernel) <= 2


def factors_of(scaling: mul, scaled: Value) -> tuple[Value, Value] | None:
    """Operands of a product of an image with a factor for each channel: the image, then the factors."""
    ones = (1,) * (scaled.rank - 2)
    for image, factors in ((scaling.x, scaling.y), (scaling.y, scaling.x)):
        batches = (1, scaled.shape[0])
        per_channel = factors.rank == scaled.rank and factors.shape[1:] == (scaled.shape[1], *ones)
        if image.type == scaled.type and per_channel and factors.shape[0] in batches and not is_known(factors):
            return image, factors
    return None


def scaling_of(op: conv) -> Op | None:
    """What multiplies the operand of a 1×1 convolution by factors, as squeeze-and-excitation does."""
    pointwise = set(op.weight.shape[2:]) == {1} and set(op.strides) == {1} and op.groups == 1
    padded = op.pad_type == "custom" and any(op.pad)
    scaling = op.x.producer
    if not pointwise or padded or not isinstance(scaling, mul):
        return None
    return scaling if factors_of(scaling, op.x) is not None else None


@lowers(conv, supports=_constant_weight, epilogue=CHANNELS_LAST, scaling=scaling_of)
def _conv(op: conv, emit: Emitter) -> None:
    axes = axes_of(op, op.x.shape[2:], op.weight.shape[2:], op.strides, op.dilations, op.pad_type, op.pad)
    if emit.scaling is None and reads_planes(op, emit.layout(op.x)):

        def widen() -> _native.Prepared:
            return _matrix(np.moveaxis(array_of(op.weight), 0, -1).astype(np.float32))

        arguments = {**window_arguments(emit, axes), "weight": emit.prepared((op.weight, "planes"), widen)}
        emit.finish(op, "conv_planes", arguments, [emit.tensor(op.x)], CHANNELS_LAST, op.bias)
        return

    if isinstance(emit.scaling, mul):
        found = factors_of(emit.scaling, op.x)
        assert found is not None
        image, factors = found
        operands, scaled = [emit.tensor(image, CHANNELS_LAST), emit.tensor(factors)], True
    else:
        operands, scaled = [emit.tensor(op.x, CHANNELS_LAST)], False
    made, taken, *kernel = op.weight.shape
    taps = math.prod(map(int, kernel))
    if op.groups > 1 and taken == 1 and taps <= MAX_DEPTHWISE_TAPS:
        weights = emit.constant(np.moveaxis(array_of(op.weight), 0, -1).reshape(taps, made), op.weight.dtype.name)
        emit.finish(op, "depthwise", window_arguments(emit, axes), [*operands, weights], CHANNELS_LAST, op.bias)
        return

    tile = winograd_tile(op) if not emit.strict else None
    if tile is not None:
        filters = emit.prepared((op.weight, "winograd", tile), lambda: transformed(op.weight, tile))
        arguments = {**window_arguments(emit, axes), "weight": filters}
        emit.finish(op, "winograd", arguments, operands, CHANNELS_LAST, op.bias)
        return

    def pack() -> _native.Prepared:
        found = (
            compressed_matrix(op.weight, MatrixView.of(op.weight.rank, columns=0), strict=emit.strict, many_rows=True)
            if op.groups == 1
            else None
        )
        if found is not None:
            return _native.prepared_list([found])
        few_rows = are_few(op.result.shape[0], *op.result.shape[2:])
        groups = [_group_matrix(op.weight, op.groups, group, few_rows=few_rows) for group in range(op.groups)]
        return _native.prepared_list(groups)

    arguments = {
        **window_arguments(emit, axes),
        "groups": op.groups,
        "transposed": False,
        "scaled": scaled,
        "weight": emit.prepared((op.weight, "conv", op.groups), pack),
    }
    emit.finish(op, "conv", arguments, operands, CHANNELS_LAST, op.bias)


def phase_taps(kernel: int, stride: int, dilation: int, phase: int) -> list[int]:
    """The taps of a transposed convolution that reach the places of a phase."""
    return [k for k in range(kernel) if (phase - k * dilation) % stride == 0]


@lowers(conv_transpose, supports=_constant_weight, epilogue=CHANNELS_LAST)
def _conv_transpose(op: conv_transpose, emit: Emitter) -> None:
    axes = [axis for _, axis in op.extents(op.x.shape[2:], op.weight.shape[2:])]

    def pack() -> _native.Prepared:
        channels = array_of(op.weight)
        grouped = channels.reshape(op.groups, -1, *channels.shape[1:])  # [groups, C, O, *K]
        items = []
        for phases in product(*(range(axis.stride) for axis in axes)):
            taps = [
                phase_taps(int(axis.kernel), axis.stride, axis.dilation, phase)
                for axis, phase in zip(axes, phases, strict=True)
            ]
            for part in grouped:
                chosen = part[(slice(None), slice(None), *np.ix_(*taps))]
                items.append(_matrix(np.moveaxis(chosen, (0, 1), (-2, -1))))
        return _native.prepared_list(items)

    arguments = {
        **window_arguments(emit, axes),
        "groups": op.groups,
        "transposed": True,
        "weight": emit.prepared((op.weight, "transposed", op.groups, op.strides, op.dilations), pack),
    }
    emit.finish(op, "conv", arguments, [emit.tensor(op.x, CHANNELS_LAST)], CHANNELS_LAST, op.bias)
