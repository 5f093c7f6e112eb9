"""What all models have in common that are no networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from gristmill.errors import FormatError, InputError, InputTypeError
from gristmill.ir.constants import Array
from gristmill.models.classic.columns import Columns, Slot, make_slot, objects
from gristmill.models.features import known_names
from gristmill.package.proto import Message

LARGEST = 1 << 28
"""Elements of the largest array that a model's parameters may ask for: files are hostile until checked."""


class ClassicModel(ABC):
    """A model that computes whole batches.

    Args:
        model: The ``Model`` message.

    Raises:
        FormatError: Its parameters do not fit together.
        UnsupportedError: It cannot run here.
    """

    def __init__(self, model: Message) -> None:
        self.kind = str(model.WhichOneof("Type"))
        self.inputs = [make_slot(spec) for spec in model.description.input]
        self.outputs = [make_slot(spec) for spec in model.description.output]
        self._names = frozenset(slot.name for slot in self.inputs)
        self._doubles = [slot.name for slot in self.inputs if slot.kind == "doubleType"]
        self._pick = itemgetter(*self._doubles) if len(self._doubles) > 1 else None
        self._predicted = str(model.description.predictedFeatureName)
        self._probabilities = str(model.description.predictedProbabilitiesName)

    @abstractmethod
    def compute(self, columns: Columns) -> Columns:
        """The outputs for a batch, by name."""

    def takes_gaps(self, name: str) -> bool:
        """Whether an input that is missing is to the model what not-a-number is, so that a column may have gaps."""
        return False

    def __call__(self, columns: Columns) -> Columns:
        """The declared outputs for a batch, in their declared types.

        Raises:
            InputError: An input does not fit the model.
            ExecutionError: The model gives no result for it.
        """
        results = self.compute(columns)
        for slot in self.outputs:
            if slot.name not in results:
                raise self.malformed(f"nothing computes the output '{slot.name}'", expected=", ".join(results))
        return {slot.name: slot.cast(results[slot.name]) for slot in self.outputs}

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The outputs of each row.

        Rows are computed together where they hold the same inputs in the same shapes; where the model takes gaps, also
        where some lack an input.

        Raises:
            InputError: An input is missing, unknown, or of a shape or type that the model does not allow.
            ExecutionError: The model gives no result for a row.
        """
        if not rows:
            return []
        columns = self._read(rows)
        if columns is None:
            return self._predict_apart(rows)
        with np.errstate(all="ignore"):  # overflow gives infinity, as anywhere in IEEE arithmetic
            results = self(columns)
        if not columns:  # without any input all rows are one
            results = {name: np.repeat(column, len(rows), axis=0) for name, column in results.items()}
        found = [(slot.name, slot.rows(results[slot.name])) for slot in self.outputs]
        return [{name: values[number] for name, values in found} for number in range(len(rows))]

    def _predict_apart(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Predicts rows in groups that can be computed together."""
        groups: dict[Any, list[int]] = {}
        for number, row in enumerate(rows):
            groups.setdefault(tuple(self._form(slot, row.get(slot.name)) for slot in self.inputs), []).append(number)
        results: list[dict[str, Any]] = [{}] * len(rows)
        for numbers in groups.values():
            for number, result in zip(numbers, self.predict([rows[number] for number in numbers]), strict=True):
                results[number] = result
        return results

    def _form(self, slot: Slot, value: Any) -> Any:
        """What values have in common that make a column without gaps: they are all missing, or of one shape."""
        if value is None:
            return None
        return np.shape(value) if slot.kind == "multiArrayType" else ()

    def _read(self, rows: Sequence[Mapping[str, Any]]) -> Columns | None:
        """The rows as columns; nothing where they cannot be computed together."""
        whole = True
        for row in rows:
            if not isinstance(row, Mapping):
                raise InputTypeError("inputs are a dictionary by name, or a list of them", actual=type(row).__name__)
            if row.keys() != self._names:
                known_names(row, [slot.feature for slot in self.inputs])
                whole = False
        columns = self._read_numbers(rows) if whole else {}
        together = True
        for slot in self.inputs:
            if slot.name in columns:
                continue
            values = [row.get(slot.name) for row in rows]
            known = [value for value in values if value is not None]
            if len(known) < len(values) and not slot.feature.optional:
                raise InputError(f"input '{slot.name}' is missing", expected=slot.feature.describe())
            if not known:
                continue
            column = slot.read(known)
            if len(known) < len(values):
                gaps = self.takes_gaps(slot.name) and column.dtype.kind in "fiub" and column[0].size == slot.size
                if gaps:
                    column = _spread(column, [value is not None for value in values])
                together = together and gaps
            together = together and not (slot.kind == "multiArrayType" and column.dtype.kind == "O")
            columns[slot.name] = column
        return columns if together else None

    def _read_numbers(self, rows: Sequence[Mapping[str, Any]]) -> Columns:
        """The columns of all single numbers, converted at once; none where a row holds something else."""
        if self._pick is None:
            return {}
        try:
            table = np.array([self._pick(row) for row in rows])
        except (TypeError, ValueError):
            return {}
        if table.ndim != 2 or table.dtype.kind not in "fiub":
            return {}
        return dict(zip(self._doubles, table.astype(np.float64, copy=False).T, strict=True))

    # -- for the families --------------------------------------------------------------------------------------------

    def malformed(self, message: str, **facts: Any) -> FormatError:
        """An error about the model's parameters."""
        return FormatError(message, op=self.kind, **facts)

    def expect(self, name: str, *kinds: str) -> None:
        """Raises FormatError where the input of a name is described with another type than these."""
        for slot in self.inputs:
            if slot.name == name and slot.kind not in kinds:
                raise self.malformed(f"input '{name}' has another type", expected=" or ".join(kinds), actual=slot.kind)

    def only(self, slots: Sequence[Slot], what: str) -> Slot:
        """The one input or output of a model that has one.

        Raises:
            FormatError: There is none, or there are more.
        """
        if len(slots) != 1:
            raise self.malformed(f"such a model has one {what}", actual=len(slots))
        return slots[0]

    def column(self, columns: Columns, name: str) -> Array:
        """An input by name.

        Raises:
            InputError: It is missing.
        """
        if name not in columns:
            raise InputError(f"input '{name}' is missing", expected="a value, which this model needs")
        return columns[name]

    def matrix(self, columns: Columns, width: int | None = None) -> Array:
        """All numbers of all inputs, row by row, in float64; NaN where an optional input is missing.

        Args:
            columns: The inputs.
            width: How many numbers a row has to have.

        Raises:
            InputError: An input is no number or array, or rows have another width.
        """
        size = next((len(column) for column in columns.values()), 1)
        parts = [self._numbers(slot, columns.get(slot.name), size) for slot in self.inputs]
        x = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1) if parts else np.empty((size, 0))
        if width is not None and x.shape[1] != width:
            raise InputError("the inputs have another number of features", expected=width, actual=x.shape[1])
        return x

    def _numbers(self, slot: Slot, column: Array | None, rows: int) -> Array:
        if column is None:
            if slot.size > LARGEST:
                raise self.malformed(f"input '{slot.name}' is too large", actual=slot.size)
            return np.full((rows, max(1, slot.size)), np.nan)
        if column.dtype.kind not in "fiub":
            raise InputTypeError(f"input '{slot.name}' is no number", expected="numbers", actual=slot.kind)
        return column.reshape(rows, -1).astype(np.float64, copy=False)

    def vector(self, values: Any, length: int | None = None, what: str = "values") -> Array:
        """A repeated field as a float64 array.

        Raises:
            FormatError: It has another length.
        """
        array = np.asarray(list(values), np.float64)
        if length is not None and array.size != length:
            raise self.malformed(f"another number of {what}", expected=length, actual=array.size)
        return array


