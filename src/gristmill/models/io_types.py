"""What a caller of ``convert`` says about a model's inputs, outputs and states."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from gristmill.errors import InputError, InputTypeError, IRError
from gristmill.ir import types
from gristmill.ir.dims import Dim, Symbol, fresh, symbol
from gristmill.ir.types import DType


class RangeDim:
    """A dimension whose size may vary from prediction to prediction.

    Args:
        lower_bound: Smallest size.
        upper_bound: Largest size; -1 for no limit.
        default: The size to assume where one is needed; the smallest when left out.
        symbol: A name; dimensions that share it have the same size.
    """

    def __init__(
        self, lower_bound: int = 1, upper_bound: int = -1, default: int | None = None, symbol: str | None = None
    ) -> None:
        if lower_bound < 0 or (upper_bound != -1 and upper_bound < lower_bound):
            raise InputError(
                "a range runs from a size to a larger one",
                expected="0 <= lower_bound <= upper_bound, or upper_bound = -1 for no limit",
                actual=f"lower_bound={lower_bound}, upper_bound={upper_bound}",
            )
        self.lower_bound, self.upper_bound = lower_bound, upper_bound
        self.default = lower_bound if default is None else default
        if self.default < lower_bound or (upper_bound != -1 and self.default > upper_bound):
            raise InputError(
                "the default size is out of range", expected=f"{lower_bound} to {upper_bound}", actual=default
            )
        self.symbol = symbol
        self._dim: Symbol | None = None

    @property
    def dim(self) -> Symbol:
        """The dimension in a program; the same symbol each time."""
        if self._dim is None:
            upper = None if self.upper_bound == -1 else self.upper_bound
            make = symbol if self.symbol else fresh
            self._dim = make(self.symbol or "is", lower=self.lower_bound, upper=upper)
        return self._dim

    def __repr__(self) -> str:
        return f"RangeDim({self.lower_bound}, {self.upper_bound}, default={self.default})"


Size: TypeAlias = int | RangeDim


class Shape:
    """A shape whose dimensions are sizes or ranges.

    Args:
        shape: One entry a dimension.
        default: Sizes to assume where a range stands; each range's own default when left out.
    """

    def __init__(self, shape: Sequence[Size], default: Sequence[int] | None = None) -> None:
        for size in shape:
            if not isinstance(size, RangeDim) and (isinstance(size, bool) or not isinstance(size, int | np.integer)):
                raise InputTypeError("a size is an int or a RangeDim", actual=f"{size!r} of {type(size).__name__}")
            if not isinstance(size, RangeDim) and size < 0:
                raise InputError("a size cannot be negative", actual=size, hint="use RangeDim for a flexible size")
        self.shape: tuple[Size, ...] = tuple(s if isinstance(s, RangeDim) else int(s) for s in shape)
        if default is not None and len(default) != len(self.shape):
            raise InputError("the default shape has another rank", expected=len(self.shape), actual=len(default))
        self.default: tuple[int, ...] = (
            tuple(default)
            if default is not None
            else tuple(s.default if isinstance(s, RangeDim) else s for s in self.shape)
        )

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The shape in a program."""
        return tuple(size.dim if isinstance(size, RangeDim) else size for size in self.shape)

    @property
    def is_static(self) -> bool:
        return not any(isinstance(size, RangeDim) for size in self.shape)

    @property
    def has_symbolic(self) -> bool:
        """Whether some size is a range."""
        return not self.is_static

    def to_list(self, allow_symbolic: bool = False) -> list[Any]:
        """The default sizes, or with ``allow_symbolic`` those of ranges as the program has them."""
        return list(self.dims if allow_symbolic else self.default)


