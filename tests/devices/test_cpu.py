"""The CPU device against float64, at any number of threads, with sizes that change, and how it groups ops."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from gristmill.devices import cpu
from gristmill.devices.cpu import CpuDevice, _native
from gristmill.devices.cpu.plan import NativeStep
from gristmill.devices.reference import ReferenceDevice
from gristmill.ir.builder import mb
from gristmill.ir.dims import symbol
from gristmill.ir.opset import iOS18
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, bool_, fp16, fp32
from gristmill.runtime.session import Session
from tests.passes.programs import build

RNG = np.random.default_rng(0)


ACTIVATIONS = {
    "none": (None, lambda x: x),
    "relu": (lambda x: mb.relu(x=x), lambda x: np.maximum(x, 0)),
    "relu6": (lambda x: mb.relu6(x=x), lambda x: np.clip(x, 0, 6)),
    "silu": (lambda x: mb.silu(x=x), lambda x: x * special.expit(x)),
    "gelu": (lambda x: mb.gelu(x=x, mode="EXACT"), lambda x: x * special.ndtr(x)),
    "hard swish": (
        lambda x: mb.mul(x=x, y=mb.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5)),
        lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    ),
    # What no single pass does: two activations, one after the other.
    "tanh of relu": (lambda x: mb.tanh(x=mb.relu(x=x)), lambda x: np.tanh(np.maximum(x, 0))),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("dtype", [fp16, fp32])
def test_products_are_finished_with_bias_residual_and_activation(activation, residual, dtype):
    """37 columns leave part of a vector. Sums of 8 terms: at most a few roundings of the declared type."""
    op, function = ACTIVATIONS[activation]
    weight, bias = _random(37, 8, dtype=dtype.numpy), _random(37, dtype=dtype.numpy)
    x, y = _random(50, 8, dtype=dtype.numpy), _random(50, 37, dtype=dtype.numpy)

    def body(x, y):
        made = mb.linear(x=x, weight=weight, bias=bias)
        made = mb.add(x=made, y=y) if residual else made
        return made if op is None else op(made)

    program = build(body, (50, 8), (50, 37), dtype=dtype)
    assert len(_native_calls(program)) == 1
    (got,) = Session(program.main, CpuDevice()).run({"x": x, "y": y}).values()
    wide = x.astype(np.float64) @ weight.T.astype(np.float64) + bias + (y if residual else 0)
    eps = float(np.finfo(dtype.numpy).eps)
    np.testing.assert_allclose(got.astype(np.float64), function(wide), rtol=2 * eps, atol=20 * 2**-24)


def _random(*shape: int, dtype=np.float32) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def _linear(rows, k: int, n: int, dtype) -> tuple[Program, np.ndarray, np.ndarray]:
    weight, bias = _random(n, k, dtype=dtype.numpy), _random(n, dtype=dtype.numpy)
    program = build(lambda x: mb.linear(x=x, weight=weight, bias=bias), (rows, k), dtype=dtype)
    return program, weight, bias


# One row and a few take kernels of their own; 3, 7, 97 and 129 leave remainders of rows; 5, 16 and 100 of columns; 300
# and 1000 are more than one block of the sum.
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 97, 129])
@pytest.mark.parametrize(("k", "n"), [(1, 1), (8, 16), (33, 5), (300, 100), (1000, 48)])
@pytest.mark.parametrize("dtype", [fp16, fp32])
def test_products_keep_the_contracts_bound(rows, k, n, dtype):
    """At most 4·√K·2⁻²⁴·Σ|aᵢbᵢ| from the exact sum, and one rounding of the result."""
    program, weight, bias = _linear(rows, k, n, dtype)
    x = _random(rows, k, dtype=dtype.numpy)
    (got,) = Session(program.main, CpuDevice()).run({"x": x}).values()
    x64, w64 = x.astype(np.float64), weight.astype(np.float64).T
    exact = x64 @ w64 + bias
    bound = 4 * np.sqrt(k + 1) * 2.0**-24 * (np.abs(x64) @ np.abs(w64) + np.abs(bias))
    rounding = np.spacing(np.abs(exact).astype(dtype.numpy)).astype(np.float64)
    assert (np.abs(got.astype(np.float64) - exact) <= bound + rounding).all()


def test_long_sums_of_equal_terms_do_not_drift():
    """Rounding errors that all point one way are what blocks are for: a plain loop is off by 2,000 units here."""
    k = 100_000
    weight = np.full((16, k), 0.1, np.float32)
    program = build(lambda x: mb.linear(x=x, weight=weight), (1, k))
    (got,) = Session(program.main, CpuDevice()).run({"x": np.ones((1, k), np.float32)}).values()
    exact = k * float(np.float32(0.1))
    assert np.abs(got - exact).max() <= 4 * np.sqrt(k) * 2.0**-24 * exact


def test_bits_do_not_depend_on_the_number_of_threads():
    """Tasks are cut differently; sums are not."""
    program, _, _ = _linear(200, 700, 333, fp32)
    x = _random(200, 700)
    results = [next(iter(Session(program.main, CpuDevice(n)).run({"x": x}).values())) for n in (1, 2, 3, 5)]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_sizes_change_from_call_to_call():
    """One plan serves every length; matrices and element-wise groups of it follow the symbol."""
    program, weight, bias = _linear(symbol("s"), 24, 8, fp32)
    session = Session(program.main, CpuDevice())
    for rows in (1, 13, 4, 200, 4):
        x = _random(rows, 24)
        (got,) = session.run({"x": x}).values()
        np.testing.assert_allclose(got, x @ weight.T + bias, rtol=1e-4, atol=1e-5)  # NumPy sums in float32 as well


def _native_calls(program: Program) -> list[list[str]]:
    plan = CpuDevice().prepare(program.main).plan
    return [
        [op.op_name for op in ops]
        for step in plan.steps
        if isinstance(step, NativeStep)
        for _, ops in step.emitter.calls
    ]


def test_a_product_finishes_what_follows_it():
    """Bias, activation and residual run in the product's epilogue: one call."""
    weight = _random(8, 8)

    def make(x, y):
        return mb.relu(x=mb.add(x=mb.gelu(x=mb.linear(x=x, weight=weight), mode="EXACT"), y=y))

    program = build(make, (4, 8), (4, 8))
    assert _native_calls(program) == [["linear", "gelu", "add", "relu"]]
    x, y = _random(4, 8), _random(4, 8)
    (got,) = Session(program.main, CpuDevice()).run({"x": x, "y": y}).values()
    product = x.astype(np.float64) @ weight.T
    wanted = np.maximum(product * special.ndtr(product) + y, 0)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)  # sums of 8 in float32