def _spread(column: Array, there: list[bool]) -> Array:
    """A column of numbers with not-a-number in the rows that are not there."""
    result = np.full((len(there), *column.shape[1:]), np.nan)
    result[there] = column
    return result


class Regressor(ClassicModel):
    """A model with one predicted number, or array of numbers."""

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        self._target = self._predicted or self.only(self.outputs, "output").name

    def takes_gaps(self, name: str) -> bool:
        return True

    @abstractmethod
    def values(self, x: Array) -> Array:
        """Predictions ``[rows, results]`` for features ``[rows, features]``."""

    def compute(self, columns: Columns) -> Columns:
        return {self._target: self.values(self.matrix(columns))}


class Classifier(ClassicModel):
    """A model with a predicted label, and a probability of each label."""

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        self.labels = class_labels(self, getattr(model, self.kind))
        texts = isinstance(self.labels[0], str)
        self._label_column = objects(self.labels) if texts else np.asarray(self.labels, np.int64)

    def takes_gaps(self, name: str) -> bool:
        return True

    @abstractmethod
    def probabilities(self, x: Array) -> tuple[Array, Array]:
        """Probabilities ``[rows, labels]`` for features ``[rows, features]``, and the predicted labels' places."""

    def compute(self, columns: Columns) -> Columns:
        probabilities, places = self.probabilities(self.matrix(columns))
        results = {self._predicted: self._label_column[places]}
        if self._probabilities:
            rows = probabilities.tolist()
            results[self._probabilities] = objects([dict(zip(self.labels, row, strict=True)) for row in rows])
        return results

    def of_two(self, second: Array) -> tuple[Array, Array]:
        """As ``probabilities``, of two labels, when ``second`` is the probability of the second one.

        One half goes to the second label: coremltools moves scikit-learn's ties, which go to the first, below it.
        """
        return np.stack([1 - second, second], axis=1), (second >= 0.5).astype(np.intp)


def class_labels(model: ClassicModel, parameters: Message) -> list[int] | list[str]:
    """A classifier's labels in order.

    Raises:
        FormatError: It has none, or one of them twice.
    """
    kind = parameters.WhichOneof("ClassLabels")
    labels = list(getattr(parameters, kind).vector) if kind else []
    if not labels:
        raise model.malformed("a classifier has labels", expected="stringClassLabels or int64ClassLabels")
    if len(set(labels)) != len(labels):
        raise model.malformed("two classes have one label")
    return labels
