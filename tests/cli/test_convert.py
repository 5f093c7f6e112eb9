"""``gristmill convert``: from files of PyTorch to packages."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import gristmill as ct

X = np.random.default_rng(0).standard_normal((1, 4)).astype(np.float32)


def expected(source):
    with torch.no_grad():
        return source.module(torch.from_numpy(X)).numpy()


def test_exported_program(gristmill, source, tmp_path):
    """The package that is written computes what the module does; float16 has 11 bits, and values are below 2."""
    path = tmp_path / "net.mlpackage"
    shown = " ".join(gristmill.ok("convert", source.exported, "-o", path).split())
    assert "mlProgram, specification 6 (iOS 15 and later)" in shown
    assert "Converted in" in shown
    assert re.search(r"in float16: linear_1 differs by 0\.000\d+ of the largest magnitude", shown)
    (y,) = ct.models.MLModel(path).predict({"input": X}).values()
    np.testing.assert_allclose(y, expected(source), atol=4 * 2**-11)


def test_options_and_json(gristmill, source, tmp_path):
    """Names, precision and target are as asked for; the document says so."""
    path = tmp_path / "new folder" / "net.mlpackage"
    options = ["--precision", "float32", "--target", "iOS18", "--input-name", "features", "--output-name", "scores"]
    document = gristmill.document("convert", source.exported, "-o", path, *options)
    assert document["path"] == str(path)
    assert document["source"] == str(source.exported)
    assert document["seconds"] > 0
    assert document["specification_version"] == 9
    assert [feature["text"] for feature in document["inputs"] + document["outputs"]] == ["fp32 [1, 4]", "fp32 [1, 2]"]
    assert document["verification"]["float32"]["scores"]["largest"] < 1e-6  # values below 1, sums of eight
    assert document["verification"]["float16"] == {}  # there is none in it
    assert "cast" not in document["functions"]["main"]["ops"]
    # The sums of eight products in float32; the reference device rounds each op once.
    np.testing.assert_allclose(
        ct.models.MLModel(path).predict({"features": X})["scores"], expected(source), rtol=1e-5, atol=1e-6
    )


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")
def test_torchscript(gristmill, source, tmp_path):
    """A TorchScript file needs a shape, which the error says; with it, it converts."""
    path = tmp_path / "net.mlpackage"
    assert "shape" in gristmill.error("convert", source.script, "-o", path)
    assert not path.exists()
    options = ["--input-shape", "1,4", "--input-name", "x", "--output-name", "y", "--precision", "float32"]
    gristmill.ok("convert", source.script, "-o", path, *options)
    np.testing.assert_allclose(ct.models.MLModel(path).predict({"x": X})["y"], expected(source), rtol=1e-5, atol=1e-6)


def test_verification_can_be_left_out(gristmill, source, tmp_path):
    """With --no-verify nothing is compared, and that is said."""
    path = tmp_path / "net.mlpackage"
    assert "Not verified" in gristmill.ok("convert", source.exported, "-o", path, "--no-verify")
    assert gristmill.document("convert", source.exported, "-o", path, "--no-verify")["verification"]["skipped"]


def test_output_beside_the_source(gristmill, source, tmp_path):
    """Without --output the package lies beside the source, and a second conversion replaces it."""
    copy = tmp_path / "copy.pt2"
    copy.write_bytes(source.exported.read_bytes())
    gristmill.ok("convert", copy)
    gristmill.ok("convert", copy, "--target", "iOS16")
    assert gristmill.document("info", tmp_path / "copy.mlpackage")["specification_version"] == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "net.mlmodel"], "a name ending in .mlpackage"),
        (["--input-shape", "1,x"], "sizes such as"),
        (["--input-shape", "1,5"], "[1, 5]"),
        (["--input-shape", "1,4", "--input-name", "a", "--input-name", "b"], "as many names as shapes"),
        (["--input-name", "a", "--input-name", "b"], "number of inputs"),
        (["--output-name", "a", "--output-name", "b"], "number of output names"),
    ],
)
def test_options_that_do_not_fit(gristmill, source, tmp_path, monkeypatch, options, message):
    """Each is refused with what would fit, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.pt2").write_bytes(source.exported.read_bytes())
    assert message in gristmill.error("convert", "net.pt2", *options)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt2"]


def test_sources_that_are_none(gristmill, tmp_path):
    """Missing files, noise and files of other frameworks are told apart."""
    assert "no model is there" in gristmill.error("convert", tmp_path / "nowhere.pt2")
    for name, message in {"noise.pt2": "no exported program", "noise.pt": "no TorchScript", "net.onnx": "yet"}.items():
        (tmp_path / name).write_bytes(b"noise")
        assert message in gristmill.error("convert", tmp_path / name, "--input-shape", "1")


def test_checkpoints_and_models_say_what_to_do(gristmill, tmp_path, linear):
    """What people mistake for a source: weights without a module, and a model that is converted already."""
    torch.save({"weight": torch.ones(1)}, tmp_path / "checkpoint.pth")
    assert "load it into its module" in gristmill.error("convert", tmp_path / "checkpoint.pth")
    assert "a Core ML model already" in gristmill.error("convert", linear, "-o", tmp_path / "new.mlpackage")
    assert "no name" in gristmill.error("convert", ".")


def test_without_pytorch(source):
    """Where PyTorch is not installed, the error says how to install it."""
    code = f"""
import sys
sys.modules["torch"] = None  # so it looks to the import system
from gristmill.cli import main
main(["convert", {str(source.exported)!r}])
"""
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == 1
    assert process.stderr.startswith("Error: converting from PyTorch needs PyTorch\n")
    assert "gristmill[torch]" in process.stderr
