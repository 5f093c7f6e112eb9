"""Pooling."""

from __future__ import annotations

from gristmill.models.neural_network.layers.conv import borders, padding_3d
from gristmill.models.neural_network.layers.core import IOS_14, LayerBuilder, choice, require
from gristmill.package.proto import Message


class PoolingLayers(LayerBuilder):
    """Layers that make one number of each window."""

    def add_pooling(
        self,
        name: str,
        height: int,
        width: int,
        stride_height: int,
        stride_width: int,
        layer_type: str,
        padding_type: str,
        input_name: str,
        output_name: str,
        exclude_pad_area: bool = True,
        is_global: bool = False,
        padding_top: int = 0,
        padding_bottom: int = 0,
        padding_left: int = 0,
        padding_right: int = 0,
        same_padding_asymmetry_mode: str = "BOTTOM_RIGHT_HEAVY",
    ) -> Message:
        """Pooling of images.

        Args:
            name: The layer's name.
            height: Of the window.
            width: Of the window.
            stride_height: Its step down.
            stride_width: Its step to the right.
            layer_type: ``MAX``, ``AVERAGE`` or ``L2``.
            padding_type: ``VALID``: padded as the four paddings say; ``SAME``: so that the result has the input's size
                divided by the stride; ``INCLUDE_LAST_PIXEL``: by the paddings, and by what a last window needs.
            input_name: What it reads.
            output_name: What it makes.
            exclude_pad_area: An average is of real pixels only.
            is_global: One window is the whole image.
            padding_top: Pixels above.
            padding_bottom: Pixels below; of ``INCLUDE_LAST_PIXEL`` as many as above.
            padding_left: Pixels to the left.
            padding_right: Pixels to the right; of ``INCLUDE_LAST_PIXEL`` as many as to the left.
            same_padding_asymmetry_mode: Which side of ``SAME`` gets more: ``BOTTOM_RIGHT_HEAVY`` or ``TOP_LEFT_HEAVY``.

        Raises:
            InputError: A type or mode is none of those above, or the paddings differ where they must not.
        """
        op = f"pooling '{name}'"
        top_left, bottom_right = (padding_top, padding_left), (padding_bottom, padding_right)
        paddings = borders(padding_top, padding_bottom, padding_left, padding_right)
        types = {
            "VALID": {"valid": {"paddingAmounts": paddings}},
            "SAME": {"same": {"asymmetryMode": same_padding_asymmetry_mode}},
            "INCLUDE_LAST_PIXEL": {"includeLastPixel": {"paddingAmounts": top_left}},
        }
        padding = choice("padding_type", padding_type, types, op)
        require(
            "includeLastPixel" not in padding or top_left == bottom_right,
            "INCLUDE_LAST_PIXEL pads opposite sides alike",
            op=op,
            expected=f"{top_left} below and to the right",
            actual=bottom_right,
        )
        return self._add(
            "pooling",
            name,
            input_name,
            output_name,
            type=layer_type,
            kernelSize=(height, width),
            stride=(stride_height, stride_width),
            avgPoolExcludePadding=exclude_pad_area,
            globalPooling=is_global,
            **padding,
        )

    def add_pooling3d(
        self,
        name: str,
        input_name: str,
        output_name: str,
        pooling_type: str,
        kernel_depth: int,
        kernel_height: int,
        kernel_width: int,
        stride_depth: int,
        stride_height: int,
        stride_width: int,
        padding_mode: str = "valid",
        custom_padding_front: int = 0,
        custom_padding_back: int = 0,
        custom_padding_top: int = 0,
        custom_padding_bottom: int = 0,
        custom_padding_left: int = 0,
        custom_padding_right: int = 0,
        average_pooling_count_excludes_padding: bool = False,
    ) -> Message:
        """Pooling over three axes of [batch, channels, depth, height, width].

        Args:
            name: The layer's name.
            input_name: What it reads.
            output_name: What it makes.
            pooling_type: ``max`` or ``average``.
            kernel_depth: Of the window.
            kernel_height: Of the window.
            kernel_width: Of the window.
            stride_depth: The window's step.
            stride_height: The window's step.
            stride_width: The window's step.
            padding_mode: ``valid``: none; ``same``; ``custom``: as the six paddings say.
            custom_padding_front: In front, where ``custom``.
            custom_padding_back: Behind.
            custom_padding_top: Above.
            custom_padding_bottom: Below.
            custom_padding_left: To the left.
            custom_padding_right: To the right.
            average_pooling_count_excludes_padding: An average is of real elements only.

        Raises:
            InputError: A type or mode is none of those above.
        """
        self._needs(IOS_14)
        amounts = (
            *(custom_padding_front, custom_padding_back, custom_padding_top),
            *(custom_padding_bottom, custom_padding_left, custom_padding_right),
        )
        return self._add(
            "pooling3d",
            name,
            input_name,
            output_name,
            type=pooling_type,
            kernelDepth=kernel_depth,
            kernelHeight=kernel_height,
            kernelWidth=kernel_width,
            strideDepth=stride_depth,
            strideHeight=stride_height,
            strideWidth=stride_width,
            countExcludePadding=average_pooling_count_excludes_padding,
            **padding_3d(padding_mode, *amounts),
        )

    def add_global_pooling3d(self, name: str, input_name: str, output_name: str, pooling_type: str) -> Message:
        """The ``max`` or ``average`` over depth, height and width."""
        self._needs(IOS_14)
        return self._add("globalPooling3d", name, input_name, output_name, type=pooling_type)
