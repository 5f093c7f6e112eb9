"""The short way through: a function that is one native segment over arrays of fixed shapes.

Everything that a prediction usually asks about its arrays is known beforehand, so native code compares each array with
the type and the shape that it must have, and runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gristmill.devices.base import DirectRun
from gristmill.devices.cpu import _native
from gristmill.devices.cpu.emit import Replaced
from gristmill.devices.cpu.plan import BlockPlan, NativeStep
from gristmill.ir.constants import Array
from gristmill.ir.dims import is_static
from gristmill.ir.program import Function, Value
from gristmill.ir.types import TensorType


class _Slot(NamedTuple):
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    place: int  # among the executable's external arrays; -1 for an input that nothing reads


def direct_run(function: Function, plan: BlockPlan) -> DirectRun | None:
    """The short way through a plan, or ``None`` where there is none."""
    if len(plan.steps) != 1 or not isinstance(plan.steps[0], NativeStep):
        return None
    emitter = plan.steps[0].emitter
    places = {value: place for place, value in enumerate(emitter.externals)}
    made = [value for value in emitter.externals if value not in emitter.inputs]
    if any(isinstance(value, Replaced) for value in made):
        return None
    outputs = list(plan.block.outputs)
    if len(set(outputs)) != len(outputs) or set(outputs) != set(made):
        return None
    values: list[Value] = [*function.inputs, *outputs]
    if emitter.symbols or not all(isinstance(v.type, TensorType) and is_static(v.type.shape) for v in values):
        return None
    if any(value in emitter.inputs and value not in function.inputs for value in emitter.externals):
        return None

    def slot(value: Value, name: str) -> _Slot:
        shape = tuple(map(int, value.shape))
        return _Slot(name, value.dtype.numpy, shape, places.get(value, -1))

    inputs = [slot(value, value.name) for value in function.inputs]
    results = [slot(value, named.name) for value, named in zip(outputs, function.outputs, strict=True)]
    return _Direct(plan.steps[0], inputs, results)


class _Direct:
    """See ``DirectRun``."""

    def __init__(self, step: NativeStep, inputs: list[_Slot], results: list[_Slot]) -> None:
        self._step, self._executable = step, step.emitter.executable
        self._inputs, self._results = inputs, results
        self._count = len(step.emitter.externals)
        self._run = _native.Direct(self._executable, self._count, inputs, results, np.ndarray, np.empty)

    def __call__(self, data: dict[str, Any]) -> dict[str, Array] | None:
        try:
            return self._run(data)
        except (MemoryError, _native.NativeError):
            with self._step.errors_named():
                raise

    def bind(self) -> tuple[dict[str, Array], dict[str, Array], Any]:
        inputs = {slot.name: np.zeros(slot.shape, slot.dtype) for slot in self._inputs}
        results = {slot.name: np.zeros(slot.shape, slot.dtype) for slot in self._results}
        arrays: list[Any] = [None] * self._count
        for slot in self._inputs:
            if slot.place >= 0:
                arrays[slot.place] = inputs[slot.name]
        for slot in self._results:
            arrays[slot.place] = results[slot.name]
        return inputs, results, self._executable.bind(arrays)
