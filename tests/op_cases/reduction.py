"""Cases of ``gristmill.ops.reduction``."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import special

from gristmill.ir.opset import iOS17, iOS26
from tests.op_cases.case import Case

X = np.linspace(-2, 3, 24).reshape(2, 3, 4)
POSITIVE = X + 2.5
NAN = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 6.0]])
INTS = np.array([[3, -4, 5], [2**30, 2**30, 2**30]], np.int32)
TIES = np.array([[2.0, 7.0, 7.0, 1.0], [1.0, 1.0, np.nan, 9.0]])


def exact_sum(x, axis):
    """Sums without rounding errors, by the standard library."""
    moved = np.moveaxis(x, axis, range(-len(axis), 0))
    flat = moved.reshape(*moved.shape[: x.ndim - len(axis)], -1)
    return np.apply_along_axis(math.fsum, -1, flat)


def along(op, oracle, x=X, **more):
    """An op over all axes, over some, over one that stays, and over none."""
    return [
        Case(op, {"x": x}, lambda x: oracle(x, (0, 1, 2)), id="all", **more),
        Case(op, {"x": x, "axes": (0, -1)}, lambda x: oracle(x, (0, 2)), id="two-axes", **more),
        Case(
            op,
            {"x": x, "axes": (1,), "keep_dims": True},
            lambda x: np.expand_dims(oracle(x, (1,)), 1),
            id="kept",
            **more,
        ),
    ]


def ints(op, x, expected, id="int", **operands):
    return Case(op, {"x": np.asarray(x, np.int32), **operands}, np.asarray(expected), id=id)


def is_uint16(got):
    assert got.dtype == np.uint16


CASES = [
    Case("reduce_argmax", {"x": X}, np.full((2, 3), 3)),
    Case("reduce_argmax", {"x": X, "axis": 1, "keep_dims": True}, np.full((2, 1, 4), 2), id="kept"),
    Case("reduce_argmax", {"x": TIES}, np.array([1, 2]), id="ties-and-nan"),
    ints("reduce_argmax", [2**24, 2**24 + 1], 1),
    Case(
        "reduce_argmax",
        {"x": X, "axis": 0, "output_dtype": "uint16"},
        np.ones((3, 4), np.uint16),
        id="uint16",
        opsets=(iOS17, iOS26),
        check=is_uint16,
    ),
    Case("reduce_argmin", {"x": X}, np.zeros((2, 3))),
    Case("reduce_argmin", {"x": X, "axis": 1, "keep_dims": True}, np.zeros((2, 1, 4)), id="kept"),
    Case("reduce_argmin", {"x": TIES}, np.array([3, 2]), id="ties-and-nan"),
    ints("reduce_argmin", [2**24 + 1, 2**24], 1),
    *along("reduce_l1_norm", lambda x, axis: exact_sum(np.abs(x), axis)),
    ints("reduce_l1_norm", INTS, [12, 3 * 2**30 - 2**32], axes=(1,)),
    *along("reduce_l2_norm", lambda x, axis: np.sqrt(exact_sum(x * x, axis))),
    ints("reduce_l2_norm", INTS, [math.isqrt(50), math.isqrt(3 * 2**60)], axes=(1,)),
    Case("reduce_l2_norm", {"x": np.array([300.0, 400.0])}, 500.0, id="no-overflow-in-float16"),
    *along("reduce_log_sum", lambda x, axis: np.log(exact_sum(x, axis)), POSITIVE),
    ints("reduce_log_sum", [10, 50], 4),
    ints("reduce_log_sum", [0, 0], -(2**31), id="int-of-zero"),
    *along("reduce_log_sum_exp", lambda x, axis: special.logsumexp(x, axis=axis)),
    Case("reduce_log_sum_exp", {"x": np.array([1e4, 1e4])}, 1e4 + math.log(2), id="no-overflow"),
    Case("reduce_log_sum_exp", {"x": np.array([-np.inf, -np.inf])}, -np.inf, id="nothing"),
    Case("reduce_log_sum_exp", {"x": np.array([np.inf, 1.0])}, np.inf, id="infinite"),
    ints("reduce_log_sum_exp", [3, 3], 3),
    *along("reduce_max", lambda x, axis: torch.amax(torch.from_numpy(x), axis).numpy()),
    Case("reduce_max", {"x": NAN, "axes": (1,)}, [np.nan, 6], id="nan"),
    ints("reduce_max", [2**24, 2**24 + 1], 2**24 + 1),
    *along("reduce_mean", lambda x, axis: exact_sum(x, axis) / math.prod(x.shape[a] for a in axis)),
    Case("reduce_mean", {"x": np.full((4,), 60000.0)}, lambda x: x[0], id="no-overflow-in-float16"),
    Case("reduce_mean", {"x": np.zeros((2, 0)), "axes": (1,)}, [np.nan, np.nan], id="empty"),
    ints("reduce_mean", [[7, -8, -4], [TOP := 2**31 - 1, TOP, TOP]], [-1, TOP], axes=(1,)),
    *along("reduce_min", lambda x, axis: torch.amin(torch.from_numpy(x), axis).numpy()),
    Case("reduce_min", {"x": NAN, "axes": (1,)}, [np.nan, 4], id="nan"),
    ints("reduce_min", [2**24 + 1, 2**24], 2**24),
    Case("reduce_prod", {"x": np.array([[1.5, -2.0], [4.0, 0.25]])}, -3.0, id="all"),
    Case("reduce_prod", {"x": np.array([[1.5, -2.0], [4.0, 0.25]]), "axes": (-1,)}, [-3, 1], id="one-axis"),
    Case("reduce_prod", {"x": np.zeros((2, 0)), "axes": (1,)}, [1, 1], id="empty"),
    ints("reduce_prod", [[65536, 65536, 3], [2, 3, 5]], [0, 30], axes=(1,)),
    *along("reduce_sum", exact_sum),
    Case("reduce_sum", {"x": NAN, "axes": (0,), "keep_dims": True}, [[5, np.nan, 9]], id="nan"),
    Case("reduce_sum", {"x": np.array([1e4, 1.0, -1e4])}, 1.0, id="cancels"),
    Case("reduce_sum", {"x": np.zeros((2, 0)), "axes": (1,)}, [0, 0], id="empty"),
    ints("reduce_sum", INTS, [4, 3 * 2**30 - 2**32], axes=(1,)),
    *along("reduce_sum_square", lambda x, axis: exact_sum(x * x, axis)),
    ints("reduce_sum_square", [[65536, 3], [1, 2]], [9, 5], axes=(1,)),
]
