"""Compressed weights of a program as those of a network: codes of 1 to 8 bits that stand for the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.ops.constexpr import constexpr_affine_dequantize, constexpr_blockwise_shift_scale
from gristmill.package.network_fields import pack_codes

Fields = Mapping[str, Any]
"""Fields of ``WeightParams``."""

_MOST_BITS = 8

_SAMPLE = 1 << 16
"""Elements that are looked at before all are: most weights that fit no table show it there."""


def as_table(numbers: Array) -> Fields | None:
    """Numbers as indices into a table of all that occur; nothing where these are too many, or no bytes are saved."""
    if numbers.dtype.kind != "f":
        return None
    # As integers: so -0 differs from 0, and NaN is equal to itself.
    flat = np.ascontiguousarray(numbers).reshape(-1).view(f"u{numbers.itemsize}")
    if len(np.unique(flat[:_SAMPLE])) > 1 << _MOST_BITS:
        return None
    found, indices = np.unique(flat, return_inverse=True)
    bits = max(1, (len(found) - 1).bit_length())
    if bits > _MOST_BITS or flat.size * bits // 8 + (4 << bits) >= flat.nbytes:
        return None
    table = np.zeros(1 << bits, np.float32)
    table[: len(found)] = found.view(numbers.dtype)
    return _fields(indices, bits, {"lookupTableQuantization": {"floatValue": table}})


def as_scaled(op: Op, axis: int) -> Fields | None:
    """What an op decodes as codes with a scale and a bias for each element of an axis, or for all.

    The op computes scale·(data − offset), a network scale·code + bias: that is the same sum, in float32.
    """
    own = axis
    match op:
        case constexpr_affine_dequantize():
            data, offset = op.operand("quantized_data"), op.optional_operand("zero_point")
            scale = op.operand("scale")
            own = op.axis % data.rank
        case constexpr_blockwise_shift_scale():
            data, offset = op.operand("data"), op.optional_operand("offset")
            scale = op.operand("scale")
            if any(groups > 1 for place, groups in enumerate(scale.shape) if place != axis):
                return None
        case _:
            return None
    codes, factor, shift = (_row(value) for value in (data, scale, offset))
    if codes is None or factor is None or shift is None or not data.dtype.is_integer:
        return None
    if own != axis and max(factor.size, shift.size) > 1:
        return None
    lowest, factor = data.dtype.min, factor.astype(np.float64)
    bias = (lowest - shift.astype(np.float64)) * factor  # exact: integers of 9 bits and numbers of 24
    meaning = {"linearQuantization": {"scale": factor, "bias": bias}}
    return _fields(codes.astype(np.int16) - lowest, data.dtype.bits, meaning)


def _row(value: Value | None) -> Array | None:
    """A constant's numbers, and 0 for what is left out; nothing of what another op decodes."""
    if value is None:
        return np.zeros(1)
    return None if value.constant is None else value.constant.numpy().reshape(-1)


def _fields(codes: Array, bits: int, meaning: Mapping[str, Any]) -> Fields:
    return {"rawValue": pack_codes(codes, bits), "quantization": {"numberOfBits": bits, **meaning}}
