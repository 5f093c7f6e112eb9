"""A batch as columns: how what the caller gives becomes what a classic model computes with, and back.

A column holds one feature of all rows: an array whose first dimension is the batch. Strings, dictionaries, sequences,
images, and arrays whose shapes differ from row to row, are object arrays of rank 1.
"""

from __future__ import annotations

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
    """One input or output, between rows and columns.

    Args:
        spec: Its ``FeatureDescription``.
    """

    def __init__(self, spec: Message) -> None:
        self.feature = feature(spec)
        self.name = self.feature.name
        self.kind = str(spec.type.WhichOneof("Type"))
        self.integer_keys = spec.type.dictionaryType.WhichOneof("KeyType") == "int64KeyType"
        self.integer_elements = spec.type.sequenceType.WhichOneof("Type") == "int64Type"

    # -- from the caller ---------------------------------------------------------------------------------------------

    def read(self, values: list[Any]) -> Array:
        """The column of what the caller gave for each row.

        Raises:
            InputError: A value has another type, shape or range than the description says.
        """
        match self.kind:
            case "doubleType" | "int64Type":
                return self._numbers(values)
            case "stringType":
                return objects([self._string(value) for value in values])
            case "dictionaryType":
                return objects([self._dictionary(value) for value in values])
            case "sequenceType":
                return objects([self._sequence(value) for value in values])
            case "multiArrayType":
                return self._arrays(values)
            case _:  # images are for networks, which look at them themselves
                return objects(values)

    def _wrong(self, value: Any) -> InputTypeError:
        return InputTypeError(
            f"input '{self.name}' has another type",
            expected=self.feature.describe(),
            actual=f"{type(value).__name__} {str(value)[:80]}",
        )

    def _numbers(self, values: list[Any]) -> Array:
        try:
            column = np.asarray(values)
        except (ValueError, TypeError) as error:
            raise self._wrong(values[0]) from error
        if column.dtype.kind not in "fiub" or column.size != len(values):
            raise self._wrong(next((v for v in values if np.size(v) != 1 or isinstance(v, str)), values[0]))
        column = column.reshape(-1)
        return column.astype(np.float64) if self.kind == "doubleType" else whole(column, f"input '{self.name}'")

    def _string(self, value: Any) -> str:
        if not isinstance(value, str):
            raise self._wrong(value)
        return str(value)

    def _dictionary(self, value: Any) -> dict[int | str, float]:
        if not isinstance(value, Mapping):
            raise self._wrong(value)
        try:
            return {self._key(key): float(number) for key, number in value.items()}
        except (TypeError, ValueError) as error:
            raise self._wrong(value) from error

    def _key(self, key: Any) -> int | str:
        fits = isinstance(key, int | np.integer) if self.integer_keys else isinstance(key, str)
        if not fits:
            raise self._wrong(key)
        return int(key) if self.integer_keys else str(key)

    def _sequence(self, value: Any) -> list[int | str]:
        if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
            raise self._wrong(value)
        kind: Any = int | np.integer if self.integer_elements else str
        elements = list(value)
        if not all(isinstance(element, kind) for element in elements):
            raise self._wrong(value)
        return [int(element) if self.integer_elements else str(element) for element in elements]

    def _arrays(self, values: list[Any]) -> Array:
        """Arrays of one shape and type are checked together."""
        alike = len({(value.shape, value.dtype) if isinstance(value, np.ndarray) else None for value in values}) == 1
        if alike and len(values) > 1 and isinstance(values[0], np.ndarray):
            return self._fit(self._convert(np.stack(values)))
        arrays: list[Array] = [self._fit(self._convert(value)[None])[0] for value in values]
        if len(arrays) == 1:
            return arrays[0][None]
        return np.stack(arrays) if len({array.shape for array in arrays}) == 1 else objects(arrays)

    def _convert(self, value: Any) -> Array:
        assert isinstance(self.feature, ArrayFeature)
        if self.feature.dtype is None:
            return np.asarray(value)
        return convert_array(self.name, value, self.feature.dtype, self.feature.describe())

    def _fit(self, column: Array) -> Array:
        """Checked arrays, without the batches of one that frameworks put before the declared shape."""
        assert isinstance(self.feature, ArrayFeature)
        more = column.ndim - 1 - len(self.feature.shape)
        if self.feature.shape and more > 0 and set(column.shape[1 : 1 + more]) == {1}:
            column = column.reshape(len(column), *column.shape[1 + more :])
        self.feature.check_shape(column.shape[1:])
        return column

    # -- from the model ----------------------------------------------------------------------------------------------

    def cast(self, column: Array) -> Array:
        """A column that a model computed, in the declared type.

        Raises:
            ExecutionError: A number that is no integer where one is declared, or another number of elements.
        """
        match self.kind:
            case "doubleType":
                return self._scalars(column).astype(np.float64)
            case "int64Type":
                return whole(self._scalars(column), f"output '{self.name}'", ExecutionError)
            case "multiArrayType" if column.dtype == object:
                return objects([self._element(np.asarray(array)) for array in column])
            case "multiArrayType":
                return self._shaped(self._element(column))
            case _:
                return column

    def _scalars(self, column: Array) -> Array:
        if column.dtype == object or column.size != len(column):
            raise ExecutionError(
                f"'{self.name}' is one number, and the model computes another",
                expected=1,
                actual=list(column.shape[1:]),
            )
        return column.reshape(-1)

    def _element(self, array: Array) -> Array:
        assert isinstance(self.feature, ArrayFeature)
        if array.dtype.kind not in "fiub":
            raise ExecutionError(f"'{self.name}' is an array, and the model computes something else")
        dtype = self.feature.dtype
        if dtype is None:
            return array
        if dtype.is_integer and array.dtype.kind == "f":
            array = whole(array, f"output '{self.name}'", ExecutionError)
        return array.astype(dtype.numpy, copy=False)

    def _shaped(self, column: Array) -> Array:
        assert isinstance(self.feature, ArrayFeature)
        shape = self.feature.shape
        if column.shape[1:] == shape or column.size != len(column) * int(np.prod(shape, dtype=object)):
            return column if column.ndim > 1 else column[:, None]
        return column.reshape(len(column), *shape)

    def rows(self, column: Array) -> list[Any]:
        """What the caller receives, row by row."""
        return column.tolist() if self.kind in ("doubleType", "int64Type", "stringType") else list(column)


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
