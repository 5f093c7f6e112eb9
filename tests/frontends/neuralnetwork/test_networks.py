"""Networks as models: weights, images, custom layers, classes, units, plans."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gristmill as ct
from gristmill.errors import ExecutionError, FormatError, GristmillError, InputError, UnsupportedError
from gristmill.frontends.common import UnsupportedOperatorsError
from gristmill.frontends.neuralnetwork import registry
from gristmill.ir.traits import Decompresses
from gristmill.ir.types import TensorType, fp16, fp32, unit_float
from gristmill.ops import sizes
from gristmill.ops.nn import custom
from gristmill.package import proto
from gristmill.precision.unit_types import Placed, type_by_unit
from tests.frontends.neuralnetwork.small import L, case_of, model_of, numbers, spec_of

RNG = np.random.default_rng(3)


def test_every_layer_of_the_specification_has_a_mapping() -> None:
    """All alternatives of the message, and nothing that it does not have."""
    known = proto.message("NeuralNetworkLayer").DESCRIPTOR.oneofs_by_name["layer"].fields
    assert {field.name for field in known} == set(registry.kinds())


# --- weights ---------------------------------------------------------------------------------------------------------


def _product(weights: Mapping[str, Any], rows: int, columns: int, x: np.ndarray) -> np.ndarray:
    spec = spec_of(L("innerProduct", {"inputChannels": columns, "outputChannels": rows}), inputs={"x": (1, columns)})
    stored = spec.neuralNetwork.layers[0].innerProduct.weights
    for name, value in weights.items():
        if name in ("scale", "bias"):
            getattr(stored.quantization.linearQuantization, name).extend(value)
        elif name == "table":
            stored.quantization.lookupTableQuantization.floatValue.extend(value)
        elif name == "bits":
            stored.quantization.numberOfBits = value
        else:
            setattr(stored, name, value)
    return ct.models.MLModel(spec).predict({"x": x})["y"]


def _packed(codes: np.ndarray, bits: int) -> bytes:
    """Codes one after the other, the highest bit first, filled up with zeros to whole bytes."""
    text = "".join(format(code, f"0{bits}b") for code in codes.reshape(-1).tolist())
    text += "0" * (-len(text) % 8)
    return bytes(int(text[k : k + 8], 2) for k in range(0, len(text), 8))


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("form", ["table", "linear", "linear of each row"])
def test_quantised_weights(bits: int, form: str) -> None:
    """Integers of any width, with a table, or with scale and bias for all or for each output."""
    rows, columns = 3, 7
    codes = RNG.integers(0, 1 << bits, (rows, columns))
    x = RNG.standard_normal((1, columns)).astype(np.float32)
    if form == "table":
        table = RNG.standard_normal(1 << bits).astype(np.float32)
        weights, wanted = {"table": table}, table[codes]
    else:
        count = rows if "row" in form else 1
        scale, bias = RNG.standard_normal((2, count)).astype(np.float32)
        weights = {"scale": scale, "bias": bias}
        wanted = codes * scale[:, None] + bias[:, None]
    got = _product({**weights, "bits": bits, "rawValue": _packed(codes, bits)}, rows, columns, x)
    np.testing.assert_allclose(got, x @ wanted.T.astype(np.float64), rtol=1e-5, atol=1e-5)


def _large(bits: int, form: str) -> tuple[ct.models.MLModel, np.ndarray]:
    """A product with 40×60 quantised weights, and the weights."""
    codes = RNG.integers(0, 1 << bits, (40, 60))
    spec = spec_of(L("innerProduct", {"inputChannels": 60, "outputChannels": 40}), inputs={"x": (2, 60)})
    stored = spec.neuralNetwork.layers[0].innerProduct.weights
    stored.rawValue, stored.quantization.numberOfBits = _packed(codes, bits), bits
    if form == "table":
        table = RNG.standard_normal(1 << bits).astype(np.float32)
        stored.quantization.lookupTableQuantization.floatValue.extend(table)
        return ct.models.MLModel(spec), table[codes]
    scale, shift = RNG.standard_normal((2, 40 if form == "rows" else 1)).astype(np.float32)
    stored.quantization.linearQuantization.scale.extend(scale)
    stored.quantization.linearQuantization.bias.extend(shift)
    return ct.models.MLModel(spec), codes.astype(np.float32) * scale[:, None] + shift[:, None]


@pytest.mark.parametrize(("bits", "form"), [(bits, "table") for bits in (1, 2, 3, 4, 5, 6, 8)] + [(8, "linear")])
def test_weights_of_one_table_stay_compressed(bits: int, form: str) -> None:
    """In the program, and in the kernel that reads them: with the very numbers that the dense weights give."""
    model, weights = _large(bits, form)
    x = RNG.standard_normal((2, 60)).astype(np.float32)
    (product,) = (op for op in model.program.main.body if op.op_name == "linear")
    stored = product.operand("weight").producer
    assert stored.has(Decompresses)
    assert stored.operand("indices").shape[0] * 8 < weights.size * (bits + 2)
    assert any("table" in call.variant for call in model.profile({"x": x}).calls)
    dense = {"inputChannels": 60, "outputChannels": 40, "weights": numbers(weights)}
    wanted = model_of(L("innerProduct", dense), inputs={"x": (2, 60)}).predict({"x": x})["y"]
    np.testing.assert_array_equal(model.predict({"x": x})["y"], wanted)


def test_scales_of_every_row_are_applied_when_weights_are_read() -> None:
    """No table serves them all."""
    model, weights = _large(8, "rows")
    x = RNG.standard_normal((2, 60)).astype(np.float32)
    assert not any(op.has(Decompresses) for op in model.program.main.body)
    np.testing.assert_allclose(model.predict({"x": x})["y"], x @ weights.T.astype(np.float64), rtol=1e-5, atol=1e-3)


def test_tables_have_the_type_of_the_unit() -> None:
    """float16 on the GPU, and nothing of the untyped table remains."""
    function = _large(4, "table")[0].program.main
    ops = [op for op in function.body if op.op_name == "linear"]
    for unit, dtype in (("cpu", fp32), ("gpu", fp16)):
        typed, _ = type_by_unit(function, [Placed(unit, ops)])
        (product,) = (op for op in typed.body if op.op_name == "linear")
        assert product.operand("weight").dtype == dtype
        tables = [op for op in typed.body if op.has(Decompresses)]
        assert [op.operand("lut").dtype for op in tables] == [dtype]
        floats = {value.dtype for value in typed.values() if isinstance(value.type, TensorType)}
        assert unit_float not in floats


def test_half_precision_weights() -> None:
    w, x = RNG.standard_normal((3, 7)).astype(np.float16), RNG.standard_normal((1, 7)).astype(np.float32)
    got = _product({"float16Value": w.tobytes()}, 3, 7, x)
    np.testing.assert_allclose(got, x @ w.T.astype(np.float64), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"float16Value": bytes(40)}, "another size"),
        ({"float16Value": bytes(43)}, "another size"),
        ({"rawValue": bytes(21), "bits": 8}, "neither scale nor table"),
        ({"rawValue": bytes(21), "bits": 9, "scale": [1.0]}, "1 to 8"),
        ({"rawValue": bytes(20), "bits": 8, "scale": [1.0]}, "another size"),
        ({"rawValue": bytes(21), "bits": 8, "scale": [1.0, 2.0]}, "scales"),
        ({"rawValue": bytes(21), "bits": 8, "table": [1.0]}, "table"),
        ({}, "no weights"),
    ],
)
def test_malformed_weights(weights: Mapping[str, Any], message: str) -> None:
    """They are an error that names the layer."""
    with pytest.raises(FormatError, match=message) as error:
        _product(weights, 3, 7, np.zeros((1, 7), np.float32))
    assert "layer 0" in str(error.value)


# --- images ----------------------------------------------------------------------------------------------------------


def _image_model(color: str, preprocessing: Sequence[Any], *, exact: bool = True) -> ct.models.MLModel:
    spec = spec_of(L("copy"), inputs={"x": (1,)}, exact=exact)
    image = spec.description.input[0].type.imageType
    image.width, image.height, image.colorSpace = 5, 4, image.ColorSpace.Value(color)
    for kind, values in preprocessing:
        part = getattr(spec.neuralNetwork.preprocessing.add(featureName="x"), kind)
        for name, value in values.items():
            if isinstance(value, float):
                setattr(part, name, value)
            else:
                getattr(part, name).extend(value)
    return ct.models.MLModel(spec)


PIXELS = RNG.integers(0, 256, (4, 5, 3)).astype(np.uint8)
SCALER = ("scaler", {"channelScale": 0.5, "redBias": 1.0, "greenBias": 2.0, "blueBias": 3.0})


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("color", ["RGB", "BGR"])
def test_scaler(color: str, exact: bool) -> None:
    """``scale · pixel + bias``; each colour has its own bias, in whatever order the network takes them."""
    got = _image_model(color, [SCALER], exact=exact).predict({"x": Image.fromarray(PIXELS)})["y"]
    wanted = (PIXELS * 0.5 + np.array([1, 2, 3])).transpose(2, 0, 1)
    wanted = wanted if color == "RGB" else wanted[::-1]
    np.testing.assert_array_equal(got, wanted[None] if exact else wanted)


def test_mean_image_after_a_scaler() -> None:
    """Steps are taken in order."""
    mean = RNG.integers(0, 9, (3, 4, 5)).astype(np.float32)
    model = _image_model("RGB", [SCALER, ("meanImage", {"meanImage": mean.reshape(-1)})])
    wanted = (PIXELS * 0.5 + np.array([1, 2, 3])).transpose(2, 0, 1) - mean
    np.testing.assert_array_equal(model.predict({"x": Image.fromarray(PIXELS)})["y"][0], wanted)


def test_mean_image_of_another_size() -> None:
    with pytest.raises(FormatError, match="mean image"):
        _image_model("RGB", [("meanImage", {"meanImage": [1.0] * 59})]).predict({"x": Image.fromarray(PIXELS)})


def test_grey_image() -> None:
    model = _image_model("GRAYSCALE", [("scaler", {"channelScale": 2.0, "grayBias": -1.0})])
    got = model.predict({"x": Image.fromarray(PIXELS[..., 0])})["y"]
    np.testing.assert_array_equal(got, PIXELS[None, None, ..., 0] * 2.0 - 1)


# --- custom layers ---------------------------------------------------------------------------------------------------


@pytest.fixture
def swish() -> Iterator[type]:
    """A registered class, forgotten again afterwards."""

    class Swish:
        made = 0

        def __init__(self, parameters: Mapping[str, Any], weights: Sequence[np.ndarray]) -> None:
            type(self).made += 1
            self.beta, self.shift = parameters["beta"], weights[0]

        def output_shapes(self, shapes: Sequence[tuple[int | None, ...]]) -> Sequence[tuple[int | None, ...]]:
            return [*shapes, (len(shapes[0]),)]

        def evaluate(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
            (x,) = inputs
            return [x / (1 + np.exp(-self.beta * x)) + self.shift, np.array(x.shape)]

    ct.register_custom_layer("Swish")(Swish)
    yield Swish
    del custom._classes["Swish"]


CUSTOM = L(
    "custom",
    {
        "className": "Swish",
        "parameters": {"beta": {"doubleValue": 1.5}, "about": {"stringValue": "π"}},
        "weights": [numbers(np.arange(3))],
    },
    ["x"],
    ["y", "sizes"],
)


@case_of("custom")
def test_custom_layer(swish: type) -> None:
    """The registered class gets parameters and weights once, and shapes and arrays as Core ML's protocol has it."""
    x = RNG.standard_normal((2, 3)).astype(np.float32)
    model = model_of(CUSTOM, inputs={"x": (2, 3)}, outputs=["y", "sizes"])
    got = model.predict({"x": x})
    np.testing.assert_allclose(got["y"], x / (1 + np.exp(-1.5 * x)) + np.arange(3), rtol=1e-6)
    assert got["sizes"].tolist() == [2, 3]
    made = swish.made  # type: ignore[attr-defined]  # a class made in the fixture
    model.predict({"x": x})
    assert swish.made == made  # type: ignore[attr-defined]


