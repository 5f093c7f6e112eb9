"""Segments of one function on several devices, and the types that untyped tensors get there."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.devices.cpu import CpuDevice
from gristmill.devices.gpu import SimulatedGpuDevice
from gristmill.devices.neural_engine import NeuralEngineDevice
from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import ExecutionError, InputError, UnsupportedError
from gristmill.ir.builder import mb
from gristmill.ir.builtin import const
from gristmill.ir.dims import symbol
from gristmill.ir.opset import iOS18
from gristmill.ir.parser import parse_program
from gristmill.ir.program import Function, Program
from gristmill.ir.traits import Decompresses
from gristmill.ir.types import StateType, TensorType, fp16, fp32, int32, unit_float
from gristmill.ir.verify import verify
from gristmill.precision.unit_types import Placed, in_float32, type_by_unit
from gristmill.runtime.placed import PlacedDevice
from gristmill.runtime.session import Session

RNG = np.random.default_rng(3)


def devices(**more):
    return {"cpu": CpuDevice(1), "gpu": SimulatedGpuDevice(), "neural_engine": NeuralEngineDevice()} | more


def program_of(make, opset=iOS18, **types) -> Program:
    program = Program()
    with mb.function(program, "main", types, opset) as values:
        made = make(*values)
        mb.output(*(made if isinstance(made, tuple) else (made,)))
    return program


def counted(n, start, step):
    """What a value becomes when a loop takes a step ``n`` times."""
    count = TensorType(int32, ())
    with mb.nested({"i": count, "y": start.type}) as condition:
        mb.output(mb.less(x=condition.arguments[0], y=n))
    with mb.nested({"j": count, "z": start.type}) as body:
        j, z = body.arguments
        mb.output(mb.add(x=j, y=1), step(z))
    return mb.op("while_loop", loop_vars=[np.int32(0), start], blocks=[condition, body])[1]


def placed(function: Function, *units: str) -> list[Placed]:
    """The function's ops in order, cut where the unit changes; one unit for each op."""
    ops = [op for op in function.body if not (isinstance(op, const) or op.has(Decompresses))]
    assert len(ops) == len(units)
    segments: list[Placed] = []
    for op, unit in zip(ops, units, strict=True):
        if segments and segments[-1].unit == unit:
            segments[-1].ops.append(op)
        else:
            segments.append(Placed(unit, [op]))
    return segments


def run(function: Function, segments: list[Placed], state=None, observe=None, on=None, **inputs):
    session = Session(function, PlacedDevice(segments, on or devices()))
    return list(session.run(inputs, state, observe).values())


def _branching(x):
    """Two ways that meet again, a cast, and a value that is used in three segments."""
    a = mb.exp(x=x)
    b = mb.cast(x=mb.mul(x=a, y=x), dtype="fp32")
    c = mb.add(x=mb.sqrt(x=b), y=np.float32(1))
    d = mb.sub(x=mb.cast(x=c, dtype="fp16"), y=a)
    return d, b


def test_values_cross_between_units_in_their_declared_types():
    """Ops of one element round once on every device, so wherever they run, the bits are the reference device's."""
    function = program_of(_branching, x=TensorType(fp16, (3, 50))).main
    x = np.abs(RNG.standard_normal((3, 50))).astype(np.float16)
    wanted = Session(function, ReferenceDevice()).run({"x": x}).values()
    ways = [
        ("neural_engine", "neural_engine", "cpu", "cpu", "gpu", "cpu", "neural_engine"),
        ("gpu", "neural_engine", "gpu", "cpu", "cpu", "gpu", "cpu"),
        ("cpu",) * 7,
    ]
    for way in ways:
        on = {"cpu": ReferenceDevice(), "gpu": SimulatedGpuDevice(), "neural_engine": NeuralEngineDevice()}
        for got, expected in zip(run(function, placed(function, *way), on=on, x=x), wanted, strict=True):
            np.testing.assert_array_equal(got, expected)


def test_each_segment_has_its_units_numerics():
    """8192 times 0.1: in float16 the sum stops at 256, where half a place is more than 0.1; the CPU gets 819."""
    function = program_of(
        lambda x: (mb.reduce_sum(x=mb.abs(x=x)), mb.reduce_sum(x=mb.relu(x=x))), x=TensorType(fp16, (8192,))
    ).main
    x = np.full(8192, 0.1, np.float16)
    on = devices(neural_engine=NeuralEngineDevice("neural_engine_float16"))
    narrow, wide = run(function, placed(function, "neural_engine", "neural_engine", "cpu", "cpu"), on=on, x=x)
    assert narrow == 256
    assert wide == np.float16(8192 * float(np.float16(0.1)))


