"""Convolution, pooling and resizing on the CPU device: what the ops' own cases are too small for.

Expectations are the ops' definitions in float64 (held to PyTorch by the ops' cases), which share no code with the
native kernels.
"""

import numpy as np
import pytest
import torch

from gristmill.devices.cpu import CpuDevice
from gristmill.devices.cpu.lowering import conv as lowering
from gristmill.devices.cpu.plan import NativeStep
from gristmill.devices.reference import ReferenceDevice
from gristmill.ir.builder import mb
from gristmill.ir.dims import symbol
from gristmill.ir.program import Program
from gristmill.ir.types import fp16, fp32
from gristmill.runtime.session import Session
from tests.passes.programs import build

RNG = np.random.default_rng(0)


def _random(*shape: int, dtype=np.float32) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def _run(program: Program, x: np.ndarray, device) -> np.ndarray:
    (got,) = Session(program.main, device).run({"x": x}).values()
    return got


def _calls(program: Program) -> list[tuple[str, list[str]]]:
    plan = CpuDevice().prepare(program.main).plan
    assert all(isinstance(step, NativeStep) for step in plan.steps)
    return [(name, [op.op_name for op in ops]) for step in plan.steps for name, ops in step.emitter.calls]


# name: shape of x, shape of the weight, arguments. Channels leave remainders of vectors and panels; images are larger
# than a task's rows; sums are longer than a block of 256 terms.
CONVOLUTIONS = {
    "first layer": ((1, 3, 45, 33), (20, 3, 7, 7), {"strides": [2, 2], "pad_type": "custom", "pad": [3, 3, 3, 3]}),
    "wider than a block": ((2, 4, 5, 700), (40, 4, 3, 5), {"strides": [1, 2], "dilations": [1, 3]}),
    "one channel of one axis": ((2, 1, 600), (9, 1, 25), {"strides": [2], "pad_type": "custom", "pad": [30, 40]}),
    "beyond the image": ((1, 2, 3, 4), (5, 2, 2, 2), {"pad_type": "custom", "pad": [4, 3, 5, 6]}),
    "few channels, long sums": ((1, 4, 20, 20), (7, 4, 9, 9), {}),
    "long sums": ((2, 70, 13, 11), (33, 70, 3, 3), {"pad_type": "same"}),
    "pointwise": ((2, 300, 9, 5), (17, 300, 1, 1), {}),
    "strided pointwise": ((1, 19, 9, 8), (24, 19, 1, 1), {"strides": [2, 2]}),
    "dilated": ((1, 9, 21, 18), (8, 9, 3, 3), {"dilations": [2, 3], "pad_type": "custom", "pad": [2, 1, 0, 4]}),
    "groups": ((2, 24, 10, 10), (36, 8, 3, 3), {"groups": 3, "pad_type": "same_lower"}),
    "one axis": ((3, 12, 130), (10, 12, 5), {"strides": [3], "pad_type": "same"}),
    "three axes": ((1, 5, 6, 7, 8), (6, 5, 2, 3, 3), {"pad_type": "same"}),
    "depthwise": ((2, 83, 30, 19), (83, 1, 3, 3), {"groups": 83, "pad_type": "same"}),
    "strided depthwise": ((1, 40, 31, 23), (40, 1, 5, 5), {"groups": 40, "strides": [2, 2], "pad_type": "same"}),
    "wide depthwise": ((1, 96, 14, 14), (96, 1, 7, 7), {"groups": 96, "pad_type": "custom", "pad": [3, 3, 3, 3]}),
    "depthwise with multiplier": ((1, 7, 9, 9), (21, 1, 3, 3), {"groups": 7, "dilations": [2, 1]}),
    "depthwise of one axis": ((2, 10, 40), (10, 1, 4), {"groups": 10}),
    "depthwise of three axes": ((1, 6, 5, 6, 7), (6, 1, 3, 3, 3), {"groups": 6, "pad_type": "same"}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("dtype", [fp16, fp32])
def test_convolutions_keep_the_contracts_bound(case, dtype):
    """At most 4·√K·2⁻²⁴·Σ|aᵢbᵢ| from the exact sum, and one rounding of the result."""
    shape, kernel, arguments = CONVOLUTIONS[case]
    x, weight = _random(*shape, dtype=dtype.numpy), _random(*kernel, dtype=dtype.numpy)
    bias = _random(kernel[0], dtype=dtype.numpy)
    program = build(lambda x: mb.conv(x=x, weight=weight, bias=bias, **arguments), shape, dtype=dtype)
    got = _run(program, x, CpuDevice())
    op = next(op for op in program.main.body if op.op_name == "conv")
    exact = op.reference(x.astype(np.float64), weight.astype(np.float64), bias.astype(np.float64))
    magnitude = op.reference(np.abs(x.astype(np.float64)), np.abs(weight.astype(np.float64)), np.abs(bias))
    terms = int(np.prod(kernel[1:])) + 1
    bound = 4 * np.sqrt(terms) * 2.0**-24 * magnitude
    rounding = np.spacing(np.abs(exact).astype(dtype.numpy)).astype(np.float64)
    assert (np.abs(got.astype(np.float64) - exact) <= bound + rounding).all()


TRANSPOSED = {
    "phases": ((1, 9, 7, 10), (9, 11, 4, 4), {"strides": [2, 2], "pad_type": "custom", "pad": [1, 1, 1, 1]}),
    "gaps": ((1, 4, 5, 3), (4, 6, 2, 1), {"strides": [3, 2]}),
    "dilated": ((2, 4, 6, 6), (4, 5, 3, 3), {"strides": [2, 3], "dilations": [3, 2], "pad_type": "same"}),
    "groups": ((1, 12, 5, 5), (12, 3, 3, 3), {"groups": 4, "strides": [2, 1]}),
    "one axis": ((2, 5, 9), (5, 4, 5), {"strides": [4], "pad_type": "custom", "pad": [2, 1]}),
    "three axes": ((1, 3, 4, 3, 4), (3, 2, 2, 3, 3), {"strides": [2, 1, 2]}),
    "longer than its windows": ((1, 3, 4, 4), (3, 5, 2, 2), {"strides": [2, 2], "output_shape": [1, 5, 11, 9]}),
}


@pytest.mark.parametrize("case", TRANSPOSED)
def test_transposed_convolutions(case):
    """Each phase of the result meets its own taps, and places that none reaches are the bias."""
    shape, kernel, arguments = TRANSPOSED[case]
    x, weight = _random(*shape), _random(*kernel)
    bias = _random(kernel[1] * arguments.get("groups", 1))
    program = build(lambda x: mb.conv_transpose(x=x, weight=weight, bias=bias, **arguments), shape)
    wanted = _run(program, x, ReferenceDevice())
    # Sums of up to 300 terms of size 1 in float32.
    np.testing.assert_allclose(_run(program, x, CpuDevice()), wanted, rtol=1e-5, atol=1e-5)
    assert "conv" in [name for name, _ in _calls(program)]


def _image_ops(dtype):
    def make(x):
        return [
            mb.max_pool(x=x, kernel_sizes=[3, 2], strides=[2, 2], pad_type="same"),
            mb.avg_pool(x=x, kernel_sizes=[5, 3], strides=[2, 1], pad_type="custom", pad=[2, 1, 1, 1]),
            mb.avg_pool(x=x, kernel_sizes=[3, 3], pad_type="same", exclude_padding_from_average=True),
            mb.avg_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1] * 4, ceil_mode=True),
            mb.avg_pool(x=x, kernel_sizes=[31, 26], pad_type="valid"),
            mb.l2_pool(x=x, kernel_sizes=[2, 4], strides=[1, 3], pad_type="same"),
            mb.resize_bilinear(x=x, target_size_height=47, target_size_width=9, sampling_mode="UNALIGN_CORNERS"),
            mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
        ]

    return build(make, (2, 37, 31, 26), dtype=dtype)


