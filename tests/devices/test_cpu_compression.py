"""Weights that stay compressed: each form gives the bits of the dense product, and takes the memory of its codes."""

import numpy as np
import pytest

from gristmill.devices.cpu import CpuDevice
from gristmill.devices.cpu.plan import NativeStep
from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import ExecutionError, GristmillError
from gristmill.ir.builder import mb
from gristmill.ir.constants import ArrayData
from gristmill.ir.opset import iOS16, iOS18
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp16, fp32, int4, int8, uint1, uint2, uint3, uint4, uint6, uint8
from gristmill.runtime.session import Session

RNG = np.random.default_rng(5)
N, K = 80, 640  # the last panel is not full, nor is the last block of the sum


def integers(dtype, *shape):
    """Codes, with the smallest and the largest among them."""
    array = RNG.integers(dtype.min, dtype.max + 1, shape)
    array.flat[0], array.flat[-1] = dtype.min, dtype.max
    return mb.const(ArrayData(array.astype(dtype.numpy), dtype))


def floats(dtype, *shape):
    return (RNG.uniform(0.001, 0.1, shape) * RNG.choice([-1, 1], shape)).astype(dtype.numpy)


def scaled(codes, dtype, groups, *, offset=False):
    """iOS18: a scale, and perhaps a zero point, for each cell of a grid."""

    def make(shape):
        grid = (*groups, *[1] * (len(shape) - len(groups)))
        zero = integers(codes, *grid) if offset else None
        return mb.constexpr_blockwise_shift_scale(data=integers(codes, *shape), scale=floats(dtype, *grid), offset=zero)

    return make


def affine(codes, dtype, axis=None, zero=None):
    """iOS16: scales and zero points of the whole, or along an axis."""

    def make(shape):
        size = () if axis is None else (shape[axis],)
        zeros = RNG.integers(codes.min, codes.max + 1, size).astype((zero or codes).numpy)
        data = integers(codes, *shape)
        return mb.constexpr_affine_dequantize(
            quantized_data=data, zero_point=zeros, scale=floats(dtype, *size), axis=axis or 0
        )

    return make


def tables(indices, dtype, groups=1):
    """iOS18: a table for each group of columns."""

    def make(shape):
        lut = floats(dtype, groups, *[1] * (len(shape) - 1), 1 << indices.bits, 1)
        return mb.constexpr_lut_to_dense(indices=integers(indices, *shape), lut=lut)

    return make


