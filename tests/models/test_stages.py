"""The models of a pipeline one by one: simulated on a chip, timed, inspected and reported on."""

from __future__ import annotations

import asyncio
import itertools
import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

import gristmill as ct
from gristmill.analysis.simulation import Envelope
from gristmill.cli import main
from gristmill.errors import InputError, UnsupportedError
from tests.frontends.neuralnetwork.small import L, spec_of
from tests.models.classic import specs

THIRD = np.float16(1 / 3)
"""What float16 makes of a third."""

GPU = {"target": "M1", "compute_units": ct.ComputeUnit.CPU_AND_GPU}


def large_network():
    """``y = x·1·1·…``: so many layers that a GPU is worth its while."""
    names = ["x", *(f"t{k}" for k in range(19)), "y"]
    layers = [L("multiply", {"alpha": 1}, [a], [b]) for a, b in itertools.pairwise(names)]
    spec = spec_of(*layers, inputs={"x": (64, 64, 64)})
    spec.description.output[0].type.multiArrayType.shape.extend((64, 64, 64))
    return spec


def extracting():
    """A pipeline of that network and an extractor of elements 1 and 0."""
    extractor = specs.model({"y": (64, 64, 64)}, {"z": (2,)})
    extractor.arrayFeatureExtractor.extractIndex.extend([1, 0])
    spec = specs.pipeline("pipeline", {"x": (64, 64, 64)}, {"z": (2,)}, large_network(), extractor)
    return ct.models.MLModel(spec)


X = np.zeros((64, 64, 64), np.float32)
X[0, 0, :2] = 1 / 3, 2049


def test_stages_are_models():
    """Each can be asked what any model can; only pipelines have some."""
    first, second = extracting().stages
    assert (first.kind, second.kind) == ("neuralNetwork", "arrayFeatureExtractor")
    np.testing.assert_array_equal(first.predict({"x": X})["y"], X)
    assert first.stages == second.stages == []
    inner = specs.pipeline("pipeline", {"x": (2,)}, {"y": (2,)}, specs.scaler([1], []))
    (nested,) = ct.models.MLModel(specs.pipeline("pipeline", {"x": (2,)}, {"y": (2,)}, inner)).stages
    assert [stage.kind for stage in nested.stages] == ["scaler"]


def test_a_network_in_a_pipeline_computes_as_its_unit_does():
    """Float16 on the GPU, float32 on the CPU; what is no program stays as it is, in double precision."""
    model = extracting()
    assert model.predict({"x": X})["z"].tolist() == [2049, np.float32(1 / 3)]
    found = model.simulate({"x": X}, **GPU)
    assert list(found.results) == ["gpu_float32", "gpu_float16"]
    for outputs in found.results.values():
        assert outputs["z"].dtype == np.float64
        assert outputs["z"].tolist() == [2048, THIRD]
    assert found.float32["z"].tolist() == [2049, np.float32(1 / 3)]
    (alone,) = model.simulate({"x": X}, target="M1", compute_units=ct.ComputeUnit.CPU_ONLY).results.items()
    assert alone == ("cpu", {"z": pytest.approx(found.float32["z"], abs=0)})
    with pytest.raises(InputError, match="runs nothing here"):
        model.simulate({"x": X}, **GPU, profiles=["neural_engine_float32"])


def test_outputs_of_other_shapes_under_other_profiles():
    """They count as infinitely far apart, and have no lowest and highest numbers."""
    two, three = ({"boxes": np.zeros((n, 4)), "label": "cat", "sum": 1.0} for n in (2, 3))
    found = Envelope({"a": two, "b": three}, two)
    assert dict(found.spread) == {"boxes": math.inf, "label": 0, "sum": 0}
    assert dict(found.snr_db["b"]) == {"boxes": -math.inf, "label": math.inf, "sum": math.inf}
    assert dict(found.low) == {"sum": 1.0}


def test_time_of_a_pipeline():
    """The calls of the network, then the other model as one; a model by itself is one call too."""
    found = extracting().profile({"x": X}, runs=2)
    assert sum(op.op_name == "mul" for call in found.calls[:-1] for op in call.ops) == 20
    assert found.calls[-1].kernel == "arrayFeatureExtractor"
    assert all(call.seconds > 0 for call in found.calls)
    assert found.rows()[-1]["ops"] == []
    (call,) = ct.models.MLModel(specs.glm_regressor()).profile({"x": [1.0, 2.0]}).calls
    assert call.kernel == "glmRegressor"


def test_profile_of_a_pipeline_on_the_command_line(tmp_path):
    path = tmp_path / "pipeline.mlmodel"
    extracting().save(path)
    done = CliRunner().invoke(main, ["profile", str(path), "--runs", "1", "--calls", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["calls"][-1]["kernel"] == "arrayFeatureExtractor"


def test_stages_on_the_command_line(tmp_path):
    """``--stage`` counts from 1; a page, a plan and an inspection are of that model alone."""
    path, page = tmp_path / "pipeline.mlmodel", tmp_path / "page.html"
    extracting().save(path)

    def run(command, *options):
        return CliRunner().invoke(main, [command, str(path), *options, "--json"])

    plan, inspection = run("plan", "--stage", "1"), run("precision", "--stage", "1", "--unit", "gpu")
    assert len(json.loads(plan.stdout)["ops"]) == 20
    assert len(json.loads(inspection.stdout)["ops"]) >= 20  # and what brings x to float16
    assert run("view", "--stage", "1", "--no-open", "-o", str(page)).exit_code == 0
    assert "<title>pipeline.mlmodel, stage 1</title>" in page.read_text()
    assert "1 to 2" in run("plan", "--stage", "3").stderr
    assert "a pipeline" in CliRunner().invoke(main, ["plan", str(_saved_network(tmp_path)), "--stage", "1"]).stderr


def _saved_network(folder):
    ct.utils.save_spec(large_network(), folder / "network.mlmodel")
    return folder / "network.mlmodel"


def test_predicting_beside_other_work():
    """In a thread, whatever the model's type."""
    found = asyncio.run(ct.models.MLModel(specs.glm_regressor()).predict_async({"x": [0.5, 0.5]}))
    assert found == specs.run(specs.glm_regressor(), x=[0.5, 0.5])


def test_what_only_programs_can():
    """The errors say what to use instead."""
    model = extracting()
    with pytest.raises(UnsupportedError, match="use predict"):
        model.bind()
    with pytest.raises(UnsupportedError, match=r"MLModel\.stages"):
        model.plan("A17")
    with pytest.raises(UnsupportedError, match=r"MLModel\.stages"):
        ct.precision.inspect(model, {"x": X})


def test_report_on_a_stage(tmp_path):
    """What a unit's type does to the network stands in its page; the pipeline as a whole has none."""
    model = extracting()
    network = model.stages[0]
    inspection = ct.precision.inspect(network, {"x": X}, unit="gpu")
    page = network.report(tmp_path / "network.html", inspection=inspection).read_text()
    assert '"accumulated"' in page
    with pytest.raises(InputError, match=r"MLModel\.stages"):
        model.report(tmp_path / "pipeline.html")
