"""Quantised programs keep their integers and give what PyTorch gives."""

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators

import gristmill as ct
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


@pytest.fixture(scope="module")
def affine():
    """Torchao's operator, declared as its package does: a scale and a zero point for each block."""
    library = torch.library.Library("torchao", "FRAGMENT")
    if not hasattr(torch.ops.torchao, "dequantize_affine"):
        library.define(
            "dequantize_affine(Tensor input, SymInt[] block_size, Tensor scale, Tensor? zero_point,"
            " ScalarType input_dtype, Scalar? quant_min=None, Scalar? quant_max=None,"
            " ScalarType output_dtype=6) -> Tensor"
        )
        library.impl("dequantize_affine", _by_blocks, "CompositeExplicitAutograd")
    yield torch.ops.torchao.dequantize_affine
    library._destroy()


def _by_blocks(
    q, block_size, scale, zero_point, input_dtype, quant_min=None, quant_max=None, output_dtype=torch.float32
):
    step, shift = scale, torch.zeros_like(scale) if zero_point is None else zero_point
    for axis, block in enumerate(block_size):
        step, shift = step.repeat_interleave(block, axis), shift.repeat_interleave(block, axis)
    return (q.to(torch.int32) - shift) * step


@pytest.mark.parametrize(
    ("blocks", "low", "high", "opset", "kept"),
    [
        ([1, 32], -8, 7, iOS18, ("constexpr_blockwise_shift_scale", types.int4)),
        ([1, 32], -128, 127, iOS18, ("constexpr_blockwise_shift_scale", types.int8)),
        ([1, 64], -128, 127, iOS17, ("constexpr_affine_dequantize", types.int8)),
        ([1, 64], -8, 7, iOS17, ("constexpr_affine_dequantize", types.int8)),
        ([16, 64], -128, 127, iOS17, ("constexpr_affine_dequantize", types.int8)),
        ([1, 32], -8, 7, iOS17, None),  # blocks come with iOS 18: before that the weight is decoded
        ([1, 64], -128, 127, iOS15, None),
    ],
)
def test_weights_in_blocks(affine, blocks, low, high, opset, kept):
    """Integers of as few bits as the opset decodes."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(low, high + 1, (16, 64), generator=generator, dtype=torch.int8)
    counts = [size // block for size, block in zip(weight.shape, blocks, strict=True)]
    scale = torch.rand(counts, generator=generator) + 0.1
    zero = torch.randint(-2, 3, counts, generator=generator, dtype=torch.int8)

    def function(x):
        return torch.nn.functional.linear(x, affine(weight, blocks, scale, zero, torch.int8, low, high))

    x = floats(3, 64)
    program = lower(exported(function, x), opset=opset)
    compare(run(program, x), function(x), 1e-5)
    decoded = [op for op in program.main.body if op.op_name.startswith("constexpr")]
    found = [(op.op_name, op.operands.get("data", op.operands.get("quantized_data")).dtype) for op in decoded]
    assert found == ([] if kept is None else [kept])


@pytest.mark.parametrize("opset", [iOS15, iOS17, iOS18])
def test_a_weight_of_bytes_that_is_only_cast(opset):
    """The scale comes after the product; the weight goes into the file as bytes where the opset decodes them."""
    weight = torch.arange(-512, 512).remainder(251).sub(125).to(torch.int8).view(16, 64)
    scale = torch.rand(16)

    def function(x):
        return x @ weight.t().to(torch.float32) * scale

    x = floats(3, 64)
    program = lower(exported(function, x), opset=opset)
    compare(run(program, x), function(x), 1e-5)
    assert any(op.op_name.startswith("constexpr") for op in program.main.body) == (opset >= iOS17)


def test_a_product_of_bytes_is_exact():
    """Sums beyond 2²⁴ do not go through a float."""
    x, y = torch.full((17, 2048), 127, dtype=torch.int8), torch.full((2048, 8), 127, dtype=torch.int8)
    y[0, 0] = 126

    def function(a):
        return torch._int_mm((a + 0).to(torch.int8), y)

    (found,) = run(lower(exported(function, x), opset=iOS17), x)
    np.testing.assert_array_equal(found, x.to(torch.int64).numpy() @ y.to(torch.int64).numpy())


def test_quantised_weights_convert_in_float16():
    """By default the layer becomes float16, and its integers stay in the model."""

    class Net(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.linear(
                x, D.dequantize_per_channel(WEIGHT, SCALES, ZEROS, 0, -128, 127, torch.int8)
            )

    program = torch.export.export(Net(), (X,))
    model = ct.convert(program, minimum_deployment_target=ct.target.iOS17)
    (linear,) = [op for op in model.program.main.body if op.op_name == "linear"]
    assert linear.operand("weight").dtype == types.fp16
    assert linear.operand("weight").producer.operand("quantized_data").dtype == types.int8
    (found,) = model.predict({"x": X.numpy()}).values()
    wanted = Net()(X).numpy()
    # Eight products of float16 numbers, whose scales are rounded too: three roundings of 2⁻¹¹ each.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=3 * 2**-11 * np.abs(wanted).max() + 2**-9)
