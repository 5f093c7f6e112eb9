"""Attention that a source spells out."""

from __future__ import annotations

import math
from typing import Any

from gristmill.ir.opset import iOS18
from gristmill.ir.program import Function, Value
from gristmill.ir.types import bool_, fp32, same_shape
from gristmill.passes.fusion import Fusion, FusionPass
from gristmill.passes.patterns import ANYTHING, Match, Miss, Number, op, scalar, var
from gristmill.passes.rewriting import make_before, make_constant

_query = var("query") * scalar("query_scale") | var("query")
_key = var("key") * scalar("key_scale") | var("key")
_product = op.matmul(_query, _key, transpose_y=ANYTHING).named("product")
_scaled = _product * scalar("scale") | op.real_div(_product, scalar("divisor")) | _product
_masked = (
    op.add(op.add(_scaled, var("mask")), var("second_mask")).named("masked")
    | op.add(_scaled, var("mask")).named("masked")
    | op.select(cond=var("mask"), a=_scaled, b=Number(-math.inf)).named("masked")
    | _scaled
)
_weights = op.softmax(_masked, axis=ANYTHING).named("softmax")


def _attention(match: Match) -> Value | Miss:
    query, key, value, mask = match["query"], match["key"], match["value"], match.get("mask")
    root, product, softmax = match.root, match.named["product"], match.named["softmax"]
    if query.rank < 3 or not query.rank == key.rank == value.rank:
        return Miss(root, "query, key and value have the same rank, 3 or more")
    if getattr(softmax, "axis", -1) % query.rank != query.rank - 1:
        return Miss(softmax, "it does not go along the last axis")
    if not all(same_shape(query.shape[:-2], other.shape[:-2]) for other in (key, value)):
        return Miss(root, "the leading axes broadcast")
    if mask is not None and not same_shape(match.named["masked"].result.shape, product.result.shape):
        return Miss(match.named["masked"], "the mask has more elements than the scores")
    if mask is not None and mask.dtype not in (bool_, query.dtype):
        return Miss(match.named["masked"], f"the mask is {mask.dtype}")
    if (second := match.get("second_mask")) is not None and mask is not None:
        mask = make_before(root, "add", name=f"{root.name}_mask", x=mask, y=second)
    width = query.shape[-1]
    if not isinstance(width, int) or not width:
        return Miss(product, "the length of the vectors is not known")
    factor = _scale(match) * math.sqrt(width)
    if not math.isclose(factor, 1, rel_tol=4 * (2.0**-23 if query.dtype == fp32 else 2.0**-10)):  # three numbers' ulps
        number = make_constant(root, query.dtype.numpy.type(factor), f"{root.name}_scale")
        query = make_before(root, "mul", name=f"{root.name}_query", x=query, y=number)
    if not getattr(product, "transpose_y", False):
        perm = (*range(key.rank - 2), key.rank - 1, key.rank - 2)
        key = make_before(root, "transpose", name=f"{root.name}_key", x=key, perm=perm)
    operands: dict[str, Any] = {"query": query, "key": key, "value": value, "attn_mask": mask}
    return make_before(root, "scaled_dot_product_attention", **operands)


def _scale(match: Match) -> float:
    """By what the scores are multiplied altogether."""
    scale = 1.0
    for name in ("query_scale", "key_scale", "scale"):
        scale *= match.number(name) if match.get(name) is not None else 1
    return scale / match.number("divisor") if match.get("divisor") is not None else scale


class FuseAttention(FusionPass):
    """``softmax(Q·Kᵀ·scale + mask)·V`` becomes ``scaled_dot_product_attention``, in opsets that have it (iOS18).

    Two terms that are added one after the other are added to each other first: layers of a model share them. The op's
    own scale is ``1/√E``; where the source has another, what is missing goes into the query. A mask may be
    added, or replace excluded scores by -∞; one that replaces them by a large negative number is another formula where
    a query may see nothing. The roundings of scores and weights disappear.
    """

    name = "fuse_attention"
    fusions = (Fusion(op.matmul(_weights, var("value")), _attention),)

    def run_on(self, function: Function) -> bool:
        return function.opset >= iOS18 and super().run_on(function)