class EnumeratedShapes:
    """A choice among several shapes of one rank.

    Args:
        shapes: All that are allowed, at most 128.
        default: The one to assume where one is needed; the first when left out.
    """

    def __init__(self, shapes: Sequence[Sequence[int] | Shape], default: Sequence[int] | None = None) -> None:
        self.shapes: list[tuple[int, ...]] = [tuple(s.default if isinstance(s, Shape) else s) for s in shapes]
        if not self.shapes or len({len(s) for s in self.shapes}) != 1:
            raise InputError("enumerated shapes are several of one rank", actual=self.shapes)
        if len(self.shapes) > 128:
            raise InputError("Core ML allows at most 128 enumerated shapes", actual=len(self.shapes))
        self.default = self.shapes[0] if default is None else tuple(default)
        if self.default not in self.shapes:
            raise InputError("the default shape is not among the shapes", expected=self.shapes, actual=default)
        self._dims: tuple[Dim, ...] | None = None

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The shape in a program: a symbol where the sizes differ."""
        if self._dims is None:
            columns = list(zip(*self.shapes, strict=True))
            self._dims = tuple(
                sizes[0] if len(set(sizes)) == 1 else fresh("is", lower=min(sizes), upper=max(sizes))
                for sizes in columns
            )
        return self._dims

    @property
    def is_static(self) -> bool:
        return len(set(self.shapes)) == 1


ShapeLike: TypeAlias = "Shape | EnumeratedShapes | Sequence[Size]"


class InputType:
    """Base of what describes one input or output.

    Attributes:
        name: In the converted model; that of the source when ``None``.
        shape: ``None`` where the source decides.
        dtype: ``None`` where the source decides.
    """

    def __init__(self, name: str | None, shape: ShapeLike | None, dtype: DType | None) -> None:
        self.name = name
        self.shape: Shape | EnumeratedShapes | None = (
            shape if shape is None or isinstance(shape, Shape | EnumeratedShapes) else Shape(shape)
        )
        self.dtype = dtype

    def can_be_output(self) -> bool:
        """Whether it says nothing that only an input has: an output's shape follows from the model."""
        return self.shape is None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, shape={self.shape!r}, dtype={self.dtype})"


class TensorType(InputType):
    """A tensor input or output.

    Args:
        name: In the converted model.
        shape: Sizes, ``RangeDim``s, a ``Shape`` or ``EnumeratedShapes``.
        dtype: Element type, as a NumPy type: float32, float16, int32 (int64 and float64 become their narrower kin, bool
            becomes int32, as inputs of a Core ML model cannot have these types).
        default_value: Array to use where a prediction leaves the input out; such an input is optional.
    """

    def __init__(
        self,
        name: str | None = None,
        shape: ShapeLike | None = None,
        dtype: Any = None,
        default_value: Any = None,
    ) -> None:
        super().__init__(name, shape, None if dtype is None else declared_dtype(dtype))
        self.default_value: np.ndarray[Any, np.dtype[Any]] | None = (
            None if default_value is None else np.asarray(default_value)
        )
        if self.default_value is not None:
            if not isinstance(self.shape, Shape):
                raise InputError("an optional input needs a shape of its own", hint="give shape=… beside default_value")
            if self.default_value.shape != self.shape.default:
                raise InputError(
                    "the default value has another shape", expected=self.shape.default, actual=self.default_value.shape
                )


class ColorLayout(enum.Enum):
    """How the pixels of an image become a tensor."""

    RGB = "RGB"
    BGR = "BGR"
    GRAYSCALE = "GRAYSCALE"
    GRAYSCALE_FLOAT16 = "GRAYSCALE_FLOAT16"


