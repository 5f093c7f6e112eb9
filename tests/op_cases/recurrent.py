"""Cases of ``gristmill.ops.recurrent``."""

from __future__ import annotations

import numpy as np
import torch
from scipy import special

from gristmill.ir.opset import iOS17, iOS18, iOS26
from gristmill.ir.types import fp16, fp32
from tests.op_cases.case import Case, Fixed

STEPS, BATCH, FEATURES, HIDDEN = 4, 2, 3, 5


def eighths(*shape):
    """Multiples of 1/8, which float16 holds, so that constants mean the same in each type."""
    return np.random.default_rng(sum(shape)).integers(-8, 9, shape) / 8


X = eighths(STEPS, BATCH, FEATURES)


def weights(gates, seed=0):
    """Input weights, recurrent weights and bias of so many gates."""
    rng = np.random.default_rng(seed)
    shapes = (gates * HIDDEN, FEATURES), (gates * HIDDEN, HIDDEN), (gates * HIDDEN,)
    return [rng.integers(-8, 9, shape) / 8 for shape in shapes]


def ordered(array, *order):
    """Gates in another order."""
    return np.concatenate([np.split(array, len(order))[k] for k in order])


def loaded(module, *parameters):
    """A PyTorch layer in float64 with the given parameters, one direction after the other."""
    module = module.double()
    with torch.no_grad():
        for target, source in zip(module.parameters(), parameters, strict=True):
            target.copy_(torch.from_numpy(source))
    return module


