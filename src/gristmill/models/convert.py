"""``convert``: from a source framework's model to an ``MLModel``."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gristmill.ops  # noqa: F401  # registers the ops
from gristmill._version import __version__
from gristmill.analysis import verify as analysis
from gristmill.errors import InputError, InputTypeError, MissingFileError, UnsupportedError
from gristmill.frontends.common import InputSpec
from gristmill.ir.clone import clone_program
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import StateType as IRStateType
from gristmill.ir.types import TensorType as IRTensorType
from gristmill.ir.types import fp16, fp32, int8, unit_float
from gristmill.ir.verify import verify as verify_program
from gristmill.models import interface
from gristmill.models.compute_units import ComputeUnit
from gristmill.models.io_types import ClassifierConfig, ImageType, InputType, StateType
from gristmill.models.model import MLModel
from gristmill.models.names import make_valid
from gristmill.models.target import DeploymentTarget
from gristmill.models.transform import FP16ComputePrecision
from gristmill.package import Package
from gristmill.package.proto import Message
from gristmill.passes.common_subexpressions import SharedParameters
from gristmill.passes.infra import Pass, run_passes
from gristmill.passes.pipeline import PassPipeline, cleanup
from gristmill.passes.stabilizers import rewriting
from gristmill.precision.boundary import set_input_dtype, set_output_dtype, set_state_dtype
from gristmill.precision.choice import FLOAT16, FLOAT32, Precision
from gristmill.precision.map import PrecisionMap
from gristmill.precision.typing import Float16Typing

if TYPE_CHECKING:
    from gristmill.frontends.torch import Source


def convert(
    model: Any,
    source: str = "auto",
    inputs: Sequence[InputType] | None = None,
    outputs: Sequence[InputType] | None = None,
    classifier_config: ClassifierConfig | None = None,
    minimum_deployment_target: DeploymentTarget | None = None,
    convert_to: str | None = None,
    compute_precision: Precision | FP16ComputePrecision | PrecisionMap | None = None,
    skip_model_load: bool = False,
    compute_units: ComputeUnit = ComputeUnit.ALL,
    package_dir: str | os.PathLike[str] | None = None,
    debug: bool = False,
    pass_pipeline: PassPipeline | Sequence[Pass] | None = None,
    states: Sequence[StateType] | None = None,
    verify: bool | None = None,
) -> MLModel:
    """Converts a trained model to Core ML.

    Args:
        model: A ``torch.export.ExportedProgram`` or the path of one (``.pt2``), an ``nn.Module``, a TorchScript module
            or the path of one (``.pt``), or a program: of ``gristmill.converters.mil.Builder``, or of a model.
        source: The framework; ``auto`` finds out.
        inputs: Descriptions in the order of the model's tensor arguments; needed for a module, whose shapes nothing
            else says. What they leave open follows from the model.
        outputs: Descriptions in the order of the model's results: names, types, images.
        classifier_config: Makes a classifier of the model.
        minimum_deployment_target: The oldest system that shall run it; when left out iOS 15, or for a network the
            oldest that has its layers.
        convert_to: ``mlprogram``, or ``neuralnetwork`` for systems before iOS 15, whose tensors have no types: Core ML
            computes in float32 on the CPU and in float16 elsewhere. When left out, a target before iOS 15 asks for a
            network.
        compute_precision: ``FLOAT16`` (the default), ``FLOAT32``, or a choice op by op: a selector or a map.
        skip_model_load: The result is for inspection and saving only.
        compute_units: Which units may run the result.
        package_dir: Also saves the model there.
        debug: Accepted for coremltools' sake; errors carry their places anyway.
        pass_pipeline: What runs on the program before it is typed: a pipeline, or passes; ``PassPipeline.DEFAULT``
            when left out.
        states: Descriptions of the model's states, which are the buffers that it changes in place; they need a target
            of iOS 18 or later. Those left out follow from the model.
        verify: Runs the program beside the source model before it becomes float16, and refuses a difference of more
            than 1e-4 of the largest magnitude; then measures what float16 adds. When left out, that is done for
            exported programs that carry example inputs and are small: at most ``gristmill.analysis.verify.WORK_LIMIT``
            multiply-adds and ``WEIGHT_LIMIT`` weights. For modules it is done on request only: their inputs are made up
            (floats in [0, 1), zeros for integers), and may mean nothing to the model.

    Returns:
        The model. Inputs and outputs have the types that were declared, or else the source's own; with float16
        precision undeclared floating states become float16, and with a target of iOS 16 or later so do undeclared
        floating inputs and outputs. ``conversion_report`` says what verification found, or why it was left out, and
        which ops stayed float32 and which constants lost elements to zero.

    Raises:
        ConversionError: The model cannot be converted; the message says what, and where in the source.
        VerificationError: The program computes something else than its source; a ``ConversionError`` as well.
        UnsupportedError: It is of a kind that is not converted.
        InputError: A description does not fit the model.
    """
    kind = _kind(convert_to, minimum_deployment_target)
    if kind == "neuralnetwork" and compute_precision is not None:
        raise _untyped(compute_precision)
    precision = None if kind == "neuralnetwork" else _precision(compute_precision)
    prepared = prepare(
        model,
        source,
        inputs,
        outputs,
        classifier_config,
        minimum_deployment_target,
        kind,
        pass_pipeline,
        states,
        verify,
        float16=precision is not None,
    )
    result = prepared.finish(precision, compute_units=compute_units, skip_model_load=skip_model_load)
    if package_dir is not None:
        result.save(package_dir)
    return result


@dataclass
class Prepared:
    """A conversion up to the choice of precision.

    Attributes:
        program: In the source's own types, but for inputs, outputs and states, which have those that were declared.
        inputs: Descriptions.
        outputs: Descriptions by name.
        verification: The program beside its source, where that was asked for.
        kind: What it becomes: ``mlprogram`` or ``neuralnetwork``.
        target: The oldest system that shall run it.
    """

    program: Program
    inputs: Sequence[InputType] | None
    outputs: Mapping[str, InputType]
    verification: analysis.Verification | None
    kind: str = "mlprogram"
    target: DeploymentTarget = DeploymentTarget.iOS15

    def finish(
        self,
        precision: FP16ComputePrecision | None,
        *,
        compute_units: ComputeUnit = ComputeUnit.ALL,
        skip_model_load: bool = False,
    ) -> MLModel:
        """Types the program and makes a model of it; once, as the program is changed."""
        program, verification = self.program, self.verification
        typing = None
        if precision is not None:
            typing = Float16Typing(precision.op_selector)
            run_passes(program, [*rewriting(precision.rewrites), typing, *cleanup()], verify=verify_program)
            if verification is not None and verification.report.skipped is None:
                verification.measure(program, interface.pixels_for(verification.inputs, program, self.inputs))
        if self.kind == "mlprogram":
            run_passes(program, [SharedParameters()], verify=verify_program)
        package = self._package(interface.describe(program, self.inputs, self._valid_outputs()))
        package.description.metadata.userDefined["com.gristmill.version"] = __version__
        package.description.metadata.userDefined["com.gristmill.source"] = _source_version()
        result = MLModel(package, compute_units=compute_units, skip_model_load=skip_model_load)
        result.conversion_report = (
            verification.report
            if verification is not None
            else analysis.ConversionReport(
                skipped="it was not asked for; verify=True compares the model with its source"
            )
        )
        result.conversion_report.typing = typing.report if typing is not None else None
        return result

    def _valid_outputs(self) -> dict[str, InputType]:
        """Gives the program names that Core ML takes; returns the descriptions of outputs by these."""
        renamed = make_valid(self.program)
        for old, new in renamed.items():
            warnings.warn(f"'{old}' is called '{new}' in the model: names in Core ML are identifiers", stacklevel=4)
        return {renamed.get(name, name): described for name, described in self.outputs.items()}

    def _package(self, description: Message) -> Package:
        if self.kind == "mlprogram":
            return Package.from_program(self.program, description)
        from gristmill.package.network_writer import write_network  # which only networks need

        scalers = interface.image_scalers(self.program, self.inputs)
        return Package.from_spec(write_network(self.program, description, scalers=scalers, newest=self.target.opset))


def prepare(  # noqa: D417  # the other arguments are those of `convert`
    model: Any,
    source: str = "auto",
    inputs: Sequence[InputType] | None = None,
    outputs: Sequence[InputType] | None = None,
    classifier_config: ClassifierConfig | None = None,
    minimum_deployment_target: DeploymentTarget | None = None,
    convert_to: str | None = None,
    pass_pipeline: PassPipeline | Sequence[Pass] | None = None,
    states: Sequence[StateType] | None = None,
    verify: bool | None = None,
    *,
    float16: bool,
) -> Prepared:
    """Everything of a conversion but the types of what is computed inside; arguments and errors as of ``convert``.

    Args:
        float16: Whether ops will become float16: then undeclared states, and from iOS 16 on undeclared inputs and
            outputs, do too.
    """
    kind = _kind(convert_to, minimum_deployment_target)
    if kind == "neuralnetwork" and float16:
        raise _untyped(FLOAT16)
    _check_arguments(model, source, kind, minimum_deployment_target)
    passes = _passes(pass_pipeline)
    newest = DeploymentTarget.iOS14 if kind == "neuralnetwork" else DeploymentTarget.iOS15
    target = minimum_deployment_target or newest
    _check_types(inputs, outputs, target)
    program, beside = _lower(model, _opset(model, kind, target), inputs, outputs)
    if kind == "mlprogram" and isinstance(model, Program):
        _type_networks(program)
    interface.check_images(program, inputs, outputs)
    verification = _verification(program, beside, verify)
    run_passes(program, passes, verify=verify_program)
    if verification is not None:
        verification.check(program)
    _type_boundary(program, inputs, outputs, float16 and target >= DeploymentTarget.iOS16)
    _type_states(program, states or (), float16=float16)
    described_outputs = dict(zip([value.name for value in program.main.outputs], outputs or (), strict=False))
    if kind == "mlprogram":
        interface.add_image_scaling(program, inputs)
    if classifier_config is not None:
        interface.add_classifier(program, classifier_config)
    return Prepared(program, inputs, described_outputs, verification, kind, target)


def _untyped(precision: object) -> InputError:
    return InputError(
        "the tensors of a neural network have no types, so no precision can be chosen",
        expected="compute_precision=None",
        actual=precision,
        hint="convert_to='mlprogram' types them",
    )


def _opset(model: Any, kind: str, target: DeploymentTarget) -> Opset:
    """The ops that a model becomes. A program is made of some already, of which a network's layers may hold any."""
    if kind == "mlprogram":
        return target.opset
    return max(Opset) if isinstance(model, Program) else Opset.iOS15


