"""Cases of ``gristmill.ops.tensor_operation``."""

from __future__ import annotations

import numpy as np
import torch

from gristmill.ir.opset import Opset
from gristmill.ir.types import int8, int16, uint16
from tests.op_cases.case import Case, Fixed, Typed

X = np.array([[3.0, -1, 2], [0.5, 0.5, -4]])
CUBE = np.arange(24, dtype=np.float64).reshape(2, 3, 4)
INTS = np.array([[3, -1, 2], [5, 5, -4]], np.int32)
NAN, INF = np.nan, np.inf
iOS16, iOS17, iOS18 = Opset.iOS16, Opset.iOS17, Opset.iOS18


def _padded(mode, *pads):
    """PyTorch counts pairs from the last axis on, MIL in the order of the axes."""
    return lambda x: torch.nn.functional.pad(torch.from_numpy(x), pads, mode=mode).numpy()


CASES = [
    Case("argsort", {"x": X}, [[0, 2, 1], [0, 1, 2]]),
    Case("argsort", {"x": X, "axis": 0, "ascending": True}, [[1, 0, 1], [0, 1, 0]], id="ascending"),
    Case("argsort", {"x": np.array([1.0, NAN, INF, 1])}, [1, 2, 0, 3], id="nan-greatest-ties-in-order"),
    Case("argsort", {"x": np.array([1.0, NAN, INF, 1]), "ascending": True}, [0, 3, 2, 1], id="nan-ascending"),
    Case("argsort", {"x": np.array([2**31 - 1, -(2**31), 2**31 - 2], np.int32)}, [0, 2, 1], id="int-extremes"),
    Case("band_part", {"x": CUBE, "lower": 0, "upper": -1}, lambda x: np.triu(x), id="upper"),
    Case("band_part", {"x": CUBE, "lower": -1, "upper": 0}, lambda x: np.tril(x), id="lower"),
    Case("band_part", {"x": CUBE, "lower": 1, "upper": 1}, lambda x: np.triu(np.tril(x, 1), -1), id="band"),
    Case("band_part", {"x": np.full((2, 2), NAN), "lower": 0, "upper": 0}, [[NAN, 0], [0, NAN]], id="nan-outside"),
    Case(
        "concat",
        {"values": [X, 2 * X], "axis": -1},
        lambda values_0, values_1: torch.cat([torch.from_numpy(values_0), torch.from_numpy(values_1)], -1).numpy(),
    ),
    Case(
        "concat",  # the documentation's own example
        {
            "values": [np.array([[1.0, 2], [3, 4], [5, 6]]), np.array([[7.0, 8], [9, 10], [11, 12]])],
            "axis": 0,
            "interleave": True,
        },
        [[1, 2], [7, 8], [3, 4], [9, 10], [5, 6], [11, 12]],
        id="interleave",
    ),
    Case(
        "concat",
        {"values": [np.array([[1.0, 2]]), np.array([[3.0, 4]])], "axis": -1, "interleave": True},
        [[1, 3, 2, 4]],
        id="interleave-last",
    ),
    Case("concat", {"values": [np.array(4, np.int32), np.array(5, np.int32)], "axis": 0}, [4, 5], id="scalars"),
    Case("concat", {"values": [X[:0], X], "axis": 0}, lambda values_0, values_1: values_1, id="empty"),
    Case("cumsum", {"x": X}, [[3, -1, 2], [3.5, -0.5, -2]]),
    Case("cumsum", {"x": X, "axis": 1, "exclusive": True}, [[0, 3, 2], [0, 0.5, 1]], id="exclusive"),
    Case("cumsum", {"x": X, "axis": -1, "reverse": True}, [[4, 1, 2], [-3, -3.5, -4]], id="reverse"),
    Case("cumsum", {"x": X, "axis": 1, "reverse": True, "exclusive": True}, [[1, 2, 0], [-3.5, -4, 0]], id="both"),
    Case("cumsum", {"x": np.array([2**31 - 1, 1], np.int32)}, [2**31 - 1, -(2**31)], id="int-wraps"),
    # One rounding at the end: each of 4096 steps of 2⁻¹¹ would vanish beside a float16 of 1 if it were rounded at once.
    Case(
        "cumsum",
        {"x": np.r_[1.0, np.full(4096, 2.0**-11)]},
        lambda x: 1 + np.arange(4097) * 2.0**-11,
        ulp=0.5,
        id="exact",
    ),
    Case("fill", {"shape": [2, 3], "value": 1.5}, np.full((2, 3), 1.5)),
    Case("fill", {"shape": np.array([2, 0], np.int32)}, lambda shape: np.zeros((2, 0)), id="dynamic-empty"),
    Case("fill", {"shape": [2], "value": True}, [True, True], id="bool"),
    Case("fill", {"shape": Fixed(np.zeros(0, np.int32)), "value": 7}, 7, id="scalar"),
    Case("fill_like", {"ref_tensor": X, "value": 3}, lambda ref_tensor: [[3, 3, 3], [3, 3, 3]]),
    Case("fill_like", {"ref_tensor": INTS}, lambda ref_tensor: np.zeros((2, 3)), id="default-is-float"),
    Case("flatten2d", {"x": CUBE, "axis": -1}, lambda x: x.reshape(6, 4)),
    Case("flatten2d", {"x": CUBE[0, 0], "axis": -1}, lambda x: x[None], id="first"),
    Case("flatten2d", {"x": CUBE[0, 0], "axis": 1}, lambda x: x[:, None], id="behind-the-last"),
    Case("identity", {"x": X}, lambda x: x, ulp=0),
    Case("identity", {"x": np.array([NAN, -0.0, INF])}, [NAN, -0.0, INF], id="special"),
    Case("non_zero", {"x": np.array([[0.0, NAN], [-0.0, 2]])}, [[0, 1], [1, 1]]),
    Case("non_zero", {"x": np.zeros((2, 3), np.int32)}, np.zeros((0, 2)), id="none"),
    Case("non_zero", {"x": np.array([True, False, True])}, [[0], [2]], id="bool"),
    Case("one_hot", {"indices": np.array([2, 0], np.int32), "one_hot_vector_size": 3}, [[0, 0, 1], [1, 0, 0]]),
    Case(
        "one_hot",
        {
            "indices": np.array([3, -1, 1], np.int32),
            "one_hot_vector_size": 3,
            "axis": 0,
            "on_value": 2.5,
            "off_value": -1.0,
        },
        [[-1, -1, -1], [-1, -1, 2.5], [-1, -1, -1]],
        id="out-of-range-is-off",
    ),
    Case(
        "one_hot",
        {"indices": np.array([[1]], np.int32), "one_hot_vector_size": np.array(2, np.int32), "axis": -2},
        [[[0], [1]]],
        id="dynamic-inner-axis",
    ),
    Case("pad", {"x": CUBE, "pad": [1, 0, 2, 3]}, _padded("constant", 2, 3, 1, 0)),
    Case(
        "pad",
        {"x": X, "pad": [1, 1], "constant_val": -INF},
        lambda x: np.pad(x, [(0, 0), (1, 1)], constant_values=-INF),
        id="value",
    ),
    Case("pad", {"x": CUBE, "pad": [2, 1, 3, 2], "mode": "reflect"}, _padded("reflect", 3, 2, 2, 1), id="reflect"),
    Case(
        "pad",
        {"x": CUBE, "pad": [5, 1, 9, 0], "mode": "replicate"},
        _padded("replicate", 9, 0, 5, 1),
        id="replicate-far",
    ),
    Case("pad", {"x": X, "pad": [-1, 1]}, [[-1, 2, 0], [0.5, -4, 0]], id="negative-crops"),
    Case(
        "pad",
        {"x": X, "pad": np.array([0, 1, 1, 0], np.int32)},
        lambda x, pad: np.pad(x, [(0, 1), (1, 0)]),
        id="dynamic",
    ),
    Case("range_1d", {"start": 1, "end": np.array(8, np.int32), "step": 3}, lambda end: [1, 4, 7]),
    Case("range_1d", {"start": np.array(5, np.int32), "end": -1, "step": -2}, lambda start: [5, 3, 1], id="down"),
    Case("range_1d", {"start": 3, "end": 3, "step": 1}, np.zeros(0), id="empty"),
    Case(
        "range_1d", {"start": np.array(0.0), "end": 1.0, "step": 0.25}, lambda start: [0, 0.25, 0.5, 0.75], id="float"
    ),
    Case("range_1d", {"start": 2**31 - 3, "end": 2**31 - 1, "step": 1}, [2**31 - 3, 2**31 - 2], id="large"),
    Case("shape", {"x": CUBE}, [2, 3, 4]),
    Case("split", {"x": CUBE, "num_splits": 2, "axis": -1}, lambda x: (x[..., :2], x[..., 2:])),
    Case(
        "split", {"x": CUBE, "split_sizes": [1, 0, 2], "axis": 1}, lambda x: (x[:, :1], x[:, :0], x[:, 1:]), id="sizes"
    ),
    Case("split", {"x": CUBE, "num_splits": 1, "axis": 0}, lambda x: (x,), id="one"),
    Case(
        "stack",
        {"values": [X, -X], "axis": 1},
        lambda values_0, values_1: np.array([values_0, values_1]).swapaxes(0, 1),
    ),
    Case(
        "stack", {"values": [X, -X], "axis": -1}, lambda values_0, values_1: np.dstack([values_0, values_1]), id="last"
    ),
    Case("stack", {"values": [np.array(1, np.int32), np.array(2, np.int32)], "axis": 0}, [1, 2], id="scalars"),
    Case("tile", {"x": X, "reps": [2, 1]}, lambda x: np.concatenate([x, x])),
    Case(
        "tile", {"x": X, "reps": np.array([1, 3], np.int32)}, lambda x, reps: np.concatenate([x, x, x], 1), id="dynamic"
    ),
    Case("tile", {"x": X, "reps": [1, 0]}, np.zeros((2, 0)), id="none"),
    Case("topk", {"x": X, "k": 2}, ([[3, 2], [0.5, 0.5]], [[0, 2], [0, 1]])),
    Case("topk", {"x": X, "k": 1, "axis": 0, "ascending": True}, ([[0.5, -1, -4]], [[1, 0, 1]]), id="ascending"),
    Case("topk", {"x": np.array([1.0, NAN, 1, 0]), "k": 3}, ([NAN, 1, 1], [1, 0, 2]), id="nan-and-ties"),
    Case("topk", {"x": X, "k": -1}, ([[3, 2, -1], [0.5, 0.5, -4]], [[0, 2, 1], [0, 1, 2]]), id="all"),
    Case("topk", {"x": X, "k": 0}, (np.zeros((2, 0)), np.zeros((2, 0))), id="none"),
    Case(
        "topk", {"x": X, "k": 2, "return_indices": False}, ([[3, 2], [0.5, 0.5]],), id="values", opsets=(iOS16, iOS18)
    ),
    Case(
        "topk",
        {"x": Typed([5, -7, 9], int16), "k": Fixed(2, int8), "output_indices_dtype": "uint16", "sort": False},
        (np.array([9, 5]), np.array([2, 0])),
        id="narrow",
        opsets=(iOS17,),
        check=lambda values, indices: _same(indices.dtype, uint16.numpy),
    ),
]


def _same(found, wanted):
    assert found == wanted
