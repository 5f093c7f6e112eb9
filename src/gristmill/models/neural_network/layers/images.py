"""Sizes and edges of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.models.neural_network.layers.conv import borders
from gristmill.models.neural_network.layers.core import IOS_14, LayerBuilder, Names, as_names, choice, require
from gristmill.package.proto import Message

_WHOLE = 1e-3
"""Factors nearer to an integer from above than this count as one."""


class ImageLayers(LayerBuilder):
    """Layers that resize, pad and crop."""

    def add_upsample(
        self,
        name: str,
        scaling_factor_h: float,
        scaling_factor_w: float,
        input_name: str,
        output_name: str,
        mode: str = "NN",
        linear_upsample_mode: str = "DEFAULT",
    ) -> Message:
        """Larger images.

        Args:
            name: The layer's name.
            scaling_factor_h: Of the height; a fraction with aligned corners only, either way.
            scaling_factor_w: Of the width.
            input_name: What it reads.
            output_name: What it makes.
            mode: ``NN`` for the nearest pixel, or ``BILINEAR``.
            linear_upsample_mode: ``DEFAULT``, ``ALIGN_CORNERS_TRUE`` or ``ALIGN_CORNERS_FALSE``.

        Raises:
            InputError: There is no such mode, or it allows no fractions.
        """
        factors = (scaling_factor_h, scaling_factor_w)
        aligned = linear_upsample_mode.upper() != "DEFAULT"
        fields: dict[str, Any]
        if any(factor - int(factor) > _WHOLE for factor in factors):
            require(
                aligned and mode.upper() == "BILINEAR",
                "a factor is no integer",
                op=f"upsample '{name}'",
                actual=factors,
                hint="only BILINEAR with ALIGN_CORNERS_TRUE or ALIGN_CORNERS_FALSE allows that",
            )
            fields = {"fractionalScalingFactor": factors}
        else:
            fields = {"scalingFactor": [int(factor) for factor in factors]}
        if aligned:
            self._needs(IOS_14)
        fields |= {"mode": mode, "linearUpsampleMode": linear_upsample_mode}
        return self._add("upsample", name, input_name, output_name, **fields)

    def add_resize_bilinear(
        self,
        name: str,
        input_name: str,
        output_name: str,
        target_height: int = 1,
        target_width: int = 1,
        mode: str = "ALIGN_ENDPOINTS_MODE",
    ) -> Message:
        """Images of another size; ``mode`` is one of ``SamplingMode``, ``UPSAMPLE_MODE`` for instance."""
        return self._add(
            "resizeBilinear",
            name,
            input_name,
            output_name,
            targetSize=(target_height, target_width),
            mode={"samplingMethod": mode},
        )

    def add_crop_resize(
        self,
        name: str,
        input_names: Sequence[str],
        output_name: str,
        target_height: int = 1,
        target_width: int = 1,
        mode: str = "STRICT_ALIGN_ENDPOINTS_MODE",
        normalized_roi: bool = False,
        box_indices_mode: str = "CORNERS_HEIGHT_FIRST",
        spatial_scale: float = 1.0,
    ) -> Message:
        """Parts of images, all of one size.

        Args:
            name: The layer's name.
            input_names: Images, and boxes.
            output_name: What it makes.
            target_height: Of the result.
            target_width: Of the result.
            mode: One of ``SamplingMode``, ``ROI_ALIGN_MODE`` for instance.
            normalized_roi: Boxes' coordinates go from 0 to 1.
            box_indices_mode: What coordinates are: ``CORNERS_HEIGHT_FIRST``, ``CORNERS_WIDTH_FIRST``,
                ``CENTER_SIZE_HEIGHT_FIRST`` or ``CENTER_SIZE_WIDTH_FIRST``.
            spatial_scale: What coordinates are multiplied by.

        Raises:
            InputError: There is no such mode.
        """
        return self._add(
            "cropResize",
            name,
            input_names,
            output_name,
            targetSize=(target_height, target_width),
            normalizedCoordinates=normalized_roi,
            mode={"samplingMethod": mode},
            boxIndicesMode={"boxMode": box_indices_mode},
            spatialScale=spatial_scale,
        )

    def add_padding(
        self,
        name: str,
        left: int = 0,
        right: int = 0,
        top: int = 0,
        bottom: int = 0,
        value: float = 0,
        input_name: str = "data",
        output_name: str = "out",
        padding_type: str = "constant",
    ) -> Message:
        """Pixels around images: ``constant`` ones of a value, or by ``reflection`` or ``replication``."""
        types = {"CONSTANT": {"constant": {"value": value}}, "REFLECTION": {"reflection": {}}}
        types["REPLICATION"] = {"replication": {}}
        padding = choice("padding_type", padding_type, types, f"padding '{name}'")
        amounts = borders(top, bottom, left, right)
        return self._add("padding", name, input_name, output_name, paddingAmounts=amounts, **padding)

    def add_constant_pad(
        self,
        name: str,
        input_names: Names,
        output_name: str,
        value: float = 0.0,
        pad_to_given_output_size_mode: bool = False,
        pad_amounts: Sequence[int] = (),
    ) -> Message:
        """Elements of one value around a tensor.

        Args:
            name: The layer's name.
            input_names: A tensor, and perhaps the amounts.
            output_name: What it makes.
            value: Of the new elements.
            pad_to_given_output_size_mode: An axis with an amount other than 0 before it, or after it, gets that size by
                padding at this side.
            pad_amounts: Before and after each axis, one axis after the other.

        Raises:
            InputError: The amounts are missing.
        """
        inputs, amounts = as_names(input_names), [int(n) for n in pad_amounts]
        require(len(inputs) > 1 or bool(amounts), "pad_amounts are missing", op=f"constantPad '{name}'")
        return self._add(
            "constantPad",
            name,
            inputs,
            output_name,
            value=value,
            padToGivenOutputSizeMode=pad_to_given_output_size_mode,
            padAmounts=amounts,
        )

    def add_crop(
        self,
        name: str,
        left: int,
        right: int,
        top: int,
        bottom: int,
        offset: Sequence[int],
        input_names: Sequence[str],
        output_name: str,
    ) -> Message:
        """Images without their edges; or, with a second input, a part of its size from [top, left] = ``offset``."""
        inputs = as_names(input_names)
        return self._add(
            "crop",
            name,
            inputs,
            output_name,
            offset=(0, 0) if len(inputs) == 1 else offset,
            cropAmounts=borders(top, bottom, left, right),
        )

    def add_reorganize_data(
        self,
        name: str,
        input_name: str,
        output_name: str,
        mode: str = "SPACE_TO_DEPTH",
        block_size: int = 2,
    ) -> Message:
        """Blocks of pixels become channels, or, by ``DEPTH_TO_SPACE`` and ``PIXEL_SHUFFLE``, the other way round."""
        op = f"reorganizeData '{name}'"
        require(block_size >= 2, "block_size out of range", op=op, expected="2 or more", actual=block_size)
        if mode.upper() == "PIXEL_SHUFFLE":
            self._needs(IOS_14)
        return self._add("reorganizeData", name, input_name, output_name, mode=mode, blockSize=block_size)
