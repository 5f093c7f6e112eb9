"""Compressed weights of a program stay compressed in a network, and mean the same numbers there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gristmill as ct
from gristmill.devices.reference import ReferenceDevice
from gristmill.frontends.neuralnetwork import recurrent
from gristmill.ir.builder import mb
from gristmill.ir.constants import ArrayData
from gristmill.ir.opset import Opset, iOS16, iOS18
from gristmill.ir.program import Value
from gristmill.ir.types import DType, TensorType, fp32, int4, int8
from gristmill.models import datatypes
from gristmill.models.neural_network import NeuralNetworkBuilder
from gristmill.models.neural_network.quantization_utils import quantize_weights
from gristmill.package.network_messages import weights_in
from gristmill.package.network_writer import write_network
from gristmill.runtime.session import Session
from tests.models.neural_network.calls import GATES, GRU, SIZES
from tests.package.test_network_writer import described, program_of, through_a_network

RNG = np.random.default_rng(3)
LUT = np.array([-1.5, 0.25, 0.1, 3], np.float32)
ROWS, COLUMNS = 64, 32


def written(build: Any, shape: tuple[int, ...], opset: Opset = iOS16) -> tuple[Any, list[np.ndarray], list[np.ndarray]]:
    """The weights of the only layer with some, the program's results, and those after it was a network."""
    program = program_of({"x": TensorType(fp32, shape)}, build, opset)
    x = RNG.integers(0, ROWS, shape).astype(np.float32)
    wanted = list(Session(program.main, ReferenceDevice()).run({"x": x}).values())
    layers = write_network(program, described(program)).neuralNetwork.layers
    (layer,) = (each for each in layers if any(weights_in(each)))
    return next(weights_in(layer)), wanted, through_a_network(program, {"x": x})


