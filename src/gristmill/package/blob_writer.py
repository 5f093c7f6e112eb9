"""Writing weight blob files, whose format is described in ``blob.py``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import BinaryIO

from gristmill.errors import InputError
from gristmill.ir.types import DType
from gristmill.package.blob import (
    ALIGNMENT,
    HEADER,
    METADATA,
    NUMBER_OF,
    SENTINEL,
    STORABLE,
    VERSION,
    Array,
    pack,
    packed_size,
)
from gristmill.package.files import Buffer


class BlobWriter:
    """Writes a blob file in one stream; equal blobs are stored once.

    Args:
        file: An empty binary file. Left open; call `close` to complete it. Without one nothing is kept but the places
            where things would be.
    """

    def __init__(self, file: BinaryIO | None) -> None:
        self._file = file
        self.count = 0
        self._end = HEADER.size
        self._known: dict[tuple[DType, int, bytes], int] = {}

    def write(self, array: Array, dtype: DType) -> int:
        """Writes a tensor and returns the offset of its metadata.

        Args:
            array: Elements held as ``dtype.numpy``.
            dtype: Their element type.

        Raises:
            InputError: A blob cannot hold such elements.
        """
        return self.write_stream([array], dtype, array.size)

    def write_stream(self, chunks: Iterable[Array], dtype: DType, count: int) -> int:
        """Writes a tensor that comes in pieces and returns the offset of its metadata.

        Args:
            chunks: Its elements in row-major order; of a type under a byte, all pieces but the last have a
                multiple of 8 elements.
            dtype: Their element type.
            count: How many elements there are.
        """
        if dtype not in STORABLE:
            raise InputError("a weight file cannot hold this element type", actual=dtype)
        offset = _aligned(self._end)
        start, size = offset + METADATA.size, packed_size(count, dtype)
        padding = size * 8 - count * dtype.bits
        self._put(
            bytes(offset - self._end) + METADATA.pack(SENTINEL, NUMBER_OF[dtype], size, start, padding), self._end
        )
        digest, written = hashlib.blake2b(digest_size=32), 0
        for chunk in chunks:
            if written * dtype.bits % 8:
                raise InputError("only the last piece may end inside a byte", actual=f"{written} elements of {dtype}")
            data = pack(chunk, dtype)
            digest.update(data)
            self._put(data)
            written += chunk.size
        if written != count:
            raise InputError("a tensor came out in another size than announced", expected=count, actual=written)
        # One pass tells whether the same contents are there already; if so, the next blob overwrites these.
        known = self._known.setdefault((dtype, count, digest.digest()), offset)
        if known == offset:
            self.count += 1
            self._end = start + size
        return known

    def digest(self) -> bytes:
        """A digest of all blobs so far, their types and places."""
        whole = hashlib.blake2b(digest_size=32)
        for (dtype, count, contents), offset in self._known.items():
            whole.update(f"{dtype} {count} {offset} ".encode() + contents)
        return whole.digest()

    def close(self) -> None:
        """Completes the file: cuts off a dropped duplicate and writes the number of blobs."""
        self._put(HEADER.pack(self.count, VERSION), at=0)
        if self._file is not None:
            self._file.truncate(self._end)
            self._file.flush()

    def _put(self, data: Buffer, at: int | None = None) -> None:
        if self._file is not None:
            if at is not None:
                self._file.seek(at)
            self._file.write(data)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT
