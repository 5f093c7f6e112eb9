"""Convolution and pooling, on channels-last tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.devices.base import Refusal
from gristmill.devices.cpu import _native
from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.layout import CHANNELS_LAST
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.ir import types
from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ops.conv import conv
from gristmill.ops.pooling import avg_pool, l2_pool, max_pool
from gristmill.ops.reduction import reduce_mean
from gristmill.ops.windows import Axis, axes_of

_FLOATS = (types.fp16, types.fp32)


def _windows(emit: Emitter, kernel: Sequence[int], axes: Sequence[Axis]) -> dict[str, Any]:
    """The arguments of a kernel about its windows."""
    return {
        "kernel": list(kernel),
        "strides": [axis.stride for axis in axes],
        "dilations": [axis.dilation for axis in axes],
        "before": emit.sizes([axis.before for axis in axes]),
        "after": emit.sizes([axis.after for axis in axes]),
    }


def _constant_weight(op: conv) -> Refusal | None:
    if op.weight.constant is None or (op.bias is not None and op.bias.constant is None):
        return Refusal("the weight is computed by the model")
    if not {op.x.dtype, op.weight.dtype} <= {*_FLOATS}:
        return Refusal("only floats have a native kernel")
    if op.groups != 1 and not _is_depthwise(op):
        return Refusal("groups of several channels have no native kernel")
    return None


def _is_depthwise(op: conv) -> bool:
    return op.groups == op.weight.shape[0] and op.weight.shape[1] == 1


def _taps_first(weight: Array) -> Array:
    """A weight [O, C, *K] as [*K, C, O]."""
    return np.ascontiguousarray(weight.transpose(*range(2, weight.ndim), 1, 0))


@lowers(conv, supports=_constant_weight, epilogue=CHANNELS_LAST)
def _conv(op: conv, emit: Emitter) -> None:
    weight = op.weight
    assert weight.constant is not None
    kernel = [int(n) for n in weight.constant.data.shape[2:]]
    axes = axes_of(op, op.x.shape[2:], kernel, op.strides, op.dilations, op.pad_type, op.pad)
    arguments, inputs = _windows(emit, kernel, axes), [emit.tensor(op.x, CHANNELS_LAST)]
    if op.groups != 1:
        array = _taps_first(weight.constant.numpy().astype(np.float32)).reshape(-1)
        inputs.append(emit.constant(array, "fp32"))
        emit.finish(op, "depthwise", arguments, inputs, CHANNELS_LAST, bias=op.bias)
        return

    def pack() -> _native.Prepared:
        assert weight.constant is not None
        array = _taps_first(weight.constant.numpy())
        n = array.shape[-1]
        return _native.pack_matrix(weight.dtype.name, array, array.size // max(n, 1), n, n, 1)

    arguments["weight"] = emit.prepared((weight, "conv"), pack)
    emit.finish(op, "conv", arguments, inputs, CHANNELS_LAST, bias=op.bias)


def _pool(op: Any, emit: Emitter, kernel: str, **more: Any) -> None:
    axes = op.axes(op.x.shape[2:])
    arguments = {**_windows(emit, op.kernel_sizes, axes), **more}
    emit.finish(op, kernel, arguments, [emit.tensor(op.x, CHANNELS_LAST)], CHANNELS_LAST)


def _float_pool(op: Op) -> Refusal | None:
    return None if op.operand("x").dtype in _FLOATS else Refusal("only floats have a native kernel")


@lowers(max_pool, supports=_float_pool, epilogue=CHANNELS_LAST)
def _max_pool(op: max_pool, emit: Emitter) -> None:
    _pool(op, emit, "max_pool")


@lowers(avg_pool, supports=_float_pool, epilogue=CHANNELS_LAST)
def _avg_pool(op: avg_pool, emit: Emitter) -> None:
    _pool(op, emit, "avg_pool", exclude=op.exclude_padding_from_average)


@lowers(l2_pool, supports=_float_pool, epilogue=CHANNELS_LAST)
def _l2_pool(op: l2_pool, emit: Emitter) -> None:
    _pool(op, emit, "l2_pool")


def _over_all_space(op: reduce_mean) -> Refusal | None:
    rank = op.x.rank
    axes = range(rank) if op.axes is None else [axis % rank for axis in op.axes]
    if not 3 <= rank <= 5 or sorted(axes) != list(range(2, rank)):
        return Refusal("only the mean over all spatial axes has a native kernel")
    if not all(isinstance(size, int) and size > 0 for size in op.x.shape[2:]):
        return Refusal("the mean over a size that is known only at run time has no native kernel")
    return _float_pool(op)


@lowers(reduce_mean, supports=_over_all_space)
def _global_average(op: reduce_mean, emit: Emitter) -> None:
    kernel = [int(str(size)) for size in op.x.shape[2:]]
    arguments = {**_windows(emit, kernel, [Axis(size) for size in kernel]), "exclude": False}
    batch, channels = op.x.shape[:2]
    averages = emit.scratch(op.x.dtype.name, (batch, *(1 for _ in kernel), channels))
    emit.call("avg_pool", arguments, [emit.tensor(op.x, CHANNELS_LAST)], [averages])
    emit.alias(op.result, averages)  # the same elements in the same order, whatever axes of size 1 remain
