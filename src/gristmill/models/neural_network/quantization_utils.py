"""Quantised weights of neural networks, under coremltools' names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gristmill.errors import InputError
from gristmill.ir.constants import Array
from gristmill.models.model import MLModel
from gristmill.models.neural_network.comparison import (
    ModelMetrics,
    NoiseMetrics,
    OutputMetric,
    TopKMetrics,
    compare_models,
)
from gristmill.models.neural_network.layer_weights import Part, parts
from gristmill.models.neural_network.layers.core import IOS_14, require
from gristmill.models.neural_network.optimization_utils import fuse_layers
from gristmill.models.neural_network.weight_codes import Codes, evenly_spaced, from_function, kmeans, linear
from gristmill.package.network_fields import fill, pack_codes, write_floats
from gristmill.package.network_messages import NETWORKS, inner_networks
from gristmill.package.network_reader import Weights
from gristmill.package.proto import Message

__all__ = [
    "AdvancedQuantizedLayerSelector",
    "MatrixMultiplyLayerSelector",
    "ModelMetrics",
    "NoiseMetrics",
    "OutputMetric",
    "QuantizedLayerSelector",
    "TopKMetrics",
    "activate_int8_int8_matrix_multiplications",
    "compare_models",
    "quantize_weights",
]

_FIRST_HALVES, _FIRST_QUANTIZED = 2, 3
_HALF = 16  # bits of float16, which is a cast and no quantisation
_BIAS_APART = ("convolution", "innerProduct", "batchedMatmul")
"""Types of layers whose biases a selector is asked about apart."""


class QuantizedLayerSelector:
    """Chooses the layers whose weights are quantised: all that have any.

    Subclasses override ``do_quantize``.

    Attributes:
        quantizable_layer_types: Types of layers with weights; in branches and loops their networks' layers count.
    """

    def __init__(self) -> None:
        self.quantizable_layer_types = {
            *("convolution", "innerProduct", "embedding", "embeddingND", "batchnorm", "scale", "bias", "loadConstant"),
            *("loadConstantND", "simpleRecurrent", "gru", "uniDirectionalLSTM", "biDirectionalLSTM", "batchedMatmul"),
            *("depthwiseConv", "loop", "branch"),
        }

    def do_quantize(self, layer: Message, **kwargs: Any) -> bool:
        """Whether to quantise a layer, or with ``weight_param="bias"`` its bias too."""
        return layer.WhichOneof("layer") in self.quantizable_layer_types


class AdvancedQuantizedLayerSelector(QuantizedLayerSelector):
    """Leaves types of layers and small convolutions alone.

    Args:
        skip_layer_types: Types to leave alone; ``depthwiseConv`` are convolutions of one channel a group, ``bias`` also
            the biases of other layers.
        minimum_conv_kernel_channels: Convolutions whose windows see fewer channels stay.
        minimum_conv_weight_count: Convolutions with fewer weights stay.

    Raises:
        InputError: There are no such types.
    """

    def __init__(
        self,
        skip_layer_types: Sequence[str] = (),
        minimum_conv_kernel_channels: int = 4,
        minimum_conv_weight_count: int = 4096,
    ) -> None:
        super().__init__()
        unknown = set(skip_layer_types) - self.quantizable_layer_types
        expected = ", ".join(sorted(self.quantizable_layer_types))
        require(not unknown, "unknown types of layers", expected=expected, actual=sorted(unknown))
        self.skip_layer_types = skip_layer_types
        self.minimum_conv_kernel_channels = minimum_conv_kernel_channels
        self.minimum_conv_weight_count = minimum_conv_weight_count

    def do_quantize(self, layer: Message, weight_param: str | None = None) -> bool:  # type: ignore[override]  # coremltools'
        kind = layer.WhichOneof("layer")
        if not super().do_quantize(layer) or kind in self.skip_layer_types:
            return False
        if weight_param == "bias":
            return "bias" not in self.skip_layer_types
        if kind != "convolution":
            return True
        params = layer.convolution
        depthwise = params.kernelChannels == 1 and params.nGroups > 1
        count = params.outputChannels * params.kernelChannels * int(np.prod(params.kernelSize))
        return (
            not (depthwise and "depthwiseConv" in self.skip_layer_types)
            and params.kernelChannels >= self.minimum_conv_kernel_channels
            and count >= self.minimum_conv_weight_count
        )


class MatrixMultiplyLayerSelector(QuantizedLayerSelector):
    """Chooses inner products and products of matrices with constant weights, by their sizes.

    Args:
        minimum_weight_count: Of the matrix.
        minimum_input_channels: Of the layer.
        minimum_output_channels: Of the layer.
        maximum_input_channels: Of the layer; any when left out.
        maximum_output_channels: Of the layer; any when left out.
        include_layers_with_names: These layers alone, if there are any.

    Raises:
        InputError: The names are no texts.
    """

    def __init__(
        self,
        minimum_weight_count: int = 1,
        minimum_input_channels: int = 1,
        minimum_output_channels: int = 1,
        maximum_input_channels: int | None = None,
        maximum_output_channels: int | None = None,
        include_layers_with_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        names = list(include_layers_with_names or ())
        require(all(isinstance(name, str) for name in names), "names of layers are texts", actual=names)
        self.minimum_weight_count = minimum_weight_count
        self.minimum_input_channels = minimum_input_channels
        self.minimum_output_channels = minimum_output_channels
        self.maximum_input_channels = maximum_input_channels
        self.maximum_output_channels = maximum_output_channels
        self.include_layers_with_names = names

    def do_quantize(self, layer: Message, weight_param: str | None = None) -> bool:  # type: ignore[override]  # coremltools'
        match layer.WhichOneof("layer"):
            case "innerProduct":
                inputs, outputs = layer.innerProduct.inputChannels, layer.innerProduct.outputChannels
            case "batchedMatmul":
                params = layer.batchedMatmul
                inputs, outputs = params.weightMatrixFirstDimension, params.weightMatrixSecondDimension
            case kind:
                return kind in ("loop", "branch")
        return weight_param == "bias" or (
            inputs * outputs >= self.minimum_weight_count
            and self.minimum_input_channels <= inputs <= (self.maximum_input_channels or inputs)
            and self.minimum_output_channels <= outputs <= (self.maximum_output_channels or outputs)
            and (not self.include_layers_with_names or layer.name in self.include_layers_with_names)
        )


# --- quantising -------------------------------------------------------------------------------------------------------

Change = Callable[[Message, Part], None]
"""What happens to a layer and some of its weights."""


def quantize_weights(
    full_precision_model: MLModel,
    nbits: int | None,
    quantization_mode: str = "linear",
    sample_data: Any = None,
    **kwargs: Any,
) -> MLModel:
    """A copy of a neural network, or of a pipeline with some, with fewer bits for each weight.

    Convolutions and inner products first take in scales, biases and batch normalisations that follow them alone.
    Weights among which are infinities or NaN stay as they are, for no codes stand for those.

    Args:
        full_precision_model: The model.
        nbits: Bits of a weight: 1 to 8; or 16 for float16, which weights beyond its range do not become.
        quantization_mode: ``linear``: evenly spaced numbers for each output channel; ``linear_symmetric``: around 0,
            with 8 bits only; ``linear_lut``: a table of evenly spaced numbers for the whole; ``kmeans`` or
            ``kmeans_lut``: a table of means of clusters; ``custom_lut``: what ``lut_function`` makes;
            ``dequantization``: float32 again.
        sample_data: What ``compare_models`` is called with, if anything.
        **kwargs: ``selector``: a ``QuantizedLayerSelector``; ``lut_function``: takes bits and weights, returns a table
            and codes.

    Raises:
        InputError: The model is of another type, a mode or number of bits is unknown or does not go with the other, or
            an updatable model would get float16 weights.
    """
    spec = full_precision_model.get_spec()
    if nbits == _HALF and spec.isUpdatable:
        raise InputError("an updatable model keeps float32 weights", hint="quantise it to 8 bits or fewer, or not")
    selector = kwargs.get("selector") or QuantizedLayerSelector()
    change, fuse = _change(nbits, quantization_mode, kwargs.get("lut_function"))
    _in_every_network(spec, _FIRST_HALVES if nbits == _HALF else _FIRST_QUANTIZED, change, selector, fuse)
    quantized = MLModel(spec, compute_units=full_precision_model.compute_unit)
    if sample_data:
        compare_models(full_precision_model, quantized, sample_data)
    return quantized


def _change(nbits: int | None, mode: str, function: Callable[[int, Array], Any] | None) -> tuple[Change, bool]:
    """What happens to weights, and whether layers are fused before."""
    modes: Mapping[str, Callable[[Array, int, int], Codes]] = {
        "linear": lambda weights, bits, axis: linear(weights, bits, axis),
        "linear_symmetric": lambda weights, bits, axis: linear(weights, bits, axis, symmetric=True),
        "linear_lut": lambda weights, bits, axis: evenly_spaced(weights, bits),
        "kmeans": lambda weights, bits, axis: kmeans(weights, bits),
        "kmeans_lut": lambda weights, bits, axis: kmeans(weights, bits),
        "custom_lut": lambda weights, bits, axis: from_function(weights, bits, function),  # type: ignore[arg-type]  # checked below
    }
    if mode == "dequantization":
        return _dequantize, False
    require(mode in modes, "unknown quantization_mode", expected=", ".join([*modes, "dequantization"]), actual=mode)
    known = isinstance(nbits, int) and (nbits == _HALF or nbits in range(1, 9))
    require(known, "nbits out of range", expected="1 to 8, or 16", actual=nbits)
    assert nbits is not None
    require(mode != "linear_symmetric" or nbits == 8, "linear_symmetric takes 8 bits", actual=nbits)
    require(mode != "custom_lut" or callable(function), "custom_lut takes a lut_function", actual=function)
    if nbits == _HALF:
        return _halve, False
    return lambda layer, part: _quantize(part, nbits, modes[mode]), True


def _in_every_network(
    spec: Message, version: int, change: Change, selector: QuantizedLayerSelector, fuse: bool
) -> None:
    """Changes all networks of a model, and of those in a pipeline."""
    kind = spec.WhichOneof("Type")
    if kind in NETWORKS:
        spec.specificationVersion = max(spec.specificationVersion, version)
        if fuse:
            fuse_layers(getattr(spec, kind), {output.name for output in spec.description.output})
        _in_layers(getattr(spec, kind), change, selector)
        return
    pipelines = {"pipeline": spec.pipeline}
    pipelines |= {
        f"pipeline{which}": getattr(spec, f"pipeline{which}").pipeline for which in ("Classifier", "Regressor")
    }
    require(kind in pipelines, "the model is no neural network and no pipeline", actual=kind)
    for inner in pipelines[kind].models:
        if inner.WhichOneof("Type") in (*NETWORKS, *pipelines):
            _in_every_network(inner, version, change, selector, fuse)


def _in_layers(network: Message, change: Change, selector: QuantizedLayerSelector) -> None:
    for layer in network.layers:
        if not selector.do_quantize(layer):
            continue
        for part in parts(layer):
            asked = part.field == "bias" and layer.WhichOneof("layer") in _BIAS_APART
            if _any(part) and (not asked or selector.do_quantize(layer, weight_param="bias")):
                change(layer, part)
        for inner in inner_networks(layer):
            _in_layers(inner, change, selector)


def _any(part: Part) -> bool:
    return not Weights(part.message).is_empty


def _dequantize(layer: Message, part: Part) -> None:
    """Weights of any form become float32; what a layer reads is not quantised either from then on."""
    if part.message.int8RawValue:
        getattr(layer, layer.WhichOneof("layer")).int8DynamicQuantize = False
    if part.message.rawValue or part.message.int8RawValue:
        numbers = Weights(part.message).data(part.shape, axis=part.axis).read()
        for field in ("rawValue", "int8RawValue", "quantization"):
            part.message.ClearField(field)
        write_floats(part.message, numbers)


def _halve(layer: Message, part: Part) -> None:
    """float32 weights become float16, unless one is too large for it."""
    with np.errstate(over="ignore"):
        halves = np.array(part.message.floatValue).astype("<f2")
    if np.isfinite(halves).all() and halves.size:
        part.message.ClearField("floatValue")
        part.message.float16Value = halves.tobytes()


def _quantize(part: Part, bits: int, method: Callable[[Array, int, int], Codes]) -> None:
    """float32 weights become codes, unless their range is no number of float32."""
    if not part.message.floatValue:
        return
    weights = Weights(part.message).data(part.shape, axis=part.axis).read().astype(np.float64)
    with np.errstate(invalid="ignore"):
        if not np.ptp(weights) <= np.finfo(np.float32).max:
            return
    found = method(weights, bits, part.axis)
    part.message.ClearField("floatValue")
    if found.table is None:
        meaning = {"linearQuantization": {"scale": found.scale, "bias": found.bias}}
    else:
        meaning = {"lookupTableQuantization": {"floatValue": found.table}}
    quantization = {"numberOfBits": bits, **meaning}
    fill(part.message, {"rawValue": pack_codes(found.codes, bits), "quantization": quantization})


def activate_int8_int8_matrix_multiplications(spec: Message, selector: QuantizedLayerSelector | None = None) -> Message:
    """Lets products of matrices quantise what they read as well: weights get 8 bits with a sign and one scale.

    Args:
        spec: A ``Model`` message of a neural network or a pipeline, changed in place.
        selector: Which layers; a ``MatrixMultiplyLayerSelector`` when left out.

    Returns:
        ``spec``.

    Raises:
        InputError: It is a model of another type.
    """
    chosen = selector or MatrixMultiplyLayerSelector()
    _in_every_network(spec, _FIRST_QUANTIZED, _dequantize, chosen, fuse=False)
    _in_every_network(spec, IOS_14, _quantize_products, chosen, fuse=False)
    return spec


def _quantize_products(layer: Message, part: Part) -> None:
    """A matrix becomes 8 bits with a sign and one scale, and its layer quantises what it reads."""
    if part.field != "weights" or not part.message.floatValue:
        return
    weights = np.array(part.message.floatValue)
    if not np.isfinite(weights).all():
        return
    scale = np.abs(weights).max() / 127 or 1.0
    part.message.ClearField("floatValue")
    quantization = {"numberOfBits": 8, "linearQuantization": {"scale": [scale]}}
    codes = np.rint(weights / scale).astype(np.int8).tobytes()
    fill(part.message, {"int8RawValue": codes, "quantization": quantization})
    getattr(layer, layer.WhichOneof("layer")).int8DynamicQuantize = True