def _kind(convert_to: str | None, target: DeploymentTarget | None) -> str:
    """What a conversion makes: what is asked for, or what the oldest system runs."""
    if convert_to is None:
        old = isinstance(target, DeploymentTarget) and target < DeploymentTarget.iOS15
        return "neuralnetwork" if old else "mlprogram"
    if convert_to not in ("mlprogram", "neuralnetwork"):
        raise UnsupportedError(
            "this kind of model is not written yet", expected="mlprogram or neuralnetwork", actual=convert_to
        )
    return convert_to


def _check_arguments(model: Any, source: str, kind: str, target: DeploymentTarget | None) -> None:
    sources = ("auto", "milinternal") if isinstance(model, Program) else ("auto", "pytorch")
    if source not in sources:
        raise UnsupportedError("this source is not converted yet", expected=" or ".join(sources), actual=source)
    if target is not None and not isinstance(target, DeploymentTarget):
        raise InputTypeError("minimum_deployment_target is one of gristmill.target", actual=repr(target))
    if target is not None and target < DeploymentTarget.iOS15 and kind == "mlprogram":
        raise UnsupportedError(
            "ML Programs begin with iOS 15",
            expected="gristmill.target.iOS15 or later",
            actual=target.name,
            hint="convert_to='neuralnetwork' makes a model for it",
        )
    if target is not None and target >= DeploymentTarget.iOS15 and kind == "neuralnetwork":
        raise InputError(
            "neural networks are for systems before iOS 15",
            expected="gristmill.target.iOS14 or earlier, or none",
            actual=target.name,
            hint="convert_to='mlprogram'",
        )
    if isinstance(model, str | os.PathLike):
        if Path(model).suffix not in (*_SCRIPTS, ".pt2"):
            raise UnsupportedError(
                "this file is not converted",
                expected="a .pt2 file of torch.export.save, or a .pt file of torch.jit.save",
                actual=os.fspath(model),
                hint=_OTHER_FILES.get(Path(model).suffix),
            )
        if not Path(model).exists():
            raise MissingFileError("no model is there", location=model)
    elif not isinstance(model, Program) and "torch" not in (origins := _origins(model)):
        raise UnsupportedError(
            "this model is not converted yet",
            expected="a torch.export.ExportedProgram, an nn.Module, or the path of a .pt2 or .pt file",
            actual=f"{type(model).__module__}.{type(model).__qualname__}",
            hint=next((hint for package, hint in _OTHER_MODELS.items() if package in origins), None),
        )


