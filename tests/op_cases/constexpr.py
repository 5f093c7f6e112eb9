"""Cases of ``gristmill.ops.constexpr``."""

from __future__ import annotations

import numpy as np

from gristmill.ir.opset import iOS16, iOS17, iOS18, iOS26
from gristmill.ir.types import fp16, fp32, int4, int8, uint1, uint2, uint3, uint4, uint6, uint8, uint32
from tests.op_cases.case import Case, Fixed

OLD, NEW = (iOS16, iOS17), (iOS18, iOS26)
RNG = np.random.default_rng(11)
CODES = np.array([[-128, 0, 5], [127, -1, 2]])


def packed(values, bits):
    """Bit fields of one long binary number, the first value lowest."""
    number = sum(int(v) << (bits * k) for k, v in enumerate(np.ravel(values)))
    return Fixed(np.frombuffer(number.to_bytes(-(-len(np.ravel(values)) * bits // 8), "little"), np.uint8), uint8)


def sizes(*shape):
    return Fixed(np.array(shape), uint32)


def old_lut(bits, shape):
    """Palettised with packed indices, as up to iOS17."""
    indices = RNG.integers(0, 1 << bits, shape)
    table = RNG.permutation(1 << bits) / 4
    operands = {"indices": packed(indices, bits), "lut": Fixed(table), "shape": sizes(*shape)}
    return Case("constexpr_lut_to_dense", operands, table[indices], id=f"packed-{bits}-bits", opsets=OLD)


def new_lut(dtype, shape, groups, length=1, axis=None):
    """Grouped tables with typed indices, element by element."""
    entries = 1 << dtype.bits
    indices = RNG.integers(0, entries, shape)
    tables = RNG.integers(-100, 100, (*groups, entries, length)) / 4
    wide = [n * (length if k == axis else 1) for k, n in enumerate(shape)]
    expected = np.empty(wide)
    for place in np.ndindex(*wide):
        inner = 0 if axis is None else place[axis] % length
        at = tuple(i // (length if k == axis else 1) for k, i in enumerate(place))
        group = tuple(i * g // n for i, g, n in zip(at, groups, shape, strict=True))
        expected[place] = tables[(*group, indices[at], inner)]
    operands = {"indices": Fixed(indices, dtype), "lut": Fixed(tables)}
    if axis is not None:
        operands["vector_axis"] = axis
    name = f"{dtype}-groups-{'x'.join(map(str, groups))}" + (f"-vectors-along-{axis}" if axis is not None else "")
    return Case("constexpr_lut_to_dense", operands, expected, id=name, opsets=NEW)


A, B = [1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]
BITS = np.array([[[0, 0], [1, 0]], [[1, 1], [0, 0]]])
SPARSE = np.array([[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]])
MASK = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]])
BLOCKS = RNG.integers(-8, 8, (4, 6))

CASES = [
    Case(
        "constexpr_affine_dequantize",
        {"quantized_data": Fixed(CODES, int8), "zero_point": Fixed(5, int8), "scale": Fixed(0.25), "axis": 0},
        (CODES - 5) / 4,
        id="scalars",
    ),
    Case(
        "constexpr_affine_dequantize",
        {
            "quantized_data": Fixed(CODES + 128, uint8),
            "zero_point": Fixed([1, 2, 255], uint8),
            "scale": Fixed([0.5, 0.25, 2.0]),
            "axis": 1,
        },
        [[-0.5, 31.5, -244], [127, 31.25, -250]],
        id="columns",
    ),
    Case(
        "constexpr_affine_dequantize",
        {
            "quantized_data": Fixed(CODES, int8),
            "zero_point": Fixed(0.5, fp32),
            "scale": Fixed([0.5, 2.0]),
            "axis": -2,
        },
        [[-64.25, -0.25, 2.25], [253, -3, 3]],
        id="rows-and-float-zero-point",
    ),
    *(
        Case(
            "constexpr_blockwise_shift_scale",
            {"data": Fixed(BLOCKS, int4), "scale": Fixed(np.arange(1, 1 + rows * columns).reshape(rows, columns) / 4)},
            BLOCKS
            * np.kron(np.arange(1, 1 + rows * columns).reshape(rows, columns) / 4, np.ones((4 // rows, 6 // columns))),
            id=f"blocks-{rows}x{columns}",
        )
        for rows, columns in ((1, 1), (2, 3), (4, 1), (4, 6))
    ),
    Case(
        "constexpr_blockwise_shift_scale",
        {"data": Fixed([[0, 15, 3, 4]], uint4), "scale": Fixed([[0.5, 2.0]]), "offset": Fixed([[8, 1]], uint4)},
        [[-4, 3.5, 4, 6]],
        id="offset",
    ),
    Case(
        "constexpr_blockwise_shift_scale",
        {"data": Fixed([[-8, 7]], int4), "scale": Fixed([[0.5]]), "offset": Fixed([[0.25]], fp16)},
        [[-4.125, 3.375]],
        id="float-offset",
    ),
    Case(
        "constexpr_cast",
        {"source_val": Fixed([[0.5, -65504.0]], fp16), "output_dtype": "fp32"},
        np.array([[0.5, -65504.0]], np.float32),
    ),
    *(old_lut(bits, (3, 5)) for bits in (1, 2, 4, 6, 8)),
    Case(
        "constexpr_lut_to_dense",
        {"indices": Fixed([0b01101100, 0b11], uint8), "lut": Fixed([10, -20, 30, -40], int8), "shape": sizes(5)},
        np.array([10, -40, 30, -20, -40]),
        id="written-out",
        opsets=OLD,
    ),
    *(new_lut(dtype, (4, 6), (1, 1)) for dtype in (uint1, uint2, uint3, uint4, uint6, uint8)),
    new_lut(uint2, (4, 6), (2, 3)),
    new_lut(uint4, (4, 6, 2), (4, 1, 1)),
    new_lut(uint2, (4, 6), (2, 1), 3, 0),
    new_lut(uint2, (4, 6), (1, 3), 2, 1),
    Case(
        "constexpr_lut_to_dense",
        {"indices": Fixed(BITS, uint1), "lut": Fixed([[[[A, B]]]]), "vector_axis": 1},
        [[[1, 1], [2, 2], [3, 3], [-1, 1], [-2, 2], [-3, 3]], [[-1, -1], [-2, -2], [-3, -3], [1, 1], [2, 2], [3, 3]]],
        id="vectors-written-out",
        opsets=NEW,
    ),
    Case(
        "constexpr_lut_to_sparse",
        {
            "indices_mask": Fixed(SPARSE, uint1),
            "indices_nonzero_data": Fixed([0, 1, 1, 0, 1, 1, 0, 0, 1], uint1),
            "lut": Fixed([[[[2.0], [3.0]]]]),
        },
        (SPARSE, np.array([2.0, 3, 3, 2, 3, 3, 2, 2, 3])),
        id="scalars",
    ),
    Case(
        "constexpr_lut_to_sparse",
        {
            "indices_mask": Fixed(SPARSE[:2], uint1),
            "indices_nonzero_data": Fixed([0, 1, 1, 0, 1], uint1),
            "lut": Fixed([[[[2.0, -2.0], [3.0, -3.0]]]]),
            "vector_axis": 0,
        },
        (np.repeat(SPARSE[:2], 2, axis=0), np.array([2.0, 3, -2, -3, 3, 2, 3, -3, -2, -3])),
        id="vectors",
    ),
    Case(
        "constexpr_sparse_blockwise_shift_scale",
        {
            "data_mask": Fixed(MASK, uint1),
            "nonzero_data": Fixed([10, 11, 3, 4, 5, 6, 7, 8, 9], int8),
            "scale": Fixed([[0.5, 0.25, 2.0, 4.0]]),
            "offset": Fixed([[1, 2, 3, 4]], int8),
        },
        (MASK, np.array([4.5, 2.25, 1, 0.5, 4, 6, 12, 3.5, 1.75])),
    ),
    Case(
        "constexpr_sparse_to_dense",
        {"nonzero_data": Fixed([1.5, -2.0]), "mask": Fixed([0b01100], uint8), "shape": sizes(1, 5)},
        [[0, 0, 1.5, -2, 0]],
        id="packed",
        opsets=OLD,
    ),
    Case(
        "constexpr_sparse_to_dense",
        {"nonzero_data": Fixed([3, -4], int4), "mask": Fixed([[0, 1], [1, 0]], uint1)},
        np.array([[0, 3], [-4, 0]]),
        id="typed-mask",
        opsets=NEW,
    ),
]
