"""Recurrent layers whose activations have parameters, and LSTMs with coupled gates.

Where the parameters are those of MIL's own activations and no gates are coupled, MIL's ops do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import ClassVar, Final, TypeAlias

import numpy as np

from gristmill.ir.constants import Array
from gristmill.ir.signature import Const
from gristmill.ops import recurrent
from gristmill.ops.mathematics import sigmoid_of

Function: TypeAlias = Callable[[Array, float, float], Array]

FUNCTIONS: Final[Mapping[str, Function]] = {
    "elu": lambda x, a, b: np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0))),
    "leaky_relu": lambda x, a, b: np.where(x >= 0, x, a * x),
    "linear_activation": lambda x, a, b: a * x + b,
    "relu": lambda x, a, b: np.maximum(x, 0),
    "scaled_tanh": lambda x, a, b: a * np.tanh(b * x),
    "sigmoid": lambda x, a, b: sigmoid_of(x),
    "sigmoid_hard": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "softplus": lambda x, a, b: np.logaddexp(x, 0),
    "softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "tanh": lambda x, a, b: np.tanh(x),
    "thresholded_relu": lambda x, a, b: np.where(x >= a, x, 0),
}
"""Activations by name, of an array and the parameters alpha and beta."""


class _Parametric(recurrent.Recurrent):
    """Activations have parameters: ``alphas`` and ``betas``, in the order of the operands that name the activations."""

    alphas = Const.floats(default=())
    betas = Const.floats(default=())
    functions: ClassVar[Collection[str]] = FUNCTIONS.keys()
    order: ClassVar[tuple[str, ...]] = ("recurrent_activation", "activation")
    dialect = "nn"

    def function(self, which: str) -> Callable[[Array], Array]:
        place, function = self.order.index(which), FUNCTIONS[getattr(self, which)]
        alpha, beta = (numbers[place] if place < len(numbers) else 0.0 for numbers in (self.alphas, self.betas))
        return lambda x: function(x, alpha, beta)


class nn_rnn(_Parametric, recurrent.rnn):
    """``rnn`` with parameters of the activation."""

    order = ("activation",)


class nn_gru(_Parametric, recurrent.gru):
    """``gru`` with parameters of the activations."""


class nn_lstm(_Parametric, recurrent.lstm):
    """``lstm`` with parameters of the activations; with ``coupled``, the forget gate is 1 - i."""

    coupled = Const(bool, default=False)
    order = ("recurrent_activation", "cell_activation", "activation")

    def forget(self, f: Array, i: Array) -> Array:
        return 1 - i if self.coupled else super().forget(f, i)


OPS = (nn_gru, nn_lstm, nn_rnn)
