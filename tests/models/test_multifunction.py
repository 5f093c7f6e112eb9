"""Models of several functions: made, saved with shared weights once, run by name, read by coremltools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import InputError
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp32
from gristmill.package import Package

WEIGHT = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)


def linear_model(path: Path, bias: float) -> Path:
    """A model ``y = x·Wᵀ + bias`` whose weights are the same for every bias."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (1, 64))}, Opset.iOS17) as (x,):
        mb.output(mb.linear(x=x, weight=WEIGHT, bias=np.full(64, bias, np.float32), name="y"))
    return Package.from_program(program).save(path)


@pytest.fixture
def two(tmp_path: Path) -> ct.utils.MultiFunctionDescriptor:
    desc = ct.utils.MultiFunctionDescriptor()
    desc.add_function(linear_model(tmp_path / "a.mlpackage", 0), "main", "plain")
    desc.add_function(linear_model(tmp_path / "b.mlpackage", 1), "main", "shifted")
    desc.default_function_name = "plain"
    return desc


def test_each_function_runs_by_name(two, tmp_path):
    """The default function runs unnamed, the other by its name."""
    ct.utils.save_multifunction(two, tmp_path / "both.mlpackage")
    x = np.random.default_rng(1).standard_normal((1, 64)).astype(np.float32)
    plain = ct.models.MLModel(tmp_path / "both.mlpackage").predict({"x": x})["y"]
    shifted = ct.models.MLModel(tmp_path / "both.mlpackage", function_name="shifted").predict({"x": x})["y"]
    np.testing.assert_allclose(plain, x @ WEIGHT.T, rtol=1e-5, atol=1e-5)  # float32 sums of 64 products on either side
    np.testing.assert_allclose(shifted, plain + 1, rtol=1e-6, atol=1e-6)  # one more rounding


def test_shared_weights_are_stored_once(two, tmp_path):
    """The weight file holds one matrix, not two."""
    ct.utils.save_multifunction(two, tmp_path / "both.mlpackage")
    (weights,) = (tmp_path / "both.mlpackage").rglob("weight.bin")
    assert WEIGHT.nbytes < weights.stat().st_size < 1.5 * WEIGHT.nbytes


def test_model_of_functions_can_be_taken_apart_again(two, tmp_path):
    """A descriptor takes all functions of a model, or leaves one out."""
    ct.utils.save_multifunction(two, tmp_path / "both.mlpackage")
    desc = ct.utils.MultiFunctionDescriptor(tmp_path / "both.mlpackage")
    desc.remove_function("plain")
    desc.default_function_name = "shifted"
    ct.utils.save_multifunction(desc, tmp_path / "one.mlpackage")
    assert list(ct.models.MLModel(tmp_path / "one.mlpackage").program.functions) == ["shifted"]


def test_unknown_function_names_those_there_are(two, tmp_path):
    """Errors name the functions that exist."""
    ct.utils.save_multifunction(two, tmp_path / "both.mlpackage")
    with pytest.raises(InputError, match="plain, shifted"):
        ct.models.MLModel(tmp_path / "both.mlpackage", function_name="other")


def test_default_function_is_required(two):
    """Without a default the caller's bare predict would be ambiguous."""
    two.default_function_name = None
    with pytest.raises(InputError, match="default"):
        two.package()


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore")  # coremltools warns of what a Mac would have
def test_coremltools_reads_it(two, tmp_path):
    """The same functions are there for coremltools."""
    coremltools = pytest.importorskip("coremltools", reason="coremltools, the oracle, is not installed")
    ct.utils.save_multifunction(two, tmp_path / "both.mlpackage")
    spec = coremltools.models.MLModel(str(tmp_path / "both.mlpackage"), skip_model_load=True).get_spec()
    assert sorted(spec.mlProgram.functions) == ["plain", "shifted"]
    assert spec.description.defaultFunctionName == "plain"
