"""Compressed constants: quantised, palettised, sparse, and combinations.

The results decode to dense constants, some rows at a time, so that decoding needs little more than the result itself.
Arithmetic is in float64, rounded once. Indices and masks of fewer than 8 bits arrive one to a byte, but for those of
the iOS16 ops, which are packed into bytes from the least significant bit on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np

from gristmill.ir.constants import Array
from gristmill.ir.dims import Shape
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS16, iOS18
from gristmill.ir.program import Value
from gristmill.ir.signature import ByOpset, Const, Operand, OptionalOperand, TypeVar
from gristmill.ir.traits import AttributesOnly, Decompresses, Exact, Trait
from gristmill.ir.types import (
    TensorType,
    Type,
    fp16,
    fp32,
    int4,
    int8,
    int32,
    uint1,
    uint2,
    uint3,
    uint4,
    uint6,
    uint8,
    uint32,
)
from gristmill.ops.broadcast import normalized_axis
from gristmill.ops.quantization import along_axis

_BLOCK = 1 << 20
"""Elements decoded at a time."""

_Sizes = tuple[int, ...]


class _Constexpr(Op):
    since = iOS16
    traits: ClassVar[tuple[type[Trait], ...]] = (Decompresses,)

    def _sizes(self, value: Value) -> _Sizes:
        """The shape of an operand, which is a constant's and so all known."""
        return tuple(self._known(dim) for dim in value.shape)

    def _known(self, dim: object) -> int:
        if not isinstance(dim, int):
            raise self.misfit("shape of a compressed constant", expected="known sizes", actual=dim)
        return dim

    def _require(self, what: str, expected: object, actual: object) -> None:
        if expected != actual:
            raise self.misfit(what, expected=expected, actual=actual)


