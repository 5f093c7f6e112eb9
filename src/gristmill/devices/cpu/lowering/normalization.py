"""Softmax and normalisation along rows."""

from __future__ import annotations

import numpy as np

from gristmill.devices.base import Refusal
from gristmill.devices.cpu.contents import array_of, is_known
from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.ir.program import Value
from gristmill.ops.activation import softmax
from gristmill.ops.normalization import instance_norm, layer_norm


@lowers(softmax)
def _softmax(op: softmax, emit: Emitter) -> None:
    axis = op.axis % op.x.rank
    with emit.result_axis_last(op.result, axis) as result:
        emit.call("softmax", {"axes": 1}, [emit.axis_last(op.x, axis)], [result])


def _factor(value: Value | None, emit: Emitter) -> int:
    """A scale or an offset as float32; -1 where there is none."""
    if value is None:
        return -1
    return emit.constant(array_of(value).astype(np.float32).reshape(-1), "fp32")


def _trailing(op: layer_norm) -> Refusal | None:
    rank = op.x.rank
    axes = list(range(rank)) if op.axes is None else sorted({axis % rank for axis in op.axes})
    if axes != list(range(rank - len(axes), rank)) or not axes:
        return Refusal("only the last dimensions are normalised natively")
    return _constant_factors(op)


def _constant_factors(op: layer_norm | instance_norm) -> Refusal | None:
    given = [value for value in (op.gamma, op.beta) if value is not None]
    return None if all(map(is_known, given)) else Refusal("scale and offset are no constants")


@lowers(layer_norm, supports=_trailing)
def _layer_norm(op: layer_norm, emit: Emitter) -> None:
    axes = op.x.rank if op.axes is None else len({axis % op.x.rank for axis in op.axes})
    arguments = {"axes": axes, "epsilon": float(op.epsilon), "per_row": False}
    operands = [emit.tensor(op.x), _factor(op.gamma, emit), _factor(op.beta, emit)]
    emit.call("standardize", arguments, operands, [emit.result(op.result)])


@lowers(instance_norm, supports=_constant_factors)
def _instance_norm(op: instance_norm, emit: Emitter) -> None:
    arguments = {"axes": op.x.rank - 2, "epsilon": float(op.epsilon), "per_row": True}
    operands = [emit.tensor(op.x), _factor(op.gamma, emit), _factor(op.beta, emit)]
    emit.call("standardize", arguments, operands, [emit.result(op.result)])
