"""Inferred shapes hold for every size, computed shapes are followed, and hostile sizes are refused at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import ExecutionError, GristmillError, TypeInferenceError
from gristmill.ir.builder import mb
from gristmill.ir.dims import DimExpr, symbol
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp32, int32
from gristmill.runtime.session import Session

B, N = symbol("b", 0, 40), symbol("n", 0, 40)


def _program(make, types=None, opset=Opset.iOS17):
    program = Program()
    with mb.function(program, "main", types or {"x": TensorType(fp32, (B, N, 6))}, opset) as inputs:
        made = make(*inputs)
        mb.output(*(made if isinstance(made, tuple | list) else (made,)))
    return program


def _infer(make, types=None, opset=Opset.iOS17):
    return [value.type for value in _program(make, types, opset).main.outputs]


def _evaluated(shape, **sizes):
    return tuple(d.evaluate(sizes) if isinstance(d, DimExpr) else d for d in shape)


RULES = {
    "reshape": lambda x: mb.reshape(x=x, shape=[-1, 3]),
    "reshape-copies": lambda x: mb.reshape(x=x, shape=[0, 0, 2, -1]),
    "flatten2d": lambda x: mb.flatten2d(x=x, axis=-1),
    "expand_dims": lambda x: mb.expand_dims(x=x, axes=[0, -2]),
    "squeeze": lambda x: mb.squeeze(x=mb.expand_dims(x=x, axes=[1])),
    "transpose": lambda x: mb.transpose(x=x, perm=[2, 0, 1]),
    "slice_by_index": lambda x: mb.slice_by_index(x=x, begin=[1, -5, 5], end=[9, -1, 0], stride=[2, 3, -2]),
    "slice_by_size": lambda x: mb.slice_by_size(x=x, begin=[2, 0, -3], size=[-1, 1, 2]),
    "concat": lambda x: mb.concat(values=[x, x, x], axis=1),
    "interleave": lambda x: mb.concat(values=[x, x], axis=0, interleave=True),
    "stack": lambda x: mb.stack(values=[x, x], axis=-1),
    "split": lambda x: mb.split(x=x, split_sizes=[1, 5], axis=2),
    "tile": lambda x: mb.tile(x=x, reps=[2, 1, 3]),
    "pad": lambda x: mb.pad(x=x, pad=[1, 2, 0, 3]),
    "pad-crops": lambda x: mb.pad(x=x, pad=[-1, 0, 0, -2]),
    "sliding_windows": lambda x: mb.sliding_windows(x=x, axis=1, size=2, stride=3),
    "gather": lambda x: mb.gather(x=x, indices=[[0, 1], [1, 0]], axis=-1),
    "gather_nd": lambda x: mb.gather_nd(x=x, indices=[[0, 1], [1, 0]]),
    "topk": lambda x: mb.topk(x=x, k=2, axis=1),
    "one_hot": lambda x: mb.one_hot(indices=mb.cast(x=x, dtype="int32"), one_hot_vector_size=4, axis=1),
    "select": lambda x: mb.select(cond=True, a=x, b=0.0),
    "space": lambda x: mb.space_to_depth(x=mb.expand_dims(x=mb.tile(x=x, reps=[1, 2, 1]), axes=[0]), block_size=2),
    "computed": lambda x: mb.fill(shape=mb.mul(x=mb.shape(x=x), y=np.int32(2)), value=1.0),
    "computed-range": lambda x: mb.range_1d(start=1, end=mb.gather(x=mb.shape(x=x), indices=1), step=3),
    "computed-tile": lambda x: mb.tile(
        x=x, reps=mb.concat(values=[mb.slice_by_size(x=mb.shape(x=x), begin=[0], size=[1]), [1, 2]], axis=0)
    ),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("b", "n"), [(3, 4), (5, 10), (8, 7)])
def test_symbolic_shape_is_the_shape_at_run_time(rule, b, n):
    """The inferred expression, evaluated, is what the op makes of a tensor of that size; nothing is left unknown."""
    if rule == "space" and b % 2:
        b += 1
    program = _program(RULES[rule])
    x = np.arange(b * n * 6, dtype=np.float32).reshape(b, n, 6)
    results = Session(program.main, ReferenceDevice()).run({"x": x}).values()
    for value, array in zip(program.main.outputs, results, strict=True):
        assert _evaluated(value.shape, b=b, n=n) == array.shape


@given(
    size=st.integers(0, 12),
    begin=st.integers(-15, 15),
    end=st.integers(-15, 15),
    stride=st.sampled_from([1, 2, 3, -1, -2, -5]),
    masks=st.tuples(st.booleans(), st.booleans()),
)
def test_slices_follow_numpy(size, begin, end, stride, masks):
    """Size, elements and the symbolic size are those of a Python slice, for all limits, strides and masks."""
    arguments = {
        "begin": [begin],
        "end": [end],
        "stride": [stride],
        "begin_mask": [masks[0]],
        "end_mask": [masks[1]],
    }
    wanted = np.arange(size)[None if masks[0] else begin : None if masks[1] else end : stride]
    length = symbol("length", 0, 12)
    program = _program(lambda x: mb.slice_by_index(x=x, **arguments), {"x": TensorType(int32, (length,))})
    assert _evaluated(program.main.outputs[0].shape, length=size) == wanted.shape
    (got,) = Session(program.main, ReferenceDevice()).run({"x": np.arange(size, dtype=np.int32)}).values()
    assert got.tolist() == wanted.tolist()


@given(size=st.integers(1, 20), indices=st.lists(st.integers(-25, 25), max_size=5), axis=st.sampled_from([0, 1, -1]))
def test_gather_follows_numpy_within_range(size, indices, axis):
    """In range the elements are NumPy's; out of range it is an error before iOS17."""
    x = np.arange(size * size, dtype=np.int32).reshape(size, size)
    program = _program(
        lambda x: mb.gather(x=x, indices=np.array(indices, np.int32), axis=axis),
        {"x": TensorType(int32, x.shape)},
        Opset.iOS16,
    )
    session = Session(program.main, ReferenceDevice())
    if all(-size <= k < size for k in indices):
        (got,) = session.run({"x": x}).values()
        assert got.tolist() == np.take(x, np.array(indices, int), axis).tolist()
    else:
        with pytest.raises(ExecutionError, match="out of range"):
            session.run({"x": x})


