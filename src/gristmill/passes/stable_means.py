"""Sums and reciprocals that leave float16's range although the mean or the quotient made of them does not."""

from __future__ import annotations

import math

from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.passes.fusion import Fusion
from gristmill.passes.patterns import ANYTHING, Apply, Match, Miss, Pattern, nonzero, op, var
from gristmill.passes.rewriting import make_before, make_constant
from gristmill.passes.stabilizing import Stabilizer, axes_of


def _sum(name: str) -> Pattern:
    return Apply(("reduce_sum",), {"x": var(name), "axes": ANYTHING, "keep_dims": ANYTHING}, name=f"sum of {name}")


def _count(reduction: Op) -> int | None:
    """How many elements go into each sum, where that is known."""
    sizes = [reduction.operand("x").shape[axis] for axis in axes_of(reduction)]
    return (
        math.prod(size for size in sizes if isinstance(size, int)) if all(isinstance(s, int) for s in sizes) else None
    )


def _mean_of(total: Op, root: Op, name: str) -> Value:
    keep = bool(getattr(total, "keep_dims", False))
    return make_before(root, "reduce_mean", name=name, x=total.operand("x"), axes=axes_of(total), keep_dims=keep)


def _scaled_mean(match: Match) -> Value | Miss:
    root, total = match.root, match.named["sum of x"]
    count = _count(total)
    if count is None:
        return Miss(total, "how many elements it sums is not known")
    factor = count * (1 / match.number("divisor") if match.get("divisor") is not None else match.number("factor"))
    if math.isclose(factor, 1, rel_tol=1e-6):  # a float32 reciprocal of the count, within its rounding
        return _mean_of(total, root, root.name)
    mean = _mean_of(total, root, f"{root.name}_mean")
    number = make_constant(root, mean.dtype.numpy.type(factor), f"{root.name}_factor")
    return make_before(root, "mul", x=mean, y=number)


def _ratio_of_means(match: Match) -> Value | Miss:
    root, above, below = match.root, match.named["sum of x"], match.named["sum of w"]
    if _sizes(above) != _sizes(below):
        return Miss(root, "the two sums have different numbers of terms")
    mean, weight = (
        _mean_of(total, root, f"{root.name}_{what}") for total, what in ((above, "mean"), (below, "weight"))
    )
    return make_before(root, "real_div", x=mean, y=weight)


def _sizes(reduction: Op) -> list[object]:
    return [reduction.operand("x").shape[axis] for axis in axes_of(reduction)]


class MeanOfSums(Stabilizer):
    """``Σ x / c`` becomes ``mean x · (n/c)``, and the weighted mean ``Σ x / Σ w`` the quotient of two means."""

    name = "mean_of_sums"
    fusions = (
        Fusion(op.real_div(_sum("x"), nonzero("divisor")), _scaled_mean),
        Fusion(op.mul(_sum("x"), nonzero("factor")), _scaled_mean),
        Fusion(op.real_div(_sum("x"), _sum("w")), _ratio_of_means),
    )


_reciprocal = op.inverse(var("divisor"), epsilon=ANYTHING) | op.real_div(1.0, var("divisor"))


def _quotient(match: Match) -> Value | Miss:
    return make_before(match.root, "real_div", x=match["dividend"], y=match["divisor"])


class DivideAtOnce(Stabilizer):
    """``y·(1/x)`` becomes ``y/x``: of a small number the reciprocal may leave the range where the quotient does not."""

    name = "divide_at_once"
    fusions = (Fusion(op.mul(var("dividend"), _reciprocal), _quotient),)
