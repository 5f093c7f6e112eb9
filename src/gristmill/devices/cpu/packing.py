"""Constants as kernels keep them, straight from the model's file where their elements lie there as in memory.

The native core uses them where they are, or reads and packs them in the background, while lowering goes on, and has
finished before a kernel runs; only then it says that a file has become shorter.
"""

from __future__ import annotations

import math

import numpy as np

from gristmill.devices.cpu import _native
from gristmill.devices.cpu.contents import array_of, sizes_of
from gristmill.ir.constants import BlobData, FilePlace
from gristmill.ir.dims import Dim
from gristmill.ir.program import Value

_MANY = 1 << 20
"""Bytes from which a constant is worth a reading of its own."""


def packed(
    weight: Value, sizes: tuple[int, int, int], strides: tuple[int, int, int], at: int = 0, *, few_rows: bool = False
) -> _native.Prepared:
    """A constant as a matrix [outer·inner, n] packed for products.

    Args:
        weight: A constant of float16 or float32.
        sizes: Of outer, inner and n.
        strides: Of the same, in elements of the contiguous constant.
        at: The element at which the matrix begins.
        few_rows: Whether few rows are known to be multiplied by it. For others it may stay in its file at first.
    """
    place = _place_of(weight)
    if place is None:
        return _native.pack_matrix(weight.dtype.name, np.ascontiguousarray(array_of(weight)), sizes, strides, at)
    count = math.prod(sizes_of(weight))
    return _native.pack_file_matrix(weight.dtype.name, weight.name, *place, count, sizes, strides, at, not few_rows)


def transformed(weight: Value, tile: int) -> _native.Prepared:
    """A constant of float16 ``[made, channels, 3, 3]`` as Winograd's filters take it, for tiles of 2 or 4."""
    place = _place_of(weight)
    made, channels, *_ = sizes_of(weight)
    if place is None:
        return _native.transform_weight(np.ascontiguousarray(array_of(weight)), made, channels, tile)
    return _native.transform_file_weight(weight.name, *place, made, channels, tile)


def kept(value: Value) -> _native.Buffer | None:
    """The bytes of a large constant; nothing for others, which go through an array."""
    place = _place_of(value)
    if place is None:
        return None
    size = math.prod(sizes_of(value)) * value.dtype.numpy.itemsize
    return None if size < _MANY else _native.file_buffer(value.name, *place, size)


def stays_in_file(value: Value) -> bool:
    """Whether a constant is used where its file has it, if kernels can."""
    place = _place_of(value)
    return place is not None and place.mapped


def are_few(*rows: Dim) -> bool:
    """Whether sizes of leading dimensions are known and make few rows, which products read a packed matrix for."""
    return all(isinstance(size, int) for size in rows) and math.prod(rows) <= _native.THIN_ROWS


def _place_of(value: Value) -> FilePlace | None:
    data = None if value.constant is None else value.constant.payload
    return data.place if isinstance(data, BlobData) else None