def test_what_an_op_holds_runs_with_it():
    """A loop on the GPU, whose body uses a value that the Neural Engine made."""

    def make(x, n):
        step = mb.exp(x=x)
        return mb.relu(x=counted(n, x, lambda y: mb.add(x=y, y=step)))

    function = program_of(make, x=TensorType(fp16, (2,)), n=TensorType(int32, ())).main
    x = np.array([0.5, -3], np.float16)
    seen = []
    (got,) = run(
        function,
        placed(function, "neural_engine", "gpu", "cpu"),
        observe=lambda op, results: seen.append(op),
        x=x,
        n=np.array(3, np.int32),
    )
    (wanted,) = Session(function, ReferenceDevice()).run({"x": x, "n": np.array(3, np.int32)}).values()
    np.testing.assert_array_equal(got, wanted)
    # Observers are told of the function's own ops, those in the loop each time they run.
    assert set(seen) == {op for op in function.body.walk() if not isinstance(op, const)}
    assert sum(op.op_name == "add" for op in seen) == 6


def test_sizes_that_only_a_run_knows_cross_too():
    """A symbolic length, and a shape that one segment computes and another one uses."""
    kind = TensorType(fp16, (symbol("n", lower=1), 4))
    function = program_of(
        lambda x: mb.relu(x=mb.reshape(x=mb.abs(x=x), shape=mb.reverse(x=mb.shape(x=x), axes=[0]))), x=kind
    ).main
    for n in (1, 5):
        x = RNG.standard_normal((n, 4)).astype(np.float16)
        (got,) = run(function, placed(function, "neural_engine", "cpu", "gpu", "gpu", "neural_engine"), x=x)
        np.testing.assert_array_equal(got, np.abs(x).reshape(4, n))


def _counter(x, i, s):
    """Adds to a state, then picks an element of what it holds."""
    after = mb.coreml_update_state(state=s, value=mb.add(x=mb.read_state(input=s), y=x))
    return mb.gather(x=after, indices=i, validate_indices=True)


STATE = {
    "x": TensorType(fp16, (2,)),
    "i": TensorType(int32, (1,)),
    "s": StateType(TensorType(fp16, (2,))),
}


@pytest.mark.parametrize("units", [("neural_engine", "cpu", "cpu", "gpu"), ("cpu", "cpu", "cpu", "gpu")])
def test_states_advance_over_segments_and_stay_when_a_later_one_fails(units):
    """The failing op is on another device than the write, which has long succeeded."""
    function = program_of(_counter, **STATE).main
    session = Session(function, PlacedDevice(placed(function, *units), devices()))
    state = session.make_state()
    x = np.array([1, 2], np.float16)
    for turn in (1, 2):
        (got,) = session.run({"x": x, "i": np.array([1], np.int32)}, state).values()
        assert got == 2 * turn
    with pytest.raises(ExecutionError):
        session.run({"x": x, "i": np.array([7], np.int32)}, state)
    np.testing.assert_array_equal(state.read("s"), 2 * x)


def test_constants_may_be_outputs():
    function = program_of(lambda x: (mb.relu(x=x), mb.const(val=np.float32(3))), x=TensorType(fp16, (1,))).main
    got = run(function, placed(function, "neural_engine"), x=np.array([-1], np.float16))
    assert [array.item() for array in got] == [0, 3]


def test_a_device_refuses_what_a_plan_should_not_have_given_it():
    """float32 on the Neural Engine, by name; and a unit that nobody simulates."""
    function = program_of(lambda x: mb.exp(x=x, name="scores"), x=TensorType(fp32, (1,))).main
    with pytest.raises(UnsupportedError, match="scores") as caught:
        run(function, placed(function, "neural_engine"), x=np.ones(1, np.float32))
    assert "float16 only" in str(caught.value)
    with pytest.raises(InputError, match="no device"):
        PlacedDevice(placed(function, "dsp"), devices())
    with pytest.raises(InputError, match="no segment has the op"):
        run(function, [], x=np.ones(1, np.float32))


# --- untyped tensors -------------------------------------------------------------------------------------------------

UNTYPED = """program(1.0)
[buildInfo = dict<tensor<string, []>, tensor<string, []>>({})]
{
  func main<ios16>(tensor<fp32, [1, 4]> image) {
    tensor<string, []> untyped = const()[name = tensor<string, []>("untyped"), val = tensor<string, []>("unit_float")];
    tensor<unit_float, [1, 4]> x = cast(dtype = untyped, x = image)[name = tensor<string, []>("x")];
    tensor<unit_float, [1, 4]> a = exp(x = x)[name = tensor<string, []>("a")];
    tensor<unit_float, [1, 4]> b = add(x = a, y = x)[name = tensor<string, []>("b")];
    tensor<unit_float, [1, 4]> c = sqrt(x = b)[name = tensor<string, []>("c")];
    tensor<unit_float, [1, 4]> d = mul(x = c, y = a)[name = tensor<string, []>("d")];
  } -> (d, b);
}
"""


