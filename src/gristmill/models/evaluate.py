"""Holding a model's predictions against those of its source, under coremltools' names."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.errors import InputError, InputTypeError
from gristmill.models.model import MLModel

_TOLERANCE = 1e-5
"""As in coremltools: of elements of arrays absolute, of single numbers relative to the sum of both magnitudes."""

Model = MLModel | str | os.PathLike[str]
"""A model, or the path of one."""


def evaluate_regressor(model: Model, data: Any, target: str = "target", verbose: bool = False) -> dict[str, Any]:
    """How far a regressor's predictions lie from a column of the data.

    Args:
        model: The regressor.
        data: A table with the model's inputs as columns, and the source's predictions: a DataFrame of pandas, the path
            of a CSV file, or a list of rows, each a mapping by column.
        target: Name of the predictions, in the table and of the model's output.
        verbose: Print each row.

    Returns:
        ``samples``, ``rmse`` (the square root of the mean squared error) and ``max_error``.

    Raises:
        InputError: There are no rows, or a column or output is missing.
    """
    errors = []
    for row, predicted in _predictions(model, data, target):
        errors.append(float(predicted) - float(row[target]))
        if verbose:
            print(f"expected {row[target]}, predicted {predicted}, difference {errors[-1]:.4g}")
    rmse, largest = float(np.sqrt(np.mean(np.square(errors)))), float(np.max(np.abs(errors)))
    return {"samples": len(errors), "rmse": rmse, "max_error": largest}


def evaluate_classifier(model: Model, data: Any, target: str = "target", verbose: bool = False) -> dict[str, Any]:
    """How many of a classifier's labels differ from a column of the data.

    Args:
        model: The classifier.
        data: As in ``evaluate_regressor``.
        target: Name of the labels, in the table and of the model's output.
        verbose: Print each row.

    Returns:
        ``num_samples`` and ``num_errors``.

    Raises:
        InputError: There are no rows, or a column or output is missing.
    """
    differ = []
    for row, predicted in _predictions(model, data, target):
        differ.append(predicted != row[target])
        if verbose:
            print(f"expected {row[target]}, predicted {predicted}")
    return {"num_samples": len(differ), "num_errors": sum(differ)}


def evaluate_classifier_with_probabilities(
    model: Model, data: Any, probabilities: str = "probabilities", verbose: bool = False
) -> dict[str, Any]:
    """How far a classifier's probabilities lie from a column of the data.

    Args:
        model: The classifier.
        data: As in ``evaluate_regressor``; the column holds dictionaries of probabilities by label.
        probabilities: Name of the probabilities, in the table and of the model's output.
        verbose: Print each row.

    Returns:
        ``num_samples``, ``max_probability_error`` and ``num_key_mismatch``, the number of rows with other labels, whose
        probabilities are not compared.

    Raises:
        InputError: There are no rows, or a column or output is missing.
    """
    count, largest, others = 0, 0.0, 0
    for row, predicted in _predictions(model, data, probabilities):
        expected = row[probabilities]
        count += 1
        if verbose:
            print(f"expected {expected}, predicted {predicted}")
        if set(expected) != set(predicted):
            others += 1
            continue
        largest = max(largest, *(abs(predicted[label] - expected[label]) for label in expected))
    return {"num_samples": count, "max_probability_error": largest, "num_key_mismatch": others}


def evaluate_transformer(model: Model, input_data: Any, reference_output: Any, verbose: bool = False) -> dict[str, Any]:
    """How many of a model's results differ from those expected.

    Args:
        model: A model of any type.
        input_data: Inputs by name, one mapping a sample.
        reference_output: Outputs by name that are expected, in the same order; those of other names do not count.
        verbose: Print each sample.

    Returns:
        ``num_samples`` and ``num_errors``.

    Raises:
        InputError: There are not as many expected results as samples.
    """
    samples, references = list(input_data), list(reference_output)
    if len(samples) != len(references):
        raise InputError("as many results as samples", expected=len(samples), actual=len(references))
    loaded, errors = _loaded(model), 0
    for sample, reference in zip(samples, references, strict=True):
        found = loaded.predict({name: _dense(value) for name, value in sample.items()})
        predicted = {name: found[name] for name in reference}
        errors += not _equal(predicted, reference)
        if verbose:
            print(f"input {sample}\n  expected {reference}\n  predicted {predicted}")
    return {"num_samples": len(samples), "num_errors": errors}


def _loaded(model: Model) -> MLModel:
    return model if isinstance(model, MLModel) else MLModel(model)


def _predictions(model: Model, data: Any, output: str) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """Rows, each with what the model predicts as one output."""
    loaded, rows = _loaded(model), list(_rows(data))
    if not rows:
        raise InputError("the data have no rows")
    for row in rows:
        found = loaded.predict({name: row[name] for name in loaded.input_description if name in row})
        for what, where in ((found, "output"), (row, "column")):
            if output not in what:
                raise InputError(f"there is no {where} '{output}'", expected=", ".join(map(str, what)))
        yield row, found[output]


def _rows(data: Any) -> Iterable[Mapping[str, Any]]:
    if hasattr(data, "iterrows"):
        return (dict(row) for _, row in data.iterrows())
    if isinstance(data, str | os.PathLike):
        with Path(data).open(newline="") as file:
            return [{name: _number(text) for name, text in row.items()} for row in csv.DictReader(file)]
    if isinstance(data, Iterable) and not isinstance(data, Mapping):
        return data
    raise InputTypeError("data are a DataFrame, the path of a CSV file, or a list of rows", actual=type(data).__name__)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _dense(value: Any) -> Any:
    """Sparse matrices of SciPy as arrays; all else as it is."""
    return value.toarray() if hasattr(value, "toarray") else value


def _equal(x: Any, y: Any) -> bool:
    """Equal within the tolerance."""
    if isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
        first, second = np.asarray(x), np.asarray(y)
        return first.shape == second.shape and bool(np.all(np.abs(first - second) < _TOLERANCE))
    if isinstance(x, Mapping):
        return isinstance(y, Mapping) and set(x) == set(y) and all(_equal(x[key], y[key]) for key in x)
    if isinstance(x, float):
        return x == y or bool(abs(x - y) < _TOLERANCE * (abs(x) + abs(y)))
    return bool(x == y)
