"""Inputs that are images, and what happens to their pixels before the first layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from gristmill.models.neural_network.layers import Layers
from gristmill.models.neural_network.layers.core import Names, as_names, choice, require
from gristmill.package.network_messages import all_layers
from gristmill.package.proto import Message

T = TypeVar("T")

_PLACES = {("NCHW", 4): (1, 2, 3), ("NHWC", 4): (3, 1, 2), ("NCHW", 3): (0, 1, 2), ("NHWC", 3): (2, 0, 1)}
"""Where channels, height and width stand, by format and rank."""


class Preprocessing(Layers):
    """The method that makes inputs images."""

    def set_pre_processing_parameters(
        self,
        image_input_names: Names | None = None,
        is_bgr: bool | Mapping[str, bool] = False,
        red_bias: float | Mapping[str, float] = 0.0,
        green_bias: float | Mapping[str, float] = 0.0,
        blue_bias: float | Mapping[str, float] = 0.0,
        gray_bias: float | Mapping[str, float] = 0.0,
        image_scale: float | Mapping[str, float] = 1.0,
        image_format: str = "NCHW",
    ) -> None:
        """Makes inputs images, and scales and shifts their pixels: image_scale · pixel + bias.

        All but the first and the last may be one for all inputs, or a mapping by name.

        Args:
            image_input_names: Inputs, arrays of 1 or 3 channels; or images already, which only get scale and biases.
            is_bgr: Channels are blue, green, red, not red, green, blue.
            red_bias: What is added to red.
            green_bias: What is added to green.
            blue_bias: What is added to blue.
            gray_bias: What is added to grey.
            image_scale: What pixels are multiplied by before.
            image_format: ``NCHW``, or ``NHWC`` for arrays with channels last: layers go on reading them so.

        Raises:
            InputError: There is no such input, or it has no shape of an image.
        """
        names = as_names(image_input_names)
        if not names or self.spec is None:
            return
        inputs = {feature.name: feature for feature in self.spec.description.input}
        for name in names:
            require(name in inputs, "there is no such input", expected=", ".join(inputs), actual=name)
        bgr = _by_name("is_bgr", is_bgr, names)
        biases = {"redBias": red_bias, "greenBias": green_bias, "blueBias": blue_bias, "grayBias": gray_bias}
        scaling = {field: _by_name(field, value, names) for field, value in biases.items()}
        scales = _by_name("image_scale", image_scale, names)
        for name in names:
            if inputs[name].type.WhichOneof("Type") == "multiArrayType":
                self._make_image(inputs[name], bool(bgr.get(name)), image_format)
            scaler = self.nn_spec.preprocessing.add(featureName=name).scaler
            scaler.channelScale = scales.get(name, 1.0)
            for field, values in scaling.items():
                setattr(scaler, field, values.get(name, 0.0))

    def _make_image(self, feature: Message, bgr: bool, image_format: str) -> None:
        name, shape = feature.name, tuple(feature.type.multiArrayType.shape)
        require(len(shape) in (3, 4), f"'{name}' has no shape of an image", expected="rank 3 or 4", actual=shape)
        places = {form: place for (form, rank), place in _PLACES.items() if rank == len(shape)}
        channels, height, width = (shape[axis] for axis in choice("image_format", image_format, places, name))
        require(channels in (1, 3), f"'{name}' has no channels of an image", expected="1 or 3", actual=channels)
        if image_format.upper() == "NHWC":
            self._keep_channels_last(name, len(shape))
        image = feature.type.imageType  # replaces the array
        image.width, image.height = width, height
        image.colorSpace = type(image).ColorSpace.Value("GRAYSCALE" if channels == 1 else "BGR" if bgr else "RGB")

    def _keep_channels_last(self, name: str, rank: int) -> None:
        """Images have channels first. Layers that bring them there vanish; for others channels are brought last."""
        first = [2, 0, 1] if rank == 3 else [0, 3, 1, 2]
        results = {output.name for output in self._outputs()}
        top = {layer.name: layer for layer in self.nn_spec.layers}
        readers = [layer for layer in all_layers(self.nn_spec) if name in layer.input]
        if all(
            layer.name in top and list(layer.transpose.axes) == first and not results & set(layer.output)
            for layer in readers
        ):
            for layer in readers:
                self._read_instead(layer.output[0], name)
                self._remove(layer.name)
            return
        last = f"{name}_to_nhwc"
        self._read_instead(name, last)
        self.add_transpose(last, [1, 2, 0] if rank == 3 else [0, 2, 3, 1], name, last)
        self.nn_spec.layers.insert(0, self.nn_spec.layers.pop())
        self.layer_specs[last] = self.nn_spec.layers[0]
        self.layers.insert(0, self.layers.pop())

    def _outputs(self) -> Sequence[Message]:
        return [] if self.spec is None else list(self.spec.description.output)

    def _read_instead(self, old: str, new: str) -> None:
        """Lets layers read another tensor."""
        for layer in all_layers(self.nn_spec):
            layer.input[:] = [new if name == old else name for name in layer.input]

    def _remove(self, name: str) -> None:
        place = [layer.name for layer in self.nn_spec.layers].index(name)
        del self.nn_spec.layers[place]
        self.layers.remove(name)
        del self.layer_specs[name]


def _by_name(what: str, value: T | Mapping[str, T], names: Sequence[str]) -> Mapping[str, T]:
    """One value for all names, or some names' own.

    Raises:
        InputError: A mapping has other names.
    """
    if not isinstance(value, Mapping):
        return dict.fromkeys(names, value)
    for name in value:
        require(name in names, f"{what} of an input that is no image", expected=", ".join(names), actual=name)
    return value
