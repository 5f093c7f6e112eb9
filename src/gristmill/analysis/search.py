"""Finds the cheapest precision that meets an accuracy budget.

First everything is float16. If that is not good enough, rewrites are tried where an inspection shows trouble, each
verified by running; then values go back to float32, ranked by their share of the outputs' error, as few as the budget
allows. A full evaluation is a run of the typed program, or an instrumented one, over all samples.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gristmill.analysis.bench import Bench, Evaluation, Progress, Trouble
from gristmill.analysis.candidates import Item
from gristmill.analysis.cost import CostModel
from gristmill.analysis.inspect import Inspection
from gristmill.analysis.ladders import Ladder, beginnings, by_share, next_rung, thinned
from gristmill.analysis.metrics import Metric, Outputs, metric_of
from gristmill.devices.base import Device
from gristmill.errors import InputError
from gristmill.ir.constants import Array
from gristmill.ir.program import Program
from gristmill.ir.verify import verify
from gristmill.passes.stabilizers import STABILIZERS
from gristmill.precision.map import PrecisionMap
from gristmill.precision.typing import OpSelector

LEAST_EVALUATIONS = 4
"""Float16, an inspection, and room for a choice."""

_TRIES = 4
"""Most runs on one ladder: two ends, and two between them."""

_RESERVED = 5
"""Evaluations for beginnings of the program, before a ranking is made anew."""


@dataclass
class SearchResult:
    """What a search found.

    Attributes:
        metric: By which it was judged.
        budget: What was asked for.
        before: Everything in float16.
        best: The cheapest that meets the budget, or the most accurate where none does.
        met: Whether the budget is met.
        evaluations: Every candidate that was run, in order; the all-float32 one comes last and was not run: it is the
            reference.
        runs: Full evaluations, instrumented ones included.
        verified: What became of each rewrite that was tried.
        inspection: Of the last instrumented run, if there was one.
        seconds: All together.
        model: The converted model, where the search was started with something to convert.
    """

    metric: Metric
    budget: float
    before: Evaluation
    best: Evaluation
    met: bool
    evaluations: list[Evaluation]
    runs: int
    verified: dict[str, str]
    inspection: Inspection | None
    seconds: float
    model: Any = field(default=None, repr=False)

    @property
    def map(self) -> PrecisionMap:
        """The best choice, to save and to convert the model with again (``compute_precision=map``)."""
        return self.best.as_map()

    @property
    def op_selector(self) -> OpSelector:
        """The best choice as a selector, which leaves the rewrites out."""
        return self.map

    @property
    def front(self) -> list[Evaluation]:
        """The candidates that no other one beats in both cost and accuracy, from the cheapest to the most accurate."""
        found: list[Evaluation] = []
        for candidate in sorted(self.evaluations, key=lambda e: (e.cost.total, self.metric.loss(e.value))):
            if not found or self.metric.loss(candidate.value) < self.metric.loss(found[-1].value):
                found.append(candidate)
        return found

    def table(self) -> str:
        """The front and the outcome as text."""
        heads = ("", self.metric.name, "cost", "float32 ops", "rewritten", "candidate")
        rows = [heads]
        for item in self.front:
            rewritten = sum(map(len, item.rewrites.values()))
            mark = "→" if item is self.best else ""
            relative = item.cost.total / self.before.cost.total if self.before.cost.total else 1.0
            share = f"{item.cost.float32_ops} of {item.cost.ops} ({item.cost.share:.1%})"
            rows.append((mark, f"{item.value:.4g}", f"{relative:.3f}", share, str(rewritten or ""), item.label))
        widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        better = "at least" if self.metric.higher_is_better else "at most"
        verdict = "met" if self.met else "not met"
        lines.append(f"{self.metric.name} {better} {self.budget:g}: {verdict}, after {self.runs} full evaluations")
        lines += [f"{name}: {what}" for name, what in self.verified.items()]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


def search(
    program: Program,
    data: Sequence[Mapping[str, Array]],
    *,
    metric: str | Metric | Callable[[Outputs, Outputs], float] = "snr",
    budget: float | None = None,
    max_evaluations: int = 12,
    rewrites: bool = True,
    costs: CostModel | None = None,
    journal: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    device: Device | None = None,
    read: Callable[[Mapping[str, Any]], Outputs] | None = None,
) -> SearchResult:
    """Finds the cheapest precision of a float32 program that meets a budget.

    Args:
        program: In float32, with inputs and outputs as they will be declared; it stays as it is.
        data: Samples: an array for each input by name.
        metric: Name of a built-in metric, a ``Metric``, or a function of a sample's outputs and reference outputs that
            is small when all is well.
        budget: The value that is good enough; the metric's own when left out.
        max_evaluations: Most full evaluations.
        rewrites: Whether formulas may be replaced by stable ones.
        costs: Prices.
        journal: Path of a file that keeps what was measured, and from which a search that was stopped goes on.
        progress: Told what comes next, how many evaluations are over, and how many there may be.
        device: Runs the candidates; the CPU device in strict numerics when left out.
        read: What the metric gets for a program's outputs.

    Raises:
        InputError: There are no samples or too few evaluations, or the metric needs a budget.
    """
    chosen = metric_of(metric)
    limit = chosen.budget if budget is None else budget
    if limit is None:
        raise InputError(f"the metric '{chosen.name}' needs a budget", hint="budget=…, the value that is good enough")
    if not data:
        raise InputError("there are no samples to judge by", expected="a list of inputs")
    if max_evaluations < LEAST_EVALUATIONS:
        raise InputError("max_evaluations", expected=f"{LEAST_EVALUATIONS} or more", actual=max_evaluations)
    bench = Bench(
        program,
        data,
        chosen,
        costs=costs,
        device=device,
        read=read,
        journal=journal,
        progress=progress,
        most=max_evaluations,
    )
    return _Search(bench, limit, rewrites).run()


class _Search:
    """One search, step by step."""

    def __init__(self, bench: Bench, budget: float, rewrites: bool) -> None:
        self._bench, self._budget, self._may_rewrite = bench, budget, rewrites
        self._verified: dict[str, str] = {}
        self._trouble: Trouble = {}
        self._inspection: Inspection | None = None
        self._start = time.perf_counter()

    def run(self) -> SearchResult:
        before = self._bench.evaluate("all float16", {})
        if self._accepts(before):
            return self._result(before)
        items = self._inspected(before)
        base = self._rewritten() if self._may_rewrite else None
        if base is not None and self._accepts(base):
            return self._result(before)
        if base is not None and self._loss(base) < self._loss(before) and self._bench.left > 1:
            items = self._inspected(base)
        else:
            base = before
        self._keep(base, items)
        return self._result(before)

    def _inspected(self, base: Evaluation, kept: frozenset[str] = frozenset()) -> list[Item]:
        broken = not math.isfinite(base.value)
        items, self._trouble, found = self._bench.inspect(base.rewrites, kept, heal=broken)
        self._inspection = found or self._inspection
        return items

    # -- rewrites ----------------------------------------------------------------------------------------------------

    def _rewritten(self) -> Evaluation | None:
        """Float16 with those rewrites that apply where there is trouble, and that the model agrees with.

        A rewrite must change nothing where nothing is rounded. For one that may (a row that is masked as a whole
        depends on the sentinel), a typed run that meets the budget speaks as well.
        """
        bench = self._bench
        chosen: dict[str, tuple[str, ...]] = {}
        for name, cls in STABILIZERS.items():
            copied = bench.rewritten(chosen)
            step = cls(self._trouble[cls.cures])
            if not step.run(copied):
                continue
            verify(copied)
            more = {**chosen, name: tuple(sorted(set(step.touched)))}
            value = bench.error_of(copied)
            what = f"{len(more[name])} places, {bench.metric.name} {value:.4g} in float32"
            if bench.metric.accepts(value, self._budget):
                chosen = more
                self._verified[name] = f"kept: {what}"
            elif (
                not cls.exact
                and bench.left > 2
                and self._accepts(found := bench.evaluate(f"rewritten by {name}", more))
            ):
                self._verified[name] = f"kept, as the typed run meets the budget: {what}"
                return found
            else:
                self._verified[name] = f"dropped: {what}"
        return bench.evaluate("rewritten", chosen) if chosen else None

    # -- float32 -----------------------------------------------------------------------------------------------------

    def _keep(self, base: Evaluation, items: list[Item]) -> None:
        """Climbs the ways to more float32 that the inspection shows, and then leaves out what is not needed.

        The ranking by share comes first. It holds for the program that was inspected: what an op loses may hide what
        those before it lose, and then the ranking falls far short of its prediction and is made anew. Beginnings of the
        program hide nothing. They come second, and where they cost less they stand.
        """
        order = self._bench.order(base.rewrites)
        good, last = self._climb(base, by_share(items), base)
        trusted = good is not None or self._is_close(last)
        ranking = items
        while good is None and ranking and not self._is_close(last) and self._bench.left > _RESERVED:
            ranking = self._inspected(base, last.kept)
            good, last = self._climb(base, by_share(ranking, last.kept), last)
        other, _ = self._climb(base, beginnings(items, order), base, math.inf if good is None else good.cost.total)
        found = min((e for e in (good, other) if e is not None), key=lambda e: e.cost.total, default=None)
        if found is not None and trusted:
            found = self._descend(base, thinned(items, found.kept), found)
        if found is not None:
            self._prune(base, found, order)

    def _climb(
        self, base: Evaluation, ladder: Ladder, start: Evaluation, limit: float = math.inf
    ) -> tuple[Evaluation | None, Evaluation]:
        """Looks for the lowest rung that meets the budget.

        Args:
            base: With its rewrites.
            ladder: Which ops to keep.
            start: What was measured where only the ladder's start is float32.
            limit: A cost from which on nothing is run.

        Returns:
            The lowest rung that met the budget, if one did; and what was run last.
        """
        good, last, below = None, start, start
        low, high = -1, len(ladder)
        for _ in range(_TRIES):
            rung = self._next(ladder, low, high, below, good)
            if rung is None or self._bench.cost(base.rewrites, ladder.kept(rung)).total >= limit:
                break
            last = self._kept(base, ladder.kept(rung))
            if self._accepts(last):
                good, high = last, rung
            else:
                below, low = last, rung
                if good is None and not self._is_close(last):
                    break
        return good, last

    def _descend(self, base: Evaluation, ladder: Ladder, good: Evaluation) -> Evaluation:
        """Looks for a lower rung that meets the budget, where the highest does."""
        low, high = -1, len(ladder) - 1
        below = base if not ladder.start else None
        for _ in range(_TRIES):
            rung = self._next(ladder, low, high, below, good)
            if rung is None:
                break
            found = self._kept(base, ladder.kept(rung))
            if self._accepts(found):
                good, high = found, rung
            else:
                below, low = found, rung
        return good

    def _next(
        self, ladder: Ladder, low: int, high: int, below: Evaluation | None, good: Evaluation | None
    ) -> int | None:
        noise = self._bench.metric.noise
        if self._bench.left < 1:
            return None
        at_low, at_high = (None if found is None else noise(found.value) for found in (below, good))
        return next_rung(ladder, low, high, noise(self._budget), at_low, at_high)

    def _prune(self, base: Evaluation, found: Evaluation, order: Sequence[str]) -> None:
        """Tries without one half of what is kept, in the program's order, or the other; then without parts of them."""
        kept = [name for name in order if name in found.kept]
        chunks = _halves(kept)
        while self._bench.left > 0 and chunks:
            chunk = chunks.pop(0)
            without = [name for name in kept if name not in set(chunk)]
            if self._accepts(self._kept(base, frozenset(without))):
                kept = without
            elif len(chunk) > 1:
                chunks += _halves(chunk)

    def _is_close(self, found: Evaluation) -> bool:
        """Whether a few more ops of the same ranking may be enough: the noise is within ten times the budget's."""
        noise, wanted = self._bench.metric.noise(found.value), self._bench.metric.noise(self._budget)
        return noise is None or wanted is None or noise < 10 * wanted

    def _kept(self, base: Evaluation, kept: frozenset[str]) -> Evaluation:
        return self._bench.evaluate(f"{len(kept)} ops in float32", base.rewrites, kept)

    # -- outcome -----------------------------------------------------------------------------------------------------

    def _accepts(self, found: Evaluation) -> bool:
        return self._bench.metric.accepts(found.value, self._budget)

    def _loss(self, found: Evaluation) -> float:
        return self._bench.metric.loss(found.value)

    def _result(self, before: Evaluation) -> SearchResult:
        bench = self._bench
        bench.evaluations.append(self._float32())
        good = [found for found in bench.evaluations if self._accepts(found)]
        best = (
            min(good, key=lambda e: (e.cost.total, self._loss(e))) if good else min(bench.evaluations, key=self._loss)
        )
        return SearchResult(
            metric=bench.metric,
            budget=self._budget,
            before=before,
            best=best,
            met=bool(good),
            evaluations=bench.evaluations,
            runs=bench.runs,
            verified=self._verified,
            inspection=self._inspection,
            seconds=time.perf_counter() - self._start,
        )

    def _float32(self) -> Evaluation:
        """The reference itself, as a candidate: every op in float32."""
        bench = self._bench
        value = bench.metric.over(bench.reference, bench.reference)
        return Evaluation("all float32", value, bench.costs.of(bench.program), {}, frozenset(bench.order({})), 0.0)


def _halves(items: list[str]) -> list[list[str]]:
    """The second half first."""
    middle = len(items) // 2
    return [half for half in (items[middle:], items[:middle]) if half]
