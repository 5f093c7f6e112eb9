"""Moving and renaming data."""

from __future__ import annotations

from gristmill.devices.base import Refusal
from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.layout import CHANNELS_LAST, PLAIN
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.ir.op import Op
from gristmill.ops.tensor_operation import concat, identity
from gristmill.ops.tensor_transformation import expand_dims, reshape, squeeze, transpose


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
    emit.call("permute", {"perm": list(perm)}, [emit.tensor(op.x)], [emit.result(op.result)])


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
