"""Cases of ``gristmill.ops.tensor_transformation``."""

from __future__ import annotations

import numpy as np
import torch

from gristmill.ir.opset import Opset
from gristmill.ir.types import int8, uint16
from tests.op_cases.case import Case, Fixed, Typed

X = np.arange(24, dtype=np.float64).reshape(2, 3, 4) - 7.5
IMAGE = np.arange(2 * 8 * 4 * 6, dtype=np.float64).reshape(2, 8, 4, 6) / 8
OLD, NEW = (Opset.iOS15, Opset.iOS16), (Opset.iOS17, Opset.iOS18)
NARROW = Typed(np.arange(24).reshape(2, 3, 4), int8)


def _of_torch(function):
    return lambda x: function(torch.from_numpy(x)).numpy()


def _space_to_batch(x):
    """TensorFlow's example for block 2 × 2, on channels first, written with slices."""
    padded = np.zeros((2, 8, 4, 8))
    padded[..., 1:7] = x
    return np.concatenate([padded[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)])


CASES = [
    Case("reshape", {"x": X, "shape": [4, 6]}, lambda x: x.ravel()[np.arange(24).reshape(4, 6)]),
    Case("reshape", {"x": X, "shape": [3, -1]}, lambda x: x.ravel()[np.arange(24).reshape(3, 8)], id="rest"),
    Case("reshape", {"x": X, "shape": [-1]}, lambda x: np.array(list(x.flat)), id="flat"),
    Case("reshape", {"x": X, "shape": np.array([6, 4], np.int32)}, lambda x, shape: x.reshape(6, 4), id="dynamic"),
    Case(
        "reshape", {"x": X, "shape": np.array([-1, 2], np.int32)}, lambda x, shape: x.reshape(12, 2), id="dynamic-rest"
    ),
    Case("reshape", {"x": X[:1, :1, :1], "shape": Fixed(np.zeros(0, np.int32))}, -7.5, id="to-scalar"),
    Case("reshape", {"x": X, "shape": [0, -1, 2]}, lambda x: x.reshape(2, 6, 2), id="copy", opsets=OLD),
    Case("reshape", {"x": X, "shape": [0, -1, 0]}, lambda x: x.reshape(2, 3, 4), id="copy-both", opsets=OLD + NEW),
    # The documentation's own example: zeros match from the right, and stand for 1 beyond the rank.
    Case("reshape", {"x": X[0], "shape": [1, 0, -1, 0]}, lambda x: x.reshape(1, 1, 3, 4), id="copy-right", opsets=NEW),
    Case("reshape", {"x": X, "shape": [-1, 0]}, lambda x: x.reshape(6, 4), id="copy-last", opsets=NEW),
    Case("reshape", {"x": X[:0], "shape": [0, 3, 4]}, np.zeros((0, 3, 4)), id="empty"),
    Case("reshape", {"x": NARROW, "shape": [6, 4]}, np.arange(24).reshape(6, 4), id="int8", opsets=NEW),
    Case(
        "reshape_like",
        {
            "x": X,
            "ref_tensors": [np.zeros((6, 7)), np.zeros((5, 4))],
            "begins": [0, 1],
            "ends": [1, 0],
            "end_masks": [False, True],
        },
        lambda x, ref_tensors_0, ref_tensors_1: x.reshape(6, 4),
    ),
    Case("expand_dims", {"x": X, "axes": [0, -1]}, lambda x: x[None, ..., None]),
    Case("expand_dims", {"x": X, "axes": [-2, 1]}, lambda x: x[:, None, :, None, :], id="of-the-result"),
    Case("squeeze", {"x": X[:, :1], "axes": [1]}, lambda x: x[:, 0]),
    Case("squeeze", {"x": X[:1, :1]}, lambda x: x[0, 0], id="all"),
    Case("squeeze", {"x": X[:, :1], "axes": [0, -2]}, lambda x: x[:, 0], id="keeps-others"),
    Case("transpose", {"x": X, "perm": [2, 0, 1]}, lambda x: np.einsum("abc->cab", x)),
    Case("transpose", {"x": X, "perm": [-1, 0, -2]}, lambda x: np.einsum("abc->cab", x), id="negative"),
    Case("reverse", {"x": X, "axes": [0, -1]}, lambda x: x[::-1, :, ::-1]),
    Case("reverse", {"x": X}, lambda x: x[::-1, ::-1, ::-1], id="all"),
    Case(
        "reverse_sequence",
        {"x": np.arange(8.0).reshape(2, 4), "lengths": np.array([3, 0], np.int32), "seq_axis": 1, "batch_axis": 0},
        [[2, 1, 0, 3], [4, 5, 6, 7]],
    ),
    Case(
        "reverse_sequence",
        {"x": np.arange(8.0).reshape(4, 2), "lengths": np.array([2, 4], np.int32), "seq_axis": 0, "batch_axis": -1},
        [[2, 7], [0, 5], [4, 3], [6, 1]],
        id="batch-after",
    ),
    Case(
        "depth_to_space",  # channel (i·2 + j)·2 + c, so pixels of one block come from channels c, 2 + c, 4 + c, 6 + c
        {"x": np.arange(8.0).reshape(1, 8, 1, 1), "block_size": 2},
        [[[[0, 2], [4, 6]], [[1, 3], [5, 7]]]],
    ),
    Case(
        "space_to_depth",
        {"x": np.array([[[[0.0, 2], [4, 6]], [[1, 3], [5, 7]]]]), "block_size": 2},
        np.arange(8.0).reshape(1, 8, 1, 1),
    ),
    Case("pixel_shuffle", {"x": IMAGE, "upscale_factor": 2}, _of_torch(torch.nn.PixelShuffle(2))),
    Case(
        "pixel_unshuffle",
        {"x": IMAGE, "downscale_factor": np.uint32(2)},
        _of_torch(torch.nn.PixelUnshuffle(2)),
    ),
    Case(
        "space_to_batch",
        {"x": IMAGE, "block_shape": [2, 2], "paddings": Fixed(np.array([[0, 0], [1, 1]], np.int32))},
        _space_to_batch,
    ),
    Case(
        "batch_to_space",
        {"x": np.arange(4.0).reshape(4, 1, 1, 1), "block_shape": [2, 2], "crops": Fixed(np.zeros((2, 2), np.int32))},
        [[[[0, 1], [2, 3]]]],
    ),
    Case(
        "batch_to_space",
        {
            "x": np.arange(12.0).reshape(4, 1, 1, 3),
            "block_shape": [2, 2],
            "crops": Fixed(np.array([[1, 0], [0, 2]], np.int32)),
        },
        [[[[6, 9, 7, 10]]]],
        id="cropped",
    ),
    Case("sliding_windows", {"x": X, "axis": -1, "size": 2}, lambda x: np.stack([x[..., :3], x[..., 1:]], -1)),
    Case(
        "sliding_windows",
        {"x": X, "axis": 1, "size": 2, "stride": 2},
        lambda x: x[:, None, :2],
        id="stride",
    ),
    Case(
        "sliding_windows",
        {"x": Typed([1, 2, 3, 4, 5], uint16), "axis": 0, "size": 3, "stride": 2},
        [[1, 2, 3], [3, 4, 5]],
        id="uint16",
        opsets=NEW,
    ),
]
