"""Quantised weights: the numbers that coremltools writes, and results as near as the steps of the weights imply."""

from __future__ import annotations

import coremltools
import numpy as np
import pytest
from coremltools.models.neural_network import quantization_utils as theirs
from PIL import Image

import gristmill as ct
from gristmill.errors import InputError, InputTypeError
from gristmill.models import datatypes
from gristmill.models.neural_network import NeuralNetworkBuilder
from gristmill.models.neural_network import quantization_utils as ours
from gristmill.models.neural_network.optimization_utils import fuse_layers
from gristmill.models.neural_network.weight_codes import evenly_spaced, kmeans
from gristmill.package import proto
from gristmill.package.network_messages import all_layers, weights_in
from tests.models.neural_network.calls import GATES, GRU, PEEP, SIZES

RNG = np.random.default_rng(5)
MODES = [("linear", bits) for bits in (1, 3, 8)] + [("linear_symmetric", 8), ("linear_lut", 4), ("linear", 16)]
THEIR_MODES = {
    "linear": coremltools.models._QUANTIZATION_MODE_LINEAR_QUANTIZATION,
    "linear_symmetric": coremltools.models._QUANTIZATION_MODE_LINEAR_SYMMETRIC,
    "linear_lut": coremltools.models._QUANTIZATION_MODE_LOOKUP_TABLE_LINEAR,
}


def numbers(*shape):
    return RNG.standard_normal(shape)


def product(rows=4, columns=6, **options):
    """Y = W x + b, with its W."""
    W = numbers(rows, columns)
    builder = NeuralNetworkBuilder([("x", datatypes.Array(columns))], [("y", None)], use_float_arraytype=True)
    builder.add_inner_product("ip", W, numbers(rows), columns, rows, True, "x", "y", **options)
    return ct.models.MLModel(builder.spec), W


def every_kind():
    """A network with each type of layer that has weights; nobody runs it."""
    builder = NeuralNetworkBuilder([("x", datatypes.Array(3))], [("y", None)], disable_rank5_shape_mapping=True)
    vectors = {name: numbers(3) for name in ("gamma", "beta", "mean", "variance")}
    conv = {"kernel_channels": 2, "output_channels": 4, "height": 3, "width": 2, "stride_height": 1, "stride_width": 1}
    conv |= {"border_mode": "valid", "groups": 1, "b": numbers(4), "has_bias": True, "input_name": "x"}
    builder.add_convolution("conv", W=numbers(3, 2, 2, 4), output_name="1", **conv)
    builder.add_convolution("deconv", W=numbers(3, 2, 2, 2), output_name="2", is_deconv=True, **conv | {"groups": 2})
    builder.add_inner_product("ip", numbers(2, 3), numbers(2), 3, 2, True, "x", "3")
    builder.add_batched_mat_mul("mm", ["x"], "4", weight_matrix_rows=3, weight_matrix_columns=2, W=numbers(3, 2))
    builder.add_embedding("embedding", numbers(2, 5), numbers(2), 5, 2, True, "x", "5")
    builder.add_embedding_nd("nd", "x", "6", 5, 2, numbers(2, 5), numbers(2))
    builder.add_batchnorm("bn", 3, **vectors, input_name="x", output_name="7")
    builder.add_scale("scale", numbers(3), numbers(3), True, "x", "8", [3], [3])
    builder.add_bias("bias", numbers(3), "x", "9", [3])
    builder.add_load_constant("constant", "10", numbers(1, 2, 3), [1, 2, 3])
    builder.add_load_constant_nd("constant nd", "11", numbers(2, 3), [2, 3])
    rnn = {"W_h": numbers(2, 2), "W_x": numbers(2, 3), "b": numbers(2), "activation": "TANH"}
    builder.add_simple_rnn("rnn", **rnn, **SIZES, input_names=["x"], output_names=["12"])
    builder.add_gru("gru", **GRU, **SIZES, input_names=["x"], output_names=["13"])
    builder.add_unilstm("lstm", **GATES, **SIZES, **PEEP, input_names=["x"], output_names=["14"])
    back = {f"{name}_back": arrays for name, arrays in GATES.items()}
    builder.add_bidirlstm("bi", **GATES, **back, **SIZES, input_names=["x"], output_names=["15"])
    loop = builder.add_loop("loop", max_iterations=1)
    inner = NeuralNetworkBuilder(nn_spec=loop.loop.bodyNetwork)
    inner.add_inner_product("inner", numbers(2, 3), None, 3, 2, False, "x", "16")
    return builder.spec


