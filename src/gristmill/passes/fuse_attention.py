"""Attention that a source spells out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gristmill.ir.opset import iOS18
from gristmill.ir.program import Function, Value
from gristmill.ir.types import bool_, fp32, same_shape
from gristmill.passes.fusion import Fusion, FusionPass
from gristmill.passes.patterns import ANYTHING, Match, Miss, Number, op, scalar, var
from gristmill.passes.rewriting import data_of, is_readable, make_before, make_constant

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


def _unfit(match: Match) -> Miss | None:
    """Why the op cannot take what the formula has."""
    query, key, value, mask = match["query"], match["key"], match["value"], match.get("mask")
    root, product, softmax = match.root, match.named["product"], match.named["softmax"]
    if query.rank < 3 or not query.rank == key.rank == value.rank:
        return Miss(root, "query, key and value have the same rank, 3 or more")
    if getattr(softmax, "axis", -1) % query.rank != query.rank - 1:
        return Miss(softmax, "it does not go along the last axis")
    if not all(same_shape(query.shape[:-2], other.shape[:-2]) for other in (key, value)):
        return Miss(root, "the leading axes broadcast")
    if not isinstance(query.shape[-1], int) or query.shape[-1] == 0:
        return Miss(product, "the length of the vectors is not known")
    if mask is not None and not same_shape(match.named["masked"].result.shape, product.result.shape):
        return Miss(match.named["masked"], "the mask has more elements than the scores")
    if mask is not None and mask.dtype not in (bool_, query.dtype):
        return Miss(match.named["masked"], f"the mask is {mask.dtype}")
    return None


def _scaled_query(match: Match) -> Value:
    """The query, multiplied by what the source's scale is beside the op's own."""
    query, root = match["query"], match.root
    factor = _scale(match) * math.sqrt(int(query.shape[-1]))
    last_place = 2.0**-23 if query.dtype == fp32 else 2.0**-10
    if math.isclose(factor, 1, rel_tol=4 * last_place):  # up to three numbers were rounded
        return query
    number = make_constant(root, query.dtype.numpy.type(factor), f"{root.name}_scale")
    return make_before(root, "mul", name=f"{root.name}_query", x=query, y=number)


def _scale(match: Match) -> float:
    """By what the scores are multiplied altogether."""
    scale = 1.0
    for name in ("query_scale", "key_scale", "scale"):
        scale *= match.number(name) if match.get(name) is not None else 1
    return scale / match.number("divisor") if match.get("divisor") is not None else scale


def _rows_of_vectors(key: Value, match: Match) -> Value:
    """The key as the op wants it: a row for each place."""
    if getattr(match.named["product"], "transpose_y", False):
        return key
    perm = (*range(key.rank - 2), key.rank - 1, key.rank - 2)
    return make_before(match.root, "transpose", name=f"{match.root.name}_key", x=key, perm=perm)


_EXCLUDED = -1e9
"""A score to which such a number is added has the weight ``exp(-10⁹)`` beside others, which is 0 in every type."""


def _in_bools(mask: Value) -> Value | Miss:
    """A constant mask of zeros and numbers that exclude as bools, true for the zeros; other masks as they are.

    Float16 cannot hold the numbers, so that such a mask would keep the whole attention in float32. Where all that a
    query could see is excluded, roundings decide what it sees nevertheless.
    """
    maker = mask.producer
    if maker is None or not is_readable(mask) or not mask.dtype.is_float or not mask.rank:
        return mask
    numbers = data_of(mask).read()
    excluded = numbers <= _EXCLUDED
    if excluded.all(axis=-1).any():
        return Miss(maker, "the mask leaves a query nothing to see")
    if not excluded.any() or not np.all(excluded | (numbers == 0)):
        return mask
    assert maker.next is not None  # what uses it
    return make_constant(maker.next, ~excluded, f"{mask.name}_allowed")


class FuseAttention(FusionPass):
    """``softmax(Q·Kᵀ·scale + mask)·V`` becomes ``scaled_dot_product_attention``, in opsets that have it (iOS18).

    Two terms that are added one after the other are added to each other first: layers of a model share them. The op's
    own scale is ``1/√E``; where the source has another, what is missing goes into the query. A mask may be
    added, or replace excluded scores by -∞; one that replaces them by a large negative number is another formula where
    a query may see nothing. A constant mask of zeros and such numbers, which leaves every query something to see,
    becomes one of bools. The roundings of scores and weights disappear.
    """

    name = "fuse_attention"

    def __init__(self) -> None:
        self.fusions = (Fusion(op.matmul(_weights, var("value")), self._attention),)
        self._masks: dict[Value, Value | Miss] = {}  # layers share masks, which may be large
        super().__init__()

    def run_on(self, function: Function) -> bool:
        self._masks.clear()
        return function.opset >= iOS18 and super().run_on(function)

    def _attention(self, match: Match) -> Value | Miss:
        root, mask = match.root, match.get("mask")
        if (miss := _unfit(match)) is not None:
            return miss
        operands: dict[str, Any] = {"value": match["value"]}
        if mask is not None:
            found = self._masks[mask] if mask in self._masks else self._masks.setdefault(mask, _in_bools(mask))
            if isinstance(found, Miss):
                return found
            operands["attn_mask"] = found
            if (second := match.get("second_mask")) is not None:
                operands["attn_mask"] = make_before(root, "add", name=f"{root.name}_mask", x=mask, y=second)
        operands["query"] = _scaled_query(match)
        operands["key"] = _rows_of_vectors(match["key"], match)
        return make_before(root, "scaled_dot_product_attention", **operands)
