"""What goes into a model and what comes out: checks and conversions by the model's own description."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gristmill.errors import ExecutionError, GristmillError, InputError, InputTypeError, UnsupportedError
from gristmill.ir import types
from gristmill.ir.constants import Array
from gristmill.ir.program import Value
from gristmill.ir.types import DType, TensorType
from gristmill.models import images
from gristmill.package.proto import Message

ARRAY_DTYPES: Mapping[int, DType] = {
    65552: types.fp16,
    65568: types.fp32,
    65600: types.fp64,
    131080: types.int8,
    131104: types.int32,
}
"""Values of ``ArrayFeatureType.ArrayDataType``."""


class Feature(ABC):
    """One input or output as the model's description has it.

    Args:
        spec: Its ``FeatureDescription``.
    """

    def __init__(self, spec: Message) -> None:
        self.name = str(spec.name)
        self.about = str(spec.shortDescription)
        self.optional = bool(spec.type.isOptional)

    @abstractmethod
    def to_program(self, value: Any, declared: TensorType) -> Array:
        """What the program receives for a value that the caller gave.

        Raises:
            InputError: Its shape is not allowed.
            InputTypeError: Its type is not.
        """

    def from_program(self, value: Any) -> Any:
        """What the caller receives for a value that the program returned.

        Raises:
            ExecutionError: It is something else than the model describes.
        """
        try:
            return self._from_program(value)
        except GristmillError:
            raise
        except (TypeError, ValueError, IndexError, KeyError, ArithmeticError) as error:
            raise ExecutionError(
                f"output '{self.name}' is something else than the model describes: {error}",
                expected=self.describe(),
                actual=f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__,
            ) from error

    @abstractmethod
    def _from_program(self, value: Any) -> Any: ...

    def default(self, declared: TensorType) -> Array:
        """What the program receives when the caller leaves an optional input out."""
        raise InputError(f"input '{self.name}' is missing", expected=self.describe())

    @abstractmethod
    def describe(self) -> str:
        """Type and shapes, for people."""


class ArrayFeature(Feature):
    """A multi-dimensional array."""

    def __init__(self, spec: Message) -> None:
        super().__init__(spec)
        array = spec.type.multiArrayType
        self.dtype = ARRAY_DTYPES.get(array.dataType)
        self.shape = tuple(int(n) for n in array.shape)
        self.ranges: list[tuple[int, int]] | None = None
        self.shapes: list[tuple[int, ...]] | None = None
        match array.WhichOneof("ShapeFlexibility"):
            case "shapeRange":
                self.ranges = [(int(r.lowerBound), int(r.upperBound)) for r in array.shapeRange.sizeRanges]
            case "enumeratedShapes":
                self.shapes = [tuple(int(n) for n in s.shape) for s in array.enumeratedShapes.shapes]
        default = array.WhichOneof("defaultOptionalValue")
        self._default = getattr(array, default) if default else 0

    def to_program(self, value: Any, declared: TensorType) -> Array:
        array = convert_array(self, value, declared.dtype)
        if declared.rank == 0 and array.shape == (1,):
            array = array.reshape(())  # applications know no array of rank 0
        if declared.rank == 5 and len(self.shape) in (1, 3):
            return self._as_sequence(array)
        self.check_shape(array.shape)
        return array

    def _as_sequence(self, array: Array) -> Array:
        """[C] or [C, H, W] as [sequence, batch, C, H, W], where recurrent networks take whole sequences too."""
        step = (*self.shape, 1, 1) if len(self.shape) == 1 else self.shape
        if array.ndim == 5 and array.shape[2:] == step:
            return array
        self.check_shape(array.shape)
        return array.reshape(1, 1, *step)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raises InputError where the model does not allow a shape."""
        if self.shapes is not None and shape not in self.shapes and self.shape != shape:
            raise self._wrong_shape(shape)
        if self.ranges is not None:
            fits = len(shape) == len(self.ranges) and all(
                low <= size and (high < 0 or size <= high) for size, (low, high) in zip(shape, self.ranges, strict=True)
            )
            if not fits:
                raise self._wrong_shape(shape)
        elif self.shapes is None and self.shape and shape not in (self.shape, ()):
            raise self._wrong_shape(shape)

    def _wrong_shape(self, shape: tuple[int, ...]) -> InputError:
        return InputError(
            f"input '{self.name}' has a shape that the model does not allow",
            expected=self.describe(),
            actual=f"rank {len(shape)}: {list(shape)}",
        )

    def _from_program(self, value: Any) -> Any:
        if self.dtype is None or not isinstance(value, np.ndarray) or value.dtype == object:
            return value
        if value.ndim == 5 and len(self.shape) in (1, 3) and value.size == np.prod(self.shape):
            value = value.reshape(self.shape)  # a sequence of one step
        return np.atleast_1d(value.astype(self.dtype.numpy, copy=False))  # applications know no array of rank 0

    def is_plain(self, value: Value | None) -> bool:
        """Whether applications and a program's value have the very same arrays, of one fixed shape."""
        return (
            value is not None
            and isinstance(value.type, TensorType)
            and not self.optional
            and self.shapes is None
            and self.ranges is None
            and value.rank > 0
            and self.dtype is not None
            and self.dtype == value.dtype
            and self.shape in (value.shape, ())
        )

    def default(self, declared: TensorType) -> Array:
        if not self.optional:
            return super().default(declared)
        return np.full(self.shape, self._default, declared.dtype.numpy)

    def describe(self) -> str:
        text = f"{self.dtype or 'array'} {list(self.shape)}"
        if self.shapes is not None:
            return text + " or one of " + ", ".join(str(list(shape)) for shape in self.shapes)
        if self.ranges is not None:
            sizes = ", ".join(str(a) if a == b else f"{a}…{b if b >= 0 else ''}" for a, b in self.ranges)
            return f"{self.dtype or 'array'} [{sizes}]"
        return text


