"""What the families of layers share: adding one layer to a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.errors import InputError
from gristmill.package.network_fields import fill
from gristmill.package.proto import Message

Names = str | Sequence[str]
"""A tensor's name, or several."""

IOS_14 = 5
"""The first specification version with what iOS 14 brought."""


class LayerBuilder:
    """A network that layers are added to.

    In all ``add_*`` methods ``name`` is the layer's own; ``input_name`` and ``output_name``, or ``input_names`` and
    ``output_names``, are those of the tensors that it reads and makes. Each returns the layer's message.

    Attributes:
        spec: The ``Model`` message; ``None`` for a network inside a branch or loop.
        nn_spec: The network's message.
        layers: Names of layers, and of losses, in the order in which they came.
        layer_specs: Their messages by name.
    """

    spec: Message | None
    nn_spec: Message
    layers: list[str]
    layer_specs: dict[str, Message]
    _exact: bool
    """Whether arrays keep their shapes instead of getting rank 5."""

    def _add(self, kind: str, name: str, inputs: Names, outputs: Names, /, **fields: Any) -> Message:
        """Adds a layer.

        Args:
            kind: Its type, as the specification calls it.
            name: Its own name.
            inputs: What it reads.
            outputs: What it makes.
            **fields: Its type's fields, as ``network_fields.fill`` takes them.

        Raises:
            InputError: The network has a layer of this name, or a field has no such value.
        """
        if name in self.layer_specs:
            raise InputError("two layers have one name", op=f"{kind} '{name}'", hint="layers are found by their names")
        layer = self.nn_spec.layers.add(name=name, input=as_names(inputs), output=as_names(outputs))
        try:
            fill(layer, {kind: fields})
        except InputError as error:
            del self.nn_spec.layers[-1]
            error.op = f"{kind} '{name}'"
            raise
        self.layers.append(name)
        self.layer_specs[name] = layer
        return layer

    def _needs(self, version: int) -> None:
        """Raises the model's specification version to one that knows what comes."""
        if self.spec is not None:
            self.spec.specificationVersion = max(self.spec.specificationVersion, version)


def as_names(names: Names | None) -> list[str]:
    """A list of names, from one, several or none."""
    if names is None:
        return []
    return [names] if isinstance(names, str) else list(names)


def choice(what: str, value: Any, choices: dict[str, Any], op: str) -> Any:
    """What stands for a name, in either case of letters.

    Raises:
        InputError: The name is none of the choices.
    """
    found = choices.get(str(value).upper())
    if found is None:
        raise InputError(f"unknown {what}", op=op, expected=", ".join(choices), actual=value)
    return found


def require(holds: bool, message: str, **facts: Any) -> None:
    """Raises InputError with a message and facts unless something holds."""
    if not holds:
        raise InputError(message, **facts)
