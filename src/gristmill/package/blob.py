"""The weight blob file, version 2: ``weights/weight.bin`` of a package.

All integers are little endian, all records 64 bytes long and 64-byte aligned::

    file      header, then blobs
    header    uint32 number of blobs, uint32 version (2), 56 reserved bytes
    blob      metadata, then its data, each starting at the next multiple of 64
    metadata  uint32 0xDEADBEEF, uint32 element type, uint64 bytes of data, uint64 offset of data,
              uint64 padding bits (types under a byte only), 32 reserved bytes

A model refers to a blob by the offset of its metadata. Writers leave garbage in reserved fields, and in the padding
field of whole-byte types, so neither is looked at. Elements under a byte are packed from the lowest bit of a byte up
and may straddle bytes; the padding is what is left of the last byte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gristmill.errors import FormatError, InputError, UnsupportedError
from gristmill.ir import types
from gristmill.ir.types import DType
from gristmill.package.files import Buffer, OpenFile

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

ALIGNMENT = 64
VERSION = 2
SENTINEL = 0xDEADBEEF
HEADER = struct.Struct("<II56x")
METADATA = struct.Struct("<IIQQQ32x")

# Numbers of the file format; those of a protobuf DataType are different.
NUMBER_OF = {
    types.fp16: 1,
    types.fp32: 2,
    types.uint8: 3,
    types.int8: 4,
    types.int16: 6,
    types.uint16: 7,
    types.int4: 8,
    types.uint1: 9,
    types.uint2: 10,
    types.uint4: 11,
    types.uint3: 12,
    types.uint6: 13,
    types.int32: 14,
    types.uint32: 15,
}
_DTYPE_OF = {number: dtype for dtype, number in NUMBER_OF.items()}
_NOT_OURS = {5: "bfloat16", 16: "float8e4m3fn", 17: "float8e5m2"}

STORABLE = frozenset(NUMBER_OF)
"""Element types that a blob can hold."""


def packed_size(count: int, dtype: DType) -> int:
    """Bytes that ``count`` elements take in a file."""
    return (count * dtype.bits + 7) // 8


def pack(array: Array, dtype: DType) -> Buffer:
    """Turns elements into the bytes of the file format, in row-major order, without a copy where none is needed.

    Args:
        array: Elements held as ``dtype.numpy``.
        dtype: Their element type.

    Raises:
        InputError: An element does not fit a type under a byte.
    """
    if dtype.bits >= 8:
        little = np.ascontiguousarray(array).astype(dtype.numpy.newbyteorder("<"), copy=False)
        return little.data.cast("B") if little.size else b""
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.size and (int(flat.min()) < dtype.min or int(flat.max()) > dtype.max):
        raise InputError("element out of range", expected=dtype, actual=f"{flat.min()}…{flat.max()}")
    return b"".join(_packed_blocks(flat.view(np.uint8), dtype.bits))


_BLOCK = 1 << 18
"""Elements that are packed or unpacked at a time: a multiple of 8, so that blocks end on whole bytes."""


def _packed_blocks(codes: Array, bits: int) -> Iterator[bytes]:
    for start in range(0, codes.size, _BLOCK):
        each_bit = np.unpackbits(codes[start : start + _BLOCK, None], axis=1, count=bits, bitorder="little")
        yield np.packbits(each_bit.reshape(-1), bitorder="little").tobytes()


def unpack(data: Buffer, dtype: DType, count: int) -> Array:
    """Turns bytes of the file format into ``count`` elements: a flat array of ``dtype.numpy``, read-only or new.

    Args:
        data: At least ``packed_size(count, dtype)`` bytes.
        dtype: Their element type.
        count: How many elements.
    """
    if dtype.bits >= 8:
        array = np.frombuffer(data, dtype.numpy.newbyteorder("<"), count)
        return array.astype(dtype.numpy, copy=False)
    bits, out = dtype.bits, np.empty(count, np.uint8)
    packed = np.frombuffer(data, np.uint8)
    for start in range(0, count, _BLOCK):
        n = min(_BLOCK, count - start)
        first = start * bits // 8
        each_bit = np.unpackbits(packed[first : first + packed_size(n, dtype)], count=n * bits, bitorder="little")
        out[start : start + n] = np.packbits(each_bit.reshape(n, bits), axis=1, bitorder="little")[:, 0]
    if dtype.kind == "int":
        sign = 1 << (bits - 1)
        return ((out ^ sign) - sign).view(np.int8)
    return out


@dataclass(frozen=True)
class Blob:
    """One entry of a blob file, checked against the file's size.

    Attributes:
        dtype: Element type.
        count: Number of elements.
        start: Offset of the data, in bytes.
        size: Bytes of data.
    """

    dtype: DType
    count: int
    start: int
    size: int


class BlobReader:
    """Reads blobs of a file by range. Nothing is read before it is asked for, and nothing outside the file.

    Args:
        file: The blob file.

    Raises:
        FormatError: It is no blob file of version 2.
    """

    def __init__(self, file: OpenFile) -> None:
        self.file = file
        header = file.read(0, HEADER.size, what="header")
        self.count, version = HEADER.unpack(header)
        if version != VERSION:
            raise FormatError(
                "not a weight file", location=self.file.path, expected=f"version {VERSION}", actual=version
            )

        self._blobs: dict[int, Blob] = {}

    def blob(self, offset: int) -> Blob:
        """Describes the blob whose metadata is at ``offset``.

        Raises:
            FormatError: There is no blob, or it reaches outside the file, or its type and size disagree.
            UnsupportedError: Its element type has no place in a program here.
        """
        found = self._blobs.get(offset)
        if found is None:
            found = self._blobs[offset] = self._read_blob(offset)
        return found

    def _read_blob(self, offset: int) -> Blob:
        where = f"{self.file.path}, offset {offset}"
        if offset < HEADER.size or offset % ALIGNMENT:
            raise FormatError(
                "no blob can be there", location=where, expected=f"a multiple of {ALIGNMENT}, at least {HEADER.size}"
            )
        sentinel, number, size, start, padding = METADATA.unpack(
            self.file.read(offset, METADATA.size, what="blob metadata")
        )
        if sentinel != SENTINEL:
            raise FormatError("no blob is there", location=where, expected=hex(SENTINEL), actual=hex(sentinel))
        if number in _NOT_OURS:
            raise UnsupportedError(f"weights of type {_NOT_OURS[number]} are not supported", location=where)
        dtype = _DTYPE_OF.get(number)
        if dtype is None:
            raise FormatError("unknown element type of a blob", location=where, actual=number)
        # Python's integers do not overflow, so these sums are what they say.
        if start % ALIGNMENT or start < offset + METADATA.size or start + size > self.file.size:
            raise FormatError(
                "a blob's data lies outside its file, or not on a boundary",
                location=where,
                expected=f"aligned to {ALIGNMENT}, between {offset + METADATA.size} and {self.file.size}",
                actual=f"{size} bytes at {start}",
            )
        padding = padding if dtype.bits < 8 else 0
        count, rest = divmod(size * 8 - padding, dtype.bits)
        if rest or padding >= 8 or count < 0:
            raise FormatError(
                "a blob's size is no whole number of elements",
                location=where,
                expected=f"elements of {dtype.bits} bits",
                actual=f"{size} bytes with {padding} bits of padding",
            )
        return Blob(dtype, count, start, size)

    def read(self, offset: int, dtype: DType, shape: tuple[int, ...]) -> Array:
        """Reads a blob as an array that must not be written to.

        Raises:
            FormatError: As for `blob`, or the blob is of another type or size.
        """
        blob = self.check(offset, dtype, shape)
        return unpack(self.file.read(blob.start, blob.size, what="weights"), dtype, blob.count).reshape(shape)

    def check(self, offset: int, dtype: DType, shape: tuple[int, ...]) -> Blob:
        """Describes the blob at ``offset`` after checking that it holds such a tensor, without reading its data."""
        blob = self.blob(offset)
        count = 1
        for dim in shape:
            count *= dim
        if blob.dtype != dtype or blob.count != count:
            raise FormatError(
                "a constant and its blob disagree",
                location=f"{self.file.path}, offset {offset}",
                expected=f"{dtype}{list(shape)}, as the program declares",
                actual=f"{blob.count} elements of {blob.dtype}",
            )
        return blob
