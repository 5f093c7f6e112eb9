"""Types of values: element types, tensors, lists, tuples, dictionaries and states.

All are immutable and hashable; equal means the same type. A scalar is a tensor of rank 0, as in Core ML's files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from gristmill.errors import IRError
from gristmill.ir.dims import Dim, DimExpr, Shape, always_equal, is_static, never_equal

Kind: TypeAlias = Literal["float", "int", "uint", "bool", "string"]


@dataclass(frozen=True, eq=False)
class DType:
    """An element type. Each is one object: loading a model compares them many thousand times.

    Attributes:
        name: As MIL text spells it.
        kind: What its values are.
        bits: Storage size of one element in a file; 0 for strings, whose size varies.
        numpy: The NumPy type that holds it here. Types under a byte are held one element a byte; ``unit_float`` has
            none until the compute unit that runs it is known, and is held as float32 meanwhile.
    """

    name: str
    kind: Kind
    bits: int
    numpy: np.dtype[np.generic]

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")

    @property
    def min(self) -> int:
        """The smallest value of an integer type."""
        return -(1 << (self.bits - 1)) if self.kind == "int" else 0

    @property
    def max(self) -> int:
        """The largest value of an integer type."""
        return (1 << (self.bits - (self.kind == "int"))) - 1

    def __reduce__(self) -> tuple[object, ...]:
        return _of_name, (self.name,)  # a copy is the same object

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.name


fp16 = DType("fp16", "float", 16, np.dtype(np.float16))
fp32 = DType("fp32", "float", 32, np.dtype(np.float32))
fp64 = DType("fp64", "float", 64, np.dtype(np.float64))
unit_float = DType("unit_float", "float", 32, np.dtype(np.float32))
int4 = DType("int4", "int", 4, np.dtype(np.int8))
int8 = DType("int8", "int", 8, np.dtype(np.int8))
int16 = DType("int16", "int", 16, np.dtype(np.int16))
int32 = DType("int32", "int", 32, np.dtype(np.int32))
int64 = DType("int64", "int", 64, np.dtype(np.int64))
uint1 = DType("uint1", "uint", 1, np.dtype(np.uint8))
uint2 = DType("uint2", "uint", 2, np.dtype(np.uint8))
uint3 = DType("uint3", "uint", 3, np.dtype(np.uint8))
uint4 = DType("uint4", "uint", 4, np.dtype(np.uint8))
uint6 = DType("uint6", "uint", 6, np.dtype(np.uint8))
uint8 = DType("uint8", "uint", 8, np.dtype(np.uint8))
uint16 = DType("uint16", "uint", 16, np.dtype(np.uint16))
uint32 = DType("uint32", "uint", 32, np.dtype(np.uint32))
uint64 = DType("uint64", "uint", 64, np.dtype(np.uint64))
bool_ = DType("bool", "bool", 8, np.dtype(np.bool_))
string = DType("string", "string", 0, np.dtype(object))

FLOATS = (fp16, fp32, fp64, unit_float)
INTEGERS = (int4, int8, int16, int32, int64, uint1, uint2, uint3, uint4, uint6, uint8, uint16, uint32, uint64)
DTYPES = {t.name: t for t in (*FLOATS, *INTEGERS, bool_, string)}


def _of_name(name: str) -> DType:
    return DTYPES[name]


def dtype_of(numpy_dtype: np.dtype[np.generic] | type) -> DType:
    """The element type that a NumPy type stands for (never a type under a byte, never ``unit_float``).

    Raises:
        IRError: Core ML has no such type.
    """
    wanted = np.dtype(numpy_dtype)
    if wanted.kind in "USO":
        return string
    for dtype in (fp16, fp32, fp64, int8, int16, int32, int64, uint8, uint16, uint32, uint64, bool_):
        if dtype.numpy == wanted:
            return dtype
    raise IRError("Core ML has no such element type", actual=wanted)


@dataclass(frozen=True)
class TensorType:
    """A tensor of known rank.

    Attributes:
        dtype: The declared element type: the least precision in which the values are computed and stored.
        shape: One dimension each: an int, or an expression over named symbols.
    """

    dtype: DType
    shape: Shape = ()

    def __post_init__(self) -> None:
        if type(self.shape) is not tuple:
            object.__setattr__(self, "shape", tuple(self.shape))  # a list would do, but for hashing
        for dim in self.shape:
            if type(dim) is int and dim >= 0:
                continue
            if not isinstance(dim, DimExpr) and (isinstance(dim, bool) or not isinstance(dim, int)):
                raise IRError("a dimension is an int or an expression", actual=f"{dim!r} of {type(dim).__name__}")
            if not isinstance(dim, DimExpr) and dim < 0:
                raise IRError("a dimension cannot be negative", actual=dim)

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_static(self) -> bool:
        return is_static(self.shape)

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(dtype, self.shape)

    def with_shape(self, shape: Shape) -> TensorType:
        return TensorType(self.dtype, shape)

    def __str__(self) -> str:
        return f"tensor<{self.dtype}, [{', '.join(map(str, self.shape))}]>"


@dataclass(frozen=True)
class ListType:
    """A list of tensors of one type; its length may be fixed, or grow from ``length`` on."""

    element: Type
    length: Dim = 1
    dynamic: bool = True

    def __str__(self) -> str:
        return f"list<{self.element}, {'?' if self.dynamic else self.length}>"


@dataclass(frozen=True)
class TupleType:
    """A fixed sequence of types."""

    elements: tuple[Type, ...]

    def __str__(self) -> str:
        return f"tuple<{', '.join(map(str, self.elements))}>"


@dataclass(frozen=True)
class DictType:
    """A dictionary; Core ML has them in attributes and in classifier outputs."""

    key: Type
    value: Type

    def __str__(self) -> str:
        return f"dict<{self.key}, {self.value}>"


@dataclass(frozen=True)
class StateType:
    """A tensor that outlives one prediction, read and written by ops with effects."""

    wrapped: TensorType

    def __str__(self) -> str:
        return f"state<{self.wrapped}>"


Type: TypeAlias = TensorType | ListType | TupleType | DictType | StateType


def scalar(dtype: DType) -> TensorType:
    """The type of one element: a tensor of rank 0."""
    return TensorType(dtype, ())


def compatible(a: Type, b: Type) -> bool:
    """Whether one value may have both types: dimensions may differ as long as some size fits both."""
    if a == b:
        return True
    match a, b:
        case TensorType(), TensorType():
            return (
                a.dtype == b.dtype
                and a.rank == b.rank
                and not any(never_equal(x, y) for x, y in zip(a.shape, b.shape, strict=True))
            )
        case ListType(), ListType():
            fixed = not a.dynamic and not b.dynamic
            return compatible(a.element, b.element) and not (fixed and never_equal(a.length, b.length))
        case TupleType(), TupleType():
            return len(a.elements) == len(b.elements) and all(map(compatible, a.elements, b.elements))
        case DictType(), DictType():
            return compatible(a.key, b.key) and compatible(a.value, b.value)
        case StateType(), StateType():
            return compatible(a.wrapped, b.wrapped)
    return False


def same_shape(a: Shape, b: Shape) -> bool:
    """Whether two shapes are equal for every value of their symbols."""
    return len(a) == len(b) and all(map(always_equal, a, b))
