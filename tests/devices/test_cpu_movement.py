"""Padding, moving blocks, indices, sorting and running sums on the CPU device, against NumPy and PyTorch.

The op cases show each op's meaning on small tensors; here are types, layouts and sizes that reach every path.
"""

import numpy as np
import pytest
import torch

from gristmill.devices.cpu import CpuDevice
from gristmill.devices.cpu.plan import NativeStep
from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import ExecutionError
from gristmill.ir.builder import mb
from gristmill.ir.dims import symbol
from gristmill.ir.opset import iOS16, iOS18
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, dtype_of, fp16, fp32, int32
from gristmill.runtime.session import Session

RNG = np.random.default_rng(3)


def _program(make, opset=iOS18, **arrays: np.ndarray) -> Program:
    program = Program()
    kinds = {name: TensorType(dtype_of(array.dtype), array.shape) for name, array in arrays.items()}
    with mb.function(program, "main", kinds, opset) as values:
        made = make(*values)
        mb.output(*(made if isinstance(made, tuple) else (made,)))
    assert all(isinstance(step, NativeStep) for step in CpuDevice().prepare(program.main).plan.steps)
    return program


def _run(make, opset=iOS18, **arrays: np.ndarray) -> list[np.ndarray]:
    """The results of a program that runs natively."""
    return list(Session(_program(make, opset, **arrays).main, CpuDevice(2)).run(arrays).values())


def _images(dtype=np.float32) -> np.ndarray:
    return RNG.normal(size=(2, 24, 6, 8)).astype(dtype)


# --- padding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_padding(mode, dtype):
    x = _images(dtype)
    (got,) = _run(lambda x: mb.pad(x=x, pad=[3, 1, 0, 5], mode=mode, constant_val=dtype(1.5)), x=x)
    arguments = {"constant_values": 1.5} if mode == "constant" else {}
    how = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[mode]
    np.testing.assert_array_equal(got, np.pad(x, [(0, 0), (0, 0), (3, 1), (0, 5)], how, **arguments))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
def test_padding_between_convolutions_keeps_their_layout(mode):
    """Channels last, no transposition in between; against the reference device, sums of 24·9 products of size 1."""
    x = _images()
    weight = (RNG.normal(size=(16, 24, 3, 3)) / 15).astype(np.float32)

    def make(x):
        first = mb.conv(x=x, weight=weight, pad_type="same")
        return mb.conv(x=mb.pad(x=first, pad=[2, 1, 1, 3], mode=mode), weight=weight[:, :16])

    program = _program(make, x=x)
    (step,) = CpuDevice().prepare(program.main).plan.steps
    kernels = [kernel for kernel, _ in step.emitter.calls]
    assert kernels.count("view") == 2 + {"constant": 0, "reflect": 4, "replicate": 4}[mode]  # in, out, and strips
    (wanted,) = Session(program.main, ReferenceDevice()).run({"x": x}).values()
    (got,) = Session(program.main, CpuDevice()).run({"x": x}).values()
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_negative_padding_takes_away():
    x = _images()
    (got,) = _run(lambda x: mb.pad(x=x, pad=[-1, 2, 1, -3], mode="constant"), x=x)
    np.testing.assert_array_equal(got, np.pad(x[:, :, 1:, :-3], [(0, 0), (0, 0), (0, 2), (1, 0)]))


def test_padding_follows_a_symbolic_size():
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (symbol("n", lower=3), 5))}, iOS18) as (x,):
        mb.output(mb.pad(x=x, pad=[2, 1, 0, 0], mode="reflect"))
    session = Session(program.main, CpuDevice())
    for length in (3, 8):
        x = RNG.normal(size=(length, 5)).astype(np.float32)
        (got,) = session.run({"x": x}).values()
        np.testing.assert_array_equal(got, np.pad(x, [(2, 1), (0, 0)], "reflect"))


