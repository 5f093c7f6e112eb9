"""Attention."""

from __future__ import annotations

from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.ir.dims import Dim
from gristmill.ir.program import Value
from gristmill.ops.attention import scaled_dot_product_attention
from gristmill.ops.slicing import slice_by_index, slice_by_size


def rows_where_they_stand(value: Value, emit: Emitter) -> tuple[Value, Dim] | None:
    """The tensor of which a value is some rows, and the first of them, where only attention's keys or values are they.

    So the filled part of a cache needs no copy.
    """
    op = value.producer
    if not isinstance(op, slice_by_index | slice_by_size) or value.rank != op.x.rank or value.rank < 2:
        return None
    row = value.rank - 2
    if any(
        size != whole for axis, (size, whole) in enumerate(zip(value.shape, op.x.shape, strict=True)) if axis != row
    ):
        return None
    if isinstance(op, slice_by_index) and not set(op.stride or ()) <= {1}:
        return None
    users = emit.used_only_by(value)
    begin = op.starts()
    if users is None or begin is None:
        return None
    for user in users:
        if not isinstance(user, scaled_dot_product_attention) or value in (user.query, user.attn_mask):
            return None
    return op.x, begin[row]


@lowers(scaled_dot_product_attention)
def _attention(op: scaled_dot_product_attention, emit: Emitter) -> None:
    attributes = {}
    operands = [emit.tensor(op.query)]
    for name, value in (("key_rows", op.key), ("value_rows", op.value)):
        found = rows_where_they_stand(value, emit)
        if found is None:
            operands.append(emit.tensor(value))
            continue
        whole, first = found
        operands.append(emit.tensor(whole))
        attributes[name] = emit.sizes([first, value.shape[-2]])
    operands.append(-1 if op.attn_mask is None else emit.tensor(op.attn_mask))
    emit.call("attention", attributes, operands, [emit.result(op.result)])
