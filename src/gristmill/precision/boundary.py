"""Types of a function's inputs and outputs, as the caller declares them."""

from __future__ import annotations

from gristmill.errors import InputError
from gristmill.ir.program import Function, Use
from gristmill.ir.types import DType, TensorType
from gristmill.precision.casts import insert_cast


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


def _check(name: str, old: DType, new: DType) -> None:
    if not (old.is_float and new.is_float):
        raise InputError(
            f"'{name}' cannot change its type", expected="one floating type for another", actual=f"{old} to {new}"
        )
