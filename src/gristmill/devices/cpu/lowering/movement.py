"""Moving and renaming data."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np

from gristmill.devices.base import Refusal
from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.layout import CHANNELS_LAST, PLAIN, Layout
from gristmill.devices.cpu.lowering.attention import rows_where_they_stand
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.ir.dims import Dim
from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.ops.image_resizing import crop
from gristmill.ops.sizes import sizes_of
from gristmill.ops.slicing import slice_by_index, slice_by_size, slice_update
from gristmill.ops.tensor_operation import concat, fill, fill_like, flatten2d, identity, pad, split, stack, tile
from gristmill.ops.tensor_transformation import expand_dims, reshape, reshape_like, reverse, squeeze, transpose


@lowers(reshape, reshape_like, expand_dims, squeeze, flatten2d, reads=("x",))
def _renamed(op: Op, emit: Emitter) -> None:
    emit.alias(op.result, emit.tensor(op.operand("x")))


@lowers(identity)
def _identity(op: identity, emit: Emitter) -> None:
    layout = emit.layout(op.x)
    emit.alias(op.result, emit.tensor(op.x, layout), layout)


@lowers(transpose)
def _transpose(op: transpose, emit: Emitter) -> None:
    x, rank, layout = op.x, op.x.rank, emit.layout(op.x)
    perm = tuple(axis % rank for axis in op.perm)
    last = CHANNELS_LAST.permutation(rank)
    wide = [axis for axis in perm if x.shape[axis] != 1]
    if layout is CHANNELS_LAST and perm == last:
        emit.alias(op.result, emit.tensor(x, CHANNELS_LAST))
    elif layout is PLAIN and tuple(perm[axis] for axis in last) == PLAIN.permutation(rank):
        emit.alias(op.result, emit.tensor(x), CHANNELS_LAST)
    elif layout is PLAIN and wide == sorted(wide):
        emit.alias(op.result, emit.tensor(x))
    else:
        emit.call("view", {"perm": list(perm)}, [emit.tensor(x)], [emit.result(op.result)])


def _few_interleaved(op: concat) -> Refusal | None:
    return Refusal("more than 8 axes") if op.interleave and op.result.rank == 8 else None


@lowers(concat, supports=_few_interleaved)
def _concat(op: concat, emit: Emitter) -> None:
    axis, rank = op.axis % op.result.rank, op.result.rank
    if op.interleave:
        _interleave(op, emit, axis)
        return
    last = any(emit.layout(value) is CHANNELS_LAST for value in op.values)
    layout = CHANNELS_LAST if last else PLAIN
    inputs = [emit.tensor(value, layout) for value in op.values]
    if op.values[0].rank == 0:
        inputs = [emit.renamed(tensor, op.result.dtype, [1]) for tensor in inputs]
    place = layout.permutation(rank).index(axis)
    emit.call("concat", {"axis": place}, inputs, [emit.result(op.result, layout)])


def _interleave(op: concat, emit: Emitter, axis: int) -> None:
    """Slices take turns: side by side on a new axis behind the one that is joined."""

    def with_turns(turns: int, shape: Sequence[Dim]) -> list[Dim]:
        return [*shape[: axis + 1], turns, *shape[axis + 1 :]]

    dtype = op.result.dtype
    shape = op.values[0].shape or (1,)
    parts = [emit.renamed(emit.tensor(value), dtype, with_turns(1, shape)) for value in op.values]
    result = emit.renamed(emit.result(op.result), dtype, with_turns(len(parts), shape))
    emit.call("concat", {"axis": axis + 1}, parts, [result])


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
    begin = sizes_of(op.begin)
    if begin is not None and all(isinstance(place, int) for place in begin):
        return None  # numbers always say from which end they count
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


@lowers(crop)
def _crop(op: crop, emit: Emitter) -> None:
    rank = op.x.rank
    begin = [0] * (rank - 2) + [op.crop_height[0], op.crop_width[0]]
    _slice(emit, op.x, begin, [1] * rank, op.result.shape, op.result)


@lowers(slice_update, supports=_known_start, reads=("x", "update"))
def _slice_update(op: slice_update, emit: Emitter) -> None:
    begin, steps, shape = _place(op, op.slice_shape or op.update.shape)
    update = emit.renamed(emit.tensor(op.update), op.update.dtype, shape)
    arguments = {"begin": emit.sizes(begin), "step": steps}
    results = emit.replaced(op, op.x, [(op.update.dtype, shape)])
    emit.call("update", arguments, [emit.tensor(op.x), update], results)


@lowers(split)
def _split(op: split, emit: Emitter) -> None:
    rank, axis = op.x.rank, op.axis % op.x.rank
    sizes = [part.shape[axis] for part in op.results]
    joined = tuple(sum(sizes) if a == axis else size for a, size in enumerate(op.x.shape))
    if joined != op.x.shape:  # equal parts of a size that may be no multiple of their number, which this refuses
        layout = emit.layout(op.x)
        emit.renamed(emit.tensor(op.x, layout), op.x.dtype, layout.order(joined))
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


# --- filling and padding ----------------------------------------------------------------------------------------------


def _number(emit: Emitter, value: float, kind: Value, rank: int) -> int:
    """A constant of one element in a value's type."""
    return emit.constant(np.full((1,) * rank, value, kind.dtype.numpy), kind.dtype.name)


