"""Changes to whole models, under coremltools' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gristmill.errors import InputError, InputTypeError, MissingFileError
from gristmill.models.model import MLModel
from gristmill.models.neural_network.builder import NeuralNetworkBuilder
from gristmill.models.neural_network.layers.core import Names

__all__ = ["NeuralNetworkBuilder", "make_image_input", "make_nn_classifier"]


def make_image_input(
    model: MLModel,
    input_name: Names,
    is_bgr: bool | Mapping[str, bool] = False,
    red_bias: float | Mapping[str, float] = 0.0,
    blue_bias: float | Mapping[str, float] = 0.0,
    green_bias: float | Mapping[str, float] = 0.0,
    gray_bias: float | Mapping[str, float] = 0.0,
    scale: float | Mapping[str, float] = 1.0,
    image_format: str = "NHWC",
) -> MLModel:
    """A copy of a neural network that takes images instead of arrays.

    Args:
        model: The model.
        input_name: An input, or several.
        is_bgr: As in ``NeuralNetworkBuilder.set_pre_processing_parameters``.
        red_bias: The same.
        blue_bias: The same.
        green_bias: The same.
        gray_bias: The same.
        scale: What pixels are multiplied by.
        image_format: Of the arrays: ``NHWC`` or ``NCHW``.

    Raises:
        InputError: The model is no neural network, or an input is not there or has no shape of an image.
    """
    builder = NeuralNetworkBuilder(spec=model.get_spec())
    builder.set_pre_processing_parameters(
        image_input_names=input_name,
        is_bgr=is_bgr,
        red_bias=red_bias,
        green_bias=green_bias,
        blue_bias=blue_bias,
        gray_bias=gray_bias,
        image_scale=scale,
        image_format=image_format,
    )
    return MLModel(builder.spec, compute_units=model.compute_unit)


def make_nn_classifier(
    model: MLModel,
    class_labels: str | Sequence[int] | Sequence[str],
    predicted_feature_name: str | None = None,
    predicted_probabilities_output: str | None = None,
) -> MLModel:
    """A copy of a neural network that predicts labels.

    Args:
        model: A model of the type ``neuralNetwork``, whose first output holds the probabilities.
        class_labels: Labels in the order of the probabilities, or a file with one in each line.
        predicted_feature_name: Name of the label; ``classLabel`` when left out.
        predicted_probabilities_output: The tensor with the probabilities; what the last layer makes when left out.

    Raises:
        InputError: The model is of another type.
        InputTypeError: Labels are neither integers nor texts.
        MissingFileError: There is no such file.
    """
    spec = model.get_spec()
    if spec.WhichOneof("Type") != "neuralNetwork":
        raise InputError("another type of model", expected="neuralNetwork", actual=spec.WhichOneof("Type"))
    network = spec.neuralNetwork.SerializeToString()
    spec.neuralNetworkClassifier.MergeFromString(network)  # which has the same fields, and more
    builder = NeuralNetworkBuilder(spec=spec)
    builder.set_class_labels(
        _labels(class_labels),
        predicted_feature_name or "classLabel",
        predicted_probabilities_output or "",
    )
    return MLModel(spec, compute_units=model.compute_unit)


def _labels(given: Any) -> Sequence[int] | Sequence[str]:
    if not isinstance(given, str):
        if not isinstance(given, Sequence) or not all(isinstance(label, int | str) for label in given):
            raise InputTypeError("labels are integers or texts, or a file of them", actual=given)
        return given
    if not Path(given).is_file():
        raise MissingFileError("there is no such file of labels", location=given)
    return Path(given).read_text().splitlines()
