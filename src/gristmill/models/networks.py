"""Models that are neural networks: what their descriptions and layers say, as a program."""

from __future__ import annotations

from gristmill.errors import FormatError
from gristmill.frontends import neuralnetwork
from gristmill.frontends.neuralnetwork import NetworkInput, NetworkOutput
from gristmill.ir import dims, types
from gristmill.ir.builtin import const
from gristmill.ir.dims import Dim, Shape
from gristmill.ir.program import Function, Program
from gristmill.models.features import ArrayFeature, ImageFeature, feature
from gristmill.package import Package
from gristmill.package.network_reader import read_network
from gristmill.package.proto import Message
from gristmill.passes.fuse_activations import FuseSilu
from gristmill.passes.infra import run_passes
from gristmill.precision.unit_types import HOME, Placed, type_by_unit


def read_program(package: Package, *, keep_tables: bool = True) -> Program:
    """The network of a model as a program of untyped tensors.

    Args:
        package: The model.
        keep_tables: Whether weights that are indices into a table stay so; otherwise they are numbers.

    Raises:
        FormatError: The network is malformed.
        UnsupportedError: It has a layer or an input that is not known here.
    """
    spec, description = package.spec, package.description
    network = read_network(getattr(spec, package.kind))
    label, by_label = description.predictedFeatureName, description.predictedProbabilitiesName
    hidden = {label, by_label} if network.labels else set()
    return neuralnetwork.lower(
        network,
        [_input(each, neuralnetwork.reads_sequences(network)) for each in description.input],
        [_output(each) for each in description.output if each.name not in hidden],
        label=label,
        by_label=by_label,
        keep_tables=keep_tables,
    )


def on_cpu(function: Function) -> Function:
    """A network's function as the CPU runs it: every untyped tensor is float32.

    Networks have no layer for x·σ(x); a kernel has it, and ML Programs get it when they are made.
    """
    ops = [op for op in function.body if not isinstance(op, const)]
    typed = type_by_unit(function, [Placed(HOME, ops)])[0]
    run_passes(Program({typed.name: typed}), [FuseSilu()])
    return typed


def _input(spec: Message, in_sequences: bool) -> NetworkInput:
    match feature(spec):
        case ImageFeature() as image:
            channels = 3 if image.layout in ("RGB", "BGR") else 1
            shape = (1, channels, *_image_size(image))
            return NetworkInput(spec.name, shape, types.unit_float, image.layout)
        case ArrayFeature() as array:
            typed = next((t for t in (types.fp16, types.int32) if t == array.dtype), types.unit_float)
            shape = _array_shape(array)
            if in_sequences and len(shape) in (1, 3):
                steps, batch = (dims.symbol(f"{array.name}_{axis}", 1, None) for axis in ("sequence", "batch"))
                shape = (steps, batch, *shape, *((1, 1) if len(shape) == 1 else ()))
            return NetworkInput(spec.name, shape, typed)
        case _:
            return NetworkInput(spec.name, (1,), types.unit_float)


def _image_size(image: ImageFeature) -> Shape:
    """Height and width."""
    if image.range is not None:
        wide, high = image.range
    else:
        sizes = [image.size, *(image.sizes or ())]
        wide, high = ((min(axis), max(axis)) for axis in zip(*sizes, strict=True))
    return _open(image.name, 2, *high), _open(image.name, 3, *wide)


def _array_shape(array: ArrayFeature) -> Shape:
    """The described shape; flexible sizes are symbols within their bounds."""
    if array.ranges is not None:
        return tuple(_open(array.name, axis, low, high) for axis, (low, high) in enumerate(array.ranges))
    shapes = [array.shape, *(array.shapes or ())]
    if len({len(shape) for shape in shapes}) > 1:
        raise FormatError(f"the shapes of input '{array.name}' differ in rank", actual=shapes)
    return tuple(
        _open(array.name, axis, min(sizes), max(sizes)) for axis, sizes in enumerate(zip(*shapes, strict=True))
    )


def _open(name: str, axis: int, low: int, high: int) -> Dim:
    """A size between bounds; -1 is no upper bound."""
    if low == high:
        return low
    return dims.symbol(f"{name}_{axis}", low, None if high < 0 else high)


def _output(spec: Message) -> NetworkOutput:
    shape = spec.type.multiArrayType.shape
    is_image = spec.type.WhichOneof("Type") == "imageType"
    return NetworkOutput(spec.name, None if is_image or not shape else tuple(map(int, shape)), is_image)