def _fixed_shape(op: fill | fill_like) -> Refusal | None:
    # A size may be known only by running the op that the tensor comes from, which nobody else may need.
    fixed = all(isinstance(size, int) for size in op.result.shape)
    return None if fixed else Refusal("only fixed shapes are filled natively")


@lowers(fill, fill_like, supports=_fixed_shape, reads=())
def _fill(op: fill | fill_like, emit: Emitter) -> None:
    number = 0.0 if op.value is None or op.value.constant is None else op.value.constant.numpy().item()
    rank = op.result.rank
    emit.call("view", {"perm": list(range(rank))}, [_number(emit, number, op.result, rank)], [emit.result(op.result)])


Pairs: TypeAlias = "Sequence[tuple[int, int]]"
"""How much is added before and after, for each axis."""


def pad_with(emit: Emitter, number: float, x: Value, pairs: Pairs, to: int, layout: Layout = PLAIN) -> int:
    """Puts a tensor into a larger one that is filled with a number; negative amounts take elements away."""
    pairs, shape = layout.order(pairs), layout.order(x.shape)
    perm = list(range(x.rank))
    source = emit.tensor(x, layout)
    if any(amount < 0 for pair in pairs for amount in pair):
        begin = emit.sizes([max(0, -before) for before, _ in pairs])
        shape = [size + min(0, before) + min(0, after) for size, (before, after) in zip(shape, pairs, strict=True)]
        kept = emit.scratch(x.dtype.name, shape)
        emit.call("view", {"perm": perm, "begin": begin}, [source], [kept])
        source = kept
    arguments = {"begin": emit.sizes([max(0, before) for before, _ in pairs]), "step": [1] * x.rank}
    emit.call("update", arguments, [_number(emit, number, x, x.rank), source], [to])
    return to


def _amounts(op: pad) -> list[tuple[int, int]] | None:
    """For every axis; ``None`` where they are not known."""
    given = sizes_of(op.pad)
    known = [amount for amount in given or () if isinstance(amount, int)]
    if given is None or len(known) != len(given):
        return None
    amounts = [0] * (2 * op.x.rank - len(known)) + known
    return list(zip(amounts[::2], amounts[1::2], strict=True))


def _known_amounts(op: pad) -> Refusal | None:
    pairs = _amounts(op)
    if pairs is None:
        return Refusal("how much is padded is known only while the model runs")
    if op.mode == "constant" and not all(isinstance(size, int) for size in op.x.shape) and min(map(min, pairs)) < 0:
        return Refusal("more may be taken away than there is")
    return None


@lowers(pad, supports=_known_amounts, reads=("x",))
def _pad(op: pad, emit: Emitter) -> None:
    pairs, layout = _amounts(op), emit.layout(op.x)
    assert pairs is not None
    if op.mode == "constant":
        pad_with(emit, float(op.constant_val), op.x, pairs, emit.result(op.result, layout), layout)
        return
    # Axis by axis: a strip before, the tensor, a strip behind.
    tensor, shape = emit.tensor(op.x, layout), layout.order(op.x.shape)
    padded = [axis for axis, pair in enumerate(layout.order(pairs)) if any(pair)]
    if not padded:
        emit.alias(op.result, tensor, layout)
    for axis in padded:
        before, after = layout.order(pairs)[axis]
        grown = [*shape[:axis], shape[axis] + before + after, *shape[axis + 1 :]]
        to = emit.result(op.result, layout) if axis == padded[-1] else emit.scratch(op.x.dtype.name, grown)
        ends = (before, before), (shape[axis] - 2, after)
        if op.mode == "replicate":
            ends = (0, before), (shape[axis] - 1, after)
        step = -1 if op.mode == "reflect" else 0
        first, last = (_strip(emit, op.x.dtype.name, tensor, shape, axis, begin, step, n) for begin, n in ends)
        emit.call("concat", {"axis": axis}, [*first, tensor, *last], [to])
        tensor, shape = to, grown


def _strip(
    emit: Emitter, dtype: str, tensor: int, shape: Sequence[Dim], axis: int, begin: Dim, step: int, count: int
) -> list[int]:
    """``count`` slices along an axis, from ``begin`` on; nothing where they are none."""
    if count == 0:
        return []
    rank = len(shape)
    made = emit.scratch(dtype, [*shape[:axis], count, *shape[axis + 1 :]])
    arguments = {
        "perm": list(range(rank)),
        "begin": emit.sizes([begin if a == axis else 0 for a in range(rank)]),
        "step": [step if a == axis else 1 for a in range(rank)],
    }
    emit.call("view", arguments, [tensor], [made])
    return [made]