@pytest.mark.interop
@pytest.mark.parametrize(("mode", "bits"), MODES)
def test_the_same_numbers_as_coremltools(mode, bits):
    """In every type of layer, and in networks inside of others."""
    spec = every_kind()
    found = ours.quantize_weights(ct.models.MLModel(spec, skip_model_load=True), bits, mode).get_spec()
    other = coremltools.proto.Model_pb2.Model.FromString(spec.SerializeToString())
    theirs._quantize_spec_weights(other, bits, THEIR_MODES[mode])
    expected = proto.parse("Model", other.SerializeToString())
    np.testing.assert_allclose(take_meanings(found), take_meanings(expected), rtol=2**-22, atol=5e-7)
    assert found == expected
    assert found != spec


@pytest.mark.interop
def test_the_same_biases_are_left_out_as_by_coremltools():
    """Of convolutions and products the selector is asked about the bias apart; others go with their layers."""
    spec, skipped = every_kind(), {"skip_layer_types": ["bias"], "minimum_conv_kernel_channels": 1}
    skipped |= {"minimum_conv_weight_count": 1}
    selector = ours.AdvancedQuantizedLayerSelector(**skipped)
    model = ct.models.MLModel(spec, skip_model_load=True)
    found = ours.quantize_weights(model, 8, selector=selector).get_spec()
    other = coremltools.proto.Model_pb2.Model.FromString(spec.SerializeToString())
    selector = theirs.AdvancedQuantizedLayerSelector(**skipped)
    theirs._quantize_spec_weights(other, 8, THEIR_MODES["linear"], selector=selector)
    expected = proto.parse("Model", other.SerializeToString())
    take_meanings(found), take_meanings(expected)  # which the test before compares
    assert found == expected


def take_meanings(spec):
    """Scales, biases and tables, taken out: coremltools computes in float32, so last bits of numbers up to 4 differ."""
    found = []
    for layer in all_layers(spec.neuralNetwork):
        for weights in weights_in(layer):
            linear = weights.quantization.linearQuantization
            for values in (linear.scale, linear.bias, weights.quantization.lookupTableQuantization.floatValue):
                found += values
                del values[:]
    return found


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("mode", ["linear", "linear_lut", "kmeans"])
def test_results_differ_by_no_more_than_the_steps_imply(mode, bits):
    """|Δy| ≤ Σ|x| · step / 2 + the bias's step / 2, where a step is the range over 2ⁿ − 1.

    Of k-means' clusters, whose sizes differ, a number lies at most the whole range from its mean.
    """
    model, W = product()
    spec = model.get_spec().neuralNetwork.layers[0].innerProduct
    x = numbers(6).astype(np.float32)
    change = ours.quantize_weights(model, bits, mode).predict({"x": x})["y"] - model.predict({"x": x})["y"]
    ranges = np.ptp(W, axis=1) if mode == "linear" else np.full(4, np.ptp(W))
    steps = ranges if mode == "kmeans" else ranges / (2**bits - 1)
    own = np.ptp(np.array(spec.bias.floatValue)) * (1 if mode == "kmeans" else 1 / (2**bits - 1))
    bound = (np.abs(x).sum() * steps + own) / (1 if mode == "kmeans" else 2)
    assert (np.abs(change) <= bound + 1e-5).all()  # float32 sums of 6 products
    assert bits == 8 or np.abs(change).max() > 1e-3


