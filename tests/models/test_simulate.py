"""``MLModel.simulate``: a model as a chip that is not here might run it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gristmill as ct
from gristmill.errors import InputError


class Network(torch.nn.Module):
    """Convolutions large enough for the Neural Engine, a norm that float16 sums cannot hold, and a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first = torch.nn.Conv2d(3, 64, 3, padding=1)
        self.second = torch.nn.Conv2d(64, 128, 3, padding=1)
        self.norm = torch.nn.LayerNorm(128)
        self.head = torch.nn.Linear(128, 5)

    def forward(self, image):
        x = torch.relu(self.second(torch.relu(self.first(image))))
        return self.head(self.norm(x.sum((2, 3))))


IMAGE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 20


@pytest.fixture(scope="module")
def networks():
    """The same network in float16 and in float32."""
    exported = torch.export.export(Network().eval(), (IMAGE,))
    make = {"float16": ct.precision.FLOAT16, "float32": ct.precision.FLOAT32}
    return {name: ct.convert(exported, compute_precision=p) for name, p in make.items()}


def test_a_model_on_a_named_chip(networks):
    """With float32 sums it agrees with the host; where float16 sums overflow, the envelope shows it."""
    data = {"image": IMAGE.numpy()}
    model = networks["float16"]
    found = model.simulate(data, target="A17", compute_units=ct.ComputeUnit.CPU_AND_NE)
    assert model.plan("A17", ct.ComputeUnit.CPU_AND_NE).count("neural_engine") > 0
    ((name, host),) = model.predict(data).items()
    np.testing.assert_allclose(found.results["neural_engine_float32"][name], host, rtol=0.01, atol=0.01)
    np.testing.assert_allclose(found.float32[name], networks["float32"].predict(data)[name], rtol=0.01, atol=0.01)
    assert found.snr_db["neural_engine_float32"][name] > 40
    assert found.snr_db["neural_engine_float16"][name] < 10
    assert found.spread[name] > 0.1


def test_float32_never_reaches_the_neural_engine(networks):
    """Not by any choice of units: the plan has no such op there, and the results are float32's."""
    data = {"image": IMAGE.numpy()}
    model = networks["float32"]
    for units in ct.ComputeUnit:
        found = model.simulate(data, target="M3", compute_units=units)
        assert model.plan("M3", units).count("neural_engine") == 0
        for outputs in found.results.values():
            for name, array in outputs.items():
                np.testing.assert_allclose(array, found.float32[name], rtol=1e-4, atol=1e-4)


def test_simulation_happens_under_a_named_target_only(networks):
    """On this computer a model runs on what is there."""
    with pytest.raises(InputError, match="name of a chip"):
        networks["float16"].simulate({"image": IMAGE.numpy()}, target="")
