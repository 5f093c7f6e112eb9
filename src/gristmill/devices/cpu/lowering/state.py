"""States: what a segment finds in one, and what it leaves there."""

from __future__ import annotations

from gristmill.devices.cpu.emit import Emitter
from gristmill.devices.cpu.lowering.registry import lowers
from gristmill.ops.state import coreml_update_state, read_state, write_state


@lowers(read_state)
def _read(op: read_state, emit: Emitter) -> None:
    emit.alias(op.result, emit.state(op.input))


@lowers(write_state)
def _write(op: write_state, emit: Emitter) -> None:
    emit.write_state(op.input, op.data)


@lowers(coreml_update_state)
def _update(op: coreml_update_state, emit: Emitter) -> None:
    emit.write_state(op.state, op.value)
    emit.alias(op.result, emit.tensor(op.value))
