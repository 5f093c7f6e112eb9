"""A model's description: what the application sees of inputs, outputs and states.

Made from a program's types when a model is written; asked for shape ranges when a program is read; rebuilt from
``metadata.json`` for compiled models.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeAlias

from gristmill.errors import FormatError, UnsupportedError
from gristmill.ir import dims, types
from gristmill.ir.dims import Dim, Shape
from gristmill.ir.program import Function, Program, Value
from gristmill.ir.types import DictType, DType, StateType, TensorType
from gristmill.package import proto
from gristmill.package.proto import Message

_ARRAY_TYPE = {
    types.fp16: 65552,
    types.fp32: 65568,
    types.fp64: 65600,
    types.int8: 131080,
    types.int32: 131104,
}  # ArrayFeatureType.ArrayDataType

# --- from a program --------------------------------------------------------------------------------------------------


def describe(program: Program) -> Message:
    """Makes the ``ModelDescription`` that follows from a program's types.

    Flexible inputs get the ranges of their dimensions' bounds and the smallest admissible default shape. Images are the
    caller's to declare, in the message that comes back.

    Raises:
        UnsupportedError: An input or output has a type that applications cannot hand over, such as bool.
    """
    description = proto.message("ModelDescription")()
    if list(program.functions) == ["main"]:
        _describe_function(description, program.main)
        return description
    for function in program.functions.values():
        _describe_function(description.functions.add(name=function.name), function)
    description.defaultFunctionName = (
        program.main.name if "main" in program.functions else next(iter(program.functions))
    )
    return description


def _describe_function(spec: Message, function: Function) -> None:
    for value in function.inputs:
        if isinstance(value.type, StateType):
            array = spec.state.add(name=value.name).type.stateType.arrayType
            _describe_array(array, value, value.type.wrapped, value.type.wrapped.shape)
        else:
            array = spec.input.add(name=value.name).type.multiArrayType
            _describe_array(array, value, value.tensor, value.shape or (1,))
            _describe_range(array, value.shape)
    for value in function.outputs:
        type = spec.output.add(name=value.name).type
        match value.type:
            case DictType() as pairs:
                kind = "int64KeyType" if pairs.key == types.scalar(types.int64) else "stringKeyType"
                getattr(type.dictionaryType, kind).SetInParent()
                spec.predictedProbabilitiesName = value.name
            case TensorType(types.string | types.int64, ()):
                getattr(type, "stringType" if value.dtype == types.string else "int64Type").SetInParent()
                spec.predictedFeatureName = value.name
            case TensorType() as tensor:
                # Core ML leaves the size of flexible and of scalar outputs open.
                _describe_array(type.multiArrayType, value, tensor, value.shape if tensor.is_static else ())
            case _:
                raise UnsupportedError("a model cannot return this", expected="a tensor", actual=f"{value!r}")


def _describe_array(spec: Message, value: Value, type: TensorType, shape: Shape) -> None:
    dtype = types.fp32 if type.dtype == types.unit_float else type.dtype  # a network's tensors are handed over so
    if dtype not in _ARRAY_TYPE:
        raise UnsupportedError(
            "applications cannot hand over this element type",
            location=f"input or output '{value.name}'",
            expected=", ".join(d.name for d in _ARRAY_TYPE),
            actual=type.dtype,
            hint="cast it inside the model",
        )
    spec.dataType = _ARRAY_TYPE[dtype]
    spec.shape.extend(_least(d) for d in shape)


def describe_shape(spec: Message, value: Value) -> None:
    """Gives an array the shape of a program's value, and ranges for sizes that are open."""
    spec.ClearField("shape")
    spec.ClearField(spec.WhichOneof("ShapeFlexibility") or "shapeRange")
    spec.shape.extend(_least(d) for d in value.shape)
    _describe_range(spec, value.shape)


def _least(dim: Dim) -> int:
    low, _ = dims.bounds(dim)
    return max(low or 0, 1) if not isinstance(dim, int) else dim


def _describe_range(spec: Message, shape: Shape) -> None:
    if dims.is_static(shape):
        return
    for dim in shape:
        _, high = dims.bounds(dim)
        spec.shapeRange.sizeRanges.add(lowerBound=_least(dim), upperBound=-1 if high is None else high)


# --- ranges for a program --------------------------------------------------------------------------------------------

Range: TypeAlias = tuple[int, int | None]
"""Inclusive bounds of a dimension; no upper one where it is unbounded."""


def stated_ranges(description: Message) -> dict[tuple[str, str], list[Range]]:
    """Bounds of the dimensions of flexible inputs, by function and name.

    An input with enumerated shapes gets, per dimension, the range from the smallest to the largest; that a
    combination is one of those listed is for whoever takes the inputs to check.
    """
    found: dict[tuple[str, str], list[Range]] = {}
    for name, spec in [(f.name, f) for f in description.functions] or [("main", description)]:
        for feature in spec.input:
            ranges = _image_ranges(feature.type.imageType) or _array_ranges(feature.type.multiArrayType)
            if all(low >= 0 and (high is None or low <= high) for low, high in ranges):
                found[name, feature.name] = ranges
    return found


