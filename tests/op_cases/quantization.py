"""Cases of ``gristmill.ops.quantization``."""

from __future__ import annotations

import numpy as np

from gristmill.ir.types import int8, uint8
from tests.op_cases.case import Case, Fixed, Typed

X = np.array([[-3.0, -0.625, 0.0], [0.25, 0.75, 100.0]])
CODES = np.array([[-128, -1, 0], [5, 100, 127]])
SCALES = np.array([0.5, 0.25, 2.0])

CASES = [
    Case("quantize", {"input": X, "scale": Fixed(0.5), "output_dtype": "int8"}, np.array([[-6, -1, 0], [0, 2, 127]])),
    Case(
        "quantize",
        {"input": X, "scale": Fixed(0.5), "zero_point": Fixed(3, uint8), "output_dtype": "uint8"},
        np.array([[0, 2, 3], [3, 5, 203]]),
        id="zero-point",
    ),
    Case(
        "quantize",
        {
            "input": X,
            "scale": Fixed(SCALES),
            "zero_point": Fixed([1, -2, 0], int8),
            "axis": -1,
            "output_dtype": "int8",
        },
        np.array([[-5, -4, 0], [1, 1, 50]]),
        id="per-channel",
    ),
    Case(
        "quantize",
        {"input": np.array([0.5, 1.5, 2.5, np.nan, np.inf]), "scale": Fixed(1.0), "output_dtype": "int8"},
        np.array([0, 2, 2, 0, 127]),
        id="even-and-special",
    ),
    Case("dequantize", {"input": Typed(CODES, int8), "scale": Fixed(0.5)}, CODES / 2),
    Case(
        "dequantize",
        {"input": Typed(CODES, int8), "scale": Fixed(0.5), "zero_point": Fixed(127, int8)},
        (CODES - 127.0) / 2,
        id="zero-point",
    ),
    Case(
        "dequantize",
        {
            "input": Typed(CODES + 128, uint8),
            "scale": Fixed(SCALES),
            "zero_point": Fixed([1, 255, 0], uint8),
            "axis": 1,
        },
        [[-0.5, -32, 256], [66, -6.75, 510]],
        id="per-channel",
    ),
]
