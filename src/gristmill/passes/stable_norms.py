"""Normalisations whose squares leave float16's range, or whose variance loses its digits."""

from __future__ import annotations

import math

from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.ir.types import same_shape
from gristmill.passes.fusion import Fusion
from gristmill.passes.patterns import ANYTHING, Apply, Match, Miss, Pattern, op, scalar, var
from gristmill.passes.rewriting import make_before, make_constant
from gristmill.passes.stabilizing import Stabilizer, axes_of

_x = var("x")
_square = op.square(_x) | _x * _x | op.pow(_x, 2)


def _mean(x: Pattern, name: str) -> Pattern:
    return Apply(("reduce_mean",), {"x": x, "axes": ANYTHING, "keep_dims": True}, name=name)


_mean_square = _mean(_square, "mean")
_guarded = op.add(_mean_square, scalar("epsilon")) | _mean_square
_rms_norm = _x * op.rsqrt(_guarded, epsilon=ANYTHING).named("rsqrt") | op.real_div(_x, op.sqrt(_guarded))

_LEAST_GUARD = 2.0**-14
"""Float16's smallest normal number."""


def _scaled(match: Match) -> Value | Miss:
    root, x = match.root, match["x"]
    epsilon = match.number("epsilon") if match.get("epsilon") is not None else 0.0
    if "rsqrt" in match.named:
        epsilon += getattr(match.named["rsqrt"], "epsilon", 0.0)
    if epsilon < 0:
        return Miss(root, "what is added to the mean is negative")
    axes = axes_of(match.named["mean"])
    guard = make_constant(root, x.dtype.numpy.type(max(math.sqrt(epsilon), _LEAST_GUARD)), f"{root.name}_guard")
    share = make_constant(root, x.dtype.numpy.type(math.sqrt(epsilon)), f"{root.name}_root_epsilon")

    def step(op_name: str, name: str, **operands: object) -> Value:
        return make_before(root, op_name, name=f"{root.name}_{name}", **operands)

    peak = step("reduce_max", "peak", x=step("abs", "size", x=x), axes=axes, keep_dims=True)
    scale = step("maximum", "scale", x=peak, y=guard)
    scaled = step("real_div", "scaled", x=x, y=scale)
    mean = step("reduce_mean", "mean", x=step("square", "squares", x=scaled), axes=axes, keep_dims=True)
    rest = step("square", "rest", x=step("real_div", "share", x=share, y=scale))
    inverse = step("rsqrt", "inverse", x=step("add", "guarded", x=mean, y=rest))
    return make_before(root, "mul", x=scaled, y=inverse)


class ScaledRMSNorm(Stabilizer):
    """``x/√(mean x² + ε)`` becomes ``y/√(mean y² + (√ε/s)²)`` with ``y = x/s`` and ``s = max(max|x|, √ε)``.

    The squares are at most 1 and their mean at least 1/n, whatever the activations are.
    """

    name = "scaled_rms_norm"
    fusions = (Fusion(_rms_norm, _scaled),)


# --- variance --------------------------------------------------------------------------------------------------------

_squared_mean = op.square(var("of")) | var("of") * var("of") | op.pow(var("of"), 2)
_difference = op.sub(_mean_square, _squared_mean)


def _two_pass(match: Match) -> Value | Miss:
    root, x, mean, squares = match.root, match["x"], match["of"], match.named["mean"]
    if not _is_mean_of(mean.producer, x, squares):
        return Miss(root, f"%{mean.name} is not the mean of %{x.name} along the same axes")
    centred = make_before(root, "sub", name=f"{root.name}_centred", x=x, y=mean)
    square = make_before(root, "square", name=f"{root.name}_squares", x=centred)
    return make_before(root, "reduce_mean", x=square, axes=axes_of(squares), keep_dims=True)


def _is_mean_of(maker: Op | None, x: Value, other: Op) -> bool:
    """Whether an op is the mean of a value along the axes of another mean, whose shape it has."""
    return (
        maker is not None
        and isinstance(maker, type(other))
        and maker.operand("x") is x
        and axes_of(maker) == axes_of(other)
        and maker.result.rank == x.rank
        and same_shape(maker.result.shape, other.result.shape)
    )


class TwoPassVariance(Stabilizer):
    """``mean(x²) - mean(x)²``, a difference of large numbers, becomes ``mean((x - mean x)²)``."""

    name = "two_pass_variance"
    cures = "digits"
    fusions = (Fusion(_difference, _two_pass),)
