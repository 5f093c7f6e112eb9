"""``convert``: precision, types and names at the boundary, and errors about what it was asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

import gristmill as ct
from gristmill.errors import InputError, InputTypeError, MissingFileError, UnsupportedError
from gristmill.ir.types import fp16, fp32, int8, int32


class Layers(torch.nn.Module):
    """``exp(2·x) + 1`` with numbers of one feature."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(1, 1)
        with torch.no_grad():
            self.linear.weight.fill_(2)
            self.linear.bias.zero_()

    def forward(self, x):
        return torch.exp(self.linear(x)) + 1


X = torch.tensor([[0.1]])


def exported(module: torch.nn.Module | None = None, *examples: torch.Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(module or Layers().eval(), examples or (X,))


def ops(model: ct.models.MLModel) -> dict[str, object]:
    """Result type of each op that computes, by op."""
    return {op.op_name: op.result.dtype for op in model.program.main.body if op.op_name not in ("const", "cast")}


def boundary(model: ct.models.MLModel) -> tuple[object, ...]:
    return (*(v.dtype for v in model.program.main.inputs), *(v.dtype for v in model.program.main.outputs))


# --- precision -------------------------------------------------------------------------------------------------------


def test_float16_is_the_default():
    """Every op computes in float16; exp(0.2) + 1 is 2.2214, whose neighbours in float16 are 2⁻⁹ apart."""
    model = ct.convert(exported())
    assert set(ops(model).values()) == {fp16}
    (result,) = model.predict({"x": X.numpy()}).values()
    assert result == pytest.approx(np.exp(0.2) + 1, abs=2**-8)
    assert result == np.float16(result)
    assert ops(ct.convert(exported(), compute_precision=ct.precision.FLOAT16)) == ops(model)


def test_float32():
    """Nothing is float16; the result is exact to a few units in float32's last place (2⁻²² here)."""
    model = ct.convert(exported(), compute_precision=ct.precision.FLOAT32, minimum_deployment_target=ct.target.iOS17)
    assert set(ops(model).values()) == {fp32}
    (result,) = model.predict({"x": X.numpy()}).values()
    assert result == pytest.approx(np.exp(2 * np.float64(X.numpy())) + 1, abs=2**-21)


def test_selector_chooses_op_by_op():
    """The op that the selector keeps stays float32, the others become float16."""
    keep_exp = ct.transform.FP16ComputePrecision(op_selector=lambda op: op.op_name != "exp")
    typed = ops(ct.convert(exported(), compute_precision=keep_exp))
    assert typed["exp"] == fp32
    assert typed["linear"] == typed["add"] == fp16


@pytest.mark.parametrize("wrong", ["float16", 16, np.float16])
def test_precision_is_a_precision(wrong):
    with pytest.raises(InputTypeError, match=r"precision\.FLOAT32"):
        ct.convert(exported(), compute_precision=wrong)


def test_selector_is_a_function():
    with pytest.raises(InputTypeError, match="op_selector"):
        ct.transform.FP16ComputePrecision(op_selector="exp")


# --- types and names at the boundary ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "precision", "dtype"),
    [
        (None, ct.precision.FLOAT16, fp32),
        (ct.target.iOS15, ct.precision.FLOAT16, fp32),
        (ct.target.iOS16, ct.precision.FLOAT16, fp16),
        (ct.target.macOS15, ct.precision.FLOAT16, fp16),
        (ct.target.iOS16, ct.precision.FLOAT32, fp32),
    ],
)
def test_undeclared_types(target, precision, dtype):
    """Float16 inputs and outputs came with iOS 16: then they follow the precision."""
    model = ct.convert(exported(), minimum_deployment_target=target, compute_precision=precision)
    assert boundary(model) == (dtype, dtype)


@pytest.mark.parametrize("precision", [ct.precision.FLOAT16, ct.precision.FLOAT32])
@pytest.mark.parametrize(("given", "returned"), [(np.float32, np.float16), (np.float16, np.float32)])
def test_declared_types_win(precision, given, returned):
    model = ct.convert(
        exported(),
        inputs=[ct.TensorType(name="x", dtype=given)],
        outputs=[ct.TensorType(name="y", dtype=returned)],
        compute_precision=precision,
        minimum_deployment_target=ct.target.iOS16,
    )
    assert [np.dtype(d.numpy) for d in boundary(model)] == [given, returned]
    result = model.predict({"x": X.numpy()})["y"]
    assert result.dtype == returned
    assert result == pytest.approx(np.exp(0.2) + 1, abs=2**-7)  # two float16 roundings


