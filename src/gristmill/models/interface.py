"""A converted model's interface: images, classes, flexible shapes, defaults, and their description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gristmill.errors import InputError
from gristmill.ir import types
from gristmill.ir.builder import mb
from gristmill.ir.constants import Array, ArrayData, Constant, constant, list_constant
from gristmill.ir.dims import Dim, bounds
from gristmill.ir.program import Function, Program, Value
from gristmill.models.io_types import (
    ClassifierConfig,
    ColorLayout,
    EnumeratedShapes,
    ImageType,
    InputType,
    Shape,
    TensorType,
)
from gristmill.package import description
from gristmill.package.proto import Message


def check_images(program: Program, inputs: Sequence[InputType] | None, outputs: Sequence[InputType] | None) -> None:
    """Holds the described images against the program's tensors.

    Raises:
        InputError: A tensor is no image of the described layout.
    """
    for values, described in ((_tensors(program), inputs), (program.main.outputs, outputs)):
        for value, declared in zip(values, described or (), strict=False):
            if isinstance(declared, ImageType):
                _check_image(value, declared)


def _check_image(value: Value, declared: ImageType) -> None:
    if declared.channel_first is False or value.rank != 4:
        raise InputError(
            f"image '{value.name}' is no tensor of batch, channels, height and width",
            expected="[1, channels, height, width]",
            actual=value.type,
            hint="permute it inside the model",
        )
    channels = 3 if declared.color_layout in (ColorLayout.RGB, ColorLayout.BGR) else 1
    if value.shape[0] != 1 or value.shape[1] != channels:
        raise InputError(
            f"image '{value.name}' has another number of channels",
            expected=f"[1, {channels}, height, width] for {declared.color_layout.value}",
            actual=value.type,
        )


def add_image_scaling(program: Program, inputs: Sequence[InputType] | None) -> None:
    """Lets an image input's users take ``scale · pixel + bias`` of it."""
    for value, described in zip(_tensors(program), inputs or (), strict=False):
        if isinstance(described, ImageType) and (described.scale != 1 or any(described.bias)):
            _scale(program.main, value, described)


def image_scalers(program: Program, inputs: Sequence[InputType] | None) -> dict[str, dict[str, float]]:
    """What a neural network says of the images that ``add_image_scaling`` scales in a program, by their names."""
    found: dict[str, dict[str, float]] = {}
    for value, described in zip(_tensors(program), inputs or (), strict=False):
        if isinstance(described, ImageType) and (described.scale != 1 or any(described.bias)):
            colors = {ColorLayout.RGB: ("red", "green", "blue"), ColorLayout.BGR: ("blue", "green", "red")}
            names = colors.get(described.color_layout, ("gray",))
            biases = {f"{name}Bias": bias for name, bias in zip(names, described.bias, strict=True)}
            found[value.name] = {"channelScale": described.scale, **biases}
    return found


def _tensors(program: Program) -> list[Value]:
    """The inputs that a caller describes: states are described apart."""
    return [value for value in program.main.inputs if not isinstance(value.type, types.StateType)]


def _scale(function: Function, value: Value, image: ImageType) -> None:
    uses = list(value.uses)
    with mb.at(function.body, before=function.body.first):
        scaled: Value = mb.mul(x=value, y=np.asarray(image.scale, value.dtype.numpy), name=f"{value.name}_scaled")
        if any(image.bias):
            channels = image.bias if len(set(image.bias)) > 1 else image.bias[:1]
            shape = (1, -1, 1, 1) if image.channel_first is not False else (1, 1, 1, -1)
            bias = np.asarray(channels, value.dtype.numpy).reshape(shape)
            scaled = mb.add(x=scaled, y=bias, name=f"{value.name}_biased")
    value.replace_uses(scaled, only=uses)


def pixels_for(arrays: Mapping[str, Array], program: Program, inputs: Sequence[InputType] | None) -> dict[str, Array]:
    """What image inputs must hold for the model to see ``arrays`` after ``add_image_scaling``; others as they are."""
    pixels = dict(arrays)
    for value, described in zip(_tensors(program), inputs or (), strict=False):
        if isinstance(described, ImageType):
            channels = described.bias if len(set(described.bias)) > 1 else described.bias[:1]
            bias = np.asarray(channels, np.float64).reshape((-1, 1, 1) if described.channel_first is not False else -1)
            pixels[value.name] = (arrays[value.name] - bias) / described.scale
    return pixels


