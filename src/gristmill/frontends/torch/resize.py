"""Resizing and sampling of images.

Nearest and linear resizing use Core ML's ops where these have exactly PyTorch's grid. Everything else is what resizing
is: each axis times a constant matrix of weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from gristmill.frontends.torch.context import Context, Size, static_shape
from gristmill.frontends.torch.pooling import apply_along_axis
from gristmill.frontends.torch.registry import lowers
from gristmill.ir.constants import Array
from gristmill.ir.program import Value

Scales: TypeAlias = Sequence[float] | None


def _geometry(ctx: Context, x: Value, scales: Sequence[float | None]) -> list[tuple[int, int, float]] | None:
    """Each spatial axis as (input size, output size, step of the input a step of the output), where all are known."""
    out = static_shape(ctx.meta.shape[2:])
    into = static_shape(x.shape[2:])
    if out is None or into is None:
        return None
    return [(n, m, 1 / scale if scale else n / m) for n, m, scale in zip(into, out, scales, strict=True)]


def _by_factors(ctx: Context, x: Value, scales: Sequence[float | None], op_name: str, **options: Any) -> Value | None:
    """An image of unknown size by a known factor, if it has one; a signal is an image of one row."""
    if x.rank == 3:
        row = _by_factors(ctx, ctx.mb.expand_dims(x=x, axes=[2]), [1.0, *scales], op_name, **options)
        return None if row is None else ctx.mb.squeeze(x=row, axes=[2])
    scales = [given or factor for given, factor in zip(scales, _factors(ctx, len(scales)), strict=True)]
    if x.rank != 4 or any(scale is None for scale in scales):
        return None
    up: Callable[..., Value] = getattr(ctx.mb, op_name)
    return up(x=x, scale_factor_height=scales[0], scale_factor_width=scales[1], **options)


def _factors(ctx: Context, count: int) -> list[float | None]:
    """By what each spatial axis grows, where the output's size is always the same multiple of the input's."""
    sizes = zip(ctx.argument_meta[0].shape[-count:], ctx.meta.shape[-count:], strict=True)
    return [_factor(into, out) for into, out in sizes]


def _factor(into: int | torch.SymInt, out: int | torch.SymInt) -> float | None:
    if isinstance(into, int) and isinstance(out, int):
        return out / into
    if isinstance(into, int) or isinstance(out, int):
        return None
    if len(symbols := into.node.expr.free_symbols | out.node.expr.free_symbols) != 1:
        return None
    (symbol,) = symbols
    samples = [(into.node.expr.subs(symbol, n), out.node.expr.subs(symbol, n)) for n in (7, 8, 29)]
    ratios = {float(wide / narrow) for narrow, wide in samples}
    return ratios.pop() if len(ratios) == 1 else None


def _scales(x: Value, given: Sequence[float | None] | None) -> list[float | None]:
    return list(given) if given else [None] * (x.rank - 2)


# --- nearest ---------------------------------------------------------------------------------------------------------


@lowers("aten.upsample_nearest1d.vec", "aten.upsample_nearest2d.vec", "aten.upsample_nearest3d.vec")
def nearest(ctx: Context, x: Value, size: Sequence[Size] | None, scales: Scales) -> Value:
    return _nearest(ctx, x, size, _scales(x, scales), 0.0)


@lowers("aten.upsample_nearest1d.default", "aten.upsample_nearest2d.default", "aten.upsample_nearest3d.default")
def nearest_by_size(ctx: Context, x: Value, size: Sequence[Size], *scales: float | None) -> Value:
    return _nearest(ctx, x, size, _scales(x, scales), 0.0)


@lowers(
    "aten._upsample_nearest_exact1d.vec", "aten._upsample_nearest_exact2d.vec", "aten._upsample_nearest_exact3d.vec"
)
def nearest_exact(ctx: Context, x: Value, size: Sequence[Size] | None, scales: Scales) -> Value:
    return _nearest(ctx, x, size, _scales(x, scales), 0.5)


@lowers(
    "aten._upsample_nearest_exact1d.default",
    "aten._upsample_nearest_exact2d.default",
    "aten._upsample_nearest_exact3d.default",
)
def nearest_exact_by_size(ctx: Context, x: Value, size: Sequence[Size], *scales: float | None) -> Value:
    return _nearest(ctx, x, size, _scales(x, scales), 0.5)


def _nearest(
    ctx: Context, x: Value, size: Sequence[Size] | None, scales: Sequence[float | None], shift: float
) -> Value:
    """Output i takes input ⌊(i + shift)·step⌋."""
    geometry = _geometry(ctx, x, scales)
    if geometry is None:
        resized = _by_factors(ctx, x, scales, "upsample_nearest_neighbor")
        return _by_places(ctx, x, size, "exact" if shift else "nearest") if resized is None else resized
    factors = [m // n if m % n == 0 and math.isclose(step, n / m) else 0 for n, m, step in geometry]
    if x.rank == 4 and all(factors):  # both rules agree on a whole factor
        return ctx.mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=float(factors[0]), scale_factor_width=float(factors[1])
        )
    for axis, (n, m, step) in enumerate(geometry):
        places = np.floor((np.arange(m, dtype=np.float32) + np.float32(shift)) * np.float32(step))
        if n != m or not np.array_equal(places, np.arange(m)):
            x = ctx.mb.gather(x=x, indices=np.minimum(places, n - 1).astype(np.int32), axis=axis + 2)
    return x


# --- linear ----------------------------------------------------------------------------------------------------------


@lowers("aten.upsample_linear1d.vec", "aten.upsample_bilinear2d.vec", "aten.upsample_trilinear3d.vec")
def linear(ctx: Context, x: Value, size: Sequence[Size] | None, align_corners: bool, scales: Scales) -> Value:
    return _linear(ctx, x, size, align_corners, _scales(x, scales))


@lowers("aten.upsample_linear1d.default", "aten.upsample_bilinear2d.default", "aten.upsample_trilinear3d.default")
def linear_by_size(ctx: Context, x: Value, size: Sequence[Size], align_corners: bool, *scales: float | None) -> Value:
    return _linear(ctx, x, size, align_corners, _scales(x, scales))


def _linear(
    ctx: Context, x: Value, size: Sequence[Size] | None, align_corners: bool, scales: Sequence[float | None]
) -> Value:
    geometry = _geometry(ctx, x, scales)
    if geometry is None:
        resized = _by_factors(ctx, x, scales, "upsample_bilinear", align_corners=align_corners)
        return _by_places(ctx, x, size, "corners" if align_corners else "linear") if resized is None else resized
    same_grid = all(math.isclose(step, n / m) for n, m, step in geometry) or align_corners
    if x.rank == 4 and same_grid and all(m > 1 for _, m, _ in geometry):
        return ctx.mb.resize_bilinear(
            x=x,
            target_size_height=geometry[0][1],
            target_size_width=geometry[1][1],
            sampling_mode="STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS",
        )
    return _by_matrices(ctx, x, [_weights(n, _grid(n, m, s, align_corners).clip(0), _tent, 1) for n, m, s in geometry])


def _grid(n: int, m: int, step: float, align_corners: bool) -> Array:
    """Where each output lies among the inputs."""
    places = np.arange(m, dtype=np.float64)
    if align_corners:
        return np.asarray(places * ((n - 1) / (m - 1) if m > 1 else 0))
    return np.asarray((places + 0.5) * step - 0.5)


def _tent(distance: Array) -> Array:
    return np.asarray(np.maximum(1 - np.abs(distance), 0))


def _cubic(a: float) -> Callable[[Array], Array]:
    """Keys' kernel (1981)."""

    def kernel(distance: Array) -> Array:
        d = np.abs(distance)
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((d - 5) * d + 8) * d * a - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0))

    return kernel