class ImageFeature(Feature):
    """An image, a PIL image for the caller."""

    def __init__(self, spec: Message) -> None:
        super().__init__(spec)
        image = spec.type.imageType
        self.layout = type(image).ColorSpace.Name(image.colorSpace)
        self.size = (int(image.width), int(image.height))
        self.sizes: list[tuple[int, int]] | None = None
        self.range: tuple[tuple[int, int], tuple[int, int]] | None = None
        match image.WhichOneof("SizeFlexibility"):
            case "enumeratedSizes":
                self.sizes = [(int(s.width), int(s.height)) for s in image.enumeratedSizes.sizes]
            case "imageSizeRange":
                width, height = image.imageSizeRange.widthRange, image.imageSizeRange.heightRange
                self.range = (
                    (int(width.lowerBound), int(width.upperBound)),
                    (int(height.lowerBound), int(height.upperBound)),
                )

    def to_program(self, value: Any, declared: TensorType) -> Array:
        image = images.checked(self.name, value, self.layout)
        if not self._allows(image.size):
            raise InputError(
                f"image '{self.name}' has another size",
                expected=self.describe(),
                actual=f"{image.size[0]} wide, {image.size[1]} high",
                hint="resize it before, as you see fit: which pixels to keep is the application's decision",
            )
        return images.to_array(image, self.layout, declared)

    def _allows(self, size: tuple[int, int]) -> bool:
        if self.range is not None:
            return all(low <= n and (high < 0 or n <= high) for n, (low, high) in zip(size, self.range, strict=True))
        return size == self.size or size in (self.sizes or ())

    def _from_program(self, value: Any) -> Any:
        return images.from_array(np.asarray(value), self.layout)

    def describe(self) -> str:
        if self.range is not None:
            (w0, w1), (h0, h1) = self.range
            return f"{self.layout} image, {w0}…{w1 if w1 >= 0 else ''} wide, {h0}…{h1 if h1 >= 0 else ''} high"
        sizes = [self.size, *(s for s in self.sizes or () if s != self.size)]
        return f"{self.layout} image, " + " or ".join(f"{w} wide, {h} high" for w, h in sizes)


class ScalarFeature(Feature):
    """A single number or string.

    Attributes:
        python: Its type in Python.
    """

    def __init__(self, spec: Message) -> None:
        super().__init__(spec)
        self._kind = str(spec.type.WhichOneof("Type"))
        self.python: type[Any] = {"int64Type": int, "doubleType": float, "stringType": str}[self._kind]

    def to_program(self, value: Any, declared: TensorType) -> Array:
        array = convert_array(self, value, declared.dtype)
        if array.size != 1:
            raise InputError(f"input '{self.name}' is one value", expected=self.describe(), actual=list(array.shape))
        return array.reshape([int(n) if isinstance(n, int) else 1 for n in declared.shape])

    def _from_program(self, value: Any) -> Any:
        (found,) = np.asarray(value).reshape(-1)
        return self.python(found)

    def describe(self) -> str:
        return self.python.__name__


class DictionaryFeature(Feature):
    """Numbers by key, such as probabilities by class label."""

    def to_program(self, value: Any, declared: TensorType) -> Array:
        raise UnsupportedError(f"an ML Program takes no dictionary (input '{self.name}')")

    def _from_program(self, value: Any) -> Any:
        return {key: float(number) for key, number in dict(value).items()}

    def describe(self) -> str:
        return "dictionary"


