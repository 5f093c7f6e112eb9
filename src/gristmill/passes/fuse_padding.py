"""Convolutions and pooling take over the padding in front of them."""

from __future__ import annotations

import math

from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.passes.fusion import Fusion, FusionPass
from gristmill.passes.patterns import ANYTHING, Apply, Match, Miss, Pattern, op, var
from gristmill.passes.rewriting import rebuilt

_padding = op.pad(var("x"), pad=ANYTHING, mode="constant", constant_val=ANYTHING).named("pad")


def _behind_padding(op_name: str) -> Pattern:
    return Apply((op_name,), {"x": _padding}, rest=True)


def _padded(match: Match) -> Value | Miss:
    pad, root = match.named["pad"], match.root
    neutral = -math.inf if root.op_name == "max_pool" else 0.0
    if getattr(pad, "constant_val", 0.0) != neutral:
        return Miss(pad, f"it pads by {getattr(pad, 'constant_val', 0.0)}, and {root.op_name} by {neutral}")
    if getattr(root, "ceil_mode", False) or getattr(root, "exclude_padding_from_average", False):
        return Miss(root, "it treats its own padding otherwise than elements")
    own = _own_padding(root)
    before = _spatial_amounts(pad)
    if own is None or before is None:
        return Miss(root, "the amounts are not known, negative, or not of the spatial axes alone")
    amounts = [a + b for a, b in zip(own, before, strict=True)]
    return rebuilt(root, root, {"x": match["x"], "pad_type": "custom", "pad": amounts})


def _own_padding(root: Op) -> list[int] | None:
    match str(getattr(root, "pad_type", "valid")).lower():
        case "valid":
            return [0] * 2 * (root.operand("x").rank - 2)
        case "custom":
            return list(getattr(root, "pad", ()))
    return None


def _spatial_amounts(pad: Op) -> list[int] | None:
    """Before and after each axis but the first two."""
    contents = pad.operand("pad").contents
    if contents is None or not all(isinstance(amount, int) and amount >= 0 for amount in contents.flat):
        return None
    amounts = [int(amount) for amount in contents.flat]
    amounts = [0] * (2 * pad.operand("x").rank - len(amounts)) + amounts
    return amounts[4:] if not any(amounts[:4]) else None


class FusePadding(FusionPass):
    """Constant padding of the spatial axes becomes ``pad`` of the convolution or pooling behind it.

    Zeros in front of ``conv``, ``avg_pool`` (where padding counts) and ``l2_pool``; -∞ in front of ``max_pool``. No
    value changes.
    """

    name = "fuse_padding"
    fusions = tuple(Fusion(_behind_padding(name), _padded) for name in ("conv", "avg_pool", "l2_pool", "max_pool"))
