"""What recurrent layers refuse, and weights that are decompressed."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.errors import TypeInferenceError
from gristmill.ir.builder import mb
from gristmill.ir.dims import symbol
from gristmill.ir.opset import iOS15, iOS16, iOS18
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp16, fp32

STEPS, BATCH = symbol("steps"), symbol("batch")
WEIGHTS = {
    "lstm": {"weight_ih": np.zeros((20, 3), np.float32), "weight_hh": np.zeros((20, 5), np.float32)},
    "gru": {"weight_ih": np.zeros((15, 3), np.float32), "weight_hh": np.zeros((15, 5), np.float32)},
    "rnn": {"weight_ih": np.zeros((5, 3), np.float32), "weight_hh": np.zeros((5, 5), np.float32)},
}


def made(op, opset=iOS18, dtype=fp32, width=5, **operands):
    """The shapes of the results for a sequence of unknown length."""
    types = {"x": TensorType(dtype, (STEPS, BATCH, 3)), "h": TensorType(dtype, (BATCH, width))}
    with mb.function(Program(), "main", types, opset) as (x, h):
        states = {"initial_h": h} | ({"initial_c": h} if op == "lstm" else {})
        results = mb.op(op, x=x, **states, **(WEIGHTS[op] | operands))
        return [value.shape for value in results]


@pytest.mark.parametrize("op", WEIGHTS)
def test_unknown_lengths_are_followed(op):
    """The sequence is as long as x where every step is asked for, else of length 1."""
    sequence, *last = made(op, output_sequence=True)
    assert sequence == (STEPS, BATCH, 5)
    assert set(last) == {(BATCH, 5)}
    assert made(op)[0] == (1, BATCH, 5)


def test_both_directions_make_states_side_by_side():
    """Twice as wide."""
    back = {f"{name}_back": weight for name, weight in WEIGHTS["lstm"].items()}
    shapes = made("lstm", direction="bidirectional", width=10, **back)
    assert shapes == [(1, BATCH, 10), (BATCH, 10), (BATCH, 10)]


REFUSED = [
    ("lstm", {"direction": "bidirectional"}, "bidirectional"),
    ("lstm", {"direction": "both"}, "direction"),
    ("gru", {"direction": "bidirectional"}, "direction"),
    ("lstm", {"activation": "softmax"}, "activation"),
    ("rnn", {"activation": "swish"}, "activation"),
    ("lstm", {"width": 6}, "initial_h"),
    ("lstm", {"weight_ih": np.zeros((20, 4), np.float32)}, "weight_ih"),
    ("gru", {"weight_hh": np.zeros((20, 5), np.float32)}, "weight_hh"),
    ("rnn", {"bias": np.zeros(4, np.float32)}, "bias"),
    ("lstm", {"peephole": np.zeros(20, np.float32)}, "peephole"),
    ("lstm", {"opset": iOS16, "dtype": fp16}, "'x'"),
    ("gru", {"opset": iOS15, "reset_after": True}, "reset_after"),
]


@pytest.mark.parametrize(("op", "operands", "says"), REFUSED, ids=[f"{op}-{says}" for op, _, says in REFUSED])
def test_what_does_not_fit_is_refused(op, operands, says):
    """The message names what does not fit."""
    with pytest.raises(TypeInferenceError, match=says):
        made(op, **operands)


def test_weights_may_be_decompressed_constants():
    """Where a constant is asked for, one that an op of the file decompresses will do; a computed value will not."""
    types = {"x": TensorType(fp32, (4, 1, 3)), "h": TensorType(fp32, (1, 5)), "w": TensorType(fp32, (5, 3))}
    with mb.function(Program(), "main", types, iOS16) as (x, h, w):
        weight = mb.constexpr_affine_dequantize(
            quantized_data=np.zeros((5, 3), np.int8), zero_point=np.int8(0), scale=np.float32(0.5), axis=0
        )
        recurrent = WEIGHTS["rnn"]["weight_hh"]
        assert mb.rnn(x=x, initial_h=h, weight_ih=weight, weight_hh=recurrent)[1].shape == (1, 5)
        with pytest.raises(TypeInferenceError, match="weight_ih"):
            mb.rnn(x=x, initial_h=h, weight_ih=w, weight_hh=recurrent)