def states(array):
    """States [batch, directions·hidden] as PyTorch takes them, [directions, batch, hidden]."""
    return torch.from_numpy(np.stack(np.split(array, array.shape[1] // HIDDEN, axis=1)))


def flat(tensor):
    return np.concatenate(list(tensor.detach().numpy()), axis=-1)


def torch_rnn(x, initial_h, wi, wh, b, every, *, reverse=False, nonlinearity="tanh"):
    module = loaded(torch.nn.RNN(FEATURES, HIDDEN, nonlinearity=nonlinearity), wi, wh, b, np.zeros_like(b))
    out, h = module(torch.from_numpy(x[::-1].copy() if reverse else x), states(initial_h))
    return out.detach().numpy()[slice(None) if every else slice(-1, None)], flat(h)


def torch_lstm(x, initial_h, initial_c, wi, wh, b, every, back=None, *, reverse=False):
    gates = (0, 1, 3, 2)  # PyTorch has the cell third
    parameters = [ordered(p, *gates) for p in (wi, wh, b)]
    parameters.append(np.zeros_like(b))
    if back is not None:
        parameters += [ordered(p, *gates) for p in back]
        parameters.append(np.zeros_like(b))
    module = loaded(torch.nn.LSTM(FEATURES, HIDDEN, bidirectional=back is not None), *parameters)
    out, (h, c) = module(torch.from_numpy(x[::-1].copy() if reverse else x), (states(initial_h), states(initial_c)))
    return out.detach().numpy() if every else flat(h)[None], flat(h), flat(c)


def written_gru(x, h, wi, wh, b, f, g):
    """The unit with the reset gate in front of the product, for one direction."""
    (wr, wo, wz), (rr, ro, rz), (br, bo, bz) = (np.split(p, 3) for p in (wi, wh, b))
    made = []
    for step in x:
        r = f(step @ wr.T + h @ rr.T + br)
        z = f(step @ wz.T + h @ rz.T + bz)
        h = (1 - z) * g(step @ wo.T + (r * h) @ ro.T + bo) + z * h
        made.append(h)
    return np.stack(made), h


def last(made, h):
    """Of a sequence its end."""
    return made[-1:], h


def torch_gru(x, initial_h, wi, wh, input_bias, bias):
    gates = (0, 2, 1)  # PyTorch has the new state third
    module = loaded(torch.nn.GRU(FEATURES, HIDDEN), *(ordered(p, *gates) for p in (wi, wh, input_bias, bias)))
    out, h = module(torch.from_numpy(x), states(initial_h))
    return out.detach().numpy(), flat(h)


def written_lstm(x, h, c, wi, wh, b, peephole, limit, s, cell, out):
    """Peepholes and clipping, which PyTorch lacks."""
    pi, pf, po = np.split(peephole, 3)
    for step in x:
        i, f, o, g = np.split(step @ wi.T + h @ wh.T + b, 4, axis=-1)
        c = np.clip(s(f + pf * c) * c + s(i + pi * c) * cell(g), -limit, limit)
        h = s(o + po * c) * out(c)
    return h[None], h, c


def hard_sigmoid(x):
    return np.minimum(1, np.maximum(0, x / 5 + 0.5))


RNN, GRU, LSTM, BACK = weights(1), weights(3), weights(4), weights(4, seed=1)
H, C, H2, C2 = (eighths(BATCH, HIDDEN * n) for n in (1, 1, 2, 2))
PEEPHOLE, INPUT_BIAS = eighths(3 * HIDDEN), eighths(3 * HIDDEN) / 2

NAMES = ("weight_ih", "weight_hh", "bias")
RNN_OPERANDS, GRU_OPERANDS, LSTM_OPERANDS = (
    {"x": X, "initial_h": H} | dict(zip(NAMES, map(Fixed, parameters), strict=True)) for parameters in (RNN, GRU, LSTM)
)
LSTM_OPERANDS["initial_c"] = C
BACK_OPERANDS = {f"{name}_back": Fixed(value) for name, value in zip(NAMES, BACK, strict=True)}

# exp and tanh of two libraries differ by some units of float64; a state near 0 needs an absolute allowance for that
CLOSE = {"atol": 1e-12}

# Devices that add in float32: a gate is a sum of 8 products of numbers up to 1 and a bias, so at most 4·√8·2⁻²⁴·9 from
# the exact one, and that may happen at every step.
CLOSE["float32_sums"] = STEPS * 4 * np.sqrt(8) * 2.0**-24 * 9


def case(op, label, operands, expected, opsets=None):
    """In float32 from iOS15 on, in float16 from iOS17 on; or in both from given opsets on."""
    if opsets is not None:
        return [Case(op, operands, expected, id=label, opsets=opsets, **CLOSE)]
    return [
        Case(op, operands, expected, id=label, dtypes=(fp32,), **CLOSE),
        Case(op, operands, expected, id=label, dtypes=(fp16,), opsets=(iOS17, iOS26), **CLOSE),
    ]


def activation_cases():
    """Every activation, in one step."""
    functions = {
        "linear": lambda x: x,
        "sigmoid": special.expit,
        "hard_sigmoid": hard_sigmoid,
        "sigmoid_hard": hard_sigmoid,
        "scaled_tanh": np.tanh,
    }
    for name, function in functions.items():

        def expected(x, initial_h, function=function):
            h = function(x[0] @ RNN[0].T + initial_h @ RNN[1].T + RNN[2])
            return h[None], h

        yield from case("rnn", name, {**RNN_OPERANDS, "x": X[:1], "activation": name}, expected)


CASES = [
    *case("rnn", "last", RNN_OPERANDS, lambda x, initial_h: torch_rnn(x, initial_h, *RNN, False)),
    *case(
        "rnn",
        "reverse-sequence",
        {**RNN_OPERANDS, "direction": "reverse", "output_sequence": True, "activation": "relu"},
        lambda x, initial_h: torch_rnn(x, initial_h, *RNN, True, reverse=True, nonlinearity="relu"),
    ),
    *activation_cases(),
    *case(
        "gru",
        "sequence",
        {**GRU_OPERANDS, "output_sequence": True},
        lambda x, initial_h: written_gru(x, initial_h, *GRU, special.expit, np.tanh),
    ),
    *case(
        "gru",
        "reverse-last-activations",
        {**GRU_OPERANDS, "direction": "reverse", "recurrent_activation": "hard_sigmoid", "activation": "sigmoid"},
        lambda x, initial_h: last(*written_gru(x[::-1], initial_h, *GRU, hard_sigmoid, special.expit)),
    ),
    *case(
        "gru",
        "reset-after",
        {**GRU_OPERANDS, "input_bias": Fixed(INPUT_BIAS), "reset_after": True, "output_sequence": True},
        lambda x, initial_h: torch_gru(x, initial_h, *GRU[:2], INPUT_BIAS, GRU[2]),
        opsets=(iOS18, iOS26),
    ),
    *case(
        "gru",
        "two-biases",
        {**GRU_OPERANDS, "input_bias": Fixed(INPUT_BIAS)},
        lambda x, initial_h: last(*written_gru(x, initial_h, *GRU[:2], GRU[2] + INPUT_BIAS, special.expit, np.tanh)),
        opsets=(iOS18, iOS26),
    ),
    *case(
        "lstm",
        "sequence",
        {**LSTM_OPERANDS, "output_sequence": True},
        lambda x, initial_h, initial_c: torch_lstm(x, initial_h, initial_c, *LSTM, True),
    ),
    *case(
        "lstm",
        "reverse",
        {**LSTM_OPERANDS, "direction": "reverse"},
        lambda x, initial_h, initial_c: torch_lstm(x, initial_h, initial_c, *LSTM, False, reverse=True),
    ),
    *[
        found
        for every in (False, True)
        for found in case(
            "lstm",
            f"bidirectional-{'sequence' if every else 'last'}",
            {
                **LSTM_OPERANDS,
                **BACK_OPERANDS,
                "initial_h": H2,
                "initial_c": C2,
                "direction": "bidirectional",
                "output_sequence": every,
            },
            lambda x, initial_h, initial_c, every=every: torch_lstm(x, initial_h, initial_c, *LSTM, every, BACK),
        )
    ],
    *case(
        "lstm",
        "peephole-clip-activations",
        {
            **LSTM_OPERANDS,
            "peephole": Fixed(PEEPHOLE),
            "clip": 0.25,
            "recurrent_activation": "hard_sigmoid",
            "cell_activation": "relu",
            "activation": "scaled_tanh",
        },
        lambda x, initial_h, initial_c: written_lstm(
            x, initial_h, initial_c, *LSTM, PEEPHOLE, 0.25, hard_sigmoid, lambda x: np.maximum(x, 0), np.tanh
        ),
    ),
]
