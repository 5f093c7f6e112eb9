"""Recurrent layers: the input's part of all gates and steps is one product, then steps follow one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.devices.base import Refusal
from gristmill.devices.cpu import _native
from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.lowering.linear import pack
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.ir.constants import Array
from gristmill.ir.dims import Dim
from gristmill.ir.program import Value
from gristmill.ops.recurrent import gru, lstm, rnn


def _some_units(op: lstm | gru | rnn) -> Refusal | None:
    weights = [value for _, _, value in op.uses() if value.constant is not None]
    return Refusal("nothing goes in, or nothing is kept") if any(0 in value.shape for value in weights) else None


def _array(value: Value | None) -> Array | None:
    if value is None:
        return None
    assert value.constant is not None
    return value.constant.numpy().astype(np.float64)


def _vector(emit: Emitter, array: Array) -> int:
    return emit.constant(array.astype(np.float32), "fp32")


def _inputs(emit: Emitter, x: Value, weight: Value, bias: Array | None) -> int:
    """What the input adds to the gates at every step, [S, B, G·H] in float32."""
    gates = emit.scratch("fp32", (*x.shape[:2], weight.shape[0]))
    arguments: dict[str, object] = {"weight": pack(emit, weight, transposed=True, few_rows=True)}
    operands = [emit.tensor(x)]
    if bias is not None:
        arguments |= {"program": _native.tile_program(2, 3, [("Add", 2, 0, 1, 2, 0.0, 0.0)], [2]), "layout": "column"}
        operands.append(_vector(emit, bias))
    emit.call("linear", arguments, operands, [gates])
    return gates


def _gates(emit: Emitter, weight: Value, count: int) -> _native.Prepared:
    """The recurrent weights as a packed matrix [H, H] for each gate."""

    def make() -> _native.Prepared:
        assert weight.constant is not None
        array = weight.constant.numpy()
        hidden = array.shape[1]
        sizes, strides, each = (1, hidden, hidden), (0, 1, hidden), hidden * hidden
        array = np.ascontiguousarray(array)
        return _native.prepared_list(
            [_native.pack_matrix(weight.dtype.name, array, sizes, strides, gate * each) for gate in range(count)]
        )

    return emit.prepared((weight, "gates", count), make)


def _arguments(op: Any, cell: str, weights: _native.Prepared, activations: Sequence[str]) -> dict[str, Any]:
    names = [name.lower() for name in activations]
    return {
        "cell": cell,
        "weights": weights,
        "activations": " ".join((names * 3)[:3]),
        "clip": float("inf"),
        "reverse": op.direction == "reverse",
        "mirrored": False,
        "every": op.output_sequence,
    }


@lowers(rnn, supports=_some_units)
def _rnn(op: rnn, emit: Emitter) -> None:
    gates = _inputs(emit, op.x, op.weight_ih, _array(op.bias))
    arguments = _arguments(op, "rnn", _gates(emit, op.weight_hh, 1), [op.activation])
    emit.call("recurrent", arguments, [gates, emit.tensor(op.initial_h)], [emit.result(r) for r in op.results])


@lowers(gru, supports=_some_units)
def _gru(op: gru, emit: Emitter) -> None:
    bias, hidden_bias = _array(op.input_bias), _array(op.bias)
    inside = -1
    if hidden_bias is not None:
        if op.reset_after:
            of_r, of_o, of_z = np.split(hidden_bias, 3)
            inside = _vector(emit, of_o)
            hidden_bias = np.concatenate([of_r, np.zeros_like(of_o), of_z])
        bias = hidden_bias if bias is None else bias + hidden_bias
    gates = _inputs(emit, op.x, op.weight_ih, bias)
    cell = "gru_reset_after" if op.reset_after else "gru"
    activations = [op.recurrent_activation, op.activation]
    arguments = _arguments(op, cell, _gates(emit, op.weight_hh, 3), activations)
    operands = [gates, emit.tensor(op.initial_h), -1, inside]
    emit.call("recurrent", arguments, operands, [emit.result(r) for r in op.results])


def _lstm_run(
    op: lstm,
    emit: Emitter,
    states: Sequence[int],
    results: Sequence[int],
    parameters: tuple[Value, Value, Value | None, Value | None],
    **how: bool,
) -> None:
    """One direction, from the states h and c to the three results."""
    weight_ih, weight_hh, bias, peephole = parameters
    gates = _inputs(emit, op.x, weight_ih, _array(bias))
    activations = [op.recurrent_activation, op.cell_activation, op.activation]
    arguments = _arguments(op, "lstm", _gates(emit, weight_hh, 4), activations) | how
    if op.clip is not None:
        arguments["clip"] = float(op.clip)
    peepholes = _array(peephole)
    extra = -1 if peepholes is None else _vector(emit, peepholes)
    emit.call("recurrent", arguments, [gates, *states, extra], results)


@lowers(lstm, supports=_some_units)
def _lstm(op: lstm, emit: Emitter) -> None:
    ahead = (op.weight_ih, op.weight_hh, op.bias, op.peephole)
    if op.direction != "bidirectional":
        states = [emit.tensor(op.initial_h), emit.tensor(op.initial_c)]
        _lstm_run(op, emit, states, [emit.result(r) for r in op.results], ahead)
        return
    assert op.weight_ih_back is not None
    assert op.weight_hh_back is not None
    back = (op.weight_ih_back, op.weight_hh_back, op.bias_back, op.peephole_back)
    # Each direction has its half of the columns of states and results.
    widths: list[Dim] = [op.weight_hh.shape[1], op.weight_hh_back.shape[1]]
    parts: list[list[int]] = []
    for parameters, begin, width, reverse in ((ahead, 0, widths[0], False), (back, widths[0], widths[1], True)):
        states = []
        for state in (op.initial_h, op.initial_c):
            half = emit.scratch(state.dtype.name, (state.shape[0], width))
            emit.call("view", {"perm": [0, 1], "begin": emit.sizes([0, begin])}, [emit.tensor(state)], [half])
            states.append(half)
        made = [emit.scratch(r.dtype.name, (*r.shape[:-1], width)) for r in op.results]
        _lstm_run(op, emit, states, made, parameters, reverse=reverse, mirrored=reverse)
        parts.append(made)
    for result, *halves in zip(op.results, *parts, strict=True):
        emit.call("concat", {"axis": result.rank - 1}, halves, [emit.result(result)])
