"""Normalisations that a source spells out.

MIL has no op for the RMS norm ``x/√(mean x² + ε)``: ``l2_norm`` sums over three axes, and a sum leaves float16's range
long before the mean does. It stays spelled out.
"""

from __future__ import annotations

from typing import Any

from gristmill.ir.constants import Data, ReshapeData
from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.passes.folding import FoldedData, as_vector, exact
from gristmill.passes.fusion import Fusion, FusionPass
from gristmill.passes.patterns import ANYTHING, Apply, Match, Miss, Pattern, constant, op, scalar, var
from gristmill.passes.rewriting import data_of, make_before, rebuilt, static_shape

_x = var("x")


def _mean(x: Pattern, name: str) -> Pattern:
    return Apply(("reduce_mean",), {"x": x, "axes": ANYTHING, "keep_dims": True}, name=name)


_centred = op.sub(_x, _mean(_x, "mean"))
_variance = _mean(op.square(_centred) | _centred * _centred | op.pow(_centred, 2), "variance")
_guarded = op.add(_variance, scalar("epsilon"))
_deviation = op.sqrt(_guarded)
_reciprocal_deviation = (
    op.rsqrt(_guarded, epsilon=ANYTHING).named("rsqrt")
    | op.rsqrt(_variance, epsilon=ANYTHING).named("rsqrt")
    | op.pow(_guarded, -0.5)
    | op.real_div(1.0, _deviation)
    | op.inverse(_deviation, epsilon=0.0)
)
_standardised = _centred * _reciprocal_deviation | op.real_div(_centred, _deviation)


def _axes(reduction: Op) -> tuple[int, ...]:
    rank = reduction.operand("x").rank
    axes = getattr(reduction, "axes", None)
    return tuple(sorted(axis % rank for axis in (range(rank) if axes is None else axes)))


def _norm(match: Match) -> Value | Miss:
    x, axes = match["x"], _axes(match.named["mean"])
    if axes != _axes(match.named["variance"]):
        return Miss(match.named["variance"], "mean and variance go along different axes")
    if not axes or axes != tuple(range(x.rank - len(axes), x.rank)):
        return Miss(match.named["mean"], f"it goes along the axes {list(axes)}, not along the last ones")
    epsilon = match.number("epsilon") if match.get("epsilon") is not None else 0.0
    if "rsqrt" in match.named:
        epsilon += getattr(match.named["rsqrt"], "epsilon", 0.0)
    if x.rank == 4 and axes == (2, 3):
        return make_before(match.root, "instance_norm", x=x, epsilon=epsilon)
    return make_before(match.root, "layer_norm", x=x, axes=axes, epsilon=epsilon)


class FuseLayerNorm(FusionPass):
    """``(x - μ)/√(σ² + ε)`` along the last axes becomes ``layer_norm``, over a whole image ``instance_norm``.

    μ is ``mean(x)`` and σ² is ``mean((x - μ)²)``. The roundings of mean, variance and differences disappear.
    """

    name = "fuse_layer_norm"
    fusions = (Fusion(_standardised, _norm),)


# --- the reciprocal of a root ----------------------------------------------------------------------------------------

_shifted = op.add(_x, scalar("epsilon"))


def _rsqrt(match: Match) -> Value | Miss:
    epsilon = match.number("epsilon")
    if epsilon <= 0:
        return Miss(match.root, "what is added is not positive")
    if "rsqrt" in match.named:
        epsilon += getattr(match.named["rsqrt"], "epsilon", 0.0)
    return make_before(match.root, "rsqrt", x=match["x"], epsilon=epsilon)


class FuseRsqrt(FusionPass):
    """``1/√(x + ε)`` becomes ``rsqrt`` with that ``epsilon``; the rounding of ``x + ε`` disappears."""

    name = "fuse_rsqrt"
    fusions = (
        Fusion(op.rsqrt(_shifted, epsilon=ANYTHING).named("rsqrt"), _rsqrt),
        Fusion(op.pow(_shifted, -0.5), _rsqrt),
        Fusion(op.real_div(1.0, op.sqrt(_shifted)), _rsqrt),
        Fusion(op.inverse(op.sqrt(_shifted), epsilon=0.0), _rsqrt),
    )


# --- factors and terms -----------------------------------------------------------------------------------------------

_fused = Apply(("layer_norm", "instance_norm"), {}, rest=True, name="norm")


def _with_gamma(match: Match) -> Value | Miss:
    norm = match.named["norm"]
    if norm.optional_operand("gamma") is not None or norm.optional_operand("beta") is not None:
        return Miss(norm, "it has a factor or a term already")
    return _parametrised(match, "gamma")


def _with_beta(match: Match) -> Value | Miss:
    norm = match.named["norm"]
    if norm.optional_operand("beta") is not None:
        return Miss(norm, "it has a term already")
    return _parametrised(match, "beta")


def _parametrised(match: Match, name: str) -> Value | Miss:
    """The normalisation with a constant for ``gamma`` or ``beta``."""
    norm, root, given = match.named["norm"], match.root, match["constant"]
    x = norm.operand("x")
    if not given.dtype.is_float or given.rank > x.rank:
        return Miss(root, "the constant is not one of floats that broadcasts to the result")
    if norm.op_name == "layer_norm" and (data := _along_axes(given, x, _axes(norm))) is not None:
        return rebuilt(norm, root, {name: _signed(data, root)}, name=root.name)
    if norm.op_name == "layer_norm" and not _is_per_instance(norm):
        return Miss(root, "the constant has not the shape of the normalised axes")
    channels = x.shape[1]
    vector = as_vector(given, axis=1 - x.rank, length=channels) if isinstance(channels, int) else None
    if vector is None:
        return Miss(root, "the constant is not one number for each channel")
    changed: dict[str, Any] = {"gamma": None, "beta": None, **norm.operands, name: _signed(vector, root)}
    changed.pop("axes", None)
    return make_before(root, "instance_norm", **changed)


def _along_axes(given: Value, x: Value, axes: tuple[int, ...]) -> Data | None:
    """A constant as a parameter of the last axes."""
    ones = given.rank - len(axes)
    if axes != tuple(range(x.rank - len(axes), x.rank)) or ones < 0:
        return None
    shape = tuple(x.shape[axis] for axis in axes)
    return ReshapeData(data_of(given), static_shape(given)[ones:]) if given.shape == (1,) * ones + shape else None


def _is_per_instance(norm: Op) -> bool:
    """Whether a layer norm without parameters is an instance norm: over all axes but the first two."""
    rank = norm.operand("x").rank
    bare = norm.optional_operand("gamma") is None and norm.optional_operand("beta") is None
    return bare and rank in (3, 4) and _axes(norm) == tuple(range(2, rank))


def _signed(data: Data, root: Op) -> Data:
    """What is taken away counts negative."""
    if root.op_name != "sub":
        return data
    return FoldedData(data.dtype, data.shape, lambda: -exact(data), "negated")


_constant = constant("constant")


class FuseNormAffine(FusionPass):
    """A constant factor and a constant term behind a layer or instance norm become its ``gamma`` and ``beta``.

    A layer norm over all axes but the first two becomes an instance norm where the constant is one for each channel.
    The rounding of the normalised values, and of their product, disappears.
    """

    name = "fuse_norm_affine"
    fusions = (
        Fusion(op.mul(_fused, _constant), _with_gamma),
        Fusion(op.add(_fused, _constant), _with_beta),
        Fusion(op.sub(_fused, _constant), _with_beta),
    )