def test_values_are_let_go_after_the_step_that_needs_them_last():
    """A segment, an op on the reference device, one that holds blocks, a segment: each reads what came before it."""

    def body(x, y, p):
        first = mb.exp(x=x, name="first")
        second = mb.local_response_norm(x=first, size=3, name="second")
        with mb.nested() as yes:
            mb.output(mb.relu(x=first))
        with mb.nested() as no:
            mb.output(mb.relu(x=y))
        third = mb.cond(pred=p, blocks=(yes, no), name="third")
        return mb.add(x=third, y=second), y

    made = Program()
    kinds = {"x": TensorType(fp32, (1, 4, 2, 2)), "y": TensorType(fp32, (1, 4, 2, 2)), "p": TensorType(bool_, ())}
    with mb.function(made, "main", kinds, iOS18) as values:
        mb.output(*body(*values))
    steps = CpuDevice().prepare(made.main).plan.steps
    assert [sorted(value.name for value in step.dying) for step in steps] == [
        ["x"],
        [],  # the block of the next op reads what this one has read
        ["first", "p"],
        ["second", "third"],  # and the function gives y back
    ]


def _kernels(program: Program) -> list[str]:
    plan = CpuDevice().prepare(program.main).plan
    return [name for step in plan.steps if isinstance(step, NativeStep) for name, _ in step.emitter.calls]


