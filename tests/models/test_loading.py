"""Loading: what becomes of weight files meanwhile, mapped or read, and what a fresh process imports to run a model."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import gristmill as ct
from gristmill.devices.cpu import CpuDevice
from gristmill.errors import FormatError
from gristmill.ir.builder import mb
from gristmill.ir.dims import Symbol
from gristmill.ir.types import StateType, TensorType, fp16, fp32, int32
from tests.models.small import linear, package
from tests.test_import import loaded_after

ROWS, WIDTH = 5000, 128  # of a table that is larger than what is copied
WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")


def table(factor: float) -> np.ndarray:
    """Whole numbers that float16 holds exactly."""
    return (factor * (np.arange(ROWS * WIDTH) % 1000)).reshape(ROWS, WIDTH).astype(np.float16)


def embedding(path: Path, factor: float = 1) -> Path:
    """Rows of a table (read where it lies in the file) times an identity matrix (which is packed)."""

    def build(x):
        found = mb.gather(x=mb.const(table(factor)), indices=x, axis=0)
        return mb.linear(x=found, weight=np.eye(WIDTH, dtype=np.float16), bias=np.zeros(WIDTH, np.float16), name="y")

    return package({"x": TensorType(int32, (3,))}, build).save(path)


CHOSEN = np.array([2, ROWS - 1, 0], np.int32)


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted there")
@pytest.mark.parametrize("predicted", [False, True], ids=["before the first prediction", "after it"])
@pytest.mark.parametrize("change", ["deleted", "replaced"])
@pytest.mark.parametrize("mmap", [False, True], ids=["read", "mapped"])
def test_the_files_may_go_while_a_model_is_loaded(tmp_path, mmap, change, predicted):
    """A loaded model keeps its weights, whatever happens to their names."""
    path = embedding(tmp_path / "m.mlpackage")
    model = ct.models.MLModel(path, mmap=mmap)
    if predicted:
        model.predict({"x": CHOSEN})
    if change == "deleted":
        shutil.rmtree(path)
    else:
        embedding(path, factor=2)
    for _ in range(2):
        np.testing.assert_array_equal(model.predict({"x": CHOSEN})["y"], table(1)[CHOSEN])


@pytest.mark.parametrize("mmap", [False, True], ids=["read", "mapped"])
def test_a_weight_file_that_was_truncated(tmp_path, mmap):
    """What is missing when it is first read gives an error, not the end of the process."""
    path = embedding(tmp_path / "m.mlpackage")
    model = ct.models.MLModel(path, mmap=mmap)
    os.truncate(path / WEIGHTS, 4096)
    with pytest.raises(FormatError, match="shrank"):
        model.predict({"x": CHOSEN})


def test_a_weight_file_that_is_truncated_after_the_first_prediction(tmp_path):
    """Read and not mapped, the weights are the model's own by then."""
    path = embedding(tmp_path / "m.mlpackage")
    model = ct.models.MLModel(path, mmap=False)
    model.predict({"x": CHOSEN})
    os.truncate(path / WEIGHTS, 0)
    np.testing.assert_array_equal(model.predict({"x": CHOSEN})["y"], table(1)[CHOSEN])


@pytest.mark.skipif(sys.platform == "win32", reason="files are not mapped there")
def test_a_mapped_file_that_is_truncated_after_the_first_prediction(tmp_path):
    """The lost pages are an error of each prediction that could have read them, not the end of the process."""
    model = ct.models.MLModel(embedding(tmp_path / "m.mlpackage"))
    other = ct.models.MLModel(embedding(tmp_path / "other.mlpackage"))
    for each in (model, other):
        each.predict({"x": CHOSEN})
    os.truncate(tmp_path / "m.mlpackage" / WEIGHTS, 4096)
    for _ in range(2):
        with pytest.raises(FormatError, match="shrank"):
            model.predict({"x": CHOSEN})
        np.testing.assert_array_equal(other.predict({"x": CHOSEN})["y"], table(1)[CHOSEN])
    embedding(tmp_path / "m.mlpackage")
    again = ct.models.MLModel(tmp_path / "m.mlpackage")
    np.testing.assert_array_equal(again.predict({"x": CHOSEN})["y"], table(1)[CHOSEN])


