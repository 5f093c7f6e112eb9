"""``gristmill simulate``: a model as a chip might run it, as a table, a document and a file."""

import numpy as np
import pytest

from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp16
from gristmill.package import Package

SIZE = 1024  # a product that is worth the way to the Neural Engine
SUM = 2048 + (SIZE - 1)


@pytest.fixture
def total(tmp_path):
    """Sums of 2048 and many ones: in float16, 2048 + 1 is 2048."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp16, (64, SIZE))}, Opset.iOS17) as (x,):
        mb.output(mb.linear(x=x, weight=np.ones((SIZE, SIZE), np.float16), name="y"))
    x = np.ones((64, SIZE), np.float32)
    x[:, 0] = 2048
    np.save(tmp_path / "x.npy", x)
    return Package.from_program(program).save(tmp_path / "sum.mlpackage"), tmp_path / "x.npy"


def test_document_and_file(gristmill, total, tmp_path):
    """Each profile has its own sums, and its distance from float32; the file has them whole."""
    model, x = total
    path = tmp_path / "out.npz"
    document = gristmill.document(
        "simulate", model, "--target", "A17", "--compute-units", "cpu_and_ne", "-i", x, "-o", path
    )
    assert document["target"] == "A17"
    assert document["float32"]["y"]["value"][0][0] == SUM
    wide, narrow = (document["profiles"][f"neural_engine_{kind}"]["y"] for kind in ("float32", "float16"))
    assert wide["value"][0][0] == SUM + 1  # float16 has even numbers only there
    assert wide["snr_db"] == pytest.approx(20 * np.log10(SUM))
    assert narrow["value"][0][0] == 2048
    assert narrow["snr_db"] == pytest.approx(20 * np.log10(SUM / (SUM - 2048)))
    assert document["spread"]["y"] == SUM + 1 - 2048
    with np.load(path) as archive:
        assert set(archive.files) == {"float32.y", "neural_engine_float16.y", "neural_engine_float32.y"}
        assert archive["neural_engine_float16.y"].dtype == np.float16
        assert (archive["neural_engine_float16.y"] == 2048).all()


def test_table(gristmill, total):
    model, _ = total
    words = " ".join(
        gristmill.ok("simulate", model, "--target", "A17", "--compute-units", "CPU_ONLY", "--random").split()
    )
    assert "dB beside float32" in words
    assert "y: profiles are up to 0 apart" in words
    assert "docs/simulation.md" in words


def test_wrong_use(gristmill, total):
    model, x = total
    assert gristmill("simulate", model, "-i", x).exit_code == 2  # a simulation is always of a chip
    assert "no such target" in gristmill.error("simulate", model, "-i", x, "--target", "A5")
    assert "is of a unit" in gristmill.error(
        "simulate", model, "-i", x, "--target", "A17", "--compute-units", "CPU_ONLY", "--profile", "gpu_float32"
    )
    assert ".npz" in gristmill.error("simulate", model, "-i", x, "--target", "A17", "-o", "out.npy")


def test_classifier(gristmill, classifier, tmp_path):
    """Labels are texts and probabilities dictionaries: shown as what they are, and in the file as two arrays."""
    (tmp_path / "x.json").write_text("[0, 1]")
    command = ("simulate", classifier, "--target", "A17", "-i", tmp_path / "x.json")
    words = " ".join(gristmill.ok(*command, "-o", tmp_path / "out.npz").split())
    assert "classLabel str inf" in words
    assert "likely 2 classes inf" in words
    assert gristmill.document(*command)["float32"]["classLabel"] == {"type": "str", "value": "b"}
    with np.load(tmp_path / "out.npz", allow_pickle=False) as archive:
        assert archive["float32.classLabel"] == "b"
        assert archive["float32.likely.keys"].tolist() == ["a", "b"]
        np.testing.assert_allclose(archive["float32.likely.values"], np.array([1, np.e]) / (1 + np.e), rtol=1e-6)