_SCRIPTS = (".pt", ".pth", ".torchscript")
"""What people call files of TorchScript."""

_CORE_ML = "it is a Core ML model already: models.MLModel loads it"
_LATER = "this framework's models are not converted yet"
_OTHER_FILES = {
    **dict.fromkeys((".mlpackage", ".mlmodel", ".mlmodelc"), _CORE_ML),
    **dict.fromkeys((".onnx", ".tflite", ".pb", ".h5", ".keras"), _LATER),
}
_OTHER_MODELS = {
    "gristmill": "a model goes in as its program: model.program",
    **dict.fromkeys(("onnx", "keras", "tensorflow"), _LATER),
    "sklearn": "converters.sklearn.convert takes models of scikit-learn",
    "xgboost": "converters.xgboost.convert takes models of XGBoost",
    "lightgbm": "converters.lightgbm.convert takes models of LightGBM",
    "catboost": "converters.catboost.convert takes models of CatBoost",
    "collections": "weights alone are no model: load them into their module",
}
"""What to do with models of other packages."""


def _origins(model: Any) -> set[str]:
    """The packages that define a model's class and the classes that it derives from."""
    return {base.__module__.partition(".")[0] for base in type(model).__mro__}


_FIRST_TARGET = {fp16: DeploymentTarget.iOS16, int8: DeploymentTarget.iOS26}
"""Since when inputs and outputs may have a type; the others are as old as ML Programs."""


