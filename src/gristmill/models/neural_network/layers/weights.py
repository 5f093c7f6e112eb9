"""Weights as builders take them: numbers, or codes with what they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gristmill.errors import InputTypeError
from gristmill.ir.constants import Array
from gristmill.models.neural_network.layers.core import choice, require
from gristmill.package.network_fields import pack_codes
from gristmill.package.network_reader import unpack_codes

Weights = Array | bytes
"""Numbers, or the packed codes of quantised ones."""


@dataclass(frozen=True)
class Quantization:
    """What the codes of quantised weights stand for, in the words of the builder's parameters.

    Attributes:
        quantization_type: ``linear``: a code times a scale plus a bias; ``lut``: a code's entry in a table.
        nbits: Bits of a code, 1 to 8.
        quant_scale: One scale, or one for each output channel.
        quant_bias: The same of biases.
        quant_lut: The table of 2ⁿ numbers.
        int_8_dynamic_quantize: Codes have a sign, one scale and no bias, and the layer quantises what it reads as well.
    """

    quantization_type: str = "linear"
    nbits: int = 8
    quant_scale: ArrayLike | None = None
    quant_bias: ArrayLike | None = None
    quant_lut: ArrayLike | None = None
    int_8_dynamic_quantize: bool = False

    def fields(self, data: Weights, channels: int, op: str) -> Mapping[str, Any]:
        """Fields of ``WeightParams``.

        Args:
            data: The codes, packed as the format has them.
            channels: Output channels.
            op: The layer, for errors.

        Raises:
            InputError: Something is missing or has another size.
        """
        if not isinstance(data, bytes):
            raise InputTypeError("quantised weights are bytes", op=op, actual=type(data).__name__)
        require(1 <= self.nbits <= 8, "nbits of quantised weights", op=op, expected="1 to 8", actual=self.nbits)
        kinds = {"LINEAR": self._linear, "LUT": self._table}
        kind = choice("quantization_type", self.quantization_type, kinds, op)(channels, op)
        storage = "int8RawValue" if self.int_8_dynamic_quantize else "rawValue"
        return {storage: data, "quantization": {"numberOfBits": self.nbits, **kind}}

    def _linear(self, channels: int, op: str) -> Mapping[str, Any]:
        scale = self._numbers("quant_scale", self.quant_scale, (1, channels), op)
        if not self.int_8_dynamic_quantize:
            bias = self._numbers("quant_bias", self.quant_bias, (1, channels), op)
            return {"linearQuantization": {"scale": scale, "bias": bias}}
        require(self.nbits == 8, "int_8_dynamic_quantize takes 8 bits", op=op, actual=self.nbits)
        require(self.quant_bias is None, "int_8_dynamic_quantize takes no quant_bias", op=op)
        require(scale.size == 1, "int_8_dynamic_quantize takes one quant_scale", op=op, actual=scale.size)
        return {"linearQuantization": {"scale": scale}}

    def _table(self, channels: int, op: str) -> Mapping[str, Any]:
        return {
            "lookupTableQuantization": {"floatValue": self._numbers("quant_lut", self.quant_lut, (2**self.nbits,), op)}
        }

    def _numbers(self, name: str, given: ArrayLike | None, sizes: Sequence[int], op: str) -> Array:
        require(given is not None, f"{name} is missing", op=op, hint=f"'{self.quantization_type}' weights need it")
        numbers = np.atleast_1d(np.asarray(given, np.float64))
        expected = " or ".join(map(str, dict.fromkeys(sizes)))
        require(numbers.ndim == 1 and len(numbers) in sizes, name, op=op, expected=expected, actual=numbers.shape)
        return numbers

    def reorder(self, data: Weights | None, shape: Sequence[int], axes: Sequence[int], op: str) -> bytes:
        """Packed codes of a shape with its axes in another order.

        Raises:
            InputError: There are not as many codes as the shape has elements.
        """
        if not isinstance(data, bytes):
            raise InputTypeError("quantised weights are bytes", op=op, actual=type(data).__name__)
        count = int(np.prod(shape))
        expected = -(-count * self.nbits // 8)
        require(len(data) == expected, "bytes of quantised weights", op=op, expected=expected, actual=len(data))
        codes = unpack_codes(data, count, self.nbits).reshape(shape)
        return pack_codes(codes.transpose(axes), self.nbits)


def bias_of(has_bias: bool, bias: ArrayLike | None, size: int, op: str) -> Array | None:
    """A bias of a stated size, or none.

    Raises:
        InputError: It is missing or has another size.
    """
    if not has_bias:
        return None
    require(bias is not None, "the bias is missing", op=op, hint="has_bias says that there is one")
    found = np.asarray(bias)
    require(found.size == size, "a bias of another size", op=op, expected=size, actual=found.size)
    return found
