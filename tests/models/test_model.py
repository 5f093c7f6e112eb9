"""``MLModel``: loading, what it says of itself, running, and what it refuses."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from gristmill.errors import FormatError, InputError, InputTypeError, MissingFileError, UnsupportedError
from gristmill.ir.builder import mb
from gristmill.ir.types import TensorType, fp16, fp32, int32
from gristmill.models.model import MLModel
from gristmill.package import proto
from tests.models.small import linear, model, package, row

ARRAY = {"type": "MultiArray", "dataType": "Float32", "isOptional": "0", "hasShapeFlexibility": "0"}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return linear().save(tmp_path / "linear.mlpackage")


def network() -> object:
    """The specification of a neural network that adds one."""
    spec = proto.message("Model")(specificationVersion=1)
    for features, name in ((spec.description.input, "x"), (spec.description.output, "y")):
        array = features.add(name=name).type.multiArrayType
        array.shape.append(3)
        array.dataType = 65568
    layer = spec.neuralNetwork.layers.add(name="plus", input=["x"], output=["y"])
    layer.add.alpha = 1
    return spec


# --- loading ---------------------------------------------------------------------------------------------------------


def test_package_loads_and_runs(saved):
    """(1, 1, 1) times the weights is the sum of each of their rows: 6 and 15."""
    result = MLModel(saved).predict({"x": row(1, 1, 1)})
    assert list(result) == ["y"]
    np.testing.assert_array_equal(result["y"], row(6, 15))
    assert result["y"].dtype == np.float32


def test_path_may_be_a_string(saved):
    assert MLModel(str(saved)).kind == "mlProgram"


def test_specification_loads_with_its_weights(tmp_path):
    """A message together with the folder of its weight files is a model."""
    table = np.arange(100, dtype=np.float32)  # large enough for the weight file
    path = package({"x": TensorType(fp32, (100,))}, lambda x: mb.add(x=x, y=table, name="y")).save(
        tmp_path / "table.mlpackage"
    )
    whole = MLModel(MLModel(path).get_spec(), weights_dir=path / "Data/com.apple.CoreML/weights")
    np.testing.assert_array_equal(whole.predict({"x": table})["y"], 2 * table)


def test_compiled_model_loads_and_runs(tmp_path):
    """A folder as Core ML's compiler writes it: the program as text, the description as JSON."""
    folder = tmp_path / "twice.mlmodelc"
    folder.mkdir()
    (folder / "model.mil").write_text(
        "program(1.0)\n{\n    func main<ios16>(tensor<fp32, [2]> x) {\n"
        '            tensor<fp32, [2]> y = add(x = x, y = x)[name = tensor<string, []>("y_op")];\n'
        "        } -> (y);\n}\n"
    )
    description = {
        "specificationVersion": 7,
        "modelType": {"name": "MLModelType_mlProgram"},
        "inputSchema": [ARRAY | {"name": "x", "shape": "[2]"}],
        "outputSchema": [ARRAY | {"name": "y", "shape": "[2]"}],
    }
    (folder / "metadata.json").write_text(json.dumps([description]))
    result = MLModel(folder).predict({"x": np.float32([1.5, -2])})
    np.testing.assert_array_equal(result["y"], np.float32([3, -4]))


def test_neural_network_from_a_message(tmp_path):
    """It can be inspected, saved and loaded again, and runs; its outputs have the described type."""
    net = MLModel(network())
    assert net.kind == "neuralNetwork"
    assert [i.name for i in net.inputs] == ["x"]
    net.save(tmp_path / "net.mlmodel")
    again = MLModel(tmp_path / "net.mlmodel")
    assert again.get_spec() == network()
    got = again.predict({"x": np.float32([1, 2, 3])})["y"]
    assert got.dtype == np.float32
    assert got.tolist() == [2, 3, 4]


def test_nothing_there(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.mlpackage"):
        MLModel(tmp_path / "none.mlpackage")


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(FormatError, match=r"Manifest\.json"):
        MLModel(tmp_path)


def test_an_object_that_is_no_model():
    with pytest.raises(InputTypeError, match="int"):
        MLModel(3)


def test_unknown_function(saved):
    with pytest.raises(InputError, match="no function 'other'"):
        MLModel(saved, function_name="other")


def test_skipping_the_load_leaves_inspection(saved):
    """Everything but running works."""
    skipped = MLModel(saved, skip_model_load=True)
    assert [o.name for o in skipped.outputs] == ["y"]
    with pytest.raises(UnsupportedError, match="skip_model_load"):
        skipped.predict({"x": row(1, 1, 1)})
    with pytest.raises(UnsupportedError, match="skip_model_load"):
        skipped.make_state()


def test_unknown_device(saved, monkeypatch):
    """The error lists the devices that there are."""
    monkeypatch.setenv("GRISTMILL_DEVICE", "abacus")
    with pytest.raises(InputError, match="reference") as error:
        MLModel(saved).predict({"x": row(1, 1, 1)})
    assert error.value.actual == "abacus"


# --- what it says of itself ------------------------------------------------------------------------------------------


def test_metadata_survives_saving(saved, tmp_path):
    """Author, licence, version, texts about features, and the user's own keys."""
    one = MLModel(saved)
    one.author, one.license, one.version, one.short_description = "Ada", "MIT", "2.1", "Multiplies"
    one.user_defined_metadata["key"] = "value"
    one.input_description["x"] = "a row"
    one.output_description["y"] = "its products"
    one.save(tmp_path / "again.mlpackage")
    again = MLModel(tmp_path / "again.mlpackage")
    assert (again.author, again.license, again.version, again.short_description) == ("Ada", "MIT", "2.1", "Multiplies")
    assert again.user_defined_metadata["key"] == "value"
    assert dict(again.input_description) == {"x": "a row"}
    assert dict(again.output_description) == {"y": "its products"}
    np.testing.assert_array_equal(again.predict({"x": row(0, 1, 0)})["y"], row(2, 5))


def test_description_of_an_unknown_feature(saved):
    with pytest.raises(KeyError, match="the model has x"):
        MLModel(saved).input_description["z"] = "nothing"


def test_specification_is_a_copy(saved):
    """Editing what get_spec gave does not change the model."""
    one = MLModel(saved)
    one.get_spec().description.metadata.author = "somebody else"
    assert one.author == ""


def test_printing_names_types_and_shapes(saved):
    assert "x: fp32 [1, 3]" in repr(MLModel(saved))


# --- inputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind", "expected", "actual"),
    [
        ({}, InputError, "fp32 [1, 3]", None),
        ({"x": row(1, 1, 1), "z": 1}, InputError, "x", "z"),
        ({"x": np.zeros(3, np.float32)}, InputError, "fp32 [1, 3]", "rank 1: [3]"),
        ({"x": np.zeros((1, 4), np.float32)}, InputError, "fp32 [1, 3]", "rank 2: [1, 4]"),
        ({"x": np.zeros((1, 3), np.complex64)}, InputTypeError, "fp32 [1, 3]", "complex64 [1, 3]"),
        ([row(1, 1, 1)], InputTypeError, None, "ndarray"),
    ],
    ids=["missing", "unknown", "rank", "shape", "dtype", "no dictionary"],
)
def test_wrong_input(given, kind, expected, actual):
    """The error says what the model takes and what came."""
    with pytest.raises(kind) as error:
        MLModel(linear()).predict(given)
    assert error.value.expected == expected
    assert error.value.actual == actual