@pytest.mark.skipif(sys.platform == "win32", reason="files are not mapped there")
def test_a_state_does_not_advance_when_pages_were_lost(tmp_path):
    """What a step wrote in place is taken back: its results came from weights that were no longer there."""
    ones = np.ones((1024, 1024), np.float16)  # read where they lie

    def build(x, total):
        added = mb.add(x=mb.read_state(input=total), y=mb.mul(x=x, y=ones))
        mb.coreml_update_state(state=total, value=added)
        return mb.identity(x=added, name="y")

    state = StateType(TensorType(fp16, (1024, 1024)))
    built = package({"x": TensorType(fp16, (1024, 1024)), "total": state}, build)
    model = ct.models.MLModel(built.save(tmp_path / "m.mlpackage"))
    one, total = {"x": ones}, model.make_state()
    assert np.all(model.predict(one, total)["y"] == 1)
    os.truncate(tmp_path / "m.mlpackage" / WEIGHTS, 4096)
    with pytest.raises(FormatError, match="shrank"):
        model.predict(one, total)
    assert np.all(total.read_state("total") == 1)


@pytest.mark.parametrize("mmap", [False, True], ids=["read", "mapped"])
def test_saving_a_model_over_itself(tmp_path, mmap):
    path = embedding(tmp_path / "m.mlpackage")
    before = (path / WEIGHTS).read_bytes()
    ct.models.MLModel(path, mmap=mmap).save(path)
    assert (path / WEIGHTS).read_bytes() == before


ROWS_AT_ONCE = [5, 300, 40, 1, 3]  # a part of a tile, several blocks and tiles, and few, for which the matrix is packed


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("columns", [1024, 1001], ids=["whole panels", "a part of a panel"])
def test_products_with_a_matrix_in_its_file_are_those_with_a_packed_one(tmp_path, dtype, columns):
    """To the bit, for any number of rows: of a linear layer, and of a convolution with one tap."""
    generator = np.random.default_rng(1)
    rows, taken = Symbol("rows"), 328  # a whole block of 256 steps and a part of one

    def weight(*shape):
        return generator.normal(size=shape).astype(dtype)

    def build(x):
        made = mb.linear(x=x, weight=weight(columns, taken), bias=weight(columns), name="made")
        image = mb.expand_dims(x=mb.transpose(x=x, perm=[1, 0]), axes=[0, 3])
        return [made, mb.conv(x=image, weight=weight(columns, taken, 1, 1), name="convolved")]

    of = {np.float16: fp16, np.float32: fp32}[dtype]
    path = package({"x": TensorType(of, (rows, taken))}, build).save(tmp_path / "m.mlpackage")
    mapped, packed = ct.models.MLModel(path), ct.models.MLModel(path, mmap=False)
    for count in ROWS_AT_ONCE:
        x = {"x": weight(count, taken)}
        found, wanted = mapped.predict(x), packed.predict(x)
        for name in ("made", "convolved"):
            np.testing.assert_array_equal(found[name], wanted[name], err_msg=f"{name}, {count} rows")


@pytest.mark.skipif(sys.platform == "win32", reason="files are not mapped there")
@pytest.mark.parametrize(
    ("of", "image", "weight", "arguments", "way"),
    [
        (fp16, (128, 9, 11), (131, 128, 3, 3), {}, "F(2×2, 3×3)"),
        (fp16, (64, 56, 53), (240, 64, 3, 3), {}, "F(4×4, 3×3)"),
        (fp16, (131, 9, 11), (128, 131, 3, 3), {"strides": [2, 1]}, "implicit product"),
        (fp32, (131, 9, 11), (128, 131, 3, 3), {}, "implicit product"),
        (fp16, (262, 9, 11), (512, 131, 3, 3), {"groups": 2, "dilations": [1, 2]}, "implicit product"),
        (fp16, (300, 40), (301, 300, 5), {}, "implicit product"),
    ],
    ids=["tiles of two", "tiles of four", "strides", "float32", "groups", "one dimension"],
)
def test_filters_in_their_file_give_the_results_of_packed_ones(tmp_path, of, image, weight, arguments, way):
    """To the bit, in the first prediction as when they are packed, and as where files are not mapped."""
    generator = np.random.default_rng(2)
    values = generator.normal(size=weight).astype(of.numpy)
    built = package(
        {"x": TensorType(of, (1, *image))},
        lambda x: mb.conv(x=x, weight=values, pad_type="same", name="y", **arguments),
    )
    path = built.save(tmp_path / "m.mlpackage")
    mapped, packed = ct.models.MLModel(path), ct.models.MLModel(path, mmap=False)
    x = {"x": generator.normal(size=(1, *image)).astype(of.numpy)}
    wanted = packed.predict(x)["y"]
    np.testing.assert_array_equal(mapped.predict(x)["y"], wanted)

    def variant(model):
        return next(c.variant for c in model.profile(x, runs=1).calls if c.kernel in ("conv", "winograd"))

    end = time.monotonic() + 60
    while variant(mapped).endswith("in their file"):
        assert time.monotonic() < end
    np.testing.assert_array_equal(mapped.predict(x)["y"], wanted)
    assert variant(mapped).startswith(way)
    while not variant(ct.models.MLModel(path)).endswith("in their file"):  # unless they are packed before it is asked
        assert time.monotonic() < end


