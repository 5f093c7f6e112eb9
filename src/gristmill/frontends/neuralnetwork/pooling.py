"""Pooling over two and three axes."""

from __future__ import annotations

from typing import Any

from gristmill.frontends.neuralnetwork.context import Context, ops
from gristmill.frontends.neuralnetwork.conv import padding_3d, padding_of, volumes
from gristmill.frontends.neuralnetwork.registry import maps
from gristmill.ir.program import Value

_POOLS = {"MAX": "max_pool", "AVERAGE": "avg_pool", "L2": "l2_pool"}
_REDUCTIONS = {"MAX": "reduce_max", "AVERAGE": "reduce_mean", "L2": "reduce_l2_norm"}


@maps("pooling", on_planes=True)
def pooling(ctx: Context, p: Any, x: Value) -> Value:
    if p.globalPooling:
        return ops.op(_REDUCTIONS[p.type], x=x, axes=[-2, -1], keep_dims=True)
    options: dict[str, Any] = {"kernel_sizes": p.kernelSize or (3, 3), "strides": p.stride or (1, 1)}
    if p.choice("PoolingPaddingType") == "includeLastPixel":
        high, wide = p.includeLastPixel.paddingAmounts or (0, 0)
        options |= {"pad_type": "custom", "pad": [high, high, wide, wide], "ceil_mode": True}
    else:
        options |= padding_of(p, "PoolingPaddingType")
    if p.type == "AVERAGE":
        options["exclude_padding_from_average"] = p.avgPoolExcludePadding
    return ctx.planes(x, lambda y: ops.op(_POOLS[p.type], x=y, **options))


@maps("pooling3d")
def pooling_3d(ctx: Context, p: Any, x: Value) -> Value:
    options: dict[str, Any] = {
        "kernel_sizes": volumes(p, "kernel"),
        "strides": volumes(p, "stride"),
        **padding_3d(p),
    }
    if p.type == "AVERAGE":
        options["exclude_padding_from_average"] = p.countExcludePadding
    return ops.op(_POOLS[p.type], x=x, **options)


@maps("globalPooling3d")
def global_pooling_3d(ctx: Context, p: Any, x: Value) -> Value:
    return ops.op(_REDUCTIONS[p.type], x=x, axes=[-3, -2, -1], keep_dims=True)
