"""Recurrent layers, which take sequences [sequence, batch, channels, 1, 1] and states [1, batch, width, 1, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.ir.constants import ConcatData, Data
from gristmill.ir.program import Value
from gristmill.ops import recurrent
from gristmill.ops.nn import recurrent as nn
from gristmill.package.network_reader import StoredData
from gristmill.package.network_writer.registry import RefusedError, writes
from gristmill.package.network_writer.writer import Writer, weights

_PLANE = [3, 4]
"""The axes that a sequence gets."""
_STATE = [0, 3, 4]
"""Those that a state gets."""

_OF_MIL: dict[str, dict[str, Any]] = {
    "hard_sigmoid": {"sigmoidHard": {"alpha": 0.2, "beta": 0.5}},
    "linear": {"linear": {"alpha": 1.0, "beta": 0.0}},
    "relu": {"ReLU": {}},
    "scaled_tanh": {"scaledTanh": {"alpha": 1.0, "beta": 1.0}},
    "sigmoid": {"sigmoid": {}},
    "sigmoid_hard": {"sigmoidHard": {"alpha": 0.2, "beta": 0.5}},
    "tanh": {"tanh": {}},
}
_PARAMETRIC: dict[str, tuple[str, Sequence[str]]] = {
    "elu": ("ELU", ["alpha"]),
    "leaky_relu": ("leakyReLU", ["alpha"]),
    "linear_activation": ("linear", ["alpha", "beta"]),
    "relu": ("ReLU", []),
    "scaled_tanh": ("scaledTanh", ["alpha", "beta"]),
    "sigmoid": ("sigmoid", []),
    "sigmoid_hard": ("sigmoidHard", ["alpha", "beta"]),
    "softplus": ("softplus", []),
    "softsign": ("softsign", []),
    "tanh": ("tanh", []),
    "thresholded_relu": ("thresholdedReLU", ["alpha"]),
}
"""Activations of the ``nn`` dialect: the field, and the parameters that it has."""


def _activations(op: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """Activations of an op, as the layer's parameters hold them."""
    found = []
    for place, name in enumerate(names):
        function = getattr(op, name).lower()
        if op.dialect != "nn":
            found.append(_OF_MIL[function])
            continue
        kind, parameters = _PARAMETRIC[function]
        given = {"alpha": op.alphas, "beta": op.betas}
        values = {key: given[key][place] if place < len(given[key]) else 0.0 for key in parameters}
        found.append({kind: values})
    return found


def _sequence(w: Writer, op: Any) -> str:
    return w.expand(w.tensor(op.x), _PLANE)


def _gates(w: Writer, value: Value | None, names: Sequence[str], what: str) -> dict[str, Any]:
    """The parts of a weight or bias, which stand one below the other, as fields: those that were read as they were."""
    if value is None:
        return {}
    read = _read(value, len(names))
    if read is not None:
        found = [part.message if isinstance(part, StoredData) else weights(part.read()) for part in read]
    else:
        parts = np.split(w.fixed(value, f"'{value.name}'"), len(names))
        found = [w.derived(value, np.ascontiguousarray(part)) for part in parts]
    return {f"{name}{what}": part for name, part in zip(names, found, strict=True)}


def _read(value: Value, count: int) -> Sequence[Data] | None:
    """The parts of which a network's reader has put a constant together, if there are as many."""
    data = value.constant.payload if value.constant is not None else None
    if not isinstance(data, ConcatData) or len(data.parts) != count or len({part.shape for part in data.parts}) > 1:
        return None
    return data.parts


def _results(w: Writer, names: Sequence[str]) -> list[str]:
    """The sequence, and the states after the last step, without the axes that layers need."""
    return [w.squeeze(names[0], _PLANE), *(w.squeeze(name, _STATE) for name in names[1:])]


@writes(recurrent.rnn, nn.nn_rnn)
def simple(w: Writer, op: Any) -> list[str]:
    (activation,) = _activations(op, ["activation"])
    width, size = op.weight_hh.shape[1], op.weight_ih.shape[1]
    made = w.layers(
        "simpleRecurrent",
        _sequence(w, op),
        w.expand(w.tensor(op.initial_h), _STATE),
        count=2,
        inputVectorSize=size,
        outputVectorSize=width,
        activation=activation,
        sequenceOutput=op.output_sequence,
        hasBiasVector=op.bias is not None,
        weightMatrix=w.held(op.weight_ih, "the weight", axis=0),
        recursionMatrix=w.held(op.weight_hh, "the weight", axis=0),
        biasVector=None if op.bias is None else w.held(op.bias, "the bias"),
        reverseInput=op.direction == "reverse",
    )
    return _results(w, made)


