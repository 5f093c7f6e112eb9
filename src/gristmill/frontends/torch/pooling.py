"""Pooling."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gristmill.frontends.torch.context import Context
from gristmill.frontends.torch.registry import lowers
from gristmill.frontends.torch.shape import pad_axes
from gristmill.ir.program import Value


def _with_batch(ctx: Context, x: Value, spatial: int, pool: Callable[[Value], Value]) -> Value:
    if x.rank == spatial + 2:
        return pool(x)
    return ctx.mb.squeeze(x=pool(ctx.mb.expand_dims(x=x, axes=[0])), axes=[0])


def _each(value: int | Sequence[int], spatial: int) -> list[int]:
    listed = [value] if isinstance(value, int) else list(value)
    return listed * spatial if len(listed) == 1 else listed


def _spatial(ctx: Context) -> int:
    return int(next(c for c in ctx.operator if c.isdigit()))


@lowers("aten.max_pool1d.default", "aten.max_pool2d.default", "aten.max_pool3d.default")
def max_pool(
    ctx: Context,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Value:
    spatial = _spatial(ctx)
    sizes = _each(kernel, spatial)
    strides = _each(stride, spatial) if stride else sizes
    pads, dilations = _each(padding, spatial), _each(dilation, spatial)

    def pool(y: Value) -> Value:
        if any(d != 1 for d in dilations) or (ceil_mode and spatial == 3):
            return _sliced_max(ctx, y, sizes, strides, pads, dilations)
        return ctx.mb.max_pool(
            x=y,
            kernel_sizes=sizes,
            strides=strides,
            pad_type="custom" if any(pads) or ceil_mode else "valid",
            pad=[n for amount in pads for n in (amount, amount)],
            ceil_mode=ceil_mode,
        )

    return _with_batch(ctx, x, spatial, pool)


def _sliced_max(
    ctx: Context, x: Value, sizes: list[int], strides: list[int], pads: list[int], dilations: list[int]
) -> Value:
    """What the op lacks: the greatest of a window's elements, each taken for all windows at once by a strided slice."""
    first = x.rank - len(sizes)
    counts = ctx.meta[0].shape[-len(sizes) :] if isinstance(ctx.meta, tuple | list) else ctx.meta.shape[-len(sizes) :]
    amounts: dict[int, tuple[Any, Any]] = {}
    for k, pad in enumerate(pads):
        size = x.shape[first + k]
        if not isinstance(size, int):
            raise ctx.unsupported("such pooling of an axis whose size is only known at run time")
        reach = (int(counts[k]) - 1) * strides[k] + (sizes[k] - 1) * dilations[k] + 1
        if pad or reach > size:
            amounts[first + k] = pad, max(reach - size - pad, 0)
    if amounts:
        x = pad_axes(ctx, x, amounts, -math.inf)
    best: Value | None = None
    for place in itertools.product(*(range(n) for n in sizes)):
        part = x
        for k, index in enumerate(place):
            begin = index * dilations[k]
            part = ctx.slice(part, first + k, begin, begin + (int(counts[k]) - 1) * strides[k] + 1, strides[k])
        best = part if best is None else ctx.mb.maximum(x=best, y=part)
    assert best is not None  # a window has at least one element
    return best


