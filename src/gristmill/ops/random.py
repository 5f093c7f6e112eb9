"""Random tensors.

A ``seed`` of 0 or more fixes the result, the same in every call; a negative one, the default, draws afresh. Core ML's
own generator is not documented, so only the distributions agree with it, not the numbers. These are drawn from the one
stream that NumPy promises never to change (its enhancement proposal 19), so a seed means the same with every release.
"""

from __future__ import annotations

import numpy as np

from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.signature import Const, Operand, TypeVar
from gristmill.ir.traits import Random
from gristmill.ir.types import DType, TensorType, Type, fp16, fp32, int32
from gristmill.ops.mathematics import softmax_of
from gristmill.ops.sizes import claim, known_length, sized, sizes_of


def _generator(seed: int) -> np.random.RandomState:
    return np.random.RandomState(seed if seed >= 0 else None)


class _RandomOfShape(Op):
    T = TypeVar(fp16, fp32)

    shape = Operand(int32, rank=1)
    seed = Const(int, default=-1)
    traits = (Random,)

    def infer(self) -> Type:
        sizes = sizes_of(self.shape)
        if sizes is None:
            sizes = [dims.fresh() for _ in range(known_length(self.shape, "'shape'"))]
        return TensorType(self._dtype(), sized(sizes))

    def _dtype(self) -> DType:
        """The type of the parameters given, float32 without any."""
        found = {name: self.operand(name).dtype for name in self.operands if self.params[name].constraint is self.T}
        if len(set(found.values())) > 1:
            raise self.misfit(
                f"types of {', '.join(found)}", expected="one type", actual=", ".join(map(str, found.values()))
            )
        return next(iter(found.values()), fp32)


class random_bernoulli(_RandomOfShape):
    """1 with probability ``prob``, 0 otherwise."""

    prob = Const(float, _RandomOfShape.T, default=0.5)

    def reference(self, shape: Array, prob: float, seed: int) -> Array:
        drawn = _generator(seed).random(claim(shape.tolist(), 8))
        return (drawn < prob).astype(np.float64)


class random_categorical(Op):
    """Places along the last axis of ``x``, drawn ``size`` times with replacement, as floats.

    ``x`` holds the logarithms of the weights (``logits``) or the weights themselves (``probs``); neither need be
    normalised.
    """

    T = TypeVar(fp16, fp32)

    x = Operand(T)
    mode = Const(str, default="logits", choices=("logits", "probs"))
    size = Const(int, default=1)
    seed = Const(int, default=-1)
    traits = (Random,)

    def infer(self) -> Type:
        if self.x.rank < 1:
            raise self.misfit("rank of 'x'", expected="1 or more", actual=0)
        if self.size < 1:
            raise self.misfit("number of draws", expected="1 or more", actual=self.size)
        return TensorType(self.x.dtype, (*self.x.shape[:-1], self.size))

    def reference(self, x: Array, mode: str, size: int, seed: int) -> Array:
        weights = softmax_of(x) if mode == "logits" else x / np.sum(x, axis=-1, keepdims=True)
        cumulative = np.cumsum(weights, axis=-1).reshape(-1, x.shape[-1])
        drawn = _generator(seed).random((len(cumulative), size))
        places = [np.searchsorted(c, u, side="right") for c, u in zip(cumulative, drawn, strict=True)]
        chosen = np.minimum(np.reshape(places, (*x.shape[:-1], size)), x.shape[-1] - 1)  # the last sum may lie below 1
        return chosen.astype(np.float64)


class random_normal(_RandomOfShape):
    """Normally distributed around ``mean`` with standard deviation ``stddev``."""

    mean = Const(float, _RandomOfShape.T, default=0.0)
    stddev = Const(float, _RandomOfShape.T, default=1.0)

    def reference(self, shape: Array, mean: float, stddev: float, seed: int) -> Array:
        return mean + stddev * _generator(seed).standard_normal(claim(shape.tolist(), 8))


class random_uniform(_RandomOfShape):
    """Evenly distributed from ``low`` up to, but without, ``high``; rounding to the result's type may reach it."""

    low = Const(float, _RandomOfShape.T, default=0.0)
    high = Const(float, _RandomOfShape.T, default=1.0)

    def reference(self, shape: Array, low: float, high: float, seed: int) -> Array:
        return low + (high - low) * _generator(seed).random(claim(shape.tolist(), 8))


OPS = (random_bernoulli, random_categorical, random_normal, random_uniform)
