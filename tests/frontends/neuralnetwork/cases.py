"""Layers with what they read and what an oracle makes of it: PyTorch, NumPy, or numbers worked out by hand.

They are the layers that the conformance cases lack, or have less than three cases of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from tests.frontends.neuralnetwork.small import numbers

RNG = np.random.default_rng(7)
IMAGE = RNG.standard_normal((1, 3, 4, 6)).astype(np.float32)
OTHER = RNG.standard_normal((1, 3, 4, 6)).astype(np.float32)
THIRD = RNG.standard_normal((1, 3, 4, 6)).astype(np.float32)
ROWS = RNG.standard_normal((4, 6)).astype(np.float32)


@dataclass
class Case:
    """A layer, what it reads, and what it makes of that.

    Attributes:
        kind: The layer's type.
        params: Its parameters.
        inputs: Arrays in order.
        expected: The oracle, of the inputs; a tuple where the layer makes several tensors.
        exact: Whether arrays keep their rank.
        judge: Takes the place of ``expected`` where no numbers are right or wrong, as of random ones.
    """

    kind: str
    params: Mapping[str, Any]
    inputs: Sequence[np.ndarray]
    expected: Callable[..., Any] | None
    exact: bool = True
    name: str = field(default="")
    judge: Callable[[np.ndarray], None] | None = None


def _interpolated(x: np.ndarray, size: tuple[int, int]) -> Any:
    return torch.nn.functional.interpolate(torch.tensor(x), size, mode="bilinear", align_corners=True).numpy()


def _cosine(x: np.ndarray, y: np.ndarray) -> Any:
    return torch.nn.functional.cosine_similarity(torch.tensor(x), torch.tensor(y), dim=1).numpy()[:, None]


PLAIN = [
    Case("resizeBilinear", {"targetSize": [7, 11]}, [IMAGE], lambda x: _interpolated(x, (7, 11))),
    Case("resizeBilinear", {"targetSize": [2, 3]}, [IMAGE], lambda x: _interpolated(x, (2, 3)), name="smaller"),
    Case("resizeBilinear", {"targetSize": [7, 11]}, [IMAGE[0]], lambda x: _interpolated(x[None], (7, 11))[0], False),
    Case("average", {}, [IMAGE, OTHER, THIRD], lambda *values: sum(values) / 3),
    Case("average", {}, [IMAGE, OTHER[:, :1]], lambda x, y: (x + y) / 2, name="broadcast"),
    Case("average", {}, [IMAGE], lambda x: x, name="of one"),
    Case("dot", {}, [IMAGE, OTHER], lambda x, y: np.einsum("bchw,bchw->bhw", x, y)[:, None]),
    Case("dot", {"cosineSimilarity": True}, [IMAGE, OTHER], _cosine, name="cosine"),
    Case("dot", {"cosineSimilarity": True}, [IMAGE[0], OTHER[0]], lambda x, y: _cosine(x[None], y[None])[0], False),
    Case("flatten", {"mode": "CHANNEL_FIRST"}, [IMAGE], lambda x: x.reshape(1, -1, 1, 1)),
    Case("flatten", {"mode": "CHANNEL_LAST"}, [IMAGE], lambda x: x.transpose(0, 2, 3, 1).reshape(1, -1, 1, 1)),
    Case("flatten", {"mode": "CHANNEL_LAST"}, [IMAGE[0]], lambda x: x.transpose(1, 2, 0).reshape(-1), False),
    Case("permute", {"axis": [0, 2, 3, 1]}, [IMAGE[0]], lambda x: x.transpose(1, 2, 0), False),
    Case("permute", {"axis": [0, 3, 1, 2]}, [IMAGE[0]], lambda x: x.transpose(2, 0, 1), False),
    Case("permute", {"axis": [1, 0, 2, 3]}, [IMAGE[0]], lambda x: x.reshape(3, 1, 1, 4, 6), False, name="sequence"),
    Case("sequenceRepeat", {"nRepetitions": 3}, [IMAGE[0]], lambda x: np.stack([x[None]] * 3), False),
    Case("sequenceRepeat", {"nRepetitions": 1}, [IMAGE[0]], lambda x: x, False, name="once"),
    Case("sequenceRepeat", {"nRepetitions": 2}, [IMAGE[None]], lambda x: np.tile(x, (2, 1, 1, 1, 1))),
    Case("reshape", {"targetShape": [6, 4, 3]}, [IMAGE[0]], lambda x: x.reshape(6, 4, 3), False),
    Case(
        "reshape",
        {"targetShape": [2, 12, 3], "mode": "CHANNEL_LAST"},
        [IMAGE[0]],
        lambda x: x.transpose(1, 2, 0).reshape(12, 3, 2).transpose(2, 0, 1),
        False,
    ),
    Case("concat", {}, [IMAGE[0], OTHER[0]], lambda x, y: np.concatenate([x, y]), False),
    Case("concat", {"sequenceConcat": True}, [IMAGE[0], OTHER[0]], lambda x, y: np.stack([x, y])[:, None], False),
    Case("max", {}, [IMAGE, OTHER, THIRD], lambda *values: np.maximum.reduce(values)),
    Case("logicalXor", {}, [ROWS > 0, ROWS > 0.5], lambda x, y: (x != y).astype(np.float32)),
    Case("minBroadcastable", {}, [ROWS, ROWS[:1]], np.minimum),
    Case("sliceBySize", {"axis": 1, "size": 2}, [ROWS, np.array([3])], lambda x, begin: x[:, 3:5]),
    Case("acosh", {}, [1 + ROWS**2], lambda x: np.arccosh(x.astype(np.float64))),
    Case("asinh", {}, [ROWS * 1e-4], lambda x: np.arcsinh(x.astype(np.float64)), name="near 0"),
    Case("reverseSeq", {"sequenceAxis": 1}, [ROWS, np.array([1, 2, 0, 6])], lambda x, n: _reversed(x, n)),
    Case("lowerTriangular", {"k": -2}, [ROWS], lambda x: np.tril(x, -2)),
    Case("upperTriangular", {"k": 1}, [ROWS], lambda x: np.triu(x, 1)),
    Case("broadcastToDynamic", {}, [ROWS[:1], np.array([3, 6])], lambda x, n: np.tile(x, (3, 1))),
    Case("rangeDynamic", {"startValue": 1, "stepSizeValue": 0.5}, [np.array([3.0])], lambda n: np.arange(1, 3, 0.5)),
    Case("topK", {"axis": 1}, [ROWS, np.array([2])], lambda x, k: torch.topk(torch.tensor(x), 2, dim=1).values.numpy()),
    Case(
        "embedding",
        {"inputDim": 4, "outputChannels": 2, "weights": numbers(ROWS[:2, :4])},
        [np.array([3.0, 0.0, 1.0]).reshape(3, 1, 1, 1)],
        lambda x: (
            torch.nn.functional.embedding(torch.tensor(x.reshape(-1)).long(), torch.tensor(ROWS[:2, :4].T))
            .numpy()
            .reshape(3, 2, 1, 1)
        ),
    ),
    Case(
        "padding",
        {"reflection": {}, "paddingAmounts": {"borderAmounts": [{"startEdgeSize": 1, "endEdgeSize": 2}, {}]}},
        [IMAGE],
        lambda x: torch.nn.functional.pad(torch.tensor(x), (0, 0, 1, 2), mode="reflect").numpy(),
    ),
    Case(
        "pooling",
        {"type": "AVERAGE", "kernelSize": [3, 3], "stride": [2, 2], "includeLastPixel": {"paddingAmounts": [1, 1]}},
        [IMAGE],
        lambda x: torch.nn.functional.avg_pool2d(torch.tensor(x), 3, 2, 1, ceil_mode=True).numpy(),
    ),
]


def _reversed(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    found = x.copy()
    for row, n in enumerate(lengths):
        found[row, :n] = x[row, :n][::-1]
    return found


def _reduced(x: np.ndarray, mode: str) -> Any:
    """Places of the largest along the height, or logarithms of sums over all axes but the batch, with 0.5 added."""
    if mode == "ARGMAX":
        return x.argmax(axis=2)[:, :, None].astype(np.float32)
    return np.log(np.sum(x.astype(np.float64) + 0.5, axis=(1, 2, 3), keepdims=True))


def _pytorch(function: Callable[..., Any], *arrays: np.ndarray, **options: Any) -> Any:
    """A function of PyTorch on arrays in float64."""
    return function(*(torch.tensor(np.asarray(array, np.float64)) for array in arrays), **options).numpy()


IMAGES = [
    Case(
        "embedding",
        {
            "inputDim": 3,
            "outputChannels": 4,
            "weights": numbers(ROWS[:, :3]),
            "hasBias": True,
            "bias": numbers(ROWS[:, 5]),
        },
        [np.array([2.0, 1.0]).reshape(2, 1, 1, 1)],
        lambda x: (ROWS[:, :3].T[x.reshape(-1).astype(int)] + ROWS[:, 5]).reshape(2, 4, 1, 1),
        name="with a bias",
    ),
    Case(
        "l2normalize",
        {"epsilon": 0.5},
        [IMAGE],
        lambda x: x / np.sqrt(np.sum(x.astype(np.float64) ** 2) + 0.5),
        name="by the specification's formula",
    ),
    Case(
        "lrn",
        {"alpha": 0.7, "beta": 0.6, "localSize": 3, "k": 1.5},
        [np.concatenate([IMAGE, OTHER], axis=1)],
        lambda x: _pytorch(torch.nn.functional.local_response_norm, x, size=3, alpha=0.7, beta=0.6, k=1.5),
    ),
    Case("softmax", {}, [IMAGE], lambda x: _pytorch(torch.softmax, x, dim=1)),
    Case("softmax", {}, [IMAGE[0]], lambda x: _pytorch(torch.softmax, x, dim=0), False),
    Case("softmax", {}, [30 * IMAGE], lambda x: _pytorch(torch.softmax, x, dim=1), name="far apart"),
    Case("bias", {"shape": [1], "bias": numbers(np.array([0.25]))}, [IMAGE], lambda x: x + 0.25),
    Case(
        "bias",
        {"shape": [3], "bias": numbers(ROWS[0, :3])},
        [IMAGE[0]],
        lambda x: x + ROWS[0, :3].reshape(3, 1, 1),
        False,
        name="of channels",
    ),
    Case("bias", {"shape": [3, 4, 6], "bias": numbers(OTHER)}, [IMAGE], lambda x: x + OTHER, name="of elements"),
    Case("max", {}, [IMAGE, OTHER[:, :1]], np.maximum, name="broadcast"),
    Case("reduce", {"mode": "ARGMAX", "axis": "H"}, [IMAGE], lambda x: _reduced(x, "ARGMAX")),
    Case("reduce", {"mode": "LOGSUM", "axis": "CHW", "epsilon": 0.5}, [IMAGE**2], lambda x: _reduced(x, "LOGSUM")),
    Case("loadConstant", {"shape": [3, 4, 6], "data": numbers(IMAGE)}, [], lambda: IMAGE[0], False),
    Case("loadConstant", {"shape": [6, 1, 1], "data": numbers(ROWS[0])}, [], lambda: ROWS[0], False, name="a vector"),
    Case("split", {"nOutputs": 3}, [IMAGE], lambda x: tuple(np.split(x, 3, axis=1))),
    Case("split", {"nOutputs": 2}, [IMAGE[0, :2]], lambda x: tuple(np.split(x, 2)), False),
    Case("split", {"nOutputs": 1}, [IMAGE], lambda x: (x,), name="into one"),
    Case("globalPooling3d", {"type": "MAX"}, [IMAGE[None]], lambda x: x.max(axis=(2, 3, 4), keepdims=True)),
]

_INSIDE = np.tanh(ROWS)
"""Numbers between -1 and 1."""

_UNARY: dict[str, tuple[Callable[..., Any], np.ndarray]] = {
    "acos": (torch.acos, _INSIDE),
    "acosh": (torch.acosh, 1 + ROWS**2),
    "asin": (torch.asin, _INSIDE),
    "asinh": (torch.asinh, 5 * ROWS),
    "atanh": (torch.atanh, _INSIDE),
    "cos": (torch.cos, 5 * ROWS),
    "cosh": (torch.cosh, ROWS),
    "erf": (torch.erf, ROWS),
    "sinh": (torch.sinh, ROWS),
    "tan": (torch.tan, ROWS / 2),
    "tanh": (torch.tanh, 2 * ROWS),
}
"""Functions of one number, with numbers that they take."""

UNARY = [
    Case(kind, {}, [x], lambda x, f=function: _pytorch(f, x), exact, name=name)
    for kind, (function, numbers_) in _UNARY.items()
    for x, exact, name in (
        (numbers_, True, "matrix"),
        (numbers_[:1, :1, None].repeat(3, axis=2), False, "image"),
        (numbers_[0, :1], True, "number"),
    )
]

BINARY = [
    Case("lessEqual", {}, [np.round(ROWS), np.zeros((1, 6))], lambda x, y: (x <= y).astype(np.float32)),
    Case("lessEqual", {"alpha": 1.0}, [np.round(ROWS)], lambda x: (x <= 1).astype(np.float32), name="with a number"),
    Case("logicalOr", {}, [ROWS > 0, ROWS[:1] > 0.5], lambda x, y: (x | y).astype(np.float32)),
    Case("logicalXor", {}, [ROWS, np.zeros((4, 1))], lambda x, y: np.ones((4, 6), np.float32), name="of any number"),
    Case("modBroadcastable", {}, [5 * ROWS, np.full((1, 6), 1.5)], lambda x, y: _pytorch(torch.remainder, x, y)),
    Case(
        "modBroadcastable",
        {},
        [np.array([7.0, -7.0, 7.0, -7.0, 6.0]), np.array([3.0, 3.0, -3.0, -3.0, 3.0])],
        lambda x, y: np.array([1.0, 2.0, -2.0, -1.0, 0.0]),
        name="signs are the divisor's",
    ),
    Case("modBroadcastable", {}, [np.float32([5.5]), np.float32([2.0])], lambda x, y: np.array([1.5]), name="numbers"),
    Case("minBroadcastable", {}, [ROWS, ROWS[:, :1]], np.minimum, name="columns"),
    Case("maxBroadcastable", {}, [ROWS, ROWS[:1]], np.maximum),
    Case("maxBroadcastable", {}, [ROWS[None], ROWS[:, None]], np.maximum, name="outer"),
    Case("powBroadcastable", {}, [np.exp(ROWS), ROWS[:1]], lambda x, y: _pytorch(torch.pow, x, y)),
    Case(
        "powBroadcastable",
        {},
        [np.array([-2.0, -2.0, 0.0, 4.0]), np.array([3.0, 2.0, 0.0, -0.5])],
        lambda x, y: np.array([-8.0, 4.0, 1.0, 0.5]),
        name="worked out",
    ),
]

ANY_RANK = [
    Case(
        "reverseSeq",
        {"batchAxis": 1, "sequenceAxis": 0},
        [ROWS.T, np.array([2, 6, 1, 0])],
        lambda x, n: _reversed(x.T, n).T,
        name="columns",
    ),
    Case("broadcastToLike", {}, [ROWS[:, :1], OTHER[0, 0]], lambda x, y: np.broadcast_to(x, (4, 6))),
    Case(
        "constantPad",
        {"padAmounts": [1, 0, 2, 3], "value": -1.5},
        [ROWS],
        lambda x: _pytorch(torch.nn.functional.pad, x, pad=(2, 3, 1, 0), value=-1.5),
    ),
    Case(
        "oneHot",
        {"oneHotVectorSize": 5, "axis": 0, "onValue": 2.0, "offValue": -1.0},
        [np.array([4, 0, 2])],
        lambda x: 3 * np.eye(5, dtype=np.float32)[x].T - 1,
    ),
    Case("sliceBySize", {"axis": -2, "size": 3}, [ROWS, np.array([1])], lambda x, begin: x[1:4], name="from the end"),
]

BOXES = np.array([[0.0, 0, 2, 2], [0.1, 0, 2, 2], [5, 5, 1, 1]])
"""Centre and size; the first two share 3.8 of 4.2, the third stands alone."""

DETECTION = [
    Case(
        "NonMaximumSuppression",
        {"iouThreshold": 0.5, "scoreThreshold": 0.1, "maxBoxes": 3},
        [BOXES[None], np.array([[[0.8], [0.9], [0.7]]])],
        lambda boxes, scores: (
            np.stack([boxes[0, 1], boxes[0, 2], 0 * boxes[0, 0]])[None],
            np.array([[[0.9], [0.7], [0.0]]]),
            np.array([[1, 2, -1]]),
            np.array([2]),
        ),
        name="the better of two",
    ),
    Case(
        "NonMaximumSuppression",
        {"iouThreshold": 0.5, "scoreThreshold": 0.75, "maxBoxes": 2, "perClassSuppression": True},
        [BOXES[None], np.array([[[0.8, 0.1], [0.1, 0.9], [0.7, 0.2]]])],
        lambda boxes, scores: (boxes[:, [1, 0]], scores[:, [1, 0]], np.array([[1, 0]]), np.array([2])),
        name="of different classes",
    ),
]

# --- random layers ---------------------------------------------------------------------------------------------------

COUNT = 4000


def _moments(mean: float, deviation: float, low: float, high: float) -> Callable[[np.ndarray], None]:
    """Mean and deviation within five standard errors, every number between bounds; the seed is fixed."""

    def judge(got: np.ndarray) -> None:
        assert got.shape == (40, 100)
        drawn = got.astype(np.float64)
        assert abs(drawn.mean() - mean) < 5 * deviation / math.sqrt(COUNT)
        assert abs((drawn - mean).std() - deviation) < 5 * deviation / math.sqrt(COUNT)
        assert low <= drawn.min()
        assert drawn.max() <= high

    return judge


def _shares(got: np.ndarray) -> None:
    """Three of four draws are of the second category, none of the first."""
    assert got.shape == (1, COUNT)
    assert set(np.unique(got)) == {1.0, 2.0}
    assert abs(np.mean(got == 1) - 0.75) < 5 * math.sqrt(0.75 * 0.25 / COUNT)


_DRAWS: dict[str, list[tuple[dict[str, float], Callable[[np.ndarray], None]]]] = {
    "Normal": [
        ({"mean": 0, "stdDev": 1}, _moments(0, 1, -9, 9)),
        ({"mean": -3, "stdDev": 0.5}, _moments(-3, 0.5, -9, 3)),
        ({"mean": 100, "stdDev": 10}, _moments(100, 10, 0, 200)),
    ],
    "Uniform": [
        ({"minVal": 0, "maxVal": 1}, _moments(0.5, math.sqrt(1 / 12), 0, 1)),
        ({"minVal": -2, "maxVal": 4}, _moments(1, math.sqrt(3), -2, 4)),
        ({"minVal": 5, "maxVal": 5.5}, _moments(5.25, math.sqrt(1 / 48), 5, 5.5)),
    ],
    "Bernoulli": [
        ({"prob": 0.5}, _moments(0.5, 0.5, 0, 1)),
        ({"prob": 0.25}, _moments(0.25, math.sqrt(0.1875), 0, 1)),
        ({"prob": 0.9}, _moments(0.9, 0.3, 0, 1)),
    ],
}
_FORMS: dict[str, tuple[dict[str, Any], list[np.ndarray]]] = {
    "Like": ({}, [np.zeros((40, 100))]),
    "Static": ({"outputShape": [40, 100]}, []),
    "Dynamic": ({}, [np.array([40.0, 100.0])]),
}
"""Where the shape comes from: another tensor's, the parameters, or an input."""

RANDOM = [
    Case(f"random{law}{form}", {**params, **shape, "seed": 11 + k}, inputs, None, name=f"{k}", judge=judge)
    for law, draws in _DRAWS.items()
    for form, (shape, inputs) in _FORMS.items()
    for k, (params, judge) in enumerate(draws)
] + [
    Case(
        "categoricalDistribution",
        {"numSamples": COUNT, "isLogits": False, "eps": 1e-10, "temperature": 1.0, "seed": 5},
        [np.array([[0.0, 0.75, 0.25]])],
        None,
        judge=_shares,
    )
]

CASES = [*PLAIN, *IMAGES, *UNARY, *BINARY, *ANY_RANK, *DETECTION, *RANDOM]
