"""Cases of ``gristmill.ops.slicing``."""

from __future__ import annotations

import numpy as np

from gristmill.ir.opset import Opset
from gristmill.ir.types import int16, uint8
from tests.op_cases.case import Case, Fixed, Typed

X = np.arange(24, dtype=np.float64).reshape(2, 3, 4)


def _slice(expected, id, *, begin, end, **more):
    return Case("slice_by_index", {"x": X, "begin": begin, "end": end, **more}, expected, id=id)


def _updated(x, update):
    result = x.copy()
    result[:, 2:0:-1, 1] = update
    return result


CASES = [
    _slice(lambda x: x[0:1, 1:3, 2:4], "plain", begin=[0, 1, 2], end=[1, 3, 4]),
    _slice(lambda x: x[-1:, -3:-1, :-1], "negative", begin=[-1, -3, -4], end=[2, -1, -1]),
    _slice(lambda x: x, "clamped", begin=[-9, 0, 0], end=[9, 9, 9]),
    _slice(lambda x: x[:, ::2, 1::2], "strides", begin=[0, 0, 1], end=[2, 3, 4], stride=[1, 2, 2]),
    _slice(
        lambda x: x[:, :2, 1:],
        "masks",
        begin=[1, 1, 1],
        end=[1, 2, 1],
        begin_mask=[True, True, False],
        end_mask=[True, False, True],
    ),
    _slice(
        lambda x: x[::-1, ::-1, 3:0:-2],
        "backwards",
        begin=[0, 0, 3],
        end=[0, 0, 0],
        stride=[-1, -1, -2],
        begin_mask=[True, True, False],
        end_mask=[True, True, False],
    ),
    _slice(lambda x: x[1, :, -1], "squeezed", begin=[1, 0, -1], end=[0, 3, 0], squeeze_mask=[True, False, True]),
    _slice(23.0, "scalar", begin=[-1, -1, -1], end=[0, 0, 0], squeeze_mask=[True, True, True]),
    _slice(np.zeros((0, 3, 4)), "empty", begin=[1, 0, 0], end=[1, 3, 4]),
    Case(
        "slice_by_index",
        {"x": X, "begin": np.array([0, 1, -3], np.int32), "end": np.array([2, 2, -1], np.int32)},
        lambda x, begin, end: x[:, 1:2, 1:3],
        id="dynamic",
    ),
    Case(
        "slice_by_index",
        {"x": Typed([5, 6, 7], uint8), "begin": Fixed([-2], int16), "end": Fixed([3], int16)},
        [6, 7],
        id="narrow",
        opsets=(Opset.iOS17,),
    ),
    Case("slice_by_size", {"x": X, "begin": [0, 1, 2], "size": [1, 2, 2]}, lambda x: x[:1, 1:, 2:]),
    Case("slice_by_size", {"x": X, "begin": [1, -2, 0], "size": [-1, -1, 1]}, lambda x: x[1:, -2:, :1], id="rest"),
    Case(
        "slice_by_size",
        {"x": X, "begin": np.array([1, 0, 3], np.int32), "size": [1, -1, 1]},
        lambda x, begin: x[1:, :, 3:],
        id="dynamic",
    ),
    Case("slice_by_size", {"x": X, "begin": [2, 0, 0], "size": [0, 3, 4]}, np.zeros((0, 3, 4)), id="empty"),
    Case(
        "slice_update",
        {
            "x": X,
            "update": -np.arange(1.0, 5).reshape(2, 2),
            "begin": [0, 2, 1],
            "end": [2, 0, 0],
            "stride": [1, -1, 1],
            "squeeze_mask": [False, False, True],
        },
        _updated,
    ),
    Case(
        "slice_update",
        {
            "x": np.zeros(4),
            "update": np.array([1.0, 2]),
            "begin": np.array([1], np.int32),
            "end": np.array([3], np.int32),
        },
        [0, 1, 2, 0],
        id="dynamic",
    ),
]
