"""Where candidates are run: a float32 program, samples, and a metric of outputs beside the program's own."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gristmill.analysis.candidates import Item, ranked, troubled
from gristmill.analysis.cost import Cost, CostModel
from gristmill.analysis.inspect import Inspection, inspect
from gristmill.analysis.journal import Journal, subject_of
from gristmill.analysis.metrics import Metric, Outputs
from gristmill.devices.base import Device
from gristmill.devices.cpu import CpuDevice
from gristmill.ir.builtin import const
from gristmill.ir.clone import clone_program
from gristmill.ir.constants import Array
from gristmill.ir.program import Program
from gristmill.ir.verify import verify
from gristmill.passes.dead_code import DeadCode
from gristmill.passes.infra import run_passes
from gristmill.passes.stabilizers import rewriting
from gristmill.passes.stabilizing import Cure
from gristmill.precision.map import PrecisionMap, name_of
from gristmill.precision.typing import Float16Typing
from gristmill.runtime.session import Session

Rewrites: TypeAlias = Mapping[str, tuple[str, ...]]
Trouble: TypeAlias = Mapping[Cure, Sequence[str]]
Progress: TypeAlias = Callable[[str, int, int], None]


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


class Bench:
    """Runs candidates, counts the runs, and remembers them.

    Args:
        program: In float32; stays as it is.
        data: Samples.
        metric: How outputs are judged.
        costs: Prices.
        device: Runs everything; the CPU device in strict numerics when left out.
        read: What the metric gets for a program's outputs.
        journal: Path of a file to keep results in.
        progress: Told what comes next, how many runs are over, and how many there may be.
        most: Full evaluations that may be made.

    Attributes:
        reference: The float32 program's outputs for each sample.
        evaluations: Candidates that were run, in order.
        runs: Full evaluations so far, instrumented ones included.
    """

    def __init__(
        self,
        program: Program,
        data: Sequence[Mapping[str, Array]],
        metric: Metric,
        *,
        costs: CostModel | None = None,
        device: Device | None = None,
        read: Callable[[Mapping[str, Any]], Outputs] | None = None,
        journal: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        most: int = 12,
    ) -> None:
        self.program, self.data, self.metric, self.most = program, data, metric, most
        self.costs = costs or CostModel()
        self._device, self._read = device or CpuDevice(strict=True), read or dict
        self._has_own_sums = device is not None
        self._progress = progress or (lambda what, done, of: None)
        self.reference = self._outputs(program)
        self.evaluations: list[Evaluation] = []
        self.runs = 0
        self._last: tuple[tuple[Rewrites, frozenset[str]], Program, Cost] | None = None
        facts = [{n: np.asarray(v).tobytes() for n, v in sample.items()} for sample in self.reference]
        self._journal = Journal(journal, subject_of(program, data, metric.name, facts))

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

    def order(self, rewrites: Rewrites) -> list[str]:
        """Names of all ops in the order of the float32 program."""
        program = self.rewritten(rewrites) if rewrites else self.program
        return [name_of(op) for op in program.main.body.walk() if not isinstance(op, const)]

    def cost(self, rewrites: Rewrites, kept: frozenset[str]) -> Cost:
        """What a candidate costs; it is not run."""
        return self._priced(rewrites, kept)[1]

    def _priced(self, rewrites: Rewrites, kept: frozenset[str]) -> tuple[Program, Cost]:
        """A candidate, typed, and its cost; of the last one they are known."""
        if self._last is None or self._last[0] != (rewrites, kept):
            program, _ = self.typed(rewrites, kept)
            self._last = (rewrites, kept), program, self.costs.of(program)
        return self._last[1:]

    def evaluate(self, label: str, rewrites: Rewrites, kept: frozenset[str] = frozenset()) -> Evaluation:
        """Runs a candidate over all samples, unless it has been run before."""
        for found in self.evaluations:
            if (found.rewrites, found.kept) == (rewrites, kept):
                return found
        self._progress(label, self.runs, self.most)
        self.runs += 1
        program, cost = self._priced(rewrites, kept)
        key = f"value {sorted((name, list(ops)) for name, ops in rewrites.items())} {sorted(kept)}"
        known = self._journal.get(key)
        if known is None:
            start = time.perf_counter()
            value = self.metric.over(self._outputs(program), self.reference)
            known = {"value": value, "seconds": time.perf_counter() - start}
            self._journal.put(key, known)
        found = Evaluation(label, known["value"], cost, rewrites, kept, known["seconds"])
        self.evaluations.append(found)
        return found

    def inspect(
        self, rewrites: Rewrites, kept: frozenset[str] = frozenset(), *, heal: bool
    ) -> tuple[list[Item], Trouble, Inspection | None]:
        """Ranks what to keep in float32, and names the ops where a rewrite may help, by an instrumented run."""
        self._progress("inspecting", self.runs, self.most)
        self.runs += 1
        key = f"ranking {sorted((name, list(ops)) for name, ops in rewrites.items())} {sorted(kept)} {heal}"
        known = self._journal.get(key)
        if known is not None:
            return [Item(tuple(ops), share, loses) for ops, share, loses in known["items"]], known["trouble"], None
        program, typing = self.typed(rewrites, kept)
        found = inspect(program, self.data, heal=heal)
        items = ranked(program.main, found, typing.report.origins)
        trouble = troubled(found, typing.report.origins)
        if not self._has_own_sums:
            trouble["sums"] = []
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