# --- blocks of an image ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("between_convolutions", [False, True])
def test_pixel_shuffles(dtype, between_convolutions):
    """Against PyTorch, in the plain layout and channels last, where a 1×1 convolution by ones leaves the image."""
    x = _images(dtype)
    identity = np.eye(24, dtype=dtype)[:, :, None, None]

    def image(x):
        return mb.conv(x=x, weight=identity) if between_convolutions else x

    wanted = torch.from_numpy(x)
    (got,) = _run(lambda x: mb.relu(x=mb.pixel_shuffle(x=image(x), upscale_factor=2)), x=x)
    np.testing.assert_array_equal(got, torch.nn.functional.pixel_shuffle(wanted, 2).relu().numpy())
    (got,) = _run(lambda x: mb.pixel_unshuffle(x=image(x), downscale_factor=np.uint32(2)), x=x)
    np.testing.assert_array_equal(got, torch.nn.functional.pixel_unshuffle(wanted, 2).numpy())


def test_blocks_and_their_inverses():
    """Space to depth or batch and back, with padding that is cropped again."""
    x = _images()

    def depth(x):
        return mb.depth_to_space(x=mb.space_to_depth(x=x, block_size=2), block_size=2)

    def batch(x):
        pairs = np.array([[1, 2], [0, 2]], np.int32)
        moved = mb.space_to_batch(x=x, block_shape=[3, 2], paddings=pairs)
        return mb.batch_to_space(x=moved, block_shape=[3, 2], crops=pairs)

    for make in (depth, batch):
        np.testing.assert_array_equal(_run(make, x=x)[0], x)


# --- indices ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32])
def test_gathering_by_batches_vectors_and_elements(dtype):
    x = (RNG.normal(size=(3, 4, 5, 6)) * 10).astype(dtype)
    by_batch = RNG.integers(-5, 5, (3, 4, 2)).astype(np.int32)
    (got,) = _run(lambda x, i: mb.gather(x=x, indices=i, axis=2, batch_dims=2), x=x, i=by_batch)
    wanted = np.take_along_axis(x, np.where(by_batch < 0, by_batch + 5, by_batch)[..., None], 2)
    np.testing.assert_array_equal(got, wanted)
    vectors = np.stack([RNG.integers(0, 4, (3, 7)), RNG.integers(-5, 5, (3, 7))], -1).astype(np.int32)
    (got,) = _run(lambda x, i: mb.gather_nd(x=x, indices=i, batch_dims=1), x=x, i=vectors)
    np.testing.assert_array_equal(got, x[np.arange(3)[:, None], vectors[..., 0], vectors[..., 1]])
    for axis in range(4):
        shape = list(x.shape)
        shape[axis] = 9
        each = RNG.integers(0, x.shape[axis], shape).astype(np.int32)
        (got,) = _run(lambda x, i, axis=axis: mb.gather_along_axis(x=x, indices=i, axis=axis), x=x, i=each)
        np.testing.assert_array_equal(got, np.take_along_axis(x, each, axis))


