"""Attention as one op."""

from __future__ import annotations

import math

import numpy as np

from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS18
from gristmill.ir.signature import Operand, OptionalOperand, TypeVar
from gristmill.ir.traits import Contraction
from gristmill.ir.types import TensorType, Type, bool_, fp16, fp32
from gristmill.ops.broadcast import broadcast_shapes
from gristmill.ops.mathematics import softmax_of


class scaled_dot_product_attention(Op):
    """``softmax(Q·Kᵀ / √E + mask)·V``.

    ``query`` is [B, …, L, E], ``key`` [B, …, S, E], ``value`` [B, …, S, F], the result [B, …, L, F]. The mask
    broadcasts to [B, …, L, S]: floats are added to the scores, of bools the false ones exclude. A query that may see
    nothing gives NaN, as the formula does.
    """

    since = iOS18
    T = TypeVar(fp16, fp32)
    M = TypeVar(bool_, fp16, fp32)

    query = Operand(T)
    key = Operand(T)
    value = Operand(T)
    attn_mask = OptionalOperand(M)
    traits = (Contraction,)

    def infer(self) -> Type:
        query, key, value = self.query.shape, self.key.shape, self.value.shape
        if len(query) < 3 or not len(query) == len(key) == len(value):
            raise self.misfit(
                "ranks of 'query', 'key' and 'value'",
                expected="equal, 3 or more",
                actual=f"{len(query)}, {len(key)}, {len(value)}",
            )
        for name, other in (("key", key), ("value", value)):
            if any(map(dims.never_equal, query[:-2], other[:-2])):
                raise self.misfit(f"leading dimensions of '{name}'", expected=query[:-2], actual=other[:-2])
        if dims.never_equal(query[-1], key[-1]):
            raise self.misfit("last dimension of 'key'", expected=f"{query[-1]}, as of 'query'", actual=key[-1])
        if dims.never_equal(key[-2], value[-2]):
            raise self.misfit("sequence length of 'value'", expected=f"{key[-2]}, as of 'key'", actual=value[-2])
        self._check_mask((*query[:-1], key[-2]))
        return TensorType(self.query.dtype, (*query[:-1], value[-1]))

    def _check_mask(self, scores: tuple[dims.Dim, ...]) -> None:
        if self.attn_mask is None:
            return
        shape = self.attn_mask.shape
        merged = broadcast_shapes(scores, shape, op=self)
        if len(merged) > len(scores) or any(map(dims.never_equal, merged, scores)):
            raise self.misfit("shape of 'attn_mask'", expected=f"one that broadcasts to {scores}", actual=shape)

    def reference(self, query: Array, key: Array, value: Array, attn_mask: Array | None) -> Array:
        scores = np.matmul(query, key.swapaxes(-1, -2))
        scores /= math.sqrt(query.shape[-1])
        if attn_mask is not None and attn_mask.dtype == np.bool_:
            np.copyto(scores, -np.inf, where=~attn_mask)
        elif attn_mask is not None:
            scores += attn_mask
        return np.matmul(softmax_of(scores), value)


OPS = (scaled_dot_product_attention,)
