"""Recurrent layers on the CPU device, at sizes that reach every path, against PyTorch in float64.

The op cases show every activation, bias, peephole and direction at a size of a few units.
"""

import numpy as np
import pytest
import torch

from gristmill.devices.cpu import CpuDevice
from gristmill.devices.cpu.plan import NativeStep
from gristmill.ir.builder import mb
from gristmill.ir.dims import symbol
from gristmill.ir.opset import iOS18
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp16, fp32
from gristmill.runtime.session import Session

RNG = np.random.default_rng(11)

# Gates in the order of the op, as places in PyTorch's order.
GATES = {"lstm": (0, 1, 3, 2), "gru": (0, 2, 1), "rnn": (0,)}


class Layer:
    """A layer of random weights: its program, and the same in PyTorch and float64."""

    def __init__(self, kind: str, dtype, features: int, hidden: int, *, both: bool = False) -> None:
        gates = len(GATES[kind])
        self.kind, self.dtype, self.features, self.width = kind, dtype, features, hidden * (2 if both else 1)
        self.module = getattr(torch.nn, kind.upper())(features, hidden, bidirectional=both).double()
        shapes = ((gates * hidden, features), (gates * hidden, hidden), (gates * hidden,), (gates * hidden,))
        self.operands: dict[str, np.ndarray] = {}
        with torch.no_grad():
            for direction in ("", "_back") if both else ("",):
                suffix = "_reverse" if direction else ""
                arrays = [(RNG.normal(size=s) / np.sqrt(hidden)).astype(dtype.numpy) for s in shapes]
                if kind != "gru":
                    arrays[3] = np.zeros_like(arrays[3])  # other layers have one bias
                names = ("weight_ih", "weight_hh", "bias", "input_bias")
                ours = (arrays[0], arrays[1], arrays[3], arrays[2]) if kind == "gru" else arrays[:3]
                for name, array in zip(names, ours, strict=False):
                    parts = np.split(array, gates)
                    self.operands[name + direction] = np.concatenate([parts[g] for g in GATES[kind]])
                for name, array in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), arrays, strict=True):
                    getattr(self.module, f"{name}_l0{suffix}").copy_(torch.from_numpy(array))

    def program(self, steps, batch, **attributes) -> Program:
        program = Program()
        state = TensorType(self.dtype, (batch, self.width))
        kinds = {"x": TensorType(self.dtype, (steps, batch, self.features)), "h": state}
        if self.kind == "lstm":
            kinds["c"] = state
        if self.kind == "gru":
            attributes["reset_after"] = True
        with mb.function(program, "main", kinds, iOS18) as values:
            x, *states = values
            initial = dict(zip(("initial_h", "initial_c"), states, strict=False))
            mb.output(*mb.op(self.kind, x=x, **initial, **self.operands, **attributes))
        return program

    def inputs(self, steps: int, batch: int) -> dict[str, np.ndarray]:
        shapes = {"x": (steps, batch, self.features), "h": (batch, self.width)}
        if self.kind == "lstm":
            shapes["c"] = (batch, self.width)
        return {name: RNG.normal(size=shape).astype(self.dtype.numpy) for name, shape in shapes.items()}

    def wanted(self, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        wide = {name: torch.from_numpy(array.astype(np.float64)) for name, array in inputs.items()}
        directions = 2 if self.module.bidirectional else 1
        states = [torch.stack(wide[name].chunk(directions, -1)) for name in ("h", "c") if name in wide]
        with torch.no_grad():
            made, last = self.module(wide["x"], tuple(states) if self.kind == "lstm" else states[0])
        last = last if isinstance(last, tuple) else (last,)
        return [made.numpy(), *(torch.cat(list(state), -1).numpy() for state in last)]


def _compare(got, wanted, dtype) -> None:
    """Agreement to 3e-6 and one rounding of the result.

    A gate is a sum of up to 300 products of which Σ|aᵢbᵢ| is about 10: by the contract at most 4·√300·2⁻²⁴·10 = 4e-5
    from the exact one. Errors of random sign stay far below.
    """
    for mine, theirs in zip(got, wanted, strict=True):
        assert mine.dtype == dtype.numpy
        rounding = np.spacing(np.abs(theirs).astype(dtype.numpy)).astype(np.float64)
        assert (np.abs(mine.astype(np.float64) - theirs) <= 3e-6 + rounding).all()


# Hidden sizes: less than a vector; not a whole number of panels; more than one block of a sum, in several tasks. One
# sequence takes the thin product, 40 the one whose float16 weights are widened first.
@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize(("batch", "features", "hidden"), [(1, 5, 3), (3, 20, 70), (40, 9, 37), (2, 8, 300)])
@pytest.mark.parametrize("dtype", [fp16, fp32])
def test_layers_are_pytorchs_at_any_size(kind, batch, features, hidden, dtype):
    layer = Layer(kind, dtype, features, hidden)
    program = layer.program(12, batch, output_sequence=True)
    device = CpuDevice(2)
    assert all(isinstance(step, NativeStep) for step in device.prepare(program.main).plan.steps)
    inputs = layer.inputs(12, batch)
    _compare(Session(program.main, device).run(inputs).values(), layer.wanted(inputs), dtype)


@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize("dtype", [fp16, fp32])
def test_both_directions_at_once(every, dtype):
    """A step holds both states made from it; the last one alone holds the states after each whole run."""
    layer = Layer("lstm", dtype, 7, 35, both=True)
    program, inputs = layer.program(6, 2, output_sequence=every, direction="bidirectional"), layer.inputs(6, 2)
    made, *last = layer.wanted(inputs)
    _compare(Session(program.main, CpuDevice()).run(inputs).values(), [made if every else last[0][None], *last], dtype)


@pytest.mark.parametrize("kind", GATES)
def test_the_reverse_direction_gives_states_in_the_order_in_which_they_are_made(kind):
    layer = Layer(kind, fp32, 7, 35)
    program, inputs = layer.program(6, 2, output_sequence=True, direction="reverse"), layer.inputs(6, 2)
    wanted = layer.wanted(inputs | {"x": inputs["x"][::-1].copy()})
    _compare(Session(program.main, CpuDevice()).run(inputs).values(), wanted, fp32)


@pytest.mark.parametrize("kind", GATES)
def test_the_length_of_a_sequence_may_change(kind):
    """One plan serves all lengths."""
    layer = Layer(kind, fp32, 6, 24)
    program = layer.program(symbol("steps"), 2, output_sequence=True)
    session = Session(program.main, CpuDevice())
    for steps in (5, 1, 9):
        inputs = layer.inputs(steps, 2)
        _compare(session.run(inputs).values(), layer.wanted(inputs), fp32)


@pytest.mark.parametrize("kind", GATES)
def test_bits_do_not_depend_on_the_number_of_threads(kind):
    layer = Layer(kind, fp16, 30, 320)
    program, inputs = layer.program(4, 3), layer.inputs(4, 3)
    one, *others = (list(Session(program.main, CpuDevice(threads)).run(inputs).values()) for threads in (1, 2, 3, 5))
    for other in others:
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_unit_with_the_reset_before_its_product_in_several_tasks():
    """All tasks' resets are there before the first product reads them."""
    hidden, features, batch = 300, 8, 2
    weight_ih, weight_hh = RNG.normal(size=(3 * hidden, features)), RNG.normal(size=(3 * hidden, hidden))
    weights = [(array / np.sqrt(hidden)).astype(np.float32) for array in (weight_ih, weight_hh)]
    x, h = RNG.normal(size=(5, batch, features)), RNG.normal(size=(batch, hidden))
    inputs = {"x": x.astype(np.float32), "h": h.astype(np.float32)}
    program = Program()
    kinds = {name: TensorType(fp32, array.shape) for name, array in inputs.items()}
    with mb.function(program, "main", kinds, iOS18) as (x, h):
        mb.output(*mb.gru(x=x, initial_h=h, weight_ih=weights[0], weight_hh=weights[1]))
    _, got = Session(program.main, CpuDevice(3)).run(inputs).values()
    (wr, wo, wz), (rr, ro, rz) = (np.split(array.astype(np.float64), 3) for array in weights)
    state = inputs["h"].astype(np.float64)

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    for step in inputs["x"].astype(np.float64):
        r, z = sigmoid(step @ wr.T + state @ rr.T), sigmoid(step @ wz.T + state @ rz.T)
        state = (1 - z) * np.tanh(step @ wo.T + (r * state) @ ro.T) + z * state
    _compare([got], [state], fp32)
