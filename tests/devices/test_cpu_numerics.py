"""The CPU device's numerics: `strict` against the reference device over every op's cases, `fast`, and threads.

The contract (docs/architecture.md): a strict device equals the reference device bit for bit on data movement,
comparisons, integers, maxima, casts and + - × ÷ √. Transcendental functions may differ by 1 ulp of float16 or 4 of
float32, and sums by the bound of float32 sums and one ulp of the result.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gristmill.devices.cpu import CpuDevice
from gristmill.devices.reference import ReferenceDevice
from gristmill.ir.builder import mb
from gristmill.ir.opset import iOS18
from gristmill.ir.program import Program
from gristmill.ir.types import fp16, fp32
from gristmill.runtime.session import Session
from tests.op_cases.case import Case
from tests.passes.programs import build
from tests.test_op_cases import VARIANTS

# All other ops are exact, or run by their reference.
TRANSCENDENTAL = {
    *("acos", "asin", "atan", "atanh", "cos", "cosh", "elu", "erf", "exp", "exp2", "gelu", "inverse", "log", "pow"),
    *("rsqrt", "scaled_tanh", "sigmoid", "silu", "sin", "sinh", "softplus", "softplus_parametric", "tan", "tanh"),
}
SUMS = {
    *("avg_pool", "batch_norm", "conv", "conv_transpose", "gru", "instance_norm", "l2_norm", "l2_pool", "layer_norm"),
    *("linear", "lstm", "matmul", "reduce_l1_norm", "reduce_l2_norm", "reduce_mean", "reduce_sum"),
    *("reduce_sum_square", "resize", "resize_bilinear", "rnn", "scaled_dot_product_attention", "softmax"),
    *("upsample_bilinear",),
}

# Each case in each of its types, in the newest opset that it runs in.
NEWEST = {
    name.rpartition("-")[0]: (case, dtype, opset) for case, dtype, opset, name in VARIANTS if case.expected is not None
}


def _run(program: Program, inputs: dict[str, np.ndarray], device) -> list[np.ndarray]:
    return list(Session(program.main, device).run(inputs).values())


def _assert_same_bits(got: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    for mine, theirs in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(mine, theirs)
        if mine.dtype.kind == "f":
            kept = ~np.isnan(mine)  # the sign of a NaN says nothing
            np.testing.assert_array_equal(np.signbit(mine[kept]), np.signbit(theirs[kept]))


@pytest.mark.parametrize(("case", "dtype", "opset"), NEWEST.values(), ids=NEWEST.keys())
def test_strict_equals_the_reference(case: Case, dtype, opset):
    """Within what the contract grants the op, and the same bits with one thread and with three."""
    program, inputs = case.build(dtype, opset)
    got = _run(program, inputs, CpuDevice(3, strict=True))
    wanted = _run(program, inputs, ReferenceDevice())
    if case.op in SUMS:
        # Cases say what their float32 sums may be off by.
        tolerance = case.replace(ulp=1, rtol=0, atol=0) if dtype is fp16 else case
        tolerance.compare(got, wanted, exact_sums=False)
    elif case.op in TRANSCENDENTAL:
        case.replace(ulp=1 if dtype is fp16 else 4, rtol=0, atol=0).compare(got, wanted)
    else:
        _assert_same_bits(got, wanted)
    _assert_same_bits(_run(program, inputs, CpuDevice(1, strict=True)), got)


UNARY = {
    *("abs", "acos", "asin", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "exp2", "floor", "gelu", "inverse"),
    *("log", "relu", "relu6", "round", "rsqrt", "sigmoid", "sign", "silu", "sin", "sinh", "softplus", "softsign"),
    *("sqrt", "square", "tan", "tanh"),
}


@pytest.mark.parametrize("name", sorted(UNARY))
def test_strict_functions_of_every_float16_value(name):
    """All 65,536 of them: the reference's bits, or at most one unit away where the function is transcendental."""
    x = np.arange(65536, dtype=np.uint16).view(np.float16)
    program = build(lambda x: mb.op(name, x=x), x.shape, dtype=fp16)
    with np.errstate(all="ignore"):
        (wanted,) = _run(program, {"x": x}, ReferenceDevice())
    (got,) = _run(program, {"x": x}, CpuDevice(strict=True))
    if name not in TRANSCENDENTAL:
        _assert_same_bits([got], [wanted])
        return
    # Float16 numbers of one sign, infinity included, are as many units apart as their bits.
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    units = [np.where(a.view(np.int16) < 0, -(a.view(np.int16) & 0x7FFF), a.view(np.int16)) for a in (got, wanted)]
    assert np.abs(units[0].astype(int) - units[1])[~np.isnan(got)].max() <= 1


