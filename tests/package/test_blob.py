"""The weight blob file: format facts against coremltools' own writer and reader, and refusal of anything malformed."""

from __future__ import annotations

import contextlib
import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.errors import FormatError, GristmillError, InputError, UnsupportedError
from gristmill.ir import types
from gristmill.ir.types import DType
from gristmill.package.blob import STORABLE, BlobReader, pack, packed_size, unpack
from gristmill.package.blob_writer import BlobWriter
from gristmill.package.files import OpenFile

ALL = sorted(STORABLE, key=lambda d: d.name)
# coremltools' writer has one method a type; float16 goes in as its bits.
THEIR_NAME = {"fp32": "float"}


def sample(dtype: DType, count: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(count)
    if dtype.is_float:
        return rng.standard_normal(count).astype(dtype.numpy)
    return rng.integers(dtype.min, dtype.max, count, dtype=np.int64, endpoint=True).astype(dtype.numpy)


def write(path: Path, arrays: list[tuple[np.ndarray[Any, Any], DType]]) -> list[int]:
    with path.open("w+b") as file:
        writer = BlobWriter(file)
        offsets = [writer.write(array, dtype) for array, dtype in arrays]
        writer.close()
    return offsets


@pytest.mark.interop
@pytest.mark.parametrize("count", [1, 11, 64, 1000])
def test_bytes_equal_coremltools(tmp_path: Path, count: int) -> None:
    """The same tensors, one of each type, give the same file, byte for byte."""
    library = pytest.importorskip("coremltools.libmilstoragepython", reason="coremltools has no native part here")
    arrays = [(sample(dtype, count), dtype) for dtype in ALL]
    theirs = library._BlobStorageWriter(str(tmp_path / "theirs.bin"))
    expected = []
    for array, dtype in arrays:
        put = getattr(theirs, f"write_{THEIR_NAME.get(dtype.name, dtype.name)}_data")
        expected.append(put(array.view(np.uint16) if dtype == types.fp16 else array))
    del put, theirs  # its end completes the file
    assert write(tmp_path / "ours.bin", arrays) == expected
    assert (tmp_path / "ours.bin").read_bytes() == (tmp_path / "theirs.bin").read_bytes()


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_round_trip(tmp_path: Path, dtype: DType) -> None:
    """What is written is read again, in any shape of the same size."""
    array = sample(dtype, 30)
    (offset,) = write(tmp_path / "w.bin", [(array, dtype)])
    got = BlobReader(OpenFile(tmp_path / "w.bin")).read(offset, dtype, (5, 6))
    assert got.dtype == dtype.numpy
    np.testing.assert_array_equal(got, array.reshape(5, 6))


@pytest.mark.parametrize(
    ("dtype", "values", "packed"),
    [
        (types.uint1, [1, 0, 1, 1, 0, 0, 0, 0, 1], "0d01"),
        (types.uint3, [1, 2, 3, 4], "d108"),  # 100_011_010_001 from the top bit down
        (types.int4, [-1, 1, -8], "1f08"),
        (types.uint6, [0b111111, 0b100001], "7f08"),  # 100001_111111
    ],
)
def test_bits_fill_bytes_from_the_bottom(dtype: DType, values: list[int], packed: str) -> None:
    """Elements under a byte are packed from the lowest bit up and straddle bytes (worked out by hand)."""
    assert bytes(pack(np.array(values, dtype.numpy), dtype)).hex() == packed
    assert unpack(bytes.fromhex(packed), dtype, len(values)).tolist() == values


def test_packing_in_blocks() -> None:
    """A tensor larger than the packer's block equals its parts."""
    array = sample(types.uint3, 3 * (1 << 18) + 5)
    data = bytes(pack(array, types.uint3))
    assert len(data) == packed_size(array.size, types.uint3)
    np.testing.assert_array_equal(unpack(data, types.uint3, array.size), array)
    as_integer = int.from_bytes(data[:300], "little")
    assert [as_integer >> 3 * i & 7 for i in range(800)] == array[:800].tolist()


def test_an_element_that_does_not_fit() -> None:
    """Packing never drops bits silently."""
    with pytest.raises(InputError, match="out of range"):
        pack(np.array([8], np.int8), types.int4)


def test_equal_blobs_are_stored_once(tmp_path: Path) -> None:
    """The same contents share an offset, wherever they come in the stream; equal bytes of another type do not."""
    a, b = sample(types.fp32, 20), sample(types.fp32, 33)
    same_bytes = a.view(np.int32)
    path = tmp_path / "w.bin"
    offsets = write(
        path, [(a, types.fp32), (b, types.fp32), (a, types.fp32), (same_bytes, types.int32), (b, types.fp32)]
    )
    assert offsets[0] == offsets[2]
    assert offsets[1] == offsets[4]
    assert len(set(offsets)) == 3
    reader = BlobReader(OpenFile(path))
    assert reader.count == 3
    np.testing.assert_array_equal(reader.read(offsets[3], types.int32, (20,)), same_bytes)
    assert path.stat().st_size == offsets[3] + 64 + 80  # the last duplicate was cut off


def test_streamed_pieces(tmp_path: Path) -> None:
    """Pieces give the same bytes as the whole, and a wrong announcement is refused."""
    array = sample(types.uint3, 100)
    whole, pieces = io.BytesIO(), io.BytesIO()
    BlobWriter(whole).write(array, types.uint3)
    BlobWriter(pieces).write_stream([array[:40], array[40:96], array[96:]], types.uint3, 100)
    assert whole.getvalue() == pieces.getvalue()
    with pytest.raises(InputError, match="only the last piece"):
        BlobWriter(io.BytesIO()).write_stream([array[:41], array[41:]], types.uint3, 100)
    with pytest.raises(InputError, match="another size"):
        BlobWriter(io.BytesIO()).write_stream([array], types.uint3, 101)


def test_a_type_without_a_place(tmp_path: Path) -> None:
    """Types that the format lacks are refused, by the writer and by the reader."""
    with pytest.raises(InputError, match="cannot hold"):
        BlobWriter(io.BytesIO()).write(np.zeros(3), types.fp64)
    path = tmp_path / "w.bin"
    (offset,) = write(path, [(np.zeros(3, np.float16), types.fp16)])
    data = bytearray(path.read_bytes())
    data[offset + 4] = 5
    path.write_bytes(data)
    with pytest.raises(UnsupportedError, match="bfloat16"):
        BlobReader(OpenFile(path)).blob(offset)


METADATA = "<IIQQQ"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (0, 0xDEADBEEE, "no blob is there"),
        (1, 99, "unknown element type"),
        (2, 2**64 - 1, "outside its file"),
        (2, 121, "outside its file"),
        (2, 118, "whole number"),
        (3, 2**64 - 64, "outside its file"),
        (3, 64, "outside its file"),  # the metadata itself
        (3, 130, "boundary"),
    ],
)
def test_hostile_metadata(tmp_path: Path, field: int, value: int, message: str) -> None:
    """Each field is checked; sizes and offsets near 2⁶⁴ do not wrap."""
    path = tmp_path / "w.bin"
    write(path, [(sample(types.fp32, 30), types.fp32)])
    data = bytearray(path.read_bytes())
    fields = list(struct.unpack_from(METADATA, data, 64))
    fields[field] = value
    struct.pack_into(METADATA, data, 64, *fields)
    path.write_bytes(data)
    with pytest.raises(FormatError, match=message):
        BlobReader(OpenFile(path)).read(64, types.fp32, (30,))