@pytest.mark.parametrize("dtype", [fp16, fp32])
def test_pooling_and_resizing_of_odd_sizes(dtype):
    """Each result is within one rounding of its type, float32 sums of up to 806 terms within a few."""
    program = _image_ops(dtype)
    x = _random(2, 37, 31, 26, dtype=dtype.numpy)
    got = Session(program.main, CpuDevice()).run({"x": x}).values()
    wanted = Session(program.main, ReferenceDevice()).run({"x": x}).values()
    rtol, atol = (2.0**-10, 1e-7) if dtype is fp16 else (1e-6, 1e-7)
    for mine, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=atol)


def test_the_greatest_of_a_window_may_be_nan():
    """A NaN wins wherever it stands, in whole vectors and in what is left of them."""
    program = build(lambda x: mb.max_pool(x=x, kernel_sizes=[2], strides=[2], pad_type="valid"), (1, 21, 4))
    x = _random(1, 21, 4)
    x[0, 3, 0] = x[0, 20, 3] = np.nan
    np.testing.assert_array_equal(_run(program, x, CpuDevice()), _run(program, x, ReferenceDevice()))


def test_layers_stay_channels_last_and_fuse_what_follows():
    """Planes in, one transposition out, and each convolution finishes its bias, activation and residual."""
    first, second, third = _random(16, 3, 3, 3), _random(16, 1, 3, 3), _random(16, 16, 1, 1)

    def make(x):
        y = mb.relu(x=mb.conv(x=x, weight=first, pad_type="same"))
        z = mb.silu(x=mb.conv(x=y, weight=second, groups=16, pad_type="same"))
        return mb.add(x=mb.conv(x=z, weight=third), y=y)

    program = build(make, (1, 3, 12, 12))
    assert _calls(program) == [
        ("conv_planes", ["conv", "relu"]),
        ("depthwise", ["conv", "silu"]),
        ("conv", ["conv", "add"]),
        ("view", []),
    ]
    x = _random(1, 3, 12, 12)
    # Three float32 sums of up to 27 terms, one after the other.
    np.testing.assert_allclose(_run(program, x, CpuDevice()), _run(program, x, ReferenceDevice()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [fp16, fp32])
@pytest.mark.parametrize("of_each", [False, True], ids=["of all images", "of each image"])
@pytest.mark.parametrize("first", [False, True], ids=["image · factors", "factors · image"])
def test_a_pointwise_convolution_multiplies_what_it_reads_by_factors(dtype, of_each, first):
    """Squeeze-and-excitation: the product is made where rows are read, not in memory."""
    weight = _random(20, 37, 1, 1, dtype=dtype.numpy)

    def make(x, factors):
        y = mb.avg_pool(x=x, kernel_sizes=[1, 1], pad_type="valid")
        scaled = mb.mul(x=factors, y=y) if first else mb.mul(x=y, y=factors)
        return mb.add(x=mb.conv(x=scaled, weight=weight), y=np.ones(1, dtype.numpy))

    shapes = (3, 37, 9, 20), (3 if of_each else 1, 37, 1, 1)
    program = build(make, *shapes, dtype=dtype)
    assert ("conv", ["mul", "conv", "add"]) in _calls(program)
    x = {name: _random(*shape, dtype=dtype.numpy) for name, shape in zip(("x", "y"), shapes, strict=True)}
    x = dict(zip([value.name for value in program.main.inputs], x.values(), strict=True))
    (got,), (wanted,) = (Session(program.main, d).run(x).values() for d in (CpuDevice(), ReferenceDevice()))
    # float16: the reference rounds the factors' products, of 37 of which a sum consists.
    tolerance = 1e-5 if dtype is fp32 else 37 * 2.0**-11
    np.testing.assert_allclose(got.astype(np.float32), wanted.astype(np.float32), rtol=tolerance, atol=tolerance)

    plan = CpuDevice(strict=True).prepare(program.main).plan
    strict = [[op.op_name for op in ops] for step in plan.steps for _, ops in step.emitter.calls]
    assert (["mul", "conv", "add"] in strict) == (dtype is fp32), "strictly, a float16 product is rounded"


def test_a_product_that_others_read_is_made_once():
    weight = _random(8, 8, 1, 1)

    def make(x, factors):
        scaled = mb.mul(x=mb.relu(x=x), y=factors)
        return mb.conv(x=scaled, weight=weight), scaled

    program = build(make, (1, 8, 4, 4), (1, 8, 1, 1))
    assert ["conv"] in [ops for _, ops in _calls(program)]


def test_bits_do_not_depend_on_the_number_of_threads():
    """Tasks are cut differently; sums are not."""
    weight, channelwise = _random(20, 40, 3, 3), _random(20, 1, 3, 3)

    def make(x):
        y = mb.conv(x=x, weight=weight, strides=[2, 1], pad_type="same")
        return mb.avg_pool(x=mb.conv(x=y, weight=channelwise, groups=20), kernel_sizes=[13, 17], pad_type="valid")

    program = build(make, (1, 40, 33, 33))
    x = _random(1, 40, 33, 33)
    results = [_run(program, x, CpuDevice(n)) for n in (1, 2, 3, 5)]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_image_sizes_change_from_call_to_call():
    """One plan serves every size; the padding of `same` follows it."""
    weight, up = _random(10, 3, 5, 5), _random(10, 4, 3, 3)

    def make(x):
        y = mb.conv(x=x, weight=weight, strides=[2, 2], pad_type="same")
        y = mb.max_pool(x=y, kernel_sizes=[3, 3], strides=[1, 1], pad_type="same")
        return mb.conv_transpose(x=y, weight=up, strides=[2, 2], pad_type="same")

    program = build(make, (1, 3, symbol("h"), symbol("w")))
    session = Session(program.main, CpuDevice())
    for height, width in ((8, 8), (31, 5), (6, 40), (31, 5)):
        x = _random(1, 3, height, width)
        (got,) = session.run({"x": x}).values()
        # Float32 sums of 75 and 90 terms.
        np.testing.assert_allclose(got, _run(program, x, ReferenceDevice()), rtol=1e-4, atol=1e-4)


# name: sizes of x, channels that are made, padding. Odd sizes leave part of a tile at two borders; 17 and 19 channels
# leave part of a vector; the last has more tiles than one group, and one task, hold.
FILTERED = {
    "even": ((1, 32, 16, 16), 32, [1, 1, 1, 1]),
    "odd": ((2, 17, 15, 9), 19, [1, 1, 1, 1]),
    "no padding": ((1, 16, 7, 6), 16, [0, 0, 0, 0]),
    "uneven padding": ((1, 16, 5, 5), 16, [2, 0, 1, 3]),
    "one result": ((1, 16, 3, 3), 16, [0, 0, 0, 0]),
    "long sums": ((1, 300, 6, 6), 24, [1, 1, 1, 1]),
    "many tiles": ((1, 24, 250, 190), 130, [1, 1, 1, 1]),
}


@pytest.mark.parametrize("case", FILTERED)
@pytest.mark.parametrize("tile", [2, 4])
def test_winograds_filters_stay_within_half_a_float16_ulp(case, tile, monkeypatch):
    """Of the largest magnitude summed, as the contract says, beside the rounding of the result (design, section 1)."""
    monkeypatch.setattr(lowering, "winograd_tile", lambda op: tile)
    shape, made, padding = FILTERED[case]
    weight, bias = _random(made, shape[1], 3, 3, dtype=np.float16), _random(made, dtype=np.float16)
    x = _random(*shape, dtype=np.float16)
    sizes = {"pad_type": "custom", "pad": padding}
    program = build(lambda x: mb.relu(x=mb.conv(x=x, weight=weight, bias=bias, **sizes)), shape, dtype=fp16)
    assert "winograd" in [name for name, _ in _calls(program)]
    got = _run(program, x, CpuDevice()).astype(np.float64)

    wide = [torch.from_numpy(array.astype(np.float64)) for array in (x, weight, bias)]
    top, bottom, left, right = padding
    padded = torch.nn.functional.pad(wide[0], (left, right, top, bottom))
    wanted = torch.relu(torch.nn.functional.conv2d(padded, wide[1], wide[2])).numpy()
    terms = np.abs(x).max() * np.abs(weight).max()
    largest = np.maximum(np.abs(wanted), float(terms))
    ulp = np.spacing(largest.astype(np.float16)).astype(np.float64)
    assert (np.abs(got - wanted) <= ulp).all()


def test_winograds_filters_are_for_float16_alone():
    """float32 never (the contract names it), nor strict float16, strides, dilations, groups or few channels."""

    def kernels(dtype=fp16, strict=False, channels=32, **sizes):
        weight = _random(32, channels // sizes.get("groups", 1), 3, 3, dtype=dtype.numpy)
        program = build(lambda x: mb.conv(x=x, weight=weight, **sizes), (1, channels, 40, 40), dtype=dtype)
        plan = CpuDevice(strict=strict).prepare(program.main).plan
        return {name for step in plan.steps for name, _ in step.emitter.calls}

    assert "winograd" in kernels()
    for others in (
        kernels(fp32),
        kernels(strict=True),
        kernels(strides=[2, 2]),
        kernels(dilations=[2, 2]),
        kernels(groups=2),
        kernels(channels=3),
    ):
        assert "winograd" not in others