RNG = np.random.default_rng(11)


def _random(*shape: int, dtype=np.float32) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def _chain(x, y):
    """Twelve exact ops, which run as one group."""
    a = mb.add(x=mb.mul(x=x, y=y), y=x)
    b = mb.real_div(x=a, y=mb.add(x=mb.abs(x=y), y=np.float32(0.3).astype(x.dtype.numpy)))
    c = mb.maximum(x=mb.sqrt(x=mb.abs(x=b)), y=mb.sub(x=x, y=b))
    return mb.relu(x=mb.sub(x=mb.square(x=c), y=mb.mul(x=a, y=y)))


def _chain_in(dtype: type, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The same with every result rounded to ``dtype``."""
    third = np.float32(0.3).astype(x.dtype).astype(dtype)
    x, y = x.astype(dtype), y.astype(dtype)
    a = x * y + x
    b = a / (np.abs(y) + third)
    c = np.maximum(np.sqrt(np.abs(b)), x - b)
    return np.maximum(c * c - a * y, 0)


@pytest.mark.parametrize("dtype", [fp16, fp32])
def test_groups_round_each_result_in_strict_and_the_last_in_fast(dtype):
    """Against NumPy, whose float16 and float32 arithmetic rounds each result; bit for bit."""
    x, y = _random(7, 333, dtype=dtype.numpy), _random(7, 333, dtype=dtype.numpy)
    program = build(_chain, x.shape, y.shape, dtype=dtype)
    inputs = {"x": x, "y": y}
    _assert_same_bits(_run(program, inputs, CpuDevice(strict=True)), [_chain_in(dtype.numpy, x, y)])
    _assert_same_bits(_run(program, inputs, CpuDevice()), [_chain_in(np.float32, x, y).astype(dtype.numpy)])


IMAGE, ROWS = (1, 32, 12, 12), (40, 48)
ROOTS: dict[str, tuple[tuple[int, ...], Callable]] = {
    "linear": (ROWS, lambda x, w: mb.linear(x=x, weight=w(48, 48), bias=w(48))),
    "matmul": (ROWS, lambda x, w: mb.matmul(x=x, y=w(48, 48))),
    "product": (ROWS, lambda x, w: mb.matmul(x=x, y=x, transpose_y=True)),
    "conv": (IMAGE, lambda x, w: mb.conv(x=x, weight=w(32, 32, 3, 3), bias=w(32), pad_type="same")),
    "pointwise": (IMAGE, lambda x, w: mb.conv(x=x, weight=w(32, 32, 1, 1))),
    "depthwise": (IMAGE, lambda x, w: mb.conv(x=x, weight=w(32, 1, 3, 3), groups=32, pad_type="same")),
    "transposed": (IMAGE, lambda x, w: mb.conv_transpose(x=x, weight=w(32, 32, 2, 2), strides=[2, 2])),
    "layer_norm": (ROWS, lambda x, w: mb.layer_norm(x=x, axes=[-1], gamma=w(48))),
    "softmax": (ROWS, lambda x, w: mb.softmax(x=x, axis=-1)),
    "pool": (IMAGE, lambda x, w: mb.avg_pool(x=x, kernel_sizes=[3, 3], pad_type="same")),
    "reduce": (ROWS, lambda x, w: mb.reduce_sum(x=x, axes=[1], keep_dims=True)),
}


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("dtype", [fp16, fp32])
def test_strict_epilogues_round_as_ops_of_their_own(root, dtype):
    """What follows a product, convolution or reduction in one call gives the bits that it gives apart."""
    shape, make = ROOTS[root]
    weights: list[np.ndarray] = []

    def weight(*sizes: int) -> np.ndarray:
        weights.append(_random(*sizes, dtype=dtype.numpy) / np.sqrt(np.prod(sizes[1:]), dtype=dtype.numpy))
        return weights[-1].astype(dtype.numpy)

    x = _random(*shape, dtype=dtype.numpy) / 2

    def alone(x):
        return make(x, weight)

    first = build(alone, shape, dtype=dtype)
    given = iter([array.astype(dtype.numpy) for array in weights])

    def followed(x):
        made = make(x, lambda *sizes: next(given))
        return mb.relu(x=_chain(made, made))

    (middle,) = _run(first, {"x": x}, CpuDevice(strict=True))
    wanted = np.maximum(_chain_in(dtype.numpy, middle, middle), 0)
    _assert_same_bits(_run(build(followed, shape, dtype=dtype), {"x": x}, CpuDevice(strict=True)), [wanted])


def _network(x):
    """Every family of kernels, at sizes that make several tasks."""
    w = np.random.default_rng(3)

    def weight(*sizes: int) -> np.ndarray:
        return (w.standard_normal(sizes) / np.sqrt(np.prod(sizes[1:]))).astype(x.dtype.numpy)

    y = mb.silu(x=mb.conv(x=x, weight=weight(32, 24, 3, 3), bias=weight(32), pad_type="same"))
    y = mb.relu(x=mb.conv(x=y, weight=weight(32, 1, 5, 5), groups=32, pad_type="same"))
    y = mb.add(x=mb.conv(x=y, weight=weight(32, 32, 1, 1)), y=y)
    y = mb.conv_transpose(
        x=mb.max_pool(x=y, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid"),
        weight=weight(32, 32, 2, 2),
        strides=[2, 2],
    )
    y = mb.instance_norm(x=mb.avg_pool(x=y, kernel_sizes=[3, 3], pad_type="same"), epsilon=1e-3)
    y = mb.transpose(x=mb.reshape(x=y, shape=[1, 32, -1]), perm=[0, 2, 1])
    y = mb.layer_norm(x=y, axes=[-1], gamma=weight(32), beta=weight(32), epsilon=1e-3)
    q, k, v = (mb.linear(x=y, weight=weight(32, 32)) for _ in range(3))
    y = mb.add(x=mb.scaled_dot_product_attention(query=q, key=k, value=v), y=y)
    y = mb.gelu(x=mb.linear(x=y, weight=weight(128, 32), bias=weight(128)), mode="EXACT")
    scores = mb.softmax(x=mb.matmul(x=y, y=y, transpose_y=True), axis=-1)
    return mb.reduce_mean(x=mb.matmul(x=scores, y=y), axes=[1]), mb.reduce_max(x=y, axes=[-1])


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dtype", [fp16, fp32])
def test_a_whole_model_has_the_same_bits_at_any_number_of_threads(dtype, strict):
    """Tasks are cut differently; sums are not."""
    program = build(_network, (1, 24, 24, 20), dtype=dtype, opset=iOS18)
    x = _random(1, 24, 24, 20, dtype=dtype.numpy)
    alone = _run(program, {"x": x}, CpuDevice(1, strict=strict))
    assert all(np.isfinite(array).all() for array in alone)
    for threads in (2, 3, 5):
        _assert_same_bits(_run(program, {"x": x}, CpuDevice(threads, strict=strict)), alone)