def _array_ranges(array: Message) -> list[Range]:
    match array.WhichOneof("ShapeFlexibility"):
        case "shapeRange":
            return [_range(r) for r in array.shapeRange.sizeRanges]
        case "enumeratedShapes":
            shapes = [list(s.shape) for s in array.enumeratedShapes.shapes]
            if len({len(s) for s in shapes}) == 1:
                return [(min(axis), max(axis)) for axis in zip(*shapes, strict=True)]
    return []


def _image_ranges(image: Message) -> list[Range]:
    """As for the tensor that stands for an image: one image, its channels, height, width."""
    anything: Range = (0, None)
    match image.WhichOneof("SizeFlexibility"):
        case "imageSizeRange":
            return [
                anything,
                anything,
                _range(image.imageSizeRange.heightRange),
                _range(image.imageSizeRange.widthRange),
            ]
        case "enumeratedSizes":
            heights, widths = [[int(getattr(s, n)) for s in image.enumeratedSizes.sizes] for n in ("height", "width")]
            if heights:
                return [anything, anything, (min(heights), max(heights)), (min(widths), max(widths))]
    return []


def _range(spec: Message) -> Range:
    return int(spec.lowerBound), None if spec.upperBound < 0 else int(spec.upperBound)


# --- from a compiled model's metadata.json ---------------------------------------------------------------------------

_COLORS = {"RGB": "RGB", "BGR": "BGR", "Grayscale": "GRAYSCALE", "Grayscale16Half": "GRAYSCALE_FLOAT16"}
_NAMED_TYPES = {
    "Float16": types.fp16,
    "Float32": types.fp32,
    "Double": types.fp64,
    "Int32": types.int32,
    "Int8": types.int8,
}


def from_metadata(metadata: Any, location: object) -> Message:
    """Rebuilds a ``Model`` with its version and description from a compiled model's ``metadata.json``.

    Raises:
        FormatError: It is not what a compiled model carries.
    """
    if isinstance(metadata, list) and len(metadata) == 1:
        metadata = metadata[0]
    try:
        return _from_metadata(metadata)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise FormatError("malformed description of a compiled model", location=location, actual=repr(error)) from error


def _from_metadata(metadata: dict[str, Any]) -> Message:
    model = proto.message("Model")(specificationVersion=int(metadata["specificationVersion"]))
    description = model.description
    _schemas(description, metadata)
    for function in metadata.get("functions", ()):
        _schemas(description.functions.add(name=function["name"]), function)
    if description.functions:
        description.defaultFunctionName = metadata.get("defaultFunctionName", "")
    about = description.metadata
    about.shortDescription = metadata.get("shortDescription", "")
    about.versionString = metadata.get("version", "")
    about.author = metadata.get("author", "")
    about.license = metadata.get("license", "")
    for key, text in metadata.get("userDefinedMetadata", {}).items():
        about.userDefined[key] = text
    return model


def _schemas(spec: Message, metadata: dict[str, Any]) -> None:
    for key, features in (("inputSchema", spec.input), ("outputSchema", spec.output), ("stateSchema", spec.state)):
        for entry in metadata.get(key, ()):
            feature = features.add(name=entry["name"], shortDescription=entry.get("shortDescription", ""))
            _feature_type(feature.type, entry)
    spec.predictedFeatureName = metadata.get("predictedFeatureName", "")


def _feature_type(spec: Message, entry: dict[str, Any]) -> None:
    spec.isOptional = entry.get("isOptional") == "1"
    match entry["type"]:
        case "MultiArray":
            _array_type(spec.multiArrayType, entry)
        case "State":
            _array_type(spec.stateType.arrayType, entry)
        case "Image":
            image = spec.imageType
            image.width, image.height = int(entry["width"]), int(entry["height"])
            color = entry.get("colorspace", "")
            image.colorSpace = type(image).ColorSpace.Value(_COLORS.get(color, "RGB"))
        case "Int64" | "Double" | "String" as name:
            getattr(spec, f"{name.lower()}Type").SetInParent()
        case "Dictionary":
            key = "int64KeyType" if "Int64" in str(entry.get("keyType")) else "stringKeyType"
            getattr(spec.dictionaryType, key).SetInParent()
        case other:
            raise ValueError(f"feature type {other!r}")


def _array_type(spec: Message, entry: dict[str, Any]) -> None:
    dtype: DType = _NAMED_TYPES[entry["dataType"]]
    spec.dataType = _ARRAY_TYPE[dtype]
    spec.shape.extend(_integers(json.loads(entry.get("shape", "[]"))))
    if "shapeRange" in entry:
        for low, high in json.loads(entry["shapeRange"]):
            spec.shapeRange.sizeRanges.add(lowerBound=int(low), upperBound=int(high))
    elif "enumeratedShapes" in entry:
        for shape in json.loads(entry["enumeratedShapes"]):
            spec.enumeratedShapes.shapes.add(shape=_integers(shape))


def _integers(values: Iterable[Any]) -> list[int]:
    return [int(v) for v in values]
