"""Element types, and questions about types, under coremltools' names.

A type here is a value of ``gristmill.ir.types``: an element type, or that of a tensor, list, dictionary or state.
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from gristmill.ir.types import (
    DTYPES,
    DictType,
    DType,
    ListType,
    StateType,
    TensorType,
    Type,
    bool_,
    dtype_of,
    fp16,
    fp32,
    fp64,
    int4,
    int8,
    int16,
    int32,
    int64,
    string,
    uint1,
    uint2,
    uint3,
    uint4,
    uint6,
    uint8,
    uint16,
    uint32,
    uint64,
)

bool = bool_
double = fp64
float = fp32
str = string
uint = uint64


def is_float(t: Type | DType) -> builtins.bool:
    """Whether it is a floating element type."""
    return isinstance(t, DType) and t.is_float


def is_int(t: Type | DType) -> builtins.bool:
    """Whether it is an integer element type, signed or not."""
    return isinstance(t, DType) and t.is_integer


def is_signed_int(t: Type | DType) -> builtins.bool:
    """Whether it is a signed integer element type."""
    return isinstance(t, DType) and t.kind == "int"


def is_unsigned_int(t: Type | DType) -> builtins.bool:
    """Whether it is an unsigned integer element type."""
    return isinstance(t, DType) and t.kind == "uint"


def is_sub_byte(t: Type | DType) -> builtins.bool:
    """Whether its elements take less than a byte in a file."""
    return isinstance(t, DType) and t.is_integer and t.bits < 8


def is_bool(t: Type | DType) -> builtins.bool:
    """Whether it is the type of truth values."""
    return t == bool_


def is_str(t: Type | DType) -> builtins.bool:
    """Whether it is the type of texts."""
    return t == string


def is_primitive(t: Type | DType) -> builtins.bool:
    """Whether it is an element type."""
    return isinstance(t, DType)


is_scalar = is_primitive


def is_tensor(t: Type | DType) -> builtins.bool:
    """Whether it is the type of a tensor."""
    return isinstance(t, TensorType)


def is_list(t: Type | DType) -> builtins.bool:
    """Whether it is the type of a list."""
    return isinstance(t, ListType)


def is_dict(t: Type | DType) -> builtins.bool:
    """Whether it is the type of a dictionary."""
    return isinstance(t, DictType)


def is_state(t: Type | DType) -> builtins.bool:
    """Whether it is the type of a state."""
    return isinstance(t, StateType)


def builtin_to_string(builtin_type: DType) -> builtins.str:
    """The name of an element type, as the ``dtype`` of a cast has it."""
    return builtin_type.name


def string_to_builtin(s: builtins.str) -> DType | None:
    """The element type of a name, or ``None``."""
    return DTYPES.get(s)


def nptype_from_builtin(btype: DType) -> type[Any]:
    """The NumPy type that holds elements of a type."""
    return btype.numpy.type


def numpy_type_to_builtin_type(nptype: Any) -> DType:
    """The element type that a NumPy type stands for.

    Raises:
        IRError: Core ML has no such type.
    """
    return dtype_of(np.dtype(nptype))


__all__ = [
    "bool",
    "builtin_to_string",
    "double",
    "float",
    "fp16",
    "fp32",
    "fp64",
    "int4",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_bool",
    "is_dict",
    "is_float",
    "is_int",
    "is_list",
    "is_primitive",
    "is_scalar",
    "is_signed_int",
    "is_state",
    "is_str",
    "is_sub_byte",
    "is_tensor",
    "is_unsigned_int",
    "nptype_from_builtin",
    "numpy_type_to_builtin_type",
    "str",
    "string_to_builtin",
    "uint",
    "uint1",
    "uint2",
    "uint3",
    "uint4",
    "uint6",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]