MODES = {
    "update": lambda out, key, values: out.__setitem__(key, values),
    "add": np.add.at,
    "sub": np.subtract.at,
    "mul": np.multiply.at,
    "div": np.divide.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_scattering_combines_every_update_and_rounds_once(mode, dtype):
    """Indices come many times; against float64, in all forms of the op."""
    data, updates = RNG.normal(size=(6, 5)).astype(dtype), RNG.uniform(0.5, 2, (40, 5)).astype(dtype)
    rows = RNG.integers(0, 6, 40).astype(np.int32)
    wanted = data.astype(np.float64)
    MODES[mode](wanted, rows, updates.astype(np.float64))

    def check(got):
        # Of float16 a rounding to float32 comes first, which may tip the last digit.
        np.testing.assert_allclose(got.astype(np.float64), wanted, rtol=1.01 * float(np.finfo(dtype).eps) / 2)

    check(_run(lambda d, i, u: mb.scatter(data=d, indices=i, updates=u, mode=mode), d=data, i=rows, u=updates)[0])
    vectors = rows[:, None]
    check(_run(lambda d, i, u: mb.scatter_nd(data=d, indices=i, updates=u, mode=mode), d=data, i=vectors, u=updates)[0])
    each = np.repeat(vectors, 5, 1)
    check(
        _run(lambda d, i, u: mb.scatter_along_axis(data=d, indices=i, updates=u, mode=mode), d=data, i=each, u=updates)[
            0
        ]
    )


@pytest.mark.parametrize("depth", [1, 2])
def test_index_vectors_out_of_range_are_errors_or_forgiven(depth):
    """An error until iOS16; since iOS17 reading holds them at the nearest element and writing drops them."""
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    indices = np.array([[1] * depth, [9] * depth, [-9] * depth], np.int32)
    updates = np.full((3, 4)[: 2 if depth == 1 else 1], 7, np.float32)

    def read(x, i):
        return mb.gather_nd(x=x, indices=i)

    def write(x, i, u):
        return mb.scatter_nd(data=x, indices=i, updates=u, mode="update")

    for arguments in ((read, {}), (write, {"u": updates})):
        with pytest.raises(ExecutionError, match="out of range"):
            _run(arguments[0], iOS16, x=x, i=indices, **arguments[1])
    np.testing.assert_array_equal(_run(read, x=x, i=indices)[0], x[([1, 2, 0], [1, 3, 0]) if depth == 2 else [1, 2, 0]])
    wanted = x.copy()
    wanted[(1, 1) if depth == 2 else 1] = 7
    np.testing.assert_array_equal(_run(write, x=x, i=indices, u=updates)[0], wanted)


# --- order and place -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("ascending", [False, True])
def test_sorting_keeps_the_order_of_equals(dtype, axis, ascending):
    """Few different values, zeros of both signs and NaN, against the reference device; all places, 5 and 1."""
    x = RNG.integers(-4, 5, (70, 600)).astype(dtype)
    if dtype is not np.int32:
        x[::3] *= -1  # turns some zeros to -0
        x[RNG.random(x.shape) < 0.01] = np.nan
    program = _program(
        lambda x: (
            mb.argsort(x=x, axis=axis, ascending=ascending),
            *mb.topk(x=x, k=5, axis=axis, ascending=ascending),
            *mb.topk(x=x, k=1, axis=axis, ascending=ascending),
            mb.reduce_argmin(x=x, axis=axis) if ascending else mb.reduce_argmax(x=x, axis=axis),
        ),
        x=x,
    )
    wanted = Session(program.main, ReferenceDevice()).run({"x": x}).values()
    for mine, theirs in zip(Session(program.main, CpuDevice(2)).run({"x": x}).values(), wanted, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_running_sums(axis, exclusive, reverse):
    """Rows and columns over several tiles. Floats are rounded once; integers wrap."""
    x = RNG.normal(size=(3, 700, 150)).astype(np.float32)
    whole = RNG.integers(-(2**31), 2**31, x.shape).astype(np.int32)
    for array, wide in ((x, np.float64), (whole, np.int64)):
        ordered = np.flip(array, axis) if reverse else array
        wanted = np.cumsum(ordered.astype(wide), axis)
        if exclusive:
            wanted = wanted - ordered
        wanted = (np.flip(wanted, axis) if reverse else wanted).astype(array.dtype)
        (got,) = _run(lambda x: mb.cumsum(x=x, axis=axis, exclusive=exclusive, reverse=reverse), x=array)
        np.testing.assert_allclose(got, wanted, rtol=2.0**-23, atol=1e-12)


def test_masks_and_fills_by_place():
    """One-hot vectors along any axis, bands, and tensors of one value, against NumPy."""
    indices, x = np.array([[2, 5, -1], [0, 9, 3]], np.int32), RNG.normal(size=(2, 7, 9)).astype(np.float16)
    hot = indices[..., None] == np.arange(6)
    for axis in (0, 1, 2):
        (got,) = _run(
            lambda i, axis=axis: mb.one_hot(
                indices=i, one_hot_vector_size=6, axis=axis, on_value=np.float16(2.5), off_value=np.float16(-1)
            ),
            i=indices,
        )
        np.testing.assert_array_equal(got, np.moveaxis(np.where(hot, 2.5, -1), -1, axis))
    (got,) = _run(lambda i: mb.one_hot(indices=i, one_hot_vector_size=6), i=indices)
    np.testing.assert_array_equal(got, hot.astype(np.int32))
    (got,) = _run(lambda x: mb.band_part(x=x, lower=2, upper=1), x=x)
    np.testing.assert_array_equal(got, np.triu(np.tril(x, 1), -2))
    for shape in (x.shape, ()):
        (got,) = _run(lambda x: mb.fill_like(ref_tensor=x, value=True), x=np.zeros(shape, np.float16))
        np.testing.assert_array_equal(got, np.ones(shape, bool))


# --- parameters of channels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 7), (2, 7, 7), (2, 7, 5, 6), (2, 7, 3, 4, 5)])
@pytest.mark.parametrize("dtype", [fp16, fp32])
def test_batch_norm_and_prelu_in_any_rank(shape, dtype):
    """Alone and behind an element-wise op, in one call; also where a row is as long as there are channels."""
    x = (RNG.normal(size=shape) * 3 + 50).astype(dtype.numpy)
    mean, variance, gamma, beta = (
        RNG.normal(size=7) + 50,
        RNG.uniform(0.5, 2, 7),
        RNG.normal(size=7),
        RNG.normal(size=7),
    )
    vectors = {"mean": mean, "variance": variance, "gamma": gamma, "beta": beta}
    vectors = {name: vector.astype(dtype.numpy) for name, vector in vectors.items()}
    alpha = RNG.normal(size=7).astype(dtype.numpy)

    def make(x):
        made = mb.batch_norm(x=mb.abs(x=x), **vectors, epsilon=dtype.numpy.type(0.01))
        return made if len(shape) == 2 else mb.prelu(x=made, alpha=alpha)

    program = _program(make, x=x)
    (step,) = CpuDevice().prepare(program.main).plan.steps
    assert [kernel for kernel, _ in step.emitter.calls] == ["elementwise"]
    wide = {name: v.astype(np.float64).reshape(-1, *[1] * (len(shape) - 2)) for name, v in vectors.items()}
    scale = 1 / np.sqrt(wide["variance"] + float(dtype.numpy.type(0.01))) * wide["gamma"]
    wanted = (np.abs(x.astype(np.float64)) - wide["mean"]) * scale + wide["beta"]
    if len(shape) > 2:
        wanted = np.where(wanted > 0, wanted, alpha.astype(np.float64).reshape(wide["mean"].shape) * wanted)
    (got,) = Session(program.main, CpuDevice()).run({"x": x}).values()
    # Three roundings in float32 of terms up to 20, then one to the type.
    np.testing.assert_allclose(got, wanted, atol=4 * 20 * 2.0**-24, rtol=float(np.finfo(dtype.numpy).eps))


def test_batch_norm_and_prelu_finish_a_convolution():
    """As the epilogue of its kernel; behind a product of rank 3, whose columns are no channels, apart."""
    x, weight = _images(), (RNG.normal(size=(9, 24, 1, 1)) / 5).astype(np.float32)
    numbers = [RNG.uniform(0.5, 2, 9).astype(np.float32) for _ in range(3)]

    def finish(x):
        return mb.prelu(x=mb.batch_norm(x=x, mean=numbers[0], variance=numbers[1]), alpha=numbers[2])

    right = RNG.normal(size=(6, 9)).astype(np.float32)
    rows = RNG.normal(size=(2, 9, 6)).astype(np.float32)
    for make, array, calls in (
        (lambda x: finish(mb.conv(x=x, weight=weight)), x, ["view", "conv", "view"]),
        (lambda x: finish(mb.matmul(x=x, y=right)), rows, ["linear", "elementwise"]),
    ):
        program = _program(make, x=array)
        (step,) = CpuDevice().prepare(program.main).plan.steps
        assert [kernel for kernel, _ in step.emitter.calls] == calls
        (wanted,) = Session(program.main, ReferenceDevice()).run({"x": array}).values()
        (got,) = Session(program.main, CpuDevice()).run({"x": array}).values()
        np.testing.assert_allclose(got, wanted, atol=1e-5)  # sums of 24 products of size 1


def test_a_group_never_needs_more_registers_than_there_are():
    """Ops with many parameters count as several."""
    x = _images()
    vectors = [RNG.uniform(0.5, 1, 24).astype(np.float32) for _ in range(4)]

    def make(x):
        for _ in range(20):
            x = mb.batch_norm(x=x, mean=vectors[0], variance=vectors[1], gamma=vectors[2], beta=vectors[3])
        return x

    program = _program(make, x=x)
    (wanted,) = Session(program.main, ReferenceDevice()).run({"x": x}).values()
    (got,) = Session(program.main, CpuDevice()).run({"x": x}).values()
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 5, 6), (1, 2, 3, 5, 6)])
def test_resizing_planes_of_any_rank(shape):
    """Against the reference device, which the op cases hold against PyTorch."""
    x = RNG.normal(size=shape).astype(np.float32)
    program = _program(
        lambda x: mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=3, align_corners=False), x=x
    )
    (wanted,) = Session(program.main, ReferenceDevice()).run({"x": x}).values()
    (got,) = Session(program.main, CpuDevice()).run({"x": x}).values()
    np.testing.assert_allclose(got, wanted, rtol=2.0**-22, atol=1e-7)


