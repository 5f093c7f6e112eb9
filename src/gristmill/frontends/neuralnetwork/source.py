"""What this frontend receives: networks that somebody has decoded, and what applications hand over to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gristmill.ir.constants import Array, Data
from gristmill.ir.dims import Shape
from gristmill.ir.types import DType


class Weights(Protocol):
    """Weights of a layer, to be decoded when they are needed."""

    @property
    def is_empty(self) -> bool:
        """Whether there is none."""

    def data(self, shape: Sequence[int], *, axis: int = 0) -> Data:
        """The untyped numbers in a shape; ``axis`` is the one that quantisation scales element by element."""

    def table(self, shape: Sequence[int], *, axis: int = 0) -> tuple[Data, Array] | None:
        """Indices into a table, as ``constexpr_lut_to_dense`` of iOS 16 takes them, if these weights are such."""

    def raw(self) -> Data:
        """The untyped numbers in one row."""


class Layer(Protocol):
    """A layer: its type in the specification's words, the names of the tensors it reads and makes, its parameters.

    ``params`` has the fields of the specification's message: tuples, names of enumerations, ``Weights``, ``Network``;
    ``params.choice(group)`` says which alternative there is.
    """

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> Sequence[str]: ...
    @property
    def outputs(self) -> Sequence[str]: ...
    @property
    def params(self) -> Any: ...


class Preprocessing(Protocol):
    """What happens to an image before the first layer: ``scaler`` or ``meanImage``."""

    @property
    def feature(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def params(self) -> Any: ...


class Network(Protocol):
    """A network, or one inside a branch or loop."""

    @property
    def layers(self) -> Sequence[Layer]: ...
    @property
    def preprocessing(self) -> Sequence[Preprocessing]: ...
    @property
    def exact_arrays(self) -> bool: ...
    @property
    def exact_images(self) -> bool: ...
    @property
    def labels(self) -> Sequence[str] | Sequence[int]: ...
    @property
    def probabilities(self) -> str: ...


@dataclass(frozen=True)
class NetworkInput:
    """An input as applications see it.

    Attributes:
        name: Its name.
        shape: Of an array, as described; of an image [1, channels, height, width].
        dtype: What the network receives; ``unit_float`` unless the description says float16 or an integer.
        layout: Of an image ``RGB``, ``BGR``, ``GRAYSCALE`` or ``GRAYSCALE_FLOAT16``.
    """

    name: str
    shape: Shape
    dtype: DType
    layout: str | None = None


@dataclass(frozen=True)
class NetworkOutput:
    """An output as applications see it.

    Attributes:
        name: Its name.
        shape: Of an array, where the description states one.
        is_image: Whether it is an image.
    """

    name: str
    shape: tuple[int, ...] | None = None
    is_image: bool = False
