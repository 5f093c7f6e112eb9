"""Transformers of one feature: scaling, filling gaps, encoding."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from gristmill.errors import InputError
from gristmill.ir.constants import Array
from gristmill.models.classic.base import ClassicModel
from gristmill.models.classic.columns import Columns, objects
from gristmill.package.proto import Message


class Transformer(ClassicModel):
    """A model with one input and one output."""

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        self.parameters = getattr(model, self.kind)
        self.source, self.target = self.only(self.inputs, "input"), self.only(self.outputs, "output")

    def compute(self, columns: Columns) -> Columns:
        return {self.target.name: self.transform(self.column(columns, self.source.name))}

    @abstractmethod
    def transform(self, column: Array) -> Array:
        """The output for an input."""

    def numbers(self, column: Array) -> Array:
        """A column of numbers as a float64 matrix.

        Raises:
            InputError: It holds something else.
        """
        if column.dtype.kind not in "fiub":
            raise InputError(f"input '{self.source.name}' is no number or array", actual=self.source.kind)
        return column.reshape(len(column), -1).astype(np.float64)


class Identity(ClassicModel):
    """The inputs as they are: outputs of the same names, or in the same order."""

    def compute(self, columns: Columns) -> Columns:
        sources = {target.name: source.name for source, target in zip(self.inputs, self.outputs, strict=False)}
        sources |= {target.name: target.name for target in self.outputs if target.name in columns}
        return {target: columns[source] for target, source in sources.items() if source in columns}


class Scaler(Transformer):
    """``scale · (x + shift)``, each one number or one for each element."""

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        self.shift = self.vector(self.parameters.shiftValue)
        self.scale = self.vector(self.parameters.scaleValue)

    def transform(self, column: Array) -> Array:
        x = self.numbers(column)
        shift, scale = (self._fit(v, x.shape[1], default) for v, default in ((self.shift, 0.0), (self.scale, 1.0)))
        return ((x + shift) * scale).reshape(column.shape)

    def _fit(self, values: Array, width: int, default: float) -> Array:
        if values.size not in (0, 1, width):
            raise InputError("another number of features than scales or shifts", expected=values.size, actual=width)
        return values if values.size else np.array([default])


class Normalizer(Transformer):
    """Each row divided by its largest element (LMax), the sum of magnitudes (L1) or its length (L2); zeros stay."""

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        if self.parameters.normType not in range(3):
            raise self.malformed("an unknown norm", actual=self.parameters.normType)

    def transform(self, column: Array) -> Array:
        x = self.numbers(column)
        match self.parameters.normType:
            case 0:
                norm = x.max(axis=1, keepdims=True, initial=-np.inf)
            case 1:
                norm = np.abs(x).sum(axis=1, keepdims=True)
            case _:
                norm = np.sqrt(np.square(x).sum(axis=1, keepdims=True))
        return (x / np.where(norm == 0, 1, norm)).reshape(column.shape)


class Imputer(Transformer):
    """A value in place of missing ones: those equal to the replaced value, or where none is stated, NaN."""

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        kind = self.parameters.WhichOneof("ImputedValue")
        if kind is None:
            raise self.malformed("there is no value to impute")
        value = getattr(self.parameters, kind)
        self.by_key: dict[Any, float] = {}
        self.value: Any = value
        if kind.endswith("Array"):
            self.value = self.vector(value.vector)
        elif kind.endswith("Dictionary"):
            self.by_key, self.value = dict(value.map), None
        replaced = self.parameters.WhichOneof("ReplaceValue")
        self.replaced = getattr(self.parameters, replaced) if replaced else np.nan

    def compute(self, columns: Columns) -> Columns:
        column = columns.get(self.source.name)
        if column is None:  # an optional input that is missing altogether
            if self.value is None:
                return {self.target.name: objects([dict(self.by_key)])}
            value = np.asarray(self.value)
            if self.source.kind == "multiArrayType":
                value = np.broadcast_to(value, max(self.source.size, value.size))
            return {self.target.name: value[None]}
        return {self.target.name: self.transform(column)}

    def transform(self, column: Array) -> Array:
        if self.source.kind == "dictionaryType":
            return objects(
                [{k: self.by_key.get(k, v) if self._gap(v) else v for k, v in row.items()} for row in column]
            )
        if column.dtype == object:
            return objects([self.value if value == self.replaced else value for value in column])
        x = self.numbers(column)
        if self.value is None or isinstance(self.value, str) or isinstance(self.replaced, str):
            raise self.malformed("the imputed value has another type than the input", actual=self.source.kind)
        value = np.atleast_1d(np.asarray(self.value, np.float64))
        if value.size not in (1, x.shape[1]):
            raise InputError("another number of features than imputed values", expected=value.size, actual=x.shape[1])
        gaps = np.isnan(x) if np.isnan(self.replaced) else x == self.replaced
        return np.where(gaps, value, x).reshape(column.shape)

    def _gap(self, value: float) -> bool:
        return bool(value == self.replaced or (value != value and self.replaced != self.replaced))


class OneHotEncoder(Transformer):
    """A category as an array with a one in its place, or as a dictionary of that place."""

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        self.expect(self.source.name, "int64Type", "stringType", "multiArrayType")
        kind = self.parameters.WhichOneof("CategoryType")
        self.categories: list[Any] = list(getattr(self.parameters, kind).vector) if kind else []
        self.places = {category: place for place, category in enumerate(self.categories)}
        if not self.categories or len(self.places) != len(self.categories):
            raise self.malformed("categories are missing, or one stands there twice")

    def transform(self, column: Array) -> Array:
        values = column.reshape(len(column), -1)
        if values.shape[1] != 1:
            raise InputError(f"input '{self.source.name}' is one category", actual=list(column.shape[1:]))
        places = [self.places.get(value) for value in values[:, 0].tolist()]
        if None in places and not self.parameters.handleUnknown:
            raise InputError(
                f"input '{self.source.name}' is no known category",
                expected=", ".join(map(str, self.categories[:20])),
                actual=values[places.index(None), 0],
            )
        if self.parameters.outputSparse:
            return objects([{} if place is None else {place: 1.0} for place in places])
        result = np.zeros((len(values), len(self.categories)))
        for row, place in zip(result, places, strict=True):
            if place is not None:
                row[place] = 1
        return result


class CategoricalMapping(Transformer):
    """Strings to integers, or integers to strings."""

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        self.expect(self.source.name, "int64Type", "stringType")
        kind = self.parameters.WhichOneof("MappingType")
        if kind is None:
            raise self.malformed("the mapping is missing")
        self.map: dict[Any, Any] = dict(getattr(self.parameters, kind).map)
        self.strings = kind == "int64ToStringMap"
        unknown = self.parameters.WhichOneof("ValueOnUnknown")
        self.unknown = getattr(self.parameters, unknown) if unknown else None
        if self.unknown is not None and isinstance(self.unknown, str) != self.strings:
            raise self.malformed("the value for unknown categories has another type than the others")

    def transform(self, column: Array) -> Array:
        keys = column.reshape(-1).tolist()
        found = [self.map.get(key, self.unknown) for key in keys]
        if None in found:
            raise InputError(
                f"input '{self.source.name}' is no known category",
                expected=", ".join(map(str, list(self.map)[:20])),
                actual=keys[found.index(None)],
            )
        return objects(found) if self.strings else np.asarray(found, np.int64)
