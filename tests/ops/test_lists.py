"""Lists of tensors: written in loops, read and gathered, fixed and growing."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import ExecutionError, TypeInferenceError
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import ListType, TensorType, fp16, fp32, int32
from gristmill.runtime.session import Session

INPUTS = {"i": TensorType(int32, ()), "x": TensorType(fp32, (2,))}


def _run(make, i=0, x=(1, 2)):
    """Results of ops on the inputs ``i`` and ``x``."""
    program = Program()
    with mb.function(program, "main", INPUTS, Opset.iOS15) as inputs:
        mb.output(*make(*inputs))
    arrays = {"i": np.array(i, np.int32), "x": np.array(x, np.float32)}
    return [array.tolist() for array in Session(program.main, ReferenceDevice()).run(arrays).values()]


def _three(**more):
    return mb.make_list(init_length=3, dynamic_length=False, elem_shape=[2], **more)


def test_written_elements_are_read_back_and_others_are_zero():
    """The element at i is x, the others were never written."""
    assert _run(lambda i, x: [_at(mb.list_write(ls=_three(), index=i, value=x), k) for k in range(3)], i=1) == [
        [0, 0],
        [1, 2],
        [0, 0],
    ]


def _at(ls, index):
    return mb.list_read(ls=ls, index=index)


def test_a_write_makes_another_list():
    """The list that was written to is as before."""

    def make(i, x):
        before = _three()
        after = mb.list_write(ls=before, index=0, value=x)
        return _at(before, 0), _at(after, 0)

    assert _run(make) == [[0, 0], [1, 2]]


def test_gather_stacks_and_scatter_spreads():
    """Elements stand along a new first axis, in the order of the indices, repeated ones too."""

    def make(i, x):
        rows = mb.stack(values=[x, mb.mul(x=x, y=10.0)], axis=0)
        scattered = mb.list_scatter(ls=_three(), indices=[2, 0], value=rows)
        return mb.list_gather(ls=scattered, indices=[0, 1, 2, 0]), mb.list_gather(
            ls=scattered, indices=np.zeros(0, np.int32)
        )

    assert _run(make) == [[[10, 20], [0, 0], [1, 2], [10, 20]], []]


def test_a_growing_list_grows_to_the_index_written():
    """From one element to five; a length is the runtime one."""

    def make(i, x):
        grown = mb.list_write(ls=mb.make_list(elem_shape=[2]), index=i, value=x)
        return mb.list_length(ls=grown), _at(grown, 4), _at(grown, 3)

    assert _run(make, i=4) == [5, [1, 2], [0, 0]]


def test_length_may_be_computed():
    """``init_length`` need not be a constant."""
    assert _run(lambda i, x: (mb.list_length(ls=mb.make_list(init_length=i, elem_shape=[2])),), i=7) == [7]


@pytest.mark.parametrize("index", [3, -1])
def test_index_outside_a_fixed_list_is_an_error(index):
    """Neither reading nor writing is possible there."""
    with pytest.raises(ExecutionError, match="out of range"):
        _run(lambda i, x: (_at(mb.list_write(ls=_three(), index=i, value=x), 0),), i=index)
    with pytest.raises(ExecutionError, match="out of range"):
        _run(lambda i, x: (_at(_three(), i),), i=index)


@pytest.mark.parametrize("index", [2**31 - 1, -(2**31)])
def test_a_growing_list_refuses_an_absurd_index(index):
    """Memory stays bounded whatever the index."""
    with pytest.raises(ExecutionError, match="out of range"):
        _run(lambda i, x: (_at(mb.list_write(ls=mb.make_list(elem_shape=[2]), index=i, value=x), 0),), i=index)


def test_absurd_lengths_are_refused():
    """In the program, and when it runs."""
    with pytest.raises(TypeInferenceError, match="sensible length"):
        _run(lambda i, x: (mb.list_length(ls=mb.make_list(init_length=2**30, elem_shape=[2])),))
    with pytest.raises(ExecutionError, match="elements"):
        _run(lambda i, x: (mb.list_length(ls=mb.make_list(init_length=i, elem_shape=[2])),), i=2**30)


def test_a_value_of_another_type_is_refused():
    """Element type and shape are the list's."""
    for kind in ({"dtype": "fp16"}, {"dtype": "int32"}):
        with pytest.raises(TypeInferenceError, match="the elements' type"):
            _run(lambda i, x, kind=kind: (_at(mb.list_write(ls=_three(**kind), index=i, value=x), 0),))
    with pytest.raises(TypeInferenceError, match="the elements' type"):
        _run(lambda i, x: (_at(mb.list_write(ls=_three(), index=i, value=mb.tile(x=x, reps=[2])), 0),))


def test_types_of_lists():
    """A string stands for a size that is not known."""
    program = Program()
    with mb.function(program, "main", INPUTS, Opset.iOS15) as (_, x):
        fixed = mb.make_list(init_length=3, dynamic_length=False, elem_shape=[2, 5], dtype="fp16")
        assert fixed.type == ListType(TensorType(fp16, (2, 5)), 3, dynamic=False)
        open_ = mb.make_list(elem_shape=["n"])
        assert open_.type.dynamic
        assert mb.list_write(ls=open_, index=0, value=x).type == open_.type
        assert mb.list_gather(ls=fixed, indices=[1]).type == TensorType(fp16, (1, 2, 5))


def test_a_list_collects_what_a_loop_makes():
    """Squares of 0 to 3, one a round."""
    program = Program()
    with mb.function(program, "main", {"n": TensorType(int32, ())}, Opset.iOS15) as (n,):
        start = [mb.identity(x=np.int32(0)), mb.make_list(init_length=1, elem_shape=[1], dtype="int32")]
        types = {"k": start[0].type, "ls": start[1].type}
        with mb.nested(types) as condition:
            mb.output(mb.less(x=condition.arguments[0], y=n))
        with mb.nested(types) as body:
            k, ls = body.arguments
            square = mb.expand_dims(x=mb.mul(x=k, y=k), axes=[0])
            mb.output(mb.add(x=k, y=1), mb.list_write(ls=ls, index=k, value=square))
        _, ls = mb.op("while_loop", loop_vars=start, blocks=[condition, body])
        mb.output(mb.list_gather(ls=ls, indices=mb.range_1d(start=0, end=mb.list_length(ls=ls), step=1)))
    (got,) = Session(program.main, ReferenceDevice()).run({"n": np.array(4, np.int32)}).values()
    assert got.tolist() == [[0], [1], [4], [9]]
