"""Constants, fillings, ranges and random tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.frontends.neuralnetwork.context import Context, ops
from gristmill.frontends.neuralnetwork.registry import maps
from gristmill.ir.program import Value


@maps("loadConstantND")
def load_constant(ctx: Context, p: Any) -> Value:
    return ctx.weights(p.data, p.shape)


@maps("fillLike", typed=True)
def fill_like(ctx: Context, p: Any, x: Value) -> Value:
    return ops.fill(shape=ops.shape(x=x), value=ctx.number(p.value))


@maps("fillStatic")
def fill_static(ctx: Context, p: Any) -> Value:
    return ops.fill(shape=np.array(p.targetShape, np.int32), value=ctx.number(p.value))


@maps("fillDynamic", typed=True)
def fill_dynamic(ctx: Context, p: Any, shape: Value) -> Value:
    return ops.fill(shape=ctx.sizes(shape), value=ctx.number(p.value))


@maps("rangeStatic")
def range_static(ctx: Context, p: Any) -> Value:
    return ops.range_1d(
        end=ctx.number(p.endValue), start=ctx.number(p.startValue), step=ctx.number(p.stepSizeValue or 1.0)
    )


@maps("rangeDynamic", typed=True)
def range_dynamic(ctx: Context, p: Any, end: Value, start: Value | None = None, step: Value | None = None) -> Value:
    first = ctx.number(p.startValue) if start is None else start
    by = ctx.number(p.stepSizeValue or 1.0) if step is None else step
    end, first, by = (ctx.scalar(value) for value in ctx.alike(end, first, by))
    return ops.range_1d(end=end, start=first, step=by)


# --- random numbers --------------------------------------------------------------------------------------------------


def _normal(ctx: Context, p: Any, shape: Any) -> Value:
    return ops.random_normal(shape=shape, mean=ctx.number(p.mean), stddev=ctx.number(p.stdDev), seed=_seed(p))


def _uniform(ctx: Context, p: Any, shape: Any) -> Value:
    return ops.random_uniform(shape=shape, low=ctx.number(p.minVal), high=ctx.number(p.maxVal), seed=_seed(p))


def _bernoulli(ctx: Context, p: Any, shape: Any) -> Value:
    return ops.random_bernoulli(shape=shape, prob=ctx.number(p.prob), seed=_seed(p))


def _seed(p: Any) -> int:
    """A seed that fits: only that equal ones give equal numbers is promised."""
    return int(p.seed) % 2**31 if p.seed >= 0 else -1


for _name, _draw in {"Normal": _normal, "Uniform": _uniform, "Bernoulli": _bernoulli}.items():

    @maps(f"random{_name}Like", typed=True)
    def _like(ctx: Context, p: Any, x: Value, draw: Any = _draw) -> Any:
        return draw(ctx, p, ops.shape(x=x))

    @maps(f"random{_name}Static")
    def _static(ctx: Context, p: Any, draw: Any = _draw) -> Any:
        return draw(ctx, p, np.array(p.outputShape, np.int32))

    @maps(f"random{_name}Dynamic", typed=True)
    def _dynamic(ctx: Context, p: Any, shape: Value, draw: Any = _draw) -> Any:
        return draw(ctx, p, ctx.sizes(shape))


@maps("categoricalDistribution")
def categorical(ctx: Context, p: Any, x: Value) -> Value:
    """Draws by logits divided by the temperature; probabilities get ``eps`` and become logits."""
    logits = x if p.isLogits else ops.log(x=ops.add(x=x, y=ctx.number(p.eps or 1e-10)), epsilon=0.0)
    if p.temperature not in (0, 1):
        logits = ops.mul(x=logits, y=ctx.number(1 / p.temperature))
    return ops.random_categorical(x=logits, mode="logits", size=p.numSamples or 1, seed=_seed(p))
