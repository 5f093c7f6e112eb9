"""A model bound to arrays of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from gristmill.ir.constants import Array


class BoundModel:
    """Runs a model on arrays that stay the same from call to call; see ``MLModel.bind``.

    Args:
        inputs: Arrays to fill before a call, by name.
        outputs: Arrays that a call fills, by name.
        run: Computes the outputs.

    Example::

        bound = model.bind()
        bound.inputs["x"][:] = x
        bound()
        y = bound.outputs["y"]
    """

    __slots__ = ("_run", "inputs", "outputs")

    def __init__(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], run: Callable[[], None]) -> None:
        self.inputs, self.outputs = MappingProxyType(dict(inputs)), MappingProxyType(dict(outputs))
        self._run = run

    def __call__(self) -> None:
        """Computes the outputs from what the inputs hold."""
        self._run()