@pytest.mark.parametrize(
    "descriptions",
    [
        {"inputs": [ct.TensorType(name="x", dtype=np.float16)]},
        {"outputs": [ct.TensorType(name="y", dtype=np.float16)]},
        {"inputs": [ct.ImageType(name="x", color_layout="GRAYSCALE_FLOAT16")]},
    ],
    ids=["input", "output", "image"],
)
def test_float16_boundary_needs_ios16(descriptions):
    with pytest.raises(InputError, match="iOS16 or later"):
        ct.convert(exported(), **descriptions)


def test_integers():
    """The source's int64 becomes int32, or int8 where that is asked for and iOS 26 is the target."""

    class Twice(torch.nn.Module):
        def forward(self, i):
            return i * 2

    program = exported(Twice(), torch.zeros(3, dtype=torch.int64))
    assert boundary(ct.convert(program)) == (int32, int32)
    with pytest.raises(InputError, match="iOS26"):
        ct.convert(program, inputs=[ct.TensorType(dtype=np.int8)])
    small = ct.convert(
        program, inputs=[ct.TensorType(name="i", dtype=np.int8)], minimum_deployment_target=ct.target.iOS26
    )
    assert boundary(small) == (int8, int32)
    (result,) = small.predict({"i": np.int8([100, -128, 3])}).values()
    assert result.tolist() == [200, -256, 6]  # computed wider than int8


def test_names():
    """Inputs are called as in the source, everything as the caller says where he does."""
    plain = ct.convert(exported())
    assert [i.name for i in plain.inputs] == ["x"]
    named = ct.convert(exported(), inputs=[ct.TensorType(name="a")], outputs=[ct.TensorType(name="b")])
    assert list(named.predict({"a": X.numpy()})) == ["b"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputs": [ct.TensorType(name="a"), ct.TensorType(name="b")]}, "output"),
        ({"inputs": [ct.TensorType(name="a"), ct.TensorType(name="b")]}, "input"),
        ({"inputs": [ct.TensorType(name="a", shape=(1, 2))]}, "shape"),
        ({"inputs": [ct.TensorType(name="a")], "outputs": [ct.TensorType(name="a")]}, "one name"),
        ({"inputs": [np.zeros(1)]}, "TensorTypes or ImageTypes"),
    ],
    ids=["outputs", "inputs", "shape", "one name", "no description"],
)
def test_descriptions_that_do_not_fit(options, message):
    with pytest.raises(InputError, match=message):
        ct.convert(exported(), **options)


def test_optional_input():
    """The default that a description gives is what a prediction without the input uses."""

    class Add(torch.nn.Module):
        def forward(self, a, b):
            return a + b

    model = ct.convert(
        exported(Add(), torch.zeros(1, 1), torch.ones(1, 1)),
        inputs=[
            ct.TensorType(name="a"),
            ct.TensorType(name="b", shape=(1, 1), default_value=np.full((1, 1), 2.5, np.float32)),
        ],
    )
    (result,) = model.predict({"a": np.float32([[1]])}).values()
    assert result == 3.5


# --- sources ---------------------------------------------------------------------------------------------------------


def test_exported_file(tmp_path):
    torch.export.save(exported(), tmp_path / "m.pt2")
    model = ct.convert(tmp_path / "m.pt2", compute_precision=ct.precision.FLOAT32)
    (result,) = model.predict({"x": X.numpy()}).values()
    np.testing.assert_allclose(result, Layers()(X).detach(), rtol=1e-6)  # PyTorch's own rounding


def test_module():
    """A module needs the shapes of its inputs."""
    model = ct.convert(Layers().eval(), inputs=[ct.TensorType(name="x", shape=(1, 1))])
    assert [i.name for i in model.inputs] == ["x"]
    with pytest.raises(InputError, match="shape"):
        ct.convert(Layers().eval())


