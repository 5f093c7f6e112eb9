"""What an entry of the zoo is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Architecture:
    """A model to convert.

    Attributes:
        name: Of the entry.
        kind: The heading under which it stands.
        origin: The package that defines it.
        build: Makes the module and its example arguments.
        size: What was made smaller than the published model, for time; empty when nothing was.
        weights: ``random``, or the package that they come from.
        states: Whether buffers that it changes become Core ML states.
        small: Whether it is quick enough to run with the tests.
    """

    name: str
    kind: str
    origin: str
    build: Callable[[], tuple[torch.nn.Module, tuple[Any, ...]]]
    size: str = ""
    weights: str = "random"
    states: bool = False
    small: bool = False


ARCHITECTURES: dict[str, Architecture] = {}


def architecture(
    name: str,
    kind: str,
    origin: str,
    *,
    size: str = "",
    weights: str = "random",
    states: bool = False,
    small: bool = False,
) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Adds an entry whose builder is the decorated function."""

    def add(build: Callable[[], Any]) -> Callable[[], Any]:
        if name in ARCHITECTURES:
            raise ValueError(f"two entries are called {name}")
        ARCHITECTURES[name] = Architecture(name, kind, origin, build, size, weights, states, small)
        return build

    return add


def calling(model: torch.nn.Module, call: Callable[..., Any]) -> torch.nn.Module:
    """A module of positional arguments and tensor results, which ``call(model, *arguments)`` makes of a model."""
    import torch

    class Calling(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *arguments: Any) -> Any:
            return call(self.model, *arguments)

    return Calling()
