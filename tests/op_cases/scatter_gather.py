"""Cases of ``gristmill.ops.scatter_gather``."""

from __future__ import annotations

import numpy as np
import torch

from gristmill.ir.opset import Opset
from gristmill.ir.types import int8, int16, uint8, uint16
from tests.op_cases.case import Case, Typed

X = np.arange(24, dtype=np.float64).reshape(2, 3, 4)
TABLE = np.arange(12, dtype=np.float64).reshape(4, 3)
iOS15, iOS16, iOS17, iOS18 = Opset.iOS15, Opset.iOS16, Opset.iOS17, Opset.iOS18


def _i(*values):
    return np.array(values, np.int32)


def _torch_gather(axis):
    return lambda x, indices: torch.gather(torch.from_numpy(x), axis, torch.from_numpy(indices).long()).numpy()


ALONG = _i([[2, 0, 1, 1], [0, 0, 2, 1]], [[1, 1, 1, 0], [2, 2, 0, 0]])

# What each mode makes of [8, 6, 4] when 2 and then 3 go to place 0, and 5 goes to place 2.
MODES = {
    "update": [3, 6, 5],
    "add": [13, 6, 9],
    "sub": [3, 6, -1],
    "mul": [48, 6, 20],
    "div": [8 / 6, 6, 0.8],
    "max": [8, 6, 5],
    "min": [2, 6, 4],
}


def _modes():
    data, updates = np.array([8.0, 6, 4]), np.array([2.0, 3, 5])
    for mode, expected in MODES.items():
        along = {"data": data, "indices": _i(0, 0, 2), "updates": updates, "mode": mode}
        yield Case("scatter", along, expected, id=mode)
        yield Case("scatter_along_axis", along, expected, id=mode)
        yield Case("scatter_nd", {**along, "indices": _i([0], [0], [2])}, expected, id=mode)