class ImageType(InputType):
    """An image input or output, a PIL image in ``predict``.

    Each pixel value becomes ``scale * pixel + bias`` of its channel.

    Args:
        name: In the converted model.
        shape: Of the tensor: batch 1, channels, height, width (channels last with ``channel_first=False``).
        scale: Factor.
        bias: One number, or one a channel.
        color_layout: A ``ColorLayout`` or its name.
        channel_first: Whether the channels stand before height and width.
        grayscale_use_uint8: Accepted for coremltools' sake; the model computes with the same numbers in a wider type.
    """

    def __init__(
        self,
        name: str | None = None,
        shape: ShapeLike | None = None,
        scale: float = 1.0,
        bias: float | Sequence[float] | None = None,
        color_layout: ColorLayout | str = ColorLayout.RGB,
        channel_first: bool | None = None,
        grayscale_use_uint8: bool = False,
    ) -> None:
        try:
            self.color_layout = ColorLayout(color_layout)
        except ValueError:
            raise InputError(
                "unknown colour layout", expected=", ".join(c.value for c in ColorLayout), actual=color_layout
            ) from None
        float16 = self.color_layout is ColorLayout.GRAYSCALE_FLOAT16
        super().__init__(name, shape, types.fp16 if float16 else None)
        self.channel_first = channel_first
        self.scale = float(scale)
        channels = 3 if self.color_layout in (ColorLayout.RGB, ColorLayout.BGR) else 1
        values = [0.0] * channels if bias is None else np.atleast_1d(np.asarray(bias, np.float64)).tolist()
        if len(values) == 1:
            values *= channels
        if len(values) != channels:
            raise InputError("one bias for each channel", expected=channels, actual=len(values))
        self.bias: tuple[float, ...] = tuple(values)


class StateType:
    """A state: a buffer that the source model changes in place.

    Args:
        wrapped_type: Its shape and type.
        name: Of the buffer in the source model.
    """

    def __init__(self, wrapped_type: TensorType, name: str | None = None) -> None:
        if not isinstance(wrapped_type, TensorType):
            raise InputTypeError("a state wraps a TensorType", actual=type(wrapped_type).__name__)
        if wrapped_type.name is not None or wrapped_type.default_value is not None:
            raise InputError("the wrapped type has neither name nor default value", hint="give the state the name")
        self.wrapped_type, self.name = wrapped_type, name


class ClassifierConfig:
    """Makes a classifier of a model.

    Args:
        class_labels: Labels in the order of the model's probabilities, or a text file with one a line.
        predicted_feature_name: Name of the output that holds the most probable label.
        predicted_probabilities_output: The model's output to take as probabilities; the only one when left out.
    """

    def __init__(
        self,
        class_labels: Sequence[str] | Sequence[int] | str,
        predicted_feature_name: str = "classLabel",
        predicted_probabilities_output: str | None = None,
    ) -> None:
        self.class_labels: list[str] | list[int]
        if isinstance(class_labels, str):
            with open(class_labels, encoding="utf-8") as file:  # noqa: PTH123  # a path or anything that open() takes
                self.class_labels = [line.strip() for line in file if line.strip()]
        elif all(isinstance(label, str) for label in class_labels):
            self.class_labels = [str(label) for label in class_labels]
        elif all(isinstance(label, int | np.integer) for label in class_labels):
            self.class_labels = [int(label) for label in class_labels]
        else:
            raise InputTypeError(
                "class labels are all str or all int", actual=sorted({type(c).__name__ for c in class_labels})
            )
        self.predicted_feature_name = predicted_feature_name
        self.predicted_probabilities_output = predicted_probabilities_output


def declared_dtype(dtype: Any) -> DType:
    """The type that an input or output gets for a NumPy type, a framework's type or one of ours.

    Raises:
        InputTypeError: Core ML has no input of such a type.
    """
    found: DType | None
    if isinstance(dtype, DType):
        found = dtype
    else:
        name = str(dtype).removeprefix("torch.")
        try:
            found = types.dtype_of(np.dtype(getattr(np, name, None) or dtype))
        except (TypeError, IRError):
            found = None
    kin = {types.fp64: types.fp32, types.int64: types.int32, types.bool_: types.int32}
    found = kin.get(found, found) if found is not None else None
    if found not in (types.fp16, types.fp32, types.int32, types.int8):
        raise InputTypeError(
            "inputs and outputs cannot have this type", expected="float16, float32, int32 or int8", actual=dtype
        )
    return found