def _check_types(
    inputs: Sequence[InputType] | None, outputs: Sequence[InputType] | None, target: DeploymentTarget
) -> None:
    for described in (*(inputs or ()), *(outputs or ())):
        if not isinstance(described, InputType):
            raise InputTypeError("inputs and outputs are TensorTypes or ImageTypes", actual=repr(described))
        first = _FIRST_TARGET.get(described.dtype) if described.dtype is not None else None
        if first is not None and target < first:
            raise InputError(
                f"{described.dtype} inputs and outputs came with {first.name}",
                expected=f"minimum_deployment_target = {first.name} or later",
                actual=f"{target.name}, with {described!r}",
            )


def _precision(choice: Precision | FP16ComputePrecision | PrecisionMap | None) -> FP16ComputePrecision | None:
    """Which ops become float16; ``None`` for none."""
    if choice is None or choice is FLOAT16:
        return FP16ComputePrecision()
    if choice is FLOAT32:
        return None
    if isinstance(choice, FP16ComputePrecision):
        return choice
    if isinstance(choice, PrecisionMap):
        return FP16ComputePrecision.of(choice)
    raise InputTypeError(
        "compute_precision is a precision",
        expected="precision.FLOAT16, precision.FLOAT32 or transform.FP16ComputePrecision(op_selector=…)",
        hint="a saved choice is a precision.PrecisionMap",
        actual=repr(choice),
    )


def _passes(choice: Any) -> Sequence[Pass]:
    """The passes that a caller chose."""
    pipeline = PassPipeline.DEFAULT if choice is None else choice
    if isinstance(pipeline, PassPipeline):
        return pipeline.build()
    if isinstance(pipeline, Sequence) and all(isinstance(step, Pass) for step in pipeline):
        return pipeline
    raise InputTypeError("pass_pipeline is a PassPipeline or a sequence of passes", actual=repr(choice))


def _lower(
    model: Any, opset: Opset, inputs: Sequence[InputType] | None, outputs: Sequence[InputType] | None
) -> tuple[Program, Source | None]:
    if isinstance(model, Program):
        return _own(model, opset), None
    try:
        from gristmill.frontends import torch as frontend
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UnsupportedError(
            "converting from PyTorch needs PyTorch", hint="pip install 'gristmill[torch]'"
        ) from error
    from gristmill.frontends.torch.files import load_exported
    from gristmill.frontends.torch.script import load_script

    if isinstance(model, str | os.PathLike):
        model = load_script(model) if Path(model).suffix in _SCRIPTS else load_exported(model)
    specs = None if inputs is None else [input_spec(described) for described in inputs]
    names = [described.name for described in outputs or ()]
    if any(names) and not all(names):
        raise InputError("either all outputs have names or none", actual=names)
    return frontend.lower_beside(model, opset=opset, inputs=specs, output_names=[n for n in names if n] or None)


