"""What compute units make of a network's untyped tensors, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

import gristmill as ct
from gristmill.devices.base import Device
from gristmill.devices.cpu import CpuDevice
from gristmill.devices.gpu import SimulatedGpuDevice
from gristmill.devices.neural_engine import NeuralEngineDevice
from gristmill.devices.profiles import profiles_of
from gristmill.errors import InputError
from gristmill.ir.builtin import const
from gristmill.models.networks import on_cpu
from gristmill.precision.unit_types import Placed, type_by_unit
from gristmill.runtime.placed import PlacedDevice
from gristmill.runtime.session import Session
from tests.frontends.neuralnetwork.small import L, model_of, numbers

RNG = np.random.default_rng(12)
X = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)
FILTERS = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
ROWS = RNG.standard_normal((5, 4)).astype(np.float32)

LAYERS = {
    "convolved": L(
        "convolution",
        {"outputChannels": 4, "kernelChannels": 3, "kernelSize": [3, 3], "weights": numbers(FILTERS)},
        ["x"],
        ["convolved"],
    ),
    "leaky": L("activation", {"leakyReLU": {"alpha": 0.1}}, ["convolved"], ["leaky"]),
    "pooled": L("pooling", {"type": "AVERAGE", "globalPooling": True}, ["leaky"], ["pooled"]),
    "flat": L("squeeze", {"axes": [2, 3]}, ["pooled"], ["flat"]),
    "product": L(
        "innerProduct", {"inputChannels": 4, "outputChannels": 5, "weights": numbers(ROWS)}, ["flat"], ["product"]
    ),
    "y": L("softmaxND", {"axis": -1}, ["product"], ["y"]),
}


@pytest.fixture
def network() -> ct.models.MLModel:
    return model_of(*LAYERS.values(), inputs={"x": X.shape})


def exact() -> dict[str, np.ndarray]:
    """Every layer's values by PyTorch in float64."""
    found, x = {}, torch.tensor(X.astype(np.float64))
    found["convolved"] = x = torch.nn.functional.conv2d(x, torch.tensor(FILTERS.astype(np.float64)))
    found["leaky"] = x = torch.nn.functional.leaky_relu(x, 0.1)
    found["pooled"] = x = x.mean(dim=(2, 3), keepdim=True)
    found["flat"] = x = x.reshape(1, 4)
    found["product"] = x = x @ torch.tensor(ROWS.T.astype(np.float64))
    found["y"] = torch.softmax(x, dim=-1)
    return {name: value.numpy() for name, value in found.items()}


def layer_values(model: ct.models.MLModel, unit: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every layer's values where all layers run on a unit, for the program's inputs."""
    seen: dict[str, np.ndarray] = {}

    def observe(op: Any, results: Any) -> None:
        seen.update((result.name, array) for result, array in zip(op.results, results, strict=True))

    function = model.program.main
    if unit == "cpu":
        Session(on_cpu(function), CpuDevice()).run(arrays, observe=observe)
        return seen
    kind = {"gpu": SimulatedGpuDevice, "neural_engine": NeuralEngineDevice}[unit]
    devices: dict[str, Device] = {"cpu": CpuDevice(), unit: kind(profiles_of(unit)[0])}
    ops = [op for op in function.body if not isinstance(op, const)]
    typed, placed = type_by_unit(function, [Placed(unit, ops)])
    Session(typed, PlacedDevice(placed, devices)).run(arrays, observe=observe)
    return seen


def distance(values: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(values.astype(np.float64) - wanted).max() / np.abs(wanted).max())


def test_every_layer_is_float32_on_the_cpu(network: ct.models.MLModel) -> None:
    """Each value is float32 of full width, off by the few roundings of 27 products and what follows them."""
    values, wanted = layer_values(network, "cpu", {"x": X}), exact()
    for name, array in wanted.items():
        got = values[name]
        assert got.dtype == np.float32, name
        assert not np.array_equal(got, got.astype(np.float16).astype(np.float32)), name
        assert distance(got, array) < 8 * 2.0**-24, name
    assert distance(network.predict({"x": X})["y"], wanted["y"]) < 8 * 2.0**-24


@pytest.mark.parametrize("unit", ["gpu", "neural_engine"])
def test_every_layer_is_float16_on_other_units(network: ct.models.MLModel, unit: str) -> None:
    """Each value is a float16 number, off by more than any float32 arithmetic is and less than ten roundings."""
    values, wanted = layer_values(network, unit, {"x": X}), exact()
    for name, array in wanted.items():
        got = values.get(f"{name}_to_fp16", values[name])  # the output is cast back to float32
        assert np.array_equal(got, got.astype(np.float16)), name
        assert 2.0**-16 < distance(got, array) < 10 * 2.0**-11, name


@pytest.mark.parametrize("unit", ["gpu", "neural_engine"])
def test_inspection_of_a_network(network: ct.models.MLModel, unit: Any) -> None:
    """Beside a float32 shadow every layer shows the noise of its unit's type: some 11 bits, which are 66 dB."""
    found = ct.precision.inspect(network, {"x": X}, unit=unit)
    for name in LAYERS:
        row = next(row for row in found.rows if row.name in (name, f"{name}_to_fp32"))
        assert 45 < row.accumulated.snr_db < 90, name
    assert "fp16" in found.row("convolved").type
    wanted = exact()["convolved"]
    assert found.row("convolved").low == pytest.approx(wanted.min(), rel=1e-5)
    assert found.row("convolved").high == pytest.approx(wanted.max(), rel=1e-5)
    assert found.culprit is not None


def test_inspection_of_a_network_on_the_cpu(network: ct.models.MLModel) -> None:
    """It computes in the shadow's own type: nothing to see."""
    found = ct.precision.inspect(network, {"x": X}, unit="cpu")
    assert {row.accumulated.snr_db for row in found.rows} == {np.inf}
    assert found.culprit is None
    with pytest.raises(InputError, match="no such unit"):
        ct.precision.inspect(network, {"x": X}, unit="tpu")  # type: ignore[arg-type]
