"""Recurrent layers, over sequences [sequence, batch, channels] that may end in two axes of size 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.frontends.neuralnetwork.activation import Nonlinearity, nonlinearity
from gristmill.frontends.neuralnetwork.context import Context, ops
from gristmill.frontends.neuralnetwork.registry import maps
from gristmill.frontends.neuralnetwork.source import Weights
from gristmill.ir.constants import ConcatData, Data, LazyData
from gristmill.ir.program import Value

KINDS = ("simpleRecurrent", "gru", "uniDirectionalLSTM", "biDirectionalLSTM")
"""The layers of this family."""

_SIGMOID, _TANH = Nonlinearity("sigmoid"), Nonlinearity("tanh")
_OF_MIL = {
    _SIGMOID: "sigmoid",
    _TANH: "tanh",
    Nonlinearity("relu"): "relu",
    Nonlinearity("linear_activation", 1.0, 0.0): "linear",
    Nonlinearity("scaled_tanh", 1.0, 1.0): "scaled_tanh",
    Nonlinearity("sigmoid_hard", float(np.float32(0.2)), 0.5): "sigmoid_hard",
}
"""What MIL calls activations that it has."""


_MEANT = {
    Nonlinearity("linear_activation"): Nonlinearity("linear_activation", 1.0, 0.0),
    Nonlinearity("scaled_tanh"): Nonlinearity("scaled_tanh", 1.0, 1.0),
    Nonlinearity("sigmoid_hard"): Nonlinearity("sigmoid_hard", float(np.float32(0.2)), 0.5),
}
"""What activations without parameters stand for, as coremltools writes them: with zeros they would be constant."""


def _nonlinearity(ctx: Context, p: Any) -> Nonlinearity:
    chosen = nonlinearity(ctx, p)
    return _MEANT.get(chosen, chosen)


def _operands(chosen: dict[str, Nonlinearity]) -> tuple[bool, dict[str, Any]]:
    """Whether MIL has these activations, and how they are given to its ops, or else to those of the ``nn`` dialect."""
    if all(function in _OF_MIL for function in chosen.values()):
        return True, {name: _OF_MIL[function] for name, function in chosen.items()}
    operands: dict[str, Any] = {name: function.name for name, function in chosen.items()}
    operands["alphas"] = [function.alpha for function in chosen.values()]
    operands["betas"] = [function.beta for function in chosen.values()]
    return False, operands


def _rows(x: Value) -> Value:
    """The sequence without the axes of size 1 for height and width."""
    return ops.squeeze(x=x, axes=[-2, -1]) if x.rank == 5 else x


def _like(x: Value, y: Value) -> Value:
    """A result in as many axes as the input has."""
    return ops.expand_dims(x=y, axes=[-2, -1]) if x.rank == 5 else y


def _state(ctx: Context, given: Value | None, rows: Value, width: int) -> Value:
    """An initial state [batch, width]: zeros where none is given.

    Of a state for a larger batch the first rows count: models that coremltools wrote rely on it.
    """
    batch = rows.shape[1]
    if given is not None:
        state = ctx.reshape(given, [-1, width])
        if state.shape[0] == batch:
            return state
        size = ops.concat(values=[ctx.size(rows, 1), np.array([width], np.int32)], axis=0)
        return ops.slice_by_size(x=state, begin=np.zeros(2, np.int32), size=size)
    if isinstance(batch, int):
        return ctx.number(np.zeros((batch, width), np.float32))
    return ops.fill(
        shape=ops.concat(values=[ctx.size(rows, 1), np.array([width], np.int32)], axis=0), value=ctx.number(0)
    )


def _last(x: Value, state: Value) -> Value:
    """A final state as networks have it: one step of a sequence."""
    return _like(x, ops.expand_dims(x=state, axes=[0]))


def _stacked(
    ctx: Context, parts: Sequence[Weights | None], shape: tuple[int, ...], plus: Sequence[float] = ()
) -> Value:
    """Weights of several gates, one below the other; ``plus`` is added to each in turn."""
    found: list[Data] = []
    for part, added in zip(parts, plus or (0.0,) * len(parts), strict=True):
        if part is None or part.is_empty:
            raise ctx.wrong("a gate has no weights", expected=list(shape))
        data = part.data(shape)
        found.append(_raised(data, added) if added else data)
    return ops.const(ConcatData(found) if len(found) > 1 else found[0])


def _raised(data: Data, added: float) -> Data:
    return LazyData(data.dtype, data.shape, lambda: data.read() + np.float32(added), "weights of a gate")


@maps("simpleRecurrent")
def simple(ctx: Context, p: Any, x: Value, h: Value | None = None) -> tuple[Value, ...]:
    width, rows = p.outputVectorSize, _rows(x)
    in_mil, activation = _operands({"activation": _nonlinearity(ctx, p.activation)})
    states, last = ops.several(
        "rnn" if in_mil else "nn_rnn",
        x=rows,
        initial_h=_state(ctx, h, rows, width),
        weight_ih=_stacked(ctx, [p.weightMatrix], (width, p.inputVectorSize)),
        weight_hh=_stacked(ctx, [p.recursionMatrix], (width, width)),
        bias=_stacked(ctx, [p.biasVector], (width,)) if p.hasBiasVector else None,
        output_sequence=p.sequenceOutput,
        direction="reverse" if p.reverseInput else "forward",
        **activation,
    )
    return _like(x, states), _last(x, last)


@maps("gru")
def gru(ctx: Context, p: Any, x: Value, h: Value | None = None) -> tuple[Value, ...]:
    width, rows = p.outputVectorSize, _rows(x)
    given = [_nonlinearity(ctx, each) for each in p.activations]
    recurrent, activation = (*given, *(_SIGMOID, _TANH)[len(given) :])[:2]
    in_mil, functions = _operands({"recurrent_activation": recurrent, "activation": activation})

    def gates(what: str, shape: tuple[int, ...]) -> Value:
        return _stacked(ctx, [getattr(p, f"{gate}Gate{what}") for gate in ("reset", "output", "update")], shape)

    states, last = ops.several(
        "gru" if in_mil else "nn_gru",
        x=rows,
        initial_h=_state(ctx, h, rows, width),
        weight_ih=gates("WeightMatrix", (width, p.inputVectorSize)),
        weight_hh=gates("RecursionMatrix", (width, width)),
        bias=gates("BiasVector", (width,)) if p.hasBiasVectors else None,
        output_sequence=p.sequenceOutput,
        direction="reverse" if p.reverseInput else "forward",
        **functions,
    )
    return _like(x, states), _last(x, last)


# --- LSTM ------------------------------------------------------------------------------------------------------------

_GATES = ("inputGate", "forgetGate", "outputGate", "blockInput")


def _lstm_functions(ctx: Context, activations: Sequence[Any]) -> dict[str, Nonlinearity]:
    """Of the gates, the input, the output: sigmoid, tanh and tanh unless others are given."""
    given = [_nonlinearity(ctx, each) for each in activations]
    chosen = (*given, *(_SIGMOID, _TANH, _TANH)[len(given) :])
    return dict(zip(("recurrent_activation", "cell_activation", "activation"), chosen, strict=False))


def _lstm_weights(ctx: Context, params: Any, w: Any, size: int, width: int, suffix: str = "") -> dict[str, Value]:
    """The weights of one direction as operands."""

    def gates(what: str, shape: tuple[int, ...], plus: Sequence[float] = ()) -> Value:
        return _stacked(ctx, [getattr(w, f"{gate}{what}") for gate in _GATES], shape, plus)

    forget = (0.0, 1.0, 0.0, 0.0) if params.forgetBias else ()
    found = {
        f"weight_ih{suffix}": gates("WeightMatrix", (width, size)),
        f"weight_hh{suffix}": gates("RecursionMatrix", (width, width)),
    }
    if params.hasBiasVectors:
        found[f"bias{suffix}"] = gates("BiasVector", (width,), forget)
    elif forget:
        found[f"bias{suffix}"] = ctx.number(np.repeat(np.array(forget, np.float32), width))
    if params.hasPeepholeVectors:
        vectors = [getattr(w, f"{gate}PeepholeVector") for gate in _GATES[:3]]
        found[f"peephole{suffix}"] = _stacked(ctx, vectors, (width,))
    return found


def _options(ctx: Context, params: Any, in_mil: bool) -> tuple[str, dict[str, Any]]:
    """The op, and what it is told beside weights."""
    options: dict[str, Any] = {"output_sequence": params.sequenceOutput}
    if params.cellClipThreshold:
        options["clip"] = ctx.number(params.cellClipThreshold)
    if params.coupledInputAndForgetGate:
        return "nn_lstm", {**options, "coupled": True}
    return "lstm" if in_mil else "nn_lstm", options


def _for_op(op_name: str, functions: dict[str, Nonlinearity]) -> dict[str, Any]:
    in_mil, operands = _operands(functions)
    if op_name == "nn_lstm" and in_mil:  # for another reason than the activations
        return {name: function.name for name, function in functions.items()}
    return operands


@maps("uniDirectionalLSTM")
def lstm(ctx: Context, p: Any, x: Value, h: Value | None = None, c: Value | None = None) -> tuple[Value, ...]:
    width, rows = p.outputVectorSize, _rows(x)
    functions = _lstm_functions(ctx, p.activations)
    op_name, options = _options(ctx, p.params, _operands(functions)[0])
    states, last, cell = ops.several(
        op_name,
        x=rows,
        initial_h=_state(ctx, h, rows, width),
        initial_c=_state(ctx, c, rows, width),
        direction="reverse" if p.reverseInput else "forward",
        **_lstm_weights(ctx, p.params, p.weightParams, p.inputVectorSize, width),
        **_for_op(op_name, functions),
        **options,
    )
    return _like(x, states), _last(x, last), _last(x, cell)


@maps("biDirectionalLSTM")
def bidirectional(ctx: Context, p: Any, x: Value, *given: Value) -> tuple[Value, ...]:
    """Inputs may be followed by h, c, and those of the way back; so are the outputs."""
    width, rows = p.outputVectorSize, _rows(x)
    states: list[Value | None] = [*given, *[None] * (4 - len(given))]
    h, c, h_back, c_back = states
    ahead, back = (_lstm_functions(ctx, each) for each in (p.activationsForwardLSTM, p.activationsBackwardLSTM))
    if ahead != back:
        raise ctx.unsupported("activations that differ by direction", expected=ahead, actual=back)
    op_name, options = _options(ctx, p.params, _operands(ahead)[0])
    one, other = p.weightParams
    sequence, last, cell = ops.several(
        op_name,
        x=rows,
        initial_h=ops.concat(values=[_state(ctx, each, rows, width) for each in (h, h_back)], axis=1),
        initial_c=ops.concat(values=[_state(ctx, each, rows, width) for each in (c, c_back)], axis=1),
        direction="bidirectional",
        **_lstm_weights(ctx, p.params, one, p.inputVectorSize, width),
        **_lstm_weights(ctx, p.params, other, p.inputVectorSize, width, "_back"),
        **_for_op(op_name, ahead),
        **options,
    )
    hs, cs = (ops.several("split", x=value, num_splits=2, axis=1) for value in (last, cell))
    return _like(x, sequence), *(_last(x, state) for state in (hs[0], cs[0], hs[1], cs[1]))