def test_a_custom_layer_is_written_as_it_was(swish: type) -> None:
    """With parameters of every type; integers that 32 bits hold are written as such."""
    given = {
        "beta": {"doubleValue": 1.0},
        "about": {"stringValue": "π"},
        "small": {"intValue": -7},
        "large": {"longValue": str(2**31)},
        "on": {"boolValue": True},
    }
    layer = L("custom", {**CUSTOM.params, "parameters": given}, CUSTOM.inputs, CUSTOM.outputs)
    model = model_of(layer, inputs={"x": (2, 3)}, outputs=["y", "sizes"])
    written = model.package.with_program(model.program).spec.neuralNetwork.layers
    assert [each.custom for each in written] == [each.custom for each in model.get_spec().neuralNetwork.layers]


@case_of("custom")
def test_custom_layers_of_one_class(swish: type) -> None:
    """Each has its own parameters and weights, and stands among other layers."""
    other = L(
        "custom",
        {"className": "Swish", "parameters": {"beta": {"doubleValue": -1.0}}, "weights": [numbers(np.full(3, 0.5))]},
        ["t"],
        ["y", "more sizes"],
    )
    layers = [CUSTOM._replace(outputs=["s", "sizes"]), L("multiply", {"alpha": 2}, ["s"], ["t"]), other]
    x = RNG.standard_normal((2, 3)).astype(np.float32)
    t = 2 * (x / (1 + np.exp(-1.5 * x)) + np.arange(3))
    got = model_of(*layers, inputs={"x": (2, 3)}).predict({"x": x})["y"]
    np.testing.assert_allclose(got, t / (1 + np.exp(t)) + 0.5, rtol=1e-5)


