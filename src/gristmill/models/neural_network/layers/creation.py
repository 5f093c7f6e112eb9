"""Tensors from nothing: constants, ranges and random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from gristmill.ir.constants import Array
from gristmill.models.neural_network.layers.core import LayerBuilder, Names, require
from gristmill.package.proto import Message


class CreationLayers(LayerBuilder):
    """Layers that make tensors.

    Of each kind ``like`` makes the shape of its input, ``static`` a shape that is stated, and ``dynamic`` the shape
    that its input holds. Random numbers come from ``seed``; −1 lets the system choose one.
    """

    def add_load_constant(
        self, name: str, output_name: str, constant_value: ArrayLike, shape: Sequence[int]
    ) -> Message:
        """A constant of the shape [C, H, W]; of any shape where arrays keep theirs."""
        op = f"loadConstant '{name}'"
        require(self._exact or len(shape) == 3, "a shape of another length", op=op, expected=3, actual=list(shape))
        return self._add("loadConstant", name, (), output_name, shape=shape, data=_constant(constant_value, shape, op))

    def add_load_constant_nd(
        self, name: str, output_name: str, constant_value: ArrayLike, shape: Sequence[int]
    ) -> Message:
        """A constant of any shape."""
        op = f"loadConstantND '{name}'"
        data = _constant(constant_value, shape, op)
        return self._add("loadConstantND", name, (), output_name, shape=shape, data=data)

    def add_range_static(
        self,
        name: str,
        output_name: str,
        input_names: Names | None = None,
        end: float = 1,
        start: float = 0,
        step: float = 1,
    ) -> Message:
        """The numbers start, start + step, … before end."""
        fields = {"endValue": end, "startValue": start, "stepSizeValue": step}
        return self._add("rangeStatic", name, input_names or (), output_name, **fields)

    def add_range_dynamic(
        self, name: str, input_names: Sequence[str], output_name: str, start: float = 0, step: float = 1
    ) -> Message:
        """The numbers start, start + step, … before end; inputs are end, start and step, as far as given."""
        count = len(input_names)
        require(
            1 <= count <= 3, "another number of inputs", op=f"rangeDynamic '{name}'", expected="1 to 3", actual=count
        )
        return self._add("rangeDynamic", name, input_names, output_name, startValue=start, stepSizeValue=step)

    def add_fill_like(self, name: str, input_name: str, output_name: str, value: float = 0.0) -> Message:
        """One number everywhere, in the input's shape."""
        return self._add("fillLike", name, input_name, output_name, value=value)

    def add_fill_static(self, name: str, output_name: str, output_shape: Sequence[int], value: float = 0.0) -> Message:
        """One number everywhere, in a shape."""
        return self._add("fillStatic", name, (), output_name, targetShape=output_shape, value=value)

    def add_fill_dynamic(self, name: str, input_name: str, output_name: str, value: float = 0.0) -> Message:
        """One number everywhere, in the shape that the input holds."""
        return self._add("fillDynamic", name, input_name, output_name, value=value)

    def add_random_normal_like(
        self, name: str, input_name: str, output_name: str, mean: float = 0.0, stddev: float = 0.0, seed: int = -1
    ) -> Message:
        """Normally distributed numbers, in the input's shape."""
        return self._add("randomNormalLike", name, input_name, output_name, mean=mean, stdDev=stddev, seed=seed)

    def add_random_normal_static(
        self,
        name: str,
        output_name: str,
        output_shape: Sequence[int],
        mean: float = 0.0,
        stddev: float = 0.0,
        seed: int = -1,
    ) -> Message:
        """Normally distributed numbers, in a shape."""
        return self._add(
            "randomNormalStatic", name, (), output_name, outputShape=output_shape, mean=mean, stdDev=stddev, seed=seed
        )

    def add_random_normal_dynamic(
        self, name: str, input_names: Names, output_name: str, mean: float = 0.0, stddev: float = 0.0, seed: int = -1
    ) -> Message:
        """Normally distributed numbers, in the shape that the input holds."""
        return self._add("randomNormalDynamic", name, input_names, output_name, mean=mean, stdDev=stddev, seed=seed)

    def add_random_uniform_like(
        self, name: str, input_name: str, output_name: str, minval: float = 0.0, maxval: float = 1.0, seed: int = -1
    ) -> Message:
        """Evenly distributed numbers, in the input's shape."""
        return self._add("randomUniformLike", name, input_name, output_name, minVal=minval, maxVal=maxval, seed=seed)

    def add_random_uniform_static(
        self,
        name: str,
        output_name: str,
        output_shape: Sequence[int],
        minval: float = 0.0,
        maxval: float = 1.0,
        seed: int = -1,
    ) -> Message:
        """Evenly distributed numbers, in a shape."""
        return self._add(
            "randomUniformStatic",
            name,
            (),
            output_name,
            outputShape=output_shape,
            minVal=minval,
            maxVal=maxval,
            seed=seed,
        )

    def add_random_uniform_dynamic(
        self, name: str, input_names: Names, output_name: str, minval: float = 0.0, maxval: float = 1.0, seed: int = -1
    ) -> Message:
        """Evenly distributed numbers, in the shape that the input holds."""
        return self._add(
            "randomUniformDynamic", name, input_names, output_name, minVal=minval, maxVal=maxval, seed=seed
        )

    def add_random_bernoulli_like(
        self, name: str, input_name: str, output_name: str, prob: float = 0.5, seed: int = -1
    ) -> Message:
        """1 with a probability, else 0, in the input's shape."""
        return self._add("randomBernoulliLike", name, input_name, output_name, prob=prob, seed=seed)

    def add_random_bernoulli_static(
        self, name: str, output_name: str, output_shape: Sequence[int], prob: float = 0.5, seed: int = -1
    ) -> Message:
        """1 with a probability, else 0, in a shape."""
        return self._add("randomBernoulliStatic", name, (), output_name, outputShape=output_shape, prob=prob, seed=seed)

    def add_random_bernoulli_dynamic(
        self, name: str, input_names: Names, output_name: str, prob: float = 0.5, seed: int = -1
    ) -> Message:
        """1 with a probability, else 0, in the shape that the input holds."""
        return self._add("randomBernoulliDynamic", name, input_names, output_name, prob=prob, seed=seed)

    def add_categorical_distribution(
        self,
        name: str,
        input_name: str,
        output_name: str,
        num_samples: int,
        is_logits: bool = True,
        eps: float = 1e-10,
        temperature: float = 1.0,
        seed: int = -1,
    ) -> Message:
        """Random indices along the last axis.

        Args:
            name: The layer's name.
            input_name: Logits, or probabilities.
            output_name: What it makes: ``num_samples`` indices for each row.
            num_samples: How many.
            is_logits: Whether the input has logits.
            eps: What is added to probabilities before the logarithm.
            temperature: What logits are divided by.
            seed: Where random numbers come from.
        """
        return self._add(
            "categoricalDistribution",
            name,
            input_name,
            output_name,
            numSamples=num_samples,
            isLogits=is_logits,
            eps=eps,
            temperature=temperature,
            seed=seed,
        )


def _constant(values: ArrayLike, shape: Sequence[int], op: str) -> Array:
    """Numbers, as many as a shape has elements."""
    found = np.asarray(values)
    require(found.size == prod(shape), "a constant of another size", op=op, expected=list(shape), actual=found.shape)
    return found
