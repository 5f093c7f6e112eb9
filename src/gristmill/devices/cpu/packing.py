"""Constants as kernels keep them, read straight from the model's file where their elements lie there as in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from gristmill.devices.cpu import _native
from gristmill.devices.cpu.contents import array_of, sizes_of
from gristmill.errors import FormatError
from gristmill.ir.constants import BlobData, FilePlace
from gristmill.ir.program import Value

_MANY = 1 << 20
"""Bytes from which a constant is worth a reading of its own."""


def packed(weight: Value, sizes: tuple[int, int, int], strides: tuple[int, int, int], at: int = 0) -> _native.Prepared:
    """A constant as a matrix [outer·inner, n] packed for products.

    Args:
        weight: A constant of float16 or float32.
        sizes: Of outer, inner and n.
        strides: Of the same, in elements of the contiguous constant.
        at: The element at which the matrix begins.

    Raises:
        FormatError: The weight file has become shorter.
    """
    place = _place_of(weight)
    if place is None:
        return _native.pack_matrix(weight.dtype.name, np.ascontiguousarray(array_of(weight)), sizes, strides, at)
    with _reading(weight):
        return _native.pack_file_matrix(weight.dtype.name, *place, math.prod(sizes_of(weight)), sizes, strides, at)


def kept(value: Value) -> _native.Buffer | None:
    """The bytes of a large constant; nothing for others, which go through an array.

    Raises:
        FormatError: The weight file has become shorter.
    """
    place = _place_of(value)
    if place is None:
        return None
    size = math.prod(sizes_of(value)) * value.dtype.numpy.itemsize
    if size < _MANY:
        return None
    with _reading(value):
        return _native.file_buffer(*place, size)


@contextmanager
def _reading(value: Value) -> Iterator[None]:
    try:
        yield
    except _native.NativeError as error:
        raise FormatError(
            f"the weights of '{value.name}' cannot be read: {error}", hint="load the model again, from a whole file"
        ) from error


def _place_of(value: Value) -> FilePlace | None:
    data = None if value.constant is None else value.constant.payload
    return data.place if isinstance(data, BlobData) else None
