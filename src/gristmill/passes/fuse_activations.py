"""Activations that a source spells out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gristmill.ir.dims import Dim
from gristmill.ir.program import Value
from gristmill.passes.fusion import Fusion, FusionPass, Rewrite
from gristmill.passes.patterns import ANYTHING, Apply, Match, Miss, Pattern, op, var
from gristmill.passes.rewriting import make_before

_x = var("x")

_x_squared = op.square(_x) | _x * _x | op.pow(_x, 2)
_x_cubed = op.pow(_x, 3) | _x * _x * _x | _x * op.square(_x)
_root_2_over_pi = math.sqrt(2 / math.pi)
_tanh_argument = _root_2_over_pi * (_x + 0.044715 * _x_cubed) | _root_2_over_pi * _x * (1 + 0.044715 * _x_squared)


def _becomes(op_name: str, **parameters: Any) -> Rewrite:
    def rewrite(match: Match) -> Value | Miss:
        return make_before(match.root, op_name, x=match["x"], **parameters)

    return rewrite


class FuseGelu(FusionPass):
    """``x·Φ(x)`` and its two usual approximations (Hendrycks and Gimpel, 2016) become ``gelu`` in the same mode.

    The roundings between the ops disappear. Numbers must be those of the formula to the last place of their type.
    """

    name = "fuse_gelu"
    fusions = (
        Fusion(0.5 * _x * (1 + op.erf(_x / math.sqrt(2))), _becomes("gelu", mode="EXACT")),
        Fusion(0.5 * _x * (1 + op.tanh(_tanh_argument)), _becomes("gelu", mode="TANH_APPROXIMATION")),
        Fusion(_x * op.sigmoid(1.702 * _x), _becomes("gelu", mode="SIGMOID_APPROXIMATION")),
    )


class FuseSilu(FusionPass):
    """``x·σ(x)`` becomes ``silu``; the rounding of ``σ(x)`` disappears."""

    name = "fuse_silu"
    fusions = (Fusion(_x * op.sigmoid(_x), _becomes("silu")),)


_relu6 = op.relu6(_x + 3) | op.clip(_x + 3, alpha=0.0, beta=6.0)


def _hard_swish(match: Match) -> Value | Miss:
    gate = make_before(match.root, "sigmoid_hard", name=f"{match.root.name}_gate", x=match["x"], alpha=1 / 6, beta=0.5)
    return make_before(match.root, "mul", x=match["x"], y=gate)


class FuseHardSigmoid(FusionPass):
    """``relu6(x + 3)/6`` becomes ``sigmoid_hard``, and ``x·relu6(x + 3)/6`` (hard swish) a product with one.

    The rounding of ``x + 3`` disappears, which is the coarsest of the formula, and a sixth is rounded instead. MIL has
    no op for the hard swish as a whole.
    """

    name = "fuse_hard_sigmoid"
    fusions = (
        Fusion(_x * _relu6 / 6, _hard_swish),
        Fusion(_relu6 / 6, _becomes("sigmoid_hard", alpha=1 / 6, beta=0.5)),
    )


# --- softmax ---------------------------------------------------------------------------------------------------------


def _over_axes(op_name: str, operand: Pattern) -> Apply:
    return Apply((op_name,), {"x": operand, "axes": ANYTHING, "keep_dims": True}, name=op_name)


_largest = _over_axes("reduce_max", _x)
_exponential = op.exp(op.sub(_x, _largest)) | op.exp(_x)


def single_axis(axes: Sequence[int] | None, rank: int) -> Dim | None:
    """The axis of a reduction along one axis, counted from the front."""
    found = {axis % rank for axis in (range(rank) if axes is None else axes)}
    return found.pop() if len(found) == 1 else None


def _softmax(match: Match) -> Value | Miss:
    rank = match["x"].rank
    axes = {single_axis(getattr(reduction, "axes", None), rank) for reduction in match.named.values()}
    if len(axes) != 1 or None in axes:
        return Miss(match.root, "softmax goes along one axis")
    return make_before(match.root, "softmax", x=match["x"], axis=axes.pop())


class FuseSoftmax(FusionPass):
    """``e / Σ e`` with ``e = exp(x)`` or ``exp(x - max x)`` becomes ``softmax`` along the same axis.

    The roundings of the differences, the exponentials and their sum disappear, and so does the overflow of ``exp(x)``
    for large x, which the op avoids.
    """

    name = "fuse_softmax"
    fusions = (Fusion(_exponential / _over_axes("reduce_sum", _exponential), _softmax),)
