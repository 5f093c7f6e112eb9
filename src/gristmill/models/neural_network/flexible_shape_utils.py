"""Inputs and outputs of several shapes, under coremltools' names.

The functions change one feature of a ``Model`` message, an input or an output, and raise its specification version to
one that knows the form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from gristmill.errors import InputError, InputTypeError
from gristmill.package.proto import Message

T = TypeVar("T")

_FIRST_FLEXIBLE, _FIRST_OF_ANY_RANK = 3, 4
_AXES = ("C", "H", "W")


class Shape:
    """The size of one axis.

    Args:
        shape_value: 1 or more.

    Raises:
        InputError: It is less.
    """

    def __init__(self, shape_value: int) -> None:
        if shape_value < 1:
            raise InputError("a size out of range", expected="1 or more", actual=shape_value)
        self.value = shape_value


class Size(Shape):
    """The size of one axis of an image.

    Args:
        size_value: 1 or more.
    """

    def __init__(self, size_value: int) -> None:
        super().__init__(size_value)


class ShapeRange:
    """Sizes of one axis from one to another.

    Args:
        lowerBound: The least; 0 counts as 1.
        upperBound: The largest; −1 for none.

    Raises:
        InputError: A bound is out of range, or they are in the wrong order.
    """

    def __init__(self, lowerBound: int, upperBound: int) -> None:
        self.lowerBound, self.upperBound = lowerBound or 1, upperBound
        if self.lowerBound < 1 or (upperBound != -1 and upperBound < self.lowerBound):
            raise InputError(
                "bounds of a size", expected="1 ≤ lower ≤ upper, or −1 above", actual=(lowerBound, upperBound)
            )

    @property
    def isUnbounded(self) -> bool:  # noqa: N802 - coremltools' name
        """Whether there is no largest size."""
        return self.upperBound == -1

    @property
    def isFlexible(self) -> bool:  # noqa: N802 - coremltools' name
        """Whether there is more than one size."""
        return self.lowerBound != self.upperBound


class NeuralNetworkMultiArrayShape:
    """A shape [C] or [C, H, W].

    Args:
        channel: Its size.
        height: Its size.
        width: Its size.
    """

    def __init__(self, channel: int | None = None, height: int | None = None, width: int | None = None) -> None:
        sizes = zip(_AXES, (channel, height, width), strict=True)
        self._sizes = {axis: Shape(int(size)) for axis, size in sizes if size}

    def set_channel_shape(self, channel_shape: int) -> None:
        """Sets the number of channels."""
        self._sizes["C"] = Shape(channel_shape)

    def set_height_shape(self, height_shape: int) -> None:
        """Sets the height."""
        self._sizes["H"] = Shape(height_shape)

    def set_width_shape(self, width_shape: int) -> None:
        """Sets the width."""
        self._sizes["W"] = Shape(width_shape)

    @property
    def multiarray_shape(self) -> list[int]:
        """The sizes in order.

        Raises:
            InputError: Some are missing.
        """
        return [size.value for size in _in_order(self._sizes)]


class NeuralNetworkImageSize:
    """The size of an image.

    Args:
        height: 1 or more.
        width: 1 or more.
    """

    def __init__(self, height: int | None = None, width: int | None = None) -> None:
        self._height, self._width = Size(height or 0), Size(width or 0)

    def set_width(self, width: int) -> None:
        """Sets the width."""
        self._width = Size(width)

    def set_height(self, height: int) -> None:
        """Sets the height."""
        self._height = Size(height)

    @property
    def width(self) -> int:
        """The width."""
        return self._width.value

    @property
    def height(self) -> int:
        """The height."""
        return self._height.value


class NeuralNetworkMultiArrayShapeRange:
    """Ranges of the sizes of [C] or [C, H, W].

    Args:
        input_ranges: Pairs of bounds by ``C``, ``H`` and ``W``.

    Raises:
        InputTypeError: They are no mapping of pairs.
        InputError: Some are missing.
    """

    def __init__(self, input_ranges: Mapping[str, tuple[int, int]] | None = None) -> None:
        self.arrayShapeRange: dict[str, ShapeRange] = {}
        if not input_ranges:
            return
        if not isinstance(input_ranges, Mapping):
            raise InputTypeError("ranges by axis", expected="a mapping of C, H and W", actual=input_ranges)
        self.arrayShapeRange = {axis: _range(input_ranges[axis]) for axis in _AXES if axis in input_ranges}
        self.validate_array_shape_range()

    def add_channel_range(self, channel_range: Any) -> None:
        """Sets the range of the number of channels, a pair or a ``ShapeRange``."""
        self.arrayShapeRange["C"] = _range(channel_range)

    def add_height_range(self, height_range: Any) -> None:
        """Sets the range of the height."""
        self.arrayShapeRange["H"] = _range(height_range)

    def add_width_range(self, width_range: Any) -> None:
        """Sets the range of the width."""
        self.arrayShapeRange["W"] = _range(width_range)

    def get_shape_range_dims(self) -> int:
        """How many axes have a range."""
        return len(self.arrayShapeRange)

    def validate_array_shape_range(self) -> None:
        """Raises InputError unless the ranges are of C, or of C, H and W."""
        _in_order(self.arrayShapeRange)

    def get_channel_range(self) -> ShapeRange:
        """The range of the number of channels."""
        return self.arrayShapeRange["C"]

    def get_height_range(self) -> ShapeRange:
        """The range of the height."""
        return self.arrayShapeRange["H"]

    def get_width_range(self) -> ShapeRange:
        """The range of the width."""
        return self.arrayShapeRange["W"]

    def isFlexible(self) -> bool:  # noqa: N802 - coremltools' name
        """Whether there is more than one shape."""
        return any(one.isFlexible for one in self.arrayShapeRange.values())


class NeuralNetworkImageSizeRange:
    """Ranges of an image's height and width.

    Args:
        height_range: A pair of bounds, or a ``ShapeRange``.
        width_range: The same.
    """

    def __init__(self, height_range: Any = None, width_range: Any = None) -> None:
        self._height = _range(height_range) if height_range else None
        self._width = _range(width_range) if width_range else None

    def add_width_range(self, width_range: Any) -> None:
        """Sets the range of the width."""
        self._width = _range(width_range)

    def add_height_range(self, height_range: Any) -> None:
        """Sets the range of the height."""
        self._height = _range(height_range)

    def get_width_range(self) -> ShapeRange | None:
        """The range of the width."""
        return self._width

    def get_height_range(self) -> ShapeRange | None:
        """The range of the height."""
        return self._height


def _range(bounds: Any) -> ShapeRange:
    if isinstance(bounds, ShapeRange):
        return bounds
    if not isinstance(bounds, tuple) or len(bounds) != 2:
        raise InputTypeError("a range is a pair of bounds or a ShapeRange", actual=bounds)
    return ShapeRange(*bounds)


def _in_order(by_axis: Mapping[str, T]) -> list[T]:
    """What stands by axes [C] or [C, H, W]."""
    axes = [axis for axis in _AXES if axis in by_axis]
    if axes not in (["C"], ["C", "H", "W"]):
        raise InputError("shapes of networks are [C] or [C, H, W]", actual=axes)
    return [by_axis[axis] for axis in axes]


# --- features ---------------------------------------------------------------------------------------------------------


def add_enumerated_multiarray_shapes(spec: Message, feature_name: str, shapes: Any) -> None:
    """Allows further shapes of an array.

    Args:
        spec: A ``Model`` message.
        feature_name: An input or output.
        shapes: A ``NeuralNetworkMultiArrayShape`` or a list of them.

    Raises:
        InputError: There is no such array.
        InputTypeError: ``shapes`` are something else.
    """
    given = [shape.multiarray_shape for shape in _all_of(NeuralNetworkMultiArrayShape, shapes)]
    array = _array(spec, feature_name, _FIRST_FLEXIBLE)
    known = [list(shape.shape) for shape in array.enumeratedShapes.shapes]
    for shape in _new(given, known, list(array.shape)):
        array.enumeratedShapes.shapes.add(shape=shape)


def add_multiarray_ndshape_enumeration(
    spec: Message, feature_name: str, enumerated_shapes: Sequence[tuple[int, ...]]
) -> None:
    """Allows further shapes, of any rank, of an array of a network whose arrays keep their shapes.

    Args:
        spec: A ``Model`` message.
        feature_name: An input or output.
        enumerated_shapes: Tuples of sizes. The feature's own shape, its default, comes first.

    Raises:
        InputError: There is no such array, or there are no shapes.
        InputTypeError: The shapes are no list of tuples.
    """
    shapes = _all_of(tuple, _listed(enumerated_shapes))
    if not shapes:
        raise InputError("there are no shapes", op=feature_name)
    array = _array(spec, feature_name, _FIRST_OF_ANY_RANK)
    own = list(array.shape)
    known = [list(shape.shape) for shape in array.enumeratedShapes.shapes]
    for shape in _new([own, *(list(shape) for shape in shapes)], known, own):
        array.enumeratedShapes.shapes.add(shape=shape)


def add_enumerated_image_sizes(spec: Message, feature_name: str, sizes: Any) -> None:
    """Allows further sizes of an image.

    Args:
        spec: A ``Model`` message.
        feature_name: An input or output.
        sizes: A ``NeuralNetworkImageSize`` or a list of them.

    Raises:
        InputError: There is no such image.
        InputTypeError: ``sizes`` are something else.
    """
    given = [(size.height, size.width) for size in _all_of(NeuralNetworkImageSize, sizes)]
    image = _image(spec, feature_name)
    known = [(int(size.height), int(size.width)) for size in image.enumeratedSizes.sizes]
    for height, width in _new(given, known, (int(image.height), int(image.width))):
        image.enumeratedSizes.sizes.add(height=height, width=width)


def update_image_size_range(spec: Message, feature_name: str, size_range: NeuralNetworkImageSizeRange) -> None:
    """Allows sizes of an image within ranges, instead of what was allowed before.

    Raises:
        InputError: There is no such image, or a range is missing.
        InputTypeError: The range is of another class.
    """
    (wanted,) = _all_of(NeuralNetworkImageSizeRange, size_range)
    height, width = wanted.get_height_range(), wanted.get_width_range()
    if height is None or width is None:
        raise InputError("an image's range has height and width", op=feature_name)
    image = _image(spec, feature_name)
    image.ClearField("SizeFlexibility")
    _write(image.imageSizeRange.heightRange, height)
    _write(image.imageSizeRange.widthRange, width)


def update_multiarray_shape_range(
    spec: Message, feature_name: str, shape_range: NeuralNetworkMultiArrayShapeRange
) -> None:
    """Allows shapes of an array within ranges, instead of what was allowed before.

    Raises:
        InputError: There is no such array, or a range is missing.
        InputTypeError: The range is of another class.
    """
    (wanted,) = _all_of(NeuralNetworkMultiArrayShapeRange, shape_range)
    ranges = _in_order(wanted.arrayShapeRange)
    _set_ranges(_array(spec, feature_name, _FIRST_FLEXIBLE), ranges)


def set_multiarray_ndshape_range(
    spec: Message, feature_name: str, lower_bounds: Sequence[int], upper_bounds: Sequence[int]
) -> None:
    """Allows shapes within ranges, of any rank, of an array of a network whose arrays keep their shapes.

    Args:
        spec: A ``Model`` message.
        feature_name: An input or output.
        lower_bounds: Of each axis.
        upper_bounds: Of each axis; −1 for none.

    Raises:
        InputError: There is no such array, or its own shape is not in the ranges.
        InputTypeError: The bounds are no lists.
    """
    lower, upper = _listed(lower_bounds), _listed(upper_bounds)
    array = _array(spec, feature_name, _FIRST_OF_ANY_RANK)
    if not len(lower) == len(upper) == len(array.shape):
        raise InputError("bounds of each axis", op=feature_name, expected=len(array.shape), actual=(lower, upper))
    ranges = [ShapeRange(low, high) for low, high in zip(lower, upper, strict=True)]
    for size, one in zip(array.shape, ranges, strict=True):
        if size < one.lowerBound or not (one.isUnbounded or size <= one.upperBound):
            raise InputError("the default shape is out of range", op=feature_name, expected=(lower, upper),
                             actual=list(array.shape))  # fmt: skip
    _set_ranges(array, ranges)


def _feature(spec: Message, name: str, kind: str, version: int) -> Message:
    for feature in (*spec.description.input, *spec.description.output):
        if feature.name == name:
            if feature.type.WhichOneof("Type") != kind:
                raise InputError(
                    "the feature has another type", op=name, expected=kind, actual=feature.type.WhichOneof("Type")
                )
            spec.specificationVersion = max(spec.specificationVersion, version)
            return getattr(feature.type, kind)
    raise InputError("there is no such feature", actual=name)


def _array(spec: Message, name: str, version: int) -> Message:
    return _feature(spec, name, "multiArrayType", version)


def _image(spec: Message, name: str) -> Message:
    return _feature(spec, name, "imageType", _FIRST_FLEXIBLE)


def _all_of(cls: type[Any], given: Any) -> list[Any]:
    """One of a class, or several, as a list."""
    every = list(given) if isinstance(given, list) else [given]
    for one in every:
        if not isinstance(one, cls):
            raise InputTypeError("an argument of another class", expected=cls.__name__, actual=one)
    return every


def _listed(given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise InputTypeError("an argument is no list", actual=given)
    return given


def _new(given: Sequence[T], known: Sequence[T], default: T) -> list[T]:
    """What is not there yet, each once; with the default where there is nothing yet."""
    wanted = given if known else [*given, default]
    return [one for k, one in enumerate(wanted) if one not in known and one not in wanted[:k]]


def _set_ranges(array: Message, ranges: Sequence[ShapeRange]) -> None:
    array.ClearField("ShapeFlexibility")
    for one in ranges:
        _write(array.shapeRange.sizeRanges.add(), one)


def _write(message: Message, bounds: ShapeRange) -> None:
    message.lowerBound, message.upperBound = bounds.lowerBound, bounds.upperBound