def _weights(n: int, grid: Array, kernel: Callable[[Array], Array], reach: int) -> Array:
    """A row of weights for each output; taps beyond the ends count for the end."""
    matrix = np.zeros((len(grid), n))
    base = np.floor(grid).astype(int)
    for tap in range(1 - reach, reach + 1):
        place = base + tap
        np.add.at(matrix, (np.arange(len(grid)), place.clip(0, n - 1)), kernel(grid - place))
    return matrix


def _by_matrices(ctx: Context, x: Value, matrices: Sequence[Array]) -> Value:
    for axis, matrix in enumerate(matrices):
        if matrix.shape[0] != matrix.shape[1] or not np.array_equal(matrix, np.eye(len(matrix))):
            x = apply_along_axis(ctx, x, axis + 2, matrix)
    return x


# --- sizes that only the run knows -----------------------------------------------------------------------------------


def _by_places(ctx: Context, x: Value, size: Sequence[Size] | None, grid: str) -> Value:
    """An image to sizes that are known when the program runs, one axis after the other.

    Places among the inputs are fractions of integers (``_place``), so they are exact in every precision that the
    program may get, as long as twice the product of both sizes fits 32 bits.
    """
    if size is None:
        raise ctx.unsupported(
            "resizing an image of unknown size", expected="a size, or two spatial axes and a constant scale factor"
        )
    for axis, out in enumerate(size, start=2):
        into = ctx.size(x, axis)
        if ctx.dim(into) == ctx.dim(out) is not None:
            continue
        above, below = _place(ctx, grid, into, out)
        low = ctx.mb.floor_div(x=above, y=below)
        if grid in ("nearest", "exact"):
            x = ctx.mb.gather(x=x, indices=low, axis=axis)
            continue
        high = ctx.mb.minimum(x=ctx.mb.add(x=low, y=1), y=_less_one(ctx, into))
        rest = ctx.mb.sub(x=above, y=ctx.mb.mul(x=low, y=below))
        share = ctx.mb.real_div(x=ctx.cast(rest, x.dtype), y=ctx.cast(below, x.dtype))
        share = ctx.mb.reshape(x=share, shape=[-1, *[1] * (x.rank - 1 - axis)])
        start, end = (ctx.mb.gather(x=x, indices=places, axis=axis) for places in (low, high))
        x = ctx.mb.add(x=start, y=ctx.mb.mul(x=ctx.mb.sub(x=end, y=start), y=share))
    return x