CASES = [
    Case("gather", {"x": TABLE, "indices": _i(3, 0, 3)}, lambda x, indices: np.stack([x[3], x[0], x[3]])),
    Case("gather", {"x": TABLE, "indices": _i(-1, -4)}, lambda x, indices: np.stack([x[3], x[0]]), id="from-the-end"),
    Case("gather", {"x": X, "indices": _i([0, 2], [1, 1]), "axis": -1}, lambda x, indices: x[:, :, indices], id="axis"),
    Case("gather", {"x": TABLE, "indices": 2}, lambda x: x[2], id="scalar"),
    Case("gather", {"x": TABLE[:, 0], "indices": 2}, 6.0, id="scalar-of-vector"),
    Case("gather", {"x": TABLE, "indices": _i()}, lambda x, indices: np.zeros((0, 3)), id="none"),
    Case(
        "gather",
        {"x": X, "indices": _i([2, 0], [1, 1]), "axis": 1, "batch_dims": 1},
        lambda x, indices: np.stack([x[0, [2, 0]], x[1, [1, 1]]]),
        id="batch",
        opsets=(iOS16, iOS17),
    ),
    Case(
        "gather",
        {"x": X, "indices": _i([2, 0], [1, 3]), "axis": 2, "batch_dims": 1},
        lambda x, indices: np.stack([x[0][:, [2, 0]], x[1][:, [1, 3]]]),
        id="batch-before-axis",
        opsets=(iOS16, iOS17),
    ),
    Case(
        "gather",
        {"x": TABLE, "indices": Typed([3, 1], uint16)},
        lambda x, indices: x[[3, 1]],
        id="u16",
        opsets=(iOS16,),
    ),
    Case(
        "gather",
        {"x": Typed([5, 6, 7], uint8), "indices": Typed([2, 0], int8), "validate_indices": True},
        [7, 5],
        id="narrow",
        opsets=(iOS17,),
    ),
    # Without validation Core ML leaves it open; here a negative index counts from the end and others are clamped.
    Case("gather", {"x": _i(4, 5, 6), "indices": _i(-1, -9, 9)}, [6, 4, 6], id="unchecked", opsets=(iOS17, iOS18)),
    Case("gather_along_axis", {"x": X, "indices": ALONG, "axis": 1}, _torch_gather(1)),
    Case("gather_along_axis", {"x": X, "indices": ALONG[:, :, :1], "axis": -1}, _torch_gather(2), id="fewer").replace(
        operands={"x": X[:, :2], "indices": ALONG[:, :, :1], "axis": -1}
    ),
    Case(
        "gather_along_axis",
        {"x": TABLE, "indices": Typed([[0, 3, 1]], int16)},
        lambda x, indices: [[0, 10, 5]],
        id="i16",
        opsets=(iOS16, iOS18),
    ),
    Case("gather_nd", {"x": X, "indices": _i([1, 2], [0, 0])}, lambda x, indices: np.stack([x[1, 2], x[0, 0]])),
    Case("gather_nd", {"x": X, "indices": _i([[1, -1, 3]])}, lambda x, indices: [[x[1, 2, 3]]], id="elements"),
    Case("gather_nd", {"x": TABLE, "indices": _i(2)}, lambda x, indices: x[2], id="one-vector"),
    Case(
        "gather_nd",
        {"x": X, "indices": _i([[2, 3], [0, 0]], [[1, 1], [0, 2]]), "batch_dims": 1},
        lambda x, indices: [[x[0, 2, 3], x[0, 0, 0]], [x[1, 1, 1], x[1, 0, 2]]],
        id="batch",
        opsets=(iOS16, iOS18),
    ),
    Case("gather_nd", {"x": TABLE, "indices": np.zeros((2, 0), np.int32)}, lambda x, indices: [x, x], id="no-address"),
    *_modes(),
    Case(
        "scatter",
        {"data": X, "indices": _i(2, -4), "updates": np.ones((2, 3, 2)), "axis": -1, "mode": "update"},
        lambda data, indices, updates: np.where([True, False, True, False], 1, data),
        id="axis",
    ),
    Case(
        "scatter",
        {"data": np.zeros((3, 2)), "indices": _i([0, 2], [2, 0]), "updates": np.arange(8.0).reshape(2, 2, 2)},
        lambda data, indices, updates: [[6, 8], [0, 0], [6, 8]],
        id="default-adds",
    ),
    Case(
        "scatter",
        {"data": _i(7, -7, 2**31 - 1, 9), "indices": _i(0, 1, 3, 1), "updates": _i(2, -2, 0, -2), "mode": "div"},
        [3, -1, 2**31 - 1, 0],
        id="int-division",
    ),
    Case(
        "scatter",
        {"data": _i(2**31 - 1, 5), "indices": _i(0), "updates": _i(1)},
        [-(2**31), 5],
        id="int-wraps",
    ),
    Case(
        "scatter",
        {"data": _i(1, 2, 3), "indices": _i(-1, 3, -4), "updates": _i(9, 9, 9), "mode": "update"},
        [1, 2, 9],
        id="unchecked-drops",
        opsets=(iOS17, iOS18),
    ),
    Case(
        "scatter_along_axis",
        {"data": X, "indices": ALONG, "updates": X[:, :2] + 1, "axis": 1},
        lambda data, indices, updates: (
            torch.from_numpy(data).scatter_add(1, torch.from_numpy(indices).long(), torch.from_numpy(updates)).numpy()
        ),
        id="default-adds",
    ),
    Case(
        "scatter_nd",
        {"data": X, "indices": _i([[1, 2]], [[0, -3]]), "updates": -np.ones((2, 1, 4)), "mode": "update"},
        lambda data, indices, updates: _assigned(data),
        id="slices",
    ),
    # Sixteen halves of the spacing at 2048 add up to 8; if each sum were rounded to float16, nothing would change.
    Case(
        "scatter",
        {"data": np.array([2048.0]), "indices": np.zeros(16, np.int32), "updates": np.full(16, 0.5)},
        [2056],
        id="rounds-once",
    ),
]


def _assigned(x):
    result = x.copy()
    result[1, 2] = result[0, 0] = -1
    return result
