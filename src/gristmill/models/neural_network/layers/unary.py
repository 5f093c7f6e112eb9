"""Arithmetic, element by element, of one tensor."""

from __future__ import annotations

from gristmill.models.neural_network.layers.core import LayerBuilder
from gristmill.package.proto import Message

_EPSILONS = {"INVERSE": 1e-4, "RSQRT": 1e-4, "LOG": 1e-45}
"""What keeps functions finite at 0, where nobody says otherwise."""


class UnaryLayers(LayerBuilder):
    """Layers that compute a function of each element."""

    def add_unary(
        self,
        name: str,
        input_name: str,
        output_name: str,
        mode: str,
        alpha: float = 1.0,
        shift: float = 0,
        scale: float = 1.0,
        epsilon: float | None = None,
    ) -> Message:
        """A function of scale · x + shift.

        Args:
            name: The layer's name.
            input_name: What it reads.
            output_name: What it makes.
            mode: ``sqrt``, ``rsqrt``, ``inverse``, ``power``, ``exp``, ``log``, ``abs`` or ``threshold``.
            alpha: The exponent of ``power``; the least value of ``threshold``.
            shift: What is added before.
            scale: What is multiplied before.
            epsilon: What keeps ``inverse``, ``rsqrt`` and ``log`` finite.

        Raises:
            InputError: There is no such mode.
        """
        if epsilon is None:
            epsilon = _EPSILONS.get(str(mode).upper(), 1e-6)
        fields = {"type": mode, "alpha": alpha, "shift": shift, "scale": scale, "epsilon": epsilon}
        return self._add("unary", name, input_name, output_name, **fields)

    def add_clip(
        self, name: str, input_name: str, output_name: str, min_value: float = 0.0, max_value: float = 1.0
    ) -> Message:
        """Elements between two bounds."""
        return self._add("clip", name, input_name, output_name, minVal=min_value, maxVal=max_value)

    def add_erf(self, name: str, input_name: str, output_name: str) -> Message:
        """Gauss's error function of each element."""
        return self._add("erf", name, input_name, output_name)

    def add_sin(self, name: str, input_name: str, output_name: str) -> Message:
        """Sine of each element, in radians."""
        return self._add("sin", name, input_name, output_name)

    def add_cos(self, name: str, input_name: str, output_name: str) -> Message:
        """Cosine of each element, in radians."""
        return self._add("cos", name, input_name, output_name)

    def add_tan(self, name: str, input_name: str, output_name: str) -> Message:
        """Tangent of each element, in radians."""
        return self._add("tan", name, input_name, output_name)

    def add_asin(self, name: str, input_name: str, output_name: str) -> Message:
        """Angle, in radians, of each sine."""
        return self._add("asin", name, input_name, output_name)

    def add_acos(self, name: str, input_name: str, output_name: str) -> Message:
        """Angle, in radians, of each cosine."""
        return self._add("acos", name, input_name, output_name)

    def add_atan(self, name: str, input_name: str, output_name: str) -> Message:
        """Angle, in radians, of each tangent."""
        return self._add("atan", name, input_name, output_name)

    def add_sinh(self, name: str, input_name: str, output_name: str) -> Message:
        """Hyperbolic sine of each element."""
        return self._add("sinh", name, input_name, output_name)

    def add_cosh(self, name: str, input_name: str, output_name: str) -> Message:
        """Hyperbolic cosine of each element."""
        return self._add("cosh", name, input_name, output_name)

    def add_tanh(self, name: str, input_name: str, output_name: str) -> Message:
        """Hyperbolic tangent of each element."""
        return self._add("tanh", name, input_name, output_name)

    def add_asinh(self, name: str, input_name: str, output_name: str) -> Message:
        """Inverse hyperbolic sine of each element."""
        return self._add("asinh", name, input_name, output_name)

    def add_acosh(self, name: str, input_name: str, output_name: str) -> Message:
        """Inverse hyperbolic cosine of each element."""
        return self._add("acosh", name, input_name, output_name)

    def add_atanh(self, name: str, input_name: str, output_name: str) -> Message:
        """Inverse hyperbolic tangent of each element."""
        return self._add("atanh", name, input_name, output_name)

    def add_exp2(self, name: str, input_name: str, output_name: str) -> Message:
        """Two to the power of each element."""
        return self._add("exp2", name, input_name, output_name)

    def add_ceil(self, name: str, input_name: str, output_name: str) -> Message:
        """The next integer that is not below each element."""
        return self._add("ceil", name, input_name, output_name)

    def add_floor(self, name: str, input_name: str, output_name: str) -> Message:
        """The next integer that is not above each element."""
        return self._add("floor", name, input_name, output_name)

    def add_round(self, name: str, input_name: str, output_name: str) -> Message:
        """The nearest integer to each element."""
        return self._add("round", name, input_name, output_name)

    def add_sign(self, name: str, input_name: str, output_name: str) -> Message:
        """−1, 0 or 1 by each element's sign."""
        return self._add("sign", name, input_name, output_name)
