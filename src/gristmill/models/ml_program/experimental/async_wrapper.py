"""A model whose loading and predictions can be awaited, with the time that each took."""

from __future__ import annotations

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from gristmill.errors import InputTypeError
from gristmill.models.compute_units import ComputeUnit
from gristmill.models.ml_program.experimental.remote_device import Device, only_here, refuse
from gristmill.models.model import MLModel, MLState

Result = TypeVar("Result")


class MLModelAsyncWrapper(ABC):
    """A model that is loaded when it is asked to.

    Args:
        spec_or_path: A specification message, or the path of a model.
        weights_dir: Folder of the weight files of a specification.
        compute_units: Which units may run it.
        function_name: Which function of a multi-function model to run.
        optimization_hints: As for ``MLModel``.
    """

    temp_asset_path: str | None = None
    """coremltools' name; no files are made."""

    def __init__(
        self,
        spec_or_path: Any,
        weights_dir: str | os.PathLike[str] | None = None,
        compute_units: ComputeUnit = ComputeUnit.ALL,
        function_name: str | None = None,
        optimization_hints: Mapping[str, object] | None = None,
    ) -> None:
        self.init_check(spec_or_path, weights_dir, compute_units, function_name, optimization_hints)
        self.spec_or_path = spec_or_path
        self.weights_dir = weights_dir
        self.compute_units = compute_units
        self.function_name = function_name
        self.optimization_hints = optimization_hints

    @staticmethod
    def init_check(
        spec_or_path: Any,
        weights_dir: str | os.PathLike[str] | None,
        compute_units: ComputeUnit,
        function_name: str | None = None,
        optimization_hints: Mapping[str, object] | None = None,
    ) -> None:
        """Checks the types of the arguments.

        Raises:
            InputTypeError: One is wrong.
        """
        if not isinstance(spec_or_path, str | os.PathLike) and not hasattr(spec_or_path, "SerializeToString"):
            raise InputTypeError("spec_or_path is a path or a specification", actual=type(spec_or_path).__name__)
        for name, value, kind in (
            ("weights_dir", weights_dir, str | os.PathLike | None),
            ("compute_units", compute_units, ComputeUnit),
            ("function_name", function_name, str | None),
            ("optimization_hints", optimization_hints, Mapping | None),
        ):
            if not isinstance(value, kind):
                raise InputTypeError(f"{name} has the wrong type", expected=kind, actual=type(value).__name__)

    @staticmethod
    def from_spec_or_path(
        spec_or_path: Any,
        weights_dir: str | os.PathLike[str] | None = None,
        compute_units: ComputeUnit = ComputeUnit.ALL,
        function_name: str | None = None,
        optimization_hints: Mapping[str, object] | None = None,
        device: Device | None = None,
    ) -> MLModelAsyncWrapper:
        """A model on this computer.

        Raises:
            UnsupportedError: ``device`` is given.
        """
        only_here(device)
        return LocalMLModelAsyncWrapper(spec_or_path, weights_dir, compute_units, function_name, optimization_hints)

    @abstractmethod
    async def load(self) -> None:
        """Loads the model."""

    @abstractmethod
    async def unload(self) -> None:
        """Lets the model go."""

    @abstractmethod
    async def predict(self, inputs: Mapping[str, Any], state: MLState | None = None) -> dict[str, Any]:
        """Runs the model, which is loaded if it is not yet; see ``MLModel.predict``."""

    @abstractmethod
    def make_state_if_needed(self) -> MLState | None:
        """Fresh states, or ``None`` for a model that has none or is not loaded."""

    @abstractmethod
    async def retrieve_compute_plan(self) -> Any:
        """The model's ``MLComputePlan``."""

    @property
    @abstractmethod
    def load_duration_in_nano_seconds(self) -> int | None:
        """How long loading took; ``None`` for a model that is not loaded."""

    @property
    @abstractmethod
    def last_predict_duration_in_nano_seconds(self) -> int | None:
        """How long the last prediction took; ``None`` before the first."""

    def cleanup(self) -> None:  # noqa: B027  # coremltools' name; there is nothing to do for anybody
        """Nothing: no files are made."""


class LocalMLModelAsyncWrapper(MLModelAsyncWrapper):
    """A model on this computer. Loading and predictions run in a thread, so that others are not kept waiting."""

    _model: MLModel | None = None
    _load_duration: int | None = None
    _predict_duration: int | None = None

    @property
    def model(self) -> MLModel | None:
        """The model, once it is loaded."""
        return self._model

    async def load(self) -> None:
        self._model, self._load_duration = await _timed(self._loaded)

    def _loaded(self) -> MLModel:
        model = MLModel(
            self.spec_or_path,
            weights_dir=self.weights_dir,
            compute_units=self.compute_units,
            function_name=self.function_name,
            optimization_hints=self.optimization_hints,
        )
        _ = model._session  # decodes the program and plans it
        return model

    async def unload(self) -> None:
        self._model = self._load_duration = self._predict_duration = None

    async def predict(self, inputs: Mapping[str, Any], state: MLState | None = None) -> dict[str, Any]:
        model = await self._ready()
        outputs, self._predict_duration = await _timed(lambda: model.predict(inputs, state))
        return outputs

    async def _ready(self) -> MLModel:
        if self._model is None:
            await self.load()
        assert self._model is not None
        return self._model

    def make_state_if_needed(self) -> MLState | None:
        if self._model is None:
            return None
        state = self._model.make_state()
        return state if state.names else None

    async def retrieve_compute_plan(self) -> Any:
        from gristmill.models.compute_plan import MLComputePlan

        model = await self._ready()
        path = model.package.path or model.get_compiled_model_path()
        return MLComputePlan.load_from_path(path, compute_units=model.compute_unit)

    @property
    def load_duration_in_nano_seconds(self) -> int | None:
        return self._load_duration

    @property
    def last_predict_duration_in_nano_seconds(self) -> int | None:
        return self._predict_duration


class RemoteMLModelAsyncWrapper(LocalMLModelAsyncWrapper):
    """A model on another device.

    Raises:
        UnsupportedError: Always.
    """

    def __init__(
        self,
        spec_or_path: Any,
        weights_dir: str | os.PathLike[str] | None,
        device: Device,
        compute_units: ComputeUnit = ComputeUnit.ALL,
        function_name: str | None = None,
        optimization_hints: Mapping[str, object] | None = None,
    ) -> None:
        refuse(device)


async def _timed(work: Callable[[], Result]) -> tuple[Result, int]:
    """What some work returns, done in a thread, and the nanoseconds that it took there."""

    def run() -> tuple[Result, int]:
        start = time.perf_counter_ns()
        result = work()
        return result, time.perf_counter_ns() - start

    return await asyncio.to_thread(run)
