"""Layers against PyTorch, NumPy, or numbers worked out by hand: those that the conformance cases lack, or hardly have.

float32 results lie within 1e-5 of the oracle's, relative to the largest: sums of a few dozen products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

import gristmill as ct
from tests.frontends.neuralnetwork.small import L, model_of, numbers, spec_of

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
        expected: The oracle, of the inputs.
        exact: Whether arrays keep their rank.
    """

    kind: str
    params: Mapping[str, Any]
    inputs: Sequence[np.ndarray]
    expected: Callable[..., Any]
    exact: bool = True
    name: str = field(default="")


def _interpolated(x: np.ndarray, size: tuple[int, int]) -> Any:
    return torch.nn.functional.interpolate(torch.tensor(x), size, mode="bilinear", align_corners=True).numpy()


def _cosine(x: np.ndarray, y: np.ndarray) -> Any:
    return torch.nn.functional.cosine_similarity(torch.tensor(x), torch.tensor(y), dim=1).numpy()[:, None]


CASES = [
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


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.kind} {c.name} {'exact' if c.exact else 'rank 5'}")
def test_layer(case: Case, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer gives what the oracle gives, in the same shape."""
    monkeypatch.setenv("GRISTMILL_DEVICE", device)
    names = [f"x{k}" for k in range(len(case.inputs))]
    arrays = dict(zip(names, (np.asarray(array, np.float32) for array in case.inputs), strict=True))
    outputs = ["y", "indices"] if case.kind == "topK" else ["y"]
    layer = L(case.kind, case.params, names, outputs)
    shapes = {name: array.shape for name, array in arrays.items()}
    got = model_of(layer, inputs=shapes, exact=case.exact).predict(arrays)["y"]
    wanted = np.asarray(case.expected(*case.inputs))
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_smallest_values_of_asinh_keep_their_digits() -> None:
    """Near 0 the function is x - x³/6; the usual formula with a logarithm would lose half of the digits."""
    x = np.array([1e-4], np.float32)
    (got,) = model_of(L("asinh"), inputs={"x": (1,)}).predict({"x": x})["y"]
    assert abs(got - (x[0] - float(x[0]) ** 3 / 6)) < 1e-11


# --- recurrent layers ------------------------------------------------------------------------------------------------

SEQUENCE = RNG.standard_normal((5, 2, 3)).astype(np.float32)
WIDTH = 4


def _gates(lstm: torch.nn.LSTM, suffix: str) -> dict[str, Any]:
    """PyTorch's weights, whose gates are input, forget, block input and output."""
    gates = ("inputGate", "forgetGate", "blockInput", "outputGate")
    ih, hh = (getattr(lstm, f"weight_{part}_l0{suffix}").detach().numpy() for part in ("ih", "hh"))
    bias = (getattr(lstm, f"bias_ih_l0{suffix}") + getattr(lstm, f"bias_hh_l0{suffix}")).detach().numpy()
    found = {}
    for k, gate in enumerate(gates):
        rows = slice(k * WIDTH, (k + 1) * WIDTH)
        found[f"{gate}WeightMatrix"] = numbers(ih[rows])
        found[f"{gate}RecursionMatrix"] = numbers(hh[rows])
        found[f"{gate}BiasVector"] = numbers(bias[rows])
    return found


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("every", [False, True])
def test_lstm_agrees_with_pytorch(bidirectional: bool, every: bool) -> None:
    """Both directions, the whole sequence and its end, and the final states."""
    torch.manual_seed(1)
    lstm = torch.nn.LSTM(3, WIDTH, bidirectional=bidirectional)
    with torch.no_grad():
        states, (h, c) = lstm(torch.tensor(SEQUENCE))
    params = {
        "inputVectorSize": 3,
        "outputVectorSize": WIDTH,
        "params": {"sequenceOutput": every, "hasBiasVectors": True},
    }
    weights = [_gates(lstm, suffix) for suffix in (("", "_reverse") if bidirectional else ("",))]
    params["weightParams"] = weights if bidirectional else weights[0]
    kind = "biDirectionalLSTM" if bidirectional else "uniDirectionalLSTM"
    outputs = ["y", "h", "c", "h_back", "c_back"] if bidirectional else ["y", "h", "c"]
    model = model_of(L(kind, params, ["x"], outputs), inputs={"x": SEQUENCE.shape}, outputs=outputs)
    got = model.predict({"x": SEQUENCE})
    last = np.concatenate(list(h.numpy()), axis=-1)[None]
    np.testing.assert_allclose(got["y"], states.numpy() if every else last, atol=1e-5)
    np.testing.assert_allclose(got["h"][0], h.numpy()[0], atol=1e-5)
    np.testing.assert_allclose(got["c"][0], c.numpy()[0], atol=1e-5)
    if bidirectional:
        np.testing.assert_allclose(got["c_back"][0], c.numpy()[1], atol=1e-5)


def test_lstm_with_coupled_gates_and_other_activations() -> None:
    """By the formulas of the specification: f = 1 - i, and a scaled tanh that MIL's op lacks."""
    torch.manual_seed(2)
    lstm = torch.nn.LSTM(3, WIDTH)
    activations = [{"sigmoid": {}}, {"scaledTanh": {"alpha": 1.5, "beta": 0.5}}, {"tanh": {}}]
    params = {
        "inputVectorSize": 3,
        "outputVectorSize": WIDTH,
        "activations": activations,
        "params": {"hasBiasVectors": True, "coupledInputAndForgetGate": True},
        "weightParams": _gates(lstm, ""),
    }
    got = model_of(L("uniDirectionalLSTM", params), inputs={"x": SEQUENCE.shape}).predict({"x": SEQUENCE})["y"]
    w, r = lstm.weight_ih_l0.detach().numpy(), lstm.weight_hh_l0.detach().numpy()
    b = (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach().numpy()
    h = c = np.zeros((2, WIDTH))
    for x in SEQUENCE:
        i, _, g, o = np.split(x @ w.T + h @ r.T + b, 4, axis=-1)
        i, o = 1 / (1 + np.exp(-i)), 1 / (1 + np.exp(-o))
        c = (1 - i) * c + i * 1.5 * np.tanh(0.5 * g)
        h = o * np.tanh(c)
    np.testing.assert_allclose(got[0], h, atol=1e-5)


def test_a_sequence_where_the_description_has_one_step() -> None:
    """Networks of rank 5 take [C] as described, or a whole sequence of a batch; the final state goes in again."""
    torch.manual_seed(3)
    lstm = torch.nn.LSTM(3, WIDTH)
    params = {"inputVectorSize": 3, "outputVectorSize": WIDTH, "params": {"hasBiasVectors": True}}
    layer = L("uniDirectionalLSTM", params | {"weightParams": _gates(lstm, "")}, ["x", "h", "c"], ["y", "h1", "c1"])
    inputs = {"x": (3,), "h": (WIDTH,), "c": (WIDTH,)}
    spec = spec_of(layer, inputs=inputs, outputs=["y", "h1", "c1"], exact=False)
    for each in spec.description.output:
        each.type.multiArrayType.shape.append(WIDTH)
    model = ct.models.MLModel(spec)
    zeros = np.zeros((1, 2, WIDTH, 1, 1), np.float32)
    got = model.predict({"x": SEQUENCE[..., None, None], "h": zeros, "c": zeros})
    with torch.no_grad():
        _, (h, c) = lstm(torch.tensor(SEQUENCE))
    np.testing.assert_allclose(got["h1"][..., 0, 0], h.numpy(), atol=1e-5)
    state = {"h": np.zeros(WIDTH, np.float32), "c": np.zeros(WIDTH, np.float32)}
    for step in SEQUENCE[:, 1]:
        found = model.predict({"x": step, **state})
        state = {"h": found["h1"], "c": found["c1"]}
    assert state["h"].shape == (WIDTH,)
    np.testing.assert_allclose(state["h"], h.numpy()[0, 1], atol=1e-5)
    np.testing.assert_allclose(state["c"], c.numpy()[0, 1], atol=1e-5)


@pytest.mark.parametrize("activation", [{"tanh": {}}, {"ReLU": {}}, {"leakyReLU": {"alpha": 0.3}}])
def test_simple_recurrent(activation: dict[str, Any]) -> None:
    """``h = f(W·x + R·h + b)``, backwards, with an initial state, as images of rank 5."""
    w, r, b = (RNG.standard_normal(shape).astype(np.float32) / 2 for shape in ((WIDTH, 3), (WIDTH, WIDTH), (WIDTH,)))
    params = {
        "inputVectorSize": 3,
        "outputVectorSize": WIDTH,
        "activation": activation,
        "sequenceOutput": True,
        "hasBiasVector": True,
        "weightMatrix": numbers(w),
        "recursionMatrix": numbers(r),
        "biasVector": numbers(b),
        "reverseInput": True,
    }
    start = RNG.standard_normal((1, 2, WIDTH)).astype(np.float32)
    model = model_of(
        L("simpleRecurrent", params, ["x", "h"], ["y", "last"]), inputs={"x": (5, 2, 3), "h": (1, 2, WIDTH)}
    )
    got = model.predict({"x": SEQUENCE, "h": start})["y"]
    functions = {
        "tanh": np.tanh,
        "ReLU": lambda v: np.maximum(v, 0),
        "leakyReLU": lambda v: np.where(v > 0, v, 0.3 * v),
    }
    h, states = start[0], []
    for x in SEQUENCE[::-1]:
        h = functions[next(iter(activation))](x @ w.T + h @ r.T + b)
        states.append(h)
    np.testing.assert_allclose(got, np.stack(states), atol=1e-5)


@pytest.mark.parametrize("alpha", [None, 0.3])
def test_gru(alpha: float | None) -> None:
    """The reset gate multiplies the state before its product, unlike PyTorch's; a hard sigmoid needs an op of ours."""
    w, r, b = ({g: RNG.standard_normal(s).astype(np.float32) / 2 for g in "zro"} for s in ((4, 3), (4, 4), (4,)))
    names = {"z": "update", "r": "reset", "o": "output"}
    params: dict[str, Any] = {"inputVectorSize": 3, "outputVectorSize": WIDTH, "hasBiasVectors": True}
    for gate, name in names.items():
        params |= {
            f"{name}GateWeightMatrix": numbers(w[gate]),
            f"{name}GateRecursionMatrix": numbers(r[gate]),
            f"{name}GateBiasVector": numbers(b[gate]),
        }
    if alpha is not None:
        params["activations"] = [{"sigmoidHard": {"alpha": alpha, "beta": 0.5}}, {"tanh": {}}]
    got = model_of(L("gru", params), inputs={"x": SEQUENCE.shape}).predict({"x": SEQUENCE})["y"]

    def gate(v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-v)) if alpha is None else np.clip(alpha * v + 0.5, 0, 1)

    h = np.zeros((2, WIDTH))
    for x in SEQUENCE:
        z, reset = (gate(x @ w[g].T + h @ r[g].T + b[g]) for g in "zr")
        h = z * h + (1 - z) * np.tanh(x @ w["o"].T + (reset * h) @ r["o"].T + b["o"])
    np.testing.assert_allclose(got[0], h, atol=1e-5)
