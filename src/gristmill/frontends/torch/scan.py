"""Running totals."""

from __future__ import annotations

from collections.abc import Callable

from gristmill.frontends.torch.context import Context
from gristmill.frontends.torch.registry import lowers
from gristmill.ir import types
from gristmill.ir.program import Value


@lowers("aten.cumsum.default")
def cumsum(ctx: Context, x: Value, dim: int) -> Value:
    x = ctx.cast(x, ctx.dtype)
    return x if x.rank == 0 else ctx.mb.cumsum(x=x, axis=dim % x.rank)


def _scan(ctx: Context, parts: list[Value], dim: int, combine: Callable[..., list[Value]]) -> list[Value]:
    """Each element combined with all before it, in ⌈log₂ n⌉ steps that double the reach (Hillis and Steele, 1986)."""
    dim %= parts[0].rank
    size = parts[0].shape[dim]
    if not isinstance(size, int):
        raise ctx.unsupported("a running total along an axis whose size is only known at run time")
    reach = 1
    while reach < size:
        later = [ctx.slice(part, dim, reach) for part in parts]
        earlier = [ctx.slice(part, dim, 0, size - reach) for part in parts]
        heads = [ctx.slice(part, dim, 0, reach) for part in parts]
        found = combine(later, earlier)
        parts = [ctx.mb.concat(values=[head, tail], axis=dim) for head, tail in zip(heads, found, strict=True)]
        reach *= 2
    return parts


@lowers("aten.cumprod.default")
def cumprod(ctx: Context, x: Value, dim: int) -> Value:
    x = ctx.cast(x, ctx.dtype)
    if x.rank == 0:
        return x
    return _scan(ctx, [x], dim, lambda later, earlier: [ctx.mb.mul(x=later[0], y=earlier[0])])[0]


@lowers("aten.logcumsumexp.default")
def logcumsumexp(ctx: Context, x: Value, dim: int) -> Value:
    """``log(eᵃ + eᵇ) = max(a, b) + log(1 + e^(−|a − b|))``, step by step, so that nothing overflows."""
    if x.rank == 0:
        return x

    def combine(later: list[Value], earlier: list[Value]) -> list[Value]:
        a, b = later[0], earlier[0]
        distance = ctx.mb.mul(x=ctx.mb.abs(x=ctx.mb.sub(x=a, y=b)), y=-1.0)
        return [ctx.mb.add(x=ctx.mb.maximum(x=a, y=b), y=ctx.mb.log(x=ctx.mb.exp(x=distance), epsilon=1.0))]

    return _scan(ctx, [x], dim, combine)[0]


@lowers("aten.cummax.default", "aten.cummin.default")
def cummax(ctx: Context, x: Value, dim: int) -> list[Value]:
    """The running extreme and the last place that holds it."""
    if x.rank == 0:
        return [x, ctx.number(0, types.int32)]
    compare = ctx.mb.greater_equal if "max" in ctx.operator else ctx.mb.less_equal
    axis = dim % x.rank
    places = ctx.mb.range_1d(start=0, end=ctx.size(x, axis), step=1)
    places = ctx.reshape(places, [-1 if k == axis else 1 for k in range(x.rank)])
    places = ctx.expand(places, ctx.sizes(x))

    def combine(later: list[Value], earlier: list[Value]) -> list[Value]:
        keep = compare(x=later[0], y=earlier[0])
        return [ctx.mb.select(cond=keep, a=a, b=b) for a, b in zip(later, earlier, strict=True)]

    return _scan(ctx, [x, places], dim, combine)
