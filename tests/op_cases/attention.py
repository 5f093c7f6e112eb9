"""Cases of ``gristmill.ops.attention``."""

from __future__ import annotations

import numpy as np
import torch

from gristmill.ir.types import fp16, fp32
from tests.op_cases.case import Case, Typed

RNG = np.random.default_rng(3)
QUERY, KEY, VALUE = RNG.normal(size=(2, 3, 5, 8)), RNG.normal(size=(2, 3, 7, 8)), RNG.normal(size=(2, 3, 7, 4))
INPUTS = {"query": QUERY, "key": KEY, "value": VALUE}
ADDED = RNG.normal(size=(5, 7))
SEEN = RNG.random((2, 1, 5, 7)) < 0.7


# A score is a sum of 8 products, Σ|qᵢkᵢ|/√8 at most 5: 4·√8·2⁻²⁴·5 = 3.4e-6, the relative error of a weight, twice
# with the sum of weights; values are at most 3.
SUMS = 2e-5


def torch_attention(query, key, value, attn_mask=None):
    tensors = [torch.from_numpy(a) for a in (query, key, value)]
    mask = None if attn_mask is None else torch.from_numpy(np.atleast_2d(attn_mask))
    return torch.nn.functional.scaled_dot_product_attention(*tensors, attn_mask=mask).numpy()


def attention(id, inputs, **more):
    return Case("scaled_dot_product_attention", inputs, torch_attention, id=id, float32_sums=SUMS, **more)


CASES = [
    attention("plain", INPUTS),
    attention("rank-3", {name: array[0] for name, array in INPUTS.items()}),
    attention("added-mask", {**INPUTS, "attn_mask": ADDED}),
    attention("bool-mask", {**INPUTS, "attn_mask": SEEN}),
    attention("row-mask", {**INPUTS, "attn_mask": SEEN[0, 0, 0]}),
    Case(
        "scaled_dot_product_attention",
        {**INPUTS, "attn_mask": Typed(ADDED, fp16)},
        torch_attention,
        id="mask-of-another-type",
        dtypes=(fp32,),
        float32_sums=SUMS,
    ),
    Case(
        "scaled_dot_product_attention",
        {name: array[0, :1, :1] for name, array in INPUTS.items()} | {"attn_mask": np.array([[[False]]])},
        np.full((1, 1, 4), np.nan),
        id="nothing-seen",
    ),
]
