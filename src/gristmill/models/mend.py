"""``gristmill.precision.search``: the cheapest precision that is accurate enough."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gristmill.analysis import search as analysis
from gristmill.analysis.bench import Evaluation
from gristmill.analysis.cost import CostModel
from gristmill.analysis.metrics import Metric, Outputs
from gristmill.analysis.search import SearchResult
from gristmill.devices.base import Device
from gristmill.errors import InputError
from gristmill.ir.clone import clone_program
from gristmill.ir.program import Program
from gristmill.ir.verify import verify as verify_program
from gristmill.models.convert import prepare
from gristmill.models.explain import arrays_for, function_of
from gristmill.models.model import MLModel
from gristmill.models.transform import FP16ComputePrecision
from gristmill.package import Package
from gristmill.passes.infra import run_passes
from gristmill.passes.pipeline import cleanup
from gristmill.passes.stabilizers import rewriting
from gristmill.precision.raising import Float32Raising
from gristmill.precision.typing import Float16Typing
from gristmill.runtime.partition import partition

__all__ = ["CostModel", "Evaluation", "Metric", "SearchResult", "search"]


def search(
    model: Any,
    data: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    metric: str | Metric | Callable[[Outputs, Outputs], float] = "snr",
    budget: float | None = None,
    max_evaluations: int = 12,
    rewrites: bool = True,
    costs: CostModel | None = None,
    target: str | None = None,
    journal: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    device: Device | None = None,
    **conversion: Any,
) -> SearchResult:
    """Finds the cheapest choice of precision that meets an accuracy budget, and converts the model with it.

    Candidates run in strict numerics, every result rounded to its declared type, beside the float32 model on the same
    data. If float16 alone is not good enough, formulas are first replaced by stable ones where an inspection shows
    trouble, each verified by running; then as few ops as possible go back to float32, ranked by their share of the
    outputs' error.

    Args:
        model: What ``convert`` takes; or an ``MLModel`` or a MIL program, whose float16 ops are first raised to float32
            with the constants that they have.
        data: Inputs as for ``predict``, one sample or several. Names are those of the converted model.
        metric: ``snr`` (decibels), ``max_relative``, ``cosine``, ``top1``; a ``Metric``; or a function of a sample's
            outputs and reference outputs, both by name, that is small when all is well.
        budget: The value that is good enough. When left out: 40 dB, 1e-2, 0.9999, 1.
        max_evaluations: Most full evaluations: runs of a candidate, or instrumented runs, over all data.
        rewrites: Whether formulas may be replaced.
        costs: Prices of float32 ops, hand-overs and casts.
        target: A chip, such as ``A17``: a candidate then costs what its plan for that chip is estimated to take, all
            units allowed, so that what leaves the Neural Engine costs its transfers and launches.
        journal: Path of a file that keeps what was measured; a search that was stopped goes on from there.
        progress: Whether to show a progress bar; where a person is watching, when left out.
        device: Runs the candidates, such as a simulated one; the CPU in strict numerics when left out.
        **conversion: Arguments of ``convert`` for a model that is to be converted, but for ``compute_precision``.

    Returns:
        The Pareto front of cost and accuracy, the converted ``model``, the ``map`` to convert again with, and the
        evaluations.

    Raises:
        InputError: The data, the metric, the budget or an argument does not fit.
        ConversionError: The model cannot be converted.
    """
    if target is not None:
        costs = dataclasses.replace(costs or CostModel(), estimate=lambda program: partition(program.main, target).cost)
    samples = [data] if isinstance(data, Mapping) else list(data)
    source = _source(model, conversion)
    with _bar(progress, max_evaluations) as advance:
        found = analysis.search(
            source.program,
            [arrays_for(source.shown, source.program.main, sample) for sample in samples],
            metric=metric,
            budget=budget,
            max_evaluations=max_evaluations,
            rewrites=rewrites,
            costs=costs,
            journal=journal,
            progress=advance,
            device=device,
            read=source.read,
        )
    found.model = source.finish(found)
    return found


class _Source:
    """A model in float32, and the way to make one of it with another choice.

    Args:
        program: In float32.
        shown: A model with the same inputs and outputs.
        finish: Makes the model.
    """

    def __init__(self, program: Program, shown: MLModel, finish: Callable[[SearchResult], MLModel]) -> None:
        self.program, self.shown, self.finish = program, shown, finish

    def read(self, results: Mapping[str, Any]) -> Outputs:
        """Outputs as ``predict`` gives them."""
        return {item.name: item.from_program(results[item.name]) for item in self.shown.outputs if item.name in results}


def _source(model: Any, conversion: dict[str, Any]) -> _Source:
    if "compute_precision" in conversion:
        raise InputError("the search chooses compute_precision", hint="leave it out")
    if isinstance(model, MLModel):
        if conversion:
            raise InputError("a model that exists is not converted", actual=", ".join(conversion))
        return _of_model(model)
    units = {name: conversion.pop(name) for name in ("compute_units", "skip_model_load") if name in conversion}
    prepared = prepare(model, **conversion, float16=True)
    if isinstance(model, Program):
        run_passes(prepared.program, [Float32Raising(), *cleanup()], verify=verify_program)
    program = clone_program(prepared.program)
    shown = dataclasses.replace(prepared, program=clone_program(program), verification=None)

    def finish(found: SearchResult) -> MLModel:
        return prepared.finish(_precision(found), **units)

    return _Source(program, shown.finish(None, skip_model_load=True), finish)


def _of_model(model: MLModel) -> _Source:
    function_of(model)  # refuses what is no ML Program
    program = clone_program(model.program)
    if len(program.functions) > 1:
        raise InputError("the model has several functions", expected="one", actual=", ".join(program.functions))
    run_passes(program, [Float32Raising(), *cleanup()], verify=verify_program)

    def finish(found: SearchResult) -> MLModel:
        typed = clone_program(program)
        choice = _precision(found)
        passes = [*rewriting(choice.rewrites), Float16Typing(choice.op_selector), *cleanup()]
        run_passes(typed, passes, verify=verify_program)
        return MLModel(model.package.with_program(typed), compute_units=model.compute_unit)

    return _Source(
        program, MLModel(Package.from_program(program, model.package.description), skip_model_load=True), finish
    )


def _precision(found: SearchResult) -> FP16ComputePrecision:
    return FP16ComputePrecision.of(found.map)


@contextlib.contextmanager
def _bar(shown: bool | None, most: int) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar of evaluations on the standard error."""
    if not (sys.stderr.isatty() if shown is None else shown):
        yield lambda what, done, of: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("searching", total=most)
        yield lambda what, done, of: bar.update(task, completed=done, description=what)