def packed_table(bits, dtype):
    """iOS16: the indices are bits in a row."""

    def make(shape):
        indices = RNG.integers(0, 256, -(-int(np.prod(shape)) * bits // 8)).astype(np.uint8)
        lut = floats(dtype, 1 << bits)
        return mb.constexpr_lut_to_dense(indices=indices, lut=lut, shape=np.array(shape, np.uint32))

    return make


def scaled_table(shape):
    """A chain of two: a table of int8 whose entries are scaled by column."""
    lut = RNG.integers(-128, 128, (*[1] * len(shape), 16, 1)).astype(np.int8)
    data = mb.constexpr_lut_to_dense(indices=integers(uint4, *shape), lut=lut)
    return mb.constexpr_blockwise_shift_scale(data=data, scale=floats(fp16, shape[0], *[1] * (len(shape) - 1)))


def quantized_table(shape):
    """The other chain of two: the table itself is int8 with a scale."""
    ones = [1] * (len(shape) + 2)
    lut = mb.constexpr_blockwise_shift_scale(data=integers(int8, *ones[2:], 16, 1), scale=floats(fp16, *ones))
    return mb.constexpr_lut_to_dense(indices=integers(uint4, *shape), lut=lut)


def widened(shape):
    """A float16 weight that the model widens."""
    return mb.constexpr_cast(source_val=affine(int8, fp16, axis=0)(shape), output_dtype="fp32")


def sparse(dtype, share=0.25):
    """Some elements at random places, the others zero; among them a minus zero, which is kept as it is."""

    def make(shape):
        mask = (RNG.random(shape) < share).astype(np.uint8)
        mask.flat[0] = mask.flat[-1] = 1
        data = floats(dtype, int(mask.sum()))
        data[1] = -0.0
        return mb.constexpr_sparse_to_dense(nonzero_data=data, mask=mb.const(ArrayData(mask, uint1)))

    return make


def nothing_but_zeros(shape):
    """A weight that was pruned altogether."""
    return mb.constexpr_sparse_to_dense(
        nonzero_data=np.zeros(0, np.float16), mask=mb.const(ArrayData(np.zeros(shape, np.uint8), uint1))
    )


def old_sparse(shape):
    """iOS16: the mask's bits in a row."""
    mask = RNG.random(shape) < 0.4
    return mb.constexpr_sparse_to_dense(
        nonzero_data=floats(fp16, int(mask.sum())),
        mask=np.packbits(mask.reshape(-1), bitorder="little"),
        shape=np.array(shape, np.uint32),
    )


def sparse_table(shape):
    """Elements from a table, at a quarter of the places."""
    mask = mb.const(ArrayData((RNG.random(shape) < 0.25).astype(np.uint8), uint1))
    count = int(mask.constant.numpy().sum())
    lut = floats(fp16, *[1] * len(shape), 16, 1)
    chosen, data = mb.constexpr_lut_to_sparse(indices_mask=mask, indices_nonzero_data=integers(uint4, count), lut=lut)
    return mb.constexpr_sparse_to_dense(nonzero_data=data, mask=chosen)


# What a weight is made by, and how its form reads in a profile.
FORMS = {
    "int8": (scaled(int8, fp16, (1, 1)), "int8 weights"),
    "uint8 with zero points": (scaled(uint8, fp16, (N, 1), offset=True), "uint8 weights"),
    "int8 by column": (affine(int8, fp16, axis=0), "int8 weights"),
    "int8 of float32": (affine(int8, fp32, axis=0), "int8 weights"),
    "uint8 of float32 with whole zero points": (affine(uint8, fp32, axis=0, zero=fp32), "uint8 weights"),
    "int4 in blocks": (scaled(int4, fp16, (N, K // 32)), "int4 weights, blocks of 32"),
    "uint4 in blocks with zero points": (scaled(uint4, fp16, (N, K // 80), offset=True), "uint4 weights, blocks of 80"),
    "int4 in square blocks": (scaled(int4, fp32, (N // 16, K // 64)), "int4 weights, blocks of 64"),
    **{f"a table of {t}": (tables(t, fp16), f"weights from a table of {1 << t.bits}") for t in (uint1, uint2, uint3)},
    **{f"a table of {t}": (tables(t, fp16), f"weights from a table of {1 << t.bits}") for t in (uint4, uint6, uint8)},
    "tables of groups of 16 columns": (tables(uint4, fp16, N // 16), "weights from 5 tables of 16"),
    "tables of groups of 8 columns": (tables(uint2, fp16, N // 8), "weights from 10 tables of 4"),
    "a table of float32": (tables(uint4, fp32), "weights from a table of 16"),
    "packed indices": (packed_table(6, fp16), "weights from a table of 64"),
    "a quantised table": (quantized_table, "weights from a table of 16"),
    "a table's entries scaled": (scaled_table, "int8 weights"),
    "widened": (widened, "int8 weights"),
    "sparse": (sparse(fp16), "sparse weights"),
    "sparse of float32": (sparse(fp32, 0.6), "sparse weights"),
    "sparse, packed mask": (old_sparse, "sparse weights"),
    "sparse of a table": (sparse_table, "sparse weights"),
    "sparse, all zeros": (nothing_but_zeros, "sparse weights"),
}
ZEROS = "uint8 of float32 with whole zero points"
WIDE = {"int8 of float32", ZEROS, "int4 in square blocks", "a table of float32", "widened", "sparse of float32"}
OLD = {"int8 by column", "int8 of float32", ZEROS, "packed indices", "widened", "sparse, packed mask"}


# Forms whose products of few rows scale sums of codes, and how many rows are few.
SCALED = [form for form, (_, name) in FORMS.items() if "int" in name]
FEW = 4


def unrounded(weight):
    """What a weight's codes and scales stand for, in float64."""
    op = weight.producer
    if op.op_type == "constexpr_cast":
        return unrounded(op.source_val)
    if op.op_type == "constexpr_affine_dequantize":
        data, scale, zero = (operand.constant.numpy() for operand in (op.quantized_data, op.scale, op.zero_point))
        along = (-1, 1) if np.ndim(scale) else ()
        return (data.astype(np.float64) - zero.astype(np.float64).reshape(along)) * scale.reshape(along).astype(
            np.float64
        )
    data = decoded(op.data) if op.data.constant is None else op.data.constant.numpy()
    grid = [data.shape[axis] // size for axis, size in enumerate(op.scale.shape)]
    spread = [
        np.kron(v.constant.numpy().astype(np.float64), np.ones(grid)) for v in (op.scale, op.offset) if v is not None
    ]
    return (data.astype(np.float64) - (spread[1] if len(spread) == 2 else 0)) * spread[0]


def program_of(make, shape, product, x, opset=iOS18):
    """A product with a weight; the decoded weight is the second result."""
    program = Program()
    with mb.function(program, "main", {"x": x}, opset) as (value,):
        weight = make(shape)
        mb.output(product(value, weight))
    return program, weight


def decoded(weight):
    """The dense weight, by the ops' references."""
    op = weight.producer
    operands = {}
    for name, value in op.operands.items():
        made = value.producer is not None and value.constant is None
        operands[name] = decoded(value) if made else value.constant.numpy()
    return op.compute(operands)[op.results.index(weight)]


def first(shape, count):
    """A mask that lets the first elements through."""
    return mb.const(ArrayData((np.arange(np.prod(shape)) < count).reshape(shape).astype(np.uint8), uint1))


def linear(x, weight):
    return mb.linear(x=x, weight=weight)


def matmul(x, weight):
    return mb.matmul(x=x, y=weight, transpose_y=True)


def executable(program, *, strict=False):
    made = CpuDevice(strict=strict).prepare(program.main)
    assert all(isinstance(step, NativeStep) for step in made.plan.steps)
    return made


def both(make, shape, product, x, opset=iOS18):
    """Plans of a product with a compressed weight, and with the same weight dense."""
    kind = TensorType(fp16 if x.dtype == np.float16 else fp32, x.shape)
    program, weight = program_of(make, shape, product, kind, opset)
    array = decoded(weight)
    other, _ = program_of(lambda shape: mb.const(array), shape, product, kind, opset)
    return program, other


def held(program):
    return sum(prepared.nbytes for prepared in executable(program)._prepared.values())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [1, 2, 5, 30])  # few rows and their remainders, and rows that share a decoded block
def test_a_product_has_the_bits_of_the_dense_one(form, rows):
    """No tolerance: decoding gives the same floats, and the sums run in the same order.

    Unless few rows scale sums of codes, which `strict` forbids.
    """
    make, name = FORMS[form]
    x = RNG.normal(size=(rows, K)).astype(np.float32 if form in WIDE else np.float16)
    program, other = both(make, (N, K), linear, x, iOS16 if form in OLD else iOS18)
    strict = rows <= FEW and form in SCALED
    plan = executable(program, strict=strict)
    (call,) = [call for call in plan.profile({"x": x}) if call.kernel == "linear"]
    assert call.variant == name
    np.testing.assert_array_equal(plan.run({"x": x})[0], executable(other, strict=strict).run({"x": x})[0])


@pytest.mark.parametrize("form", SCALED)
@pytest.mark.parametrize("rows", range(1, FEW + 1))
def test_few_rows_scale_sums_of_codes(form, rows):
    """As precise as float32 sums of the numbers that codes stand for, in float64 and unrounded here.

    The contract's bound for sums in float32, and a rounding of each scaled sum more; float16 results round once more.
    """
    x = RNG.normal(size=(rows, K)).astype(np.float32 if form in WIDE else np.float16)
    kind = TensorType(fp16 if x.dtype == np.float16 else fp32, x.shape)
    program, weight = program_of(FORMS[form][0], (N, K), linear, kind, iOS16 if form in OLD else iOS18)
    numbers = unrounded(weight)
    got = executable(program).run({"x": x})[0].astype(np.float64)
    wanted, sizes = x.astype(np.float64) @ numbers.T, np.abs(x.astype(np.float64)) @ np.abs(numbers).T
    rounding = 2.0**-11 if x.dtype == np.float16 else 2.0**-24
    assert (np.abs(got - wanted) <= (4 * K**0.5 + 1) * 2.0**-24 * sizes + rounding * np.abs(wanted)).all()


@pytest.mark.parametrize("form", ["int8", "int4 in blocks", "a table of uint4", "tables of groups of 8 columns"])
def test_a_product_agrees_with_the_reference(form):
    """Sums of 640 products in float32, rounded to float16 once."""
    x = RNG.normal(size=(7, K)).astype(np.float16)
    program, _ = program_of(FORMS[form][0], (N, K), matmul, TensorType(fp16, x.shape))
    got, wanted = (Session(program.main, d).run({"x": x}) for d in (CpuDevice(), ReferenceDevice()))
    for name, array in wanted.items():
        np.testing.assert_allclose(got[name].astype(np.float64), array, rtol=2.0**-10, atol=2e-3)


SHAPES = {"1x1": (N, 64, 1, 1), "3x3": (N, 64, 3, 3), "1x5": (N, 64, 1, 5)}


@pytest.mark.parametrize("kernel", SHAPES)
@pytest.mark.parametrize(
    "form", ["int8", "int4 in blocks of channels", "a table of uint4", "a scale for each tap", "sparse"]
)
def test_convolutions_read_compressed_weights(kernel, form):
    """The rows of a convolution's matrix are taps, then channels; with strides, so that no Winograd filter has it."""
    shape = SHAPES[kernel]
    make = {
        "int8": scaled(int8, fp16, (N, 1)),
        "int4 in blocks of channels": scaled(int4, fp16, (N, 2)),
        "a table of uint4": tables(uint4, fp16),
        "a scale for each tap": scaled(int8, fp16, (N, 1, *shape[2:])),
        "sparse": sparse(fp16),
    }[form]
    x = RNG.normal(size=(1, 64, 9, 11)).astype(np.float16)

    def conv(x, weight):
        return mb.conv(x=x, weight=weight, strides=[2, 1], pad_type="same")

    program, other = both(make, shape, conv, x)
    plan = executable(program)
    (call,) = [call for call in plan.profile({"x": x}) if call.kernel == "conv"]
    assert "weights" in call.variant
    np.testing.assert_array_equal(plan.run({"x": x})[0], executable(other).run({"x": x})[0])


@pytest.mark.parametrize(
    ("make", "bits"),
    [
        (scaled(int8, fp16, (N, 1)), 8),
        (scaled(int4, fp16, (N, 1)), 4),
        (scaled(int4, fp16, (N, K // 32)), 4.5),
        (tables(uint4, fp16), 4),
        (tables(uint6, fp16), 6),
        (tables(uint3, fp16), 3),
        (tables(uint1, fp16), 1),
        (sparse(fp16), 5),
    ],
)
def test_memory_is_that_of_the_codes(make, bits):
    """In bits of a weight, beside 16 of float16; a few rows of scales, a table or the places of runs more."""
    x = RNG.normal(size=(1, K)).astype(np.float16)
    program, other = both(make, (N, K), linear, x)
    # Which elements are zero is drawn. Each 64 rows of a panel have a place of 64 bits: half a bit of a weight where
    # panels are the narrowest, 2 columns.
    assert bits / 16 - 0.005 <= held(program) / held(other) <= bits / 16 + 0.5 / 16 + 0.005


@pytest.mark.parametrize(
    "make",
    [
        affine(int8, fp16, axis=1),  # a scale for each row: as many scales as rows is no matter of blocks
        lambda shape: mb.constexpr_affine_dequantize(
            quantized_data=integers(int8, *shape), zero_point=np.float32(0.5), scale=np.float16(0.1), axis=0
        ),
        lambda shape: mb.constexpr_lut_to_dense(
            indices=integers(uint2, shape[0], shape[1] // 2), lut=floats(fp16, 1, 1, 4, 2), vector_axis=1
        ),
        sparse(fp16, 0.97),  # bits and elements would take more than all elements do
    ],
)
def test_other_forms_are_decoded_once(make):
    """A scale for each row, zero points between integers, entries of several elements, and few zeros."""
    x = RNG.normal(size=(3, K)).astype(np.float16)
    program, other = both(make, (N, K), linear, x)
    plan = executable(program)
    np.testing.assert_array_equal(plan.run({"x": x})[0], executable(other).run({"x": x})[0])
    assert held(program) == held(other)


def test_a_weight_that_other_ops_read_is_decoded_for_them():
    """Once, before the program runs: nothing of it is left to the reference device."""
    x = RNG.normal(size=(N, K)).astype(np.float16)
    program, _ = program_of(FORMS["int8"][0], (N, K), lambda x, w: mb.add(x=x, y=w), TensorType(fp16, x.shape))
    wanted = Session(program.main, ReferenceDevice()).run({"x": x})
    np.testing.assert_array_equal(executable(program).run({"x": x})[0], *wanted.values())


def test_observers_see_the_decoded_weight():
    """And the results of everything else, as on the reference device."""
    x = np.ones((2, K), np.float16)
    program, weight = program_of(FORMS["int8"][0], (N, K), linear, TensorType(fp16, x.shape))
    seen = {}
    executable(program).run({"x": x}, lambda op, results: seen.update({op.op_name: results[0]}))
    np.testing.assert_array_equal(seen["constexpr_blockwise_shift_scale"], decoded(weight))
    assert set(seen) == {"constexpr_blockwise_shift_scale", "linear"}


@pytest.mark.parametrize("dtype", [int4, uint4])
def test_codes_beyond_their_bits_are_an_error(dtype):
    """A file cannot hold them, an array can: no table is read past its end."""
    codes = np.zeros((N, K), dtype.numpy)
    codes[-1, -1] = 16

    def make(shape):
        if dtype is uint4:
            return mb.constexpr_lut_to_dense(indices=mb.const(ArrayData(codes, dtype)), lut=floats(fp16, 1, 1, 16, 1))
        return mb.constexpr_blockwise_shift_scale(data=mb.const(ArrayData(codes, dtype)), scale=floats(fp16, 1, 1))

    program, _ = program_of(make, (N, K), linear, TensorType(fp16, (1, K)))
    with pytest.raises(ExecutionError, match="does not fit into its bits"):
        CpuDevice().prepare(program.main)


def test_a_mask_that_lets_more_through_than_there_is_is_an_error():
    def make(shape):
        return mb.constexpr_sparse_to_dense(nonzero_data=floats(fp16, 100), mask=first(shape, 101))

    program, _ = program_of(make, (N, K), linear, TensorType(fp16, (1, K)))
    with pytest.raises(GristmillError, match="mask lets through"):
        CpuDevice().prepare(program.main)