def test_float16_weights_are_those_rounded():
    model, W = product()
    spec = ours.quantize_weights(model, 16).get_spec()
    weights = spec.neuralNetwork.layers[0].innerProduct.weights
    np.testing.assert_array_equal(np.frombuffer(weights.float16Value, np.float16), W.astype("f4").astype("f2").ravel())
    assert spec.specificationVersion == 2


def test_weights_beyond_float16_stay_as_they_are():
    model, _ = product()
    spec = model.get_spec()
    spec.neuralNetwork.layers[0].innerProduct.weights.floatValue[0] = 1e6
    found = ours.quantize_weights(ct.models.MLModel(spec), 16).get_spec().neuralNetwork.layers[0].innerProduct
    assert found.weights.floatValue[0] == 1e6
    assert found.bias.float16Value


@pytest.mark.parametrize("values", [[np.inf], [np.nan], [-3e38, 3e38]], ids=["infinity", "NaN", "too far apart"])
@pytest.mark.parametrize("mode", ["linear", "linear_lut", "kmeans", "int8"])
def test_weights_that_no_codes_can_hold_stay_as_they_are(mode, values):
    """No other weight is lost for one of them."""
    spec = product()[0].get_spec()
    layer = spec.neuralNetwork.layers[0].innerProduct
    layer.weights.floatValue[: len(values)] = values
    before = layer.weights.SerializeToString()
    if mode == "int8":
        ours.activate_int8_int8_matrix_multiplications(spec)
    else:
        spec = ours.quantize_weights(ct.models.MLModel(spec, skip_model_load=True), 4, mode).get_spec()
    after = spec.neuralNetwork.layers[0].innerProduct
    assert after.bias.rawValue or mode == "int8"
    assert after.weights.SerializeToString() == before or (mode == "int8" and np.isfinite(values).all())
    assert after.int8DynamicQuantize == bool(after.weights.int8RawValue)


@pytest.mark.parametrize(("mode", "bits"), [*MODES, ("kmeans", 2)])
def test_dequantised_weights_give_the_same_results(mode, bits):
    model, _ = product()
    x = {"x": numbers(6).astype(np.float32)}
    quantized = ours.quantize_weights(model, bits, mode)
    again = ours.quantize_weights(quantized, None, "dequantization")
    np.testing.assert_array_equal(again.predict(x)["y"], quantized.predict(x)["y"])
    assert bits == 16 or again.get_spec().neuralNetwork.layers[0].innerProduct.weights.floatValue


def test_equal_weights_stay_exact():
    """A range of 0 has a step of 0."""
    builder = NeuralNetworkBuilder([("x", datatypes.Array(3))], [("y", None)])
    builder.add_inner_product("ip", np.full((2, 3), 0.25), None, 3, 2, False, "x", "y")
    model = ours.quantize_weights(ct.models.MLModel(builder.spec), 4)
    np.testing.assert_array_equal(model.predict({"x": np.ones(3)})["y"], [0.75, 0.75])


def best(values, size):
    """The least squared error of runs of sorted numbers, by dynamic programming over where each begins."""
    values = np.sort(values)
    n = len(values)
    cost = np.full((n + 1, n + 1), np.inf)  # of a run from one place to another
    for i in range(n + 1):
        cost[i, i] = 0.0
        for j in range(i + 1, n + 1):
            cost[i, j] = (j - i) * values[i:j].var()
    least = cost[0]
    for _ in range(size - 1):
        least = (least[:, None] + cost).min(axis=0)
    return least[n]


@pytest.mark.parametrize("bits", [1, 2, 3])
@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "with outliers"])
def test_kmeans_is_near_the_best_table(bits, heavy):
    """On average within 10% of the least error, which dynamic programming finds; never above an even table's."""
    random, ratios = np.random.default_rng(bits), []
    for _ in range(8):
        values = random.standard_normal(40) * (np.exp(random.standard_normal(40)) if heavy else 1)
        found, even = (
            np.square(codes.table[codes.codes] - values).sum()
            for codes in (kmeans(values, bits), evenly_spaced(values, bits))
        )
        ratios.append(found / best(values, 1 << bits))
        assert found <= even + 1e-12
    assert np.mean(ratios) <= 1.1


