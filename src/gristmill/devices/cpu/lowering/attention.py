"""Attention."""

from __future__ import annotations

from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.ops.attention import scaled_dot_product_attention


@lowers(scaled_dot_product_attention)
def _attention(op: scaled_dot_product_attention, emit: Emitter) -> None:
    operands = [emit.tensor(value) for value in (op.query, op.key, op.value)]
    operands.append(-1 if op.attn_mask is None else emit.tensor(op.attn_mask))
    emit.call("attention", {}, operands, [emit.result(op.result)])
