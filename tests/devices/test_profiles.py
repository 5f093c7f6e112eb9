"""Numerics profiles: what the simulated Neural Engine and GPU compute.

The oracle for float16 sums is plain Python: one product and one sum after the other, each sum rounded with ``struct``.
"""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from gristmill.devices.float16 import float16_array, round_to_float16
from gristmill.devices.gpu import SimulatedGpuDevice
from gristmill.devices.neural_engine import NeuralEngineDevice
from gristmill.devices.profiles import PROFILES, NumericsProfile, profile_of, profiles_of
from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import InputError
from gristmill.ir.builder import mb
from gristmill.ir.opset import iOS18
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp16, fp32
from gristmill.runtime.session import Session

RNG = np.random.default_rng(21)
NARROW = "neural_engine_float16"
WIDE = "neural_engine_float32"


def run(device, make, *arrays):
    program = Program()
    kinds = {f"x{k}": TensorType(fp16 if a.dtype == np.float16 else fp32, a.shape) for k, a in enumerate(arrays)}
    with mb.function(program, "main", kinds, iOS18) as values:
        mb.output(make(*values))
    (result,) = Session(program.main, device).run(dict(zip(kinds, arrays, strict=True))).values()
    return result


def halves(*shape):
    """Float16 numbers of few bits, whose products and sums float32 holds before they are rounded."""
    return (RNG.integers(-40, 41, shape) / 16).astype(np.float16)


def rounded(x: float) -> float:
    """The nearest float16 number, by the standard library."""
    try:
        return struct.unpack("e", struct.pack("e", x))[0]
    except OverflowError:
        return math.copysign(math.inf, x)


def summed(terms, start=0.0):
    """The sum with a rounding after each step."""
    for term in terms:
        start = rounded(start + float(term))
    return start


def test_rounding_is_that_of_a_cast():
    """All float16 numbers, their neighbours in float32, the middles between them, and any bits."""
    with np.errstate(all="ignore"):
        half = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
        half = half[~np.isnan(half)]
        any_bits = RNG.integers(0, 1 << 32, 100_000, dtype=np.uint32).view(np.float32)
        middles = (half[:-1] + half[1:]) / 2
        x = np.concatenate([half, np.nextafter(half, np.float32(0)), np.nextafter(half, half * 2), middles, any_bits])
        wanted = x.astype(np.float16).astype(np.float32)
        numbers = np.abs(wanted) <= 65504  # without infinities, which take the other way
        np.testing.assert_array_equal(round_to_float16(x), wanted)
        np.testing.assert_array_equal(round_to_float16(x[numbers]), wanted[numbers])


SIZES = {"small": 7, "long": 700}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_products_accumulate_in_float16_one_after_the_other(size):
    """linear, matmul with its operands turned, and conv, whose sum goes over channels, then the window."""
    x, w = halves(3, size), halves(5, size)
    wanted = [[summed(a * b for a, b in zip(row, column, strict=True)) for column in wide(w)] for row in wide(x)]
    device = NeuralEngineDevice(NARROW)
    np.testing.assert_array_equal(run(device, lambda x: mb.linear(x=x, weight=w), x), wanted)
    turned = run(device, lambda x, y: mb.matmul(x=x, y=y, transpose_x=True), np.ascontiguousarray(x.T), w.T.copy())
    np.testing.assert_array_equal(turned, wanted)
    image, kernel = x.reshape(3, size, 1, 1), w.reshape(5, size, 1, 1)
    np.testing.assert_array_equal(run(device, lambda x: mb.conv(x=x, weight=kernel), image)[..., 0, 0], wanted)
    exact = wide(x) @ wide(w).T
    np.testing.assert_array_equal(run(NeuralEngineDevice(WIDE), lambda x: mb.linear(x=x, weight=w), x), half(exact))


def wide(x):
    return x.astype(np.float64)


def half(x):
    return x.astype(np.float16)


def test_sums_of_other_ops_accumulate_in_float16_too():
    """Reductions, running sums, pooling and the mean and variance of a normalisation, step by step."""
    device, x = NeuralEngineDevice(NARROW), halves(2, 300) + np.float16(1)
    totals = [summed(row) for row in wide(x)]
    np.testing.assert_array_equal(run(device, lambda x: mb.reduce_sum(x=x, axes=[1]), x), totals)
    means = [rounded(total / 300) for total in totals]
    np.testing.assert_array_equal(run(device, lambda x: mb.reduce_mean(x=x, axes=[1]), x), means)
    squares = [summed(rounded(a * a) for a in row) for row in wide(x)]
    np.testing.assert_array_equal(run(device, lambda x: mb.reduce_sum_square(x=x, axes=[1]), x), squares)
    running = [[summed(row[: k + 1]) for k in range(300)] for row in wide(x)]
    np.testing.assert_array_equal(run(device, lambda x: mb.cumsum(x=x, axis=1), x), running)
    pooled = run(device, lambda x: mb.avg_pool(x=x, kernel_sizes=[300], pad_type="valid"), x[None])
    np.testing.assert_array_equal(pooled[0, :, 0], means)

    def normalised(row, mean):
        apart = [rounded(a - mean) for a in row]
        variance = rounded(summed(rounded(a * a) for a in apart) / 300)
        sigma = rounded(math.sqrt(rounded(variance + rounded(0.01))))
        return [rounded(a / sigma) for a in apart]

    for epsilon in (np.float16(0.01), np.float32(np.float16(0.01))):  # an attribute, whatever its type
        got = run(device, lambda x, e=epsilon: mb.layer_norm(x=x, axes=[1], epsilon=e), x)
        np.testing.assert_array_equal(got, [normalised(*pair) for pair in zip(wide(x), means, strict=True)])


