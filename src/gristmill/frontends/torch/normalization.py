"""Normalisations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gristmill.frontends.torch.context import Context
from gristmill.frontends.torch.reduction import variance
from gristmill.frontends.torch.registry import lowers
from gristmill.ir.program import Value


@lowers("aten.layer_norm.default")
def layer_norm(
    ctx: Context, x: Value, shape: Sequence[int], weight: Value | None, bias: Value | None, eps: float, *ignored: object
) -> Value:
    axes = list(range(x.rank - len(shape), x.rank))
    return _normalised(ctx, x, axes, weight, bias, eps)


@lowers("aten.native_layer_norm.default")
def native_layer_norm(
    ctx: Context, x: Value, shape: Sequence[int], weight: Value | None, bias: Value | None, eps: float
) -> Any:
    return [layer_norm(ctx, x, shape, weight, bias, eps), None, None]


def _normalised(ctx: Context, x: Value, axes: list[int], weight: Value | None, bias: Value | None, eps: float) -> Value:
    """Layer normalisation; factors that are no constants are applied afterwards."""
    weight, bias = ctx.constant_operand(weight), ctx.constant_operand(bias)
    fits = all(factor is None or factor.constant is not None for factor in (weight, bias))
    y = ctx.mb.layer_norm(
        x=x, axes=axes, gamma=weight if fits else None, beta=bias if fits else None, epsilon=float(eps)
    )
    return y if fits else _affine(ctx, y, weight, bias)


def _affine(ctx: Context, x: Value, weight: Value | None, bias: Value | None) -> Value:
    if weight is not None:
        x = ctx.mb.mul(x=x, y=weight)
    return ctx.mb.add(x=x, y=bias) if bias is not None else x


def _per_channel(ctx: Context, factor: Value | None, rank: int) -> Value | None:
    """A vector over axis 1 in a shape that broadcasts."""
    return None if factor is None else ctx.reshape(factor, [-1] + [1] * (rank - 2))


@lowers("aten.group_norm.default")
def group_norm(
    ctx: Context, x: Value, groups: int, weight: Value | None, bias: Value | None, eps: float, *ignored: object
) -> Value:
    """Each group of channels is normalised as a whole (Wu and He, 2018); then each channel has its factor."""
    sizes = ctx.sizes(x)
    grouped = ctx.reshape(x, [sizes[0], groups, -1]) if isinstance(sizes[0], int) else _grouped(ctx, x, groups)
    y = ctx.reshape(ctx.mb.layer_norm(x=grouped, axes=[2], epsilon=float(eps)), sizes)
    return _affine(ctx, y, _per_channel(ctx, weight, x.rank), _per_channel(ctx, bias, x.rank))


def _grouped(ctx: Context, x: Value, groups: int) -> Value:
    length: Any = x.shape[1]
    length = length // groups
    for axis in range(2, x.rank):
        size = ctx.size(x, axis)
        length = length * size if isinstance(length, int) and isinstance(size, int) else ctx.mb.mul(x=length, y=size)
    return ctx.reshape(x, [ctx.size(x, 0), groups, length])


@lowers("aten.native_group_norm.default")
def native_group_norm(
    ctx: Context, x: Value, weight: Value | None, bias: Value | None, n: Any, c: Any, hw: Any, groups: int, eps: float
) -> Any:
    return [group_norm(ctx, x, groups, weight, bias, eps), None, None]


@lowers("aten.rms_norm.default", "aten._fused_rms_norm.default")
def rms_norm(ctx: Context, x: Value, shape: Sequence[int], weight: Value | None, eps: float | None) -> Any:
    """``x / √(mean(x²) + ε)·w`` (Zhang and Sennrich, 2019); ε defaults to the type's own."""
    axes = list(range(x.rank - len(shape), x.rank))
    epsilon = float(torch.finfo(ctx.torch_dtype).eps if eps is None else eps)
    mean = ctx.mb.reduce_mean(x=ctx.mb.square(x=x), axes=axes, keep_dims=True)
    scale = ctx.mb.rsqrt(x=mean, epsilon=epsilon)
    y = ctx.mb.mul(x=x, y=scale)
    y = y if weight is None else ctx.mb.mul(x=y, y=weight)
    return [y, scale] if "_fused" in ctx.operator else y


