"""Flexible shapes: what the model allows runs, everything else is refused with what it allows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gristmill as ct
from gristmill.errors import InputError


class Sum(torch.nn.Module):
    """The sum over the last axis."""

    def forward(self, x):
        return x.sum(-1)


class Add(torch.nn.Module):
    def forward(self, a, b):
        return a + b


def converted(module: torch.nn.Module, *shapes, **options) -> ct.models.MLModel:
    names = "ab" if len(shapes) > 1 else "x"
    inputs = [ct.TensorType(name=n, shape=s, dtype=np.float32) for n, s in zip(names, shapes, strict=True)]
    outputs = [ct.TensorType(name="y", dtype=np.float32)]
    options = {"compute_precision": ct.precision.FLOAT32, **options}
    return ct.convert(module.eval(), inputs=inputs, outputs=outputs, **options)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


@pytest.fixture(scope="module")
def ranged() -> ct.models.MLModel:
    """Two to five rows, any number of columns."""
    return converted(Sum(), (ct.RangeDim(2, 5, default=3), ct.RangeDim(1, -1)))


@pytest.fixture(scope="module")
def enumerated() -> ct.models.MLModel:
    return converted(Sum(), ct.EnumeratedShapes([(2, 3), (4, 6), (2, 6)], default=(4, 6)))


def saved(model: ct.models.MLModel, folder) -> ct.models.MLModel:
    """The same model, from its files alone."""
    model.save(folder / "m.mlpackage")
    return ct.models.MLModel(folder / "m.mlpackage")


@pytest.mark.parametrize("shape", [(2, 1), (5, 100), (3, 4)])
def test_sizes_in_range(ranged, shape, tmp_path):
    """Each prediction has its own sizes, before saving and after."""
    for model in (ranged, saved(ranged, tmp_path)):
        assert model.predict({"x": ones(*shape)})["y"].tolist() == [shape[1]] * shape[0]


@pytest.mark.parametrize("shape", [(1, 4), (6, 4), (2, 0), (2,), (1, 2, 4)])
def test_sizes_out_of_range(ranged, shape, tmp_path):
    for model in (ranged, saved(ranged, tmp_path)):
        with pytest.raises(InputError, match="does not allow") as error:
            model.predict({"x": ones(*shape)})
        assert error.value.expected == "fp32 [2…5, 1…]"
        assert error.value.actual == f"rank {len(shape)}: {list(shape)}"


def test_default_shape_is_described(ranged, enumerated):
    """Applications that know nothing of flexible shapes see the default one."""
    for model, default in ((ranged, [3, 1]), (enumerated, [4, 6])):
        assert list(model.get_spec().description.input[0].type.multiArrayType.shape) == default


@pytest.mark.parametrize("shape", [(2, 3), (4, 6), (2, 6)])
def test_enumerated_shapes(enumerated, shape, tmp_path):
    for model in (enumerated, saved(enumerated, tmp_path)):
        assert model.predict({"x": ones(*shape)})["y"].tolist() == [shape[1]] * shape[0]


@pytest.mark.parametrize("shape", [(4, 3), (3, 3), (2,)])
def test_shapes_that_are_not_listed(enumerated, shape, tmp_path):
    """[4, 3] has sizes that are listed, but not together."""
    for model in (enumerated, saved(enumerated, tmp_path)):
        with pytest.raises(InputError, match=r"\[4, 6\], \[2, 3\], \[2, 6\]"):
            model.predict({"x": ones(*shape)})


def test_fixed_shape():
    with pytest.raises(InputError, match=r"fp32 \[2, 3\]"):
        converted(Sum(), (2, 3)).predict({"x": ones(2, 4)})


def test_each_input_has_its_own_flexibility():
    """One input is flexible, the other is not."""
    model = converted(Add(), (ct.RangeDim(1, 4), 2), (1, 2))
    assert model.predict({"a": ones(3, 2), "b": ones(1, 2)})["y"].tolist() == [[2, 2]] * 3
    with pytest.raises(InputError, match="'b'"):
        model.predict({"a": ones(3, 2), "b": ones(3, 2)})


def test_shared_sizes_must_agree(tmp_path):
    """Two inputs with one symbol have one size."""
    rows = ct.RangeDim(2, 8, symbol="rows")
    made = converted(Add(), (rows, 2), (rows, 2))
    for model in (made, saved(made, tmp_path)):
        assert model.predict({"a": ones(3, 2), "b": ones(3, 2)})["y"].shape == (3, 2)
        with pytest.raises(InputError, match="'b' disagrees with input 'a' on size 'rows'"):
            model.predict({"a": ones(3, 2), "b": ones(4, 2)})


def test_list_of_different_shapes(ranged):
    results = ranged.predict([{"x": ones(2, 3)}, {"x": ones(4, 5)}])
    assert [r["y"].tolist() for r in results] == [[3, 3], [5, 5, 5, 5]]
