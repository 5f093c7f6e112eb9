"""Layers that a model leaves to the application.

Such a layer names a class. Whoever has it registers it before the model runs::

    @register_custom_layer("Swish")
    class Swish:
        def __init__(self, parameters, weights):
            self.beta = parameters["beta"]

        def output_shapes(self, shapes):
            return shapes

        def evaluate(self, inputs):
            (x,) = inputs
            return [x / (1 + numpy.exp(-self.beta * x))]
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from gristmill.errors import ExecutionError, UnsupportedError
from gristmill.ir import dims, signature
from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.signature import Const, Variadic
from gristmill.ir.types import TensorType, Type, fp16, fp32, unit_float
from gristmill.ops.sizes import sized


class CustomLayer(Protocol):
    """What a custom layer's class offers, after Core ML's ``MLCustomLayer``."""

    def __init__(self, parameters: Mapping[str, Any], weights: Sequence[Array]) -> None:
        """One object for each layer of a model.

        Args:
            parameters: Of the layer, by name: numbers, truth values, strings.
            weights: Its weights, float32, each in one row.
        """

    def output_shapes(self, shapes: Sequence[tuple[int | None, ...]]) -> Sequence[tuple[int | None, ...]]:
        """Shapes of the outputs for shapes of the inputs; sizes that are not known are ``None``."""

    def evaluate(self, inputs: Sequence[Array]) -> Sequence[Array]:
        """The outputs for inputs in the type of the compute unit: float32 on the CPU."""


Cls = TypeVar("Cls", bound=type)

_classes: dict[str, Any] = {}


def register_custom_layer(class_name: str) -> Callable[[Cls], Cls]:
    """Gives the class that models call ``class_name``; a decorator. A later one takes the place of an earlier one."""

    def register(cls: Cls) -> Cls:
        _classes[class_name] = cls
        return cls

    return register


def is_registered(class_name: str) -> bool:
    """Whether the class of a custom layer is known."""
    return class_name in _classes


class nn_custom(Op):
    """A layer of a registered class.

    ``parameters`` are JSON, ``weights`` rows of numbers.
    """

    T = signature.TypeVar(fp16, fp32)
    W = signature.TypeVar(fp16, fp32)

    x = Variadic(T, optional=True)
    class_name = Const(str)
    parameters = Const(str, default="{}")
    weights = Variadic(W, optional=True)
    dialect = "nn"

    _made: CustomLayer | None = None

    @property
    def layer(self) -> CustomLayer:
        """The object of the registered class.

        Raises:
            UnsupportedError: The class is not registered.
        """
        if self._made is None:
            if self.class_name not in _classes:
                raise UnsupportedError(
                    f"the custom layer's class '{self.class_name}' is not known",
                    op=self.title,
                    location=self.location,
                    hint=f"register it: @register_custom_layer({self.class_name!r})",
                )
            weights = [w.constant.numpy().astype(np.float32) for w in self.weights if w.constant is not None]
            self._made = _classes[self.class_name](json.loads(self.parameters), weights)
        assert self._made is not None
        return self._made

    def infer(self) -> Sequence[Type]:
        given = [tuple(n if isinstance(n, int) else None for n in value.shape) for value in self.x]
        dtype = self.x[0].dtype if self.x else unit_float
        return [
            TensorType(dtype, sized(dims.unknown() if n is None else int(n) for n in shape))
            for shape in self.layer.output_shapes(given)
        ]

    def reference(self, x: Sequence[Array]) -> Array | list[Array]:
        dtype = np.float32 if not self.x else self.x[0].dtype.numpy
        found = [np.asarray(array) for array in self.layer.evaluate([array.astype(dtype) for array in x])]
        if len(found) != len(self.results):
            raise ExecutionError(
                "the custom layer gave another number of outputs",
                op=self.title,
                expected=len(self.results),
                actual=len(found),
            )
        wide = [array.astype(np.float64) for array in found]
        return wide[0] if len(wide) == 1 else wide


OPS = (nn_custom,)
