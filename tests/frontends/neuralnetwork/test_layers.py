"""Layers against PyTorch, NumPy, or numbers worked out by hand: those that the conformance cases lack, or hardly have.

float32 results lie within 1e-5 of the oracle's, relative to the largest: sums of a few dozen products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gristmill as ct
from tests.frontends.neuralnetwork.cases import CASES, Case
from tests.frontends.neuralnetwork.small import L, case_of, model_of, numbers, spec_of

RNG = np.random.default_rng(8)


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.kind} {c.name} {'exact' if c.exact else 'rank 5'}")
def test_layer(case: Case, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer gives what the oracle gives, in the same shape."""
    monkeypatch.setenv("GRISTMILL_DEVICE", device)
    arrays = {f"x{k}": np.asarray(array, np.float32) for k, array in enumerate(case.inputs)}
    expected = (np.empty(0),) if case.expected is None else case.expected(*case.inputs)
    wanted = expected if isinstance(expected, tuple) else (expected,)
    outputs = [f"y{k}" for k in range(len(wanted))]
    made = [*outputs, "indices"] if case.kind == "topK" else outputs
    shapes = {name: array.shape for name, array in arrays.items()}
    model = model_of(L(case.kind, case.params, list(arrays), made), inputs=shapes, outputs=outputs, exact=case.exact)
    got = model.predict(arrays)
    if case.judge is not None:
        case.judge(got["y0"])
        return
    for name, array in zip(outputs, wanted, strict=True):
        assert got[name].shape == array.shape
        np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-5 * np.abs(array).max())


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


@case_of("biDirectionalLSTM")
@case_of("uniDirectionalLSTM")
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


@case_of("simpleRecurrent")
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


def _gru(
    activations: list[dict[str, Any]], sigmoid: Callable[[np.ndarray], Any], *, backwards: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """What the layer makes of the sequence at its end, and what the specification's formulas do."""
    w, r, b = ({g: RNG.standard_normal(s).astype(np.float32) / 2 for g in "zro"} for s in ((4, 3), (4, 4), (4,)))
    names = {"z": "update", "r": "reset", "o": "output"}
    params: dict[str, Any] = {"inputVectorSize": 3, "outputVectorSize": WIDTH, "hasBiasVectors": True}
    params |= {"activations": activations, "reverseInput": backwards}
    for gate, name in names.items():
        params |= {
            f"{name}GateWeightMatrix": numbers(w[gate]),
            f"{name}GateRecursionMatrix": numbers(r[gate]),
            f"{name}GateBiasVector": numbers(b[gate]),
        }
    got = model_of(L("gru", params), inputs={"x": SEQUENCE.shape}).predict({"x": SEQUENCE})["y"]
    h = np.zeros((2, WIDTH))
    for x in SEQUENCE[::-1] if backwards else SEQUENCE:
        z, reset = (sigmoid(x @ w[g].T + h @ r[g].T + b[g]) for g in "zr")
        h = z * h + (1 - z) * np.tanh(x @ w["o"].T + (reset * h) @ r["o"].T + b["o"])
    return got[0], h


def _sigmoid(x: np.ndarray) -> Any:
    return 1 / (1 + np.exp(-x))


@case_of("gru")
@pytest.mark.parametrize("backwards", [False, True])
def test_gru(backwards: bool) -> None:
    """The reset gate multiplies the state before its product, unlike PyTorch's."""
    np.testing.assert_allclose(*_gru([{"sigmoid": {}}, {"tanh": {}}], _sigmoid, backwards=backwards), atol=1e-5)


@case_of("gru")
def test_gru_with_a_hard_sigmoid() -> None:
    """MIL's op has it with other numbers only."""
    hard = {"sigmoidHard": {"alpha": 0.3, "beta": 0.5}}
    np.testing.assert_allclose(*_gru([hard, {"tanh": {}}], lambda v: np.clip(0.3 * v + 0.5, 0, 1)), atol=1e-5)


# --- truth values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "indices", "expected"),
    [
        ("gather", [2, 0], [[0, 1], [1, 0]]),
        ("gatherAlongAxis", [[2, 0], [1, 1], [0, 2]], [[0, 0], [1, 1], [1, 1]]),
        ("gatherND", [[0, 0], [1, 0], [2, 1]], [1, 1, 1]),
    ],
)
def test_truth_values_are_gathered_as_numbers(kind: str, indices: list[Any], expected: list[Any]) -> None:
    """A network has no types: what compares makes ones and zeros, which other layers take as any numbers."""
    x = np.array([[1, -1], [2, 3], [-4, 5]], np.float32)  # positive: [[1, 0], [1, 1], [0, 1]]
    places = np.array(indices, np.float32)
    compare = L("greaterThan", {"alpha": 0}, ["x"], ["positive"])
    model = model_of(compare, L(kind, {}, ["positive", "i"]), inputs={"x": x.shape, "i": places.shape})
    np.testing.assert_array_equal(model.predict({"x": x, "i": places})["y"], np.array(expected, np.float32))