def _place(ctx: Context, grid: str, into: Size, out: Size) -> tuple[Value, Size]:
    """Where each output lies among the inputs: numerators, and their denominator."""
    i = ctx.mb.range_1d(start=0, end=out, step=1)
    match grid:
        case "nearest":  # i·n / m
            return ctx.mb.mul(x=i, y=into), out
        case "corners":  # i·(n - 1) / (m - 1)
            last = _less_one(ctx, out)
            most = max(last, 1) if isinstance(last, int) else ctx.mb.maximum(x=last, y=1)
            return ctx.mb.mul(x=i, y=_less_one(ctx, into)), most
    twice = out * 2 if isinstance(out, int) else ctx.mb.mul(x=out, y=2)
    middle = ctx.mb.mul(x=ctx.mb.add(x=ctx.mb.mul(x=i, y=2), y=1), y=into)
    if grid == "exact":  # (i + ½)·n / m
        return middle, twice
    return ctx.mb.maximum(x=ctx.mb.sub(x=middle, y=out), y=0), twice  # (i + ½)·n / m - ½, but not before the first


def _less_one(ctx: Context, size: Size) -> Size:
    return size - 1 if isinstance(size, int) else ctx.mb.sub(x=size, y=1)


# --- cubic, and filters that do not alias ----------------------------------------------------------------------------


@lowers("aten.upsample_bicubic2d.vec")
def cubic(ctx: Context, x: Value, size: Sequence[Size] | None, align_corners: bool, scales: Scales) -> Value:
    return _bicubic(ctx, x, align_corners, _scales(x, scales))


@lowers("aten.upsample_bicubic2d.default")
def cubic_by_size(ctx: Context, x: Value, size: Sequence[Size], align_corners: bool, *scales: float | None) -> Value:
    return _bicubic(ctx, x, align_corners, _scales(x, scales))


def _bicubic(ctx: Context, x: Value, align_corners: bool, scales: Sequence[float | None]) -> Value:
    return _by_matrices(
        ctx, x, [_weights(n, _grid(n, m, s, align_corners), _cubic(-0.75), 2) for n, m, s in _fixed(ctx, x, scales)]
    )


@lowers("aten._upsample_bilinear2d_aa.vec", "aten._upsample_bicubic2d_aa.vec")
def smooth(ctx: Context, x: Value, size: Sequence[Size] | None, align_corners: bool, scales: Scales) -> Value:
    return _smooth(ctx, x, align_corners, _scales(x, scales))


@lowers("aten._upsample_bilinear2d_aa.default", "aten._upsample_bicubic2d_aa.default")
def smooth_by_size(ctx: Context, x: Value, size: Sequence[Size], align_corners: bool, *scales: float | None) -> Value:
    return _smooth(ctx, x, align_corners, _scales(x, scales))


def _smooth(ctx: Context, x: Value, align_corners: bool, scales: Sequence[float | None]) -> Value:
    kernel, radius = (_cubic(-0.5), 2) if "bicubic" in ctx.operator else (_tent, 1)
    matrices = []
    for n, m, given in _fixed(ctx, x, scales):
        step = (n - 1) / (m - 1) if align_corners and m > 1 else given
        matrices.append(_filtered(n, m, step, kernel, radius))
    return _by_matrices(ctx, x, matrices)


def _filtered(n: int, m: int, step: float, kernel: Callable[[Array], Array], radius: int) -> Array:
    """Weights of a filter that is widened when the image shrinks, cut off at the ends and normalised."""
    width = max(step, 1.0)
    center = (np.arange(m) + 0.5) * step
    first = np.maximum((center - radius * width + 0.5).astype(int), 0)
    last = np.minimum((center + radius * width + 0.5).astype(int), n)
    place = np.arange(n)
    matrix = kernel((place + 0.5 - center[:, None]) / width)
    matrix = np.where((place >= first[:, None]) & (place < last[:, None]), matrix, 0)
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))


def _fixed(ctx: Context, x: Value, scales: Sequence[float | None]) -> list[tuple[int, int, float]]:
    geometry = _geometry(ctx, x, scales)
    if geometry is None:
        raise ctx.unsupported("cubic or filtered resizing of an image whose size is only known at run time")
    return geometry


# --- sampling at given places ----------------------------------------------------------------------------------------

_PADDING = ("constant", "border", "reflection")


@lowers("aten.grid_sampler.default", "aten.grid_sampler_2d.default")
def grid_sampler(ctx: Context, x: Value, grid: Value, mode: int, padding: int, align_corners: bool) -> Value:
    if x.rank != 4 or mode > 1:
        raise ctx.unsupported("sampling of volumes, or cubic sampling", expected="a 4-D image, bilinear or nearest")
    padding_mode = _PADDING[padding]
    if padding_mode == "reflection" and not align_corners:
        padding_mode = "symmetric"  # PyTorch mirrors about the edges of the outer pixels then, not their centres
    return ctx.mb.resample(
        x=x,
        coordinates=grid,
        sampling_mode="nearest" if mode == 1 else "bilinear",
        padding_mode=padding_mode,
        padding_value=ctx.number(0, x.dtype),
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=align_corners,
    )
