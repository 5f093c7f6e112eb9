"""Random programs on the CPU device beside the reference device, and what such programs have found.

``python -m tests.devices.random_programs --seconds 3600`` searches for longer; see there.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from gristmill.devices.cpu import CpuDevice
from gristmill.devices.reference import ReferenceDevice
from gristmill.devices.reference.executor import ReferenceExecutable
from gristmill.errors import GristmillError
from gristmill.ir.builder import mb
from gristmill.ir.dims import symbol
from gristmill.ir.opset import iOS18
from gristmill.ir.program import Function, Program
from gristmill.ir.types import DType, fp16, fp32
from gristmill.runtime.session import Session
from tests.devices.random_programs import agreement
from tests.devices.random_programs.agreement import finding
from tests.devices.random_programs.growing import FAMILIES, Growing
from tests.devices.random_programs.shrinking import shrunk
from tests.passes.programs import build, ops

RNG = np.random.default_rng(17)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's means of nothing
def test_both_devices_agree(seed):
    """In fast and strict numerics, at any number of threads, for inputs of other sizes and layouts, in any order."""
    assert finding(Growing(seed).grown()) is None


@pytest.mark.slow
@pytest.mark.timeout(300)  # of which 120 seconds search
def test_both_devices_agree_on_many_more():
    """A crash would be found as well: programs run in a process of their own."""
    command = [sys.executable, "-m", "tests.devices.random_programs", "--seconds", "120", "--seed", "100"]
    searched = subprocess.run(command, capture_output=True, text=True, check=False)
    assert searched.returncode == 0, searched.stdout


# --- the search itself can fail ---------------------------------------------------------------------------------------


class _Lesser(ReferenceDevice):
    """Stands in for the CPU device, and keeps 10 bits of each float32 mantissa, as TF32 does."""

    def __init__(self, threads: int = 1, *, strict: bool = False) -> None:
        pass

    def prepare(self, function: Function) -> ReferenceExecutable:
        return ReferenceExecutable(function, lambda op, operands: list(map(self._short, op.compute(operands))))

    @staticmethod
    def _short(array: np.ndarray) -> np.ndarray:
        return (array.view(np.uint32) & 0xFFFFE000).view(np.float32) if array.dtype == np.float32 else array


def test_less_precision_is_found(monkeypatch):
    monkeypatch.setattr(agreement, "CpuDevice", _Lesser)
    for name in ("linear", "conv", "attention", "reduce", "activation"):
        growing = Growing(1, [name])
        growing.dtype = fp32
        assert finding(growing.grown(draws=6)) is not None, name


def test_every_family_can_grow():
    """None is so particular that its ops are refused each time."""
    for name in FAMILIES:
        assert any(len(ops(Growing(seed, [name]).grown(draws=3).program)) for seed in range(3)), name


def test_what_was_found_is_made_small():
    """Of a program that disagrees because of one op, little more than this op remains."""
    example = next(
        found for seed in range(100) if "tanh" in ops((found := Growing(seed).grown()).program) and len(found.calls) > 1
    )
    small = shrunk(example, lambda other: "tanh" in ops(other.program))
    assert ops(small.program) == ["tanh"]
    assert len(small.calls) == 1
    assert finding(small) is None  # and it is a whole program


# --- what was found ---------------------------------------------------------------------------------------------------


def _random(*shape: int, dtype: DType = fp32) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype.numpy)


def _assert_agreement(program: Program, **inputs: np.ndarray) -> None:
    """Sums of a few terms in float32 beside float64, rounded to the type."""
    (got,), (wanted,) = (
        Session(program.main, device).run(inputs).values() for device in (CpuDevice(1), ReferenceDevice())
    )
    eps = float(np.finfo(wanted.dtype).eps)
    np.testing.assert_allclose(got, wanted, rtol=8 * eps, atol=8 * eps)


@pytest.mark.parametrize("constant", [False, True])
def test_a_vector_meets_the_last_axis_of_an_image(constant):
    """As wide as there are channels, it was taken for a bias."""
    weight, vector = _random(8, 8, 1, 1), _random(8)

    def make(x, y):
        return mb.add(x=mb.conv(x=x, weight=weight), y=vector if constant else y)

    _assert_agreement(build(make, (1, 8, 8, 8), (8,)), x=_random(1, 8, 8, 8), y=vector)


def test_keys_of_heads_in_reverse():
    """Attention reads rows of a larger tensor where they stand, if the rows are all that was cut."""
    cut = {"begin": [0] * 4, "end": [0] * 4, "begin_mask": [True] * 4, "end_mask": [True] * 4, "stride": [1, -1, 1, 1]}

    def make(x, y):
        return mb.scaled_dot_product_attention(query=x, key=mb.slice_by_index(x=y, **cut), value=y)

    shapes = (1, 3, 4, 8), (1, 3, 5, 8)
    _assert_agreement(build(make, *shapes, opset=iOS18), x=_random(*shapes[0]), y=_random(*shapes[1]))


def test_an_image_without_channels_is_normalized():
    """It has no rows that scale and offset would have to fit."""
    nothing = np.zeros(0, np.float32)

    def make(x):
        return mb.instance_norm(x=x, gamma=nothing, beta=nothing, epsilon=1e-3)

    _assert_agreement(build(make, (1, 0, 7, 5)), x=_random(1, 0, 7, 5))


@pytest.mark.parametrize("channels", [1, 4])
def test_factors_of_an_image_of_few_channels(channels):
    """A 1×1 convolution took over the product, and then read it from an image that nobody had made."""
    weight = _random(5, channels, 1, 1)

    def make(x, y):
        return mb.conv(x=mb.mul(x=x, y=y), weight=weight)

    shapes = (2, channels, 3, 7), (2, channels, 1, 1)
    _assert_agreement(build(make, *shapes), x=_random(*shapes[0]), y=_random(*shapes[1]))


@pytest.mark.parametrize("extreme", [np.inf, -np.inf])
def test_infinite_scores_of_float16_make_nan(extreme):
    """∞ - ∞ in the softmax is NaN; it was held back as a number."""

    def make(x, y):
        return mb.scaled_dot_product_attention(query=x, key=y, value=y)

    x, y = _random(1, 2, 3, 8, dtype=fp16), _random(1, 2, 5, 8, dtype=fp16)
    x[0, 1, 1, 3] = extreme
    _assert_agreement(build(make, x.shape, y.shape, dtype=fp16, opset=iOS18), x=x, y=y)


@pytest.mark.parametrize("device", [CpuDevice, ReferenceDevice])
def test_results_belong_to_who_gets_them(device):
    """Also those that are an input, a constant or another output: writing to them changes nothing else."""
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)

    def make(x):
        with mb.nested() as yes:
            mb.output(mb.const(numbers), x)
        with mb.nested() as no:
            mb.output(x, x)
        truth = mb.greater(x=mb.reduce_sum(x=x, axes=[0, 1]), y=np.float32(0))
        return [x, mb.const(numbers), mb.reshape(x=numbers, shape=[6]), *mb.op("cond", pred=truth, blocks=[yes, no])]

    session, x = Session(build(make, (2, 3)).main, device()), np.ones((2, 3), np.float32)
    before = [array.copy() for array in session.run({"x": x}).values()]
    for array in session.run({"x": x}).values():
        array[...] = 77
    assert (x == 1).all()
    np.testing.assert_array_equal(numbers.ravel(), np.arange(6))
    for first, again in zip(before, session.run({"x": x}).values(), strict=True):
        np.testing.assert_array_equal(first, again)
    results = list(session.run({"x": x}).values())
    assert not any(np.shares_memory(a, b) for k, a in enumerate(results) for b in results[:k])


def test_a_transposed_convolution_of_no_images():
    """An empty batch gives an empty batch, on the reference device too."""
    weight = _random(3, 5, 2, 2)
    program = build(lambda x: mb.conv_transpose(x=x, weight=weight), (symbol("n"), 3, 4, 4))
    _assert_agreement(program, x=_random(0, 3, 4, 4))


def test_an_infinite_cell_without_a_peephole():
    """The gates do not see it; the reference multiplied it by a peephole of zeros."""
    weights = {"weight_ih": _random(8, 3), "weight_hh": _random(8, 2)}
    cell = np.array([[np.inf, 1]], np.float32)

    def make(x, y, z):
        return mb.lstm(x=x, initial_h=y, initial_c=z, **weights)[0]

    program = build(make, (2, 1, 3), (1, 2), (1, 2))
    _assert_agreement(program, x=_random(2, 1, 3), y=_random(1, 2), z=cell)


@pytest.mark.parametrize("device", [CpuDevice, ReferenceDevice])
def test_a_transposed_convolution_of_which_less_than_nothing_is_left(device):
    """The reference cut elements from the wrong end."""
    weight = _random(3, 5, 2, 2)
    how = {"pad_type": "custom", "pad": [3, 3, 0, 0]}
    program = build(lambda x: mb.conv_transpose(x=x, weight=weight, **how), (1, 3, symbol("h"), 4))
    with pytest.raises(GristmillError):
        Session(program.main, device()).run({"x": _random(1, 3, 2, 4)})


def test_attention_without_keys_is_zero():
    """A sum of nothing, and no 0/0."""
    shapes = (1, 2, 3, 8), (1, 2, symbol("s"), 8)
    program = build(lambda x, y: mb.scaled_dot_product_attention(query=x, key=y, value=y), *shapes, opset=iOS18)
    _assert_agreement(program, x=_random(1, 2, 3, 8), y=_random(1, 2, 0, 8))


S = symbol("s")
MISFITS = {
    "reshape": (lambda x: mb.reshape(x=x, shape=[-1, 8]), [(S, 4)], [(3, 4)]),
    "space to depth": (lambda x: mb.space_to_depth(x=x, block_size=2), [(1, 2, S, 2)], [(1, 2, 3, 2)]),
    "pixel shuffle": (lambda x: mb.pixel_shuffle(x=x, upscale_factor=2), [(1, S, 2, 2)], [(1, 5, 2, 2)]),
    "split": (lambda x: mb.split(x=x, num_splits=2, axis=0), [(S, 3)], [(3, 3)]),
    "interleave": (
        lambda x, y: mb.concat(values=[x, y], axis=0, interleave=True),
        [(S, 8), (symbol("t"), 8)],
        [(2, 8), (3, 8)],
    ),
    "slice update": (
        lambda x, y: mb.slice_update(x=x, update=y, begin=[1, 0], end=[3, 4]),
        [(5, 4), (S, 4)],
        [(5, 4), (3, 4)],
    ),
    "gather along axis": (
        lambda x, y: mb.gather_along_axis(x=x, indices=mb.cast(x=y, dtype="int32"), axis=1),
        [(S, 4), (3, 2)],
        [(2, 4), (3, 2)],
    ),
    "window of a convolution": (lambda x: mb.conv(x=x, weight=_random(8, 8, 3, 3)), [(1, 8, S, 8)], [(1, 8, 2, 8)]),
    "window over few planes": (lambda x: mb.conv(x=x, weight=_random(8, 3, 3, 3)), [(1, 3, S, 8)], [(1, 3, 2, 8)]),
    "window of each channel": (
        lambda x: mb.conv(x=x, weight=_random(8, 1, 3, 3), groups=8),
        [(1, 8, S, 8)],
        [(1, 8, 2, 8)],
    ),
    "window of Winograd's filters": (
        lambda x: mb.conv(x=mb.cast(x=x, dtype="fp16"), weight=_random(64, 64, 3, 3, dtype=fp16)),
        [(1, 64, S, 64)],
        [(1, 64, 2, 64)],
    ),
    "window of a maximum": (
        lambda x: mb.max_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="valid"),
        [(1, 8, S, 8)],
        [(1, 8, 2, 8)],
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_sizes_that_do_not_fit_are_refused(name):
    """They are declared in symbols and only known when the program runs; elements were left out without a word."""
    make, shapes, sizes = MISFITS[name]
    inputs = {letter: np.zeros(size, np.float32) for letter, size in zip("xy", sizes, strict=False)}
    program = build(make, *shapes, opset=iOS18)
    for device in (ReferenceDevice(), CpuDevice(1)):
        with pytest.raises(GristmillError):
            Session(program.main, device).run(inputs)
