"""Where models have their neural networks, and what is in these."""

from __future__ import annotations

from collections.abc import Iterator

from gristmill.errors import InputError
from gristmill.package.proto import Message

NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")
"""Types of models that are neural networks, whose tensors have no types until a unit runs them."""


def network_of(spec: Message) -> Message:
    """The network of a ``Model`` message.

    Raises:
        InputError: It is a model of another type.
    """
    kind = spec.WhichOneof("Type")
    if kind not in NETWORKS:
        raise InputError("the model is no neural network", expected=", ".join(NETWORKS), actual=kind)
    return getattr(spec, kind)


def inner_networks(layer: Message) -> list[Message]:
    """The networks in a branch or loop."""
    match layer.WhichOneof("layer"):
        case "branch":
            return [layer.branch.ifBranch, layer.branch.elseBranch]
        case "loop":
            return [layer.loop.conditionNetwork, layer.loop.bodyNetwork]
    return []


def all_layers(network: Message) -> Iterator[Message]:
    """Its layers and those in their networks, at any depth."""
    for layer in network.layers:
        yield layer
        for inner in inner_networks(layer):
            yield from all_layers(inner)


def weights_in(message: Message) -> Iterator[Message]:
    """All ``WeightParams`` anywhere in a message."""
    if message.DESCRIPTOR.name == "WeightParams":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for each in [value] if hasattr(value, "ListFields") else value:
                yield from weights_in(each)
