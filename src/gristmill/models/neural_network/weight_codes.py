"""Numbers as integers of few bits: evenly spaced, or indices into a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gristmill.errors import InputError
from gristmill.ir.constants import Array

_ROUNDS = 1000
"""Of Lloyd's method at most; each is a few searches in sorted numbers."""

_WORK = 1 << 24
"""Numbers that k-means goes through while it moves clusters: a few seconds."""


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

    Lloyd's method, from the better of evenly spaced numbers and quantiles; then, as long as that helps, two
    neighbouring clusters become one, and another becomes two where that gains most. So the mean squared error is at
    most that of ``evenly_spaced``, and hardly above the least one.
    """
    values = np.sort(weights.reshape(-1).astype(np.float64))
    size = 1 << bits
    different = np.unique(values)
    if len(different) <= size:
        table = np.pad(different, (0, size - len(different)))
        return Codes(np.searchsorted(different, weights).astype(np.uint8), table=table)
    runs = _Runs(values - values.mean())
    starts = (
        np.linspace(runs.values[0], runs.values[-1], size),
        np.quantile(runs.values, (np.arange(size) + 0.5) / size),
    )
    means = max((runs.settle(start) for start in starts), key=runs.explained)
    for _ in range(min(size, _WORK // len(values))):
        moved = runs.settle(runs.move_one(means))
        if runs.explained(moved) <= runs.explained(means):
            break
        means = moved
    table = means + values.mean()
    return Codes(np.searchsorted((table[1:] + table[:-1]) / 2, weights).astype(np.uint8), table=table)


class _Runs:
    """Clusters of sorted numbers are runs of them, and their sums differences of running sums.

    Args:
        values: Sorted, with a mean of 0.
    """

    def __init__(self, values: Array) -> None:
        self.values = values
        self._sums = np.concatenate([[0.0], np.cumsum(values)])

    def split(self, means: Array) -> tuple[Array, Array, Array]:
        """Where the runs of the numbers nearest to each mean begin and end, how many numbers they have, their sums."""
        inner = np.searchsorted(self.values, (means[1:] + means[:-1]) / 2)
        edges = np.concatenate([[0], inner, [len(self.values)]])
        return edges, np.diff(edges), np.diff(self._sums[edges])

    def settle(self, means: Array) -> Array:
        """Lloyd's method: means become those of their numbers, until nothing changes."""
        for _ in range(_ROUNDS):
            _, counts, sums = self.split(means)
            moved = np.where(counts > 0, sums / np.maximum(counts, 1), means)  # nobody's mean stays where it is
            if np.array_equal(moved, means):
                break
            means = moved
        return means

    def explained(self, means: Array) -> float:
        """The sum of squares less the squared error."""
        _, counts, sums = self.split(means)
        return float(np.sum(np.square(sums) / np.maximum(counts, 1)))

    def move_one(self, means: Array) -> Array:
        """Means with two clusters as one where that costs least, and another as two where that gains most."""
        edges, counts, sums = self.split(means)
        own = sums / np.maximum(counts, 1)
        both = np.maximum(counts[1:] + counts[:-1], 1)
        one = int(np.argmin(counts[1:] * counts[:-1] / both * np.square(own[1:] - own[:-1])))
        places = np.arange(1, len(self.values))  # a run may end before each of these
        run = np.searchsorted(edges, places, side="right") - 1
        left, right = places - edges[run], edges[run + 1] - places
        sum_left = self._sums[places] - self._sums[edges[run]]
        mean_left, mean_right = sum_left / np.maximum(left, 1), (sums[run] - sum_left) / np.maximum(right, 1)
        gain = left * right / np.maximum(counts[run], 1) * np.square(mean_left - mean_right)
        gain[(run == one) | (run == one + 1)] = 0
        best = int(np.argmax(gain))
        if gain[best] == 0:
            return means
        merged = (sums[one] + sums[one + 1]) / both[one] if counts[one] + counts[one + 1] else means[one]
        kept = np.delete(means, [one, one + 1, run[best]])
        return np.sort(np.concatenate([kept, [merged, mean_left[best], mean_right[best]]]))


def from_function(weights: Array, bits: int, function: Callable[[int, Array], Any]) -> Codes:
    """What a caller's function makes.

    Args:
        weights: Any shape.
        bits: Of a code.
        function: Takes bits and weights; returns a table of 2ⁿ numbers, and codes in the weights' shape or one row.

    Raises:
        InputError: It returns something else.
    """
    found = function(bits, weights)
    expected = f"{1 << bits} numbers and {weights.size} integers below that"
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise InputError("lut_function returns a table and codes", expected=expected, actual=type(found).__name__)
    table, codes = map(np.asarray, found)
    if table.shape != (1 << bits,) or codes.size != weights.size or not set(np.unique(codes)) <= set(range(1 << bits)):
        raise InputError(
            "lut_function returns a table and codes", expected=expected, actual=f"{table.shape} and {codes.shape}"
        )
    return Codes(codes.reshape(weights.shape).astype(np.uint8), table=table)