def test_between_convolutions_channels_stay_last():
    """The image is read as planes and permuted once, on the way out; bias, activation and residual are epilogues."""
    first, second, deep = _random(8, 3, 3, 3), _random(8, 8, 1, 1), _random(8, 1, 5, 5)

    def make(x):
        y = mb.relu(x=mb.conv(x=x, weight=first, bias=_random(8), pad_type="same"))
        z = mb.conv(x=mb.silu(x=mb.conv(x=y, weight=second)), weight=deep, pad_type="same", groups=8)
        return mb.max_pool(x=mb.add(x=z, y=y), kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid")

    program = build(make, (1, 3, 9, 7))
    assert _kernels(program) == ["conv_planes", "conv", "depthwise", "max_pool", "view"]
    x = {"x": _random(1, 3, 9, 7)}
    (got,), (wanted,) = (Session(program.main, d).run(x).values() for d in (CpuDevice(), ReferenceDevice()))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())  # float32 beside float64


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (16, 3)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize(("kernel", "channels"), [("conv_planes", 3), ("conv", 5)])
def test_windows_that_reach_over_every_edge(kernel, channels, size, stride, dilation):
    """Padding larger than the image, and strides that step over its end."""
    weight = _random(5, channels, 3, 5)

    def make(x):
        pads = {"pad_type": "custom", "pad": [7, 6, 9, 8], "strides": [stride] * 2, "dilations": [dilation] * 2}
        return mb.conv(x=x, weight=weight, **pads)

    program = build(make, (2, channels, *size), dtype=fp32)
    assert kernel in _kernels(program)
    x = {"x": _random(2, channels, *size)}
    (got,), (wanted,) = (Session(program.main, d).run(x).values() for d in (CpuDevice(), ReferenceDevice()))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)  # sums of up to 75 in float32 beside float64


@pytest.mark.parametrize(("kernel", "channels"), [("conv_planes", 3), ("conv", 5)])
def test_a_picture_of_any_size(kernel, channels):
    """Padding that depends on a symbolic size is worked out for each call."""
    weight = _random(4, channels, 3, 3)
    shape = (1, channels, symbol("h"), symbol("w"))
    program = build(lambda x: mb.conv(x=x, weight=weight, pad_type="same", strides=[2, 2]), shape)
    session, reference = (Session(program.main, d) for d in (CpuDevice(), ReferenceDevice()))
    assert kernel in _kernels(program)
    for size in ((5, 8), (32, 17), (1, 1), (5, 8)):
        x = {"x": _random(1, channels, *size)}
        (got,), (wanted,) = (s.run(x).values() for s in (session, reference))
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)  # sums of up to 45 in float32 beside float64


def test_a_value_that_is_needed_elsewhere_is_stored_too():
    """A group keeps a result in a register and hands it out as well."""

    def make(x):
        y = mb.exp(x=x)
        return mb.mul(x=y, y=mb.add(x=y, y=1.0)), y

    program = build(make, (3, 5))
    assert len(_native_calls(program)) == 1
    x = _random(3, 5)
    product, exponential = Session(program.main, CpuDevice()).run({"x": x}).values()
    np.testing.assert_allclose(exponential, np.exp(x), rtol=1e-6)
    np.testing.assert_allclose(product, np.exp(x) * (np.exp(x) + 1), rtol=1e-6)


def test_a_long_group_whose_every_result_is_needed():
    """More results and operands than a tile program has registers: it is cut into several."""

    def make(*values):
        results = [values[0]]
        for value in values[1:]:
            results.append(mb.add(x=results[-1], y=value))
        return results[1:]

    count = 40
    inputs = {f"x{k}": TensorType(fp32, (4,)) for k in range(count)}
    program = build(make, types=inputs)
    arrays = {name: _random(4) for name in inputs}
    results = Session(program.main, CpuDevice()).run(arrays).values()
    np.testing.assert_allclose(list(results), np.cumsum(list(arrays.values()), 0)[1:], rtol=1e-5, atol=1e-5)


def test_a_cast_of_an_integer_constant_is_no_native_float():
    """Tile programs hold integers in the registers of floats: what is not of floats stays with the reference device."""
    program = build(lambda x: mb.add(x=x, y=mb.cast(x=np.array([1, 2, 3], np.int32), dtype="fp32")), (3,))
    (got,) = Session(program.main, CpuDevice()).run({"x": np.zeros(3, np.float32)}).values()
    np.testing.assert_array_equal(got, [1, 2, 3])


