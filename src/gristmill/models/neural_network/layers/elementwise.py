"""Arithmetic, comparisons and logic, element by element, of several tensors."""

from __future__ import annotations

from collections.abc import Sequence

from gristmill.models.neural_network.layers.core import LayerBuilder, Names, as_names, choice, require
from gristmill.package.proto import Message

_LOGICAL = {"AND": "logicalAnd", "OR": "logicalOr", "XOR": "logicalXor", "NOT": "logicalNot"}


class ElementwiseLayers(LayerBuilder):
    """Layers that compute a function of elements at the same place."""

    def add_elementwise(
        self, name: str, input_names: Names, output_name: str, mode: str, alpha: float | None = None
    ) -> Message:
        """Several images to one.

        Args:
            name: The layer's name.
            input_names: What it reads; one name of ``ADD`` and ``MULTIPLY`` takes ``alpha`` as the other.
            output_name: What it makes.
            mode: ``CONCAT`` (of channels), ``SEQUENCE_CONCAT``, ``ADD``, ``MULTIPLY``, ``DOT``, ``COS`` (the cosine of
                the angle between vectors of channels), ``MAX``, ``MIN`` or ``AVE``.
            alpha: A constant that is added or multiplied.

        Raises:
            InputError: There is no such mode.
        """
        constant = {"alpha": alpha or None}
        modes = {
            "CONCAT": ("concat", {"sequenceConcat": False}),
            "SEQUENCE_CONCAT": ("concat", {"sequenceConcat": True}),
            "ADD": ("add", constant),
            "MULTIPLY": ("multiply", constant),
            "COS": ("dot", {"cosineSimilarity": True}),
            "DOT": ("dot", {"cosineSimilarity": False}),
            "MAX": ("max", {}),
            "MIN": ("min", {}),
            "AVE": ("average", {}),
        }
        kind, fields = choice("mode", mode, modes, f"elementwise '{name}'")
        return self._add(kind, name, input_names, output_name, **fields)

    def add_add_broadcastable(self, name: str, input_names: Sequence[str], output_name: str) -> Message:
        """Sums, broadcast."""
        return self._add("addBroadcastable", name, input_names, output_name)

    def add_multiply_broadcastable(self, name: str, input_names: Sequence[str], output_name: str) -> Message:
        """Products, broadcast."""
        return self._add("multiplyBroadcastable", name, input_names, output_name)

    def add_divide_broadcastable(self, name: str, input_names: Sequence[str], output_name: str) -> Message:
        """Quotients, broadcast."""
        return self._add("divideBroadcastable", name, input_names, output_name)

    def add_subtract_broadcastable(self, name: str, input_names: Sequence[str], output_name: str) -> Message:
        """Differences, broadcast."""
        return self._add("subtractBroadcastable", name, input_names, output_name)

    def add_max_broadcastable(self, name: str, input_names: Sequence[str], output_name: str) -> Message:
        """The larger of elements, broadcast."""
        return self._add("maxBroadcastable", name, input_names, output_name)

    def add_min_broadcastable(self, name: str, input_names: Sequence[str], output_name: str) -> Message:
        """The smaller of elements, broadcast."""
        return self._add("minBroadcastable", name, input_names, output_name)

    def add_floor_div_broadcastable(self, name: str, input_names: Sequence[str], output_name: str) -> Message:
        """Quotients rounded down, broadcast."""
        return self._add("floorDivBroadcastable", name, input_names, output_name)

    def add_mod_broadcastable(self, name: str, input_names: Sequence[str], output_name: str) -> Message:
        """Remainders with the divisor's sign, broadcast."""
        return self._add("modBroadcastable", name, input_names, output_name)

    def add_pow_broadcastable(self, name: str, input_names: Sequence[str], output_name: str) -> Message:
        """Powers, broadcast."""
        return self._add("powBroadcastable", name, input_names, output_name)

    def add_where_broadcastable(self, name: str, input_names: Sequence[str], output_name: str) -> Message:
        """Elements of the second input where the first holds, else of the third; broadcast."""
        return self._add("whereBroadcastable", name, input_names, output_name)

    def add_greater_than(
        self,
        name: str,
        input_names: Names,
        output_name: str,
        use_greater_than_equal: bool = False,
        alpha: float = 0.0,
    ) -> Message:
        """1 where the first input is greater than the second, or than ``alpha`` if there is no second; else 0."""
        kind = "greaterEqual" if use_greater_than_equal else "greaterThan"
        return self._compare(kind, name, input_names, output_name, alpha)

    def add_less_than(
        self, name: str, input_names: Names, output_name: str, use_less_than_equal: bool = False, alpha: float = 0.0
    ) -> Message:
        """1 where the first input is less than the second, or than ``alpha`` if there is no second; else 0."""
        kind = "lessEqual" if use_less_than_equal else "lessThan"
        return self._compare(kind, name, input_names, output_name, alpha)

    def add_equal(self, name: str, input_names: Names, output_name: str, alpha: float = 0.0) -> Message:
        """1 where the first input equals the second, or ``alpha`` if there is no second; else 0."""
        return self._compare("equal", name, input_names, output_name, alpha)

    def add_not_equal(self, name: str, input_names: Names, output_name: str, alpha: float = 0.0) -> Message:
        """0 where the first input equals the second, or ``alpha`` if there is no second; else 1."""
        return self._compare("notEqual", name, input_names, output_name, alpha)

    def _compare(self, kind: str, name: str, input_names: Names, output_name: str, alpha: float) -> Message:
        inputs = as_names(input_names)
        return self._add(kind, name, inputs, output_name, alpha=alpha if len(inputs) == 1 else None)

    def add_logical(self, name: str, input_names: Names, output_name: str, mode: str) -> Message:
        """``AND``, ``OR`` or ``XOR`` of two inputs, or ``NOT`` of one."""
        inputs = as_names(input_names)
        kind = choice("mode", mode, _LOGICAL, f"logical '{name}'")
        expected = 1 if kind == "logicalNot" else 2
        require(
            len(inputs) == expected, "another number of inputs", op=f"{kind} '{name}'", expected=expected, actual=inputs
        )
        return self._add(kind, name, inputs, output_name)
