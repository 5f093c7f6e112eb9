"""How long a model takes to load and to run, and each of its operations. All times are milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gristmill.analysis.verify import op_work
from gristmill.errors import InputError, InputTypeError
from gristmill.models.compute_units import ComputeUnit
from gristmill.models.features import make_up
from gristmill.models.ml_program.experimental.async_wrapper import LocalMLModelAsyncWrapper
from gristmill.models.ml_program.experimental.model_structure_path import (
    ModelStructurePath,
    map_model_spec_to_path,
    map_model_structure_to_path,
)
from gristmill.models.ml_program.experimental.remote_device import Device, only_here
from gristmill.models.model import MLModel
from gristmill.package.proto import Message


@dataclass(frozen=True)
class Statistics:
    """What samples have in common."""

    minimum: float
    maximum: float
    average: float
    std_dev: float
    median: float

    @staticmethod
    def from_values(values: list[float]) -> Statistics | None:
        """Statistics of samples; ``None`` where there are none."""
        if not values:
            return None
        found = (f(values) for f in (np.min, np.max, np.mean, np.std, np.median))
        return Statistics(*map(float, found))


@dataclass(frozen=True)
class Measurement:
    """Samples in the order in which they were taken, and their statistics."""

    statistics: Statistics | None
    samples: list[float]

    @staticmethod
    def from_samples(samples: list[float]) -> Measurement:
        """The measurement that some samples make."""
        return Measurement(Statistics.from_values(samples), samples)

    def add_samples(self, samples: list[float]) -> Measurement:
        """This measurement with others added to it, sample by sample.

        Raises:
            InputError: The numbers of samples differ.
        """
        if not self.samples or not samples:
            return Measurement.from_samples(self.samples or samples)
        if len(self.samples) != len(samples):
            raise InputError("number of samples", expected=len(self.samples), actual=len(samples))
        return Measurement.from_samples([a + b for a, b in zip(self.samples, samples, strict=True)])

    @property
    def sort_key(self) -> tuple[bool, float | None]:
        """Orders measurements by their medians; what was not measured comes first."""
        return self.statistics is not None, self.statistics.median if self.statistics is not None else None


@dataclass
class OperationExecutionInfo:
    """An operation, where it stands, and how long it took.

    Attributes:
        spec: The operation.
        path: Where it stands in the model.
        compute_device_usage: What the plan for this computer says of it; ``None`` for constants.
        measurement: Its share of each prediction; no samples for what did not run, such as constants.
    """

    spec: Message
    path: ModelStructurePath
    compute_device_usage: Any
    measurement: Measurement


class MLModelBenchmarker:
    """Measures a model on this computer.

    Args:
        model: The model.
        device: ``None``, this computer.

    Raises:
        InputTypeError: It is no model.
        UnsupportedError: ``device`` is given.

    Example::

        benchmarker = MLModelBenchmarker(model)
        print((await benchmarker.benchmark_predict(iterations=10, warmup=True)).statistics)
    """

    # coremltools has these classes here.
    Statistics: TypeAlias = Statistics
    Measurement: TypeAlias = Measurement
    OperationExecutionInfo: TypeAlias = OperationExecutionInfo

    def __init__(self, model: MLModel, device: Device | None = None) -> None:
        if not isinstance(model, MLModel):
            raise InputTypeError("what is measured is an MLModel", actual=type(model).__name__)
        only_here(device)
        self.model, self.device = model, device
        self.model_spec = model.get_spec()
        self._loaded: LocalMLModelAsyncWrapper | None = None

    @property
    def compute_units(self) -> ComputeUnit:
        """Which units may run the model."""
        return self.model.compute_unit

    @compute_units.setter
    def compute_units(self, compute_units: ComputeUnit) -> None:
        if compute_units != self.model.compute_unit:
            self.model = MLModel(
                self.model.package, compute_units=compute_units, function_name=self.model.function_name
            )
            self._loaded = None

    async def _load(self) -> LocalMLModelAsyncWrapper:
        """The model, loaded anew from its files or, if it has none, from its specification."""
        path = self.model.package.path
        weights = None if path is not None else self.model.weights_dir
        loaded = LocalMLModelAsyncWrapper(
            path if path is not None else self.model_spec, weights, self.compute_units, self.model.function_name
        )
        await loaded.load()
        return loaded

    async def benchmark_load(self, iterations: int = 1) -> Measurement:
        """Loads the model anew several times: reads its files, decodes the program, plans and packs.

        Raises:
            InputError: ``iterations`` is under 1.
        """
        samples = []
        for _ in range(_at_least_one(iterations)):
            self._loaded = await self._load()
            samples.append((self._loaded.load_duration_in_nano_seconds or 0) / 1e6)
        return Measurement.from_samples(samples)

    async def benchmark_predict(
        self, inputs: Mapping[str, Any] | None = None, iterations: int = 1, warmup: bool = False
    ) -> Measurement:
        """Runs the model several times.

        Args:
            inputs: As for ``predict``; made up when left out. States start at zero each time.
            iterations: How often.
            warmup: Run once more before, unmeasured.

        Raises:
            InputError: ``iterations`` is under 1, or ``inputs`` do not fit.
        """
        _at_least_one(iterations)
        loaded = self._loaded = self._loaded or await self._load()
        given = self._inputs(inputs)
        samples = []
        for _ in range(iterations + warmup):
            await loaded.predict(given, loaded.make_state_if_needed())
            samples.append((loaded.last_predict_duration_in_nano_seconds or 0) / 1e6)
        return Measurement.from_samples(samples[warmup:])

    async def benchmark_operation_execution(
        self, inputs: Mapping[str, Any] | None = None, iterations: int = 1, warmup: bool = False
    ) -> list[OperationExecutionInfo]:
        """Runs the model several times and measures each of its operations; arguments as of ``benchmark_predict``.

        What runs as one call, such as a convolution with its activation, is measured as one; its time is divided among
        its operations by the work that each stands for.

        Returns:
            All operations of all functions, the most expensive first.
        """
        loaded = self._loaded = self._loaded or await self._load()
        model = loaded.model
        assert model is not None
        given = self._inputs(inputs)
        shares: dict[str, list[float]] = {}
        for turn in range(_at_least_one(iterations) + warmup):
            arrays, _ = model._arrays(given)
            calls = await asyncio.to_thread(model._session.profile, arrays, model._session.make_state())
            for call in calls if turn >= warmup else ():
                works = {op: op_work(op, {}) for op in call.ops if op.results}
                whole = sum(works.values())
                for op, work in works.items():
                    own = shares.setdefault(op.results[0].name, [0.0] * iterations)
                    own[turn - warmup] += call.seconds * 1e3 * (work / whole if whole else 1 / len(works))
        running = model._function(model.program).name
        plan = await loaded.retrieve_compute_plan()
        planned = {path: op for op, path in map_model_structure_to_path(plan.model_structure)}
        result, seen = [], set()
        for operation, path in map_model_spec_to_path(self.model_spec):
            if id(operation) in seen:  # it has several outputs
                continue
            seen.add(id(operation))
            mine = path.components[1] == ModelStructurePath.Program.Function(running)
            samples = shares.get(operation.outputs[0].name, []) if mine else []
            usage = plan.get_compute_device_usage_for_mlprogram_operation(planned[path]) if path in planned else None
            result.append(OperationExecutionInfo(operation, path, usage, Measurement.from_samples(samples)))
        return sorted(result, key=lambda info: info.measurement.sort_key, reverse=True)

    def _inputs(self, inputs: Mapping[str, Any] | None) -> Mapping[str, Any]:
        return make_up([item for item in self.model.inputs if not item.optional], 0) if inputs is None else inputs


def _at_least_one(iterations: int) -> int:
    if iterations < 1:
        raise InputError("a measurement takes at least one iteration", expected="1 or more", actual=iterations)
    return iterations