def _own(model: Program, opset: Opset) -> Program:
    """A program of the builder's, copied, since passes change it.

    Raises:
        InputError: It was built for a newer opset than the target has.
    """
    for function in model.functions.values():
        if function.opset > opset:
            raise InputError(
                f"function '{function.name}' is built for a newer system than the target",
                expected=opset,
                actual=function.opset,
                hint="pass minimum_deployment_target",
            )
    return clone_program(model)


def _type_networks(program: Program) -> None:
    """Makes untyped tensors float32: a program that was a neural network becomes an ML Program."""
    for name, function in program.functions.items():
        tensors = (value.type for value in function.values() if isinstance(value.type, IRTensorType))
        if any(tensor.dtype == unit_float for tensor in tensors):
            from gristmill.models.networks import on_cpu  # which only networks need

            program.functions[name] = on_cpu(function)


def _verification(program: Program, beside: Source | None, verify: bool | None) -> analysis.Verification | None:
    if beside is None or verify is False or (verify is None and beside.made_up):
        return None
    return analysis.Verification(program, beside, bounded=not verify)


def input_spec(described: InputType) -> InputSpec:
    """Floating types are declared after lowering, so that the program computes in the source's own."""
    dtype = described.dtype
    if dtype is not None and dtype.is_float:
        dtype = fp32
    if isinstance(described, ImageType):
        dtype = fp32
    if described.shape is None:
        return InputSpec(described.name, None, dtype)
    return InputSpec(described.name, described.shape.dims, dtype, described.shape.default)


def _type_boundary(
    program: Program, inputs: Sequence[InputType] | None, outputs: Sequence[InputType] | None, float16: bool
) -> None:
    function = program.main
    tensors = [value for value in function.inputs if isinstance(value.type, IRTensorType)]
    for index, value in enumerate(tensors):
        described = inputs[index] if inputs is not None else None
        wanted = described.dtype if described is not None else None
        if wanted is None and float16 and value.dtype == fp32 and not isinstance(described, ImageType):
            wanted = fp16
        if wanted is not None and wanted != value.dtype:
            set_input_dtype(function, value.name, wanted)
    if outputs is not None and len(outputs) != len(function.outputs):
        raise InputError("number of outputs", expected=len(function.outputs), actual=len(outputs))
    for index, value in enumerate(function.outputs):
        described = outputs[index] if outputs is not None else None
        wanted = described.dtype if described is not None else None
        if wanted is None and float16 and isinstance(value.type, IRTensorType) and value.dtype == fp32:
            wanted = None if isinstance(described, ImageType) else fp16
        if wanted is not None and wanted != value.dtype:
            set_output_dtype(function, index, wanted)


def _type_states(program: Program, states: Sequence[StateType], float16: bool) -> None:
    """Holds the described states against those that the program has, and gives them their types."""
    function = program.main
    described: dict[str, StateType] = {}
    for state in states:
        if not isinstance(state, StateType):
            raise InputTypeError("states are StateTypes", actual=repr(state))
        name = re.sub(r"\W", "_", state.name or "")  # Core ML's names are identifiers
        if name in described:
            raise InputError("two states have one name", actual=state.name)
        described[name] = state
    names = [value.name for value in function.states]
    for name, state in described.items():
        if name not in names:
            raise InputError(
                "the model has no such state",
                expected="a buffer that the model changes in place: " + (", ".join(names) or "it has none"),
                actual=state.name,
            )
    for value in function.states:
        assert isinstance(value.type, IRStateType)
        held, declared = value.type.wrapped, described.get(value.name)
        wanted = declared.wrapped_type if declared is not None else None
        if wanted is not None and wanted.shape is not None and wanted.shape.dims != held.shape:
            raise InputError(f"state '{value.name}' has another shape", expected=held, actual=list(wanted.shape.dims))
        dtype = wanted.dtype if wanted is not None else None
        if dtype is None and float16 and held.dtype == fp32:
            dtype = fp16
        if dtype is not None:
            set_state_dtype(function, value.name, dtype)


def _source_version() -> str:
    import torch  # loaded by the frontend by now

    return f"torch=={torch.__version__}"