def test_what_a_narrow_sum_does_to_a_model():
    """An RMS norm of activations around 300 overflows where float16 holds the squares; in float32 it does not."""
    x = (RNG.standard_normal((1, 512)) * 300).astype(np.float16)

    def norm(x):
        return mb.layer_norm(x=x, axes=[1], epsilon=np.float16(1e-5))

    assert not np.any(run(NeuralEngineDevice(NARROW), norm, x))  # divided by infinity
    exact = (wide(x) - wide(x).mean()) / wide(x).std()
    np.testing.assert_allclose(run(NeuralEngineDevice(WIDE), norm, x), exact, rtol=2**-10, atol=2**-12)


def test_functions_of_one_element_are_rounded_once():
    """All float16 numbers, in both profiles: the reference device's bits, where nothing is flushed."""
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    for op in ("exp", "tanh", "gelu", "sigmoid", "rsqrt", "sin"):
        wanted = run(ReferenceDevice(), lambda x, op=op: mb.op(op, x=x), x)
        for device in (NeuralEngineDevice(WIDE), SimulatedGpuDevice("gpu_float16")):
            np.testing.assert_array_equal(run(device, lambda x, op=op: mb.op(op, x=x), x), wanted)


def test_subnormal_numbers_are_flushed_where_the_profile_says_so():
    """As operands and as results of what computes; what only moves them, or compares, keeps them."""
    tiny, least = np.float16(2.0**-20), np.float16(2.0**-14)
    x = np.array([tiny, -tiny, least, 1], np.float16)
    flushing, keeping = NeuralEngineDevice(NARROW), NeuralEngineDevice(WIDE)
    thousandfold = run(flushing, lambda x: mb.mul(x=x, y=np.float16(1024)), x)
    np.testing.assert_array_equal(thousandfold, [0, 0, 2.0**-4, 1024])
    assert np.signbit(thousandfold).tolist() == [False, True, False, False]
    np.testing.assert_array_equal(run(flushing, lambda x: mb.mul(x=x, y=np.float16(0.5)), x), [0, 0, 0, 0.5])
    np.testing.assert_array_equal(run(keeping, lambda x: mb.mul(x=x, y=np.float16(0.5)), x), wide(x) / 2)
    np.testing.assert_array_equal(run(flushing, lambda x: mb.reverse(x=x, axes=[0]), x), x[::-1])
    np.testing.assert_array_equal(run(flushing, lambda x: mb.greater(x=x, y=np.float16(0)), x), x > 0)


def test_float32_is_not_touched_by_a_profile_of_float16():
    """On the GPU with the least precise profile: a sum that float16, TF32 and bfloat16 get wrong, and subnormals."""
    device = SimulatedGpuDevice("gpu_float16")
    x = np.array([[1 + 2.0**-23, 1e30, -1e30, 1e-40]], np.float32)
    assert run(device, lambda x: mb.reduce_sum(x=mb.relu(x=x)), x[:, :1]) == np.float32(1 + 2.0**-23)
    np.testing.assert_array_equal(run(device, lambda x: mb.mul(x=x, y=np.float32(1)), x), x)
    weight = np.array([[1, 0, 0, 0], [0, 0, 0, 1]], np.float32)
    np.testing.assert_array_equal(run(device, lambda x: mb.linear(x=x, weight=weight), x), [[x[0, 0], x[0, 3]]])


def test_numpy_code_computes_in_float16_arrays_as_it_stands():
    """Whatever form a definition takes: einsum, in-place operators, split, where and concatenate."""
    a, b = halves(3, 40), halves(40, 2)
    x, y = float16_array(a), float16_array(b)
    wanted = [[summed(p * q for p, q in zip(row, column, strict=True)) for column in wide(b).T] for row in wide(a)]
    np.testing.assert_array_equal(x @ y, wanted)
    np.testing.assert_array_equal(np.einsum("ij,jk->ik", x, y), wanted)
    into = np.zeros((3, 40))  # of another type, as some definitions begin
    into += x
    into += np.where(x > 0, x, 0)
    assert into.dtype == np.float64
    np.testing.assert_array_equal(into, half(wide(a) + np.maximum(wide(a), 0)))
    joined = np.concatenate(np.split(x, 2, axis=1))
    assert float(joined.sum()) == summed(wide(joined).reshape(-1))
    assert np.sum(float16_array(np.full(5000, 1, np.float16))) == 2048


def test_profiles_are_labelled_models():
    """Each has a basis, and says of itself that it is no statement of Apple's."""
    for name, profile in PROFILES.items():
        assert profile_of(name) is profile
        assert profile.basis
        assert "not its own numbers" in str(profile)
    assert [profiles_of(unit)[0].name for unit in ("neural_engine", "gpu")] == [WIDE, "gpu_float32"]
    mine = NumericsProfile("mine", "gpu", fp16, flushes_subnormals=True)
    assert SimulatedGpuDevice(mine).profile is mine
    with pytest.raises(InputError, match="no such numerics profile"):
        profile_of("tpu")
    with pytest.raises(InputError, match="another unit"):
        NeuralEngineDevice("gpu_float32")
    with pytest.raises(InputError, match="not here"):
        NumericsProfile("mine", "cpu", fp16, flushes_subnormals=False)
