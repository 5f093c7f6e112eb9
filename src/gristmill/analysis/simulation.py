"""Running a placed function under several numerics profiles: the envelope of what a chip might compute."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from gristmill.analysis.metrics import figures
from gristmill.devices.base import Device
from gristmill.devices.cpu import CpuDevice
from gristmill.devices.gpu import SimulatedGpuDevice
from gristmill.devices.neural_engine import NeuralEngineDevice
from gristmill.devices.profiles import NumericsProfile, profile_of, profiles_of
from gristmill.errors import InputError
from gristmill.ir.constants import Array
from gristmill.ir.program import Function
from gristmill.precision.unit_types import OnUnit, Placed, in_float32, type_by_unit
from gristmill.runtime.placed import PlacedDevice
from gristmill.runtime.session import Session
from gristmill.runtime.state import State

SIMULATED = MappingProxyType({"neural_engine": NeuralEngineDevice, "gpu": SimulatedGpuDevice})
"""Units that are not here."""

UNPROFILED = "cpu"
"""Name of the only run of a function that no simulated unit takes part in."""


@dataclass(frozen=True)
class Envelope:
    """What several profiles make of the same inputs.

    Attributes:
        results: Outputs by name, by the profile's name, each in its declared type.
        float32: The same outputs with float32 wherever the model says float16, on the CPU.

    Outputs of other shapes under other profiles, such as boxes that one run finds more of, and those that are no
    arrays, are compared by whether they are equal.
    """

    results: Mapping[str, Mapping[str, Any]]
    float32: Mapping[str, Any]

    @cached_property
    def low(self) -> Mapping[str, Array]:
        """Of each output of one shape, element by element the lowest number that a profile gives."""
        return {name: np.fmin.reduce(np.stack(arrays)) for name, arrays in self._by_name() if _alike(arrays)}

    @cached_property
    def high(self) -> Mapping[str, Array]:
        """Of each output of one shape, element by element the highest number that a profile gives."""
        return {name: np.fmax.reduce(np.stack(arrays)) for name, arrays in self._by_name() if _alike(arrays)}

    @cached_property
    def spread(self) -> Mapping[str, float]:
        """Of each output, the furthest that two profiles are apart; ∞ where only some give a number."""
        return {name: _spread(values) for name, values in self._by_name()}

    @cached_property
    def snr_db(self) -> Mapping[str, Mapping[str, float]]:
        """Signal-to-noise ratio in decibels beside float32, by profile and output; ∞ where nothing differs."""
        return {
            profile: {name: _snr_db(value, self.float32[name]) for name, value in outputs.items()}
            for profile, outputs in self.results.items()
        }

    def _by_name(self) -> Iterator[tuple[str, list[Any]]]:
        for name in self.float32:
            yield name, [outputs[name] for outputs in self.results.values()]

    def __str__(self) -> str:
        lines = []
        for name in self.float32:
            lines.append(f"{name}: profiles are up to {self.spread[name]:.3g} apart")
            lines += [f"  {profile}: {ratios[name]:.1f} dB beside float32" for profile, ratios in self.snr_db.items()]
        return "\n".join([*lines, "Profiles are models, not Apple's own numbers: docs/simulation.md."])


class Placement:
    """A placed function that runs under any profile. Untyped tensors get the native types of their units.

    Args:
        function: What to run.
        segments: Which unit runs which ops, in the order of execution: those of a plan.
    """

    def __init__(self, function: Function, segments: Sequence[OnUnit]) -> None:
        self._function, self._segments = function, segments
        self._typed, self._placed = type_by_unit(function, segments)
        self.units = [unit for unit in dict.fromkeys(segment.unit for segment in segments) if unit in SIMULATED]

    @property
    def profiles(self) -> list[NumericsProfile]:
        """All known ones of the simulated units in use."""
        return [profile for unit in self.units for profile in profiles_of(unit)]

    def by_unit(self, profile: NumericsProfile | None) -> dict[str, NumericsProfile]:
        """How each simulated unit computes when one of them follows a profile: the others by their likeliest."""
        likely = {unit: profiles_of(unit)[0] for unit in self.units}
        return likely if profile is None or profile.unit not in likely else {**likely, profile.unit: profile}

    def run(
        self, inputs: Mapping[str, Array], state: State | None, by_unit: Mapping[str, NumericsProfile]
    ) -> dict[str, Any]:
        """The outputs for arrays in the declared types; ``state`` stays as it is."""
        devices: dict[str, Device] = {unit: SIMULATED[unit](profile) for unit, profile in by_unit.items()}
        return _run(self._typed, PlacedDevice(self._placed, {UNPROFILED: CpuDevice(), **devices}), inputs, state)

    def run_in_float32(self, inputs: Mapping[str, Array], state: State | None) -> dict[str, Any]:
        """The same on the CPU, with float32 wherever the model says float16.

        Untyped tensors are float32 from the start here: constants that a unit rounded would stay so.
        """
        ops = [op for segment in self._segments for op in segment.ops]
        alone, _ = type_by_unit(self._function, [Placed(UNPROFILED, ops)])
        return _run(in_float32(alone), CpuDevice(), inputs, state)


def chosen(profiles: Sequence[NumericsProfile | str] | None, placements: Sequence[Placement]) -> list[NumericsProfile]:
    """Profiles, or their names, as profiles; all known ones of the units in use when left out.

    Raises:
        InputError: There is no such profile, or its unit runs nothing here.
    """
    if profiles is None:
        return list(dict.fromkeys(profile for placement in placements for profile in placement.profiles))
    units = list(dict.fromkeys(unit for placement in placements for unit in placement.units))
    found = [profile_of(choice) for choice in profiles]
    for profile in found:
        if profile.unit not in units:
            raise InputError(
                f"profile '{profile.name}' is of a unit that runs nothing here",
                expected=", ".join(units) or "only the CPU is used: no profile",
                actual=profile.unit,
            )
    return found


def simulate(
    function: Function,
    segments: Sequence[OnUnit],
    inputs: Mapping[str, Array],
    state: State | None = None,
    profiles: Sequence[NumericsProfile | str] | None = None,
) -> Envelope:
    """Runs a placed function once under each profile, and once in float32.

    In a run, the unit of the profile computes as the profile says, other simulated units by their likeliest profile,
    and the CPU as it does.

    Args:
        function: What to run.
        segments: As for ``Placement``.
        inputs: Arrays in the declared types, by name.
        state: For a function with states. Every run begins with its contents, and none changes them.
        profiles: Profiles, or their names; all known ones of the units in use when left out.

    Raises:
        InputError: There is no such profile, or its unit runs nothing here.
    """
    placement = Placement(function, segments)
    runs = {each.name: placement.by_unit(each) for each in chosen(profiles, [placement])}
    runs = runs or {UNPROFILED: placement.by_unit(None)}
    done: dict[tuple[NumericsProfile, ...], Mapping[str, Any]] = {}
    for by_unit in runs.values():
        key = tuple(by_unit.values())
        if key not in done:
            done[key] = placement.run(inputs, state, by_unit)
    results = {name: done[tuple(by_unit.values())] for name, by_unit in runs.items()}
    return Envelope(results, placement.run_in_float32(inputs, state))


def _run(function: Function, device: Device, inputs: Mapping[str, Array], state: State | None) -> dict[str, Any]:
    session = Session(function, device)
    declared = {value.name: value for value in function.inputs}
    given = {name: array.astype(declared[name].dtype.numpy, copy=False) for name, array in inputs.items()}
    own = None
    if state is not None:
        own = session.make_state()
        for name in state.names:
            own.write(name, state.read(name))
    return {name: _plain(value) for name, value in session.run(given, own).items()}


def _plain(value: Any) -> Any:
    """A text in place of an array of one."""
    is_text = isinstance(value, np.ndarray) and value.dtype == object and not value.ndim
    return value.item() if is_text else value


def _alike(values: Sequence[Any]) -> bool:
    """Whether all are numbers or arrays of them, of one shape."""
    arrays = [np.asarray(value) for value in values]
    return len({array.shape for array in arrays}) == 1 and all(array.dtype.kind in "fiub" for array in arrays)


def _snr_db(value: Any, wanted: Any) -> float:
    if not _alike([value, wanted]):
        return math.inf if _same(value, wanted) else -math.inf
    return figures(np.asarray(value), np.asarray(wanted)).snr_db


def _same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else bool(a == b)


def _spread(values: Sequence[Any]) -> float:
    """The largest difference of two in one place."""
    if not _alike(values):
        return 0.0 if all(_same(values[0], value) for value in values) else math.inf
    arrays = np.stack(values)
    if arrays.dtype.kind != "f":
        return float(np.max(np.ptp(arrays.astype(np.float64), axis=0), initial=0))
    wide = arrays.astype(np.float64)
    same = np.all((wide == wide[0]) | (np.isnan(wide) & np.isnan(wide[0])), axis=0)
    with np.errstate(invalid="ignore"):
        apart = wide.max(axis=0) - wide.min(axis=0)
    return float(np.max(np.where(same, 0, np.where(np.isnan(apart), np.inf, apart)), initial=0))