@pytest.fixture
def integers() -> MLModel:
    return model({"i": TensorType(int32, (1, 3))}, lambda i: mb.add(x=i, y=np.int32(1), name="y"))


def test_whole_floats_are_integers(integers):
    """2²⁴ + 2 and the like pass exactly; nothing is rounded."""
    result = integers.predict({"i": row(-3, 2**31 - 129, 0, dtype=np.float64)})["y"]
    np.testing.assert_array_equal(result, [[-2, 2**31 - 128, 1]])
    assert result.dtype == np.int32


@pytest.mark.parametrize("wrong", [0.5, np.nan, np.inf])
def test_other_floats_are_not(integers, wrong):
    """The error names the element."""
    with pytest.raises(InputTypeError, match=rf"{wrong} at \[0, 1\]"):
        integers.predict({"i": row(1, wrong, 2)})


@pytest.mark.parametrize("given", [row(1, 2**31, 0, dtype=np.int64), row(1, 2.0**31, 0)])
def test_integers_out_of_range(integers, given):
    """2³¹ is one more than int32 holds."""
    with pytest.raises(InputError, match="2147483648"):
        integers.predict({"i": given})


def test_floats_are_rounded_to_the_declared_type():
    """1 + 2⁻¹² lies between float16's 1 and 1 + 2⁻¹⁰, nearer to 1."""
    half = model({"x": TensorType(fp16, (1,))}, lambda x: mb.identity(x=x, name="y"))
    result = half.predict({"x": np.array([1 + 2**-12], np.float64)})["y"]
    assert result.dtype == np.float16
    assert result[0] == 1


def test_lists_and_integers_are_arrays():
    np.testing.assert_array_equal(MLModel(linear()).predict({"x": [[1, 0, 1]]})["y"], row(4, 10))


def test_torch_tensors_are_arrays():
    """Even those that want a gradient."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    given = torch.tensor([[0.0, 0.0, 1.0]], requires_grad=True)
    np.testing.assert_array_equal(MLModel(linear()).predict({"x": given})["y"], row(3, 6))


def test_optional_input_has_its_default():
    """What the description states is added where the caller leaves the input out."""
    sum_ = model({"x": TensorType(fp32, (2,)), "y": TensorType(fp32, (2,))}, lambda x, y: mb.add(x=x, y=y, name="z"))
    optional = sum_.package.description.input[1].type
    optional.isOptional = True
    optional.multiArrayType.floatDefaultValue = 2.5
    given = np.float32([1, 2])
    np.testing.assert_array_equal(sum_.predict({"x": given})["z"], np.float32([3.5, 4.5]))
    np.testing.assert_array_equal(sum_.predict({"x": given, "y": given})["z"], np.float32([2, 4]))


# --- several predictions ---------------------------------------------------------------------------------------------


def test_list_gives_a_list_in_order():
    rows = [{"x": row(*np.eye(3)[i])} for i in (2, 0, 1)]
    results = MLModel(linear()).predict(rows)
    assert [r["y"].tolist() for r in results] == [[[3, 6]], [[1, 4]], [[2, 5]]]
    assert MLModel(linear()).predict([]) == []


def test_list_rows_do_not_mix():
    """A sum over the first dimension is each row's own."""
    total = model({"x": TensorType(fp32, (1, 2))}, lambda x: mb.reduce_sum(x=x, axes=[0], keep_dims=True, name="y"))
    results = total.predict([{"x": row(1, 2)}, {"x": row(10, 20)}])
    assert [r["y"].tolist() for r in results] == [[[1, 2]], [[10, 20]]]


def test_async():
    """Several predictions of one model may be awaited together."""
    linear_ = MLModel(linear())

    async def run():
        return await asyncio.gather(*(linear_.predict_async({"x": row(n, 0, 0)}) for n in range(4)))

    assert [r["y"].tolist() for r in asyncio.run(run())] == [[[n, 4 * n]] for n in range(4)]
