"""Types of a function's inputs, outputs and states, as the caller declares them."""

from __future__ import annotations

from gristmill.errors import InputError
from gristmill.ir.op import Op
from gristmill.ir.program import Function, Use, Value
from gristmill.ir.traits import WritesState
from gristmill.ir.types import DType, StateType, TensorType
from gristmill.precision.casts import Casts, insert_cast


def set_input_dtype(function: Function, name: str, dtype: DType) -> None:
    """Declares another floating type for an input; inside, its value keeps the old type behind a cast.

    Raises:
        InputError: There is no such tensor input, or one of the types is not a floating one.
    """
    value = next((v for v in function.inputs if v.name == name and isinstance(v.type, TensorType)), None)
    if value is None:
        raise InputError(f"there is no tensor input '{name}'", expected=", ".join(v.name for v in function.inputs))
    old = value.dtype
    if old == dtype:
        return
    _check(name, old, dtype)
    uses = list(value.uses)
    value.type = value.tensor.with_dtype(dtype)
    if uses:
        value.replace_uses(insert_cast(function, value, old, function.unique_name(f"{name}_to_{old}")), only=uses)


def set_output_dtype(function: Function, index: int, dtype: DType) -> None:
    """Declares another floating type for an output; its name stays.

    Raises:
        InputError: One of the types is not a floating one.
    """
    value = function.outputs[index]
    old = value.dtype
    if old == dtype:
        return
    name = value.name
    _check(name, old, dtype)
    if value.producer is None:
        raise InputError(f"output '{name}' is an input as it is", hint="give the output a name of its own")
    value.name = function.unique_name(f"{name}_{old}")
    cast = insert_cast(function, value, dtype, name)
    value.replace_uses(cast, only=[Use(function.body, None, i) for i, v in enumerate(function.outputs) if v is value])


def set_state_dtype(function: Function, name: str, dtype: DType) -> None:
    """Declares another floating type for a state; inside, what is read and written keeps the old type behind casts.

    Raises:
        InputError: There is no such state, or one of the types is not a floating one.
    """
    state = next((v for v in function.states if v.name == name), None)
    if state is None:
        names = ", ".join(v.name for v in function.states) or "no state at all"
        raise InputError(f"there is no state '{name}'", expected=names, actual=name)
    assert isinstance(state.type, StateType)
    old = state.type.wrapped.dtype
    if old == dtype:
        return
    _check(name, old, dtype)
    state.type = StateType(state.type.wrapped.with_dtype(dtype))
    casts = Casts(function)
    for user in state.users:
        assert isinstance(user, Op)  # a state is not returned
        if user.has(WritesState):
            written = "data" if "data" in user.operands else "value"
            user.set_operand(written, casts.to(user.operand(written), dtype))
        for read in user.results:
            _retype_read(function, read, old, dtype)


def _retype_read(function: Function, read: Value, old: DType, new: DType) -> None:
    outside, uses = read.name, list(read.uses)
    read.type = read.tensor.with_dtype(new)
    if uses:
        read.name = function.unique_name(f"{outside}_{new}")
        read.replace_uses(insert_cast(function, read, old, outside), only=uses)


def _check(name: str, old: DType, new: DType) -> None:
    if not (old.is_float and new.is_float):
        raise InputError(
            f"'{name}' cannot change its type", expected="one floating type for another", actual=f"{old} to {new}"
        )