_GRU_GATES = ("resetGate", "outputGate", "updateGate")


@writes(recurrent.gru, nn.nn_gru)
def gru(w: Writer, op: Any) -> list[str]:
    if getattr(op, "reset_after", False) or getattr(op, "input_bias", None) is not None:
        raise RefusedError("the layer applies the reset gate before the product", "convert to an ML Program")
    made = w.layers(
        "gru",
        _sequence(w, op),
        w.expand(w.tensor(op.initial_h), _STATE),
        count=2,
        inputVectorSize=op.weight_ih.shape[1],
        outputVectorSize=op.weight_hh.shape[1],
        activations=_activations(op, ["recurrent_activation", "activation"]),
        sequenceOutput=op.output_sequence,
        hasBiasVectors=op.bias is not None,
        reverseInput=op.direction == "reverse",
        **_gates(w, op.weight_ih, _GRU_GATES, "WeightMatrix"),
        **_gates(w, op.weight_hh, _GRU_GATES, "RecursionMatrix"),
        **_gates(w, op.bias, _GRU_GATES, "BiasVector"),
    )
    return _results(w, made)


# --- LSTM ------------------------------------------------------------------------------------------------------------

_LSTM_GATES = ("inputGate", "forgetGate", "outputGate", "blockInput")
_LSTM_ACTIVATIONS = ("recurrent_activation", "cell_activation", "activation")


def _lstm_weights(w: Writer, op: Any, suffix: str = "") -> dict[str, Any]:
    ih, hh, bias, peephole = (getattr(op, f"{name}{suffix}") for name in ("weight_ih", "weight_hh", "bias", "peephole"))
    return {
        **_gates(w, ih, _LSTM_GATES, "WeightMatrix"),
        **_gates(w, hh, _LSTM_GATES, "RecursionMatrix"),
        **_gates(w, bias, _LSTM_GATES, "BiasVector"),
        **_gates(w, peephole, _LSTM_GATES[:3], "PeepholeVector"),
    }


def _lstm_fields(op: Any) -> dict[str, Any]:
    return {
        "inputVectorSize": op.weight_ih.shape[1],
        "outputVectorSize": op.weight_hh.shape[1],
        "params": {
            "sequenceOutput": op.output_sequence,
            "hasBiasVectors": op.bias is not None,
            "hasPeepholeVectors": op.peephole is not None,
            "cellClipThreshold": op.clip,
            "coupledInputAndForgetGate": bool(getattr(op, "coupled", False)),
        },
    }


@writes(recurrent.lstm, nn.nn_lstm)
def lstm(w: Writer, op: Any) -> list[str]:
    if op.direction == "bidirectional":
        return _bidirectional(w, op)
    made = w.layers(
        "uniDirectionalLSTM",
        _sequence(w, op),
        w.expand(w.tensor(op.initial_h), _STATE),
        w.expand(w.tensor(op.initial_c), _STATE),
        count=3,
        activations=_activations(op, _LSTM_ACTIVATIONS),
        weightParams=_lstm_weights(w, op),
        reverseInput=op.direction == "reverse",
        **_lstm_fields(op),
    )
    return _results(w, made)


def _bidirectional(w: Writer, op: Any) -> list[str]:
    """States of both directions stand side by side in the op, and are tensors of their own in the layer."""
    if (op.bias is None) != (op.bias_back is None) or (op.peephole is None) != (op.peephole_back is None):
        raise RefusedError("both directions have biases and peepholes, or neither", "add zeros")
    (h, h_back), (c, c_back) = (
        w.layers("splitND", w.tensor(value), count=2, axis=1, numSplits=2) for value in (op.initial_h, op.initial_c)
    )
    activations = _activations(op, _LSTM_ACTIVATIONS)
    sequence, *last = w.layers(
        "biDirectionalLSTM",
        _sequence(w, op),
        *(w.expand(state, _STATE) for state in (h, c, h_back, c_back)),
        count=5,
        activationsForwardLSTM=activations,
        activationsBackwardLSTM=activations,
        weightParams=[_lstm_weights(w, op), _lstm_weights(w, op, "_back")],
        **_lstm_fields(op),
    )
    ends = [w.squeeze(state, _STATE) for state in last]
    pairs = ((ends[0], ends[2]), (ends[1], ends[3]))
    return [w.squeeze(sequence, _PLANE), *(w.layer("concatND", *pair, axis=1) for pair in pairs)]
