"""Recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gristmill.models.neural_network.layers.core import LayerBuilder, choice, require
from gristmill.package.proto import Message

Gates = Sequence[ArrayLike]
"""One array for each gate."""

_ACTIVATIONS: dict[str, dict[str, Any]] = {
    "SIGMOID": {"sigmoid": {}},
    "TANH": {"tanh": {}},
    "LINEAR": {"linear": {}},
    "SIGMOID_HARD": {"sigmoidHard": {}},
    "HARD_SIGMOID": {"sigmoidHard": {}},
    "SCALED_TANH": {"scaledTanh": {}},
    "RELU": {"ReLU": {}},
}
_GRU = ("updateGate", "resetGate", "outputGate")
_LSTM = ("inputGate", "forgetGate", "outputGate", "blockInput")


class RecurrentLayers(LayerBuilder):
    """Layers that carry a state along a sequence.

    ``W_h`` are weights [hidden size, hidden size] of the state, ``W_x`` weights [hidden size, input size] of the input,
    ``b`` the bias [hidden size] or ``None``. Activations are ``SIGMOID``, ``TANH``, ``LINEAR``, ``SIGMOID_HARD``,
    ``SCALED_TANH`` or ``RELU``. With ``output_all`` the result has every step, not the last alone; with
    ``reverse_input`` the sequence goes from its end. ``input_names`` are the sequence and the states before it;
    ``output_names`` the result and the states after it.
    """

    def add_simple_rnn(
        self,
        name: str,
        W_h: ArrayLike,
        W_x: ArrayLike,
        b: ArrayLike | None,
        hidden_size: int,
        input_size: int,
        activation: str,
        input_names: Sequence[str],
        output_names: Sequence[str],
        output_all: bool = False,
        reverse_input: bool = False,
    ) -> Message:
        """H = activation(W_x · x + W_h · h + b)."""
        op = f"simpleRecurrent '{name}'"
        return self._add(
            "simpleRecurrent",
            name,
            input_names,
            output_names,
            inputVectorSize=input_size,
            outputVectorSize=hidden_size,
            hasBiasVector=b is not None,
            sequenceOutput=output_all,
            reverseInput=reverse_input,
            activation=_activation(activation, op),
            weightMatrix=np.asarray(W_x),
            recursionMatrix=np.asarray(W_h),
            biasVector=None if b is None else np.asarray(b),
        )

    def add_gru(
        self,
        name: str,
        W_h: Gates,
        W_x: Gates,
        b: Gates | None,
        hidden_size: int,
        input_size: int,
        input_names: Sequence[str],
        output_names: Sequence[str],
        activation: str = "TANH",
        inner_activation: str = "SIGMOID_HARD",
        output_all: bool = False,
        reverse_input: bool = False,
    ) -> Message:
        """A gated recurrent unit; weights and biases are of the update gate, the reset gate and the output gate."""
        op = f"gru '{name}'"
        return self._add(
            "gru",
            name,
            input_names,
            output_names,
            inputVectorSize=input_size,
            outputVectorSize=hidden_size,
            hasBiasVectors=b is not None,
            sequenceOutput=output_all,
            reverseInput=reverse_input,
            activations=[_activation(one, op) for one in (inner_activation, activation)],
            **_gates(_GRU, "WeightMatrix", W_x, op),
            **_gates(_GRU, "RecursionMatrix", W_h, op),
            **_gates(_GRU, "BiasVector", b, op),
        )

    def add_unilstm(
        self,
        name: str,
        W_h: Gates,
        W_x: Gates,
        b: Gates | None,
        hidden_size: int,
        input_size: int,
        input_names: Sequence[str],
        output_names: Sequence[str],
        inner_activation: str = "SIGMOID",
        cell_state_update_activation: str = "TANH",
        output_activation: str = "TANH",
        peep: Gates | None = None,
        output_all: bool = False,
        forget_bias: bool = False,
        coupled_input_forget_gate: bool = False,
        cell_clip_threshold: float = 50000.0,
        reverse_input: bool = False,
    ) -> Message:
        """A long short-term memory.

        Weights and biases are of the input gate, the forget gate, the output gate and the block input; ``peep`` are
        vectors [hidden size] of the three gates, by which they see the cell's state. ``forget_bias`` adds 1 to the
        forget gate's bias; a coupled forget gate is 1 less the input gate; the cell's state stays within ± the
        threshold.
        """
        op = f"uniDirectionalLSTM '{name}'"
        return self._add(
            "uniDirectionalLSTM",
            name,
            input_names,
            output_names,
            inputVectorSize=input_size,
            outputVectorSize=hidden_size,
            reverseInput=reverse_input,
            activations=_activations(op, inner_activation, cell_state_update_activation, output_activation),
            params=_lstm(output_all, b, forget_bias, peep, coupled_input_forget_gate, cell_clip_threshold),
            weightParams=_lstm_weights(W_h, W_x, b, peep, op),
        )

    def add_bidirlstm(
        self,
        name: str,
        W_h: Gates,
        W_x: Gates,
        b: Gates | None,
        W_h_back: Gates,
        W_x_back: Gates,
        b_back: Gates | None,
        hidden_size: int,
        input_size: int,
        input_names: Sequence[str],
        output_names: Sequence[str],
        inner_activation: str = "SIGMOID",
        cell_state_update_activation: str = "TANH",
        output_activation: str = "TANH",
        peep: Gates | None = None,
        peep_back: Gates | None = None,
        output_all: bool = False,
        forget_bias: bool = False,
        coupled_input_forget_gate: bool = False,
        cell_clip_threshold: float = 50000.0,
    ) -> Message:
        """Two long short-term memories, one along the sequence and one back, of which results stand side by side.

        Parameters are as in ``add_unilstm``; ``W_h_back``, ``W_x_back``, ``b_back`` and ``peep_back`` are of the way
        back. States are two each: h and c along, h and c back.
        """
        op = f"biDirectionalLSTM '{name}'"
        require((b is None) == (b_back is None), "biases are of both directions or of none", op=op)
        require((peep is None) == (peep_back is None), "peepholes are of both directions or of none", op=op)
        activations = _activations(op, inner_activation, cell_state_update_activation, output_activation)
        return self._add(
            "biDirectionalLSTM",
            name,
            input_names,
            output_names,
            inputVectorSize=input_size,
            outputVectorSize=hidden_size,
            activationsForwardLSTM=activations,
            activationsBackwardLSTM=activations,
            params=_lstm(output_all, b, forget_bias, peep, coupled_input_forget_gate, cell_clip_threshold),
            weightParams=[
                _lstm_weights(W_h, W_x, b, peep, op),
                _lstm_weights(W_h_back, W_x_back, b_back, peep_back, op),
            ],
        )


def _activation(name: str | bytes, op: str) -> dict[str, Any]:
    return dict(choice("activation", name.decode() if isinstance(name, bytes) else name, _ACTIVATIONS, op))


def _activations(op: str, *names: str) -> list[dict[str, Any]]:
    return [_activation(name, op) for name in names]


def _gates(gates: Sequence[str], what: str, arrays: Gates | None, op: str) -> dict[str, Any]:
    """Fields for one array a gate."""
    if arrays is None:
        return {}
    expected = ", ".join(gates)
    require(
        len(arrays) == len(gates), f"{what} of another number of gates", op=op, expected=expected, actual=len(arrays)
    )
    return {f"{gate}{what}": np.asarray(array) for gate, array in zip(gates, arrays, strict=True)}


def _lstm(
    output_all: bool, b: Gates | None, forget_bias: bool, peep: Gates | None, coupled: bool, threshold: float
) -> dict[str, Any]:
    return {
        "sequenceOutput": output_all,
        "hasBiasVectors": b is not None,
        "forgetBias": forget_bias,
        "hasPeepholeVectors": peep is not None,
        "coupledInputAndForgetGate": coupled,
        "cellClipThreshold": threshold,
    }


def _lstm_weights(W_h: Gates, W_x: Gates, b: Gates | None, peep: Gates | None, op: str) -> dict[str, Any]:
    return {
        **_gates(_LSTM, "WeightMatrix", W_x, op),
        **_gates(_LSTM, "RecursionMatrix", W_h, op),
        **_gates(_LSTM, "BiasVector", b, op),
        **_gates(_LSTM[:3], "PeepholeVector", peep, op),
    }