@lowers("aten.instance_norm.default")
def instance_norm(
    ctx: Context,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    running_mean: Value | None,
    running_var: Value | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    *ignored: object,
) -> Value:
    """Each channel of each sample is normalised over its space (Ulyanov et al., 2016)."""
    if not use_input_stats:
        return batch_norm(ctx, x, weight, bias, running_mean, running_var, eps)
    weight, bias = ctx.constant_operand(weight), ctx.constant_operand(bias)
    constants = all(factor is None or factor.constant is not None for factor in (weight, bias))
    if constants and x.rank in (3, 4):
        return ctx.mb.instance_norm(x=x, gamma=weight, beta=bias, epsilon=float(eps))
    y = ctx.mb.layer_norm(x=x, axes=list(range(2, x.rank)), epsilon=float(eps))
    return _affine(ctx, y, _per_channel(ctx, weight, x.rank), _per_channel(ctx, bias, x.rank))


def batch_norm(
    ctx: Context,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value | None,
    var: Value | None,
    eps: float,
) -> Value:
    """``(x − mean)/√(var + ε)·weight + bias`` for each channel (axis 1), by given statistics or the batch's own."""
    if mean is None or var is None:
        axes = [axis for axis in range(x.rank) if axis != 1]
        var_of, mean_of = variance(ctx, x, axes, 0, True)
    else:
        factors = [ctx.constant_operand(factor) for factor in (mean, var, weight, bias)]
        constants = all(factor is None or factor.constant is not None for factor in factors)
        if constants and 3 <= x.rank <= 5:
            return ctx.mb.batch_norm(
                x=x, mean=factors[0], variance=factors[1], gamma=factors[2], beta=factors[3], epsilon=float(eps)
            )
        if constants and x.rank == 2 and all(factor is not None for factor in factors[:2]):
            y = ctx.mb.batch_norm(
                x=ctx.mb.expand_dims(x=x, axes=[2]),
                mean=factors[0],
                variance=factors[1],
                gamma=factors[2],
                beta=factors[3],
                epsilon=float(eps),
            )
            return ctx.mb.squeeze(x=y, axes=[2])
        shape = [-1] + [1] * (x.rank - 2)
        mean_of, var_of = ctx.reshape(mean, shape), ctx.reshape(var, shape)
    y = ctx.mb.mul(x=ctx.mb.sub(x=x, y=mean_of), y=ctx.mb.rsqrt(x=var_of, epsilon=float(eps)))
    return _affine(ctx, y, _per_channel(ctx, weight, x.rank), _per_channel(ctx, bias, x.rank))


@lowers("aten.batch_norm.default")
def batch_norm_layer(
    ctx: Context,
    x: Value,
    weight: Any,
    bias: Any,
    mean: Value | None,
    var: Value | None,
    training: bool,
    momentum: float,
    eps: float,
    *ignored: object,
) -> Value:
    """In training mode by the batch's own statistics; the running ones, which it also updates, no result depends on."""
    if training:
        mean = var = None
    return batch_norm(ctx, x, weight, bias, mean, var, eps)


@lowers("aten._native_batch_norm_legit_no_training.default")
def batch_norm_inference(
    ctx: Context, x: Value, weight: Any, bias: Any, mean: Value, var: Value, momentum: float, eps: float
) -> Any:
    return [batch_norm(ctx, x, weight, bias, mean, var, eps), None, None]


@lowers("aten._native_batch_norm_legit.no_stats")
def batch_norm_of_batch(
    ctx: Context, x: Value, weight: Any, bias: Any, training: bool, momentum: float, eps: float
) -> Any:
    return [batch_norm(ctx, x, weight, bias, None, None, eps), None, None]


@lowers("aten._weight_norm.default", "aten._weight_norm_interface.default")
def weight_norm(ctx: Context, v: Value, g: Value, dim: int = 0) -> Any:
    """``g·v/‖v‖``, the norm over all axes but one (Salimans and Kingma, 2016); a constant, as both factors are."""
    axes = list(range(v.rank)) if dim == -1 else [axis for axis in range(v.rank) if axis != dim % v.rank]
    norm = ctx.mb.reduce_l2_norm(x=v, axes=axes, keep_dims=True)
    if dim == -1:
        norm = ctx.reshape(norm, [])
    weight = ctx.mb.mul(x=v, y=ctx.mb.real_div(x=g, y=norm))
    return [weight, norm] if "interface" in ctx.operator else weight
