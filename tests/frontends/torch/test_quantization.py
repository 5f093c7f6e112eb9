"""Quantised programs keep their integers and give what PyTorch gives."""

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators

from gristmill.frontends.common import InputSpec
from gristmill.frontends.torch import lower
from gristmill.ir import types
from gristmill.ir.opset import iOS15, iOS17, iOS18
from tests.frontends.torch.harness import agree, case, compare, exported, floats, ints, run

D = torch.ops.quantized_decomposed
X = floats(3, 8, low=-4, high=4)
WEIGHT = ints(5, 8, low=-128, high=128, dtype=torch.int8)
SCALES, ZEROS = floats(5, low=0.01, high=0.1), ints(5, low=-5, high=5)


def _rounded(x):
    q = D.quantize_per_tensor(x, 0.05, 3, -128, 127, torch.int8)
    return D.dequantize_per_tensor(q, 0.05, 3, -128, 127, torch.int8)


def _unsigned(x):
    q = D.quantize_per_tensor(x, 0.05, 100, 0, 255, torch.uint8)
    return q, D.dequantize_per_tensor(q, 0.05, 100, 0, 255, torch.uint8)


def _seven_bits(x):
    return D.dequantize_per_tensor(D.quantize_per_tensor(x, 0.05, 0, -64, 63, torch.int8), 0.05, 0, -64, 63, torch.int8)


def _channels(x):
    q = D.quantize_per_channel(x, SCALES[:3], ZEROS[:3], 0, -128, 127, torch.int8)
    return D.dequantize_per_channel(q, SCALES[:3], ZEROS[:3], 0, -128, 127, torch.int8)


@pytest.mark.parametrize(
    "case",
    [
        case("int8", _rounded, X),
        case("uint8", _unsigned, X),
        case("7 bits", _seven_bits, X),
        case("channels", _channels, X),
    ],
)
def test_values_are_rounded_to_the_same_integers(case):
    agree(case._replace(opsets=(iOS15, iOS17, iOS18)))


def test_int8_values_pass_from_one_op_to_the_next():
    program = lower(exported(_rounded, X), opset=iOS17)
    quantize, dequantize = (next(op for op in program.main.body if op.op_name == n) for n in ("quantize", "dequantize"))
    assert dequantize.operand("input") is quantize.result


@pytest.mark.parametrize("opset", [iOS15, iOS17])
def test_weights_stay_integers_where_the_opset_decodes_them(opset):
    def function(x):
        weight = D.dequantize_per_channel(WEIGHT, SCALES, ZEROS, 0, -128, 127, torch.int8)
        return torch.nn.functional.linear(x, weight)

    program = lower(exported(function, X), opset=opset)
    compare(run(program, X), function(X), 1e-5)
    decoded = [op for op in program.main.body if op.op_name == "constexpr_affine_dequantize"]
    assert bool(decoded) == (opset is iOS17)
    if decoded:
        assert decoded[0].operand("quantized_data").dtype == types.int8
        (linear,) = [op for op in program.main.body if op.op_name == "linear"]
        assert linear.operand("weight") is decoded[0].result


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_eager_quantised_modules_of_torchscript():
    """At most one step of the result's grid apart: PyTorch's kernel rounds a product of the three scales."""
    dense = torch.ao.nn.quantized.Linear(8, 5)
    weight = torch.quantize_per_tensor(floats(5, 8), 0.02, 0, torch.qint8)
    dense.set_weight_bias(weight, floats(5))
    dense.scale, dense.zero_point = 0.1, 64

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = dense

        def forward(self, x):
            return torch.dequantize(self.dense(torch.quantize_per_tensor(x, 0.05, 100, torch.quint8)))

    script = torch.jit.trace(Net().eval(), (X,))
    program = lower(script, inputs=[InputSpec("x", (3, 8))], opset=iOS17)
    (found,) = run(program, X)
    np.testing.assert_allclose(found, Net()(X).numpy(), rtol=0, atol=0.1 * 1.0001)
    assert np.mean(np.abs(found - Net()(X).numpy()) < 1e-6) > 0.8
    assert any(op.op_name == "constexpr_affine_dequantize" for op in program.main.body)
