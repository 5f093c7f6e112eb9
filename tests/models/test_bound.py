"""The short ways through a prediction give what the long way gives, and step aside where they cannot."""

import numpy as np
import pytest
import torch

import gristmill as ct
from gristmill.errors import InputError, UnsupportedError


def _mlp() -> ct.models.MLModel:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)).eval()
    return ct.convert(torch.export.export(net, (torch.ones(2, 8),)), compute_precision=ct.precision.FLOAT32)


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
    ],
    ids=["float64", "list", "columns", "every-other", "torch"],
)
def test_other_arrays_take_the_long_way(change):
    """Whatever `predict` accepts still works."""
    model = _mlp()
    name, x = model.inputs[0].name, RNG.normal(size=(2, 8)).astype(np.float32)
    (wanted,) = model.predict({name: x}).values()
    (got,) = model.predict({name: change(x)}).values()
    np.testing.assert_array_equal(got, wanted)


def test_wrong_arrays_are_still_errors():
    model = _mlp()
    name = model.inputs[0].name
    with pytest.raises(InputError):
        model.predict({name: np.ones((3, 8), np.float32)})
    with pytest.raises(InputError):
        model.predict({"other": np.ones((2, 8), np.float32)})


def test_a_model_of_flexible_shapes_is_not_bound():
    net = torch.nn.Linear(8, 4).eval()
    program = torch.export.export(net, (torch.ones(3, 8),), dynamic_shapes={"input": {0: torch.export.Dim("n", max=9)}})
    model = ct.convert(program)
    (got,) = model.predict({"input": np.ones((5, 8), np.float32)}).values()
    assert got.shape == (5, 4)
    with pytest.raises(UnsupportedError, match="bound"):
        model.bind()