def test_a_matrix_in_its_file_is_packed_after_the_first_prediction(tmp_path):
    """In the background, without another prediction; its results stay the same to the bit."""
    weight = np.random.default_rng(1).normal(size=(1024, 512)).astype(np.float16)
    built = package({"x": TensorType(fp16, (32, 512))}, lambda x: mb.linear(x=x, weight=weight, name="y"))
    model = ct.models.MLModel(built.save(tmp_path / "m.mlpackage"))
    x = {"x": np.random.default_rng(2).normal(size=(32, 512)).astype(np.float16)}

    before = model.predict(x)["y"]
    end = time.monotonic() + 60
    while not any(call.variant == "f16 weights" for call in model.profile(x).calls):
        assert time.monotonic() < end
    np.testing.assert_array_equal(model.predict(x)["y"], before)


@pytest.mark.parametrize("mmap", [False, True], ids=["read", "mapped"])
def test_the_device_knows_of_weights_before_the_program_is_decoded(tmp_path, mmap, monkeypatch):
    """So that it can get ready for them meanwhile; nothing else is known of them yet."""
    path = embedding(tmp_path / "m.mlpackage")
    told: list[tuple[int, bool]] = []

    @contextlib.contextmanager
    def expecting(device, weights):
        told.extend((size, place.mapped) for place, size in weights)
        assert "program" not in vars(model.package)  # where it is kept once it is decoded
        yield
        assert "program" in vars(model.package)

    model = ct.models.MLModel(path, mmap=mmap)
    monkeypatch.setattr(CpuDevice, "expecting", expecting)
    model.predict({"x": CHOSEN})
    assert told == [((path / WEIGHTS).stat().st_size, mmap)]


def test_loading_and_running_import_little(tmp_path):
    """No source framework, nothing that only conversion, text or messages for people need."""
    path = linear().save(tmp_path / "m.mlpackage")
    modules = loaded_after(
        "import gristmill as ct, numpy as np\n"
        f"found = ct.models.MLModel({str(path)!r}).predict({{'x': np.ones((1, 3), np.float32)}})\n"
        "assert found['y'].tolist() == [[6, 15]], found"
    )
    assert "gristmill.devices.cpu" in modules
    assert modules.isdisjoint({"torch", "onnx", "coremltools", "PIL", "click", "rich", "asyncio", "logging"})
    above = ("converters", "frontends", "passes", "precision", "analysis", "cli", "ir.parser", "ir.builder")
    assert not [name for name in modules if name.startswith(tuple(f"gristmill.{part}" for part in above))]


def test_weights_packed_from_the_file_are_those_packed_from_arrays(tmp_path):
    """To the bit: a linear layer, a matrix product, grouped and dense convolutions whose last panels are not full."""
    generator = np.random.default_rng(0)

    def weight(*shape):
        return generator.normal(size=shape).astype(np.float16)

    def build(x):
        made = mb.linear(x=x, weight=weight(37, 48), bias=np.zeros(37, np.float16))
        made = mb.matmul(x=made, y=weight(37, 72))
        image = mb.reshape(x=made, shape=[1, 6, 6, 6])
        image = mb.conv(x=image, weight=weight(10, 3, 1, 3), groups=2, strides=[2, 1], pad_type="valid")
        return mb.conv(x=image, weight=weight(21, 10, 2, 2), dilations=[2, 1], pad_type="valid", name="y")

    built = package({"x": TensorType(fp16, (3, 48))}, build)
    x = {"x": weight(3, 48)}
    path = built.save(tmp_path / "m.mlpackage")
    np.testing.assert_array_equal(ct.models.MLModel(path).predict(x)["y"], ct.models.MLModel(built).predict(x)["y"])


def test_a_file_that_shrinks_while_weights_are_packed(tmp_path):
    """After the program was read, before anything ran."""
    path = embedding(tmp_path / "m.mlpackage")
    model = ct.models.MLModel(path)
    assert model.program
    os.truncate(path / WEIGHTS, 4096)
    with pytest.raises(FormatError, match="shrank"):
        model.predict({"x": CHOSEN})
