"""Ops that hold blocks: which of them run, how often, and what is known of their results."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import ExecutionError, TypeInferenceError
from gristmill.ir.builder import mb
from gristmill.ir.dims import DimExpr
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, bool_, fp32, int32
from gristmill.runtime.session import Session


def _branch(make):
    with mb.nested() as block:
        mb.output(*make())
    return block


def _run(program, **inputs):
    return list(Session(program.main, ReferenceDevice()).run(inputs).values())


def _conditional(yes, no, pred=()):
    program = Program()
    types = {"p": TensorType(bool_, pred), "x": TensorType(fp32, (2,)), "i": TensorType(int32, (1,))}
    with mb.function(program, "main", types, Opset.iOS15) as (p, x, i):
        result = mb.op("cond", pred=p, blocks=[_branch(lambda: yes(x, i)), _branch(lambda: no(x, i))])
        mb.output(*(result if isinstance(result, tuple) else (result,)))
    return program


def test_cond_runs_the_block_that_pred_names():
    """True takes the first block, false the second; a block may have several outputs."""
    program = _conditional(lambda x, i: (mb.relu(x=x), i), lambda x, i: (x, mb.shape(x=x)))
    x, i = np.array([-1, 2], np.float32), np.array([7], np.int32)
    np.testing.assert_array_equal(_run(program, p=np.array(True), x=x, i=i)[0], [0, 2])
    np.testing.assert_array_equal(_run(program, p=np.array(False), x=x, i=i)[0], [-1, 2])
    assert [_run(program, p=np.array(p), x=x, i=i)[1].tolist() for p in (True, False)] == [[7], [2]]


def test_cond_takes_a_tensor_of_one_element():
    """Converters make predicates of shape [1], too."""
    program = _conditional(lambda x, i: (x,), lambda x, i: (mb.relu(x=x),), pred=(1,))
    x, i = np.array([-1, 2], np.float32), np.array([0], np.int32)
    np.testing.assert_array_equal(_run(program, p=np.array([True]), x=x, i=i)[0], [-1, 2])


def test_only_the_taken_block_runs():
    """What would fail in the other block does no harm."""
    program = _conditional(
        lambda x, i: (mb.gather(x=x, indices=i),), lambda x, i: (mb.slice_by_size(x=x, begin=[0], size=[1]),)
    )
    inputs = {"x": np.array([1, 2], np.float32), "i": np.array([9], np.int32)}
    assert _run(program, p=np.array(False), **inputs)[0].tolist() == [1]
    with pytest.raises(ExecutionError, match="index 9 is out of range"):
        _run(program, p=np.array(True), **inputs)


def test_sizes_that_differ_between_the_blocks_are_unknown():
    """The result's type holds for either block."""
    program = _conditional(lambda x, i: (x,), lambda x, i: (mb.concat(values=[x, x], axis=0),))
    (dim,) = program.main.outputs[0].shape
    assert isinstance(dim, DimExpr)
    x, i = np.array([1, 2], np.float32), np.array([0], np.int32)
    assert [len(_run(program, p=np.array(p), x=x, i=i)[0]) for p in (True, False)] == [2, 4]


@pytest.mark.parametrize(
    "other",
    [lambda x, i: (i,), lambda x, i: (x, x), lambda x, i: (mb.expand_dims(x=x, axes=[0]),)],
    ids=["dtype", "number", "rank"],
)
def test_cond_refuses_blocks_that_disagree(other):
    """Element type, rank and number of outputs are the same."""
    with pytest.raises(TypeInferenceError, match="the same types"):
        _conditional(lambda x, i: (x,), other)


def _loop(types, condition, body, opset=Opset.iOS15, start=None):
    """A loop whose variables are the function's inputs, or start from what ``start`` makes of them."""
    program = Program()
    with mb.function(program, "main", types, opset) as inputs:
        variables = start(*inputs) if start else inputs
        blocks = []
        for make in (condition, body):
            with mb.nested({f"v{k}": v.type for k, v in enumerate(variables)}) as block:
                made = make(*block.arguments)
                mb.output(*(made if isinstance(made, tuple) else (made,)))
            blocks.append(block)
        result = mb.op("while_loop", loop_vars=variables, blocks=blocks)
        mb.output(*(result if isinstance(result, tuple) else (result,)))
    return program


SUM = {"n": TensorType(int32, ()), "total": TensorType(int32, ())}


def test_loop_repeats_until_the_condition_fails():
    """5 + 4 + 3 + 2 + 1 = 15; the last values of the variables are the results."""
    program = _loop(
        SUM, lambda n, total: mb.greater(x=n, y=0), lambda n, total: (mb.sub(x=n, y=1), mb.add(x=total, y=n))
    )
    assert [v.item() for v in _run(program, n=np.array(5, np.int32), total=np.array(0, np.int32))] == [0, 15]


def test_loop_may_not_run_at_all():
    """The condition is asked first."""
    program = _loop(
        SUM, lambda n, total: mb.greater(x=n, y=0), lambda n, total: (mb.sub(x=n, y=1), mb.add(x=total, y=n))
    )
    assert [v.item() for v in _run(program, n=np.array(-3, np.int32), total=np.array(8, np.int32))] == [-3, 8]


def test_loop_inside_a_branch_inside_a_loop():
    """Blocks nest: sums the odd numbers up to n."""

    def body(n, total):
        odd = mb.equal(x=mb.mod(x=n, y=2), y=1)
        step = mb.op("cond", pred=odd, blocks=[_branch(lambda: (n,)), _branch(lambda: (mb.mul(x=n, y=0),))])
        return mb.sub(x=n, y=1), mb.add(x=total, y=step)

    program = _loop(SUM, lambda n, total: mb.greater(x=n, y=0), body)
    assert _run(program, n=np.array(9, np.int32), total=np.array(0, np.int32))[1] == 25


def test_loop_refuses_a_body_of_another_type():
    """Element types and ranks stay what they were."""
    with pytest.raises(TypeInferenceError, match="outputs of the body"):
        _loop(SUM, lambda n, total: mb.greater(x=n, y=0), lambda n, total: (n, mb.greater(x=n, y=0)))


def test_loop_refuses_a_condition_that_is_no_truth_value():
    """The condition is one bool."""
    with pytest.raises(TypeInferenceError, match="one truth value"):
        _loop(SUM, lambda n, total: total, lambda n, total: (n, total))