def test_sizes_that_a_module_takes_only_in_part():
    """A window of 7 pixels needs as many; the description says so, and its default is the next size that goes."""
    module = torch.nn.Conv2d(1, 1, 7).eval()
    side = ct.RangeDim(1, 32)
    with pytest.warns(UserWarning, match=r"takes .*\{7\.\.32\}"):
        model = ct.convert(module, inputs=[ct.TensorType(name="x", shape=(1, 1, side, 9))])
    declared = model.get_spec().description.input[0].type.multiArrayType
    assert list(declared.shape) == [1, 1, 7, 9]
    ranges = [(size.lowerBound, size.upperBound) for size in declared.shapeRange.sizeRanges]
    assert ranges == [(1, 1), (1, 1), (7, 32), (9, 9)]
    x = np.ones((1, 1, 20, 9), np.float32)
    (result,) = model.predict({"x": x}).values()
    np.testing.assert_allclose(result, module(torch.from_numpy(x)).detach(), atol=2e-3)  # float16
    shapes = ct.EnumeratedShapes([(1, 1, 5, 9), (1, 1, 20, 9)])
    with pytest.warns(UserWarning, match="takes"), pytest.raises(InputError, match="cannot have this shape"):
        ct.convert(module, inputs=[ct.TensorType(name="x", shape=shapes)])


def test_package_dir(tmp_path):
    """The model is saved there as well, with the versions it was made by."""
    ct.convert(exported(), package_dir=tmp_path / "m.mlpackage")
    metadata = ct.models.MLModel(tmp_path / "m.mlpackage").user_defined_metadata
    assert metadata["com.gristmill.version"] == ct.__version__
    assert metadata["com.gristmill.source"] == f"torch=={torch.__version__}"


def test_skip_model_load():
    with pytest.raises(UnsupportedError, match="skip_model_load"):
        ct.convert(exported(), skip_model_load=True).predict({"x": X.numpy()})


def test_missing_file(tmp_path):
    with pytest.raises(MissingFileError):
        ct.convert(tmp_path / "none.pt2")


@pytest.mark.parametrize("model", ["model.h5", 3, np.zeros(3)])
def test_unsupported_model(model):
    with pytest.raises(UnsupportedError, match="not converted"):
        ct.convert(model)


def test_models_that_other_functions_take():
    """Who gives ``convert`` what it does not take is told what does."""
    program = ct.convert(exported(), verify=False)
    for model, hint in {
        LinearRegression(): "converters.sklearn.convert",
        program: "model.program",
        "weights.onnx": "not converted yet",
        "old.mlmodel": "models.MLModel loads it",
    }.items():
        with pytest.raises(UnsupportedError) as caught:
            ct.convert(model)
        assert hint in caught.value.hint
    with pytest.raises(UnsupportedError) as caught:
        ct.convert(torch.nn.Linear(1, 1).state_dict())
    assert "load them into their module" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "tensorflow"}, "tensorflow"),
        ({"convert_to": "onnx"}, "mlprogram"),
        ({"convert_to": "mlprogram", "minimum_deployment_target": ct.target.iOS14}, "iOS15 or later"),
    ],
)
def test_unsupported_choice(options, message):
    with pytest.raises(UnsupportedError, match=message):
        ct.convert(exported(), **options)


def test_target_is_a_target():
    with pytest.raises(InputTypeError, match=r"gristmill\.target"):
        ct.convert(exported(), minimum_deployment_target="iOS16")


def test_target_too_old_for_an_op():
    """The error names the opset that has it, what came, and what to set."""

    class Transposed(torch.nn.Module):
        def forward(self, x, weight):
            return torch.nn.functional.conv_transpose1d(x, weight)

    program = exported(Transposed(), torch.zeros(1, 2, 5), torch.zeros(2, 3, 2))
    with pytest.raises(UnsupportedError, match="iOS17") as error:
        ct.convert(program, minimum_deployment_target=ct.target.iOS16)
    assert "iOS16" in str(error.value)
    assert "minimum_deployment_target" in str(error.value)
    assert "conv_transpose" in ops(ct.convert(program, minimum_deployment_target=ct.target.iOS17))