@case_of("custom")
def test_custom_layer_of_two_inputs() -> None:
    """Inputs come in order; the output has a shape of its own."""

    class Outer:
        def __init__(self, parameters: Mapping[str, Any], weights: Sequence[np.ndarray]) -> None:
            assert (dict(parameters), list(weights)) == ({}, [])

        def output_shapes(self, shapes: Sequence[tuple[int | None, ...]]) -> Sequence[tuple[int | None, ...]]:
            return [(shapes[0][0], shapes[1][0])]

        def evaluate(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
            return [inputs[0][:, None] - inputs[1]]

    ct.register_custom_layer("Outer")(Outer)
    try:
        model = model_of(L("custom", {"className": "Outer"}, ["a", "b"]), inputs={"a": (2,), "b": (3,)})
        got = model.predict({"a": np.float32([5, 7]), "b": np.float32([1, 2, 3])})["y"]
        assert got.tolist() == [[4, 3, 2], [6, 5, 4]]
    finally:
        del custom._classes["Outer"]


def test_unregistered_custom_layers_are_listed_together() -> None:
    """All at once, with their places and what to do."""
    other = L("custom", {"className": "Mish"}, ["x"], ["z"])
    model = model_of(CUSTOM, other, inputs={"x": (2, 3)}, outputs=["y", "z"])
    with pytest.raises(UnsupportedOperatorsError, match="register_custom_layer") as error:
        model.predict({"x": np.zeros((2, 3), np.float32)})
    assert {each.name for each in error.value.operators} == {
        "custom layer of class 'Swish'",
        "custom layer of class 'Mish'",
    }


# --- classes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [["cat", "dog", "owl"], [7, 8, 9]])
def test_classifier(labels: list[Any]) -> None:
    """The label of the greatest probability, all of them by label, under the names of the description."""
    spec = spec_of(L("softmaxND", {"axis": -1}), inputs={"x": (3,)}, outputs=())
    network = proto.message("NeuralNetworkClassifier").FromString(spec.neuralNetwork.SerializeToString())
    spec.neuralNetworkClassifier.CopyFrom(network)
    strings = isinstance(labels[0], str)
    kind = "string" if strings else "int64"
    getattr(spec.neuralNetworkClassifier, f"{kind}ClassLabels").vector.extend(labels)
    spec.neuralNetworkClassifier.labelProbabilityLayerName = "y"
    getattr(spec.description.output.add(name="label").type, f"{kind}Type").SetInParent()
    getattr(spec.description.output.add(name="y").type.dictionaryType, f"{kind}KeyType").SetInParent()
    spec.description.predictedFeatureName, spec.description.predictedProbabilitiesName = "label", "y"
    got = ct.models.MLModel(spec).predict({"x": np.log(np.array([1, 5, 2], np.float32))})
    assert got["label"] == labels[1]
    assert list(got["y"]) == labels
    np.testing.assert_allclose(list(got["y"].values()), [0.125, 0.625, 0.25], rtol=1e-6)


# --- shapes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def reshaping() -> ct.models.MLModel:
    """A network that reshapes ``x`` to what ``sizes`` says, an array of one to five numbers."""
    spec = spec_of(L("reshapeDynamic", {}, ["x", "sizes"]), inputs={"x": (2, 3), "sizes": (1,)})
    sizes = spec.description.input[1].type.multiArrayType.shapeRange.sizeRanges.add()
    sizes.lowerBound, sizes.upperBound = 1, 5
    return ct.models.MLModel(spec)


def test_an_input_whose_length_decides_a_rank(reshaping: ct.models.MLModel) -> None:
    """No program serves all lengths; each prediction gets the one for its own."""
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    rows = [{"x": x, "sizes": np.array(sizes, np.float32)} for sizes in ([6], [3, 2], [1, 2, 1, -1], [2, 3], [6])]
    for row, result in zip(rows, reshaping.predict(rows), strict=True):
        np.testing.assert_array_equal(result["y"], x.reshape(row["sizes"].astype(int)))


def test_a_length_that_the_description_does_not_allow(reshaping: ct.models.MLModel) -> None:
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(InputError, match="'sizes' has a shape"):
        reshaping.predict({"x": x, "sizes": np.ones(6, np.float32)})
    with pytest.raises(InputError, match="'sizes' is missing"):
        reshaping.predict({"x": x})


# --- units -----------------------------------------------------------------------------------------------------------

BEYOND_HALVES = np.array([2049.0, 1e-8, 70000.0, 1 / 3], np.float32)
"""Numbers that float16 rounds, loses, cannot hold, and rounds."""


def test_the_cpu_computes_in_float32_and_other_units_in_float16() -> None:
    """Every value by itself: the types of all results, and what they do to numbers that float16 cannot hold."""
    model = model_of(
        L("multiply", {"alpha": 1}, ["x"], ["t"]), L("add", {"alpha": 0}, ["t"], ["y"]), inputs={"x": (4,)}
    )
    function = model.program.main
    assert {result.dtype for op in function.body for result in op.results if not result.is_constant} == {unit_float}
    np.testing.assert_array_equal(model.predict({"x": BEYOND_HALVES})["y"], BEYOND_HALVES)
    with np.errstate(over="ignore"):
        halves = BEYOND_HALVES.astype(np.float16).astype(np.float32)
    assert not np.array_equal(halves, BEYOND_HALVES)
    ops = [op for op in function.body if op.op_name != "const"]
    for unit, dtype in (("cpu", fp32), ("gpu", fp16), ("neural_engine", fp16)):
        typed, placed = type_by_unit(function, [Placed(unit, ops)])
        computed = [op for segment in placed for op in segment.ops if op.op_name in ("mul", "add")]
        assert [op.result.dtype for op in computed] == [dtype, dtype]
        assert typed.outputs[0].dtype == fp32
    units = {"gpu": ct.ComputeUnit.CPU_AND_GPU, "cpu": ct.ComputeUnit.CPU_ONLY}
    for unit, choice in units.items():
        envelope = model.simulate({"x": BEYOND_HALVES}, target="M1", compute_units=choice)
        for results in envelope.results.values():
            on_gpu = unit == "gpu" and model.plan("M1", choice).count("gpu")
            np.testing.assert_array_equal(results["y"], halves if on_gpu else BEYOND_HALVES)


def test_plan_and_report(tmp_path: Any) -> None:
    """What comes through the program: a plan of a chip, and a page."""
    model = model_of(L("activation", {"ReLU": {}}), inputs={"x": (1, 64, 56, 56)})
    plan = model.plan("A17")
    assert [placement.op.op_name for placement in plan.placements] == ["relu"]
    assert plan.placements[0].supported == ("cpu", "gpu", "neural_engine")
    page = model.report(tmp_path / "network.html").read_text()
    assert "relu" in page
    assert "Neural network" in page


# --- hostile files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([L("activation", {"ReLU": {}}, ["z"])], "no layer has made the tensor 'z'"),
        ([L("activation", {})], "not known here"),
        ([L("activation", {"ReLU": {}}, [])], "lacks an input"),
        ([L("activation", {"ReLU": {}}, ["x"], ["z"])], "no layer has made the tensor 'y'"),
        ([L("splitND", {"axis": 1, "numSplits": 0})], "split"),
        ([L("permute", {"axis": [0, 0, 1, 2]})], "permutes"),
        ([L("loadConstantND", {"shape": [1 << 40], "data": {"floatValue": [1]}}, [], ["y"])], "another size"),
        ([L("fillStatic", {"targetShape": [1 << 30, 1 << 30]}, [], ["y"])], "too large"),
        ([L("convolution", {"outputChannels": 1 << 50, "weights": {"floatValue": [1]}})], "another size"),
        ([L("convolution", {"outputChannels": 2, "kernelChannels": 3})], "no weights"),
        ([L("transpose", {"axes": [0, 9, 1, 2]})], "transpose"),
        ([L("splitND", {"axis": 1, "numSplits": 1 << 40})], "more parts than it has outputs"),
        ([L("split", {"nOutputs": 1 << 40})], "more parts than it has outputs"),
        ([L("sequenceRepeat", {"nRepetitions": 1 << 40})], "out of range"),
        ([L("reshapeStatic", {"targetShape": [72]}, ["x"], ["n"]), L("fillDynamic", {}, ["n"])], "is a rank"),
    ],
)
def test_malformed_networks(given: list[L], message: str) -> None:
    """Each gives one of our errors, which says where and what."""
    with pytest.raises(GristmillError, match=message):
        model_of(*given, inputs={"x": (1, 3, 4, 6)}).predict({"x": np.zeros((1, 3, 4, 6), np.float32)})


