"""Exponentials that overflow although what is made of them does not."""

from __future__ import annotations

from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.passes.fusion import Fusion
from gristmill.passes.patterns import ANYTHING, Apply, Match, Miss, Pattern, op, scalar, var
from gristmill.passes.rewriting import make_before
from gristmill.passes.stabilizing import Stabilizer, axes_of

_x = var("x")
_exp = op.exp(_x)


def _sum(of: Pattern, *, keep: object = True) -> Pattern:
    return Apply(("reduce_sum",), {"x": of, "axes": ANYTHING, "keep_dims": keep}, name="sum")


def _last_axis(reduction: Op) -> bool:
    return axes_of(reduction) == (reduction.operand("x").rank - 1,)


def _attention(match: Match) -> Value | Miss:
    product, root = match.named["product"], match.root
    if not _last_axis(match.named["sum"]) or getattr(product, "transpose_x", False):
        return Miss(root, "the sum does not go along the axis that the product contracts")
    weights = make_before(root, "softmax", name=f"{root.name}_weights", x=match["x"], axis=-1)
    transpose = bool(getattr(product, "transpose_y", False))
    return make_before(root, "matmul", x=weights, y=match["value"], transpose_y=transpose)


def _guarded_softmax(match: Match) -> Value | Miss:
    root, axes = match.root, axes_of(match.named["sum"])
    largest = make_before(root, "reduce_max", name=f"{root.name}_largest", x=match["x"], axes=axes, keep_dims=True)
    below = make_before(root, "sub", name=f"{root.name}_below", x=match["x"], y=largest)
    power = make_before(root, "exp", name=f"{root.name}_exp", x=below)
    total = make_before(root, "reduce_sum", name=f"{root.name}_sum", x=power, axes=axes, keep_dims=True)
    opposite = make_before(root, "mul", name=f"{root.name}_opposite", x=largest, y=largest.dtype.numpy.type(-1))
    factor = make_before(root, "exp", name=f"{root.name}_factor", x=opposite)
    guard = make_before(root, "mul", name=f"{root.name}_guard", x=factor, y=match["epsilon"])
    return make_before(root, "real_div", x=power, y=make_before(root, "add", name=f"{root.name}_all", x=total, y=guard))


def _log_sum(match: Match) -> Value | Miss:
    total = match.named["sum"]
    keep = bool(getattr(total, "keep_dims", False))
    return make_before(match.root, "reduce_log_sum_exp", x=match["x"], axes=axes_of(total), keep_dims=keep)


def _softplus(match: Match) -> Value | Miss:
    return make_before(match.root, "softplus", x=match["x"])


_product = op.matmul(_exp, var("value"), transpose_x=ANYTHING, transpose_y=ANYTHING).named("product")


class StableExponentials(Stabilizer):
    """Takes the largest exponent out, or an op that does so itself.

    ``exp(s)·V / Σ exp(s)`` becomes ``softmax(s)·V``; ``e/(Σ e + ε)`` with ``e = exp(x)`` is computed of ``exp(x - m)``
    and ``ε·exp(-m)``; ``ln Σ exp(x)`` becomes ``reduce_log_sum_exp`` and ``ln(1 + exp(x))`` ``softplus``.
    """

    name = "stable_exponentials"
    fusions = (
        Fusion(op.real_div(_product, _sum(_exp)), _attention),
        Fusion(op.real_div(_exp, op.add(_sum(_exp), scalar("epsilon"))), _guarded_softmax),
        Fusion(op.log(_sum(_exp, keep=ANYTHING), epsilon=ANYTHING), _log_sum),
        Fusion(op.log(1 + _exp, epsilon=ANYTHING), _softplus),
    )
