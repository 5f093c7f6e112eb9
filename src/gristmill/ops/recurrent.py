"""Recurrent layers, over the first axis of sequences [S steps, B, I].

The weights ``weight_ih`` [G·H, I] and ``weight_hh`` [G·H, H] hold G gates one below the other, the biases [G·H] too.
The first result holds the hidden state after every step with ``output_sequence``, [S, B, H], else after the last one,
[1, B, H]. The direction ``reverse`` begins with the last step; results come in the order in which they are made.

Activations, whatever their case: ``linear``, ``relu``, ``sigmoid``, ``hard_sigmoid`` (or ``sigmoid_hard``), which is
max(0, min(1, 0.2·x + 0.5)), ``tanh``, and ``scaled_tanh``, which is the same as ``tanh``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar, Final, TypeAlias

import numpy as np

from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.dims import Dim
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS17, iOS18
from gristmill.ir.program import Value
from gristmill.ir.signature import Const, Operand, OptionalOperand, TypeVar
from gristmill.ir.traits import Contraction
from gristmill.ir.types import Type, fp16, fp32
from gristmill.ops.mathematics import sigmoid_of

Activation: TypeAlias = Callable[[Array], Array]


def _hard_sigmoid(x: Array) -> Array:
    return np.clip(0.2 * x + 0.5, 0, 1)


ACTIVATIONS: Final[Mapping[str, Activation]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sigmoid_of,
    "hard_sigmoid": _hard_sigmoid,
    "sigmoid_hard": _hard_sigmoid,
    "tanh": np.tanh,
    "scaled_tanh": np.tanh,  # both of its scales are 1, and no operand changes them
}


class Recurrent(Op):
    """What recurrent layers share: operands, shapes, activations by name."""

    T = TypeVar(fp32).also(iOS17, fp16)

    x = Operand(T, rank=3)
    initial_h = Operand(T, rank=2)
    weight_ih = Operand(T, rank=2, const=True)
    weight_hh = Operand(T, rank=2, const=True)
    bias = OptionalOperand(T, rank=1, const=True)
    output_sequence = Const(bool, default=False)
    traits = (Contraction,)
    functions: ClassVar[Collection[str]] = ACTIVATIONS.keys()

    def function(self, which: str) -> Activation:
        """The activation that the operand ``which`` names."""
        return ACTIVATIONS[getattr(self, which).lower()]

    def hidden(self, gates: int, weight_ih: Value, weight_hh: Value, **vectors: tuple[Value | None, int]) -> Dim:
        """The hidden size, if the weights fit x and each other, and the vectors so many gates each."""
        hidden = weight_hh.shape[1]
        self.expect("weight_hh", weight_hh.shape, (hidden * gates, hidden))
        self.expect("weight_ih", weight_ih.shape, (hidden * gates, self.x.shape[2]))
        for name, (vector, count) in vectors.items():
            if vector is not None:
                self.expect(name, vector.shape, (hidden * count,))
        return hidden

    def states(self, width: Dim, *activations: str) -> tuple[Type, Type]:
        """Types of the sequence of states and of the last one, each ``width`` wide."""
        for name in activations:
            if name.lower() not in self.functions:
                raise self.misfit("unknown activation", expected=", ".join(self.functions), actual=name)
        steps, batch, _ = self.x.shape
        self.expect("initial_h", self.initial_h.shape, (batch, width))
        last = self.x.tensor.with_shape((batch, width))
        return last.with_shape((steps if self.output_sequence else 1, batch, width)), last

    def expect(self, name: str, actual: Sequence[Dim], expected: Sequence[Dim]) -> None:
        """Refuses another shape."""
        if len(actual) != len(expected) or any(map(dims.never_equal, actual, expected)):
            raise self.misfit(f"shape of {name}", expected=tuple(expected), actual=tuple(actual))


def _steps(x: Array, weight: Array, bias: Array | None, direction: str = "forward") -> Array:
    """What the input adds to the gates at every step, in the order of the steps."""
    product = (x if direction == "forward" else x[::-1]) @ weight.T
    return product if bias is None else product + bias


def _sequence(states: list[Array], last: Array, every: bool) -> Array:
    """The first result: every state, or the last one."""
    if not every:
        return last[np.newaxis]
    return np.stack(states) if states else np.empty((0, *last.shape))


class rnn(Recurrent):
    """``h = activation(weight_ih·x + weight_hh·h + bias)``. Results: the states (see the module), the last."""

    direction = Const(str, default="forward", choices=("forward", "reverse"))
    activation = Const(str, default="tanh")

    def infer(self) -> tuple[Type, ...]:
        return self.states(self.hidden(1, self.weight_ih, self.weight_hh, bias=(self.bias, 1)), self.activation)

    def reference(
        self, x: Array, initial_h: Array, weight_ih: Array, weight_hh: Array, bias: Array | None
    ) -> tuple[Array, ...]:
        activation = self.function("activation")
        h, states = initial_h, []
        for step in _steps(x, weight_ih, bias, self.direction):
            h = activation(step + h @ weight_hh.T)
            states.append(h)
        return _sequence(states, h, self.output_sequence), h


class gru(Recurrent):
    """Gated recurrent unit (Cho et al., 2014). Results: the states (see the module), the last.

    The gates are r, o, z in this order; W and R stand for their parts of ``weight_ih`` and ``weight_hh``, f for
    ``recurrent_activation``, g for ``activation``::

        r = f(Wr·x + Rr·h + br)
        z = f(Wz·x + Rz·h + bz)
        o = g(Wo·x + Ro·(r·h) + bo)        with reset_after:  g(Wo·x + r·(Ro·h + bo))
        h = (1 - z)·o + z·h

    ``input_bias`` is added to W·x. With ``reset_after`` and both biases it is PyTorch's unit.
    """

    direction = Const(str, default="forward", choices=("forward", "reverse"))
    recurrent_activation = Const(str, default="sigmoid")
    activation = Const(str, default="tanh")
    reset_after = Const(bool, default=False, since=iOS18)
    input_bias = OptionalOperand(Recurrent.T, rank=1, const=True, since=iOS18)

    def infer(self) -> tuple[Type, ...]:
        biases = {"bias": (self.bias, 3), "input_bias": (self.input_bias, 3)}
        hidden = self.hidden(3, self.weight_ih, self.weight_hh, **biases)
        return self.states(hidden, self.recurrent_activation, self.activation)

    def reference(
        self,
        x: Array,
        initial_h: Array,
        weight_ih: Array,
        weight_hh: Array,
        bias: Array | None,
        input_bias: Array | None,
    ) -> tuple[Array, ...]:
        recurrent = self.function("recurrent_activation")
        activation = self.function("activation")
        hidden = weight_hh.shape[1]
        weight_r, weight_o, weight_z = np.split(weight_hh, 3)
        bias_r, bias_o, bias_z = np.split(np.zeros(3 * hidden) if bias is None else bias, 3)
        h, states = initial_h, []
        for step in _steps(x, weight_ih, input_bias, self.direction):
            step_r, step_o, step_z = np.split(step, 3, axis=-1)
            r = recurrent(step_r + h @ weight_r.T + bias_r)
            z = recurrent(step_z + h @ weight_z.T + bias_z)
            reset = r * (h @ weight_o.T + bias_o) if self.reset_after else (r * h) @ weight_o.T + bias_o
            h = (1 - z) * activation(step_o + reset) + z * h
            states.append(h)
        return _sequence(states, h, self.output_sequence), h


class lstm(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997) with peepholes (Gers and Schmidhuber, 2000).

    The gates are i, f, o, g in this order; W and R stand for their parts of ``weight_ih`` and ``weight_hh``, p for the
    parts i, f, o of ``peephole`` [3·H], s for ``recurrent_activation``::

        i = s(Wi·x + Ri·h + bi + pi·c)
        f = s(Wf·x + Rf·h + bf + pf·c)
        g = cell_activation(Wg·x + Rg·h + bg)
        c = f·c + i·g                             clipped to -clip … clip
        o = s(Wo·x + Ro·h + bo + po·c)            with the new c
        h = o·activation(c)

    ``bidirectional`` runs the operands ``…_back`` over the reversed sequence too. States are then 2·H wide, forward
    first, and a step of the sequence holds both states made from the same step of x; the last one alone holds the
    states after each whole run. Results: the states (see the module), the last h, the last c.
    """

    initial_c = Operand(Recurrent.T, rank=2)
    peephole = OptionalOperand(Recurrent.T, rank=1, const=True)
    weight_ih_back = OptionalOperand(Recurrent.T, rank=2, const=True)
    weight_hh_back = OptionalOperand(Recurrent.T, rank=2, const=True)
    bias_back = OptionalOperand(Recurrent.T, rank=1, const=True)
    peephole_back = OptionalOperand(Recurrent.T, rank=1, const=True)
    direction = Const(str, default="forward", choices=("forward", "reverse", "bidirectional"))
    recurrent_activation = Const(str, default="sigmoid")
    cell_activation = Const(str, default="tanh")
    activation = Const(str, default="tanh")
    clip = Const(float, Recurrent.T, default=None)

    def infer(self) -> tuple[Type, ...]:
        vectors = {"bias": (self.bias, 4), "peephole": (self.peephole, 3)}
        width = self.hidden(4, self.weight_ih, self.weight_hh, **vectors)
        if self.direction == "bidirectional":
            if self.weight_ih_back is None or self.weight_hh_back is None:
                raise self.misfit("direction 'bidirectional'", expected="weight_ih_back and weight_hh_back")
            vectors = {"bias_back": (self.bias_back, 4), "peephole_back": (self.peephole_back, 3)}
            width = width + self.hidden(4, self.weight_ih_back, self.weight_hh_back, **vectors)
        sequence, last = self.states(width, self.recurrent_activation, self.cell_activation, self.activation)
        self.expect("initial_c", self.initial_c.shape, self.initial_h.shape)
        return sequence, last, last

    def reference(
        self,
        x: Array,
        initial_h: Array,
        initial_c: Array,
        weight_ih: Array,
        weight_hh: Array,
        bias: Array | None,
        peephole: Array | None,
        weight_ih_back: Array | None,
        weight_hh_back: Array | None,
        bias_back: Array | None,
        peephole_back: Array | None,
    ) -> tuple[Array, ...]:
        if self.direction != "bidirectional":
            steps = _steps(x, weight_ih, bias, self.direction)
            states, h, c = self._run(steps, initial_h, initial_c, weight_hh, peephole)
            return _sequence(states, h, self.output_sequence), h, c
        assert weight_ih_back is not None
        assert weight_hh_back is not None
        width = weight_hh.shape[1]
        steps = _steps(x, weight_ih, bias)
        ahead, h, c = self._run(steps, initial_h[:, :width], initial_c[:, :width], weight_hh, peephole)
        steps = _steps(x, weight_ih_back, bias_back, "reverse")
        back, h_back, c_back = self._run(
            steps, initial_h[:, width:], initial_c[:, width:], weight_hh_back, peephole_back
        )
        both = [np.concatenate(pair, axis=-1) for pair in zip(ahead, reversed(back), strict=True)]
        last = np.concatenate((h, h_back), axis=-1)
        return _sequence(both, last, self.output_sequence), last, np.concatenate((c, c_back), axis=-1)

    def _run(
        self, steps: Array, h: Array, c: Array, weight: Array, peephole: Array | None
    ) -> tuple[list[Array], Array, Array]:
        """The hidden state after each step, and the last hidden and cell states."""
        recurrent = self.function("recurrent_activation")
        cell, activation = self.function("cell_activation"), self.function("activation")
        peep_i, peep_f, peep_o = (None, None, None) if peephole is None else np.split(peephole, 3)
        limit = np.inf if self.clip is None else self.clip
        states = []
        for step in steps:
            i, f, o, g = np.split(step + h @ weight.T, 4, axis=-1)
            i = recurrent(_peeping(i, peep_i, c))
            c = self.forget(recurrent(_peeping(f, peep_f, c)), i) * c + i * cell(g)
            c = np.clip(c, -limit, limit)
            h = recurrent(_peeping(o, peep_o, c)) * activation(c)
            states.append(h)
        return states, h, c

    def forget(self, f: Array, i: Array) -> Array:
        """What the forget gate lets through, of its own value and the input gate's."""
        return f


def _peeping(gate: Array, peephole: Array | None, c: Array) -> Array:
    """A gate that sees the cell, if it has a peephole: without one an infinite cell changes nothing."""
    return gate if peephole is None else gate + peephole * c


OPS = (gru, lstm, rnn)
