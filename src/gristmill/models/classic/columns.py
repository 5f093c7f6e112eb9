"""A batch as columns: how what the caller gives becomes what a classic model computes with, and back.

A column holds one feature of all rows: an array whose first dimension is the batch. Strings, dictionaries, sequences,
images, and arrays whose shapes differ from row to row, are object arrays of rank 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from gristmill.errors import ExecutionError, InputError, InputTypeError
from gristmill.ir.constants import Array
from gristmill.models.features import ArrayFeature, convert_array, feature
from gristmill.package.proto import Message

Columns: TypeAlias = dict[str, Array]
"""A batch: columns by feature name. An optional input that the caller left out has none."""


def objects(values: Sequence[Any]) -> Array:
    """An object array of rank 1 of any values, arrays included."""
    column = np.empty(len(values), object)
    column[:] = values if len(values) != 1 else [None]
    if len(values) == 1:  # NumPy would look inside a single array
        column[0] = values[0]
    return column


def column_of(values: Sequence[Any]) -> Array:
    """The column of what a model gave for each row."""
    numeric = all(isinstance(value, np.ndarray | int | float) for value in values)
    same = numeric and len({np.shape(value) for value in values}) == 1
    return np.stack(values) if same else objects(values)


class Slot:
    """One input or output, between rows and columns; what this class does suits images, which only networks look at.

    Args:
        spec: Its ``FeatureDescription``.

    Attributes:
        size: How many numbers a row holds where the description fixes it, else 1.
    """

    def __init__(self, spec: Message) -> None:
        self.feature = feature(spec)
        self.name = self.feature.name
        self.kind = str(spec.type.WhichOneof("Type"))
        self.size = math.prod(getattr(self.feature, "shape", ()))

    def read(self, values: list[Any]) -> Array:
        """The column of what the caller gave for each row.

        Raises:
            InputError: A value has another type, shape or range than the description says.
        """
        return objects(values)

    def cast(self, column: Array) -> Array:
        """A column that a model computed, in the declared type.

        Raises:
            ExecutionError: A number that is no integer where one is declared, or another number of elements.
        """
        return column

    def rows(self, column: Array) -> list[Any]:
        """What the caller receives, row by row."""
        return list(column)

    def wrong(self, value: Any) -> InputTypeError:
        """An error about a value that the caller gave."""
        return InputTypeError(
            f"input '{self.name}' has another type",
            expected=self.feature.describe(),
            actual=f"{type(value).__name__} {str(value)[:80]}",
        )


class _Numbers(Slot):
    def read(self, values: list[Any]) -> Array:
        try:
            column = np.asarray(values)
        except (ValueError, TypeError) as error:
            raise self.wrong(values[0]) from error
        if column.dtype.kind not in "fiub" or column.size != len(values):
            raise self.wrong(next((v for v in values if np.size(v) != 1 or isinstance(v, str)), values[0]))
        return self._typed(column.reshape(-1))

    def _typed(self, column: Array) -> Array:
        return column.astype(np.float64, copy=False)

    def cast(self, column: Array) -> Array:
        return self._scalars(column).astype(np.float64, copy=False)

    def _scalars(self, column: Array) -> Array:
        if column.dtype.kind == "O" or column.size != len(column):
            raise ExecutionError(
                f"'{self.name}' is one number, and the model computes another",
                expected=1,
                actual=list(column.shape[1:]),
            )
        return column.reshape(-1)

    def rows(self, column: Array) -> list[Any]:
        numbers: list[Any] = column.tolist()
        return numbers


class _Integers(_Numbers):
    def _typed(self, column: Array) -> Array:
        return whole(column, f"input '{self.name}'")

    def cast(self, column: Array) -> Array:
        return whole(self._scalars(column), f"output '{self.name}'", ExecutionError)


class _Strings(Slot):
    def read(self, values: list[Any]) -> Array:
        for value in values:
            if not isinstance(value, str):
                raise self.wrong(value)
        return objects([str(value) for value in values])

    def rows(self, column: Array) -> list[Any]:
        texts: list[Any] = column.tolist()
        return texts


class _Dictionaries(Slot):
    def __init__(self, spec: Message) -> None:
        super().__init__(spec)
        self._integers = spec.type.dictionaryType.WhichOneof("KeyType") == "int64KeyType"

    def read(self, values: list[Any]) -> Array:
        return objects([self._dictionary(value) for value in values])

    def _dictionary(self, value: Any) -> dict[int | str, float]:
        if not isinstance(value, Mapping):
            raise self.wrong(value)
        try:
            return {self._key(key): float(number) for key, number in value.items()}
        except (TypeError, ValueError) as error:
            raise self.wrong(value) from error

    def _key(self, key: Any) -> int | str:
        fits = isinstance(key, int | np.integer) if self._integers else isinstance(key, str)
        if not fits:
            raise self.wrong(key)
        return int(key) if self._integers else str(key)


class _Sequences(Slot):
    def __init__(self, spec: Message) -> None:
        super().__init__(spec)
        self._integers = spec.type.sequenceType.WhichOneof("Type") == "int64Type"

    def read(self, values: list[Any]) -> Array:
        return objects([self._sequence(value) for value in values])

    def _sequence(self, value: Any) -> list[int | str]:
        if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
            raise self.wrong(value)
        kind: Any = int | np.integer if self._integers else str
        elements = list(value)
        if not all(isinstance(element, kind) for element in elements):
            raise self.wrong(value)
        return [int(element) if self._integers else str(element) for element in elements]


class _Arrays(Slot):
    def __init__(self, spec: Message) -> None:
        super().__init__(spec)
        assert isinstance(self.feature, ArrayFeature)
        self._array = self.feature

    def read(self, values: list[Any]) -> Array:
        """Arrays of one shape and type are checked together."""
        first = values[0]
        if isinstance(first, np.ndarray) and all(_alike(value, first) for value in values):
            return self._fit(self._convert(np.stack(values) if len(values) > 1 else first[None]))
        arrays: list[Array] = [self._fit(self._convert(value)[None])[0] for value in values]
        return np.stack(arrays) if len({array.shape for array in arrays}) == 1 else objects(arrays)

    def _convert(self, value: Any) -> Array:
        dtype = self._array.dtype
        return np.asarray(value) if dtype is None else convert_array(self._array, value, dtype)

    def _fit(self, column: Array) -> Array:
        """Checked arrays, without the batches of one that frameworks put before the declared shape."""
        shape = self._array.shape
        more = column.ndim - 1 - len(shape)
        if shape and more > 0 and set(column.shape[1 : 1 + more]) == {1}:
            column = column.reshape(len(column), *column.shape[1 + more :])
        self._array.check_shape(column.shape[1:])
        return column

    def cast(self, column: Array) -> Array:
        if column.dtype.kind == "O":
            return objects([self._element(np.asarray(array)) for array in column])
        return self._shaped(self._element(column))

    def _element(self, array: Array) -> Array:
        if array.dtype.kind not in "fiub":
            raise ExecutionError(f"'{self.name}' is an array, and the model computes something else")
        dtype = self._array.dtype
        if dtype is None:
            return array
        if dtype.is_integer and array.dtype.kind == "f":
            array = whole(array, f"output '{self.name}'", ExecutionError)
        return array.astype(dtype.numpy, copy=False)

    def _shaped(self, column: Array) -> Array:
        shape = self._array.shape
        if column.shape[1:] == shape or column.size != len(column) * self.size:
            return column if column.ndim > 1 else column[:, None]
        return column.reshape(len(column), *shape)


def _alike(value: Any, first: Array) -> bool:
    return isinstance(value, np.ndarray) and value.shape == first.shape and value.dtype == first.dtype


_SLOTS: Mapping[str, type[Slot]] = {
    "dictionaryType": _Dictionaries,
    "doubleType": _Numbers,
    "imageType": Slot,
    "int64Type": _Integers,
    "multiArrayType": _Arrays,
    "sequenceType": _Sequences,
    "stringType": _Strings,
}


def make_slot(spec: Message) -> Slot:
    """The right kind of slot for a ``FeatureDescription``.

    Raises:
        UnsupportedError: No input or output has its type.
    """
    return _SLOTS.get(str(spec.type.WhichOneof("Type")), Slot)(spec)


def whole(column: Array, name: str, error: type[InputError | ExecutionError] = InputTypeError) -> Array:
    """Numbers as int64.

    Raises:
        error: One of them is no integer, or out of range.
    """
    if column.dtype.kind == "f":
        wrong = column[~(np.abs(column) < 2.0**63) | (np.trunc(column) != column)]
        if wrong.size:
            raise error(f"{name} takes integers", expected="int64", actual=wrong.reshape(-1)[0])
    return column.astype(np.int64)