def test_few_different_numbers_are_their_own_table():
    codes = kmeans(np.array([3.0, -1.0, 3.0]), 2)
    np.testing.assert_array_equal(codes.table[codes.codes], [3, -1, 3])


def test_a_table_of_the_callers_own():
    def signs(bits, weights):
        return np.array([-1.0, 1.0]), weights > 0

    model, W = product()
    found = ours.quantize_weights(model, 1, "custom_lut", lut_function=signs)
    spec = found.get_spec().neuralNetwork.layers[0].innerProduct
    x = numbers(6).astype(np.float32)
    bias = np.sign(np.array(model.get_spec().neuralNetwork.layers[0].innerProduct.bias.floatValue))
    np.testing.assert_allclose(found.predict({"x": x})["y"], np.sign(W) @ x + bias, rtol=1e-5)
    assert list(spec.weights.quantization.lookupTableQuantization.floatValue) == [-1, 1]
    table = np.arange(4.0)
    for wrong in (
        signs,
        lambda bits, weights: table,
        lambda bits, weights: (table, np.full(weights.shape, -1)),
        lambda bits, weights: (table, np.full(weights.shape, 4)),
        lambda bits, weights: (table, np.full(weights.shape, 0.5)),
        lambda bits, weights: (table, np.zeros(1, int)),
    ):
        with pytest.raises(InputError, match="a table and codes"):
            ours.quantize_weights(model, 2, "custom_lut", lut_function=wrong)


def chain(deconvolution):
    """Everything that is fused: convolution, normalisation, scale, bias; inner product and scale."""
    builder = NeuralNetworkBuilder([("x", datatypes.Array(4, 5, 5))], [("y", None)], use_float_arraytype=True)
    kernel = {"W": numbers(3, 3, 4, 3), "groups": 2, "is_deconv": True} if deconvolution else {"W": numbers(3, 3, 4, 6)}
    settings = {"groups": 1, "height": 3, "width": 3, "stride_height": 1, "stride_width": 1} | kernel
    settings |= {"kernel_channels": 4, "output_channels": 6, "b": None, "has_bias": False, "border_mode": "same"}
    builder.add_convolution("conv", **settings, input_name="x", output_name="a")
    vectors = {name: np.abs(numbers(6)) + 0.5 for name in ("gamma", "beta", "mean", "variance")}
    builder.add_batchnorm("bn", 6, **vectors, input_name="a", output_name="b")
    builder.add_scale("scale", numbers(6), numbers(6, 1, 1), True, "b", "c", [6], [6, 1, 1])
    builder.add_bias("bias", numbers(1), "c", "d", [1])
    builder.add_batchnorm("bn 2", 6, **vectors, input_name="d", output_name="e")
    builder.add_flatten("flatten", 0, "e", "flat")
    builder.add_inner_product("ip", numbers(3, 150), None, 150, 3, False, "flat", "f")
    builder.add_scale("scale 2", numbers(3), None, False, "f", "y", [3])
    return ct.models.MLModel(builder.spec)


