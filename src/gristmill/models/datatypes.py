"""Types of the features of classic models, under coremltools' names."""

from __future__ import annotations

from math import prod

import numpy as np

from gristmill.errors import InputError, InputTypeError
from gristmill.package.proto import Message


class _Datatype:
    """A type; equal ones are interchangeable.

    Attributes:
        num_elements: How many numbers a value holds; ``None`` where that varies.
    """

    num_elements: int | None = 1

    def __repr__(self) -> str:
        return type(self).__name__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Datatype) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


class Int64(_Datatype):
    """An integer."""


class Double(_Datatype):
    """A number."""


class String(_Datatype):
    """A text."""


class Array(_Datatype):
    """An array of doubles.

    Args:
        dimensions: Its shape.
    """

    def __init__(self, *dimensions: object) -> None:
        sizes = tuple(int(n) for n in dimensions if isinstance(n, int | np.integer) and n >= 0)
        if not sizes or len(sizes) != len(dimensions):
            raise InputError("an array has dimensions", expected="integers of 0 or more", actual=dimensions)
        self.dimensions = sizes
        self.num_elements = prod(sizes)

    def __repr__(self) -> str:
        return f"Array({{{','.join(map(str, self.dimensions))}}})"


class Dictionary(_Datatype):
    """Numbers by key.

    Args:
        key_type: ``Int64`` or ``String``: an instance, a class, a name, or Python's own type.
    """

    num_elements = None

    def __init__(self, key_type: object = None) -> None:
        key = normalize(key_type)
        if not isinstance(key, Int64 | String):
            raise InputTypeError("keys of a dictionary are integers or texts", actual=key_type)
        self.key_type = key

    def __repr__(self) -> str:
        return f"Dictionary({self.key_type!r})"


_SHORT: dict[object, type[_Datatype]] = {
    int: Int64,
    str: String,
    float: Double,
    Int64: Int64,
    String: String,
    Double: Double,
    "Int64": Int64,
    "String": String,
    "Double": Double,
}


def normalize(kind: object) -> _Datatype:
    """A type from itself, its class, its name, or Python's own type.

    Raises:
        InputTypeError: It is none of these.
    """
    if isinstance(kind, _Datatype):
        return kind
    try:
        return _SHORT[kind]()
    except (KeyError, TypeError) as error:
        raise InputTypeError(
            "this is no type of a feature", expected="Int64, Double, String, Array or Dictionary", actual=kind
        ) from error


def declare(spec: Message, kind: object, array_type: str = "DOUBLE") -> None:
    """Fills a ``FeatureType``.

    Args:
        spec: The message.
        kind: As for ``normalize``.
        array_type: The element type of arrays, by its name in the format.
    """
    match normalize(kind):
        case Int64():
            spec.int64Type.SetInParent()
        case Double():
            spec.doubleType.SetInParent()
        case String():
            spec.stringType.SetInParent()
        case Array() as array:
            spec.multiArrayType.dataType = type(spec.multiArrayType).ArrayDataType.Value(array_type)
            spec.multiArrayType.shape.extend(array.dimensions)
        case Dictionary() as dictionary:
            key = "int64KeyType" if dictionary.key_type == Int64() else "stringKeyType"
            getattr(spec.dictionaryType, key).SetInParent()
