"""Ops on states: what one prediction writes the next one reads, in the order of the program."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import ExecutionError, TypeInferenceError
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import StateType, TensorType, fp16, int32
from gristmill.runtime.session import Session

TYPES = {"s": StateType(TensorType(fp16, (3,))), "x": TensorType(fp16, (3,)), "i": TensorType(int32, (1,))}
ONE = {"x": np.array([1, 2, 3], np.float16), "i": np.array([0], np.int32)}


def _session(make):
    program = Program()
    with mb.function(program, "main", TYPES, Opset.iOS18) as inputs:
        mb.output(*make(*inputs))
    session = Session(program.main, ReferenceDevice())
    return session, session.make_state()


def _run(session, state, **inputs):
    return [array.tolist() for array in session.run({**ONE, **inputs}, state).values()]


def test_a_state_accumulates_over_predictions():
    """Each prediction adds x to what the last one left; a state starts as zeros."""
    session, state = _session(
        lambda s, x, i: (mb.coreml_update_state(state=s, value=mb.add(x=mb.read_state(input=s), y=x)),)
    )
    assert [_run(session, state) for _ in range(3)] == [[[1, 2, 3]], [[2, 4, 6]], [[3, 6, 9]]]
    assert state.read("s").tolist() == [3, 6, 9]


def test_reads_and_writes_keep_their_order():
    """What was read before a write is not changed by it."""

    def make(s, x, i):
        before = mb.read_state(input=s)
        mb.write_state(input=s, data=x)
        return before, mb.read_state(input=s)

    session, state = _session(make)
    assert _run(session, state) == [[0, 0, 0], [1, 2, 3]]


def test_a_failed_prediction_leaves_the_state():
    """The write before the failing op is undone."""

    def make(s, x, i):
        mb.write_state(input=s, data=x)
        return (mb.gather(x=x, indices=i, validate_indices=True),)

    session, state = _session(make)
    with pytest.raises(ExecutionError, match="out of range"):
        _run(session, state, i=np.array([5], np.int32))
    assert state.read("s").tolist() == [0, 0, 0]


def test_effects_name_the_state():
    """Passes order ops by these."""
    program = Program()
    with mb.function(program, "main", TYPES, Opset.iOS18) as (s, x, _):
        mb.coreml_update_state(state=s, value=mb.read_state(input=s))
        mb.write_state(input=s, data=x)
    kinds = [[(e.kind, e.state.name) for e in op.effects()] for op in program.main.body]
    assert kinds == [[("read", "s")], [("write", "s"), ("read", "s")], [("write", "s")]]


@pytest.mark.parametrize("op", ["write_state", "coreml_update_state"])
def test_a_value_of_another_type_is_refused(op):
    """Shape and element type are the state's."""
    names = ("input", "data") if op == "write_state" else ("state", "value")
    with pytest.raises(TypeInferenceError, match="the state's type"):
        _session(lambda s, x, i: (mb.op(op, **{names[0]: s, names[1]: i}),))


def test_states_are_not_in_older_opsets():
    """They came with iOS18."""
    program = Program()
    with (
        pytest.raises(TypeInferenceError, match="not in this opset"),
        mb.function(program, "main", {"s": TYPES["s"]}, Opset.iOS17) as (s,),
    ):
        mb.read_state(input=s)
