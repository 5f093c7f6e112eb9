"""Layers that take in what follows them, before weights are quantised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from gristmill.ir.constants import Array
from gristmill.models.neural_network.layer_weights import parts
from gristmill.package.network_fields import write_floats
from gristmill.package.network_messages import all_layers
from gristmill.package.network_reader import Weights
from gristmill.package.proto import Message

_TAKING = ("convolution", "innerProduct", "batchnorm")
_TAKEN = ("batchnorm", "scale", "bias")


class _Line(NamedTuple):
    """x · factor + shift, by channels; one number stands for all."""

    factor: Array
    shift: Array


def fuse_layers(network: Message, outputs: Collection[str]) -> None:
    """Lets convolutions, inner products and batch normalisations take in scales, biases and batch normalisations.

    A layer is taken in where it alone reads what the other makes, and its numbers are of channels. Quantised weights
    stay as they are.

    Args:
        network: Changed in place. Networks of branches and loops are left alone: others may read what they write.
        outputs: Names of the model's outputs.
    """
    layers, tensors, exact = list(network.layers), _Tensors(network), network.arrayInputShapeMapping == 1
    gone: set[int] = set()
    for k, layer in enumerate(layers):
        if k in gone or layer.WhichOneof("layer") not in _TAKING:
            continue
        while (place := tensors.follower(k, layer, outputs)) is not None:  # it may take in several
            taken = layers[place]
            if taken.WhichOneof("layer") not in _TAKEN or not _take_in(layer, taken, exact):
                break
            layer.output[:] = taken.output
            gone.add(place)
    for place in sorted(gone, reverse=True):
        del network.layers[place]


class _Tensors:
    """How often tensors are read and written, in networks of branches and loops too, and which layers read them."""

    def __init__(self, network: Message) -> None:
        every = list(all_layers(network))
        self._written = Counter(name for layer in every for name in layer.output)
        self._read = Counter(name for layer in every for name in set(layer.input))
        self._readers = {name: (k, layer) for k, layer in enumerate(network.layers) for name in layer.input}

    def follower(self, k: int, layer: Message, outputs: Collection[str]) -> int | None:
        """The place of the layer that alone reads what a layer makes, and reads and makes nothing else."""
        if len(layer.input) != 1 or len(layer.output) != 1 or layer.output[0] in outputs:
            return None
        made = layer.output[0]
        place, reader = self._readers.get(made, (-1, layer))
        if place <= k or self._read[made] != 1 or list(reader.input) != [made] or len(reader.output) != 1:
            return None
        return place if self._written[made] == self._written[reader.output[0]] == 1 else None


def _take_in(layer: Message, taken: Message, exact: bool) -> bool:
    """Changes a layer so that it computes what another makes of its result; whether that could be done."""
    line, kind = _line(taken), layer.WhichOneof("layer")
    own = _numbers(layer)
    if line is None or own is None or (kind == "batchnorm" and _line(layer) is None):
        return False
    if kind == "innerProduct" and exact and max(line.factor.size, line.shift.size) > 1:
        return False  # its channels stand last, those of the other third from the end
    params = getattr(layer, kind)
    channels = params.channels if kind == "batchnorm" else params.outputChannels
    factor, shift = (np.broadcast_to(one, channels) for one in line)
    if kind == "batchnorm":
        own["gamma"] = own["gamma"] * factor
        own["beta"] = own["beta"] * factor + shift
    else:
        own["weights"] = own["weights"] * _along_outputs(factor, layer)
        own["bias"] = own.get("bias", np.zeros(channels)) * factor + shift
        params.hasBias = True
    for field, numbers in own.items():
        message = getattr(params, field)
        message.Clear()
        write_floats(message, numbers)
    return True


def _along_outputs(factor: Array, layer: Message) -> Array:
    """One number for each output channel, ready to be multiplied with the weights."""
    if layer.WhichOneof("layer") == "innerProduct":
        return factor[:, None]
    params = layer.convolution
    if not params.isDeconvolution:
        return factor[:, None, None, None]
    groups = params.nGroups or 1  # [kernel channels, channels of one group, height, width]: a group is a run of rows
    return np.repeat(factor.reshape(groups, -1), params.kernelChannels // groups, axis=0)[:, :, None, None]


def _line(layer: Message) -> _Line | None:
    """What a layer computes, if that is the same line for all elements of a channel."""
    numbers = _numbers(layer)
    if numbers is None:
        return None
    match layer.WhichOneof("layer"):
        case "batchnorm":
            params = layer.batchnorm
            if params.computeMeanVar or params.instanceNormalization:
                return None
            factor = numbers["gamma"] / np.sqrt(numbers["variance"] + (params.epsilon or 1e-5))
            return _Line(factor, numbers["beta"] - numbers["mean"] * factor)
        case "scale":
            if not (_of_channels(layer.scale.shapeScale) and _of_channels(layer.scale.shapeBias)):
                return None
            return _Line(numbers["scale"], numbers.get("bias", np.zeros(1)))
        case "bias" if _of_channels(layer.bias.shape):
            return _Line(np.ones(1), numbers["bias"])
    return None


def _of_channels(shape: Message) -> bool:
    """Whether a shape is [], [C] or [C, 1, 1]."""
    return len(shape) < 2 or list(shape[1:]) == [1, 1]


def _numbers(layer: Message) -> dict[str, Array] | None:
    """A layer's weights in float64; nothing where some are quantised, or are to be updated."""
    found: dict[str, Array] = {}
    for part in parts(layer):
        weights = Weights(part.message)
        if part.message.rawValue or part.message.int8RawValue or part.message.isUpdatable:
            return None
        if not weights.is_empty:
            found[part.field] = weights.data(part.shape, axis=part.axis).read().astype(np.float64)
    return found
