"""Normalisations, and scale and bias of channels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from gristmill.ir.constants import Array
from gristmill.models.neural_network.layers.core import LayerBuilder, require
from gristmill.package.proto import Message


class NormalizationLayers(LayerBuilder):
    """Layers that scale and shift."""

    def add_batchnorm(
        self,
        name: str,
        channels: int,
        gamma: ArrayLike,
        beta: ArrayLike,
        mean: ArrayLike | None = None,
        variance: ArrayLike | None = None,
        input_name: str = "data",
        output_name: str = "out",
        compute_mean_var: bool = False,
        instance_normalization: bool = False,
        epsilon: float = 1e-5,
    ) -> Message:
        """Gamma · (x − mean) / √(variance + epsilon) + beta, by channels.

        Args:
            name: The layer's name.
            channels: How many there are.
            gamma: [channels].
            beta: [channels].
            mean: [channels], where it is not computed.
            variance: [channels], where it is not computed.
            input_name: What it reads.
            output_name: What it makes.
            compute_mean_var: Mean and variance are those of each image.
            instance_normalization: Has to go with it: means over a batch are not computed.
            epsilon: What is added to the variance.

        Raises:
            InputError: An array is missing or has another size, or mean and variance would be a batch's.
        """
        op = f"batchnorm '{name}'"
        require(
            instance_normalization or not compute_mean_var,
            "mean and variance of a batch are not computed",
            op=op,
            hint="state them, or set instance_normalization",
        )
        given = {"gamma": gamma, "beta": beta} if compute_mean_var else {
            "gamma": gamma, "beta": beta, "mean": mean, "variance": variance
        }  # fmt: skip
        return self._add(
            "batchnorm",
            name,
            input_name,
            output_name,
            channels=channels,
            epsilon=epsilon,
            computeMeanVar=compute_mean_var,
            instanceNormalization=instance_normalization,
            **{what: _sized(what, values, (channels,), op) for what, values in given.items()},
        )

    def add_layer_normalization(
        self,
        name: str,
        input_name: str,
        output_name: str,
        normalized_shape: Sequence[int],
        gamma: ArrayLike,
        beta: ArrayLike,
        eps: float = 1e-5,
    ) -> Message:
        """Normalises over the last axes, whose sizes are ``normalized_shape``; gamma and beta have this shape."""
        op, shape = f"layerNormalization '{name}'", tuple(normalized_shape)
        for what, values in (("gamma", gamma), ("beta", beta)):
            require(
                np.shape(values) == shape, f"{what} of another shape", op=op, expected=shape, actual=np.shape(values)
            )
        return self._add(
            "layerNormalization",
            name,
            input_name,
            output_name,
            normalizedShape=shape,
            eps=eps,
            gamma=np.asarray(gamma),
            beta=np.asarray(beta),
        )

    def add_mvn(
        self,
        name: str,
        input_name: str,
        output_name: str,
        across_channels: bool = True,
        normalize_variance: bool = True,
        epsilon: float = 1e-5,
    ) -> Message:
        """Takes each image's mean away, and divides by its deviation; of each channel, or across them."""
        return self._add(
            "mvn",
            name,
            input_name,
            output_name,
            acrossChannels=across_channels,
            normalizeVariance=normalize_variance,
            epsilon=epsilon,
        )

    def add_l2_normalize(self, name: str, input_name: str, output_name: str, epsilon: float = 1e-5) -> Message:
        """Divides each image by the square root of its sum of squares plus ``epsilon``."""
        return self._add("l2normalize", name, input_name, output_name, epsilon=epsilon)

    def add_lrn(
        self,
        name: str,
        input_name: str,
        output_name: str,
        alpha: float,
        beta: float,
        local_size: int,
        k: float = 1.0,
    ) -> Message:
        """Local response normalisation: x / (k + alpha / n · Σx²)^beta over ``local_size`` = n channels."""
        return self._add("lrn", name, input_name, output_name, alpha=alpha, beta=beta, localSize=local_size, k=k)

    def add_scale(
        self,
        name: str,
        W: ArrayLike,
        b: ArrayLike | None,
        has_bias: bool,
        input_name: str,
        output_name: str,
        shape_scale: Sequence[int] | None = None,
        shape_bias: Sequence[int] | None = None,
    ) -> Message:
        """W · x + b; their shapes are [1], [C], [1, H, W] or [C, H, W]."""
        op = f"scale '{name}'"
        scale, bias = tuple(shape_scale or (1,)), tuple(shape_bias or (1,))
        fields = {"shapeBias": bias, "bias": _sized("b", b, bias, op)} if has_bias else {}
        return self._add(
            "scale",
            name,
            input_name,
            output_name,
            hasBias=has_bias,
            shapeScale=scale,
            scale=_sized("W", W, scale, op),
            **fields,
        )

    def add_bias(
        self, name: str, b: ArrayLike, input_name: str, output_name: str, shape_bias: Sequence[int] | None = None
    ) -> Message:
        """X + b; the shape of b is [1], [C], [1, H, W] or [C, H, W]."""
        op, shape = f"bias '{name}'", tuple(shape_bias or (1,))
        require(len(shape) in (1, 3), "a bias has 1 or 3 axes", op=op, actual=shape)
        return self._add("bias", name, input_name, output_name, shape=shape, bias=_sized("b", b, shape, op))


def _sized(what: str, values: ArrayLike | None, shape: Sequence[int], op: str) -> Array:
    """An array with as many elements as a shape says."""
    require(values is not None, f"{what} is missing", op=op)
    found = np.asarray(values)
    require(found.size == prod(shape), f"{what} of another size", op=op, expected=list(shape), actual=found.shape)
    return found
