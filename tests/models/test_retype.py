"""Inputs and outputs of finished models change their types; what is computed stays."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import InputError
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp16, fp32, int32
from gristmill.package import Package

HALF, SINGLE = 65552, 65568
X = np.linspace(-2, 2, 3).astype(np.float32).reshape(1, 3)


@pytest.fixture
def model() -> ct.models.MLModel:
    """``y = tanh(x)`` in float16 behind float32 inputs and outputs, and an integer that passes through."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (1, 3)), "n": TensorType(int32, (1,))}, Opset.iOS17) as (
        x,
        n,
    ):
        h = mb.tanh(x=mb.cast(x=x, dtype="fp16"), name="h")
        mb.output(mb.cast(x=h, dtype="fp32", name="y"), mb.sigmoid(x=x, name="z"), mb.add(x=n, y=1, name="m"))
    return ct.models.MLModel(Package.from_program(program))


def types(model: ct.models.MLModel) -> dict[str, str]:
    return {item.name: item.describe().split()[0] for item in (*model.inputs, *model.outputs)}


def test_outputs_change_by_default(model):
    changed = ct.utils.change_input_output_tensor_type(model, SINGLE, HALF)
    assert types(changed) == {"x": "fp32", "n": "int32", "y": "fp16", "z": "fp16", "m": "int32"}
    assert types(model)["y"] == "fp32"
    found = changed.predict({"x": X, "n": [1]})
    np.testing.assert_array_equal(found["y"], np.tanh(X.astype(np.float16).astype(np.float64)).astype(np.float16))
    assert found["m"] == [2]


def test_no_cast_stays_that_meets_another(model):
    """The float16 op meets the float16 input and output directly; the float32 one gets casts."""
    changed = ct.utils.change_input_output_tensor_type(model, SINGLE, HALF, input_names=["*"])
    ops = [f"{op.op_name}:{op.results[0].dtype}" for op in changed.program.main.body if op.op_name != "const"]
    assert sorted(ops) == ["add:int32", "cast:fp16", "cast:fp32", "sigmoid:fp32", "tanh:fp16"]
    assert types(changed)["x"] == "fp16"


def test_names_choose(model, tmp_path):
    """Only what is named changes; the file loads again, and back in coremltools' hands."""
    changed = ct.utils.change_input_output_tensor_type(model, SINGLE, HALF, input_names=["x"], output_names=["z"])
    changed.save(tmp_path / "m.mlpackage")
    again = ct.models.MLModel(tmp_path / "m.mlpackage")
    assert types(again) == {"x": "fp16", "n": "int32", "y": "fp32", "z": "fp16", "m": "int32"}
    back = ct.utils.change_input_output_tensor_type(again, HALF, SINGLE, input_names=["x"])
    assert types(back) == types(model)


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore")
def test_signature_and_files_are_coremltools_own(model, tmp_path):
    theirs = pytest.importorskip("coremltools")
    mine = inspect.signature(ct.utils.change_input_output_tensor_type)
    assert list(mine.parameters) == list(inspect.signature(theirs.utils.change_input_output_tensor_type).parameters)
    ct.utils.change_input_output_tensor_type(model, SINGLE, HALF).save(tmp_path / "m.mlpackage")
    spec = theirs.models.MLModel(str(tmp_path / "m.mlpackage"), skip_model_load=True).get_spec()
    assert [output.type.multiArrayType.dataType for output in spec.description.output][:2] == [HALF, HALF]


def test_what_is_refused(model):
    change = ct.utils.change_input_output_tensor_type
    with pytest.raises(InputError, match="from_type"):
        change(model, 131104, HALF)
    with pytest.raises(InputError, match="no input 'w'"):
        change(model, SINGLE, HALF, input_names=["w"])
    with pytest.raises(InputError, match="no function 'other'"):
        change(model, SINGLE, HALF, function_names=["other"])
    with pytest.raises(InputError, match="this is no model"):
        change("model", SINGLE, HALF)
    old = Program()
    with mb.function(old, "main", {"x": TensorType(fp32, (1, 3))}, Opset.iOS15) as (x,):
        mb.output(mb.tanh(x=x, name="y"))
    with pytest.raises(InputError, match="iOS 16"):
        change(ct.models.MLModel(Package.from_program(old)), SINGLE, HALF)


def test_integer_inputs_and_float16_interfaces_of_conversions():
    """Declared types hold: integers stay integers, float16 comes in and goes out as it is."""
    program = Program()
    with mb.function(program, "main", {"n": TensorType(int32, (1, 2)), "x": TensorType(fp32, (2, 3))}, Opset.iOS17) as (
        n,
        x,
    ):
        mb.output(mb.gather(x=mb.relu(x=x), indices=n, axis=0, name="y"))
    model = ct.convert(program, minimum_deployment_target=ct.target.iOS17)
    assert types(model) == {"n": "int32", "x": "fp16", "y": "fp16"}
    found = model.predict({"n": [[1, 0]], "x": np.float32([[1, -1, 2], [3, 4, -5]])})["y"]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, [[[3, 4, 0], [1, 0, 2]]])
    assert model.program.main.inputs[1].dtype == fp16