@pytest.mark.parametrize("deconvolution", [False, True], ids=["convolution", "transposed in groups"])
def test_layers_are_fused_and_compute_the_same(deconvolution):
    """Up to float32's rounding of a few hundred products."""
    model = chain(deconvolution)
    spec = model.get_spec()
    fuse_layers(spec.neuralNetwork, {"y"})
    assert [layer.name for layer in spec.neuralNetwork.layers] == ["conv", "flatten", "ip"]
    x = {"x": numbers(4, 5, 5).astype(np.float32)}
    expected = model.predict(x)["y"]
    found = ct.models.MLModel(spec).predict(x)["y"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_an_inner_product_along_the_last_axis_takes_in_no_channels():
    """Where arrays keep their shapes a scale's channels are the third axis from the end."""
    builder = NeuralNetworkBuilder([("x", datatypes.Array(4, 2, 5))], [("y", None)], disable_rank5_shape_mapping=True)
    builder.add_inner_product("ip", numbers(4, 5), None, 5, 4, False, "x", "z")
    builder.add_scale("scale", numbers(4), None, False, "z", "y", [4])
    fuse_layers(builder.nn_spec, {"y"})
    assert builder.nn_spec.layers[-1].name == "scale"


def test_a_normalisation_without_an_epsilon_has_that_of_the_format():
    """10⁻⁵, where the field is 0: of a variance of 0 the factor is √10⁵."""
    builder = NeuralNetworkBuilder([("x", datatypes.Array(2, 1, 1))], [("y", None)])
    conv = {"kernel_channels": 2, "output_channels": 2, "height": 1, "width": 1, "stride_height": 1, "stride_width": 1}
    conv |= {"border_mode": "valid", "groups": 1, "b": None, "has_bias": False}
    builder.add_convolution("conv", W=np.eye(2).reshape(1, 1, 2, 2), **conv, input_name="x", output_name="z")
    zeros = np.zeros(2)
    builder.add_batchnorm("bn", 2, np.ones(2), zeros, zeros, zeros, input_name="z", output_name="y")
    builder.nn_spec.layers[1].batchnorm.ClearField("epsilon")
    fuse_layers(builder.nn_spec, {"y"})
    (layer,) = builder.nn_spec.layers
    np.testing.assert_allclose(layer.convolution.weights.floatValue, np.eye(2).ravel() * 10**2.5, rtol=1e-6)


def test_layers_that_two_read_are_not_fused():
    builder = NeuralNetworkBuilder([("x", datatypes.Array(3))], [("y", None), ("out", None)])
    builder.add_inner_product("ip", numbers(3, 3), None, 3, 3, False, "x", "z")
    builder.add_copy("copy", "z", "out")
    builder.add_scale("scale", numbers(3), None, False, "z", "y", [3])
    fuse_layers(builder.nn_spec, {"y", "out"})
    assert len(builder.nn_spec.layers) == 3


@pytest.mark.parametrize("twice", ["z", "y"])
def test_layers_whose_tensors_are_written_again_are_not_fused(twice):
    """What stands under a name depends on who wrote there last."""
    builder = NeuralNetworkBuilder([("x", datatypes.Array(3))], [("out", None)])
    builder.add_inner_product("ip", numbers(3, 3), None, 3, 3, False, "x", "z")
    builder.add_scale("scale", numbers(3), None, False, "z", "y", [3])
    builder.add_copy("copy", "x", twice)
    fuse_layers(builder.nn_spec, {"out"})
    assert len(builder.nn_spec.layers) == 3


def test_layers_that_others_read_are_not_fused():
    builder = NeuralNetworkBuilder([("x", datatypes.Array(3))], [("y", None), ("z", None)])
    builder.add_inner_product("ip", numbers(2, 3), None, 3, 2, False, "x", "z")
    builder.add_scale("scale", numbers(2), None, False, "z", "y", [2])
    layers = ours.quantize_weights(ct.models.MLModel(builder.spec), 8).get_spec().neuralNetwork.layers
    assert len(layers) == 2


class TestSelectors:
    def quantized(self, selector, spec=None):
        """Names of the layers, and of layers' biases, that got codes."""
        model = ct.models.MLModel(every_kind() if spec is None else spec, skip_model_load=True)
        found = ours.quantize_weights(model, 8, selector=selector).get_spec().neuralNetwork.layers
        chosen = {layer.name for layer in found if any(weights.rawValue for weights in weights_in(layer))}
        products = [layer for layer in found if layer.WhichOneof("layer") == "innerProduct"]
        return chosen, {layer.name for layer in products if layer.innerProduct.bias.rawValue}

    def test_types_are_skipped(self):
        selector = ours.AdvancedQuantizedLayerSelector(["embedding", "bias", "gru"], 1, 1)
        chosen, biases = self.quantized(selector)
        assert {"conv", "ip", "lstm"} <= chosen
        assert not chosen & {"embedding", "bias", "gru"}
        assert not biases
        with pytest.raises(InputError, match="unknown types"):
            ours.AdvancedQuantizedLayerSelector(["ghost"])

    @pytest.mark.interop
    @pytest.mark.parametrize("options", [{}, {"minimum_conv_kernel_channels": 2, "minimum_conv_weight_count": 24}])
    def test_small_convolutions_stay(self, options):
        """As coremltools' selector answers for each layer, and for its bias."""
        mine, other = ours.AdvancedQuantizedLayerSelector(**options), theirs.AdvancedQuantizedLayerSelector(**options)
        for layer in every_kind().neuralNetwork.layers:
            assert mine.do_quantize(layer) == other.do_quantize(layer)
            if layer.WhichOneof("layer") in ("convolution", "innerProduct"):
                assert mine.do_quantize(layer, weight_param="bias") == other.do_quantize(layer, weight_param="bias")

    @pytest.mark.interop
    @pytest.mark.parametrize("options", [{}, {"minimum_weight_count": 7}, {"maximum_output_channels": 1}])
    def test_products_and_their_biases(self, options):
        mine, other = ours.MatrixMultiplyLayerSelector(**options), theirs.MatrixMultiplyLayerSelector(**options)
        for layer in every_kind().neuralNetwork.layers:
            assert mine.do_quantize(layer) == other.do_quantize(layer)
            if layer.WhichOneof("layer") in ("batchedMatmul", "innerProduct"):
                assert mine.do_quantize(layer, weight_param="bias") == other.do_quantize(layer, weight_param="bias")

    def test_a_convolution_of_one_channel_is_no_depthwise_one(self):
        """That has groups."""
        skipping = ours.AdvancedQuantizedLayerSelector(["depthwiseConv"], 1, 1)
        (layer,) = (each for each in every_kind().neuralNetwork.layers if each.name == "conv")
        layer.convolution.kernelChannels = 1
        assert skipping.do_quantize(layer)
        layer.convolution.nGroups = 2
        assert not skipping.do_quantize(layer)

    def test_products_are_chosen_by_size_and_name(self):
        assert self.quantized(ours.MatrixMultiplyLayerSelector())[0] == {"ip", "mm", "loop"}
        assert self.quantized(ours.MatrixMultiplyLayerSelector(minimum_weight_count=7))[0] == set()
        assert self.quantized(ours.MatrixMultiplyLayerSelector(maximum_input_channels=2))[0] == set()
        assert self.quantized(ours.MatrixMultiplyLayerSelector(minimum_output_channels=3))[0] == set()
        assert self.quantized(ours.MatrixMultiplyLayerSelector(include_layers_with_names=["mm"]))[0] == {"mm"}

    def test_a_selector_of_the_callers_own(self):
        class Selector(ours.QuantizedLayerSelector):
            def do_quantize(self, layer, **kwargs):
                return super().do_quantize(layer) and layer.name == "gru"

        assert self.quantized(Selector())[0] == {"gru"}


def test_products_of_eight_bit_numbers():
    """Weights are multiples of the largest magnitude over 127."""
    model, W = product()
    spec = ours.activate_int8_int8_matrix_multiplications(model.get_spec())
    layer = spec.neuralNetwork.layers[0].innerProduct
    assert layer.int8DynamicQuantize
    scale = np.abs(W).max() / 127
    codes = np.frombuffer(layer.weights.int8RawValue, np.int8).reshape(W.shape)
    np.testing.assert_allclose(codes * scale, W, rtol=0, atol=scale / 2 * (1 + 1e-6))
    x = numbers(6).astype(np.float32)
    bound = np.abs(x).sum() * scale / 2 + 1e-5
    assert np.abs(ct.models.MLModel(spec).predict({"x": x})["y"] - model.predict({"x": x})["y"]).max() <= bound
    again = ours.quantize_weights(ct.models.MLModel(spec), None, "dequantization").get_spec()
    assert not again.neuralNetwork.layers[0].innerProduct.int8DynamicQuantize


def test_a_matrix_of_zeros_is_one_of_eight_bit_numbers():
    spec = product()[0].get_spec()
    layer = spec.neuralNetwork.layers[0].innerProduct
    layer.weights.floatValue[:] = [0.0] * len(layer.weights.floatValue)
    ours.activate_int8_int8_matrix_multiplications(spec)
    assert set(layer.weights.int8RawValue) == {0}
    assert list(layer.weights.quantization.linearQuantization.scale) == [1]


def test_networks_in_pipelines():
    spec = proto.message("Model")(specificationVersion=4)
    spec.pipeline.models.add().CopyFrom(product()[0].get_spec())
    quantized = ours.quantize_weights(ct.models.MLModel(spec, skip_model_load=True), 8).get_spec()
    assert quantized.pipeline.models[0].neuralNetwork.layers[0].innerProduct.weights.rawValue


def test_arguments():
    model, _ = product()
    for bits, mode, options in (
        (9, "linear", {}),
        (None, "linear", {}),
        (8, "squares", {}),
        (4, "linear_symmetric", {}),
        (4, "custom_lut", {}),
    ):
        with pytest.raises(InputError):
            ours.quantize_weights(model, bits, mode, **options)
    spec = model.get_spec()
    spec.isUpdatable = True
    with pytest.raises(InputError, match="updatable"):
        ours.quantize_weights(ct.models.MLModel(spec), 16)


class TestComparison:
    def test_numbers_are_compared_in_decibels(self, capsys):
        """Signal 1 and noise 0.1 everywhere: 20 dB, of energies 1 and 0.01 + 10⁻⁷."""
        metrics = ours.NoiseMetrics()
        metrics.add_metric(np.full(4, 1.1), np.ones(4))
        metrics.display_metrics()
        assert "SNR: 20.00 dB" in capsys.readouterr().out

    def test_labels_are_counted(self, capsys):
        metrics = ours.OutputMetric("y", "dictionaryType")
        likely = {f"{k}": 1 / (k + 1) for k in range(10)}
        metrics.add_metric(likely, likely)
        metrics.add_metric(likely, {**likely, "0": 0.19})  # the fifth now
        metrics.add_metric(likely, {name: -value for name, value in likely.items()})
        metrics.display_metrics()
        assert "top 5: 66.67% agree, of 3" in capsys.readouterr().out

    def test_two_models_of_samples(self, capsys):
        model, _ = product()
        samples = [{"x": numbers(6).astype(np.float32)} for _ in range(3)]
        ours.quantize_weights(model, 8, sample_data=samples)
        assert "3 samples\noutput y:\n  SNR" in capsys.readouterr().out
        with pytest.raises(InputTypeError, match="dictionaries"):
            ours.compare_models(model, model, [1])
        with pytest.raises(InputError, match="one input, an image"):
            ours.compare_models(model, model, "folder")

    def test_two_models_of_images(self, tmp_path, capsys):
        builder = NeuralNetworkBuilder([("x", datatypes.Array(3, 4, 4))], [("y", None)])
        builder.add_scale("half", np.array([0.5]), None, False, "x", "y")
        builder.set_pre_processing_parameters("x")
        model = ct.models.MLModel(builder.spec)
        with pytest.raises(InputError, match="no images"):
            ours.compare_models(model, model, str(tmp_path))
        Image.fromarray(np.full((8, 8), 100, np.uint8)).save(tmp_path / "grey.png")
        ours.compare_models(model, model, str(tmp_path))
        assert "1 samples" in capsys.readouterr().out
