"""Core ML's neural networks: untyped tensors that become programs of ``unit_float`` values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

import gristmill.ops.nn  # noqa: F401  # some layers become its ops
from gristmill.errors import FormatError, UnsupportedError
from gristmill.frontends.common import UnsupportedOperator, UnsupportedOperatorsError
from gristmill.frontends.neuralnetwork import (  # noqa: F401  # each registers its mappings
    activation,
    control_flow,
    conv,
    creation,
    custom,
    elementwise,
    images,
    indexing,
    linear,
    normalization,
    pooling,
    recurrent,
    reduction,
    registry,
    resize,
    shape,
)
from gristmill.frontends.neuralnetwork.context import Context, nested, ops
from gristmill.frontends.neuralnetwork.source import Layer, Network, NetworkInput, NetworkOutput, Preprocessing
from gristmill.ir import types
from gristmill.ir.builder import mb
from gristmill.ir.constants import ArrayData, Constant, constant, list_constant
from gristmill.ir.opset import iOS17
from gristmill.ir.program import Location, Program, Value
from gristmill.ir.types import TensorType
from gristmill.ops.nn.custom import is_registered

__all__ = ["NetworkInput", "NetworkOutput", "lower", "reads_sequences"]

OPSET = iOS17
"""The first one whose recurrent ops may be float16, as on units other than the CPU."""


def lower(
    network: Network,
    inputs: Sequence[NetworkInput],
    outputs: Sequence[NetworkOutput],
    *,
    label: str = "",
    by_label: str = "",
    keep_tables: bool = True,
) -> Program:
    """Imports a network as a program with one function, ``main``.

    Floating inputs, results of layers and outputs are untyped (``unit_float``); what is known to be integers or truth
    values, such as shapes, stays so. Names that a network writes twice become two values.

    Args:
        network: The network.
        inputs: As applications see them. Without exact shapes an array [C] or [C, H, W] becomes [1, 1, C, H, W]
            inside, so does an image.
        outputs: As applications see them, but for a classifier's label and probabilities by label.
        label: Name of a classifier's output for the label.
        by_label: Name of its output for the probabilities by label.
        keep_tables: Whether weights that are indices into a table stay so; otherwise they are numbers.

    Raises:
        UnsupportedOperatorsError: There are layers of unknown types, or custom layers of unknown classes: all at once.
        FormatError: The network is malformed.
        UnsupportedError: It is nested too deeply, or a layer does something else that is not possible here.
    """
    _check_known(network)
    program = Program()
    ctx = Context(sum(1 for _ in _walk(network)), keep_tables=keep_tables)
    kinds = {given.name: TensorType(given.dtype, given.shape) for given in inputs}
    if len(kinds) < len(inputs):
        raise FormatError("two inputs have one name", actual=", ".join(given.name for given in inputs))
    with mb.function(program, "main", kinds, opset=OPSET) as values:
        for given, value in zip(inputs, values, strict=True):
            ctx.tensors[given.name] = _inside(ctx, network, given, _preprocessed(ctx, network, inputs, given, value))
        try:
            ctx.run(network.layers)
        except RecursionError as error:
            raise UnsupportedError("branches and loops are nested too deeply") from error
        ctx.layer = None
        found = [_outside(ctx, network, output) for output in outputs]
        if network.labels:
            found = [*_classified(ctx, network, label, by_label), *found]
        mb.output(*found)
        ctx.drop_unused_axes()
    return program


def reads_sequences(network: Network) -> bool:
    """Whether arrays may come as whole sequences [sequence, batch, channels, height, width], whatever is described."""
    return not network.exact_arrays and any(layer.kind in recurrent.KINDS for layer in _walk(network))


def _check_known(network: Network) -> None:
    """Raises UnsupportedOperatorsError when there are layers that have no mapping."""
    unknown: dict[str, list[Location]] = {}
    for layer in _walk(network):
        if registry.find(layer.kind) is None:
            unknown.setdefault(layer.kind, []).append(Location(module=layer.name, source=layer.kind))
        elif layer.kind == "custom" and not is_registered(layer.params.className):
            place = Location(module=layer.name, source=layer.kind)
            unknown.setdefault(f"custom layer of class '{layer.params.className}'", []).append(place)
    if unknown:
        raise UnsupportedOperatorsError(
            [UnsupportedOperator(name, tuple(places)) for name, places in unknown.items()],
            hint="register the classes of custom layers with gristmill.register_custom_layer",
        )


def _walk(network: Network) -> Iterator[Layer]:
    for layer in network.layers:
        yield layer
        for inner in nested(layer.params):
            yield from _walk(inner)


# --- inputs ----------------------------------------------------------------------------------------------------------


def _preprocessed(
    ctx: Context, network: Network, inputs: Sequence[NetworkInput], given: NetworkInput, value: Value
) -> Value:
    """An image after the scaling and the mean image that the network asks for."""
    candidates = [each.name for each in inputs if each.layout is not None]
    for step in network.preprocessing:
        if given.layout is not None and given.name == (step.feature or candidates[0]):
            value = _scaled(ctx, step, given, value) if step.kind == "scaler" else _without_mean(ctx, step, value)
    return value


def _scaled(ctx: Context, step: Preprocessing, given: NetworkInput, value: Value) -> Value:
    p = step.params
    colors = {"RGB": (p.redBias, p.greenBias, p.blueBias), "BGR": (p.blueBias, p.greenBias, p.redBias)}
    biases = colors.get(given.layout or "", (p.grayBias,))
    scaled = ops.mul(x=value, y=ctx.number(p.channelScale or 1.0), name=f"{given.name}_scaled")
    if not any(biases):
        return scaled
    return ops.add(x=scaled, y=ctx.number(np.array(biases, np.float32).reshape(-1, 1, 1)), name=f"{given.name}_biased")


def _without_mean(ctx: Context, step: Preprocessing, value: Value) -> Value:
    mean = np.array(step.params.meanImage, np.float32)
    sizes = value.shape[1:]
    known = [n for n in sizes if isinstance(n, int)]
    if len(known) != len(sizes) or mean.size != np.prod(known):
        raise FormatError("the mean image has another size", expected=value.type, actual=mean.size)
    return ops.sub(x=value, y=ctx.number(mean.reshape(known)), name=f"{step.feature or 'image'}_centred")


def _inside(ctx: Context, network: Network, given: NetworkInput, value: Value) -> Value:
    """An input with the axes that layers see."""
    exact = network.exact_arrays if given.layout is None else network.exact_images
    if not exact:
        if given.layout is not None:
            value = ctx.expand(value, [0])
        elif value.rank == 1:
            value = ops.expand_dims(x=value, axes=[0, 1, 3, 4])
        elif value.rank < 5:
            value = ops.expand_dims(x=value, axes=list(range(5 - value.rank)))
    return ctx.floating(value) if value.dtype.is_float else value


# --- outputs ---------------------------------------------------------------------------------------------------------


def _outside(ctx: Context, network: Network, output: NetworkOutput) -> Value:
    """An output with the axes that applications see, under its own name."""
    value = ctx.tensor(output.name)
    if not output.is_image:
        value = _as_described(value, output.shape, network.exact_arrays)
    if value.producer is None and value.name == output.name:
        return value
    if value.producer is None or value.constant is not None or value in ctx.results:
        value = ops.identity(x=value)
    ctx.results.append(value)
    return _called(value, output.name)


def _called(value: Value, name: str) -> Value:
    """A value under a name that an output must have; whatever was called so before gets another."""
    function = mb.point.function
    for other in function.values():
        if other is not value and other.name == name:
            other.name = function.unique_name(f"{name}_before")
    value.name = name
    return value


def _as_described(value: Value, described: tuple[int, ...] | None, exact: bool) -> Value:
    """A result without axes of size 1 that the description does not have.

    Without exact shapes and without a description, [1, 1, C, H, W] becomes [C, H, W], or [C] where H and W are 1.
    """
    sizes = value.shape
    if described is None and not exact and value.rank == 5 and sizes[:2] == (1, 1):
        return ops.squeeze(x=value, axes=[0, 1, 3, 4] if sizes[3:] == (1, 1) else [0, 1])
    if described is None or len(described) >= value.rank:
        return value
    rest, ones = list(described), []
    for axis, size in enumerate(sizes):
        if rest and size == rest[0]:
            rest.pop(0)
        elif size == 1:
            ones.append(axis)
        else:
            return value
    return value if rest else ops.squeeze(x=value, axes=ones)


def _classified(ctx: Context, network: Network, label: str, by_label: str) -> list[Value]:
    """The label of the greatest probability, and all probabilities by label."""
    element = types.scalar(types.string if isinstance(network.labels[0], str) else types.int64)
    labels = tuple(
        constant(each) if isinstance(each, str) else Constant(element, ArrayData(np.asarray(each, np.int64)))
        for each in network.labels
    )
    tensor = ctx.tensor(network.probabilities or network.layers[-1].outputs[0])
    winner, probabilities = ops.several(
        "classify", probabilities=ctx.floating(tensor), classes=list_constant(labels, element)
    )
    return [_called(winner, label or "classLabel"), _called(probabilities, by_label or "classProbability")]