NOT_A_NUMBER = L("unary", {"type": "LOG", "shift": -1e9}, ["t"], ["y"])


@pytest.mark.parametrize(
    ("layers", "kind"),
    [
        ([L("copy")], "int64Type"),
        ([L("copy")], "dictionaryType"),
        ([L("reduceMean", {"reduceAll": True}, ["x"], ["t"]), NOT_A_NUMBER], "int64Type"),
        ([L("concat", {}, ["x", "x", "x"])], "imageType"),
        ([L("reshapeStatic", {"targetShape": [72]})], "imageType"),
    ],
)
def test_outputs_that_are_not_as_described(layers: list[L], kind: str) -> None:
    spec = spec_of(*layers, inputs={"x": (1, 3, 4, 6)})
    described = getattr(spec.description.output[0].type, kind)
    described.SetInParent()
    if kind == "imageType":
        described.width, described.height, described.colorSpace = 6, 4, described.ColorSpace.Value("RGB")
    with pytest.raises(ExecutionError, match="output 'y' is something else"):
        ct.models.MLModel(spec).predict({"x": np.zeros((1, 3, 4, 6), np.float32)})


def test_inputs_that_nothing_can_be_given_for() -> None:
    """Two of one name; an image of no colours."""
    spec = spec_of(L("copy"), inputs={"x": (2,)})
    spec.description.input.add().CopyFrom(spec.description.input[0])
    with pytest.raises(FormatError, match="one name"):
        ct.models.MLModel(spec).predict({"x": np.zeros(2, np.float32)})
    with pytest.raises(UnsupportedError, match="no colours"):
        _image_model("INVALID_COLOR_SPACE", []).predict({"x": Image.fromarray(PIXELS)})


