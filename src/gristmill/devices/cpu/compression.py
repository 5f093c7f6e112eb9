"""Weights that stay compressed in memory: which forms the native products decode themselves.

A weight is read through the ops that decompress it down to its codes. Where their meaning fits none of the native
forms, or the packed codes would not be smaller than the floats, it is decoded once and packed as any other constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gristmill.devices.cpu import _native
from gristmill.devices.cpu.contents import array_of, decompressing
from gristmill.errors import ExecutionError
from gristmill.ir import types
from gristmill.ir.constants import Array
from gristmill.ir.opset import iOS18
from gristmill.ir.program import Value
from gristmill.ir.types import DType
from gristmill.ops.constexpr import (
    constexpr_affine_dequantize,
    constexpr_blockwise_shift_scale,
    constexpr_cast,
    constexpr_lut_to_dense,
    constexpr_sparse_to_dense,
    unpacked,
)

CODE_TYPES = (types.int4, types.uint4, types.int8, types.uint8)


@dataclass(frozen=True)
class MatrixView:
    """How a weight of two or more axes is a matrix [outer·inner, N].

    Attributes:
        outer: Axes that neighbour each other, possibly none.
        inner: The axis that moves faster along the rows.
        columns: The axis of the N columns.
    """

    outer: tuple[int, ...]
    inner: int
    columns: int

    @staticmethod
    def of(rank: int, columns: int) -> MatrixView:
        """The view with some axis as columns: of a weight [O, C, *K] with axis 0 the rows are taps, then channels."""
        return MatrixView(tuple(range(2, rank)), 1 - columns, columns)

    def sizes(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Outer, inner and N."""
        return math.prod(shape[axis] for axis in self.outer), shape[self.inner], shape[self.columns]

    def strides(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """In elements of a contiguous array."""
        step = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        return (step[self.outer[-1]] if self.outer else 0), step[self.inner], step[self.columns]

    def matrix(self, array: Array) -> Array:
        """The matrix itself."""
        turned = array.transpose((*self.outer, self.inner, self.columns))
        return np.ascontiguousarray(turned.reshape(-1, array.shape[self.columns]))


def compressed_matrix(
    weight: Value, view: MatrixView, *, strict: bool, many_rows: bool = False
) -> _native.Prepared | None:
    """A weight as a matrix of codes, or ``None`` where it has to be decoded.

    Args:
        weight: A constant, made by ops that decompress.
        view: How it is a matrix.
        strict: Round each element to the weight's type before it is multiplied; otherwise products of few rows may
            scale sums of codes, which are more precise.
        many_rows: It is multiplied by many rows, which wait for arithmetic and not for memory: forms that are looked up
            one element after the other would make products slower.

    Raises:
        ExecutionError: The codes are not what their type says.
    """
    half, value = weight.dtype is types.fp16, weight
    op = decompressing(value)
    while isinstance(op, constexpr_cast):
        value = op.source_val
        half, op = True, decompressing(value)
    if op is None or 0 in value.shape:
        return None
    try:
        if isinstance(op, constexpr_affine_dequantize):
            return _affine(op.quantized_data, *_along(op), view, half=half, rounded=strict)
        if isinstance(op, constexpr_blockwise_shift_scale):
            offset = None if op.offset is None else array_of(op.offset)
            return _affine(op.data, array_of(op.scale), offset, view, half=half, rounded=strict)
        if isinstance(op, constexpr_lut_to_dense):
            return _table(op, view, many_rows=many_rows)
        if isinstance(op, constexpr_sparse_to_dense):
            return _sparse(weight, view)
    except _native.NativeError as error:
        raise ExecutionError(f"a compressed weight is malformed: {error}", op=op.title, location=op.location) from error
    return None


def _along(op: constexpr_affine_dequantize) -> tuple[Array, Array]:
    """Scales and zero points with the rank of the data."""
    shape = [1] * op.quantized_data.rank
    shape[op.axis] = -1
    scale, offset = np.broadcast_arrays(*(array_of(value).reshape(shape) for value in (op.scale, op.zero_point)))
    return scale, offset


def _affine(
    data: Value, scale: Array, offset: Array | None, view: MatrixView, *, half: bool, rounded: bool
) -> _native.Prepared | None:
    """Codes with scales and zero points: one of both for each block of rows and each column."""
    if data.dtype not in CODE_TYPES or not np.isfinite(scale).all():
        return None
    if offset is not None and not _fits(offset, data.dtype):
        return None
    shape = tuple(int(str(size)) for size in data.shape)
    groups = list(scale.shape)
    # Blocks along the inner axis alone keep their size; scales that also change along the outer axes are laid out anew
    # for each of those, and one for all rows needs one row.
    rows = [*view.outer, view.inner]
    block = math.prod(shape[axis] for axis in rows)
    if any(groups[axis] > 1 for axis in rows):
        block = shape[view.inner] // groups[view.inner]
        for axis in view.outer:
            groups[axis] = shape[axis]
    groups[view.columns] = shape[view.columns]
    parameters = math.prod(groups) * scale.itemsize * (1 if offset is None else 2)
    codes = math.prod(shape) * data.dtype.bits // 8
    if parameters + codes >= math.prod(shape) * (2 if half else 4):
        return None
    bias = 1 << (data.dtype.bits - 1) if data.dtype.kind == "int" else 0
    zero_point = None
    if offset is not None and offset.any():
        zero_point = view.matrix(_spread(offset, groups)).astype(scale.dtype) + scale.dtype.type(bias)
    array = array_of(data)
    return _native.compress_affine(
        np.ascontiguousarray(array.view(np.uint8) + np.uint8(bias)),
        data.dtype.bits,
        view.sizes(shape),
        view.strides(shape),
        types.dtype_of(scale.dtype).name,
        view.matrix(_spread(scale, groups)),
        zero_point,
        float(bias),
        block,
        half,
        rounded,
        data.dtype.name,
    )


def _fits(offset: Array, dtype: DType) -> bool:
    """Whether zero points are integers of the codes' type, for which float32 arithmetic is exact."""
    return bool(((offset >= dtype.min) & (offset <= dtype.max) & (offset == np.rint(offset))).all())


def _spread(array: Array, sizes: list[int]) -> Array:
    """Each element repeated to fill larger sizes."""
    for axis, size in enumerate(sizes):
        array = np.repeat(array, size // array.shape[axis], axis=axis)
    return array


def _table(op: constexpr_lut_to_dense, view: MatrixView, *, many_rows: bool) -> _native.Prepared | None:
    """Indices into tables, one for each group of columns."""
    shape = tuple(int(str(size)) for size in op.result.shape)
    lut = array_of(op.lut)
    if not op.lut.dtype.is_float or len(shape) < 2:
        return None
    if many_rows and not np.array_equal(lut, lut.astype(np.float16)):  # shuffles look up halves alone
        return None
    if op.opset >= iOS18:
        *groups, entries, length = lut.shape
        if length != 1 or any(count > 1 for axis, count in enumerate(groups) if axis != view.columns):
            return None
        tables, indices = groups[view.columns], array_of(op.indices)
    else:
        entries, tables = len(lut), 1
        indices = unpacked(array_of(op.indices), entries.bit_length() - 1, math.prod(shape))
    if lut.size * 4 >= math.prod(shape):  # tables that are larger than what they save
        return None
    return _native.compress_table(
        np.ascontiguousarray(indices),
        entries.bit_length() - 1,
        view.sizes(shape),
        view.strides(shape),
        np.ascontiguousarray(lut, np.float32),
        tables,
    )


def _sparse(weight: Value, view: MatrixView) -> _native.Prepared | None:
    """The elements that are not zero, whatever they were made of."""
    array = np.ascontiguousarray(array_of(weight))
    # A bit for each element; minus zero, which adding to a sum could tell from zero, counts as an element.
    kept = np.count_nonzero(array.view(f"u{array.itemsize}")) * array.itemsize + array.size // 8
    if kept >= array.nbytes:
        return None
    return _native.compress_sparse(weight.dtype.name, array, view.sizes(array.shape), view.strides(array.shape))