def palettised(shape: tuple[int, ...], lut: np.ndarray = LUT) -> Value:
    """Two-bit indices into a table, four of them in a byte, the first in its lowest bits."""
    codes = RNG.integers(0, 4, (int(np.prod(shape)) // 4, 4))
    packed = (codes << np.array([0, 2, 4, 6])).sum(axis=1).astype(np.uint8)
    return mb.constexpr_lut_to_dense(indices=packed, lut=lut, shape=np.array(shape, np.uint32))


def integers(dtype: DType, *shape: int) -> Value:
    return mb.const(ArrayData(RNG.integers(dtype.min, dtype.max, shape, endpoint=True).astype(np.int8), dtype))


TABLES = {
    "linear": ((2, COLUMNS), lambda x, w: mb.linear(x=x, weight=w)),
    "matmul": ((2, COLUMNS), lambda x, w: mb.matmul(x=x, y=w, transpose_y=True)),
    "gather": ((2, 3), lambda x, w: mb.gather(x=w, indices=mb.cast(x=x, dtype="int32"), axis=0)),
    "add": ((ROWS, COLUMNS), lambda x, w: mb.add(x=w, y=x)),
}


@pytest.mark.parametrize("op", TABLES)
def test_indices_into_a_table(op: str) -> None:
    """Two bits each in the layer too, whichever way round it holds them. The reference computes the same of both."""
    shape, build = TABLES[op]
    found, wanted, got = written(lambda x: (build(x, palettised((ROWS, COLUMNS))),), shape)
    assert found.quantization.numberOfBits == 2
    assert len(found.rawValue) == ROWS * COLUMNS * 2 // 8
    assert sorted(found.quantization.lookupTableQuantization.floatValue) == sorted(LUT)
    np.testing.assert_array_equal(got, wanted)


def test_negative_zero_and_nan_are_entries_of_their_own() -> None:
    lut = np.array([-0.0, 0.0, np.nan, 3], np.float32)
    found, _, (got,) = written(lambda x: (mb.mul(x=palettised((ROWS, COLUMNS), lut), y=np.float32(1)),), (1,))
    assert found.quantization.numberOfBits == 2
    assert set(got.view(np.uint32).ravel()) == set(lut.view(np.uint32))


def test_one_scale_for_all_is_a_table() -> None:
    """Of the 256 numbers that the op makes of the codes, to the last bit."""
    scale = np.float32(0.013)

    def build(x: Any) -> Any:
        w = mb.constexpr_affine_dequantize(quantized_data=integers(int8, ROWS, COLUMNS), zero_point=np.int8(7),
                                           scale=scale, axis=0)  # fmt: skip
        return (mb.linear(x=x, weight=w),)

    found, wanted, got = written(build, (2, COLUMNS))
    assert found.quantization.numberOfBits == 8
    table = {np.float32(float(scale) * (code - 7)) for code in range(-128, 128)}
    assert table.issuperset(found.quantization.lookupTableQuantization.floatValue)
    np.testing.assert_array_equal(got, wanted)


def affine(axis: int, *shape: int) -> Any:
    scale = RNG.uniform(0.01, 0.02, shape[axis]).astype(np.float32)
    zero = RNG.integers(-128, 128, shape[axis]).astype(np.int8)
    return mb.constexpr_affine_dequantize(
        quantized_data=integers(int8, *shape), zero_point=zero, scale=scale, axis=axis
    )


def blockwise(*groups: int) -> Any:
    scale = RNG.uniform(0.01, 0.02, groups).astype(np.float32)
    return mb.constexpr_blockwise_shift_scale(data=integers(int4, ROWS, COLUMNS), scale=scale)


SCALED = {
    "affine": (8, iOS16, (2, COLUMNS), lambda x: mb.linear(x=x, weight=affine(0, ROWS, COLUMNS))),
    "blockwise": (4, iOS18, (2, COLUMNS), lambda x: mb.linear(x=x, weight=blockwise(ROWS, 1))),
    "conv": (8, iOS16, (1, 8, 5, 5), lambda x: mb.conv(x=x, weight=affine(0, 16, 8, 3, 3))),
    "conv_transpose": (8, iOS16, (1, 16, 5, 5), lambda x: mb.conv_transpose(x=x, weight=affine(1, 16, 32, 3, 3))),
}


@pytest.mark.parametrize("op", SCALED)
def test_scales_of_output_channels(op: str) -> None:
    """A weight is scale·code + bias in float32: of three roundings, each of at most 2⁻²⁴ of 255·0.02, here.

    So a sum of 144 products with inputs below 64 is at most 144·64·3·255·0.02·2⁻²⁴ = 0.0085 off.
    """
    bits, opset, shape, build = SCALED[op]
    found, wanted, got = written(lambda x: (build(x),), shape, opset)
    assert found.quantization.numberOfBits == bits
    assert len(found.quantization.linearQuantization.scale) == len(found.quantization.linearQuantization.bias) > 1
    assert np.abs(wanted).max() > 10
    np.testing.assert_allclose(got, wanted, rtol=0, atol=0.0085)


DENSE = {
    "blocks along the sum": lambda x: mb.linear(x=x, weight=blockwise(ROWS, 2)),
    "scales of input channels": lambda x: mb.linear(x=x, weight=affine(1, ROWS, COLUMNS)),
    "a table larger than the numbers": lambda x: mb.linear(x=x, weight=few_of_many()),
}


def few_of_many() -> Value:
    """32 different numbers: a table of 32 alone would take as much as they do."""
    lut = np.arange(256, dtype=np.float32).reshape(1, 1, 256, 1)
    codes = RNG.permutation(256)[:COLUMNS].astype(np.uint8).reshape(1, COLUMNS)
    return mb.constexpr_lut_to_dense(indices=codes, lut=lut)


@pytest.mark.parametrize("what", DENSE)
def test_what_no_codes_can_say_is_written_as_numbers(what: str) -> None:
    found, wanted, got = written(lambda x: (DENSE[what](x),), (2, COLUMNS), iOS18)
    assert found.floatValue
    assert not found.rawValue
    np.testing.assert_array_equal(got, wanted)


def test_gates_of_a_program() -> None:
    """An LSTM's weight, of which the layer holds four parts."""

    def build(x: Any) -> Any:
        zeros = np.zeros((1, 16), np.float32)
        states = mb.lstm(x=x, initial_h=zeros, initial_c=zeros, weight_ih=palettised((64, 16)),
                         weight_hh=palettised((64, 16)))  # fmt: skip
        return (states[0],)

    program = program_of({"x": TensorType(fp32, (3, 1, 16))}, build, iOS16)
    layers = write_network(program, described(program)).neuralNetwork.layers
    (layer,) = (each for each in layers if each.WhichOneof("layer") == "uniDirectionalLSTM")
    gates = list(weights_in(layer))
    assert len(gates) == 8
    assert {gate.quantization.numberOfBits for gate in gates} == {2}


@pytest.mark.parametrize("kind", ["simple", "gru", "lstm", "both directions"])
@pytest.mark.parametrize("mode", ["linear", "kmeans"])
def test_recurrent_weights_that_were_read_stay_as_they_are(kind: str, mode: str) -> None:
    """Quantised ones too: each gate keeps its codes, with scales of its rows or its table."""
    builder = NeuralNetworkBuilder([("x", datatypes.Array(3))], [("y", None)])
    given = {**SIZES, "input_names": ["x"], "output_names": ["y"]}
    rows = {"W_h": RNG.standard_normal((2, 2)), "W_x": RNG.standard_normal((2, 3)), "b": RNG.standard_normal(2)}
    match kind:
        case "simple":
            builder.add_simple_rnn("layer", **rows, activation="TANH", **given)
        case "gru":
            builder.add_gru("layer", **GRU, **given)
        case "lstm":
            builder.add_unilstm("layer", **GATES, **given)
        case _:
            back = {f"{name}_back": arrays for name, arrays in GATES.items()}
            builder.add_bidirlstm("layer", **GATES, **back, **given)
    model = quantize_weights(ct.models.MLModel(builder.spec), 3, mode)
    before = recurrent_weights(model)
    after = recurrent_weights(ct.models.MLModel(model.package.with_program(model.program)))
    assert after == before
    assert all(each.rawValue for each in before)


def recurrent_weights(model: ct.models.MLModel) -> list[Any]:
    """Those of the only recurrent layer."""
    layers = model.get_spec().neuralNetwork.layers
    (layer,) = (each for each in layers if each.WhichOneof("layer") in recurrent.KINDS)
    return list(weights_in(layer))
