"""The short ways through a prediction give what the long way gives, and step aside where they cannot."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import gristmill as ct
from gristmill.converters.mil import Builder as mb
from gristmill.converters.mil.mil import types
from gristmill.errors import ExecutionError, InputError, UnsupportedError


def _mlp() -> ct.models.MLModel:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)).eval()
    return ct.convert(torch.export.export(net, (torch.ones(2, 8),)), compute_precision=ct.precision.FLOAT32)


class _Array(np.ndarray):
    pass


RNG = np.random.default_rng(0)


def test_a_bound_model_computes_from_its_own_arrays():
    """Filled again and called again, the same output array holds the new result."""
    model = _mlp()
    (name,), (output,) = ([f.name for f in features] for features in (model.inputs, model.outputs))
    bound = model.bind()
    result = bound.outputs[output]
    for _ in range(3):
        x = RNG.normal(size=(2, 8)).astype(np.float32)
        bound.inputs[name][:] = x
        bound()
        np.testing.assert_array_equal(result, model.predict({name: x})[output])
    other = model.bind()
    other.inputs[name][:] = 0
    other()
    assert (result != other.outputs[output]).any(), "each bound model has arrays of its own"
    with pytest.raises(TypeError):
        bound.inputs[name] = x  # would not be seen


def test_predictions_do_not_share_results():
    """A result stays what it was when the model runs again."""
    model = _mlp()
    name, x = model.inputs[0].name, RNG.normal(size=(2, 8)).astype(np.float32)
    (first,) = model.predict({name: x}).values()
    kept = first.copy()
    model.predict({name: x + 1})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.astype(np.float64),
        lambda x: x.tolist(),
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: torch.from_numpy(x),
        lambda x: x.astype(x.dtype.newbyteorder(">")),
        lambda x: x.view(_Array),
    ],
    ids=["float64", "list", "columns", "every-other", "torch", "bytes-in-other-order", "subclass"],
)
def test_other_arrays_take_the_long_way(change):
    """Whatever `predict` accepts still works."""
    model = _mlp()
    name, x = model.inputs[0].name, RNG.normal(size=(2, 8)).astype(np.float32)
    (wanted,) = model.predict({name: x}).values()
    (got,) = model.predict({name: change(x)}).values()
    np.testing.assert_array_equal(got, wanted)


def test_float32_is_rounded_for_float16():
    """As NumPy rounds it: ties to even, too large ones to infinity, small ones to subnormal numbers."""

    @mb.program(input_specs=[mb.TensorSpec((3, 41), dtype=types.fp16)], opset_version=ct.target.iOS16)
    def program(x):
        return mb.abs(x=x, name="y")

    model = ct.convert(program, minimum_deployment_target=ct.target.iOS16)
    x = np.ldexp(RNG.normal(size=(3, 41)), RNG.integers(-28, 18, (3, 41))).astype(np.float32)
    x[0, :6] = [1 + 2**-11, 1 + 3 * 2**-11, 65519.9, 65520, np.inf, np.nan]
    with np.errstate(over="ignore"):
        wanted = np.abs(x.astype(np.float16))
    assert np.isinf(wanted).sum() > 2
    got = model.predict({"x": x})["y"]
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(model.predict({"x": x[:, ::-1]})["y"], wanted[:, ::-1])  # the long way


def test_wrong_arrays_are_still_errors():
    model = _mlp()
    name = model.inputs[0].name
    with pytest.raises(InputError):
        model.predict({name: np.ones((3, 8), np.float32)})
    with pytest.raises(InputError):
        model.predict({"other": np.ones((2, 8), np.float32)})
    with pytest.raises(InputError):
        model.predict({name: np.ones((2, 8), np.float32), "other": np.ones((2, 8), np.float32)})


def test_arrays_that_may_not_be_written_to_are_inputs_too():
    model = _mlp()
    name, x = model.inputs[0].name, RNG.normal(size=(2, 8)).astype(np.float32)
    (wanted,) = model.predict({name: x.copy()}).values()
    x.flags.writeable = False
    (got,) = model.predict({name: x}).values()
    np.testing.assert_array_equal(got, wanted)
    assert got.flags.writeable
    assert got.flags.owndata


def test_nothing_is_kept_of_a_prediction():
    """Neither of one that ran nor of one that was refused on the way is a reference left."""
    model = _mlp()
    name, x = model.inputs[0].name, RNG.normal(size=(2, 8)).astype(np.float32)
    before = sys.getrefcount(x), sys.getrefcount(x.dtype)
    for _ in range(100):
        (got,) = model.predict({name: x}).values()
        with pytest.raises(InputError):
            model.predict({name: x, "other": x})
    assert sys.getrefcount(got) == 2
    after = sys.getrefcount(x), sys.getrefcount(x.dtype)
    assert after[0] == before[0]
    assert after[1] - before[1] < 50


def test_what_native_code_refuses_names_the_op():
    @mb.program(input_specs=[mb.TensorSpec((4,), dtype=types.fp32), mb.TensorSpec((2,), dtype=types.int32)])
    def program(x, indices):
        return mb.gather(x=x, indices=indices, axis=0, name="chosen")

    model = ct.convert(program, minimum_deployment_target=ct.target.iOS17, compute_precision=ct.precision.FLOAT32)
    given = {"x": np.arange(4, dtype=np.float32), "indices": np.array([1, 3], np.int32)}
    np.testing.assert_array_equal(model.predict(given)["chosen"], [1, 3])
    given["indices"][0] = 9
    with pytest.raises(ExecutionError, match="chosen"):
        model.predict(given)


def test_threads_share_a_model():
    """Predictions of several threads wait for each other's arena; each gets its own result."""
    model = _mlp()
    name = model.inputs[0].name
    given = [RNG.normal(size=(2, 8)).astype(np.float32) for _ in range(4)]
    wanted = [next(iter(model.predict({name: x}).values())) for x in given]
    numbers = [number for _ in range(300) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: next(iter(model.predict({name: given[number]}).values())), numbers))
    for number, got in zip(numbers, found, strict=True):
        np.testing.assert_array_equal(got, wanted[number])


def test_a_model_of_flexible_shapes_is_not_bound():
    net = torch.nn.Linear(8, 4).eval()
    program = torch.export.export(net, (torch.ones(3, 8),), dynamic_shapes={"input": {0: torch.export.Dim("n", max=9)}})
    model = ct.convert(program)
    (got,) = model.predict({"input": np.ones((5, 8), np.float32)}).values()
    assert got.shape == (5, 4)
    with pytest.raises(UnsupportedError, match="bound"):
        model.bind()
