"""Helpers around specifications, under coremltools' names."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gristmill.errors import InputError, UnsupportedError
from gristmill.ir.builtin import const
from gristmill.ir.clone import clone_program
from gristmill.ir.constants import ArrayData, Constant
from gristmill.ir.types import TensorType
from gristmill.models.compiled_model import compile_model
from gristmill.models.made_pipeline import make_pipeline
from gristmill.models.model import MLModel
from gristmill.models.multifunction import MultiFunctionDescriptor, save_multifunction
from gristmill.models.retype import change_input_output_tensor_type
from gristmill.package import Package, load
from gristmill.package.network_messages import all_layers
from gristmill.package.proto import Message

if TYPE_CHECKING:
    from gristmill.models.evaluate import (
        evaluate_classifier,
        evaluate_classifier_with_probabilities,
        evaluate_regressor,
        evaluate_transformer,
    )
    from gristmill.models.halves import bisect_model
    from gristmill.models.materialize import materialize_dynamic_shape_mlmodel

__all__ = [
    "MultiFunctionDescriptor",
    "bisect_model",
    "change_input_output_tensor_type",
    "compile_model",
    "convert_double_to_float_multiarray_type",
    "evaluate_classifier",
    "evaluate_classifier_with_probabilities",
    "evaluate_regressor",
    "evaluate_transformer",
    "load_spec",
    "make_pipeline",
    "materialize_dynamic_shape_mlmodel",
    "randomize_weights",
    "rename_feature",
    "save_multifunction",
    "save_spec",
]

_LATER = {
    "bisect_model": "gristmill.models.halves",
    "evaluate_classifier": "gristmill.models.evaluate",
    "evaluate_classifier_with_probabilities": "gristmill.models.evaluate",
    "evaluate_regressor": "gristmill.models.evaluate",
    "evaluate_transformer": "gristmill.models.evaluate",
    "materialize_dynamic_shape_mlmodel": "gristmill.models.materialize",
}
"""Where what is seldom needed is, and is loaded from when somebody asks for it."""

_DOUBLE, _FLOAT = 65600, 65568  # ArrayFeatureType.ArrayDataType
_SMALLEST_WEIGHT = 10  # elements; smaller constants are parameters of ops


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'gristmill.models.utils' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LATER[name]), name)
    globals()[name] = value
    return value


def load_spec(model_path: str | os.PathLike[str]) -> Message:
    """The specification of a model, a ``Model`` message.

    Raises:
        FormatError: The file is no model.
        MissingFileError: There is none.
    """
    return load(model_path).spec


def save_spec(
    spec: Message,
    filename: str | os.PathLike[str],
    auto_set_specification_version: bool = False,
    weights_dir: str | os.PathLike[str] | None = None,
) -> None:
    """Writes a specification as a model.

    Args:
        spec: A ``Model`` message.
        filename: Ends in ``.mlpackage`` or ``.mlmodel``.
        auto_set_specification_version: Accepted for coremltools' sake; the version is written as it stands.
        weights_dir: Folder of the weight files that the specification refers to.
    """
    Package.from_spec(spec, weights_dir).save(filename)


def rename_feature(
    spec: Message, current_name: str, new_name: str, rename_inputs: bool = True, rename_outputs: bool = True
) -> None:
    """Renames an input or output of a model, and the value in the program or network that it stands for.

    Args:
        spec: A ``Model`` message, changed in place. In a pipeline the feature is renamed in every model. Nothing
            changes where the model has no such feature.
        current_name: Its name.
        new_name: The new one.
        rename_inputs: Look among the inputs.
        rename_outputs: Look among the outputs.

    Raises:
        InputError: The model has the new name already.
        UnsupportedError: The model is an ML Program with several functions.
    """
    description = spec.description
    inputs = [f for f in description.input if f.name == current_name and rename_inputs]
    outputs = [f for f in description.output if f.name == current_name and rename_outputs]
    if not (inputs or outputs) or current_name == new_name:
        return
    _rename_inside(spec, current_name, new_name)
    for feature in (*inputs, *outputs):
        feature.name = new_name
    for field in ("predictedFeatureName", "predictedProbabilitiesName"):
        if outputs and getattr(description, field) == current_name:
            setattr(description, field, new_name)


def _rename_inside(spec: Message, current: str, new: str) -> None:
    """Renames a feature wherever a model names it beside its description."""
    kind = str(spec.WhichOneof("Type"))
    own = getattr(spec, kind)
    match kind:
        case "mlProgram":
            if spec.description.functions:
                raise UnsupportedError("features of a program with several functions are not renamed")
            for function in own.functions.values():
                blocks = [block for each in function.block_specializations.values() for block in _blocks(each)]
                _rename_value(function, blocks, current, new)
        case "neuralNetwork" | "neuralNetworkClassifier" | "neuralNetworkRegressor":
            _rename_in_network(own, current, new)
        case "pipeline" | "pipelineClassifier" | "pipelineRegressor":
            for model in (own if kind == "pipeline" else own.pipeline).models:
                rename_feature(model, current, new)
        case "featureVectorizer":
            for column in own.inputList:
                if column.inputColumn == current:
                    column.inputColumn = new
        case _:
            for field, value in own.ListFields():
                if field.name.endswith("FeatureName") and value == current:
                    setattr(own, field.name, new)


def _blocks(block: Message) -> Iterator[Message]:
    yield block
    for operation in block.operations:
        for nested in operation.blocks:
            yield from _blocks(nested)


def _rename_value(function: Message, blocks: list[Message], current: str, new: str) -> None:
    named = [*function.inputs]
    for block in blocks:
        named += [*block.inputs, *(output for operation in block.operations for output in operation.outputs)]
    if any(value.name == new for value in named):
        raise InputError("the program has a value of this name", expected="another name", actual=new)
    for value in named:
        if value.name == current:
            value.name = new
    for block in blocks:
        block.outputs[:] = [new if name == current else name for name in block.outputs]
        for operation in block.operations:
            for operand in operation.inputs.values():
                for argument in operand.arguments:
                    if argument.WhichOneof("binding") == "name" and argument.name == current:
                        argument.name = new


def _rename_in_network(network: Message, current: str, new: str) -> None:
    for layer in all_layers(network):
        for names in (layer.input, layer.output):
            names[:] = [new if name == current else name for name in names]
        if layer.loop.conditionVar == current:
            layer.loop.conditionVar = new
    for step in network.preprocessing:
        if step.featureName == current:
            step.featureName = new
    for loss in network.updateParams.lossLayers:
        own = getattr(loss, loss.WhichOneof("LossLayerType"))
        own.input = new if own.input == current else own.input
    if (
        "labelProbabilityLayerName" in network.DESCRIPTOR.fields_by_name
        and network.labelProbabilityLayerName == current
    ):
        network.labelProbabilityLayerName = new


def convert_double_to_float_multiarray_type(spec: Message) -> None:
    """Declares arrays of doubles among inputs and outputs as arrays of floats; changes the specification in place."""
    for feature in (*spec.description.input, *spec.description.output):
        if feature.type.WhichOneof("Type") == "multiArrayType" and feature.type.multiArrayType.dataType == _DOUBLE:
            feature.type.multiArrayType.dataType = _FLOAT


def randomize_weights(mlmodel: MLModel) -> MLModel:
    """A copy of an ML Program with random numbers in [0, 1) for its floating weights: to share a problem, not a model.

    The same model gives the same numbers. Weights under 10 elements and compressed ones stay.

    Raises:
        UnsupportedError: The model is no ML Program.
    """
    program = clone_program(mlmodel.program)
    random = np.random.default_rng(0)
    for function in program.functions.values():
        for op in function.body.walk():
            if isinstance(op, const) and op.result.type == op.value.type and _is_weight(op):
                data = op.value.data
                array = random.random(data.shape, np.float32).astype(data.dtype.numpy)
                op.attributes["val"] = op.result.constant = Constant(op.value.type, ArrayData(array))
    package = mlmodel.package.with_program(program)
    return MLModel(package, compute_units=mlmodel.compute_unit, function_name=mlmodel.function_name)


def _is_weight(op: const) -> bool:
    kind = op.value.type
    return isinstance(kind, TensorType) and kind.dtype.is_float and op.value.data.size >= _SMALLEST_WEIGHT
