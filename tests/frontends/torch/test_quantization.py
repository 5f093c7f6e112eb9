"""Quantised programs keep their integers and give what PyTorch gives."""

import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators

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
