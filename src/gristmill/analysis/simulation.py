"""Running a placed function under several numerics profiles: the envelope of what a chip might compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

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
    """

    results: Mapping[str, Mapping[str, Array]]
    float32: Mapping[str, Array]

    @cached_property
    def low(self) -> Mapping[str, Array]:
        """Of each output, element by element the lowest number that a profile gives."""
        return {name: np.fmin.reduce(arrays) for name, arrays in self._stacked()}

    @cached_property
    def high(self) -> Mapping[str, Array]:
        """Of each output, element by element the highest number that a profile gives."""
        return {name: np.fmax.reduce(arrays) for name, arrays in self._stacked()}

    @cached_property
    def spread(self) -> Mapping[str, float]:
        """Of each output, the furthest that two profiles are apart; ∞ where only some give a number."""
        return {name: _spread(arrays) for name, arrays in self._stacked()}

    @cached_property
    def snr_db(self) -> Mapping[str, Mapping[str, float]]:
        """Signal-to-noise ratio in decibels beside float32, by profile and output; ∞ where nothing differs."""
        return {
            profile: {name: figures(array, self.float32[name]).snr_db for name, array in outputs.items()}
            for profile, outputs in self.results.items()
        }

    def _stacked(self) -> Iterator[tuple[str, Array]]:
        for name in self.float32:
            yield name, np.stack([outputs[name] for outputs in self.results.values()])

    def __str__(self) -> str:
        lines = []
        for name in self.float32:
            lines.append(f"{name}: profiles are up to {self.spread[name]:.3g} apart")
            lines += [f"  {profile}: {ratios[name]:.1f} dB beside float32" for profile, ratios in self.snr_db.items()]
        return "\n".join([*lines, "Profiles are models, not Apple's own numbers: docs/simulation.md."])


def simulate(
    function: Function,
    segments: Sequence[OnUnit],
    inputs: Mapping[str, Array],
    state: State | None = None,
    profiles: Sequence[NumericsProfile | str] | None = None,
) -> Envelope:
    """Runs a placed function once under each profile, and once in float32.

    In a run, the unit of the profile computes as the profile says, other simulated units by their likeliest profile,
    and the CPU as it does. Untyped tensors get the native types of their units.

    Args:
        function: What to run.
        segments: Which unit runs which ops, in the order of execution: those of a plan.
        inputs: Arrays in the declared types, by name.
        state: For a function with states. Every run begins with its contents, and none changes them.
        profiles: Profiles, or their names; all known ones of the units in use when left out.

    Raises:
        InputError: There is no such profile, or its unit runs nothing here.
    """
    units = dict.fromkeys(segment.unit for segment in segments)
    simulated = [unit for unit in units if unit in SIMULATED]
    known = [profile for unit in simulated for profile in profiles_of(unit)]
    chosen = known if profiles is None else [profile_of(choice) for choice in profiles]
    for profile in chosen:
        if profile.unit not in simulated:
            raise InputError(
                f"profile '{profile.name}' is of a unit that runs nothing here",
                expected=", ".join(simulated) or "only the CPU is used: no profile",
                actual=profile.unit,
            )
    typed, placed = type_by_unit(function, segments)
    likely = {unit: profiles_of(unit)[0] for unit in simulated}
    runs = {profile.name: {**likely, profile.unit: profile} for profile in chosen} or {UNPROFILED: likely}
    done: dict[tuple[NumericsProfile, ...], Mapping[str, Array]] = {}
    for by_unit in runs.values():
        key = tuple(by_unit.values())
        if key not in done:
            devices: dict[str, Device] = {unit: SIMULATED[unit](profile) for unit, profile in by_unit.items()}
            done[key] = _run(typed, PlacedDevice(placed, {UNPROFILED: CpuDevice(), **devices}), inputs, state)
    results = {name: done[tuple(by_unit.values())] for name, by_unit in runs.items()}
    # Untyped tensors are float32 from the start here: constants that a unit rounded would stay so.
    alone, _ = type_by_unit(function, [Placed(UNPROFILED, [op for segment in segments for op in segment.ops])])
    return Envelope(results, _run(in_float32(alone), CpuDevice(), inputs, state))


def _run(function: Function, device: Device, inputs: Mapping[str, Array], state: State | None) -> dict[str, Array]:
    session = Session(function, device)
    declared = {value.name: value for value in function.inputs}
    given = {name: array.astype(declared[name].dtype.numpy, copy=False) for name, array in inputs.items()}
    if state is None:
        return session.run(given)
    own = session.make_state()
    for name in state.names:
        own.write(name, state.read(name))
    return session.run(given, own)


def _spread(arrays: Array) -> float:
    """Of arrays along the first axis, the largest difference of two in one place."""
    if arrays.dtype.kind != "f":
        return float(np.max(np.ptp(arrays.astype(np.float64), axis=0), initial=0))
    wide = arrays.astype(np.float64)
    same = np.all((wide == wide[0]) | (np.isnan(wide) & np.isnan(wide[0])), axis=0)
    with np.errstate(invalid="ignore"):
        apart = wide.max(axis=0) - wide.min(axis=0)
    return float(np.max(np.where(same, 0, np.where(np.isnan(apart), np.inf, apart)), initial=0))
