"""What layers and features say of themselves, as text."""

from __future__ import annotations

from typing import Any

from gristmill.package.proto import Message, is_repeated

_SHOWN = 80
"""Characters of a field's value; longer ones are cut."""


def describe_feature(feature: Message) -> str:
    """Shape of an array, size of an image, or another type's name."""
    kind = feature.type.WhichOneof("Type")
    match kind:
        case "multiArrayType":
            array = feature.type.multiArrayType
            return f"{type(array).ArrayDataType.Name(array.dataType).lower()} {list(array.shape)}"
        case "imageType":
            image = feature.type.imageType
            return f"{type(image).ColorSpace.Name(image.colorSpace)} image, {image.width} wide, {image.height} high"
    return str(kind).removesuffix("Type")


def describe_layer(layer: Message) -> list[tuple[str, str]]:
    """Names and values of the fields that a layer has of its own."""
    params = getattr(layer, str(layer.WhichOneof("layer")))
    return [(field.name, _text(field, value)) for field, value in params.ListFields()]


def _text(field: Any, value: Any) -> str:
    if field.message_type is not None and field.message_type.name == "WeightParams":
        return "; ".join(map(_weights, value if is_repeated(field) else [value]))
    if field.message_type is not None and field.message_type.name == "NeuralNetwork":
        return f"{len(value.layers)} layers"
    if field.message_type is not None and field.message_type.name == "LSTMWeightParams":
        every = value if is_repeated(field) else [value]
        return "; ".join(", ".join(f"{own.name}: {_weights(each)}" for own, each in one.ListFields()) for one in every)
    if field.enum_type is not None:
        return str(field.enum_type.values_by_number[value].name)
    text = str(list(value) if is_repeated(field) and field.message_type is None else value)
    text = " ".join(text.split()) or "{}"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _weights(message: Message) -> str:
    """How many numbers there are, and in which form."""
    quantization = message.quantization
    bits = f"{quantization.numberOfBits} bits, {quantization.WhichOneof('QuantizationType')}"
    if message.floatValue:
        return f"{len(message.floatValue)} float32"
    if message.float16Value:
        return f"{len(message.float16Value) // 2} float16"
    if message.int8RawValue:
        return f"{len(message.int8RawValue)} int8 with a scale"
    if message.rawValue:
        return f"{8 * len(message.rawValue) // max(quantization.numberOfBits, 1)} codes of {bits}"
    return "none"
