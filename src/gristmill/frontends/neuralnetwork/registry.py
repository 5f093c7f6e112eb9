"""Which function maps which type of layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias, TypeVar

MappingFunction: TypeAlias = Callable[..., Any]
F = TypeVar("F", bound=MappingFunction)


class LayerMapping(NamedTuple):
    """A function that maps a layer to ops.

    It is called with the context, the layer's parameters and its input values, and gives the output values: one, or a
    tuple of them, of which a layer may name fewer.

    Attributes:
        function: The function.
        typed: It takes integers and truth values as they are. Other functions see untyped tensors only, as the
            specification says of all tensors of a network.
        on_planes: Whether a layer of certain parameters does the same whichever axes of size 1 stand before channels,
            height and width, so that they may be left out.
    """

    function: MappingFunction
    typed: bool
    on_planes: Callable[[Any], bool]


_mappings: dict[str, LayerMapping] = {}


def maps(*kinds: str, typed: bool = False, on_planes: bool | Callable[[Any], bool] = False) -> Callable[[F], F]:
    """Registers the decorated function for types of layers, in the specification's words; see ``LayerMapping``."""
    always = bool(on_planes)
    question: Callable[[Any], bool] = on_planes if callable(on_planes) else lambda params: always

    def register(function: F) -> F:
        for kind in kinds:
            if kind in _mappings:
                raise ValueError(f"two mappings of {kind}: {_mappings[kind].function} and {function}")
            _mappings[kind] = LayerMapping(function, typed, question)
        return function

    return register


def find(kind: str) -> LayerMapping | None:
    """The mapping of a type of layer, or ``None``."""
    return _mappings.get(kind)


def kinds() -> Iterator[str]:
    """Every type of layer that has a mapping."""
    yield from sorted(_mappings)