SIDE = np.array([1 << 15, 1 << 15], np.float32)
"""Of a square of 2³⁰ numbers."""


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize(
    ("layer", "given"),
    [
        (L("fillDynamic", {"value": 1}, ["n"]), SIDE),
        (L("fillStatic", {"targetShape": [1 << 15, 1 << 15]}, []), SIDE),
        (L("rangeDynamic", {"stepSizeValue": 1}, ["n"]), np.array([2**30], np.float32)),
        (L("rangeStatic", {"endValue": 2.0**30}, []), SIDE),
        (L("tile", {}, ["x", "n"]), SIDE),
        (L("broadcastToDynamic", {}, ["x", "n"]), SIDE),
        (L("randomNormalDynamic", {"stdDev": 1}, ["n"]), SIDE),
        (L("oneHot", {"axis": -1}, ["x", "n"]), np.array([2**30], np.float32)),
        (L("constantPad", {}, ["x", "n"]), np.array([0, 1 << 15, 0, 1 << 15], np.float32)),
        (L("upsample", {"scalingFactor": [1 << 15, 1 << 15]}, ["n"]), np.zeros((1, 1, 1, 1), np.float32)),
        (L("resizeBilinear", {"targetSize": [1 << 15, 1 << 15]}, ["n"]), np.zeros((1, 1, 2, 2), np.float32)),
    ],
    ids=lambda value: value.kind if isinstance(value, L) else "",
)
def test_more_memory_than_there_is(monkeypatch: pytest.MonkeyPatch, device: str, layer: L, given: np.ndarray) -> None:
    """Results of gigabytes where a gigabyte can be had: an error, before anything is allocated."""
    monkeypatch.setenv("GRISTMILL_DEVICE", device)
    monkeypatch.setattr(sizes, "available_memory", lambda: 1 << 30)
    model = model_of(layer, inputs={"x": (1, 1), "n": given.shape})
    with pytest.raises(ExecutionError, match="may be had") as error:
        model.predict({"x": np.zeros((1, 1), np.float32), "n": given})
    assert layer.kind in str(error.value)


