"""Finds the cheapest precision that meets an accuracy budget.

First everything is float16. If that is not good enough, rewrites are tried where an inspection shows trouble, each
verified by running; then values go back to float32, ranked by their share of the outputs' error, as few as the budget
allows. A full evaluation is a run of the typed program, or an instrumented one, over all samples.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from gristmill.analysis.candidates import Item, ranked, troubled
from gristmill.analysis.cost import Cost, CostModel
from gristmill.analysis.inspect import Inspection, inspect
from gristmill.analysis.journal import Journal, subject_of
from gristmill.analysis.metrics import Metric, Outputs, metric_of
from gristmill.devices.base import Device
from gristmill.devices.cpu import CpuDevice
from gristmill.errors import InputError
from gristmill.ir.builtin import const
from gristmill.ir.clone import clone_program
from gristmill.ir.constants import Array
from gristmill.ir.program import Program
from gristmill.ir.verify import verify
from gristmill.passes.dead_code import DeadCode
from gristmill.passes.infra import run_passes
from gristmill.passes.stabilizers import STABILIZERS, rewriting
from gristmill.passes.stabilizing import Cure
from gristmill.precision.map import PrecisionMap, name_of
from gristmill.precision.typing import Float16Typing, OpSelector
from gristmill.runtime.session import Session

Rewrites: TypeAlias = Mapping[str, tuple[str, ...]]
Trouble: TypeAlias = Mapping[Cure, Sequence[str]]

LEAST_EVALUATIONS = 4
"""Float16, an inspection, and room for a choice."""


@dataclass(frozen=True)
class Evaluation:
    """One candidate and how it did.

    Attributes:
        label: What it is.
        value: Of the metric.
        cost: Of the typed program.
        rewrites: Names of the ops that were rewritten, by pass.
        kept: Names of ops in float32 beside those that cannot be float16.
        seconds: What the evaluation took.
    """

    label: str
    value: float
    cost: Cost
    rewrites: Rewrites
    kept: frozenset[str]
    seconds: float

    def as_map(self) -> PrecisionMap:
        """The choice, to convert the model with."""
        return PrecisionMap.keeping(sorted(self.kept), self.rewrites)


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
    journal: Any = None,
    progress: Callable[[str, int, int], None] | None = None,
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
    bench = _Bench(program, data, chosen, costs or CostModel(), device or CpuDevice(strict=True), read or dict)
    bench.open(journal, progress or (lambda what, done, most: None), max_evaluations)
    return _Search(bench, limit, rewrites).run()


class _Bench:
    """Runs candidates, counts the runs, and remembers them."""

    def __init__(
        self,
        program: Program,
        data: Sequence[Mapping[str, Array]],
        metric: Metric,
        costs: CostModel,
        device: Device,
        read: Callable[[Mapping[str, Any]], Outputs],
    ) -> None:
        self.program, self.data, self.metric, self.costs = program, data, metric, costs
        self._device, self._read = device, read
        self.reference = self._outputs(program)
        self.evaluations: list[Evaluation] = []
        self.runs = 0

    def open(self, path: Any, progress: Callable[[str, int, int], None], most: int) -> None:
        """Makes ready to evaluate."""
        facts = [{n: np.asarray(v).tobytes() for n, v in sample.items()} for sample in self.reference]
        self._journal = Journal(path, subject_of(self.program, self.data, self.metric.name, facts))
        self._progress, self.most = progress, most

    @property
    def left(self) -> int:
        """Full evaluations that may still be made."""
        return self.most - self.runs

    def rewritten(self, rewrites: Rewrites) -> Program:
        """A float32 copy with formulas replaced."""
        copied = clone_program(self.program)
        run_passes(copied, rewriting(rewrites), verify=verify)
        return copied

    def typed(self, rewrites: Rewrites, kept: frozenset[str]) -> tuple[Program, Float16Typing]:
        """A candidate, and the pass that typed it."""
        copied = self.rewritten(rewrites)
        typing = Float16Typing(lambda op: name_of(op) not in kept)
        run_passes(copied, [typing, DeadCode()], verify=verify)
        return copied, typing

    def evaluate(self, label: str, rewrites: Rewrites, kept: frozenset[str] = frozenset()) -> Evaluation:
        """Runs a candidate over all samples, unless it has been run before."""
        for found in self.evaluations:
            if (found.rewrites, found.kept) == (rewrites, kept):
                return found
        self._progress(label, self.runs, self.most)
        self.runs += 1
        program, _ = self.typed(rewrites, kept)
        key = f"value {sorted((name, list(ops)) for name, ops in rewrites.items())} {sorted(kept)}"
        known = self._journal.get(key)
        if known is None:
            start = time.perf_counter()
            value = self.metric.over(self._outputs(program), self.reference)
            known = {"value": value, "seconds": time.perf_counter() - start}
            self._journal.put(key, known)
        found = Evaluation(label, known["value"], self.costs.of(program), rewrites, kept, known["seconds"])
        self.evaluations.append(found)
        return found

    def inspect(self, rewrites: Rewrites, *, heal: bool) -> tuple[list[Item], Trouble, Inspection | None]:
        """Ranks what to keep in float32, and names the ops where a rewrite may help, by an instrumented run."""
        self._progress("inspecting", self.runs, self.most)
        self.runs += 1
        key = f"ranking {sorted((name, list(ops)) for name, ops in rewrites.items())} {heal}"
        known = self._journal.get(key)
        if known is not None:
            return [Item(tuple(ops), share, loses) for ops, share, loses in known["items"]], known["trouble"], None
        program, typing = self.typed(rewrites, frozenset())
        found = inspect(program, self.data, heal=heal)
        items = ranked(program.main, found, typing.report.origins)
        trouble = troubled(found, typing.report.origins)
        self._journal.put(key, {"items": [dataclasses.astuple(item) for item in items], "trouble": trouble})
        return items, trouble, found

    def error_of(self, program: Program) -> float:
        """The metric of a float32 program: what a rewrite changes where nothing is rounded."""
        return self.metric.over(self._outputs(program), self.reference)

    def _outputs(self, program: Program) -> list[Outputs]:
        session = Session(program.main, self._device)
        found = []
        for sample in self.data:
            state = session.make_state() if program.main.states else None
            found.append(self._read(session.run(sample, state)))
        return found


class _Search:
    """One search, step by step."""

    def __init__(self, bench: _Bench, budget: float, rewrites: bool) -> None:
        self._bench, self._budget, self._may_rewrite = bench, budget, rewrites
        self._verified: dict[str, str] = {}
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

    def _inspected(self, base: Evaluation) -> list[Item]:
        broken = not math.isfinite(base.value)
        items, self._trouble, found = self._bench.inspect(base.rewrites, heal=broken)
        self._inspection = found or self._inspection
        return items

    # -- rewrites ----------------------------------------------------------------------------------------------------

    def _rewritten(self) -> Evaluation | None:
        """Float16 with those rewrites that apply where there is trouble, and that the model agrees with.

        A rewrite must change nothing where nothing is rounded. Where it does (a row that is masked as a whole depends
        on the sentinel), only a typed run that meets the budget speaks for it.
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
            elif bench.left > 2 and self._accepts(found := bench.evaluate(f"rewritten by {name}", more)):
                self._verified[name] = f"kept, as the typed run meets the budget: {what}"
                return found
            else:
                self._verified[name] = f"dropped: {what}"
        return bench.evaluate("rewritten", chosen) if chosen else None

    # -- float32 -----------------------------------------------------------------------------------------------------

    def _keep(self, base: Evaluation, items: list[Item]) -> None:
        """Finds a short beginning of the ranking that meets the budget, then leaves out of it what is not needed."""
        if not items:
            return
        low, high = 0, len(items)
        count = self._guess(base, items)
        passed = False
        while self._bench.left > 0 and high - low > (1 if passed else 0):
            if not passed and self._bench.left == 1:
                count = high
            if self._accepts(self._kept(base, items[:count])):
                high, passed = count, True
            elif count == len(items):
                return
            else:
                low = count
            count = (low + high) // 2 if passed else min(len(items), max(low + 1, 2 * low))
        if passed:
            needed = 1 if low == high - 1 else 0  # the last item, without which it failed
            self._prune(base, items[:high], high - needed)

    def _guess(self, base: Evaluation, items: list[Item]) -> int:
        """How many items a prediction asks for: all that lose numbers, and of the others enough of the error."""
        metric = self._bench.metric
        wanted, found = metric.noise(self._budget), metric.noise(base.value)
        rest = min(1.0, wanted / found) if wanted is not None and found else 0.1
        total = sum(item.share for item in items)
        gone, count = 0.0, 0
        for item in items:
            if not item.loses and total - gone <= rest * max(total, 1.0):
                break
            gone, count = gone + item.share, count + 1
        return max(1, count)

    def _prune(self, base: Evaluation, items: list[Item], count: int) -> None:
        """Tries without some of the first ``count`` items: the half that matters least first, then parts of halves."""
        chunks = [items[:count]] if len(items) > count else _halves(items[:count])
        while self._bench.left > 0 and chunks:
            chunk = chunks.pop(0)
            without = [item for item in items if item not in chunk]
            if without and self._fewer(without, items) and self._accepts(self._kept(base, without)):
                items = without
            elif len(chunk) > 1:
                chunks += _halves(chunk)

    @staticmethod
    def _fewer(some: Sequence[Item], more: Sequence[Item]) -> bool:
        return len(_ops_of(some)) < len(_ops_of(more))

    def _kept(self, base: Evaluation, items: Sequence[Item]) -> Evaluation:
        kept = _ops_of(items)
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
        kept = frozenset(name_of(op) for op in bench.program.main.body.walk() if not isinstance(op, const))
        return Evaluation("all float32", value, bench.costs.of(bench.program), {}, kept, 0.0)


def _halves(items: list[Item]) -> list[list[Item]]:
    """The second half first."""
    middle = len(items) // 2
    return [half for half in (items[middle:], items[:middle]) if half]


def _ops_of(items: Sequence[Item]) -> frozenset[str]:
    return frozenset(name for item in items for name in item.ops)