def test_an_observer_sees_every_result():
    """Also of ops that are otherwise fused, or whose results only shape others."""

    def make(x):
        return mb.reshape(x=mb.relu(x=mb.exp(x=x)), shape=mb.mul(x=mb.shape(x=x), y=1))

    program = build(make, (2, 3))
    x, seen = _random(2, 3), {}
    Session(program.main, CpuDevice()).run({"x": x}, observe=lambda op, results: seen.update({op.op_name: results[0]}))
    assert list(seen) == ["exp", "relu", "shape", "mul", "reshape"]
    np.testing.assert_allclose(seen["exp"], np.exp(x), rtol=1e-6)


def test_a_group_is_not_delayed_past_another_user():
    """`y` goes through an op without a kernel before the group's last op runs: the group is cut there."""

    def make(x):
        y = mb.exp(x=x)
        z = mb.cumsum(x=y, axis=0)
        return mb.add(x=y, y=z)

    program = build(make, (3, 5))
    x = _random(3, 5)
    (got,) = Session(program.main, CpuDevice()).run({"x": x}).values()
    np.testing.assert_allclose(got, np.exp(x) + np.cumsum(np.exp(x), 0), rtol=1e-5)


def test_an_earlier_op_does_not_become_a_products_follower():
    """What was computed before the product is added to it: the two are no group that begins with the product."""
    weight = _random(16, 16)
    program = build(lambda x: mb.add(x=mb.mul(x=x, y=0.5), y=mb.tanh(x=mb.linear(x=x, weight=weight))), (4, 16))
    x = _random(4, 16)
    (got,) = Session(program.main, CpuDevice()).run({"x": x}).values()
    wide = x.astype(np.float64)
    np.testing.assert_allclose(got, wide * 0.5 + np.tanh(wide @ weight.T), rtol=0, atol=1e-5)  # sums of 16 products


@pytest.mark.parametrize(
    "shapes", [((2, 3, 4), (4,)), ((2, 3, 4), (3, 1)), ((2, 1, 4), (1, 3, 1)), ((5,), ()), ((0, 3), (3,))]
)
def test_broadcasting(shapes):
    """As NumPy does it, for every way of repeating an operand."""
    program = build(lambda x, y: mb.sub(x=x, y=y), *shapes)
    x, y = _random(*shapes[0]), _random(*shapes[1])
    (got,) = Session(program.main, CpuDevice()).run({"x": x, "y": y}).values()
    np.testing.assert_array_equal(got, x - y)


def test_strict_rounds_every_result():
    """1 + 2⁻¹¹ is not a float16 number: fast keeps it inside the group, strict does not."""

    def make(x):
        return mb.sub(x=mb.add(x=x, y=np.float16(2.0**-11)), y=np.float16(1.0))

    program = build(make, (1,), dtype=fp16)
    x = np.ones(1, np.float16)
    results = [next(iter(Session(program.main, CpuDevice(strict=s)).run({"x": x}).values())) for s in (False, True)]
    assert [float(r[0]) for r in results] == [2.0**-11, 0.0]