def test_memory_that_can_be_had() -> None:
    """Some, and no more than the machine has."""
    assert 1 << 20 < sizes.available_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_damaged_files() -> None:
    """A network damaged anywhere gives a program or one of our errors."""
    weights = numbers(RNG.standard_normal((2, 3, 2, 2)))
    convolution = {"outputChannels": 2, "kernelChannels": 3, "kernelSize": [2, 2], "weights": weights}
    whole = spec_of(L("convolution", convolution), L("softmax", {}, ["y"], ["y"]), inputs={"x": (1, 3, 4, 6)})
    data, refused = whole.SerializeToString(), 0
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << (place % 8)
        try:
            ct.models.MLModel(proto.parse("Model", bytes(damaged)), skip_model_load=True).program  # noqa: B018  # reading decodes
        except GristmillError:
            refused += 1
    assert refused > 20


def test_models_that_are_no_programs() -> None:
    """What is neither an ML Program nor a network says so."""
    spec = proto.message("Model")(specificationVersion=1)
    spec.pipeline.SetInParent()
    with pytest.raises(UnsupportedError, match="pipeline"):
        ct.models.MLModel(spec, skip_model_load=True).program  # noqa: B018  # reading decodes


def test_saved_as_loaded(tmp_path: Any) -> None:
    """Import changes nothing of the file."""
    path = tmp_path / "network.mlmodel"
    path.write_bytes(spec_of(L("copy"), inputs={"x": (2,)}).SerializeToString())
    model = ct.models.MLModel(path)
    model.predict({"x": np.zeros(2, np.float32)})
    model.save(tmp_path / "copy.mlmodel")
    assert (tmp_path / "copy.mlmodel").read_bytes() == path.read_bytes()
