"""How far arrays are from each other: figures of one tensor, and metrics of a whole model's outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gristmill.errors import InputError, InputTypeError
from gristmill.ir.constants import Array

Outputs: TypeAlias = Mapping[str, Any]
"""A model's outputs by name."""


@dataclass
class ErrorFigures:
    """How far a tensor is from what it should be; more elements may be added, as of other samples.

    Attributes:
        count: Elements that were compared.
        signal: Sum of the squares of the expected ones.
        noise: Sum of the squares of the differences.
        max_abs: The largest difference.
        peak: The largest expected magnitude.
        broken: Elements of which only one of the two is a finite number.
    """

    count: int = 0
    signal: float = 0.0
    noise: float = 0.0
    max_abs: float = 0.0
    peak: float = 0.0
    broken: int = 0
    _product: float = 0.0
    _actual: float = 0.0

    def add(self, actual: Array, expected: Array) -> None:
        """Compares more elements. Those that are equal do not differ, infinite ones and NaN included."""
        mine, theirs = actual.astype(np.float64).reshape(-1), expected.astype(np.float64).reshape(-1)
        finite = np.isfinite(mine) & np.isfinite(theirs)
        if not finite.all():
            equal = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))
            self.broken += int(np.count_nonzero(~finite & ~equal))
            mine, theirs = mine[finite], theirs[finite]
        apart = mine - theirs
        self.count += actual.size
        with np.errstate(over="ignore"):
            self.signal += float(theirs @ theirs)
            self.noise += float(apart @ apart)
            self._product += float(mine @ theirs)
            self._actual += float(mine @ mine)
        self.max_abs = max(self.max_abs, float(np.abs(apart).max(initial=0)))
        self.peak = max(self.peak, float(np.abs(theirs).max(initial=0)))
        if self.broken:
            self.max_abs = math.inf

    @property
    def ratio(self) -> float:
        """Noise over signal; infinite where one of them is no number."""
        if self.broken:
            return math.inf
        if self.noise == 0:
            return 0.0
        return self.noise / self.signal if self.signal else math.inf

    @property
    def snr_db(self) -> float:
        """Signal over noise in decibels; infinite where nothing differs, -∞ where something is broken."""
        return _decibels(self.ratio)

    @property
    def psnr_db(self) -> float:
        """The peak over the root mean square of the differences, in decibels."""
        if self.broken:
            return -math.inf
        mean = self.noise / self.count if self.count else 0.0
        if mean == 0:
            return math.inf
        return _decibels(mean / self.peak**2) if self.peak else -math.inf

    @property
    def cosine(self) -> float:
        """Cosine of the angle between the two as vectors; NaN where something is broken."""
        if self.broken:
            return math.nan
        if self.noise == 0:
            return 1.0
        length = math.sqrt(self.signal) * math.sqrt(self._actual)
        return self._product / length if length else 0.0

    def as_dict(self) -> dict[str, float]:
        """The figures that people read, by name."""
        return {"snr_db": self.snr_db, "max_abs": self.max_abs, "cosine": self.cosine, "psnr_db": self.psnr_db}


def _decibels(ratio: float) -> float:
    if ratio == 0:
        return math.inf
    return -math.inf if math.isinf(ratio) else -10 * math.log10(ratio)


def figures(actual: Array, expected: Array) -> ErrorFigures:
    """The figures of one pair of arrays of one shape."""
    found = ErrorFigures()
    found.add(actual, expected)
    return found


