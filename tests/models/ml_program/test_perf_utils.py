"""Measurements: what is measured, how samples are summed up, and which operation gets which share."""

from __future__ import annotations

import asyncio
import statistics

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import InputError, UnsupportedError
from gristmill.ir.builder import mb
from gristmill.ir.types import TensorType, fp32
from gristmill.models.compute_device import MLCPUComputeDevice
from gristmill.models.compute_plan import MLComputePlan
from gristmill.models.ml_program.experimental.async_wrapper import MLModelAsyncWrapper
from gristmill.models.ml_program.experimental.compute_plan_utils import set_intended_backends
from gristmill.models.ml_program.experimental.model_structure_path import ModelStructurePath, map_model_spec_to_path
from gristmill.models.ml_program.experimental.perf_utils import MLModelBenchmarker
from tests.models import small
from tests.models.ml_program.test_debugging_utils import PHONE


@pytest.fixture(scope="module")
def model():
    weight = np.ones((256, 256), np.float32)

    def build(x):
        return mb.relu(x=mb.linear(x=x, weight=weight, bias=np.zeros(256, np.float32), name="product"), name="y")

    return small.model({"x": TensorType(fp32, (64, 256))}, build)


def test_statistics_are_those_of_the_samples():
    samples = [3.0, 1.0, 2.0, 10.0]
    found = MLModelBenchmarker.Measurement.from_samples(samples).statistics
    assert (found.minimum, found.maximum, found.average, found.median) == (1, 10, 4, 2.5)
    assert found.std_dev == pytest.approx(statistics.pstdev(samples))
    assert MLModelBenchmarker.Measurement.from_samples([]).statistics is None


def test_samples_are_added_one_by_one():
    sums = MLModelBenchmarker.Measurement.from_samples([1.0, 2.0]).add_samples([10.0, 20.0])
    assert sums.samples == [11, 22]
    assert MLModelBenchmarker.Measurement.from_samples([]).add_samples([1.0]).samples == [1]
    with pytest.raises(InputError, match="number of samples"):
        sums.add_samples([1.0])


@pytest.mark.parametrize("saved", [True, False], ids=["from files", "made here"])
def test_loading_and_predicting_take_time(model, saved, tmp_path):
    if saved:
        model.save(tmp_path / "model.mlpackage")
        model = ct.models.MLModel(tmp_path / "model.mlpackage")
    benchmarker = MLModelBenchmarker(model)
    load = asyncio.run(benchmarker.benchmark_load(iterations=2))
    predict = asyncio.run(benchmarker.benchmark_predict(iterations=3, warmup=True))
    assert len(load.samples) == 2
    assert len(predict.samples) == 3
    # Milliseconds: neither takes less than a microsecond, nor minutes.
    assert all(1e-3 < sample < 1e5 for sample in (*load.samples, *predict.samples))


def test_each_operation_has_its_share(model, monkeypatch):
    """The product is 2·64·256² operations, the activation that runs with it 64·256; constants do not run."""
    monkeypatch.setenv("GRISTMILL_DEVICE", "cpu")
    found = asyncio.run(MLModelBenchmarker(model).benchmark_operation_execution(iterations=2, warmup=True))
    by_name = {info.spec.outputs[0].name: info for info in found}
    assert [info.spec.type for info in found[:2]] == ["linear", "relu"]
    assert len(by_name["product"].measurement.samples) == 2
    assert isinstance(by_name["product"].compute_device_usage.preferred_compute_device, MLCPUComputeDevice)
    constants = [info for info in found if info.spec.type == "const"]
    assert constants
    assert all(info.measurement.statistics is None and info.compute_device_usage is None for info in constants)
    path = by_name["product"].path
    assert path.components[-1] == ModelStructurePath.Program.Operation("product")
    assert ModelStructurePath.from_dict(path.to_dict()) == path


def test_paths_lead_into_nested_blocks():
    def build(x):
        with mb.nested() as yes:
            mb.output(mb.identity(x=x, name="inside"))
        with mb.nested() as no:
            mb.output(mb.identity(x=x, name="other"))
        return mb.cond(pred=mb.greater(x=mb.reduce_sum(x=x), y=np.float32(0)), blocks=[yes, no], name="y")

    spec = small.model({"x": TensorType(fp32, (3,))}, build).get_spec()
    paths = {path.components[-1].output_name: path for _, path in map_model_spec_to_path(spec)}
    part = ModelStructurePath.Program
    assert paths["other"].components == (
        part(),
        part.Function("main"),
        part.Block(-1),
        part.Operation("y"),
        part.Block(1),
        part.Operation("other"),
    )


def test_paths_are_written_as_coremltools_writes_them():
    from coremltools.models.ml_program.experimental.model_structure_path import ModelStructurePath as Theirs

    mine, theirs = (
        kind(
            (
                kind.Pipeline(),
                kind.Pipeline.Model("m"),
                kind.Program(),
                kind.Program.Function("f"),
                kind.Program.Block(-1),
                kind.Program.Operation("o"),
                kind.NeuralNetwork(),
                kind.NeuralNetwork.Layer("l"),
            )
        )
        for kind in (ModelStructurePath, Theirs)
    )
    assert mine.to_dict() == theirs.to_dict()
    assert ModelStructurePath.from_dict(theirs.to_dict()) == mine


def test_a_model_is_loaded_and_run_in_the_background(model):
    async def run():
        wrapper = MLModelAsyncWrapper.from_spec_or_path(model.get_spec(), weights_dir=model.weights_dir)
        assert wrapper.load_duration_in_nano_seconds is None
        outputs = await wrapper.predict({"x": np.ones((64, 256), np.float32)})
        assert wrapper.load_duration_in_nano_seconds > 0
        assert wrapper.last_predict_duration_in_nano_seconds > 0
        assert wrapper.make_state_if_needed() is None
        assert isinstance(await wrapper.retrieve_compute_plan(), MLComputePlan)
        await wrapper.unload()
        return outputs

    np.testing.assert_array_equal(asyncio.run(run())["y"], np.full((64, 256), 256))


def test_what_is_refused(model):
    with pytest.raises(UnsupportedError, match="remote devices"):
        MLModelBenchmarker(model, device=PHONE)
    with pytest.raises(InputError, match="at least one"):
        asyncio.run(MLModelBenchmarker(model).benchmark_load(iterations=0))
    with pytest.raises(TypeError, match="compute_units"):
        MLModelAsyncWrapper.from_spec_or_path("x.mlpackage", compute_units="all")


def test_backends_are_written_where_core_ml_reads_them(model, tmp_path):
    """Every operation of the type says so, in a file that coremltools reads and that still runs here."""
    import coremltools

    marked = set_intended_backends(model, lambda op: ["ane"] if op.type == "relu" else None)
    marked.save(tmp_path / "marked.mlpackage")
    spec = coremltools.utils.load_spec(str(tmp_path / "marked.mlpackage"))
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    for op in block.operations:
        values = op.attributes["IntendedBackend"].immediateValue.list.values
        assert [v.immediateValue.tensor.strings.values[0] for v in values] == (["ane"] if op.type == "relu" else [])
    loaded = ct.models.MLModel(tmp_path / "marked.mlpackage")
    np.testing.assert_array_equal(loaded.predict({"x": np.ones((64, 256), np.float32)})["y"], np.full((64, 256), 256))