def test_a_shape_that_the_program_computes_is_followed():
    """What attention layers do: split the last axis by sizes read from the shape."""

    def make(x):
        shape = mb.shape(x=x)
        batch, length = (mb.gather(x=shape, indices=k, axis=0) for k in (0, 1))
        heads = mb.reshape(x=x, shape=mb.concat(values=[batch, length, 2, -1], axis=0))
        return heads, mb.reshape(
            x=mb.transpose(x=heads, perm=[0, 2, 1, 3]), shape=mb.stack(values=[batch, 2, -1], axis=0)
        )

    heads, flat = _infer(make)
    assert heads.shape == (B, N, 2, 3)
    assert flat.shape == (B, 2, 3 * N)


def test_unknown_sizes_have_bounds():
    """A slice whose limits are not known is no longer than its axis."""
    types = {"x": TensorType(fp32, (7, N)), "k": TensorType(int32, (2,))}
    (found,) = _infer(lambda x, k: mb.slice_by_index(x=x, begin=k, end=[3, 3]), types)
    assert [d.bounds for d in found.shape] == [(0, 7), (0, 40)]


HUGE = {
    "fill": lambda: mb.fill(shape=[2**31 - 1, 2**31 - 1]),
    "range_1d": lambda: mb.range_1d(start=0.0, end=np.float32(1e38), step=np.float32(1e-38)),
    "pad": lambda: mb.pad(x=np.zeros((2, 2), np.float32), pad=[2**31 - 1] * 4),
    "one_hot": lambda: mb.one_hot(indices=np.zeros(2**16, np.int32), one_hot_vector_size=2**31 - 1),
    "tile": lambda: mb.tile(x=np.zeros((1, 1, 1), np.float32), reps=[2**31 - 1] * 3),
}


@pytest.mark.parametrize("name", HUGE)
def test_absurd_static_sizes_are_refused(name):
    """More elements than any machine holds are no tensor."""
    with pytest.raises(TypeInferenceError, match=r"too large|finite"):
        _infer(lambda x: HUGE[name]())