# --- metrics of outputs ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Metric:
    """A number that says how good a model's outputs are, beside those of the float32 model.

    Attributes:
        name: For tables.
        measure: Called with the outputs and with the reference outputs of one sample, both by name.
        higher_is_better: Whether the budget is the least acceptable value, not the greatest.
        budget: What is acceptable unless the caller says otherwise.
        mean: Whether samples are averaged; otherwise the worst one counts.
        as_noise: The noise over signal that a value stands for, where it stands for one.
    """

    name: str
    measure: Callable[[Outputs, Outputs], float]
    higher_is_better: bool = False
    budget: float | None = None
    mean: bool = False
    as_noise: Callable[[float], float] | None = None

    def noise(self, value: float) -> float | None:
        """Noise over signal for a finite value, if the metric tells it."""
        return self.as_noise(value) if self.as_noise is not None and math.isfinite(value) else None

    def over(self, found: Sequence[Outputs], reference: Sequence[Outputs]) -> float:
        """The value over several samples; NaN of one sample makes it the worst there is."""
        values = [float(self.measure(a, b)) for a, b in zip(found, reference, strict=True)]
        if any(math.isnan(value) for value in values):
            return -math.inf if self.higher_is_better else math.inf
        if self.mean:
            return sum(values) / len(values)
        return min(values) if self.higher_is_better else max(values)

    def accepts(self, value: float, budget: float) -> bool:
        """Whether a value is within a budget."""
        return value >= budget if self.higher_is_better else value <= budget

    def loss(self, value: float) -> float:
        """The value as something to make small."""
        return -value if self.higher_is_better else value


def _pairs(found: Outputs, reference: Outputs) -> list[tuple[Array, Array]]:
    pairs = []
    for name, theirs in reference.items():
        if not isinstance(theirs, np.ndarray) or theirs.dtype.kind not in "fiub":
            continue
        mine = np.asarray(found[name])
        if mine.shape != theirs.shape:
            raise InputError(f"output '{name}' has another shape", expected=theirs.shape, actual=mine.shape)
        pairs.append((mine, theirs))
    return pairs


def _snr(found: Outputs, reference: Outputs) -> float:
    return min((figures(*pair).snr_db for pair in _pairs(found, reference)), default=math.inf)


def _cosine(found: Outputs, reference: Outputs) -> float:
    return min((figures(*pair).cosine for pair in _pairs(found, reference)), key=_nan_first, default=1.0)


def _nan_first(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _relative(found: Outputs, reference: Outputs) -> float:
    worst = 0.0
    for pair in _pairs(found, reference):
        figure = figures(*pair)
        worst = max(worst, 0.0 if figure.max_abs == 0 else figure.max_abs / figure.peak if figure.peak else math.inf)
    return worst


def _top1(found: Outputs, reference: Outputs) -> float:
    agreeing = total = 0
    for mine, theirs in _pairs(found, reference):
        if not mine.shape:
            continue
        numbers = np.where(np.isnan(mine), -np.inf, mine) if mine.dtype.kind == "f" else mine
        same = (numbers.argmax(axis=-1) == theirs.argmax(axis=-1)) & np.isfinite(mine).all(axis=-1)
        agreeing, total = agreeing + int(np.count_nonzero(same)), total + same.size
    return agreeing / total if total else 1.0


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("snr", _snr, higher_is_better=True, budget=40.0, as_noise=lambda value: 10 ** (-value / 10)),
        Metric("max_relative", _relative, budget=1e-2, as_noise=lambda value: value**2),
        Metric("cosine", _cosine, higher_is_better=True, budget=0.9999, as_noise=lambda value: 2 * (1 - value)),
        Metric("top1", _top1, higher_is_better=True, budget=1.0, mean=True),
    )
}
"""The built-in ones: signal over noise in decibels, largest difference over largest magnitude, cosine (all three of the
worst output), and the share of last-axis maxima that stay where they are."""


def metric_of(choice: str | Metric | Callable[[Outputs, Outputs], float]) -> Metric:
    """A built-in metric by its name, a ``Metric`` as it is, or a function of the outputs that is small if all is well.

    Raises:
        InputError: There is no such metric.
    """
    if isinstance(choice, Metric):
        return choice
    if isinstance(choice, str):
        if choice not in METRICS:
            raise InputError("there is no such metric", expected=", ".join(METRICS), actual=choice)
        return METRICS[choice]
    if callable(choice):
        return Metric(getattr(choice, "__name__", "metric"), choice)
    raise InputTypeError("a metric is a name, a Metric or a function of outputs and reference outputs", actual=choice)
