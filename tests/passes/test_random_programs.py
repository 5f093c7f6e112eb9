"""Random programs: whatever the passes do, results stay, and they come to an end."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.ir import dims
from gristmill.ir.builder import mb
from gristmill.ir.clone import clone_program
from gristmill.ir.program import Program, Value
from gristmill.ir.types import TensorType, fp32
from gristmill.passes.pipeline import default_passes
from tests.passes.programs import changed, random_inputs, run

N = dims.symbol("n", 1, 8)


def permuted(draw, x: Value, values: list[Value]) -> Value:
    return mb.transpose(x=x, perm=draw(st.permutations(range(x.rank))))


def reshaped(draw, x: Value, values: list[Value]) -> Value:
    """The unknown size stays whole, so that the shape can be said with one -1."""
    known = [dim for dim in x.shape if isinstance(dim, int)]
    total = int(np.prod(known))
    first = draw(st.sampled_from([k for k in range(1, total + 1) if total % k == 0]))
    open_place = [-1] if len(known) < x.rank else []
    return mb.reshape(x=x, shape=draw(st.permutations([first, total // first, *open_place])))


def widened(draw, x: Value, values: list[Value]) -> Value:
    return mb.expand_dims(x=x, axes=[draw(st.integers(0, x.rank))]) if x.rank < 5 else x


def squeezed(draw, x: Value, values: list[Value]) -> Value:
    ones = [axis for axis, dim in enumerate(x.shape) if dim == 1]
    return mb.squeeze(x=x, axes=[draw(st.sampled_from(ones))]) if ones and x.rank > 1 else x


def sliced(draw, x: Value, values: list[Value]) -> Value:
    """Neighbours along one axis of known size, of which a single one may lose its axis."""
    known = [axis for axis, dim in enumerate(x.shape) if isinstance(dim, int)]
    if not known:
        return x
    axis = draw(st.sampled_from(known))
    begin = draw(st.integers(0, x.shape[axis] - 1))
    end = draw(st.integers(begin + 1, x.shape[axis]))
    whole = [k != axis for k in range(x.rank)]
    dropped = [not kept and end == begin + 1 and x.rank > 1 and draw(st.booleans()) for kept in whole]
    limits = {name: [value * (k == axis) for k in range(x.rank)] for name, value in (("begin", begin), ("end", end))}
    return mb.slice_by_index(x=x, **limits, begin_mask=whole, end_mask=whole, squeeze_mask=dropped)


def unary(draw, x: Value, values: list[Value]) -> Value:
    return mb.op(draw(st.sampled_from(["relu", "abs", "identity", "sigmoid", "square"])), x=x)


def cast(draw, x: Value, values: list[Value]) -> Value:
    """A rounding point of the source, and back."""
    return mb.cast(x=mb.cast(x=x, dtype=draw(st.sampled_from(["fp16", "fp32"]))), dtype="fp32")


def with_constant(draw, x: Value, values: list[Value]) -> Value:
    shape = [dim if isinstance(dim, int) and draw(st.booleans()) else 1 for dim in x.shape]
    shape = shape[draw(st.integers(0, x.rank)) :]
    number = draw(st.sampled_from([0.0, -0.0, 1.0, 0.5, -2.0]))
    operands = [x, np.full(shape, number, np.float32)]
    if draw(st.booleans()):
        operands.reverse()
    return mb.op(draw(st.sampled_from(["add", "sub", "mul", "maximum"])), x=operands[0], y=operands[1])


def with_another(draw, x: Value, values: list[Value]) -> Value:
    mates = [value for value in values if value.shape == x.shape]
    return mb.op(draw(st.sampled_from(["add", "mul"])), x=x, y=draw(st.sampled_from(mates)))


STEPS = [
    permuted,
    permuted,
    reshaped,
    widened,
    squeezed,
    sliced,
    sliced,
    unary,
    cast,
    with_constant,
    with_another,
    with_another,
]


@st.composite
def programs(draw) -> Program:
    """Chains and branches of what the layout passes work on, with up to three outputs."""
    program = Program(plain_scalars=True)
    inputs = {"x": TensorType(fp32, (N, 2, 3)), "y": TensorType(fp32, (2, N, 3))}
    with mb.function(program, "main", inputs) as given_inputs:
        values = list(given_inputs)
        for _ in range(draw(st.integers(2, 14))):
            step = draw(st.sampled_from(STEPS))
            values.append(step(draw, draw(st.sampled_from(values[-4:])), values))
        made = [value for value in values if value.producer is not None]
        chosen = draw(st.lists(st.sampled_from(made or values), min_size=1, max_size=3, unique=True))
        mb.output(*chosen)
    return program


@settings(max_examples=150, deadline=None)
@given(programs())
def test_results_and_names_stay_and_runs_come_to_an_end(program):
    """Movements and exact arithmetic: results are equal bit by bit, signs of zeros included.

    Only sums and products by themselves are there, each rounded as before, so nothing may differ. What one pass removes
    may bring together what another one merges, so a run may leave something to a second one; a third finds nothing.
    """
    after = clone_program(program)
    changed(after, *default_passes())
    assert [v.name for v in after.main.outputs] == [v.name for v in program.main.outputs]
    inputs = random_inputs(program, {"n": 3})
    for a, b in zip(run(program, inputs), run(after, inputs), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if "silu" not in {op.op_name for op in after.main.body}:
            np.testing.assert_array_equal(a.view(np.uint32), b.view(np.uint32))
        else:  # x·sigmoid(x) became one op, which rounds once instead of twice
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    changed(after, *default_passes())
    assert changed(after, *default_passes()) == []
