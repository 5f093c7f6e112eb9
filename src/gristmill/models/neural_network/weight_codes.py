"""Numbers as integers of few bits: evenly spaced, or indices into a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gristmill.errors import InputError
from gristmill.ir.constants import Array

_ROUNDS = 1000
"""Of k-means at most; each is a few searches in sorted numbers."""


class Codes(NamedTuple):
    """Quantised numbers.

    Attributes:
        codes: Integers in the numbers' shape.
        scale: Of linear ones: what a code is multiplied by, one for each channel.
        bias: What is added to that.
        table: Of others: what a code stands for.
    """

    codes: Array
    scale: Array | None = None
    bias: Array | None = None
    table: Array | None = None


def linear(weights: Array, bits: int, axis: int = 0, *, symmetric: bool = False) -> Codes:
    """Evenly spaced numbers, for each channel from its least to its largest.

    Args:
        weights: Any shape; a vector has one scale.
        bits: Of a code.
        axis: The channels.
        symmetric: From minus the largest magnitude to plus it, with 0 exact in the middle.
    """
    rows = np.moveaxis(weights.reshape(1, -1) if weights.ndim == 1 else weights, axis, 0)
    flat = rows.reshape(len(rows), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    if symmetric:
        middle = 1 << bits - 1
        scale = np.maximum(-low, high) / (middle - 1)
        bias = -middle * scale
        codes = np.rint(flat / _no_zero(scale)) + middle
    else:
        scale = (high - low) / ((1 << bits) - 1)
        bias = low
        codes = np.rint((flat - low[:, None]) / _no_zero(scale))
    shaped = np.moveaxis(codes.reshape(rows.shape), 0, axis).reshape(weights.shape)
    return Codes(shaped.astype(np.uint8), scale, bias)


def _no_zero(scale: Array) -> Array:
    """Divisors, one for each row; a row of equal numbers has the scale 0 and any divisor will do."""
    return np.where(scale == 0, 1.0, scale)[:, None]


def evenly_spaced(weights: Array, bits: int) -> Codes:
    """A table of evenly spaced numbers, from the least to the largest of all."""
    found = linear(weights.reshape(-1), bits)
    assert found.scale is not None
    assert found.bias is not None
    table = np.arange(1 << bits) * found.scale[0] + found.bias[0]
    return Codes(found.codes.reshape(weights.shape), table=table)


def kmeans(weights: Array, bits: int) -> Codes:
    """A table of the means of 2ⁿ clusters, which lie near the numbers.

    Lloyd's method: numbers go to the nearest mean, means become those of their numbers, until nothing changes. It
    starts from evenly spaced numbers and from quantiles, and the better result counts; so its mean squared error is at
    most that of ``evenly_spaced``. In one dimension a cluster is a run of sorted numbers, and sums of runs are
    differences of running sums.
    """
    values = np.sort(weights.reshape(-1).astype(np.float64))
    size = 1 << bits
    different = np.unique(values)
    if len(different) <= size:
        table = np.pad(different, (0, size - len(different)))
        return Codes(np.searchsorted(different, weights).astype(np.uint8), table=table)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    starts = (np.linspace(values[0], values[-1], size), np.quantile(values, (np.arange(size) + 0.5) / size))
    tables = [_lloyd(values, sums, start) for start in starts]
    found = [_nearest(weights, table) for table in tables]
    errors = [np.square(table[codes] - weights).sum() for table, codes in zip(tables, found, strict=True)]
    best = int(np.argmin(errors))
    return Codes(found[best], table=tables[best])


def _lloyd(values: Array, sums: Array, means: Array) -> Array:
    for _ in range(_ROUNDS):
        edges = np.concatenate([[0], np.searchsorted(values, (means[1:] + means[:-1]) / 2), [len(values)]])
        counts = np.diff(edges)
        total = sums[edges[1:]] - sums[edges[:-1]]
        moved = np.where(counts > 0, total / np.maximum(counts, 1), means)  # nobody's mean stays where it is
        if np.array_equal(moved, means):
            break
        means = moved
    return means


def _nearest(weights: Array, table: Array) -> Array:
    return np.searchsorted((table[1:] + table[:-1]) / 2, weights).astype(np.uint8)


def from_function(weights: Array, bits: int, function: Callable[[int, Array], Any]) -> Codes:
    """What a caller's function makes.

    Args:
        weights: Any shape.
        bits: Of a code.
        function: Takes bits and weights; returns a table of 2ⁿ numbers, and codes in the weights' shape or one row.

    Raises:
        InputError: It returns something else.
    """
    table, codes = (np.asarray(found) for found in function(bits, weights))
    if table.shape != (1 << bits,) or codes.size != weights.size or codes.min() < 0 or codes.max() >= 1 << bits:
        raise InputError(
            "lut_function returns a table and codes",
            expected=f"{1 << bits} numbers and {weights.size} integers below that",
            actual=f"{table.shape} and {codes.shape}",
        )
    return Codes(codes.reshape(weights.shape).astype(np.uint8), table=table)