def test_interleaved_values_and_joined_scalars():
    a, b = RNG.normal(size=(2, 3, 4, 2, 5)).astype(np.float32)[:2]
    (got,) = _run(lambda a, b: mb.concat(values=[a, b], axis=1, interleave=True), a=a, b=b)
    np.testing.assert_array_equal(got, np.stack([a, b], 2).reshape(3, 8, 2, 5))
    program = Program()
    kinds = {name: TensorType(int32, ()) for name in "ab"}
    with mb.function(program, "main", kinds, iOS18) as (x, y):
        mb.output(mb.concat(values=[x, y], axis=0))
    (got,) = Session(program.main, CpuDevice()).run({"a": np.int32(3), "b": np.int32(-1)}).values()
    np.testing.assert_array_equal(got, [3, -1])


# --- a table that is a weight too ------------------------------------------------------------------------------------


def _embedded(dtype, opset=iOS18):
    """Rows of a table, times the table: a language model's first and last layer. The table is the constant of both."""
    table = RNG.normal(size=(37, 24)).astype(dtype)
    program = Program()
    with mb.function(program, "main", {"i": TensorType(int32, (2, 3))}, opset) as (i,):
        shared = mb.const(val=table)
        rows = mb.gather(x=shared, indices=i, axis=0)
        mb.output(rows, mb.linear(x=rows, weight=shared))
    return table, Session(program.main, CpuDevice(2)), program


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_table_that_is_a_weight_too_is_kept_once(dtype):
    """Its rows come from the packed weight, to the bit, from both ends of the table and of its last panel."""
    table, session, program = _embedded(dtype)
    indices = np.array([[0, 36, 5], [-1, 31, -37]], np.int32)
    rows, _ = session.run({"i": indices}).values()
    np.testing.assert_array_equal(rows, table[indices])
    steps = CpuDevice().prepare(program.main).plan.steps
    kernels = [kernel for step in steps for kernel, _ in step.emitter.calls]
    assert "columns" in kernels
    assert "gather" not in kernels


def test_indices_beyond_a_table_that_is_a_weight_too():
    """As of any table: an error up to iOS 16, the nearest row from iOS 17 on."""
    indices = np.array([[0, 37, 5], [-38, 31, 100]], np.int32)
    table, session, _ = _embedded(np.float32)
    rows, _ = session.run({"i": indices}).values()
    np.testing.assert_array_equal(rows, table[np.array([[0, 36, 5], [0, 31, 36]])])
    _, session, _ = _embedded(np.float32, iOS16)
    with pytest.raises(ExecutionError, match="out of range"):
        session.run({"i": indices})
