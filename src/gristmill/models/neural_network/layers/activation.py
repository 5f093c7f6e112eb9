"""Activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gristmill.models.neural_network.layers.core import IOS_14, LayerBuilder, choice, require
from gristmill.package.proto import Message

Fields = dict[str, Any]


def _line(kind: str, alpha: float, beta: float) -> Callable[[Any], Fields]:
    """An activation with two numbers and their defaults."""

    def fields(params: Any) -> Fields:
        given = (alpha, beta) if params is None else (params[0], params[1])
        return {kind: {"alpha": given[0], "beta": given[1]}}

    return fields


ACTIVATIONS: dict[str, Callable[[Any], Fields]] = {
    "RELU": lambda params: {"ReLU": {}},
    "SIGMOID": lambda params: {"sigmoid": {}},
    "TANH": lambda params: {"tanh": {}},
    "SOFTPLUS": lambda params: {"softplus": {}},
    "SOFTSIGN": lambda params: {"softsign": {}},
    "SCALED_TANH": _line("scaledTanh", 0.0, 0.0),
    "SIGMOID_HARD": _line("sigmoidHard", 0.2, 0.5),
    "LINEAR": _line("linear", 1.0, 0.0),
    "LEAKYRELU": lambda params: {"leakyReLU": {"alpha": 0.3 if params is None else float(params[0])}},
    "THRESHOLDEDRELU": lambda params: {"thresholdedReLU": {"alpha": 1.0 if params is None else float(params)}},
    "ELU": lambda params: {"ELU": {"alpha": float(params)}},
    "PRELU": lambda params: {"PReLU": {"alpha": np.asarray(params)}},
    "PARAMETRICSOFTPLUS": lambda params: {
        "parametricSoftplus": {"alpha": np.asarray(params[0]), "beta": np.asarray(params[1])}
    },
}
"""Fields of ``ActivationParams`` of each non-linearity, from its parameters."""

_NEEDS_PARAMETERS = ("ELU", "PRELU", "PARAMETRICSOFTPLUS")


class ActivationLayers(LayerBuilder):
    """Layers that bend each element."""

    def add_activation(
        self,
        name: str,
        non_linearity: str,
        input_name: str,
        output_name: str,
        params: Any = None,
        input_rank: int | None = None,
        input_shape: Sequence[int] | None = None,
        output_rank: int | None = None,
        output_shape: Sequence[int] | None = None,
    ) -> Message:
        """An activation.

        Args:
            name: The layer's name.
            non_linearity: A key of ``ACTIVATIONS``.
            input_name: What it reads.
            output_name: What it makes.
            params: α and β of ``SCALED_TANH``, ``SIGMOID_HARD`` and ``LINEAR``; a list of one number of ``LEAKYRELU``;
                a number of ``ELU`` and ``THRESHOLDEDRELU``; an array [channels] of ``PRELU``, two of
                ``PARAMETRICSOFTPLUS``.
            input_rank: The input's rank, for the file to say.
            input_shape: The input's shape, for the file to say.
            output_rank: The output's rank, for the file to say.
            output_shape: The output's shape, for the file to say.

        Raises:
            InputError: There is no such non-linearity, or parameters are missing.
        """
        op = f"activation '{name}'"
        fields = choice("non_linearity", non_linearity, ACTIVATIONS, op)
        needed = non_linearity.upper() in _NEEDS_PARAMETERS and params is None
        require(not needed, "the activation needs params", op=op, actual=non_linearity)
        layer = self._add("activation", name, input_name, output_name, **fields(params))
        _describe(layer.inputTensor, input_rank, input_shape)
        _describe(layer.outputTensor, output_rank, output_shape)
        return layer

    def add_clamped_relu(
        self, name: str, input_name: str, output_name: str, alpha: float = 0.0, beta: float = 6.0
    ) -> Message:
        """min(x, beta) where x ≥ 0, min(beta, alpha · x) elsewhere."""
        self._needs(IOS_14)
        return self._add("clampedReLU", name, input_name, output_name, alpha=alpha, beta=beta)

    def add_gelu(self, name: str, input_name: str, output_name: str, mode: str = "EXACT") -> Message:
        """Gaussian error linear unit: ``EXACT``, ``TANH_APPROXIMATION`` or ``SIGMOID_APPROXIMATION``."""
        return self._add("gelu", name, input_name, output_name, mode=mode)

    def add_softmax(self, name: str, input_name: str, output_name: str) -> Message:
        """Softmax over the channels of images."""
        return self._add("softmax", name, input_name, output_name)

    def add_softmax_nd(self, name: str, input_name: str, output_name: str, axis: int) -> Message:
        """Softmax over one axis."""
        return self._add("softmaxND", name, input_name, output_name, axis=axis)


def _describe(tensors: Message, rank: int | None, shape: Sequence[Any] | None) -> None:
    """Notes a tensor's rank and shape; −1 stands for what is not known."""
    rank = rank or (len(shape) if shape else None)
    if rank is None:
        return
    require(not shape or len(shape) == rank, "rank and shape do not agree", expected=rank, actual=shape)
    sizes = [size if isinstance(size, int | np.integer) else -1 for size in shape or ()]
    tensors.add(rank=rank, dimValue=sizes)
