"""Ten failures of float16 planted in ordinary models: an inspection names the guilty op, a search repairs it."""

from __future__ import annotations

import math

import pytest

import gristmill as ct

torch = pytest.importorskip("torch")

from tools.planted.cases import PLANTED, SMALL  # noqa: E402  # needs PyTorch

BUDGET = 40.0  # dB: errors of 1 % of the outputs, where each of these models has 47 dB or more without the fault


def planted():
    for case in PLANTED:
        marks = [pytest.mark.real_model, pytest.mark.slow] if case.model == "MiniLM" else []
        yield pytest.param(case, id=case.name.replace(" ", "-"), marks=marks)


@pytest.mark.parametrize("case", list(planted()))
def test_planted_failure(case):
    """The culprit is the planted line; the search meets the budget with at most 3 % of the ops in float32."""
    torch.manual_seed(0)
    module, arguments = case.build(SMALL)
    with torch.no_grad():
        exported = torch.export.export(module.eval(), arguments)
    half = ct.convert(exported, minimum_deployment_target=case.target, verify=False)
    data = {item.name: value.numpy() for item, value in zip(half.inputs, arguments, strict=True)}

    found = ct.precision.inspect(half, data)
    assert case.names(found.culprit), found.culprit
    if case.amplifier is not None:
        assert found.amplifier.op.startswith(case.amplifier)

    result = ct.precision.search(exported, data, minimum_deployment_target=case.target, verify=False, budget=BUDGET)
    assert result.before.value < BUDGET
    assert result.met
    assert result.best.value >= BUDGET
    assert result.best.cost.share <= 0.03
    assert result.runs <= 12

    # The model that comes out, against PyTorch itself: the search's own figure, within what float32 adds.
    with torch.no_grad():
        wanted = module(*arguments).double().numpy()
    (mine,) = result.model.predict(data).values()
    error = math.sqrt(((mine.astype("float64") - wanted) ** 2).sum() / (wanted**2).sum())
    assert error <= 10 ** (-BUDGET / 20) * 1.05