@lowers("aten.max_pool2d_with_indices.default", "aten.max_pool3d_with_indices.default")
def max_pool_with_indices(
    ctx: Context,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Any:
    return [max_pool(ctx, x, kernel, stride, padding, dilation, ceil_mode), None]


@lowers("aten.avg_pool1d.default", "aten.avg_pool2d.default", "aten.avg_pool3d.default")
def avg_pool(
    ctx: Context,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    spatial = _spatial(ctx)
    sizes = _each(kernel, spatial)
    strides = _each(stride, spatial) if stride else sizes
    pads = _each(padding, spatial)

    def pool(y: Value) -> Value:
        if ceil_mode and spatial == 3:  # the op knows it for one and two axes
            return _weighed_average(ctx, y, sizes, strides, pads, count_include_pad, divisor_override)
        averaged = ctx.mb.avg_pool(
            x=y,
            kernel_sizes=sizes,
            strides=strides,
            pad_type="custom" if any(pads) or ceil_mode else "valid",
            pad=[n for amount in pads for n in (amount, amount)],
            exclude_padding_from_average=not count_include_pad and divisor_override is None,
            ceil_mode=ceil_mode,
        )
        if divisor_override is None:
            return averaged
        return ctx.mb.mul(x=averaged, y=ctx.number(math.prod(sizes) / divisor_override, y.dtype))

    return _with_batch(ctx, x, spatial, pool)


def _weighed_average(
    ctx: Context, x: Value, sizes: list[int], strides: list[int], pads: list[int], count_pads: bool, divisor: int | None
) -> Value:
    """Averages axis by axis, by matrices; a window counts what it covers of the axis, with its padding or without."""
    first = x.rank - len(sizes)
    for k, (kernel, stride, pad) in enumerate(zip(sizes, strides, pads, strict=True)):
        size, wanted = x.shape[first + k], ctx.meta.shape[k - len(sizes)]
        if not isinstance(size, int):
            raise ctx.unsupported("such pooling of an axis whose size is only known at run time")
        weights = np.zeros((int(wanted), size))
        for row in range(int(wanted)):
            begin, end = row * stride - pad, min(row * stride - pad + kernel, size + pad)
            covered = range(max(begin, 0), min(end, size))
            count = end - begin if count_pads else len(covered)
            weights[row, covered.start : covered.stop] = 1 / count if divisor is None else 1
        x = apply_along_axis(ctx, x, first + k, weights)
    return x if divisor is None else ctx.mb.mul(x=x, y=ctx.number(1 / divisor, x.dtype))


@lowers(
    "aten.adaptive_avg_pool1d.default",
    "aten.adaptive_avg_pool2d.default",
    "aten.adaptive_avg_pool3d.default",
    "aten._adaptive_avg_pool2d.default",
    "aten._adaptive_avg_pool3d.default",
)
def adaptive_avg_pool(ctx: Context, x: Value, output_size: Sequence[int]) -> Value:
    """Windows from ⌊i·in/out⌋ to ⌈(i+1)·in/out⌉, which overlap where out does not divide in."""
    return _adaptive(ctx, x, output_size, "avg_pool", "reduce_mean", _averaged_axis)


@lowers(
    "aten.adaptive_max_pool1d.default",
    "aten.adaptive_max_pool2d.default",
    "aten.adaptive_max_pool3d.default",
)
def adaptive_max_pool(ctx: Context, x: Value, output_size: Sequence[int]) -> Any:
    return [_adaptive(ctx, x, output_size, "max_pool", "reduce_max", _greatest_of_axis), None]


def _adaptive(
    ctx: Context,
    x: Value,
    output_size: Sequence[int],
    pool_name: str,
    reduce_name: str,
    along_axis: Callable[[Context, Value, int, int, int], Value],
) -> Value:
    first = x.rank - len(output_size)
    if all(size == 1 for size in output_size):
        reduce: Callable[..., Value] = getattr(ctx.mb, reduce_name)
        return reduce(x=x, axes=list(range(first, x.rank)), keep_dims=True)
    pairs: list[tuple[int, int]] = []
    for k, wanted in enumerate(output_size):
        size = x.shape[first + k]
        if not isinstance(size, int):
            raise ctx.unsupported(
                "adaptive pooling of an axis whose size is only known at run time",
                expected="output size 1",
                actual=wanted,
            )
        pairs.append((size, wanted))
    if all(size % wanted == 0 for size, wanted in pairs):
        steps = [size // wanted for size, wanted in pairs]
        pool: Callable[..., Value] = getattr(ctx.mb, pool_name)
        return _with_batch(ctx, x, len(steps), lambda y: pool(x=y, kernel_sizes=steps, strides=steps, pad_type="valid"))
    for k, (size, wanted) in enumerate(pairs):
        if size != wanted:
            x = along_axis(ctx, x, first + k, size, wanted)
    return x


def _windows(size: int, wanted: int) -> list[tuple[int, int]]:
    return [(i * size // wanted, -(-(i + 1) * size // wanted)) for i in range(wanted)]


def _averaged_axis(ctx: Context, x: Value, axis: int, size: int, wanted: int) -> Value:
    """One axis by a product with the matrix whose rows hold each window's weights."""
    weights = np.zeros((wanted, size))
    for row, (begin, end) in enumerate(_windows(size, wanted)):
        weights[row, begin:end] = 1 / (end - begin)
    return apply_along_axis(ctx, x, axis, weights)


def apply_along_axis(ctx: Context, x: Value, axis: int, matrix: Any) -> Value:
    """Replaces an axis of ``n`` elements by the ``m`` combinations that an m×n matrix makes of them."""
    moved = ctx.move_axis(x, axis, -1)
    y = ctx.mb.matmul(x=moved, y=matrix.astype(x.dtype.numpy), transpose_y=True)
    return ctx.move_axis(y, -1, axis)


def _greatest_of_axis(ctx: Context, x: Value, axis: int, size: int, wanted: int) -> Value:
    parts = [
        ctx.mb.reduce_max(x=ctx.slice(x, axis, begin, end), axes=[axis], keep_dims=True)
        for begin, end in _windows(size, wanted)
    ]
    return ctx.mb.concat(values=parts, axis=axis) if len(parts) > 1 else parts[0]
