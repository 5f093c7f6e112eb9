"""Which weights layers have, and in which shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from gristmill.package.proto import Message


@dataclass(frozen=True)
class Part:
    """Weights of a layer.

    Attributes:
        field: Their name in the layer.
        message: The ``WeightParams``.
        shape: Theirs.
        axis: The one whose elements have scales of their own.
    """

    field: str
    message: Message
    shape: tuple[int, ...]
    axis: int = 0


def parts(layer: Message) -> list[Part]:
    """The weights of a layer that quantisation knows; none of other types, and none of networks inside."""
    kind = layer.WhichOneof("layer")
    own = _KINDS.get(kind)
    return [] if own is None else list(own(getattr(layer, kind)))


def _convolution(p: Message) -> Iterator[Part]:
    kernel, groups = tuple(p.kernelSize or (3, 3)), p.nGroups or 1
    if p.isDeconvolution:
        yield Part("weights", p.weights, (p.kernelChannels, p.outputChannels // groups, *kernel), axis=1)
    else:
        yield Part("weights", p.weights, (p.outputChannels, p.kernelChannels, *kernel))
    yield Part("bias", p.bias, (p.outputChannels,))


def _matrix(rows: str, columns: str) -> Callable[[Message], Iterator[Part]]:
    """Weights [rows, columns] and a bias [rows]."""

    def found(p: Message) -> Iterator[Part]:
        yield Part("weights", p.weights, (getattr(p, rows), getattr(p, columns)))
        yield Part("bias", p.bias, (getattr(p, rows),))

    return found


def _vectors(size: Callable[[Message], int], *fields: str) -> Callable[[Message], Iterator[Part]]:
    """Rows of numbers of one size."""
    return lambda p: (Part(field, getattr(p, field), (size(p),)) for field in fields)


def _scale(p: Message) -> Iterator[Part]:
    yield Part("scale", p.scale, (prod(p.shapeScale),))
    yield Part("bias", p.bias, (prod(p.shapeBias),))


def _recurrent(p: Message) -> Iterator[Part]:
    yield from _gates(p, p)


def _lstm(p: Message) -> Iterator[Part]:
    found: Any = p.weightParams
    for weights in [found] if hasattr(found, "ListFields") else found:
        yield from _gates(p, weights)


def _gates(p: Message, weights: Message) -> Iterator[Part]:
    """Weights of gates, by the ends of their names."""
    hidden, inputs = p.outputVectorSize, p.inputVectorSize
    shapes = {"weightmatrix": (hidden, inputs), "recursionmatrix": (hidden, hidden), "vector": (hidden,)}
    for field, value in weights.ListFields():
        if field.message_type is not None and field.message_type.name == "WeightParams":
            end = next(end for end in shapes if field.name.lower().endswith(end))
            yield Part(field.name, value, shapes[end])


_KINDS: dict[str, Callable[[Message], Iterator[Part]]] = {
    "convolution": _convolution,
    "innerProduct": _matrix("outputChannels", "inputChannels"),
    "batchedMatmul": _matrix("weightMatrixSecondDimension", "weightMatrixFirstDimension"),
    "embedding": _matrix("outputChannels", "inputDim"),
    "embeddingND": _matrix("embeddingSize", "vocabSize"),
    "batchnorm": _vectors(lambda p: int(p.channels), "gamma", "beta", "mean", "variance"),
    "scale": _scale,
    "bias": _vectors(lambda p: prod(p.shape), "bias"),
    "loadConstant": _vectors(lambda p: prod(p.shape), "data"),
    "loadConstantND": _vectors(lambda p: prod(p.shape), "data"),
    "simpleRecurrent": _recurrent,
    "gru": _recurrent,
    "uniDirectionalLSTM": _lstm,
    "biDirectionalLSTM": _lstm,
}
