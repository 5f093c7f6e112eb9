"""States: tensors that outlive a prediction. While a program runs, a state is a cell that is read and replaced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from gristmill.ir import types
from gristmill.ir.constants import Array
from gristmill.ir.op import Effect, Op
from gristmill.ir.opset import iOS18
from gristmill.ir.program import Value
from gristmill.ir.signature import OfType, Operand, TypeVar
from gristmill.ir.traits import DataMovement, ReadsState, WritesState
from gristmill.ir.types import StateType, TensorType, Type, bool_, fp16, fp32, int8, int16, int32, uint8, uint16

T = TypeVar(fp16, fp32, int8, int16, int32, uint8, uint16, bool_)


class Cell(Protocol):
    """What a state is while a program runs."""

    def read(self) -> Array: ...
    def write(self, contents: Array) -> None: ...


class read_state(Op):
    """The present contents of a state."""

    since = iOS18
    input = Operand(OfType(StateType))
    traits = (DataMovement, ReadsState)

    def infer(self) -> Type:
        return _wrapped(self.input)

    def effects(self) -> Iterable[Effect]:
        return (Effect("read", self.input),)

    def reference(self, input: Cell) -> Array:
        return input.read()


class write_state(Op):
    """Replaces the contents of a state; there is no result."""

    since = iOS18
    input = Operand(OfType(StateType))
    data = Operand(T)
    traits = (DataMovement, WritesState)

    def infer(self) -> Sequence[Type]:
        _check(self, self.input, self.data)
        return []

    def effects(self) -> Iterable[Effect]:
        return (Effect("write", self.input),)

    def reference(self, input: Cell, data: Array) -> tuple[Array, ...]:
        input.write(data)
        return ()


class coreml_update_state(Op):
    """Replaces the contents of a state, and gives them; files have it as ``write_state`` and ``read_state``."""

    since = iOS18
    state = Operand(OfType(StateType))
    value = Operand(T)
    traits = (DataMovement, ReadsState, WritesState)

    def infer(self) -> Type:
        _check(self, self.state, self.value)
        return self.value.type

    def effects(self) -> Iterable[Effect]:
        return (Effect("write", self.state), Effect("read", self.state))

    def reference(self, state: Cell, value: Array) -> Array:
        state.write(value)
        return value


def _wrapped(state: Value) -> TensorType:
    assert isinstance(state.type, StateType)  # the signature asks for one
    return state.type.wrapped


def _check(op: Op, state: Value, value: Value) -> None:
    if not types.compatible(_wrapped(state), value.type):
        raise op.misfit("the value has the state's type", expected=_wrapped(state), actual=value.type)


OPS = (coreml_update_state, read_state, write_state)
