"""Loading: what becomes of weight files meanwhile, mapped or read, and what a fresh process imports to run a model."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import FormatError
from gristmill.ir.builder import mb
from gristmill.ir.types import TensorType, fp16, int32
from gristmill.package.files import OpenFile
from tests.models.small import linear, package
from tests.test_import import loaded_after

ROWS, WIDTH = 3000, 128  # of a table that is larger than what is copied
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
    model = ct.models.MLModel(path)
    model.predict({"x": CHOSEN})
    os.truncate(path / WEIGHTS, 0)
    np.testing.assert_array_equal(model.predict({"x": CHOSEN})["y"], table(1)[CHOSEN])


@pytest.mark.parametrize("mmap", [False, True], ids=["read", "mapped"])
def test_saving_a_model_over_itself(tmp_path, mmap):
    path = embedding(tmp_path / "m.mlpackage")
    before = (path / WEIGHTS).read_bytes()
    ct.models.MLModel(path, mmap=mmap).save(path)
    assert (path / WEIGHTS).read_bytes() == before


def test_what_was_read_survives_release(tmp_path):
    """Pages that were given back return when they are touched."""
    (tmp_path / "w.bin").write_bytes(bytes(range(256)) * 64)
    file = OpenFile(tmp_path / "w.bin", mapped=True)
    found = file.read(256, 256)
    file.release()
    assert bytes(found) == bytes(range(256))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of a process")
def test_reading_a_mapped_file_leaves_little_of_it_resident(tmp_path):
    """128 MiB in pieces of 4: the pages of a few pieces stay, those of the others were given back."""

    def resident() -> int:
        found = re.search(r"^RssFile:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) << 10

    path = tmp_path / "w.bin"
    path.touch()
    os.truncate(path, 128 << 20)
    file = OpenFile(path, mapped=True)
    before = resident()
    for chunk in file.chunks():
        np.frombuffer(chunk, np.uint8)[::4096].sum()
    assert resident() - before < 32 << 20
    file.release()
    assert resident() - before < 4 << 20


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
