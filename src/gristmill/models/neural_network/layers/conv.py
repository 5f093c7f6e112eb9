"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gristmill.models.neural_network.layers.core import IOS_14, LayerBuilder, Names, as_names, choice, require
from gristmill.models.neural_network.layers.weights import Quantization, Weights, bias_of
from gristmill.package.proto import Message


def borders(top: int, bottom: int, left: int, right: int) -> dict[str, Any]:
    """Fields of ``BorderAmounts``."""
    pairs = ((top, bottom), (left, right))
    return {"borderAmounts": [{"startEdgeSize": start, "endEdgeSize": end} for start, end in pairs]}


class ConvolutionLayers(LayerBuilder):
    """Layers that multiply windows of images by weights."""

    def add_convolution(
        self,
        name: str,
        kernel_channels: int,
        output_channels: int,
        height: int,
        width: int,
        stride_height: int,
        stride_width: int,
        border_mode: str,
        groups: int,
        W: Weights | None,
        b: ArrayLike | None,
        has_bias: bool,
        is_deconv: bool = False,
        output_shape: Sequence[int] | None = None,
        input_name: Names = "data",
        output_name: str = "out",
        dilation_factors: Sequence[int] = (1, 1),
        padding_top: int = 0,
        padding_bottom: int = 0,
        padding_left: int = 0,
        padding_right: int = 0,
        same_padding_asymmetry_mode: str = "BOTTOM_RIGHT_HEAVY",
        **kwargs: Any,
    ) -> Message:
        """A two-dimensional convolution, or a transposed one.

        Args:
            name: The layer's name.
            kernel_channels: Input channels that one window sees: of a group; of a transposed convolution all.
            output_channels: Channels of the result.
            height: Of the window.
            width: Of the window.
            stride_height: Its step down.
            stride_width: Its step to the right.
            border_mode: ``valid``: padded as the four paddings say; ``same``: so that the result has the input's size
                divided by the stride.
            groups: Groups of channels that do not see each other.
            W: Weights [height, width, kernel channels, output channels]; of a transposed convolution the last are those
                of one group. ``None`` where they come as a second input. Bytes if they are quantised.
            b: The bias [output channels].
            has_bias: Whether there is one.
            is_deconv: Transposed.
            output_shape: [height, width] of a transposed convolution's result.
            input_name: What it reads; a list where weights, and perhaps a bias, are computed.
            output_name: What it makes.
            dilation_factors: Distance of the window's elements, [height, width].
            padding_top: Zeros above, where ``valid``; taken away from a transposed convolution's result.
            padding_bottom: The same below.
            padding_left: The same to the left.
            padding_right: The same to the right.
            same_padding_asymmetry_mode: Which side of ``same`` gets more: ``BOTTOM_RIGHT_HEAVY`` or ``TOP_LEFT_HEAVY``.
            **kwargs: Of quantised weights ``quantization_type``, ``nbits``, ``quant_scale``, ``quant_bias``,
                ``quant_lut`` (see ``Quantization``).

        Raises:
            InputError: A mode is none of those above, or an array has another size.
        """
        op = f"convolution '{name}'"
        paddings = borders(padding_top, padding_bottom, padding_left, padding_right)
        modes = {
            "VALID": {"valid": {"paddingAmounts": paddings}},
            "SAME": {"same": {"asymmetryMode": same_padding_asymmetry_mode}},
        }
        inputs = as_names(input_name)
        constant: dict[str, Any] = {}
        if len(inputs) == 1:
            shape = (height, width, kernel_channels, output_channels // groups if is_deconv else output_channels)
            axes = (2, 3, 0, 1) if is_deconv else (3, 2, 0, 1)
            constant["weights"] = _filters(W, shape, axes, output_channels, kwargs, op)
            constant["bias"] = bias_of(has_bias, b, output_channels, op)
        return self._add(
            "convolution",
            name,
            inputs,
            output_name,
            outputChannels=output_channels,
            kernelChannels=kernel_channels,
            nGroups=groups,
            kernelSize=(height, width),
            stride=(stride_height, stride_width),
            dilationFactor=dilation_factors,
            isDeconvolution=is_deconv,
            outputShape=output_shape if is_deconv and output_shape else None,
            hasBias=has_bias,
            **choice("border_mode", border_mode, modes, op),
            **constant,
        )

    def add_convolution3d(
        self,
        name: str,
        input_channels: int,
        output_channels: int,
        depth: int,
        height: int,
        width: int,
        W: ArrayLike,
        b: ArrayLike | None,
        has_bias: bool,
        groups: int = 1,
        stride_depth: int = 1,
        stride_height: int = 1,
        stride_width: int = 1,
        dilation_width: int = 1,
        dilation_height: int = 1,
        dilation_depth: int = 1,
        is_deconv: bool = False,
        output_shape: Sequence[int] | None = None,
        padding_mode: str = "valid",
        padding_front: int = 0,
        padding_back: int = 0,
        padding_top: int = 0,
        padding_bottom: int = 0,
        padding_left: int = 0,
        padding_right: int = 0,
        input_name: Names = "data",
        output_name: str = "out",
    ) -> Message:
        """A three-dimensional convolution of [batch, channels, depth, height, width], or a transposed one.

        Args:
            name: The layer's name.
            input_channels: Channels of the input.
            output_channels: Channels of the result.
            depth: Of the window.
            height: Of the window.
            width: Of the window.
            W: Weights [output channels, input channels of a group, depth, height, width]; of a transposed convolution
                with the two first axes in this order too.
            b: The bias [output channels].
            has_bias: Whether there is one.
            groups: Groups of channels that do not see each other.
            stride_depth: The window's step.
            stride_height: The window's step.
            stride_width: The window's step.
            dilation_width: Distance of the window's elements.
            dilation_height: Distance of the window's elements.
            dilation_depth: Distance of the window's elements.
            is_deconv: Transposed.
            output_shape: [depth, height, width] of a transposed convolution's result.
            padding_mode: ``valid``: none; ``same``; ``custom``: as the six paddings say.
            padding_front: Zeros in front, where ``custom``.
            padding_back: Zeros behind.
            padding_top: Zeros above.
            padding_bottom: Zeros below.
            padding_left: Zeros to the left.
            padding_right: Zeros to the right.
            input_name: What it reads.
            output_name: What it makes.

        Raises:
            InputError: The mode is none of those above, or an array has another size.
        """
        op = f"convolution3d '{name}'"
        inputs = as_names(input_name)
        require(len(inputs) == 1, "a three-dimensional convolution has one input", op=op, actual=inputs)
        weights = np.asarray(W)
        require(weights.ndim == 5, "weights of another rank", op=op, expected=5, actual=list(weights.shape))
        self._needs(IOS_14)
        return self._add(
            "convolution3d",
            name,
            inputs,
            output_name,
            inputChannels=input_channels,
            outputChannels=output_channels,
            nGroups=groups,
            kernelDepth=depth,
            kernelHeight=height,
            kernelWidth=width,
            strideDepth=stride_depth,
            strideHeight=stride_height,
            strideWidth=stride_width,
            dilationDepth=dilation_depth,
            dilationHeight=dilation_height,
            dilationWidth=dilation_width,
            isDeconvolution=is_deconv,
            outputShape=output_shape if is_deconv and output_shape else None,
            hasBias=has_bias,
            weights=weights.swapaxes(0, 1) if is_deconv else weights,
            bias=bias_of(has_bias, b, output_channels, op),
            **padding_3d(
                padding_mode, padding_front, padding_back, padding_top, padding_bottom, padding_left, padding_right
            ),
        )


def padding_3d(mode: str, *amounts: int) -> dict[str, Any]:
    """Fields that say how three-dimensional windows are padded; amounts count in the mode ``custom`` only."""
    sides = ("Front", "Back", "Top", "Bottom", "Left", "Right")
    custom = {f"customPadding{side}": amount for side, amount in zip(sides, amounts, strict=True)}
    return {"paddingType": mode, **(custom if str(mode).upper() == "CUSTOM" else {})}


def _filters(
    W: Weights | None, shape: Sequence[int], axes: Sequence[int], channels: int, kwargs: dict[str, Any], op: str
) -> Any:
    """Weights in the format's order, from the order in which the builder takes them."""
    if kwargs.get("quantization_type") is not None:
        quantization = Quantization(**kwargs)
        return quantization.fields(quantization.reorder(W, shape, axes, op), channels, op)
    weights = np.asarray(W)
    require(
        weights.shape == tuple(shape), "weights of another shape", op=op, expected=list(shape), actual=weights.shape
    )
    return weights.transpose(axes)
