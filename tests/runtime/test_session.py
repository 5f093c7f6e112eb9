"""Sessions: which inputs they take, what states do when a run fails, and what an observer sees."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import ExecutionError, InputError, InputTypeError, StateError
from gristmill.ir.builder import mb
from gristmill.ir.dims import symbol
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import StateType, TensorType, fp32, int32
from gristmill.runtime.session import Session


def session(inputs, build, opset=Opset.iOS17) -> Session:
    program = Program()
    with mb.function(program, "main", inputs, opset) as values:
        mb.output(build(*values))
    return Session(program.main, ReferenceDevice())


@pytest.fixture
def adder() -> Session:
    """``x + y`` for two vectors of one unknown length from 2 to 5."""
    vector = TensorType(fp32, (symbol("n", lower=2, upper=5),))
    return session({"x": vector, "y": vector}, lambda x, y: mb.add(x=x, y=y, name="sum"))


def zeros(n: int) -> np.ndarray:
    return np.zeros(n, np.float32)


def test_sizes_vary_within_their_bounds(adder):
    """Any length within the bounds runs."""
    assert adder.run({"x": zeros(2), "y": zeros(2)})["sum"].shape == (2,)
    assert adder.run({"x": zeros(5), "y": zeros(5)})["sum"].shape == (5,)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({"x": zeros(6), "y": zeros(6)}, InputError, "out of range on axis 0"),
        ({"x": zeros(2), "y": zeros(3)}, InputError, "disagrees with input 'x' on size 'n'"),
        ({"x": zeros(2)}, InputError, "input 'y' is missing"),
        ({"x": zeros(2), "y": zeros(2), "z": zeros(2)}, InputError, "there is no input 'z'"),
        ({"x": zeros(2), "y": np.zeros((2, 1), np.float32)}, InputError, "another rank"),
        ({"x": zeros(2), "y": np.zeros(2)}, InputTypeError, "another element type"),
    ],
    ids=["size", "agreement", "missing", "unknown", "rank", "type"],
)
def test_inputs_that_do_not_fit(adder, inputs, error, message):
    """What does not fit is named, before anything runs."""
    with pytest.raises(error, match=message):
        adder.run(inputs)


def test_observer_sees_every_result_in_order():
    """An observer is told of each op that is no constant, once."""
    chain = session({"x": TensorType(fp32, (1,))}, lambda x: mb.exp(x=mb.relu(x=mb.add(x=x, y=1.0))))
    seen = []
    chain.run({"x": zeros(1)}, observe=lambda op, results: seen.append((op.op_name, float(results[0][0]))))
    assert seen == [("add", 1.0), ("relu", 1.0), ("exp", pytest.approx(np.e))]


@pytest.fixture
def counter() -> Session:
    """Adds to a state, then looks up an element of a table, which fails for an index out of range."""

    def build(total, index):
        mb.coreml_update_state(state=total, value=mb.add(x=mb.read_state(input=total), y=1.0))
        return mb.gather(x=np.arange(3, dtype=np.float32), indices=index, axis=0, validate_indices=True)

    states = {"total": StateType(TensorType(fp32, (2,))), "index": TensorType(int32, (1,))}
    return session(states, build, Opset.iOS18)


def test_state_changes_with_each_run(counter):
    """Each run sees what the one before it left."""
    state = counter.make_state()
    for _ in range(3):
        counter.run({"index": np.array([0], np.int32)}, state)
    np.testing.assert_array_equal(state.read("total"), [3, 3])


def test_failed_run_leaves_the_state_as_it_was(counter):
    """The state is written before the op that fails, and yet keeps its contents."""
    state = counter.make_state()
    counter.run({"index": np.array([0], np.int32)}, state)
    with pytest.raises(ExecutionError):
        counter.run({"index": np.array([7], np.int32)}, state)
    np.testing.assert_array_equal(state.read("total"), [1, 1])


def test_state_in_use_is_refused(counter):
    """Two runs cannot have one state at a time; a read during a run is refused too."""
    state = counter.make_state()

    def meddle(op, results):
        with pytest.raises(StateError, match="in use"):
            state.read("total")

    counter.run({"index": np.array([0], np.int32)}, state, observe=meddle)


def test_state_is_needed(counter):
    """A function with states does not run without."""
    with pytest.raises(StateError, match="make_state"):
        counter.run({"index": np.array([0], np.int32)})
