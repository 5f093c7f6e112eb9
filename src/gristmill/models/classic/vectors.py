"""Making arrays of features, and taking them apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.errors import InputError
from gristmill.ir.constants import Array
from gristmill.models.classic.base import LARGEST, ClassicModel
from gristmill.models.classic.columns import Columns, objects
from gristmill.models.classic.transforms import Transformer
from gristmill.package.proto import Message


class FeatureVectorizer(ClassicModel):
    """All inputs one after the other in one array. Dictionaries hold numbers by place; what they lack is zero."""

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        self.columns = [(c.inputColumn, int(c.inputDimensions)) for c in model.featureVectorizer.inputList]
        names = {slot.name for slot in self.inputs}
        for name, width in self.columns:
            if name not in names:
                raise self.malformed("there is no such input", expected=", ".join(names), actual=name)
            if width > LARGEST:
                raise self.malformed("a feature is too wide", actual=width)
        self.target = self.only(self.outputs, "output")

    def takes_gaps(self, name: str) -> bool:
        return True

    def compute(self, columns: Columns) -> Columns:
        rows = next((len(column) for column in columns.values()), 1)
        parts = [self._part(columns.get(name), name, width, rows) for name, width in self.columns]
        return {self.target.name: np.concatenate(parts, axis=1) if parts else np.zeros((rows, 0))}

    def _part(self, column: Array | None, name: str, width: int, rows: int) -> Array:
        if column is None:
            return np.full((rows, width), np.nan)
        if column.dtype == object and all(isinstance(value, dict) for value in column):
            return place(column, {key: key for row in column for key in row}, width, name)
        if column.dtype.kind not in "fiub":
            raise InputError(f"input '{name}' is no number, array or dictionary")
        part = column.reshape(rows, -1)
        if part.shape[1] != width:
            raise InputError(f"input '{name}' has another size", expected=width, actual=part.shape[1])
        return part


class DictVectorizer(Transformer):
    """A dictionary's numbers in an array, each in its key's place; what it lacks is zero.

    Keys without a place are left out. Apple's text says that there must be none; coremltools' tests on Apple's systems
    say that they are ignored, as scikit-learn's are.
    """

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        kind = self.parameters.WhichOneof("Map")
        keys = list(getattr(self.parameters, kind).vector) if kind else []
        self.places: dict[Any, Any] = {key: number for number, key in enumerate(keys)}
        if len(self.places) != len(keys):
            raise self.malformed("a key stands in two places")

    def transform(self, column: Array) -> Array:
        if not all(isinstance(value, dict) for value in column):
            raise InputError(f"input '{self.source.name}' is no dictionary")
        known = [{key: number for key, number in row.items() if key in self.places} for row in column]
        return place(objects(known), self.places, len(self.places), self.source.name)


def place(column: Array, places: dict[Any, Any], width: int, name: str) -> Array:
    """Dictionaries as rows of an array.

    Args:
        column: A dictionary for each row.
        places: Where in the row a key's number goes.
        width: Of the rows.
        name: Of the input, for errors.

    Raises:
        InputError: A key has no place.
    """
    result = np.zeros((len(column), width))
    for row, dictionary in zip(result, column, strict=True):
        for key, number in dictionary.items():
            at = places.get(key)
            if not isinstance(at, int) or not 0 <= at < width:
                raise InputError(f"input '{name}' holds a key that has no place in {width} elements", actual=key)
            row[at] = number
    return result


class ArrayFeatureExtractor(Transformer):
    """Elements of an array, by their places in row-major order."""

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        self.indices = np.array(list(self.parameters.extractIndex), np.uint64)
        if not self.indices.size or self.indices.max() > LARGEST:
            raise self.malformed("indices are missing or too high")

    def transform(self, column: Array) -> Array:
        x = column.reshape(len(column), -1)
        if int(self.indices.max()) >= x.shape[1]:
            raise InputError(
                "an element is not in the array", expected=f"less than {x.shape[1]}", actual=int(self.indices.max())
            )
        return x[:, self.indices.astype(np.intp)]