def _rows(shape: _Sizes) -> Iterator[slice]:
    """Slices along the first axis, of about ``_BLOCK`` elements."""
    step = max(1, _BLOCK // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def _by_rows(shape: _Sizes, dtype: np.dtype[np.generic], decode: Callable[[slice], Array]) -> Array:
    """Assembles a tensor from decoded rows; storing them in ``dtype`` is where they are rounded."""
    result: Array = np.empty(shape, dtype)
    for rows in _rows(shape):
        result[rows] = decode(rows)
    return result


# -- affine ----------------------------------------------------------------------------------------------------------


class constexpr_affine_dequantize(_Constexpr):
    """``scale·(quantized_data - zero_point)``; both parameters are scalars or vectors along ``axis``."""

    traits = (AttributesOnly,)
    SrcT = TypeVar(int8, uint8)
    ZeroPointT = TypeVar(int8, uint8, fp32)
    DstT = TypeVar(fp16, fp32)

    quantized_data = Operand(SrcT, const=True)
    zero_point = Operand(ZeroPointT, const=True, rank=(0, 1))
    scale = Operand(DstT, const=True, rank=(0, 1))
    axis = Const(int)

    def infer(self) -> Type:
        sizes = self._sizes(self.quantized_data)
        if not sizes:
            raise self.misfit("rank of 'quantized_data'", expected="1 or more", actual=0)
        size = sizes[normalized_axis(self.axis, len(sizes), self)]
        for name in ("zero_point", "scale"):
            if self.operand(name).rank:
                self._require(f"length of '{name}'", size, self.operand(name).shape[0])
        return TensorType(self.scale.dtype, sizes)

    def reference(self, quantized_data: Array, zero_point: Array, scale: Array, axis: int) -> Array:
        rank = quantized_data.ndim
        offset, factor = (along_axis(p, axis, rank) for p in (zero_point, scale))

        def decode(rows: slice) -> Array:
            own = [p[rows] if p.ndim and p.shape[0] > 1 else p for p in (offset, factor)]
            return own[1] * (quantized_data[rows] - own[0])

        return _by_rows(quantized_data.shape, self.result.dtype.numpy, decode)


class constexpr_blockwise_shift_scale(_Constexpr):
    """``scale·(data - offset)``, where each element of ``scale`` and ``offset`` serves a block of ``data``.

    The three have one rank; the blocks' size along an axis is ``data.shape[axis] / scale.shape[axis]``.
    """

    since = iOS18

    SrcT = TypeVar(int4, uint4, int8, uint8, fp16, fp32)
    DstT = TypeVar(fp16, fp32)
    OffsetT = TypeVar(int4, uint4, int8, uint8, fp16, fp32)

    data = Operand(SrcT, const=True)
    scale = Operand(DstT, const=True)
    offset = OptionalOperand(OffsetT, const=True)

    def infer(self) -> Type:
        sizes = self._sizes(self.data)
        _check_blocks(self, sizes, self.scale, self.offset)
        if self.offset is not None and not self.offset.dtype.is_float:
            self._require("type of 'offset'", self.data.dtype, self.offset.dtype)
        return TensorType(self.scale.dtype, sizes)

    def reference(self, data: Array, scale: Array, offset: Array | None) -> Array:
        return _shift_scale(data, scale, offset, self.result.dtype.numpy)


def _check_blocks(op: _Constexpr, sizes: _Sizes, scale: Value, offset: Value | None) -> None:
    groups = op._sizes(scale)
    if len(groups) != len(sizes) or not sizes:
        raise op.misfit("rank of 'scale'", expected=f"{len(sizes)}, as of the data, and not 0", actual=len(groups))
    if any(not g or n % g for n, g in zip(sizes, groups, strict=True)):
        raise op.misfit("shape of 'scale'", expected=f"divisors of {list(sizes)}", actual=list(groups))
    if offset is not None:
        op._require("shape of 'offset'", groups, op._sizes(offset))


def _shift_scale(data: Array, scale: Array, offset: Array | None, dtype: np.dtype[np.generic]) -> Array:
    places = [np.arange(n) // (n // g) for n, g in zip(data.shape, scale.shape, strict=True)]

    def decode(rows: slice) -> Array:
        blocks = np.ix_(places[0][rows], *places[1:])
        part = data[rows].astype(np.float64)
        if offset is not None:
            part -= offset[blocks]
        part *= scale[blocks]
        return part

    return _by_rows(data.shape, dtype, decode)


# -- look-up tables --------------------------------------------------------------------------------------------------


class constexpr_lut_to_dense(_Constexpr):
    """Replaces indices by the entries of a look-up table.

    Up to iOS17 ``indices`` are packed bytes, ``lut`` is one table of 2ⁿ entries for n-bit indices, and ``shape`` is the
    result's. From iOS18 on the indices have the result's rank K and their own type, and ``lut`` has rank K + 2: groups
    along each axis, entries, and the length of an entry. An entry longer than 1 is laid along ``vector_axis``.
    """

    traits = (Decompresses, Exact)

    IndicesT = TypeVar(uint1, uint2, uint3, uint4, uint6, uint8)
    T = TypeVar(int8, uint8, fp16, fp32)

    indices = Operand(ByOpset({iOS16: uint8, iOS18: IndicesT}), const=True)
    lut = Operand(T, const=True)
    shape = Const.ints((uint32, int32), default=None, until=iOS18)
    vector_axis = Const(int, default=None, since=iOS18)

    def infer(self) -> Type:
        indices, lut = self._sizes(self.indices), self._sizes(self.lut)
        if self.opset >= iOS18:
            return TensorType(self.lut.dtype, _vectored(self, indices, lut, self.indices.dtype.bits, self.vector_axis))
        shape = _given_shape(self, self.shape)
        if len(lut) != 1 or lut[0] not in (2, 4, 16, 64, 256):
            raise self.misfit("shape of 'lut'", expected="2, 4, 16, 64 or 256 entries", actual=list(lut))
        self._require("packed bytes of 'indices'", (_bytes(math.prod(shape) * _bits(lut[0])),), indices)
        return TensorType(self.lut.dtype, shape)

    def reference(self, indices: Array, lut: Array) -> Array:
        if self.opset >= iOS18:
            return _looked_up(indices, lut, self.vector_axis)
        return lut[unpacked(indices, _bits(len(lut)), math.prod(self.shape or ()))].reshape(self.shape or ())


class constexpr_lut_to_sparse(_Constexpr):
    """``constexpr_lut_to_dense`` for the elements that a mask lets through: gives their mask, and them in a row."""

    since = iOS18
    traits = (Decompresses, Exact)

    IndicesT = TypeVar(uint1, uint2, uint3, uint4, uint6, uint8)
    T = TypeVar(int8, uint8, fp16, fp32)

    indices_mask = Operand(uint1, const=True)
    indices_nonzero_data = Operand(IndicesT, const=True, rank=1)
    lut = Operand(T, const=True)
    vector_axis = Const(int, default=None)

    def infer(self) -> list[Type]:
        mask, lut = self._sizes(self.indices_mask), self._sizes(self.lut)
        shape = _vectored(self, mask, lut, self.indices_nonzero_data.dtype.bits, self.vector_axis)
        count = self._sizes(self.indices_nonzero_data)[0] * lut[-1]
        return [TensorType(uint1, shape), TensorType(self.lut.dtype, (count,))]

    def reference(self, indices_mask: Array, indices_nonzero_data: Array, lut: Array) -> tuple[Array, Array]:
        mask = indices_mask
        if lut.shape[-1] > 1 and self.vector_axis is not None:
            mask = np.repeat(mask, lut.shape[-1], axis=self.vector_axis)
        dense = _looked_up(_scattered(self, indices_mask, indices_nonzero_data), lut, self.vector_axis)
        return mask, dense[mask.astype(bool)]


def _bits(entries: int) -> int:
    return entries.bit_length() - 1


def _bytes(bits: int) -> int:
    return -(-bits // 8)


def unpacked(packed: Array, bits: int, count: int) -> Array:
    """Integers of ``bits`` bits each, one a byte; eight of them at a time end at a byte's edge."""
    result = np.empty(count, np.uint8)
    weights = (1 << np.arange(bits)).astype(np.uint8)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        chunk = packed[start * bits // 8 : _bytes(stop * bits)]
        fields = np.unpackbits(chunk, count=(stop - start) * bits, bitorder="little").reshape(-1, bits)
        result[start:stop] = fields @ weights
    return result


def _vectored(op: _Constexpr, indices: _Sizes, lut: _Sizes, bits: int, axis: int | None) -> Shape:
    """Checks a grouped look-up table against its indices and gives the shape of what they decode to."""
    if len(lut) != len(indices) + 2 or not indices:
        raise op.misfit("rank of 'lut'", expected=f"{len(indices)} of the indices + 2", actual=len(lut))
    *groups, entries, length = lut
    if any(not g or n % g for n, g in zip(indices, groups, strict=True)):
        raise op.misfit("groups of 'lut'", expected=f"divisors of {list(indices)}", actual=groups)
    op._require("entries of 'lut'", 1 << bits, entries)
    if length == 1:
        return indices
    if axis is None or not length:
        raise op.misfit("entries of 'lut' longer than 1", expected="a 'vector_axis'", actual=f"length {length}, none")
    axis = normalized_axis(axis, len(indices), op)
    return (*indices[:axis], indices[axis] * length, *indices[axis + 1 :])


def _looked_up(indices: Array, lut: Array, axis: int | None) -> Array:
    """Entries of grouped look-up tables."""
    rank, length = indices.ndim, lut.shape[-1]
    table = lut.reshape(-1, length)
    stride = lut.shape[-2]
    starts: list[Array] = []
    for n, g in zip(reversed(indices.shape), reversed(lut.shape[:rank]), strict=True):
        starts.insert(0, np.arange(n) // (n // g) * stride)
        stride *= g
    result: Array = np.empty((*indices.shape, length), lut.dtype)
    for rows in _rows(indices.shape):
        grid = np.ix_(starts[0][rows], *starts[1:])
        result[rows] = table[sum(grid, start=indices[rows].astype(np.intp))]
    if length == 1:
        return result[..., 0]
    assert axis is not None
    place = axis % rank
    shape = (*indices.shape[:place], indices.shape[place] * length, *indices.shape[place + 1 :])
    return np.moveaxis(result, -1, place + 1).reshape(shape)


# -- sparsity --------------------------------------------------------------------------------------------------------


class constexpr_sparse_to_dense(_Constexpr):
    """Lays ``nonzero_data`` out, in row-major order, where ``mask`` is 1; the rest is 0.

    Up to iOS17 the mask is packed into bytes and ``shape`` is the result's; from iOS18 on the mask has it.
    """

    traits = (Decompresses, Exact)

    T = TypeVar(int8, uint8, fp16, fp32).also(iOS18, int4, uint4)

    nonzero_data = Operand(T, const=True, rank=1)
    mask = Operand(ByOpset({iOS16: uint8, iOS18: uint1}), const=True)
    shape = Const.ints((uint32, int32), default=None, until=iOS18)

    def infer(self) -> Type:
        mask = self._sizes(self.mask)
        if self.opset >= iOS18:
            return TensorType(self.nonzero_data.dtype, mask)
        shape = _given_shape(self, self.shape)
        self._require("packed bytes of 'mask'", (_bytes(math.prod(shape)),), mask)
        return TensorType(self.nonzero_data.dtype, shape)

    def reference(self, nonzero_data: Array, mask: Array) -> Array:
        if self.opset < iOS18:
            shape = self.shape or ()
            mask = np.unpackbits(mask, count=math.prod(shape), bitorder="little").reshape(shape)
        return _scattered(self, mask, nonzero_data)


class constexpr_sparse_blockwise_shift_scale(_Constexpr):
    """``constexpr_blockwise_shift_scale`` for the elements that a mask lets through: gives the mask and those."""

    since = iOS18

    SrcT = TypeVar(int4, uint4, int8, uint8, fp16, fp32)
    DstT = TypeVar(fp16, fp32)
    OffsetT = TypeVar(int4, uint4, int8, uint8, fp16, fp32)

    data_mask = Operand(uint1, const=True)
    nonzero_data = Operand(SrcT, const=True, rank=1)
    scale = Operand(DstT, const=True)
    offset = OptionalOperand(OffsetT, const=True)

    def infer(self) -> list[Type]:
        sizes = self._sizes(self.data_mask)
        _check_blocks(self, sizes, self.scale, self.offset)
        return [TensorType(uint1, sizes), TensorType(self.scale.dtype, self.nonzero_data.shape)]

    def reference(
        self, data_mask: Array, nonzero_data: Array, scale: Array, offset: Array | None
    ) -> tuple[Array, Array]:
        dense = _shift_scale(_scattered(self, data_mask, nonzero_data), scale, offset, self.results[1].dtype.numpy)
        return data_mask, dense[data_mask.astype(bool)]


def _scattered(op: _Constexpr, mask: Array, data: Array) -> Array:
    places = mask.astype(bool)
    op._require("number of elements that the mask lets through", int(np.count_nonzero(places)), len(data))
    result: Array = np.zeros(mask.shape, data.dtype)
    result[places] = data
    return result


def _given_shape(op: _Constexpr, shape: tuple[int, ...] | None) -> _Sizes:
    if shape is None or min(shape, default=0) < 0:
        raise op.misfit("operand 'shape'", expected="the sizes of the result", actual=shape)
    return shape


# -- casts -----------------------------------------------------------------------------------------------------------


class constexpr_cast(_Constexpr):
    """float16 widened to float32."""

    traits = (Decompresses, Exact)

    source_val = Operand(fp16, const=True)
    output_dtype = Const(str, choices=("fp32",))

    def infer(self) -> Type:
        return self.source_val.tensor.with_dtype(fp32)

    def reference(self, source_val: Array) -> Array:
        return source_val.astype(np.float32)


OPS = (
    constexpr_affine_dequantize,
    constexpr_blockwise_shift_scale,
    constexpr_cast,
    constexpr_lut_to_dense,
    constexpr_lut_to_sparse,
    constexpr_sparse_blockwise_shift_scale,
    constexpr_sparse_to_dense,
)
