"""Random numbers. PyTorch's own sequence is not reproduced, only its distributions."""

from __future__ import annotations

from collections.abc import Sequence

from gristmill.frontends.torch.context import Context, Number, Size
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.program import Value


def _uniform(ctx: Context, shape: Sequence[Size], low: Number = 0.0, high: Number = 1.0) -> Value:
    return ctx.mb.random_uniform(
        shape=ctx.vector(shape), low=ctx.number(float(low), types.fp32), high=ctx.number(float(high), types.fp32)
    )


def _normal(ctx: Context, shape: Sequence[Size], mean: Number = 0.0, std: Number = 1.0) -> Value:
    return ctx.mb.random_normal(
        shape=ctx.vector(shape), mean=ctx.number(float(mean), types.fp32), stddev=ctx.number(float(std), types.fp32)
    )


@lowers("aten.rand.default")
def rand(ctx: Context, shape: Sequence[Size]) -> Value:
    return ctx.cast(_uniform(ctx, shape), ctx.dtype)


@lowers("aten.rand_like.default")
def rand_like(ctx: Context, x: Value) -> Value:
    return ctx.cast(_uniform(ctx, ctx.sizes(x)), ctx.dtype)


@lowers("aten.uniform.default")
def uniform(ctx: Context, x: Value, low: float = 0.0, high: float = 1.0) -> Value:
    return ctx.cast(_uniform(ctx, ctx.sizes(x), low, high), ctx.dtype)


@lowers("aten.randn.default")
def randn(ctx: Context, shape: Sequence[Size]) -> Value:
    return ctx.cast(_normal(ctx, shape), ctx.dtype)


@lowers("aten.randn_like.default")
def randn_like(ctx: Context, x: Value) -> Value:
    return ctx.cast(_normal(ctx, ctx.sizes(x)), ctx.dtype)


@lowers("aten.normal_functional.default")
def normal_like(ctx: Context, x: Value, mean: float = 0.0, std: float = 1.0) -> Value:
    return ctx.cast(_normal(ctx, ctx.sizes(x), mean, std), ctx.dtype)


@lowers("aten.normal.float_float")
def normal(ctx: Context, mean: float, std: float, shape: Sequence[Size]) -> Value:
    return ctx.cast(_normal(ctx, shape, mean, std), ctx.dtype)


@lowers("aten.randint.default")
def randint(ctx: Context, high: int, shape: Sequence[Size]) -> Value:
    return randint_low(ctx, 0, high, shape)


@lowers("aten.randint.low")
def randint_low(ctx: Context, low: int, high: int, shape: Sequence[Size]) -> Value:
    """``⌊u⌋`` of uniform u in [low, high); float32 distinguishes 2²⁴ values."""
    floor = ctx.mb.floor(x=_uniform(ctx, shape, low, high))
    return ctx.cast(ctx.mb.minimum(x=floor, y=float(high - 1)), ctx.dtype)


@lowers("aten.randint_like.default")
def randint_like(ctx: Context, x: Value, high: int) -> Value:
    return randint_low(ctx, 0, high, ctx.sizes(x))


@lowers("aten.randint_like.low_dtype")
def randint_like_low(ctx: Context, x: Value, low: int, high: int) -> Value:
    return randint_low(ctx, low, high, ctx.sizes(x))


@lowers("aten.bernoulli.p")
def bernoulli(ctx: Context, x: Value, p: float = 0.5) -> Value:
    ones = ctx.mb.less(x=_uniform(ctx, ctx.sizes(x)), y=float(p))
    return ctx.cast(ones, ctx.dtype)


@lowers("aten.bernoulli.default")
def bernoulli_of(ctx: Context, x: Value) -> Value:
    return ctx.cast(ctx.mb.less(x=_uniform(ctx, ctx.sizes(x)), y=ctx.cast(x, types.fp32)), ctx.dtype)


@lowers("aten.multinomial.default")
def multinomial(ctx: Context, x: Value, samples: int, replacement: bool = False) -> Value:
    """Draws by weight; without replacement by the Gumbel-top-k trick (Kool et al., 2019)."""
    if replacement or samples == 1:
        row = x if x.rank == 2 else ctx.mb.expand_dims(x=x, axes=[0])
        drawn = ctx.mb.random_categorical(x=ctx.cast(row, types.fp32), mode="probs", size=samples)
        drawn = ctx.cast(drawn, types.int32)
        return drawn if x.rank == 2 else ctx.mb.squeeze(x=drawn, axes=[0])
    noise = _uniform(ctx, ctx.sizes(x), 1e-20, 1.0)
    gumbel = ctx.mb.mul(x=ctx.mb.log(x=ctx.mb.mul(x=ctx.mb.log(x=noise), y=-1.0)), y=-1.0)
    keys = ctx.mb.add(x=ctx.mb.log(x=ctx.cast(x, types.fp32), epsilon=0.0), y=gumbel)
    return ctx.mb.results("topk", x=keys, k=samples, axis=x.rank - 1)[1]


@lowers("aten.randperm.default")
def randperm(ctx: Context, count: Size) -> Value:
    """The order of as many random numbers."""
    return ctx.mb.argsort(x=_uniform(ctx, [count]), axis=0, ascending=True)
