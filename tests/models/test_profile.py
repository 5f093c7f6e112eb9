"""Profiles: every call with its ops, in a table, as JSON and as a trace."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import gristmill as ct
from gristmill.cli import main
from gristmill.models.profile import Profile


class Net(torch.nn.Module):
    """A product with its activation, and what has no native kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(64, 32)

    def forward(self, x):
        return torch.relu(self.inner(x)).prod(1)


@pytest.fixture(scope="module")
def model() -> ct.models.MLModel:
    return ct.convert(torch.export.export(Net().eval(), (torch.ones(16, 64),)))


def test_a_profile_names_the_ops_of_each_call(model, monkeypatch):
    """The fused group is one call; an op without a kernel stands by itself, with the reason."""
    monkeypatch.delenv("GRISTMILL_DEVICE", raising=False)
    found = ct.models.MLModel(model.package).profile({"x": np.ones((16, 64), np.float32)})
    ops = {tuple(op.op_name for op in call.ops): call for call in found.calls}
    linear = next(call for names, call in ops.items() if names[0] == "linear")
    assert [op.op_name for op in linear.ops] == ["linear", "relu"]
    assert linear.flops == 2 * 16 * 64 * 32
    assert linear.bytes >= 2 * 64 * 32  # float16 weights
    assert ops["reduce_prod",].kernel == "reference"
    assert "no native kernel" in ops["reduce_prod",].variant
    assert found.seconds == pytest.approx(sum(call.seconds for call in found.calls))
    assert sum(total.calls for total in found.by_kernel()) == len(found.calls)
    # A core does at least a few billion operations a second and no more than a few hundred billion.
    assert 1e9 < found.peak_flops < 1e14
    assert 1e8 < found.peak_bytes < 1e13
    assert all(share > 0 for call in found.calls if (share := found.share(call)) is not None)


def test_the_reference_device_is_profiled_op_by_op(model, monkeypatch):
    monkeypatch.setenv("GRISTMILL_DEVICE", "reference")
    found = ct.models.MLModel(model.package).profile({"x": np.ones((16, 64), np.float32)}, runs=1)
    assert {"linear", "relu", "reduce_prod"} <= {call.kernel for call in found.calls}


def test_without_peaks_there_is_no_share(model):
    found = Profile(model.profile({"x": np.ones((16, 64), np.float32)}).calls)
    assert all(found.share(call) is None for call in found.calls)


def test_the_command_prints_a_table_json_and_a_trace(model, tmp_path):
    """The trace is what Chrome's format asks for: complete events with a start and a duration in microseconds."""
    path, trace = tmp_path / "net.mlpackage", tmp_path / "trace.json"
    model.save(path)
    shown = CliRunner().invoke(main, ["profile", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "linear" in shown.output
    assert CliRunner().invoke(main, ["profile", str(path), "--calls"]).exit_code == 0
    document = json.loads(CliRunner().invoke(main, ["profile", str(path), "--json", "--trace", str(trace)]).output)
    events = json.loads(trace.read_text())["traceEvents"]
    assert len(events) == len(document["calls"])
    for event, call in zip(events, document["calls"], strict=True):
        assert event["ph"] == "X"
        assert event["dur"] == pytest.approx(call["seconds"] * 1e6)
    assert sum(event["dur"] for event in events) == pytest.approx(document["seconds"] * 1e6)
