"""What random programs are made of: a function for each family of ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.errors import GristmillError
from gristmill.ir.builder import mb
from gristmill.ir.constants import ArrayData
from gristmill.ir.program import Value
from gristmill.ir.types import (
    DType,
    bool_,
    fp16,
    int4,
    int8,
    int16,
    int32,
    uint1,
    uint2,
    uint4,
    uint8,
)
from tests.devices.random_programs.growing import FLOATS, Growing, family

NUMBERS = (*FLOATS, int32)

# --- element by element -----------------------------------------------------------------------------------------------

SMOOTH = (
    "cos",
    "erf",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "sin",
    "softplus",
    "softsign",
    "square",
    "tanh",
    "abs",
    "atan",
)
JUMPS = ("ceil", "floor", "round", "sign")


@family(8)
def activation(g: Growing) -> Value:
    x = g.value()
    alpha, beta = g.choose.choice((0.1, 0.5, 1.0, 2.0)), g.choose.choice((-0.5, 0.25, 1.0, 3.0))
    makers: list[Any] = [lambda name=name: mb.op(name, x=x) for name in SMOOTH]
    makers += [
        lambda: mb.gelu(x=x, mode=g.choose.choice(("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"))),
        lambda: mb.elu(x=x, alpha=alpha),
        lambda: mb.leaky_relu(x=x, alpha=alpha),
        lambda: mb.linear_activation(x=x, alpha=alpha, beta=beta),
        lambda: mb.sigmoid_hard(x=x, alpha=alpha, beta=beta),
        lambda: mb.scaled_tanh(x=x, alpha=alpha, beta=beta),
        lambda: mb.clamped_relu(x=x, alpha=alpha, beta=beta),
        lambda: mb.clip(x=x, alpha=-alpha, beta=alpha),
        lambda: mb.threshold(x=x, alpha=beta),
        lambda: mb.exp(x=mb.minimum(x=x, y=g.number(x.dtype, 3.0))),
        lambda: mb.exp2(x=mb.minimum(x=x, y=g.number(x.dtype, 3.0))),
        lambda: mb.log(x=mb.abs(x=x), epsilon=0.125),
        lambda: mb.sqrt(x=mb.abs(x=x)),
        lambda: mb.rsqrt(x=mb.abs(x=x), epsilon=0.125),
        lambda: mb.inverse(x=mb.abs(x=x), epsilon=0.125),
        lambda: mb.sinh(x=mb.tanh(x=x)),
        lambda: mb.cosh(x=mb.tanh(x=x)),
        lambda: mb.tan(x=mb.tanh(x=x)),
        lambda: mb.asin(x=mb.mul(x=mb.tanh(x=x), y=g.number(x.dtype, 0.75))),
        lambda: mb.acos(x=mb.mul(x=mb.tanh(x=x), y=g.number(x.dtype, 0.75))),
        lambda: mb.atanh(x=mb.mul(x=mb.tanh(x=x), y=g.number(x.dtype, 0.75))),
    ]
    return g.choose.choice(makers)()


@family(1.5)
def per_channel(g: Growing) -> Value:
    x = g.value(ranks=(3, 4, 5))
    c = g.sized(x, 1)
    alpha, beta = g.numbers(x.dtype, c), g.numbers(x.dtype, c)
    match g.choose.randrange(3):
        case 0:
            return mb.prelu(x=x, alpha=alpha)
        case 1:
            return mb.softplus_parametric(x=x, alpha=alpha, beta=beta)
    return mb.batch_norm(
        x=x,
        mean=alpha,
        variance=np.abs(g.numbers(x.dtype, c)) + np.asarray(0.25, x.dtype.numpy),
        gamma=beta,
        beta=alpha if g.chance() else None,
    )


@family(1.5)
def jump(g: Growing) -> Value:
    x = g.value(exact=True)
    return mb.thresholded_relu(x=x, alpha=0.5) if g.chance(0.2) else mb.op(g.choose.choice(JUMPS), x=x)


def other(g: Growing, x: Value, *, exact: bool = False) -> Any:
    """A second operand that broadcasts with the first: a value, or a constant."""
    same = [v for v in g.pool if v.dtype == x.dtype and v.shape == x.shape and (not exact or v in g.exact)]
    kind = g.choose.randrange(6)
    if same and kind < 2:
        return g.choose.choice(same)
    if kind == 2:
        return g.numbers(x.dtype)
    dims = [1 if g.chance(0.4) else dim for dim in x.shape][g.choose.choice((0, 0, 0, 1, 2)) :]
    fixed = all(isinstance(dim, int) for dim in dims)
    return g.numbers(x.dtype, *dims) if fixed and kind < 5 else g.input(x.dtype, dims)


@family(10)
def two_operands(g: Growing) -> Value:
    x = g.value(NUMBERS)
    y = other(g, x)
    if not x.dtype.is_float:
        return mb.op(g.choose.choice(("add", "sub", "mul", "maximum", "minimum")), x=x, y=y)
    name = g.choose.choice(("add", "add", "sub", "mul", "mul", "maximum", "minimum", "real_div", "pow"))
    if name == "real_div":
        y = mb.add(x=mb.abs(x=y), y=g.number(x.dtype, 0.5))
    if name == "pow":
        x, y = mb.add(x=mb.abs(x=x), y=g.number(x.dtype, 0.5)), mb.tanh(x=y)
    return mb.op(name, x=y, y=x) if g.chance(0.3) else mb.op(name, x=x, y=y)


@family(1)
def whole_division(g: Growing) -> Value:
    x = g.value(NUMBERS, exact=True)
    y = other(g, x, exact=True)
    divisor = mb.maximum(x=mb.abs(x=y), y=g.number(x.dtype, 1))
    return mb.op(g.choose.choice(("floor_div", "mod")), x=x, y=divisor)


COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")


@family(3)
def comparison(g: Growing) -> Value:
    x = g.value(NUMBERS, exact=True)
    y = other(g, x, exact=True)
    return mb.op(g.choose.choice(COMPARISONS), x=x, y=y)


@family(1)
def logic(g: Growing) -> Value:
    x = g.value((bool_,))
    if g.chance(0.3):
        return mb.logical_not(x=x)
    return mb.op(g.choose.choice(("logical_and", "logical_or", "logical_xor")), x=x, y=other(g, x))


@family(2)
def choice(g: Growing) -> Value:
    cond = g.value((bool_,))
    same = [v for v in g.pool if v.shape == cond.shape and v.dtype in NUMBERS]
    a = g.choose.choice(same) if same and g.chance(0.8) else g.input(g.dtype, cond.shape)
    return mb.select(cond=cond, a=a, b=other(g, a))


@family(3)
def convert(g: Growing) -> Value:
    to = g.choose.choice(("fp16", "fp32", "fp16", "fp32", "int32", "bool", "int8", "uint8", "int16"))
    floats = to in ("fp16", "fp32")
    return mb.cast(x=g.value((*FLOATS, int32, bool_, int8, uint8, int16), exact=not floats), dtype=to)


# --- products ---------------------------------------------------------------------------------------------------------


def weight_of(g: Growing, dtype: DType, *shape: int) -> Any:
    """A constant weight, dense or compressed in one of many ways; scaled so that products stay small."""
    scale = 1 / np.sqrt(max(1, np.prod(shape[1:])))
    dense = g.numbers(dtype, *shape, scale=scale)
    if g.chance(0.6) or 0 in shape:
        return dense
    return g.choose.choice((affine, blocks, table, vectors, sparse, widened))(g, dtype, shape, scale)


def codes(g: Growing, dtype: DType, shape: Sequence[int]) -> ArrayData:
    return ArrayData(g.rng.integers(dtype.min, dtype.max + 1, shape).astype(dtype.numpy), dtype)


def affine(g: Growing, dtype: DType, shape: Sequence[int], scale: float) -> Value:
    source = g.choose.choice((int8, uint8))
    axis = g.choose.randrange(len(shape))
    per = (shape[axis],) if g.chance(0.7) else ()
    zero = g.rng.integers(-9, 9, per) if source is int8 else g.rng.integers(100, 150, per)
    return mb.constexpr_affine_dequantize(
        quantized_data=codes(g, source, shape),
        zero_point=ArrayData(zero.astype(source.numpy), source),
        axis=axis,
        scale=(g.rng.uniform(0.5, 1, per) * scale / 64).astype(dtype.numpy),
    )


def divisor(g: Growing, size: int) -> int:
    return g.choose.choice([d for d in (1, 1, 2, 3, 4, size) if size % d == 0])


def blocks(g: Growing, dtype: DType, shape: Sequence[int], scale: float) -> Value:
    source = g.choose.choice((int4, uint4, int8, uint8))
    groups = [divisor(g, size) for size in shape]
    offset = codes(g, source, groups) if g.chance() else None
    factors = (g.rng.uniform(0.5, 1, groups) * scale / (1 << (source.bits - 2))).astype(dtype.numpy)
    return mb.constexpr_blockwise_shift_scale(data=codes(g, source, shape), scale=factors, offset=offset)


def table(g: Growing, dtype: DType, shape: Sequence[int], scale: float) -> Value:
    indices = g.choose.choice((uint1, uint2, uint4, uint8))
    groups = [divisor(g, size) if axis == 0 else 1 for axis, size in enumerate(shape)]
    lut = g.numbers(dtype, *groups, 1 << indices.bits, 1, scale=scale)
    return mb.constexpr_lut_to_dense(indices=codes(g, indices, shape), lut=lut)


def vectors(g: Growing, dtype: DType, shape: Sequence[int], scale: float) -> Value:
    """Entries of two elements along an axis."""
    axis = g.choose.randrange(len(shape))
    if shape[axis] % 2:
        return table(g, dtype, shape, scale)
    halved = [size // 2 if k == axis else size for k, size in enumerate(shape)]
    lut = g.numbers(dtype, *(1 for _ in shape), 16, 2, scale=scale)
    return mb.constexpr_lut_to_dense(indices=codes(g, uint4, halved), lut=lut, vector_axis=axis)


def widened(g: Growing, dtype: DType, shape: Sequence[int], scale: float) -> Value:
    """Half the bytes of a float32 weight, compressed further or not."""
    half = g.numbers(fp16, *shape, scale=scale) if g.chance() else blocks(g, fp16, shape, scale)
    return mb.constexpr_cast(source_val=half, output_dtype="fp32")


def sparse(g: Growing, dtype: DType, shape: Sequence[int], scale: float) -> Value:
    mask = (g.rng.random(shape) < g.choose.choice((0.05, 0.3, 0.6))).astype(np.uint8)
    data = g.numbers(dtype, int(mask.sum()), scale=2 * scale)
    return mb.constexpr_sparse_to_dense(nonzero_data=data, mask=ArrayData(mask, uint1))


def of_type(g: Growing, dtype: DType) -> DType:
    """The type of a weight: mostly that of what it is multiplied with."""
    return dtype if g.chance(0.85) else g.choose.choice(FLOATS)


@family(6)
def linear(g: Growing) -> Value:
    x = g.value(ranks=(1, 2, 2, 3, 4))
    columns = g.choose.choice((1, 3, 8, 15, 16, 17, 32, 33, 48, 65))
    dtype = of_type(g, x.dtype)
    bias = g.numbers(dtype, columns) if g.chance() else None
    return mb.linear(x=x, weight=weight_of(g, dtype, columns, g.sized(x, -1)), bias=bias)


@family(4)
def matmul(g: Growing) -> Value:
    x = g.value(ranks=(1, 2, 3, 4))
    turned = g.chance(0.3)
    inner = x.shape[-2 if turned and x.rank > 1 else -1]
    columns = g.any_size()
    transposed = g.chance()
    last = (columns, inner) if transposed else (inner, columns)
    if isinstance(inner, int) and isinstance(columns, int) and g.chance(0.4):
        y: Any = weight_of(g, of_type(g, x.dtype), *last)
    else:
        batch = [1 if g.chance(0.3) else dim for dim in x.shape[:-2]]
        y = g.input(x.dtype, (*batch[g.choose.choice((0, 0, len(batch))) :], *last))
    if g.chance(0.2):
        return mb.matmul(x=y, y=x, transpose_x=not transposed, transpose_y=not turned)
    return mb.matmul(x=x, y=y, transpose_x=turned, transpose_y=transposed)


@family(1)
def product_of_sums(g: Growing) -> Value:
    x = g.value(ranks=(3,))
    y = g.input(x.dtype, (x.shape[0], x.shape[2], g.any_size()))
    return mb.einsum(values=(x, y), equation="bij,bjk->bik")


# --- images -----------------------------------------------------------------------------------------------------------


def image(g: Growing, ranks: Sequence[int] = (3, 4, 4, 4, 5)) -> Value:
    """A value with channels in a fixed number."""

    def few(value: Value) -> bool:
        return isinstance(value.shape[1], int) and 0 < value.shape[1] <= 64

    return g.value(ranks=ranks, like=few)


def windows(g: Growing, x: Value, *, most: int = 5) -> dict[str, Any]:
    """Kernel, strides and padding, the kernel inside the padded image."""
    spatial = range(2, x.rank)
    kinds = ("valid", "same", "custom", "custom") if most > 3 else ("valid", "same", "same_lower", "custom", "custom")
    kind = g.choose.choice(kinds)
    pad = [g.choose.choice((0, 0, 1, 1, 2, 5)) for _ in range(2 * len(spatial))]
    room = [
        g.least(x, axis) + (sum(pad[2 * k : 2 * k + 2]) if kind == "custom" else 0) for k, axis in enumerate(spatial)
    ]
    if min(room) < 1:
        raise GristmillError("an image that may be empty")
    kernel = [max(1, min(g.choose.choice((1, 1, 2, 3, 3, 3, most)), n)) for n in room]
    return {
        "kernel": kernel,
        "room": room,
        "pad_type": kind,
        "strides": [g.choose.choice((1, 1, 1, 2, 3)) for _ in spatial],
        **({"pad": pad} if kind == "custom" else {}),
    }


@family(9)
def conv(g: Growing) -> Value:
    x = image(g)
    channels = g.sized(x, 1)
    how = windows(g, x)
    kernel, room = how.pop("kernel"), how.pop("room")
    if g.chance(0.3):
        kernel = [1] * len(kernel)
    dilations = [g.choose.choice((1, 1, 1, 2, 3)) for _ in kernel]
    dilations = [d if (k - 1) * d < n else 1 for k, d, n in zip(kernel, dilations, room, strict=True)]
    groups = g.choose.choice([1, 1, 1, *(n for n in (2, 3, 4, channels, channels) if channels % n == 0)])
    made = groups * g.choose.choice((1, 1, 2, 3) if groups > 4 else (1, 3, 4, 8, 16, 17, 32))
    dtype = of_type(g, x.dtype)
    weight = weight_of(g, dtype, made, channels // groups, *kernel)
    bias = g.numbers(dtype, made) if g.chance() else None
    return mb.conv(x=x, weight=weight, bias=bias, groups=groups, dilations=dilations, **how)


@family(2)
def conv_transpose(g: Growing) -> Value:
    x = image(g)
    channels = g.sized(x, 1)
    how = windows(g, x)
    kernel = how.pop("kernel")
    how.pop("room")
    dilations = [g.choose.choice((1, 1, 2)) for _ in kernel]
    groups = g.choose.choice([1, 1, *(n for n in (2, channels) if channels % n == 0)])
    dtype = of_type(g, x.dtype)
    weight = weight_of(g, dtype, channels, g.choose.choice((1, 2, 3, 8, 17)), *kernel)
    bias = g.numbers(dtype, groups * weight.shape[1]) if g.chance() else None
    return mb.conv_transpose(x=x, weight=weight, bias=bias, groups=groups, dilations=dilations, **how)


@family(2)
def squeeze_and_excite(g: Growing) -> Value:
    x = image(g, (4,))
    channels = g.sized(x, 1)
    gate = mb.sigmoid(
        x=mb.conv(
            x=mb.reduce_mean(x=x, axes=[2, 3], keep_dims=True), weight=weight_of(g, x.dtype, channels, channels, 1, 1)
        )
    )
    scaled = mb.mul(x=gate, y=x) if g.chance() else mb.mul(x=x, y=gate)
    if g.chance(0.2):
        g.pool.append(scaled)
        g.array(scaled)
    return mb.conv(x=scaled, weight=weight_of(g, x.dtype, 8, channels, 1, 1))


@family(3)
def pool(g: Growing) -> Value:
    x = image(g)
    how = windows(g, x, most=3)
    how.pop("room")
    kernel = how.pop("kernel")
    if how["pad_type"] == "custom":  # windows of nothing but padding have no extreme
        how["pad"] = [min(p, (kernel[k // 2] - 1) // 2) for k, p in enumerate(how["pad"])]
        how["ceil_mode"] = set(how["strides"]) == {1} or g.chance(0.2)
    name = g.choose.choice(("max_pool", "avg_pool", "l2_pool" if x.rank < 5 else "max_pool"))
    if name == "avg_pool":
        how["exclude_padding_from_average"] = g.chance()
    return mb.op(name, x=x, kernel_sizes=kernel, **how)


MODES = ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS")


@family(2)
def resize(g: Growing) -> Value:
    x = g.value(ranks=(3, 4, 4, 5), like=lambda v: all(isinstance(d, int) and d > 0 for d in v.shape[-2:]))
    h, w = (g.choose.choice((1, 2, 3, 5, 8, 17)) for _ in "hw")
    match g.choose.randrange(6):
        case 0:
            return mb.resize_bilinear(
                x=x, target_size_height=h, target_size_width=w, sampling_mode=g.choose.choice(MODES)
            )
        case 1:
            return mb.resize_nearest_neighbor(x=x, target_size_height=h, target_size_width=w)
        case 2:
            return mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=g.choose.choice((1, 3)))
        case 3:
            return mb.upsample_bilinear(
                x=x, scale_factor_height=2, scale_factor_width=g.choose.choice((1, 3)), align_corners=g.chance()
            )
        case 4:
            return mb.crop(
                x=x,
                crop_height=[0, g.choose.randrange(g.sized(x, -2))],
                crop_width=[g.choose.randrange(g.sized(x, -1)), 0],
            )
    return mb.resize(
        x=x,
        shape=[h, w],
        resized_dims=2,
        sampling_mode=g.choose.choice(MODES),
        interpolation_mode=g.choose.choice(("LINEAR", "NEAREST_NEIGHBOR")),
    )


@family(2)
def regroup(g: Growing) -> Value:
    """Blocks of an image between its axes."""
    block = g.choose.choice((1, 2, 3))
    n, h, w, c = (g.choose.choice((1, 2, 3)) for _ in "nhwc")
    name = g.choose.choice(
        ("depth_to_space", "space_to_depth", "pixel_shuffle", "pixel_unshuffle", "space_to_batch", "batch_to_space")
    )
    deep, wide = (n, c * block**2, h, w), (n, c, h * block, w * block)

    def like(shape: tuple[int, ...]) -> Value:
        found = [v for v in g.pool if v.dtype in FLOATS and v.rank == 4 and g.array(v).size == np.prod(shape)]
        return mb.reshape(x=g.choose.choice(found), shape=shape) if found and g.chance() else g.input(g.dtype, shape)

    match name:
        case "depth_to_space":
            return mb.depth_to_space(x=like(deep), block_size=block)
        case "space_to_depth":
            return mb.space_to_depth(x=like(wide), block_size=block)
        case "pixel_shuffle":
            return mb.pixel_shuffle(x=like(deep), upscale_factor=block)
        case "pixel_unshuffle":
            return mb.pixel_unshuffle(x=like(wide), downscale_factor=np.uint32(block))
        case "space_to_batch":
            return mb.space_to_batch(x=like(wide), block_shape=[block, block], paddings=[[block, 0], [0, 0]])
    return mb.batch_to_space(x=like((n * block**2, c, h + 1, w)), block_shape=[block, block], crops=[[1, 0], [0, 0]])
