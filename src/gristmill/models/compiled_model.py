"""Compiling models, and running compiled ones, under coremltools' names."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gristmill.errors import InputError, UnsupportedError
from gristmill.models.compute_units import ComputeUnit
from gristmill.models.model import MLModel, MLState
from gristmill.package import load
from gristmill.package.compiled import compile_package


class CompiledMLModel:
    """A compiled model, for running only.

    Args:
        path: A ``.mlmodelc`` folder.
        compute_units: Which units may run it.
        function_name: Which function of a multi-function model to run; its default one when left out.
        optimization_hints: Accepted for coremltools' sake.
        asset: Assets of models are not known here.

    Raises:
        FormatError: The files are no model, or a malformed one.
        MissingFileError: There is nothing at the path.
        InputError: The path is that of another kind of model.
        UnsupportedError: An asset is given.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        compute_units: ComputeUnit = ComputeUnit.ALL,
        function_name: str | None = None,
        optimization_hints: Mapping[str, object] | None = None,
        asset: object = None,
    ) -> None:
        if asset is not None:
            raise UnsupportedError("models are loaded from files, not from assets", hint="give the path")
        if Path(path).suffix != ".mlmodelc":
            raise InputError("a compiled model is a folder", expected="a path ending in .mlmodelc", actual=path)
        self.compute_unit, self.function_name, self.optimization_hints = (
            compute_units,
            function_name or "",
            optimization_hints,
        )
        self._model = MLModel(path, compute_units=compute_units, function_name=function_name or None)

    @classmethod
    def from_asset(
        cls,
        asset: object,
        compute_units: ComputeUnit = ComputeUnit.ALL,
        function_name: str | None = None,
        optimization_hints: Mapping[str, object] | None = None,
    ) -> CompiledMLModel:
        """Assets are not known here.

        Raises:
            UnsupportedError: Always.
        """
        return cls("", compute_units, function_name, optimization_hints, asset)

    def predict(self, data: Any, state: MLState | None = None) -> Any:
        """Runs the model; see ``MLModel.predict``."""
        return self._model.predict(data, state)

    def make_state(self) -> MLState:
        """Fresh states, all zero; see ``MLModel.make_state``."""
        return self._model.make_state()


def compile_model(model: Any, destination_path: str | os.PathLike[str] | None = None) -> str:
    """Writes a model as a compiled one: an ML Program as MIL text and weights; see ``package.compiled`` for others.

    Args:
        model: A ``Model`` message, or the path of a ``.mlmodel`` or ``.mlpackage``.
        destination_path: Where, ending in ``.mlmodelc``; a new temporary folder, the caller's to delete, when left out.

    Returns:
        The path of the folder.

    Raises:
        InputError: The path does not end so.
        FormatError: The model is malformed.
        UnsupportedError: It cannot be compiled here.
    """
    package = load(model) if isinstance(model, str | os.PathLike) else MLModel(model).package
    if destination_path is None:
        destination_path = Path(tempfile.mkdtemp(prefix="gristmill-")) / "model.mlmodelc"
    return str(compile_package(package, destination_path))
