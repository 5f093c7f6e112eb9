"""Recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.frontends.torch.context import Context
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.builder import mb
from gristmill.ir.constants import Array, LazyData
from gristmill.ir.opset import iOS17, iOS18
from gristmill.ir.program import Value


class _Cell:
    """Weights of one direction of one layer: input-hidden, hidden-hidden, and their biases if there are any."""

    def __init__(self, ctx: Context, weights: Sequence[Value], biased: bool) -> None:
        self._ctx = ctx
        self.weight_ih, self.weight_hh = weights[:2]
        self.biases = list(weights[2:4]) if biased else []
        self.dtype = self.weight_hh.dtype

    def gates(self, weight: Value, order: Sequence[int]) -> Value:
        """A weight with its gates, equal parts of its rows, in another order."""
        return self._derived([weight], lambda arrays: arrays[0], order)

    def bias(self, order: Sequence[int]) -> Value | None:
        """Both biases added."""
        return self._derived(self.biases, sum, order) if self.biases else None

    def _derived(self, weights: Sequence[Value], combine: Any, order: Sequence[int]) -> Value:
        found = [self._ctx.folded(weight) for weight in weights]
        sources = [data for data in found if data is not None]
        if len(sources) < len(found):
            raise self._ctx.unsupported("the weights of a recurrent layer are computed by the model")

        def produce() -> Array:
            array = combine([source.read() for source in sources])
            parts = np.split(array, len(order))
            return np.concatenate([parts[gate] for gate in order]).astype(array.dtype)

        return self._ctx.mb.const(LazyData(sources[0].dtype, sources[0].shape, produce), name="weight")


def _cells(ctx: Context, params: Sequence[Value], biased: bool, layers: int, directions: int) -> list[list[_Cell]]:
    count = len(params) // (layers * directions)
    if count != (4 if biased else 2):
        raise ctx.unsupported("a recurrent layer with projections", hint="use proj_size=0")
    cells = [_Cell(ctx, params[k * count : (k + 1) * count], biased) for k in range(layers * directions)]
    return [cells[k * directions : (k + 1) * directions] for k in range(layers)]


def _steps_first(ctx: Context, x: Value, batch_first: bool) -> Value:
    x = ctx.transpose(x, [1, 0, 2]) if batch_first else x
    return x if ctx.opset >= iOS17 else ctx.cast(x, types.fp32)  # earlier ops know float32 only


def _state(ctx: Context, states: Value, place: int) -> Value:
    state = ctx.mb.squeeze(x=ctx.slice(states, 0, place, place + 1), axes=[0])
    return state if ctx.opset >= iOS17 else ctx.cast(state, types.fp32)


def _refuse_training(ctx: Context, dropout: float, train: bool) -> None:
    if train and dropout > 0:
        raise ctx.unsupported("dropout in training mode is random", hint="export the model after model.eval()")


@lowers("aten.lstm.input")
def lstm(
    ctx: Context,
    x: Value,
    states: Sequence[Value],
    params: Sequence[Value],
    biased: bool,
    layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> list[Value]:
    """PyTorch's gates i, f, g, o in Core ML's order i, f, o, g."""
    _refuse_training(ctx, dropout, train)
    order = (0, 1, 3, 2)
    directions = 2 if bidirectional else 1
    y = _steps_first(ctx, x, batch_first)
    last_h: list[Value] = []
    last_c: list[Value] = []
    for layer, cells in enumerate(_cells(ctx, params, biased, layers, directions)):
        initial = [[_state(ctx, state, layer * directions + k) for k in range(directions)] for state in states]
        h0, c0 = (ctx.mb.concat(values=part, axis=1) if bidirectional else part[0] for part in initial)
        back = {}
        if bidirectional:
            back = {
                "weight_ih_back": cells[1].gates(cells[1].weight_ih, order),
                "weight_hh_back": cells[1].gates(cells[1].weight_hh, order),
                "bias_back": cells[1].bias(order),
            }
        y, h, c = ctx.mb.results(
            "lstm",
            x=y,
            initial_h=h0,
            initial_c=c0,
            weight_ih=cells[0].gates(cells[0].weight_ih, order),
            weight_hh=cells[0].gates(cells[0].weight_hh, order),
            bias=cells[0].bias(order),
            direction="bidirectional" if bidirectional else "forward",
            output_sequence=True,
            **back,
        )
        for last, found in ((last_h, h), (last_c, c)):
            last += ctx.mb.results("split", x=found, num_splits=2, axis=1) if bidirectional else [found]
    return _finished(ctx, y, batch_first, last_h, last_c)


def _finished(ctx: Context, y: Value, batch_first: bool, *lasts: Sequence[Value]) -> list[Value]:
    y = ctx.transpose(y, [1, 0, 2]) if batch_first else y
    return [ctx.cast(found, ctx.dtype) for found in (y, *(ctx.mb.stack(values=last, axis=0) for last in lasts))]


@lowers("aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input")
def one_state(
    ctx: Context,
    x: Value,
    states: Value,
    params: Sequence[Value],
    biased: bool,
    layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> list[Value]:
    """Layers with one state: each direction runs by itself, the other over the reversed sequence."""
    _refuse_training(ctx, dropout, train)
    directions = 2 if bidirectional else 1
    run = _gru if "gru" in ctx.operator else _rnn
    y = _steps_first(ctx, x, batch_first)
    last: list[Value] = []
    for layer, cells in enumerate(_cells(ctx, params, biased, layers, directions)):
        found = []
        for k, cell in enumerate(cells):
            sequence, h = run(ctx, y, _state(ctx, states, layer * directions + k), cell, k == 1)
            found.append(ctx.mb.reverse(x=sequence, axes=[0]) if k == 1 else sequence)
            last.append(h)
        y = ctx.mb.concat(values=found, axis=2) if bidirectional else found[0]
    return _finished(ctx, y, batch_first, last)


def _rnn(ctx: Context, x: Value, h: Value, cell: _Cell, reverse: bool) -> list[Value]:
    return ctx.mb.results(
        "rnn",
        x=x,
        initial_h=h,
        weight_ih=cell.weight_ih,
        weight_hh=cell.weight_hh,
        bias=cell.bias((0,)),
        direction="reverse" if reverse else "forward",
        output_sequence=True,
        activation="relu" if "relu" in ctx.operator else "tanh",
    )


def _gru(ctx: Context, x: Value, h: Value, cell: _Cell, reverse: bool) -> list[Value]:
    """PyTorch's gates r, z, n in Core ML's order r, n, z; the reset gate acts on the product, as in cuDNN."""
    if ctx.opset < iOS18:
        return _gru_loop(ctx, x, h, cell, reverse)
    order = (0, 2, 1)
    biases: list[Any] = [cell.gates(bias, order) for bias in cell.biases] or [None, None]
    return ctx.mb.results(
        "gru",
        x=x,
        initial_h=h,
        weight_ih=cell.gates(cell.weight_ih, order),
        weight_hh=cell.gates(cell.weight_hh, order),
        input_bias=biases[0],
        bias=biases[1],
        reset_after=True,
        direction="reverse" if reverse else "forward",
        output_sequence=True,
    )


def _gru_loop(ctx: Context, x: Value, h: Value, cell: _Cell, reverse: bool) -> list[Value]:
    """The same unit step by step, for opsets whose op has only the other form.

    ``r = σ(Wr·x + Rr·h)``, ``z = σ(Wz·x + Rz·h)``, ``n = tanh(Wn·x + r·(Rn·h))``, ``h = (1 − z)·n + z·h``.
    """
    if reverse:
        x = ctx.mb.reverse(x=x, axes=[0])
    steps = ctx.size(x, 0)
    biases: list[Any] = list(cell.biases) or [None, None]
    inputs = ctx.mb.linear(x=x, weight=cell.weight_ih, bias=biases[0])
    listed = ctx.mb.make_list(init_length=steps, dynamic_length=False, elem_shape=_fixed(h), dtype=h.dtype.name)
    arguments = {"step": types.scalar(types.int32), "state": h.type, "states": listed.type}
    with mb.nested(arguments) as condition:
        mb.output(ctx.mb.less(x=condition.arguments[0], y=steps))
    with mb.nested(arguments) as body:
        step, state, states = body.arguments
        gates = ctx.mb.results("split", x=ctx.mb.gather(x=inputs, indices=step, axis=0), num_splits=3, axis=1)
        recurrent = ctx.mb.linear(x=state, weight=cell.weight_hh, bias=biases[1])
        r, z, n = ctx.mb.results("split", x=recurrent, num_splits=3, axis=1)
        r = ctx.mb.sigmoid(x=ctx.mb.add(x=gates[0], y=r))
        z = ctx.mb.sigmoid(x=ctx.mb.add(x=gates[1], y=z))
        n = ctx.mb.tanh(x=ctx.mb.add(x=gates[2], y=ctx.mb.mul(x=r, y=n)))
        new = ctx.mb.add(x=n, y=ctx.mb.mul(x=z, y=ctx.mb.sub(x=state, y=n)))
        written = ctx.mb.list_write(ls=states, index=step, value=new)
        mb.output(ctx.mb.add(x=step, y=1), new, written)
    zero = ctx.number(0, types.int32)
    _, last, found = ctx.mb.results("while_loop", loop_vars=[zero, h, listed], blocks=[condition, body])
    order: Any = ctx.mb.range_1d(start=0, end=steps, step=1)
    return [ctx.mb.list_gather(ls=found, indices=order), last]


def _fixed(h: Value) -> list[Any]:
    return [np.int32(dim) if isinstance(dim, int) else str(dim) for dim in h.shape]
