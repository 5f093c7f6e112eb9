"""Convolutions take over the factors and terms of each channel that follow them: scales, biases, batch norms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gristmill.ir.constants import Array, Data
from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.passes.folding import FoldedData, as_vector, exact, folded_name, why_not_scaled
from gristmill.passes.fusion import Fusion, FusionPass
from gristmill.passes.patterns import ANYTHING, Apply, Match, Miss, constant, op
from gristmill.passes.rewriting import data_of, is_readable, make_constant, rebuilt

_conv = Apply(("conv", "conv_transpose"), {}, rest=True, name="conv")


@dataclass(frozen=True)
class _Affine:
    """``scale·y + shift``, one of each for an output channel, in float64; ``None`` is 1 or 0."""

    scale: Callable[[], Array] | None = None
    shift: Callable[[], Array] | None = None


def _channels(conv: Op) -> int | None:
    dim = conv.result.shape[1]
    return dim if isinstance(dim, int) else None


def _folded(match: Match, affine: _Affine) -> Value | Miss:
    """The convolution with a function of each channel's results inside its weight and bias."""
    conv, root = match.named["conv"], match.root
    weight, bias, channels = conv.operand("weight"), conv.optional_operand("bias"), _channels(conv)
    reason = None if affine.scale is None else why_not_scaled(conv, affine.scale())
    if reason is not None or channels is None:
        return Miss(conv, reason or "the number of its channels is not known")
    if bias is not None and not is_readable(bias):
        return Miss(conv, "its bias is not constant")
    changed: dict[str, object] = {}
    old = None if bias is None else data_of(bias)
    if affine.scale is not None:
        groups = getattr(conv, "groups", 1) if conv.op_name == "conv_transpose" else None
        scaled = _scaled(data_of(weight), affine.scale, groups)
        changed["weight"] = make_constant(root, scaled, folded_name(weight))
    if affine.shift is not None or (old is not None and affine.scale is not None):
        dtype = conv.result.dtype
        shifted = FoldedData(dtype, (channels,), lambda: _shifted(old, affine), f"bias of {root.name}")
        changed["bias"] = shifted if bias is None else make_constant(root, shifted, folded_name(bias))
    return rebuilt(conv, root, changed, name=root.name)


def _scaled(weight: Data, scale: Callable[[], Array], groups: int | None) -> FoldedData:
    """A weight with each output channel's part multiplied; one of a transposed convolution is [C, O/groups, …]."""
    rest = (1,) * (len(weight.shape) - 2)

    def compute() -> Array:
        if groups is None:
            return exact(weight) * scale().reshape(-1, 1, *rest)
        parts = exact(weight).reshape(groups, -1, *weight.shape[1:])
        return np.asarray(parts * scale().reshape(groups, 1, -1, *rest)).reshape(weight.shape)

    return FoldedData(weight.dtype, weight.shape, compute, "scaled weight")


def _shifted(bias: Data | None, affine: _Affine) -> Array:
    total: Array = np.zeros(1) if bias is None else exact(bias)
    if affine.scale is not None:
        total = total * affine.scale()
    if affine.shift is not None:
        total = total + affine.shift()
    return total


# --- arithmetic with a constant for each channel ---------------------------------------------------------------------


def _arithmetic(match: Match) -> Value | Miss:
    conv, root, other = match.named["conv"], match.root, match["constant"]
    channels = _channels(conv)
    if channels is None or not other.dtype.is_float:
        return Miss(conv, "the number of its channels is not known")
    if other.rank > conv.result.rank:
        return Miss(root, "the constant has more axes than the convolution")
    vector = as_vector(other, axis=1 - conv.result.rank, length=channels)
    if vector is None:
        return Miss(root, "the constant is not one number for each channel")
    return _folded(match, _affine_of(root, vector, constant_first=root.operand("x") is other))


def _affine_of(root: Op, vector: Data, *, constant_first: bool) -> _Affine:
    match root.op_name:
        case "add":
            return _Affine(shift=lambda: exact(vector))
        case "sub" if constant_first:
            return _Affine(scale=lambda: np.full(vector.shape, -1.0), shift=lambda: exact(vector))
        case "sub":
            return _Affine(shift=lambda: -exact(vector))
        case "mul":
            return _Affine(scale=lambda: exact(vector))
    return _Affine(scale=lambda: _reciprocal(vector))


def _reciprocal(vector: Data) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(1 / exact(vector))


_constant = constant("constant")


class FuseConvArithmetic(FusionPass):
    """A constant for each output channel, or one for all, that follows a convolution joins its weight and bias.

    Added, subtracted, subtracted from, multiplied by or divided by. The roundings of the convolution's result
    disappear; the new weight and bias are computed in float64 and rounded once, as late as anybody reads them. Weights
    in float16, which are rounded already, are not multiplied.
    """

    name = "fuse_conv_arithmetic"
    fusions = (
        Fusion(op.add(_conv, _constant), _arithmetic),
        Fusion(op.sub(_conv, _constant), _arithmetic),
        Fusion(op.sub(_constant, _conv), _arithmetic),
        Fusion(op.mul(_conv, _constant), _arithmetic),
        Fusion(op.real_div(_conv, _constant), _arithmetic),
    )


# --- batch norm ------------------------------------------------------------------------------------------------------


def _batch_norm(match: Match) -> Value | Miss:
    norm = match.root
    parts = {name: norm.optional_operand(name) for name in ("mean", "variance", "gamma", "beta")}
    if any(value is not None and not is_readable(value) for value in parts.values()):
        return Miss(norm, "a statistic is not constant")
    mean, variance, gamma, beta = (None if value is None else data_of(value) for value in parts.values())
    assert mean is not None
    assert variance is not None
    epsilon = getattr(norm, "epsilon", 0.0)

    def scale() -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = 1 / np.sqrt(exact(variance) + epsilon)
        return np.asarray(factor if gamma is None else factor * exact(gamma))

    def shift() -> Array:
        return np.asarray((0 if beta is None else exact(beta)) - exact(mean) * scale())

    return _folded(match, _Affine(scale, shift))


_statistics = {
    "mean": ANYTHING,
    "variance": ANYTHING,
    "gamma": ANYTHING,
    "beta": ANYTHING,
    "epsilon": ANYTHING,
}


class FuseConvBatchNorm(FusionPass):
    """``gamma·(conv(x) - mean)/√(variance + ε) + beta`` becomes one convolution.

    The roundings of the convolution's result and within the normalisation disappear; weight and bias are computed in
    float64 and rounded once. Weights in float16, which are rounded already, are left alone.
    """

    name = "fuse_conv_batch_norm"
    fusions = (Fusion(op.batch_norm(_conv, **_statistics), _batch_norm),)