@pytest.mark.parametrize("padding", [1, 8, 2**63])
def test_hostile_padding(tmp_path: Path, padding: int) -> None:
    """The padding of a type under a byte must leave a whole number of elements and fit the last byte."""
    path = tmp_path / "w.bin"
    write(path, [(sample(types.uint4, 30), types.uint4)])
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, 64 + 24, padding)
    path.write_bytes(data)
    with pytest.raises(FormatError, match="whole number"):
        BlobReader(OpenFile(path)).blob(64)


@pytest.mark.parametrize("offset", [0, 63, 65, 128, 1 << 40, 2**64 - 64])
def test_no_blob_at(tmp_path: Path, offset: int) -> None:
    """An offset that is no metadata record, or none of the file's, is refused."""
    path = tmp_path / "w.bin"
    write(path, [(sample(types.fp32, 30), types.fp32)])
    with pytest.raises(FormatError):
        BlobReader(OpenFile(path)).blob(offset)


def test_declared_shape_and_type_must_agree(tmp_path: Path) -> None:
    """A program cannot read more, less or other elements than a blob holds; 10⁹ elements are refused unread."""
    path = tmp_path / "w.bin"
    (offset,) = write(path, [(sample(types.fp32, 30), types.fp32)])
    reader = BlobReader(OpenFile(path))
    for dtype, shape in [
        (types.fp16, (30,)),
        (types.fp32, (29,)),
        (types.fp32, (1000, 1000, 1000)),
        (types.fp32, (0,)),
    ]:
        with pytest.raises(FormatError, match="disagree"):
            reader.read(offset, dtype, shape)


def test_not_a_blob_file(tmp_path: Path) -> None:
    """Short files, other versions, folders and pipes are refused without waiting."""
    short = tmp_path / "short.bin"
    short.write_bytes(b"\x01\x00\x00\x00\x02")
    with pytest.raises(FormatError, match="ends inside its header"):
        BlobReader(OpenFile(short))
    other = tmp_path / "other.bin"
    other.write_bytes(struct.pack("<II56x", 0, 1))
    with pytest.raises(FormatError, match="not a weight file"):
        BlobReader(OpenFile(other))
    with pytest.raises(FormatError, match="regular file"):
        OpenFile(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="regular file"):
        OpenFile(tmp_path / "pipe")


def test_a_file_that_shrinks(tmp_path: Path) -> None:
    """Truncation after opening gives an error, since ranges are read when they are asked for."""
    path = tmp_path / "w.bin"
    (offset,) = write(path, [(sample(types.fp32, 3000), types.fp32)])
    reader = BlobReader(OpenFile(path))
    os.truncate(path, 4096)
    with pytest.raises(FormatError, match="shrank"):
        reader.read(offset, types.fp32, (3000,))


@pytest.fixture(scope="module")
def blob_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int], bytes]:
    path = tmp_path_factory.mktemp("blob") / "w.bin"
    offsets = write(path, [(sample(dtype, 17), dtype) for dtype in ALL])
    return path, offsets, path.read_bytes()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_mutations_give_our_errors_only(blob_file: tuple[Path, list[int], bytes], data: st.DataObject) -> None:
    """Any truncation or corruption either leaves readable blobs or raises an error of this package."""
    path, offsets, original = blob_file
    mutant = bytearray(original[: data.draw(st.integers(0, len(original)))])
    for _ in range(data.draw(st.integers(0, 8))):
        if mutant:
            mutant[data.draw(st.integers(0, len(mutant) - 1))] = data.draw(st.integers(0, 255))
    copy = path.with_name("mutant.bin")
    copy.write_bytes(mutant)
    try:
        reader = BlobReader(OpenFile(copy))
    except GristmillError:
        return
    for offset, dtype in zip(offsets, ALL, strict=True):
        with contextlib.suppress(GristmillError):
            reader.read(offset, dtype, (17,))
    reader.file.close()