def untyped() -> Function:
    return parse_program(UNTYPED).main


def test_untyped_tensors_take_the_type_of_their_unit():
    """Each value that crosses to a unit of another type is cast once, on the float32 side; outputs keep their names."""
    function = untyped()
    segments = placed(function, "cpu", "cpu", "neural_engine", "gpu", "cpu")
    typed, on = type_by_unit(function, segments)
    verify(typed, planned=True)
    native = {"cpu": fp32, "gpu": fp16, "neural_engine": fp16}
    for segment in on:
        for op in segment.ops:
            if op.inserted:
                assert segment.unit == "cpu"
            else:
                assert op.result.dtype == native[segment.unit], op
    casts = [op for op in typed.body if op.inserted]
    assert sorted(op.operand("x").name for op in casts) == ["a", "b_to_fp32", "c", "x"]
    assert [value.name for value in typed.outputs] == ["d", "b"]
    assert {value.dtype for value in typed.outputs} == {fp32}
    assert [value.dtype for value in function.outputs] == [unit_float, unit_float]  # which stays as it was


def test_an_untyped_network_on_the_cpu_is_a_float32_one():
    """`CPU_ONLY` guarantees float32: the bits are those of the network written in float32, without a cast."""
    function = untyped()
    typed, on = type_by_unit(function, placed(function, *["cpu"] * 5))
    assert not any(op.inserted for op in typed.body)
    x = np.array([[0, 1e-3, 2, -2]], np.float32)
    written = parse_program(UNTYPED.replace("unit_float", "fp32")).main
    for got, wanted in zip(
        run(typed, on, image=x), Session(written, CpuDevice(1)).run({"image": x}).values(), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)


def test_untyped_networks_run_on_several_units():
    """Against NumPy with the units' types at every step."""
    function = untyped()
    typed, on = type_by_unit(function, placed(function, "cpu", "cpu", "neural_engine", "gpu", "cpu"))
    x = np.array([[0, 1e-3, 2, -0.5]], np.float32)
    a = np.exp(x.astype(np.float64)).astype(np.float32)
    b = a.astype(np.float16) + x.astype(np.float16)
    d = np.sqrt(b).astype(np.float32) * a
    got_d, got_b = run(typed, on, on={**devices(), "cpu": ReferenceDevice()}, image=x)
    np.testing.assert_array_equal(got_b, b.astype(np.float32))
    np.testing.assert_array_equal(got_d, d)


def test_constants_and_loops_are_typed_with_the_op_that_uses_them():
    """One untyped constant for two units is two typed ones; a loop's values are of its unit's type."""

    def make(x, n):
        y = mb.add(x=x, y=np.float32(0.1))
        return counted(n, y, lambda y: mb.mul(x=y, y=np.float32(0.1)))

    function = program_of(make, x=TensorType(fp32, (2,)), n=TensorType(int32, ())).main
    for value in function.values():  # as an importer of networks would have it
        if isinstance(value.type, TensorType) and value.dtype == fp32:
            value.type = value.type.with_dtype(unit_float)
    typed, on = type_by_unit(function, placed(function, "neural_engine", "gpu"))
    verify(typed, planned=True)
    loop = next(op for op in typed.body if op.blocks)
    assert {v.dtype for v in loop.results if v.dtype.is_float} == {fp16}
    (got,) = run(typed, on, x=np.array([1, 2], np.float32), n=np.array(1, np.int32))
    tenth = np.float16(0.1)
    np.testing.assert_array_equal(got, ((np.array([1, 2], np.float16) + tenth) * tenth).astype(np.float32))


def test_a_function_in_float32_has_no_float16_left():
    """Casts to float16 among its ops, constants, states and inputs included."""
    function = program_of(_branching, x=TensorType(fp16, (3,))).main
    wide = in_float32(function)
    verify(wide)
    assert {v.dtype for v in wide.values() if isinstance(v.type, TensorType) and v.dtype.is_float} == {fp32}
    x = np.array([0.1, 2, 9], np.float32)
    got = Session(wide, CpuDevice(1)).run({"x": x})
    a = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(next(iter(got.values())), np.sqrt(a * x) + 1 - a, rtol=1e-6)
    states = program_of(_counter, **STATE).main
    assert in_float32(states).states[0].type == StateType(TensorType(fp32, (2,)))