def _elsewhere(isa: str, code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process that is told which instruction set to use."""
    environment = {**os.environ, "GRISTMILL_ISA": isa}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_every_instruction_set_gives_the_same_but_for_rounding():
    """What this machine can run, the portable code included, on a product with an epilogue."""
    code = """
import numpy as np
from gristmill.devices.cpu import CpuDevice, _native
from gristmill.ir.builder import mb
from gristmill.runtime.session import Session
from tests.passes.programs import build

rng = np.random.default_rng(0)
weight, x = rng.standard_normal((50, 300), np.float32), rng.standard_normal((7, 300), np.float32)
program = build(lambda x: mb.gelu(x=mb.linear(x=x, weight=weight), mode="EXACT"), (7, 300))
(y,) = Session(program.main, CpuDevice()).run({"x": x}).values()
print(_native.isa(), *y.ravel().tolist())
"""
    results = {}
    for isa in _native.isas():
        name, *numbers = _elsewhere(isa, code).stdout.split()
        assert name == isa
        results[isa] = np.array(numbers, np.float64)
    assert "portable" in results
    for result in results.values():  # sums of 300 in float32, in another order
        np.testing.assert_allclose(result, results["portable"], rtol=1e-4, atol=1e-5)


def test_an_instruction_set_that_cannot_run_is_refused():
    """The error lists what there is."""
    refused = _elsewhere("avx9000", "from gristmill.devices.cpu import _native")
    assert refused.returncode != 0
    assert "avx9000" in refused.stderr
    assert "portable" in refused.stderr


def test_the_type_stub_says_what_the_module_has():
    """``scripts/native_stub.sh`` writes it; a binding that came or went since would show."""
    stub = ast.parse(Path(cpu.__file__).with_name("_native.pyi").read_text())
    stated = {node.name for node in stub.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    stated |= {ast.unparse(node.target) for node in stub.body if isinstance(node, ast.AnnAssign)}
    assert stated == {name for name in dir(_native) if not name.startswith("_")}
    for node in stub.body:
        if isinstance(node, ast.ClassDef) and not issubclass(getattr(_native, node.name), Exception):
            members = {m.name for m in node.body if isinstance(m, ast.FunctionDef) and not m.name.startswith("_")}
            assert members == {name for name in dir(getattr(_native, node.name)) if not name.startswith("_")}


def test_a_profile_names_every_call():
    """When each began, how long it took, and how many operations it was."""
    program, weight, _ = _linear(6, 40, 16, fp32)
    (step,) = CpuDevice().prepare(program.main).plan.steps
    rows = step.emitter.executable.profile([], [_random(6, 40), np.empty((6, 16), np.float32)])
    (number, start, seconds, flops, constants, operands, variant) = rows[0]
    assert len(rows) == 1
    assert (number, flops, variant) == (0, 2 * 6 * 40 * 16, "f32 weights")
    assert start >= 0
    assert seconds > 0
    assert constants >= weight.nbytes
    assert operands == 4 * (6 * 40 + 6 * 16 + 16)  # x, the result and the bias


def test_a_call_that_makes_no_sense_is_an_error():
    """Nothing aborts the process."""
    executable = _native.Executable(1)
    with pytest.raises(_native.NativeError, match="no kernel"):
        executable.call("no such kernel", {}, [], [])
    with pytest.raises(_native.NativeError, match="one size"):
        executable.size([])
    with pytest.raises(_native.NativeError, match="no register"):
        _native.tile_program(1, 1, [("Exp", 0, 0, 0, 0, 0.0, 0.0)], [0])


def test_a_group_does_not_run_a_root_before_what_it_needs():
    """A choice between two products: whichever joins the comparison first, both run."""

    def make(x):
        first = mb.linear(x=x, weight=np.eye(16, dtype=np.float32))
        second = mb.linear(x=first, weight=np.eye(16, dtype=np.float32) * 2)
        return mb.select(cond=positive(x), a=second, b=first)

    def positive(x):
        return mb.greater(x=x, y=np.float32(0))

    def early(x):
        chosen = positive(x)
        first = mb.linear(x=x, weight=np.eye(16, dtype=np.float32))
        second = mb.linear(x=first, weight=np.eye(16, dtype=np.float32) * 2)
        return mb.select(cond=chosen, a=second, b=first)

    x = _random(1, 16)
    for body in (make, early):
        (got,) = Session(build(body, (1, 16)).main, CpuDevice()).run({"x": x}).values()
        np.testing.assert_array_equal(got, np.where(x > 0, 2 * x, x))


def test_an_observer_sees_what_nobody_uses():
    def make(x):
        mb.greater(x=x, y=np.float32(0))
        return mb.relu(x=x)

    x, seen = _random(3), {}
    session = Session(build(make, (3,)).main, CpuDevice())
    session.run({"x": x}, observe=lambda op, results: seen.update({op.op_name: results[0]}))
    np.testing.assert_array_equal(seen["greater"], x > 0)