ABSURD = {
    "fill": lambda k: mb.fill(shape=mb.concat(values=[k, k], axis=0)),
    "tile": lambda k: mb.tile(x=np.zeros((4, 4), np.float32), reps=mb.concat(values=[k, k], axis=0)),
    "range_1d": lambda k: mb.range_1d(start=0.0, end=mb.cast(x=mb.squeeze(x=k), dtype="fp32"), step=np.float32(1e-9)),
    "pad": lambda k: mb.pad(x=np.zeros((2, 2), np.float32), pad=mb.concat(values=[k, k, k, k], axis=0)),
    "one_hot": lambda k: mb.one_hot(indices=np.zeros(2**16, np.int32), one_hot_vector_size=mb.squeeze(x=k)),
    "negative-fill": lambda k: mb.fill(shape=mb.sub(x=[0], y=k)),
    "negative-tile": lambda k: mb.tile(x=np.zeros(4, np.float32), reps=mb.sub(x=[0], y=k)),
    "zero-step": lambda k: mb.range_1d(start=0, end=5, step=mb.squeeze(x=mb.sub(x=k, y=k))),
    "list": lambda k: mb.list_length(ls=mb.make_list(init_length=mb.squeeze(x=k), elem_shape=[1])),
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_sizes_at_run_time_are_refused(name):
    """Sizes that come from values fail cleanly, without the memory being asked for."""
    program = _program(lambda k: ABSURD[name](k), {"k": TensorType(int32, (1,))})
    with pytest.raises(ExecutionError):
        Session(program.main, ReferenceDevice()).run({"k": np.array([2**31 - 1], np.int32)})


MISFITS = {
    "reshape-two-rests": lambda x: mb.reshape(x=x, shape=[-1, -1]),
    "reshape-count": lambda x: mb.reshape(x=np.zeros(6, np.float32), shape=[4, -1]),
    "reshape-copy-nothing": lambda x: mb.reshape(x=np.zeros((0, 2), np.float32), shape=[0, -1]),
    "transpose-twice": lambda x: mb.transpose(x=x, perm=[0, 0, 1]),
    "transpose-short": lambda x: mb.transpose(x=x, perm=[0, 1]),
    "squeeze-axis": lambda x: mb.squeeze(x=x, axes=[3]),
    "expand-axis": lambda x: mb.expand_dims(x=x, axes=[5]),
    "slice-stride": lambda x: mb.slice_by_index(x=x, begin=[0] * 3, end=[1] * 3, stride=[0, 1, 1]),
    "slice-rank": lambda x: mb.slice_by_index(x=x, begin=[0] * 2, end=[1] * 3),
    "update-shape": lambda x: mb.slice_update(x=x, update=np.zeros((1, 1, 2), np.float32), begin=[0] * 3, end=[1] * 3),
    "concat-nothing": lambda x: mb.concat(values=[], axis=0),
    "concat-shapes": lambda x: mb.concat(values=[x, np.zeros((1, 1, 5), np.float32)], axis=0),
    "split-uneven": lambda x: mb.split(x=x, num_splits=4, axis=2),
    "split-sum": lambda x: mb.split(x=x, split_sizes=[1, 2], axis=2),
    "pad-odd": lambda x: mb.pad(x=x, pad=[1, 1, 1]),
    "reflect-far": lambda x: mb.pad(x=x, pad=[6, 0], mode="reflect"),
    "topk-many": lambda x: mb.topk(x=x, k=7),
    "windows": lambda x: mb.sliding_windows(x=x, axis=2, size=9),
    "blocks": lambda x: mb.space_to_depth(x=np.zeros((1, 1, 3, 4), np.float32), block_size=2),
    "nms-boxes": lambda x: mb.non_maximum_suppression(
        boxes=np.zeros((1, 5, 9), np.float32), scores=np.zeros((1, 1, 9), np.float32), iou_threshold=0.5, max_boxes=2
    ),
    "batch-dims": lambda x: mb.gather(x=x, indices=np.zeros((1, 1), np.int32), axis=0, batch_dims=1),
    "scatter-shape": lambda x: mb.scatter(data=x, indices=[0, 1], updates=np.zeros((2, 2, 5), np.float32)),
    "nd-depth": lambda x: mb.gather_nd(x=x, indices=np.zeros((2, 4), np.int32)),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_is_refused_with_the_op_named(name):
    """The error is the package's own and names the op."""
    with pytest.raises(GristmillError) as caught:
        _infer(lambda x: MISFITS[name](x), opset=Opset.iOS18)
    assert caught.value.op
