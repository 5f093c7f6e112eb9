"""What mapping functions share: errors, labels, and access to what an estimator has learnt."""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.errors import InputError, InputTypeError, UnsupportedError
from gristmill.frontends.classic import Label
from gristmill.frontends.sklearn.registry import class_name
from gristmill.ir.constants import Array


class UnsupportedEstimatorError(UnsupportedError, InputError):
    """An estimator, or a parameter of one, that Core ML's models cannot express."""


def unsupported(
    estimator: Any, parameter: str, value: Any, *, expected: object = None, hint: str | None = None
) -> UnsupportedEstimatorError:
    """An error about a parameter of an estimator."""
    name = class_name(estimator)
    return UnsupportedEstimatorError(
        f"{name} with {parameter}={value!r} is not converted",
        op=name,
        expected=expected,
        actual=f"{parameter}={value!r}",
        hint=hint,
    )


def require(estimator: Any, parameter: str, *allowed: Any, hint: str) -> None:
    """Raises UnsupportedEstimatorError where a parameter has none of these values."""
    value = getattr(estimator, parameter)
    if not any(value is one or (type(value) is type(one) and value == one) for one in allowed):
        expected = " or ".join(f"{parameter}={one!r}" for one in allowed)
        raise unsupported(estimator, parameter, value, expected=expected, hint=hint)


def learnt(estimator: Any, attribute: str) -> Any:
    """What an estimator has learnt.

    Raises:
        InputTypeError: It has not been fitted.
    """
    try:
        return getattr(estimator, attribute)
    except AttributeError as error:
        name = class_name(estimator)
        raise InputTypeError(
            f"{name} has not been fitted",
            op=name,
            expected=f"a fitted estimator, which has '{attribute}'",
            hint="call fit before",
        ) from error


def dense(values: Any) -> Array:
    """Numbers in float64, also those of a sparse matrix."""
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, np.float64)


def labels(estimator: Any) -> list[Label]:
    """A classifier's labels: integers or texts.

    Raises:
        UnsupportedEstimatorError: They are neither, or the classifier predicts several at once.
        InputTypeError: It has not been fitted.
    """
    classes = learnt(estimator, "classes_")
    if isinstance(classes, list):
        raise unsupported(estimator, "n_outputs_", len(classes), expected="1", hint="fit a classifier for each output")
    values = np.asarray(classes).tolist()
    if all(isinstance(value, str) for value in values):
        return [str(value) for value in values]
    if all(isinstance(value, bool | int | float) and value == int(value) for value in values):
        return [int(value) for value in values]
    raise unsupported(estimator, "classes_", values[:8], expected="integers or texts", hint="fit with such labels")
