"""Element types under coremltools' names."""

from __future__ import annotations

from gristmill.ir.types import (
    bool_,
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

__all__ = [
    "bool",
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
    "str",
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
