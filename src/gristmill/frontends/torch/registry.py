"""Which function lowers which ATen operator.

A lowering is written for an overload (``aten.max.dim``) or for all overloads of an operator (``aten.add``); the former
wins. An operator with a lowering is kept whole when a model is decomposed, any other is taken apart as PyTorch says.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

LoweringFunction: TypeAlias = Callable[..., Any]
F = TypeVar("F", bound=LoweringFunction)


@dataclass(frozen=True)
class Lowering:
    """A function that maps an operator to ops.

    It is called with the context, then the operator's positional arguments in the order of its schema, then those
    keyword arguments that its signature names.

    Attributes:
        function: The function.
        keywords: Names of the keyword arguments that it takes.
    """

    function: LoweringFunction
    keywords: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        parameters = inspect.signature(self.function).parameters
        object.__setattr__(self, "keywords", frozenset(list(parameters)[1:]))

    def takes(self, keyword: str) -> bool:
        """Whether the function takes a keyword argument."""
        return keyword in self.keywords


_lowerings: dict[str, Lowering] = {}
_by_name: dict[str, Lowering] = {}  # written by users for an operator of any namespace


def lowers(*operators: str, override: bool = False) -> Callable[[F], F]:
    """Registers the decorated function for operators, named as PyTorch prints them, with or without the overload.

    Args:
        *operators: Such as ``aten.max.dim`` or ``aten.add``.
        override: Replaces the lowering that there is, instead of refusing a second one.
    """

    def register(function: F) -> F:
        lowering = Lowering(function)
        for operator in operators:
            if operator in _lowerings and not override:
                raise ValueError(f"two lowerings of {operator}: {_lowerings[operator].function} and {function}")
            _lowerings[operator] = lowering
        return function

    return register


def bare(operator: str) -> str:
    """An operator's name without namespace, overload and the underscore of an in-place form."""
    parts = operator.split(".")
    return (parts[1] if len(parts) > 1 else parts[0]).rstrip("_")


def add_by_name(name: str, lowering: Lowering) -> None:
    """Registers a lowering for an operator of any namespace; it goes before all others."""
    _by_name[bare(f".{name}")] = lowering


def known(name: str) -> bool:
    """Whether an operator of this name has a lowering, in PyTorch's own namespace or in any."""
    plain = bare(f".{name}")
    return plain in _by_name or any(bare(operator) == plain for operator in _lowerings if operator.startswith("aten."))


def find(operator: str) -> Lowering | None:
    """The lowering of an operator, given with its overload, or ``None``; an in-place form has that of the other."""
    user = _by_name.get(bare(operator))
    if user is not None:
        return user
    for name in (operator, operator.replace("_.", ".", 1)):
        found = _lowerings.get(name) or _lowerings.get(name.rpartition(".")[0])
        if found is not None:
            return found
    return None


def operators() -> Iterator[str]:
    """Every operator that has a lowering."""
    yield from sorted(_lowerings)
