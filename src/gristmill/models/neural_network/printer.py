"""Printing networks, under coremltools' name."""

from __future__ import annotations

from gristmill.models.neural_network.spec_inspection_utils import describe_feature, describe_layer
from gristmill.package.network_messages import NETWORKS, inner_networks
from gristmill.package.proto import Message

_NETWORK_NAMES = {"branch": ("if", "else"), "loop": ("condition", "body")}


def print_network_spec(mlmodel_spec: Message, interface_only: bool = False, style: str = "") -> None:
    """Prints a model's inputs and outputs, and its network's layers.

    Args:
        mlmodel_spec: A ``Model`` message.
        interface_only: Without the layers.
        style: ``coding``: layers as the lines of a program; else with their parameters.
    """
    description = mlmodel_spec.description
    for title, features in (("inputs", description.input), ("outputs", description.output)):
        print(f"{title}:")
        for feature in features:
            print(f"  {feature.name}: {describe_feature(feature)}")
    if interface_only:
        return
    kind = mlmodel_spec.WhichOneof("Type")
    if kind not in NETWORKS:
        print("the model is no neural network")
        return
    network = getattr(mlmodel_spec, kind)
    if style == "coding":
        print(f"def model({', '.join(feature.name for feature in description.input)}):")
        _print_lines(network, "    ")
        print(f"    return {', '.join(feature.name for feature in description.output)}")
    else:
        print("layers:")
        _print_layers(network, "  ")


def _print_layers(network: Message, indent: str) -> None:
    for place, layer in enumerate(network.layers):
        kind = layer.WhichOneof("layer")
        print(f"{indent}[{place}] {layer.name} ({kind}): {', '.join(layer.input)} -> {', '.join(layer.output)}")
        for name, text in describe_layer(layer):
            print(f"{indent}      {name}: {text}")
        for title, inner in zip(_NETWORK_NAMES.get(kind, ()), inner_networks(layer), strict=True):
            print(f"{indent}      {title}:")
            _print_layers(inner, indent + "        ")


def _print_lines(network: Message, indent: str) -> None:
    for layer in network.layers:
        kind = layer.WhichOneof("layer")
        results = f"{', '.join(layer.output)} = " if layer.output else ""
        print(f"{indent}{results}{kind}({', '.join(layer.input)})")
        for title, inner in zip(_NETWORK_NAMES.get(kind, ()), inner_networks(layer), strict=True):
            if inner.layers:
                print(f"{indent}{title}:")
                _print_lines(inner, indent + "    ")