def add_classifier(program: Program, config: ClassifierConfig) -> None:
    """Adds the op that turns probabilities into a label and a dictionary, and returns these instead.

    Raises:
        InputError: There is no such output, or it has another number of classes.
    """
    function = program.main
    wanted = config.predicted_probabilities_output
    outputs = list(function.outputs)
    matching = [v for v in outputs if v.name == wanted] if wanted else outputs
    if len(matching) != 1:
        raise InputError(
            "which output holds the probabilities?",
            expected="predicted_probabilities_output = one of " + ", ".join(v.name for v in outputs),
            actual=wanted,
        )
    probabilities = matching[0]
    count = np.prod([d if isinstance(d, int) else 0 for d in probabilities.shape], dtype=int)
    if count != len(config.class_labels):
        raise InputError("one class label for each probability", expected=int(count), actual=len(config.class_labels))
    with mb.at(function.body):
        label, by_class = mb.classify(probabilities=probabilities, classes=_labels(config), name="classify")
    label.name = function.unique_name(config.predicted_feature_name)
    by_class.name = function.unique_name(f"{config.predicted_feature_name}_probs")
    function.body.outputs = [label, by_class, *(v for v in outputs if v is not probabilities)]


def _labels(config: ClassifierConfig) -> Constant:
    if all(isinstance(label, str) for label in config.class_labels):
        element = types.scalar(types.string)
        return list_constant(tuple(constant(label) for label in config.class_labels), element)
    element = types.scalar(types.int64)
    labels = (ArrayData(np.asarray(label, np.int64)) for label in config.class_labels)
    return list_constant(tuple(Constant(element, data) for data in labels), element)


def describe(program: Program, inputs: Sequence[InputType] | None, outputs: Mapping[str, InputType]) -> Message:
    """The description that follows from the program's types, refined by what the caller said.

    Outputs go by name, as a classifier has others than its source.
    """
    spec = description.describe(program)
    for feature, declared, value in zip(spec.input, inputs or (), _tensors(program), strict=False):
        if isinstance(declared, ImageType):
            _describe_image(feature, declared, program.main.inputs)
        elif isinstance(declared, TensorType):
            _describe_tensor(feature, declared, value)
    for feature in spec.output:
        if isinstance(image := outputs.get(feature.name), ImageType):
            _describe_image(feature, image, program.main.outputs)
    return spec


def _describe_tensor(feature: Message, declared: TensorType, value: Value) -> None:
    array = feature.type.multiArrayType
    if isinstance(declared.shape, EnumeratedShapes) and not declared.shape.is_static:
        _check_shapes(declared.shape, value)
        array.ClearField("shape")
        array.shape.extend(declared.shape.default)
        others = [shape for shape in declared.shape.shapes if shape != declared.shape.default]
        for shape in (declared.shape.default, *others):
            array.enumeratedShapes.shapes.add(shape=shape)
    elif isinstance(declared.shape, Shape) and not declared.shape.is_static:
        array.ClearField("shape")
        array.shape.extend(
            _nearest_allowed(size, dim) for size, dim in zip(declared.shape.default, value.shape, strict=True)
        )
    if declared.default_value is not None:
        _describe_default(feature, declared)


def _nearest_allowed(size: int, dim: Dim) -> int:
    """A default size, or the next one of those that the model turned out to take."""
    low, high = bounds(dim)
    size = size if low is None else max(size, low)
    return size if high is None else min(size, high)


def _check_shapes(shapes: EnumeratedShapes, value: Value) -> None:
    """Holds enumerated shapes against those that the model turned out to take."""
    for shape in shapes.shapes:
        if any(_nearest_allowed(size, dim) != size for size, dim in zip(shape, value.shape, strict=True)):
            raise InputError(f"input '{value.name}' cannot have this shape", expected=value.type, actual=list(shape))


def _describe_default(feature: Message, declared: TensorType) -> None:
    assert declared.default_value is not None
    values = np.unique(declared.default_value)
    if values.size != 1:
        raise InputError(
            f"the default of '{feature.name}' has different elements",
            expected="one value for all elements, as Core ML stores no more",
            actual=f"{values.size} values",
        )
    feature.type.isOptional = True
    if declared.default_value.dtype.kind in "iub":
        feature.type.multiArrayType.intDefaultValue = int(values[0])
    else:
        feature.type.multiArrayType.floatDefaultValue = float(values[0])


def _describe_image(feature: Message, declared: ImageType, values: Sequence[Value]) -> None:
    value = next(v for v in values if v.name == feature.name)
    shape = value.shape
    image = feature.type.imageType
    image.colorSpace = type(image).ColorSpace.Value(declared.color_layout.value)
    if declared.shape is not None:
        sizes = zip(declared.shape.default[2:], shape[2:], strict=True)
        image.height, image.width = (_nearest_allowed(size, dim) for size, dim in sizes)
    else:
        image.height, image.width = (dim if isinstance(dim, int) else 1 for dim in shape[2:])
    if isinstance(declared.shape, EnumeratedShapes) and not declared.shape.is_static:
        _check_shapes(declared.shape, value)
        for one in declared.shape.shapes:
            image.enumeratedSizes.sizes.add(height=one[2], width=one[3])
    elif not value.tensor.is_static:
        sides = image.imageSizeRange.heightRange, image.imageSizeRange.widthRange
        for dim, side in zip(shape[2:], sides, strict=True):
            low, high = bounds(dim)
            side.lowerBound = max(low or 0, 1)
            side.upperBound = -1 if high is None else high
