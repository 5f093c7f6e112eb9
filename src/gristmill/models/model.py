"""``MLModel``: a Core ML model that can be inspected, run and saved."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from gristmill.devices.base import CallProfile, Device, DirectRun
from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import InputError, InputTypeError, TypeInferenceError, UnsupportedError
from gristmill.ir.constants import Array
from gristmill.ir.garbage import uncollected
from gristmill.ir.program import Function, Program, Value
from gristmill.models.bound import BoundModel
from gristmill.models.compute_units import ComputeUnit
from gristmill.models.features import ArrayFeature, Feature, feature, known_names
from gristmill.models.kinds import PROGRAMS, read_program, runnable
from gristmill.package import Package, load, proto
from gristmill.package.network_messages import NETWORKS
from gristmill.package.proto import Message
from gristmill.runtime.session import Session
from gristmill.runtime.state import State

if TYPE_CHECKING:
    from gristmill.analysis.simulation import Envelope
    from gristmill.analysis.verify import ConversionReport
    from gristmill.devices.profiles import NumericsProfile
    from gristmill.models.by_shape import ByShape
    from gristmill.models.classic import ClassicModel
    from gristmill.models.compute_device import MLComputeDevice
    from gristmill.models.profile import Profile
    from gristmill.runtime.plan import Plan
    from gristmill.runtime.targets import Target


def _cpu_device() -> Device:
    from gristmill.devices.cpu import CpuDevice  # loads the native core, which nothing else needs

    return CpuDevice()


DEVICES: Mapping[str, Callable[[], Device]] = {"reference": ReferenceDevice, "cpu": _cpu_device}


class MLState:
    """The states of one sequence of predictions; made by ``MLModel.make_state``."""

    def __init__(self, state: State) -> None:
        self._state = state

    def read_state(self, name: str) -> Array:
        """A copy of one state's contents."""
        return self._state.read(name)

    def write_state(self, name: str, value: Array) -> None:
        """Replaces one state's contents; the shape must be its own."""
        self._state.write(name, value)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the states."""
        return self._state.names


class Descriptions(Mapping[str, str]):
    """Texts about inputs or outputs, by name in the model's order; assigning changes the model's description."""

    def __init__(self, specs: Any) -> None:
        self._specs = {spec.name: spec for spec in specs}

    def __getitem__(self, name: str) -> str:
        return str(self._find(name).shortDescription)

    def __setitem__(self, name: str, text: str) -> None:
        self._find(name).shortDescription = text

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def _find(self, name: str) -> Message:
        if name not in self._specs:
            raise KeyError(f"there is no feature {name!r}; the model has {', '.join(self._specs)}")
        return self._specs[name]

    def __repr__(self) -> str:
        return repr({name: self[name] for name in self})


class MLModel:
    """A Core ML model.

    Args:
        model: Path of a ``.mlpackage``, ``.mlmodel`` or ``.mlmodelc``; a specification message; or a ``Package``.
            Weights are read when they are needed, from the files as they were opened: these may be replaced or deleted
            meanwhile.
        is_temp_package: Accepted for coremltools' sake.
        mil_program: Accepted for coremltools' sake; the program is read from the model.
        skip_model_load: The model is for inspection and saving only: ``predict`` refuses.
        compute_units: Which units may run it.
        weights_dir: Folder of the weight files of a specification.
        function_name: Which function of a multi-function model to run; its default one when left out.
        optimization_hints: Accepted for coremltools' sake.
        mmap: Whether large weights may be used in their files, mapped into memory, where kernels can use them as they
            lie there: the first result is then there sooner, and the next may take longer while they are packed in the
            background. The files may be replaced and deleted meanwhile; one that somebody cuts in place makes
            ``predict`` raise a `FormatError` if it could have read what is lost, and one that somebody writes to in
            place gives other predictions. ``False`` copies all weights.

    Attributes:
        conversion_report: What ``convert`` found when it ran the model beside its source; ``None`` for a loaded model.

    Raises:
        FormatError: The files are no model, or a malformed one.
        MissingFileError: There is nothing at the path.
        InputError: The model has no such function.
    """

    def __init__(
        self,
        model: Any,
        is_temp_package: bool = False,
        mil_program: object = None,
        skip_model_load: bool = False,
        compute_units: ComputeUnit = ComputeUnit.ALL,
        weights_dir: str | os.PathLike[str] | None = None,
        function_name: str | None = None,
        optimization_hints: Mapping[str, object] | None = None,
        *,
        mmap: bool = True,
    ) -> None:
        if not isinstance(compute_units, ComputeUnit):
            raise InputTypeError("compute_units is a ComputeUnit", actual=compute_units)
        self.package = _open(model, weights_dir, mmap=mmap)
        self.compute_unit = compute_units
        self.function_name = function_name
        self.optimization_hints = optimization_hints
        self.conversion_report: ConversionReport | None = None
        self._compiled: str | None = None
        self._skip = skip_model_load
        self._interface = self._find_interface()

    # -- what the model says of itself -------------------------------------------------------------------------------

    @property
    def _description(self) -> Message:
        return self.package.description

    def _find_interface(self) -> Message:
        """The part of the description that is about the chosen function."""
        functions = {f.name: f for f in self._description.functions}
        if not functions:
            if self.function_name not in (None, "main"):
                raise InputError(
                    f"the model has no function '{self.function_name}'", expected="main", actual=self.function_name
                )
            return self._description
        name = self.function_name or self._description.defaultFunctionName
        if name not in functions:
            raise InputError(f"the model has no function '{name}'", expected=", ".join(functions), actual=name)
        return functions[name]

    @property
    def kind(self) -> str:
        """The model type as the specification calls it, such as ``mlProgram`` or ``neuralNetwork``."""
        return self.package.kind

    @cached_property
    def program(self) -> Program:
        """The program, decoded; a neural network becomes one of untyped tensors."""
        return read_program(self.package)

    @cached_property
    def stages(self) -> list[MLModel]:
        """The models of a pipeline in order, each as one of its own: to plan, inspect or report on. Else none."""
        from gristmill.models.classic.pipeline import nested_models  # which only pipelines need

        nested = map(self.package.nested, nested_models(self.package.spec))
        return [MLModel(each, compute_units=self.compute_unit) for each in nested]

    @property
    def inputs(self) -> list[Feature]:
        """The inputs in order."""
        return [feature(spec) for spec in self._interface.input]

    @property
    def outputs(self) -> list[Feature]:
        """The outputs in order."""
        return [feature(spec) for spec in self._interface.output]

    @property
    def input_description(self) -> Descriptions:
        """Texts about the inputs, by name."""
        return Descriptions(self._interface.input)

    @property
    def output_description(self) -> Descriptions:
        """Texts about the outputs, by name."""
        return Descriptions(self._interface.output)

    @property
    def short_description(self) -> str:
        """The author's summary of the model."""
        return str(self._description.metadata.shortDescription)

    @short_description.setter
    def short_description(self, text: str) -> None:
        self._description.metadata.shortDescription = text

    @property
    def author(self) -> str:
        """Who made the model."""
        return str(self._description.metadata.author)

    @author.setter
    def author(self, text: str) -> None:
        self._description.metadata.author = text

    @property
    def license(self) -> str:
        """The licence under which it is given."""
        return str(self._description.metadata.license)

    @license.setter
    def license(self, text: str) -> None:
        self._description.metadata.license = text

    @property
    def version(self) -> str:
        """The author's version of the model."""
        return str(self._description.metadata.versionString)

    @version.setter
    def version(self, text: str) -> None:
        self._description.metadata.versionString = text

    @property
    def user_defined_metadata(self) -> Any:
        """Texts by key; may be changed in place."""
        return self._description.metadata.userDefined

    @property
    def weights_dir(self) -> str | None:
        """Folder of the weight files that ``get_spec()`` refers to; see ``Package.weights_dir``."""
        folder = self.package.weights_dir
        return None if folder is None else str(folder)

    @property
    def _spec(self) -> Message:
        """The specification itself, under the name by which code written for coremltools reaches for it."""
        return self.package.spec

    def get_spec(self) -> Message:
        """A copy of the whole specification, a ``Model`` message."""
        copy = proto.message("Model")()
        copy.CopyFrom(self.package.spec)
        return copy

    def save(self, save_path: str | os.PathLike[str]) -> None:
        """Writes the model; see ``Package.save``."""
        self.package.save(save_path)

    def get_compiled_model_path(self) -> str:
        """The path of the compiled model, for ``CompiledMLModel`` and ``MLComputePlan.load_from_path``.

        What was not loaded from a ``.mlmodelc`` is compiled when this is first asked for, to a folder that lives as
        long as this object: copy what you want to keep.

        Raises:
            UnsupportedError: The model cannot be compiled here; see ``utils.compile_model``.
        """
        path = self.package.path
        if path is not None and path.suffix == ".mlmodelc":
            return str(path)
        if self._compiled is None:
            import shutil  # seldom needed
            import tempfile
            import weakref

            from gristmill.package.compiled import compile_package

            folder = tempfile.mkdtemp(prefix="gristmill-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self._compiled = str(compile_package(self.package, f"{folder}/model.mlmodelc"))
        return self._compiled

    @classmethod
    def get_available_compute_devices(cls) -> list[MLComputeDevice]:
        """The units of this computer that ``predict`` can use."""
        from gristmill.models.compute_device import MLComputeDevice  # what only plans need

        return MLComputeDevice.get_all_compute_devices()

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        title: str | None = None,
        plan: Any = None,
        inspection: Any = None,
        inputs: Mapping[str, Any] | None = None,
        old: MLModel | None = None,
    ) -> Path:
        """Writes a page of HTML about the model: its graph, ops, weights. The file needs no network.

        Args:
            path: Of the file.
            title: The name of the file that the model was loaded from when left out.
            plan: What would run where: a ``Plan``, or its JSON document.
            inspection: What the types do to the values: an ``Inspection``, or its JSON document.
            inputs: As for ``predict``: runs the model once for the ranges of its values, if there is no inspection.
            old: Another model, to show what changed from it to this one.

        Raises:
            InputError: A model is neither an ML Program nor a neural network.
        """
        from gristmill.models.report import write_report  # which only reports need

        return write_report(self, path, title=title, plan=plan, inspection=inspection, inputs=inputs, old=old)

    # -- running -----------------------------------------------------------------------------------------------------

    @cached_property
    def _rows(self) -> ClassicModel | ByShape | None:
        """What computes a model that is no program, or none for all shapes of its inputs."""
        if self._skip:
            raise UnsupportedError("the model was loaded with skip_model_load=True", hint="load it without, to predict")
        if self.kind == "mlProgram":
            return None
        if self.kind in NETWORKS:
            return self._by_shape()
        from gristmill.models.classic import open_classic  # which no program needs

        return open_classic(self.package, self._open_nested)

    def _by_shape(self) -> ByShape | None:
        try:
            _ = self.program
        except (TypeInferenceError, UnsupportedError):
            from gristmill.models.by_shape import ByShape, is_open  # which hardly any network needs

            if any(map(is_open, self.inputs)):
                return ByShape(self.package, self._open_nested)
            raise
        return None

    def _open_nested(self, package: Package) -> ClassicModel | ByShape | MLModel:
        model = MLModel(package, compute_units=self.compute_unit)
        return model._rows or model

    @cached_property
    def _session(self) -> Session:
        if self._skip:
            raise UnsupportedError("the model was loaded with skip_model_load=True", hint="load it without, to predict")
        device = _device()
        with device.expecting(self.package.weight_files()), uncollected():
            return Session(runnable(self.kind, self._function(self.program)), device)

    @cached_property
    def _boundary(self) -> tuple[list[Feature], list[Feature], dict[str, Value]]:
        """Inputs and outputs as described, and the program's own inputs by name: decoded once for all predictions."""
        return self.inputs, self.outputs, {value.name: value for value in self._session.function.inputs}

    @cached_property
    def _direct(self) -> DirectRun | None:
        """The device's short way, where applications see the program's own arrays and there are no states."""
        inputs, outputs, declared = self._boundary
        results = {value.name: value for value in self._session.function.outputs}
        plain = all(
            isinstance(item, ArrayFeature) and item.is_plain(values.get(item.name))
            for items, values in ((inputs, declared), (outputs, results))
            for item in items
        )
        return self._session.direct() if plain and set(results) == {item.name for item in outputs} else None

    def _function(self, program: Program) -> Function:
        name = self.function_name or self._description.defaultFunctionName
        return program.functions.get(name) or program.main

    def make_state(self) -> MLState:
        """Fresh states, all zero, for one sequence of predictions.

        Raises:
            UnsupportedError: The model cannot run here.
        """
        return MLState(State({}) if self.kind not in PROGRAMS else self._session.make_state())

    @overload
    def predict(self, data: Mapping[str, Any], state: MLState | None = None) -> dict[str, Any]: ...
    @overload
    def predict(self, data: list[Mapping[str, Any]], state: MLState | None = None) -> list[dict[str, Any]]: ...
    def predict(
        self, data: Mapping[str, Any] | list[Mapping[str, Any]], state: MLState | None = None
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Runs the model.

        Args:
            data: A value for each input by name: NumPy arrays (or what becomes one), PIL images for images; for models
                that are no networks also numbers, texts, dictionaries and lists. A list of such dictionaries runs the
                model on each. A network runs one after the other: each prediction sees the state that the one before
                left, and an op over the first dimension never mixes two of them. Other models compute all at once.
            state: For a model with states, what ``make_state`` returned.

        Returns:
            The outputs by name, in their declared types, or a list of such dictionaries.

        Raises:
            InputError: An input is missing, unknown, or of a shape or type that the model does not allow.
            StateError: The model has states and got none, or another model's, or one that is in use.
            UnsupportedError: The model cannot run here.
            ExecutionError: An op failed on these values.
        """
        if self._rows is not None:
            results = self._rows.predict(data if isinstance(data, list) else [data])
            return results if isinstance(data, list) else results[0]
        if isinstance(data, list):
            return [self._predict(row, state) for row in data]
        if self._direct is not None and isinstance(data, dict) and (found := self._direct(data)) is not None:
            return found
        return self._predict(data, state)

    def bind(self) -> BoundModel:
        """The model with arrays of its own for inputs and outputs: predictions of a few microseconds for small models.

        Returns:
            Something to call after its ``inputs`` were filled; its ``outputs`` are then the results.

        Raises:
            UnsupportedError: The model is no program, an input or output is no array of a fixed shape, or there are
                states, or ops that have no native kernel.
        """
        if self.kind not in PROGRAMS or self._direct is None:
            raise UnsupportedError(
                "the model cannot be bound to arrays",
                actual=self.kind,
                expected="a program of arrays of fixed shapes, without states, with native kernels for all ops",
                hint="use predict; models that are no programs compute a list of rows at once",
            )
        return BoundModel(*self._direct.bind())

    def simulate(
        self,
        data: Mapping[str, Any],
        state: MLState | None = None,
        *,
        target: str,
        compute_units: ComputeUnit | None = None,
        profiles: Sequence[NumericsProfile | str] | None = None,
    ) -> Envelope:
        """Runs the model as a chip that is not here might: placed as ``plan`` says, each unit with its numerics.

        Of a pipeline, each program is placed by itself; models that are none compute as they always do.

        Placement and numerics are models, not Apple's own: see ``docs/simulation.md``.

        Args:
            data: As for ``predict``.
            state: As for ``predict``; every run begins with its contents, and none changes them.
            target: A chip by name, such as ``A17`` or ``M3``.
            compute_units: Which units may run the model; those it was loaded with when left out.
            profiles: Numerics profiles, or names of known ones (``gristmill.devices.profiles``), one run for each; all
                known ones of the units in use when left out.

        Returns:
            The results of each run, and how far they are apart and from float32.

        Raises:
            InputError: There is no such target or profile, or an input does not fit.
            UnsupportedError: The model cannot run here, or no unit takes one of its ops.
        """
        from gristmill.analysis.simulation import simulate  # with the native core, and what only simulations need

        if not target:
            raise InputError("simulation needs the name of a chip", hint="predict runs the model on this computer")
        if self.stages:
            from gristmill.models.stages import simulate as simulate_pipeline

            return simulate_pipeline(self, data, target, compute_units or self.compute_unit, profiles)
        plan = self.plan(target, compute_units)
        arrays, _ = self._arrays(data)
        return simulate(plan.function, plan.segments, arrays, None if state is None else state._state, profiles)

    def profile(self, data: Mapping[str, Any], state: MLState | None = None, *, runs: int = 5) -> Profile:
        """Runs the model and says where the time went: per call, with the ops that it ran.

        Args:
            data: As for ``predict``.
            state: As for ``predict``; every run advances it.
            runs: How often; the fastest is reported.

        Returns:
            The calls in order with time, operations and bytes, beside the machine's own peaks, measured at once. A
            model that is no program is one call, also within a pipeline.
        """
        from gristmill.models.profile import Profile, machine_peaks  # which running a model does without

        found = [self._calls(data, state) for _ in range(max(1, runs))]
        best = min(found, key=lambda calls: sum(call.seconds for call in calls))
        return Profile(best, *machine_peaks())

    def _calls(self, data: Mapping[str, Any], state: MLState | None) -> list[CallProfile]:
        if self.kind not in PROGRAMS:
            from gristmill.models.stages import profile  # which only models that are no programs need

            return profile(self, data)
        arrays, _ = self._arrays(data)
        return self._session.profile(arrays, state._state if state is not None else None)

    def plan(
        self,
        target: Target | str | None = None,
        compute_units: ComputeUnit | None = None,
        *,
        sizes: Mapping[str, int] | None = None,
    ) -> Plan:
        """Says which unit would run which op, why, and what that is estimated to cost; see ``docs/placement.md``.

        Args:
            target: A chip by name, ``A12`` to ``A19`` or ``M1`` to ``M5``; this computer when left out.
            compute_units: Which units may run the model; those it was loaded with when left out.
            sizes: Values of symbols in shapes, by name, to estimate costs with.

        Raises:
            InputError: There is no such target.
            UnsupportedError: The model is neither an ML Program nor a neural network.
        """
        from gristmill.models.compute_plan import plan_function  # what only plans need

        function = self._function(self.program)
        return plan_function(function, self._interface, target, compute_units or self.compute_unit, sizes)

    async def predict_async(self, data: Mapping[str, Any], state: MLState | None = None) -> dict[str, Any]:
        """``predict`` in a thread of its own."""
        import asyncio  # a tenth of what it takes to import this module

        return await asyncio.to_thread(self.predict, data, state)

    def _predict(self, data: Mapping[str, Any], state: MLState | None) -> dict[str, Any]:
        arrays, outputs = self._arrays(data)
        if self._direct is not None and (found := self._direct(arrays)) is not None:
            return found
        results = self._session.run(arrays, state._state if state is not None else None)
        return {item.name: item.from_program(results[item.name]) for item in outputs if item.name in results}

    def _arrays(self, data: Mapping[str, Any]) -> tuple[dict[str, Array], list[Feature]]:
        """Arrays for the program's inputs, and the outputs as described."""
        if not isinstance(data, Mapping):
            raise InputTypeError("inputs are a dictionary by name, or a list of them", actual=type(data).__name__)
        inputs, outputs, declared = self._boundary
        known_names(data, inputs)
        arrays: dict[str, Array] = {}
        for item in inputs:
            if item.name not in declared:
                raise InputError(f"the program has no input '{item.name}' that the description names")
            tensor = declared[item.name].tensor
            given = data.get(item.name)
            arrays[item.name] = item.default(tensor) if given is None else item.to_program(given, tensor)
        return arrays, outputs

    def __repr__(self) -> str:
        lines = [f"MLModel ({self.kind})"]
        lines += [f"  input  {item.name}: {item.describe()}" for item in self.inputs]
        lines += [f"  output {item.name}: {item.describe()}" for item in self.outputs]
        return "\n".join(lines)


def _open(model: Any, weights_dir: str | os.PathLike[str] | None, *, mmap: bool) -> Package:
    if isinstance(model, Package):
        return model
    if isinstance(model, str | os.PathLike):
        return load(model, mmap=mmap)
    if hasattr(model, "SerializeToString"):
        if isinstance(model, proto.message("Model")):
            copy = proto.message("Model")()
            copy.CopyFrom(model)
        else:  # coremltools' own message class
            copy = proto.parse("Model", model.SerializeToString())
        return Package.from_spec(copy, weights_dir)
    raise InputTypeError(
        "this is no model", expected="a path, a specification or a package", actual=type(model).__name__
    )


def _device() -> Device:
    """The device that runs models on this computer, or the one that ``GRISTMILL_DEVICE`` names."""
    name = os.environ.get("GRISTMILL_DEVICE") or "cpu"
    if name not in DEVICES:
        raise InputError("GRISTMILL_DEVICE names no device", expected=", ".join(DEVICES), actual=name)
    return DEVICES[name]()
