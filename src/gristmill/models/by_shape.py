"""Networks that become a program only for given sizes of their inputs: one model for each set of shapes.

Where the length of an input decides the rank of a result, as with a shape that the caller passes, no one program serves
all lengths: every tensor of a program has a rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeGuard

import numpy as np

from gristmill.errors import InputError
from gristmill.models.features import ArrayFeature, Feature, feature, known_names
from gristmill.package import Package
from gristmill.package.proto import Message

_MOST = 16
"""Models that are kept at once; the one that was made first goes first."""


class RowModel(Protocol):
    """What computes a list of rows."""

    def predict(self, data: Any, /) -> Any:
        """The outputs of each row."""


class ByShape:
    """A network that is opened anew for every set of shapes.

    Args:
        package: The model.
        open_model: Makes what runs a model whose shapes are fixed.
    """

    def __init__(self, package: Package, open_model: Callable[[Package], RowModel]) -> None:
        self._package, self._open = package, open_model
        self._inputs: list[Feature] = [feature(spec) for spec in package.description.input]
        self._models: dict[tuple[tuple[str, tuple[int, ...]], ...], RowModel] = {}

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The outputs of each row.

        Raises:
            InputError: An input is missing, unknown, or of a shape that the model does not allow.
        """
        return [self._model(row).predict([row])[0] for row in rows]

    def _model(self, row: Mapping[str, Any]) -> RowModel:
        known_names(row, self._inputs)
        shapes = tuple((item.name, _shape(item, row)) for item in self._inputs if is_open(item))
        if shapes not in self._models:
            if len(self._models) == _MOST:
                del self._models[next(iter(self._models))]
            self._models[shapes] = self._open(self._package.nested(_fixed(self._package.spec, dict(shapes))))
        return self._models[shapes]


def is_open(item: Feature) -> TypeGuard[ArrayFeature]:
    """Whether an input is an array of several shapes."""
    return isinstance(item, ArrayFeature) and (item.ranges is not None or item.shapes is not None)


def _shape(item: ArrayFeature, row: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of an input that a caller gave."""
    given = row.get(item.name)
    if given is None:
        if item.optional:
            return item.shape
        raise InputError(f"input '{item.name}' is missing", expected=item.describe())
    shape = tuple(int(n) for n in np.shape(given))
    item.check_shape(shape)
    return shape


def _fixed(spec: Message, shapes: Mapping[str, tuple[int, ...]]) -> Message:
    """A copy of a model whose inputs are described with these shapes alone."""
    copied = type(spec)()
    copied.CopyFrom(spec)
    for described in copied.description.input:
        if described.name in shapes:
            array = described.type.multiArrayType
            array.ClearField(array.WhichOneof("ShapeFlexibility"))
            array.shape[:] = shapes[described.name]
    return copied