class SequenceFeature(Feature):
    """A list of integers or strings."""

    def to_program(self, value: Any, declared: TensorType) -> Array:
        raise UnsupportedError(f"an ML Program takes no sequence (input '{self.name}')")

    def _from_program(self, value: Any) -> Any:
        return list(value)

    def describe(self) -> str:
        return "sequence"


def feature(spec: Message) -> Feature:
    """The right kind of feature for a ``FeatureDescription``.

    Raises:
        UnsupportedError: It is of a kind that no model takes or returns.
    """
    match spec.type.WhichOneof("Type"):
        case "multiArrayType":
            return ArrayFeature(spec)
        case "imageType":
            return ImageFeature(spec)
        case "int64Type" | "doubleType" | "stringType":
            return ScalarFeature(spec)
        case "dictionaryType":
            return DictionaryFeature(spec)
        case "sequenceType":
            return SequenceFeature(spec)
        case other:
            raise UnsupportedError(f"'{spec.name}' has a type that no input or output has", actual=other)


def convert_array(feature: Feature, value: Any, dtype: DType) -> Array:
    """Brings what a caller gave to an input's declared element type.

    Floats are rounded to the declared float type; integers and bools must fit the declared integer type. Integers may
    become floats; floats become integers only where every one of them is an integer, so nothing is rounded.

    Args:
        feature: The input, for errors.
        value: What the caller gave.
        dtype: The element type.

    Raises:
        InputTypeError: The kind of number is wrong.
        InputError: An integer does not fit.
    """
    if hasattr(value, "detach"):  # a PyTorch tensor that requires a gradient refuses __array__
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise InputTypeError(
            f"input '{feature.name}' is not an array", expected=feature.describe(), actual=str(error)
        ) from error
    if dtype == types.string:
        return array.astype(object)
    if array.dtype == dtype.numpy and array.dtype.kind == "f":
        return array
    allowed = "b" if dtype == types.bool_ else "fiub"
    if array.dtype.kind not in allowed:
        raise InputTypeError(
            f"input '{feature.name}' has another element type",
            expected=feature.describe(),
            actual=f"{array.dtype} {list(array.shape)}",
        )
    if dtype.is_integer and array.dtype.kind == "f":
        _check_whole(feature, array)
    if dtype.is_integer and array.size and array.dtype.kind != "b":
        low, high = int(array.min()), int(array.max())
        if low < dtype.min or high > dtype.max:
            raise InputError(
                f"input '{feature.name}' holds integers out of range", expected=dtype, actual=f"{low}…{high}"
            )
    with np.errstate(over="ignore"):
        return array.astype(dtype.numpy, copy=False)


def _check_whole(feature: Feature, array: Array) -> None:
    fractional = np.argwhere(~(np.isfinite(array) & (np.trunc(array) == array)))
    if len(fractional):
        place = tuple(int(n) for n in fractional[0])
        raise InputTypeError(
            f"input '{feature.name}' takes integers",
            expected=feature.describe(),
            actual=f"{array.dtype} {list(array.shape)} with {array[place]} at {list(place)}",
            hint="round it before, if that is meant",
        )


def known_names(given: Mapping[str, Any], features: Sequence[Feature]) -> None:
    """Raises InputError when a name is not that of an input."""
    names = [f.name for f in features]
    for name in given:
        if name not in names:
            raise InputError(f"there is no input '{name}'", expected=", ".join(names), actual=name)


def make_up(features: Sequence[Feature], seed: int) -> dict[str, Any]:
    """Random values for inputs: numbers uniform from 0 to 1, integers 0 or 1, which are valid as indices."""
    generator = np.random.default_rng(seed)
    return {feature.name: _random(feature, generator) for feature in features}


def _random(feature: Feature, generator: np.random.Generator) -> Any:
    match feature:
        case ArrayFeature():
            if feature.dtype is not None and feature.dtype.is_integer:
                return generator.integers(0, 2, feature.shape).astype(feature.dtype.numpy)
            return generator.random(feature.shape, np.float32)
        case ImageFeature():
            width, height = feature.size
            colored = feature.layout in ("RGB", "BGR")
            pixels = generator.integers(0, 256, (height, width, 3) if colored else (height, width)).astype(np.uint8)
            return images.pil().fromarray(pixels)
        case ScalarFeature() if feature.python is not str:
            return feature.python(generator.random() if feature.python is float else generator.integers(0, 2))
    raise InputError(f"no random value for '{feature.name}'", expected=feature.describe())
