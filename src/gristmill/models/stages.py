"""What a pipeline's models do one by one: simulated on a chip that is not here, and timed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from gristmill.analysis.simulation import UNPROFILED, Envelope, Placement, chosen
from gristmill.devices.base import CallProfile
from gristmill.devices.profiles import NumericsProfile
from gristmill.models.classic import ClassicModel, open_classic
from gristmill.models.classic.pipeline import Opener, Pipeline, Predictor
from gristmill.models.compute_units import ComputeUnit
from gristmill.models.model import MLModel
from gristmill.package import Package

# --- simulation ------------------------------------------------------------------------------------------------------


class _Simulated:
    """A program in a pipeline that runs as a chip might.

    Attributes:
        profile: What the unit of this name follows; the likeliest ones when ``None``.
        in_float32: Whether the program runs in float32 on the CPU instead.
    """

    def __init__(self, model: MLModel, target: str, units: ComputeUnit) -> None:
        plan = model.plan(target, units)
        self._model, self.placement = model, Placement(plan.function, plan.segments)
        self.profile: NumericsProfile | None = None
        self.in_float32 = False

    def predict(self, rows: Sequence[Mapping[str, Any]], /) -> list[dict[str, Any]]:
        return [self._row(row) for row in rows]

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        arrays, outputs = self._model._arrays(row)
        if self.in_float32:
            results = self.placement.run_in_float32(arrays, None)
        else:
            results = self.placement.run(arrays, None, self.placement.by_unit(self.profile))
        return {item.name: item.from_program(results[item.name]) for item in outputs if item.name in results}


def simulate(
    model: MLModel,
    data: Mapping[str, Any],
    target: str,
    units: ComputeUnit,
    profiles: Sequence[NumericsProfile | str] | None,
) -> Envelope:
    """``MLModel.simulate`` for a pipeline: its programs run as the chip might, other models as they always do."""
    programs: list[_Simulated] = []

    def opened(package: Package) -> ClassicModel | Predictor:
        classic = open_classic(package, opened)
        if classic is None:
            programs.append(_Simulated(MLModel(package), target, units))
        return classic or programs[-1]

    pipeline = opened(model.package)
    assert isinstance(pipeline, ClassicModel)

    def run(profile: NumericsProfile | None, *, in_float32: bool = False) -> dict[str, Any]:
        for program in programs:
            program.profile, program.in_float32 = profile, in_float32
        return pipeline.predict([data])[0]

    found = chosen(profiles, [program.placement for program in programs])
    results = {profile.name: run(profile) for profile in found} or {UNPROFILED: run(None)}
    return Envelope(results, run(None, in_float32=True))


# --- time ------------------------------------------------------------------------------------------------------------


class _Profiled:
    """A program in a pipeline, whose calls are noted."""

    def __init__(self, model: MLModel, calls: list[CallProfile]) -> None:
        self._model, self._calls = model, calls

    def predict(self, rows: Sequence[Mapping[str, Any]], /) -> list[dict[str, Any]]:
        for row in rows:
            arrays, _ = self._model._arrays(row)
            self._calls += self._model._session.profile(arrays)
        return [self._model._predict(row, None) for row in rows]


def profile(model: MLModel, data: Mapping[str, Any]) -> list[CallProfile]:
    """The calls of one prediction: those of programs, and one for each model that is none, under its type."""
    calls: list[CallProfile] = []

    def note(kind: str, begun: float, seconds: float) -> None:
        if not calls or calls[-1].start < begun:  # a link to a program has been noted call by call
            calls.append(CallProfile(kind, (), begun, seconds, 0, 0, "no program"))

    opened = _profiled(calls, note)
    whole = opened(model.package)
    begun = time.perf_counter()
    whole.predict([data])
    if not isinstance(whole, Pipeline):
        note(model.kind, begun, time.perf_counter() - begun)
    return calls


def _profiled(calls: list[CallProfile], note: Any) -> Opener:
    def opened(package: Package) -> ClassicModel | Predictor:
        classic = open_classic(package, opened)
        if isinstance(classic, Pipeline):
            classic.observe = note
        return classic or _Profiled(MLModel(package), calls)

    return opened
