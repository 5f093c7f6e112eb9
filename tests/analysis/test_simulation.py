"""The envelope of several numerics profiles."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gristmill.analysis.simulation import Envelope, simulate
from gristmill.devices.cpu import CpuDevice
from gristmill.devices.profiles import NumericsProfile
from gristmill.errors import InputError
from gristmill.ir.builder import mb
from gristmill.ir.builtin import const
from gristmill.ir.opset import iOS18
from gristmill.ir.program import Function, Program
from gristmill.ir.types import StateType, TensorType, fp16, fp32
from gristmill.precision.unit_types import Placed
from gristmill.runtime.session import Session

WEIGHT = np.random.default_rng(4).standard_normal((6, 256)).astype(np.float16)
X = (np.random.default_rng(5).standard_normal((2, 256))).astype(np.float16)


def placed(*units: str) -> tuple[Function, list[Placed]]:
    """Two products and what follows them, on the units given."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp16, X.shape)}, iOS18) as (x,):
        y = mb.linear(x=x, weight=WEIGHT, name="y")
        mb.output(y, mb.matmul(x=mb.relu(x=y), y=y, transpose_y=True, name="z"))
    ops = [op for op in program.main.body if not isinstance(op, const)]
    return program.main, [Placed(unit, [op]) for unit, op in zip(units, ops, strict=True)]


def test_one_call_runs_all_profiles_of_the_units_in_use():
    """The float32 profile differs from float32 by its outputs' rounding alone; float16 sums are further off."""
    found = simulate(*placed("neural_engine", "cpu", "gpu"), {"x": X})
    names = ["neural_engine_float32", "neural_engine_float16", "gpu_float32", "gpu_float16"]
    assert list(found.results) == names
    exact = X.astype(np.float64) @ WEIGHT.astype(np.float64).T
    np.testing.assert_allclose(found.float32["y"], exact, rtol=1e-6, atol=1e-4)
    np.testing.assert_array_equal(found.results["neural_engine_float32"]["y"], exact.astype(np.float16))
    # Rounding to 11 bits leaves some 70 dB; a sum of 256 products with as many roundings loses about √256 = 24 dB more.
    assert found.snr_db["neural_engine_float32"]["y"] > 60 > found.snr_db["neural_engine_float16"]["y"] > 30
    assert found.snr_db["gpu_float16"]["y"] == found.snr_db["gpu_float32"]["y"]  # the engine makes y
    assert not np.array_equal(found.results["gpu_float16"]["z"], found.results["gpu_float32"]["z"])
    everything = np.stack([outputs["y"] for outputs in found.results.values()]).astype(np.float64)
    np.testing.assert_array_equal(found.low["y"], everything.min(0))
    np.testing.assert_array_equal(found.high["y"], everything.max(0))
    assert found.spread["y"] == (everything.max(0) - everything.min(0)).max() > 0
    assert "neural_engine_float16: " in str(found)
    assert "not Apple's own numbers" in str(found)


def test_profiles_are_chosen_by_name_or_made():
    mine = NumericsProfile("mine", "neural_engine", fp16, flushes_subnormals=False)
    found = simulate(*placed("neural_engine", "cpu", "cpu"), {"x": X}, profiles=["neural_engine_float32", mine])
    assert list(found.results) == ["neural_engine_float32", "mine"]
    with pytest.raises(InputError, match="runs nothing here"):
        simulate(*placed("neural_engine", "cpu", "cpu"), {"x": X}, profiles=["gpu_float32"])
    (alone,) = simulate(*placed("cpu", "cpu", "cpu"), {"x": X}).results
    assert alone == "cpu"


def test_numbers_that_only_some_profiles_give():
    """Activations whose squares are beyond float16: one profile loses them, and the spread says so."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp16, (1, 64))}, iOS18) as (x,):
        mb.output(mb.reduce_l2_norm(x=x, axes=[1], name="norm"))
    ops = [op for op in program.main.body if not isinstance(op, const)]
    found = simulate(program.main, [Placed("neural_engine", ops)], {"x": np.full((1, 64), 500, np.float16)})
    assert found.results["neural_engine_float32"]["norm"] == 4000
    assert np.isinf(found.results["neural_engine_float16"]["norm"])
    assert found.spread["norm"] == math.inf
    assert found.snr_db["neural_engine_float16"]["norm"] == -math.inf
    assert found.snr_db["neural_engine_float32"]["norm"] == math.inf


def test_a_number_beside_nan_is_as_far_apart_as_can_be():
    one, none = np.array([1.0, 2.0]), np.array([1.0, np.nan])
    assert Envelope({"a": {"y": one}, "b": {"y": none}}, {"y": one}).spread == {"y": math.inf}
    assert Envelope({"a": {"y": none}, "b": {"y": none}}, {"y": none}).spread == {"y": 0}


def test_every_run_begins_with_the_state_as_it_is():
    """A sum in a state: no run sees what another one wrote, and the caller's state stays."""
    program = Program()
    kinds = {"x": TensorType(fp16, (1,)), "s": StateType(TensorType(fp16, (1,)))}
    with mb.function(program, "main", kinds, iOS18) as (x, s):
        mb.output(mb.coreml_update_state(state=s, value=mb.add(x=mb.read_state(input=s), y=x), name="sum"))
    ops = [op for op in program.main.body if not isinstance(op, const)]
    state = Session(program.main, CpuDevice(1)).make_state()
    state.write("s", np.array([5], np.float16))
    found = simulate(program.main, [Placed("neural_engine", ops)], {"x": np.array([2], np.float16)}, state)
    assert [outputs["sum"].item() for outputs in found.results.values()] == [7, 7]
    assert found.float32["sum"].dtype == fp32.numpy
    assert state.read("s") == 5
