"""Which function maps which estimator of scikit-learn.

Estimators are known by their classes' names, so scikit-learn itself is never imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from gristmill.frontends.classic import Predictor

if TYPE_CHECKING:
    from gristmill.frontends.sklearn.flow import Flow, Table

Predicts: TypeAlias = Callable[[Any], Predictor]
Transforms: TypeAlias = Callable[["Flow", Any, "Table"], "Table"]
P = TypeVar("P", bound=Predicts)
T = TypeVar("T", bound=Transforms)


class Row(NamedTuple):
    """A row of the table in the documentation.

    Attributes:
        becomes: The types of Core ML models.
        exactness: How far results agree with scikit-learn's.
        family: The module of the mapping function.
    """

    becomes: str
    exactness: str
    family: str


_predictors: dict[str, Predicts] = {}
_transformers: dict[str, Transforms] = {}
_preparations: dict[str, Transforms] = {}
_rows: dict[str, Row] = {}


def predicts(*estimators: str, becomes: str, exactness: str) -> Callable[[P], P]:
    """Registers the decorated function, which describes a classifier or regressor; see ``Row`` for the words."""

    def register(function: P) -> P:
        for name in estimators:
            _predictors[name], _rows[name] = function, Row(becomes, exactness, function.__module__)
        return function

    return register


def transforms(*estimators: str, becomes: str, exactness: str) -> Callable[[T], T]:
    """Registers the decorated function, which adds a transformer's models to a flow and gives what it makes."""

    def register(function: T) -> T:
        for name in estimators:
            _transformers[name], _rows[name] = function, Row(becomes, exactness, function.__module__)
        return function

    return register


def prepares(*estimators: str) -> Callable[[T], T]:
    """Registers the decorated function, which adds models that go before a classifier's or regressor's own."""

    def register(function: T) -> T:
        for name in estimators:
            _preparations[name] = function
        return function

    return register


def class_name(estimator: Any) -> str:
    """The name of scikit-learn's class that an object is an instance of, or the full name of another class."""
    cls = type(estimator)
    ours = cls.__module__.partition(".")[0] == "sklearn"
    return cls.__name__ if ours else f"{cls.__module__}.{cls.__qualname__}"


def predictor(estimator: Any) -> Predicts | None:
    """What describes a classifier or regressor; nothing for other objects."""
    return _predictors.get(class_name(estimator))


def transformer(estimator: Any) -> Transforms | None:
    """What maps a transformer; nothing for other objects."""
    return _transformers.get(class_name(estimator))


def preparation(estimator: Any) -> Transforms | None:
    """What adds models before a classifier's or regressor's own; nothing for most."""
    return _preparations.get(class_name(estimator))


def rows() -> Iterator[tuple[str, Row]]:
    """Every estimator, with its row in the documentation."""
    yield from sorted(_rows.items())
