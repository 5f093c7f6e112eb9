"""Moving and renaming data."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from gristmill.devices.base import Refusal
from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.layout import CHANNELS_LAST, PLAIN
from gristmill.devices.cpu.lowering.attention import rows_where_they_stand
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.ir.dims import Dim
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS17
from gristmill.ir.program import Value
from gristmill.ir.types import int32
from gristmill.ops.scatter_gather import gather, scatter
from gristmill.ops.sizes import sizes_of
from gristmill.ops.slicing import slice_by_index, slice_by_size, slice_update
from gristmill.ops.tensor_operation import concat, identity, split, stack, tile
from gristmill.ops.tensor_transformation import expand_dims, reshape, reverse, squeeze, transpose


@lowers(reshape, expand_dims, squeeze, reads=("x",))
def _renamed(op: Op, emit: Emitter) -> None:
    emit.alias(op.result, emit.tensor(op.operand("x")))


@lowers(identity)
def _identity(op: identity, emit: Emitter) -> None:
    layout = emit.layout(op.x)
    emit.alias(op.result, emit.tensor(op.x, layout), layout)


@lowers(transpose)
def _transpose(op: transpose, emit: Emitter) -> None:
    perm = tuple(axis % op.x.rank for axis in op.perm)
    if emit.layout(op.x) is CHANNELS_LAST and perm == CHANNELS_LAST.permutation(op.x.rank):
        emit.alias(op.result, emit.tensor(op.x, CHANNELS_LAST))
        return
    if emit.layout(op.x) is PLAIN and tuple(perm[a] for a in CHANNELS_LAST.permutation(op.x.rank)) == tuple(
        range(op.x.rank)
    ):
        emit.alias(op.result, emit.tensor(op.x), CHANNELS_LAST)
        return
    wide = [axis for axis in perm if op.x.shape[axis] != 1]
    if emit.layout(op.x) is PLAIN and wide == sorted(wide):
        emit.alias(op.result, emit.tensor(op.x))
        return
    emit.call("view", {"perm": list(perm)}, [emit.tensor(op.x)], [emit.result(op.result)])


def _plain_join(op: concat) -> Refusal | None:
    if op.interleave or any(value.rank == 0 for value in op.values):
        return Refusal("interleaving, and joining scalars, have no native kernel")
    return None


@lowers(concat, supports=_plain_join)
def _concat(op: concat, emit: Emitter) -> None:
    axis, rank = op.axis % op.result.rank, op.result.rank
    last = any(emit.layout(value) is CHANNELS_LAST for value in op.values)
    layout = CHANNELS_LAST if last else PLAIN
    inputs = [emit.tensor(value, layout) for value in op.values]
    place = layout.permutation(rank).index(axis)
    emit.call("concat", {"axis": place}, inputs, [emit.result(op.result, layout)])


@lowers(stack)
def _stack(op: stack, emit: Emitter) -> None:
    rank = op.result.rank
    axis = op.axis % rank
    parts = [
        emit.renamed(emit.tensor(value), value.dtype, [*value.shape[:axis], 1, *value.shape[axis:]])
        for value in op.values
    ]
    emit.call("concat", {"axis": axis}, parts, [emit.result(op.result)])


def _slice(emit: Emitter, x: Value, begin: Sequence[Dim], step: Sequence[int], shape: Sequence[Dim], to: Value) -> None:
    """A slice of a shape; the result may lack some of its axes of size 1."""
    if rows_where_they_stand(to, emit) is not None:
        return  # who uses it reads it there
    start = _start_if_dense(x.shape, begin, step, shape)
    if start is not None and emit.layout(x) is PLAIN:
        emit.alias(to, emit.tensor(x), start=start)
        return
    arguments = {"perm": list(range(x.rank)), "begin": emit.sizes(begin), "step": list(step)}
    emit.call("view", arguments, [emit.tensor(x)], [emit.renamed(emit.result(to), to.dtype, shape)])


def _start_if_dense(
    whole: Sequence[Dim], begin: Sequence[Dim], step: Sequence[int], shape: Sequence[Dim]
) -> Dim | None:
    """The element with which a slice begins, if its elements lie one behind the other."""
    start: Dim = 0
    stride: Dim = 1
    dense = True  # so far, from the innermost axis outwards, everything is taken
    for size, first, by, taken in zip(*map(reversed, (whole, begin, step, shape)), strict=True):
        if taken != 1 and (by != 1 or not dense):
            return None
        start = start + first * stride
        stride = stride * size
        dense = dense and taken == size
    return start


def _known_start(op: Any) -> Refusal | None:
    return None if op.starts() is not None else Refusal("where the slice begins is known only while the model runs")


def _place(op: Any, shape: Sequence[Dim]) -> tuple[list[Dim], list[int], list[Dim]]:
    """Where a slice by index begins, its steps, and its shape with the axes that ``squeeze_mask`` drops."""
    begin = op.starts()
    assert begin is not None
    dropped = op.squeeze_mask or [False] * op.x.rank
    sizes = iter(shape)
    whole = [1 if single else next(sizes) for single in dropped]
    steps = [1 if single else step for single, step in zip(dropped, op.stride or [1] * op.x.rank, strict=True)]
    return begin, steps, whole


@lowers(slice_by_size, supports=_known_start, reads=("x",))
def _slice_by_size(op: slice_by_size, emit: Emitter) -> None:
    begin = op.starts()
    assert begin is not None
    _slice(emit, op.x, begin, [1] * op.x.rank, op.result.shape, op.result)


@lowers(slice_by_index, supports=_known_start, reads=("x",))
def _slice_by_index(op: slice_by_index, emit: Emitter) -> None:
    _slice(emit, op.x, *_place(op, op.result.shape), op.result)


@lowers(slice_update, supports=_known_start, reads=("x", "update"))
def _slice_update(op: slice_update, emit: Emitter) -> None:
    begin, steps, shape = _place(op, op.update.shape)
    update = emit.renamed(emit.tensor(op.update), op.update.dtype, shape)
    arguments = {"begin": emit.sizes(begin), "step": steps}
    results = emit.replaced(op, op.x, [(op.update.dtype, shape)])
    emit.call("update", arguments, [emit.tensor(op.x), update], results)


@lowers(split)
def _split(op: split, emit: Emitter) -> None:
    rank, axis = op.x.rank, op.axis % op.x.rank
    sizes = [part.shape[axis] for part in op.results]
    for part, start in zip(op.results, accumulate(sizes, initial=0), strict=False):
        begin = [start if a == axis else 0 for a in range(rank)]
        _slice(emit, op.x, begin, [1] * rank, part.shape, part)


@lowers(reverse)
def _reverse(op: reverse, emit: Emitter) -> None:
    rank = op.x.rank
    turned = set(range(rank)) if op.axes is None else {axis % rank for axis in op.axes}
    begin = [op.x.shape[axis] - 1 if axis in turned else 0 for axis in range(rank)]
    _slice(emit, op.x, begin, [-1 if axis in turned else 1 for axis in range(rank)], op.result.shape, op.result)


def _few_axes(op: tile) -> Refusal | None:
    reps = sizes_of(op.reps)
    if reps is None:
        return Refusal("how often a tensor is repeated is known only while the model runs")
    return Refusal("more than 8 axes") if op.x.rank + sum(r != 1 for r in reps) > 8 else None


@lowers(tile, supports=_few_axes, reads=("x",))
def _tile(op: tile, emit: Emitter) -> None:
    reps = sizes_of(op.reps)
    assert reps is not None
    one: list[Dim] = []
    many: list[Dim] = []
    for size, times in zip(op.x.shape, reps, strict=True):
        if times != 1:
            one.append(1)
            many.append(times)
        one.append(size)
        many.append(size)
    source = emit.renamed(emit.tensor(op.x), op.x.dtype, one)
    result = emit.renamed(emit.result(op.result), op.x.dtype, many)
    emit.call("view", {"perm": list(range(len(one)))}, [source], [result])


def _unbatched(op: gather) -> Refusal | None:
    return Refusal("gathering along batches has no native kernel") if op.batch_dims else None


def _indices(op: Any, axis: int) -> dict[str, Any]:
    """How a kernel takes indices along an axis; the family's rule stands in ``gristmill.ops.scatter_gather``."""
    return {
        "axis": axis,
        "negative": not op.validate_indices,
        "forgives": op.opset >= iOS17 and not op.validate_indices,
    }


@lowers(gather, supports=_unbatched)
def _gather(op: gather, emit: Emitter) -> None:
    operands = [emit.tensor(op.x), emit.tensor(op.indices)]
    emit.call("gather", _indices(op, op.axis % op.x.rank), operands, [emit.result(op.result)])


def _replaces(op: scatter) -> Refusal | None:
    return None if op.mode == "update" else Refusal(f"scattering by '{op.mode}' has no native kernel")


@lowers(scatter, supports=_replaces)
def _scatter(op: scatter, emit: Emitter) -> None:
    operands = [emit.tensor(value) for value in (op.data, op.indices, op.updates)]
    results = emit.replaced(op, op.data, [(op.data.dtype, op.updates.shape), (int32, op.indices.shape)])
    emit.call("scatter", _indices(op, op.axis % op.data.rank), operands, results)
