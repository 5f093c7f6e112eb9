"""Eager quantised modules in TorchScript, in terms of the operators that PyTorch's export uses.

A quantised tensor becomes its integers with their scale and zero point: export knows no others. Operators on quantised
tensors are what they are defined as: decode, compute in float32, encode.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators

from gristmill.errors import UnsupportedError

_CODES = {12: torch.int8, 13: torch.uint8}
"""TorchScript's numbers for qint8 and quint8."""


@dataclass(frozen=True)
class Quantized:
    """Integers that stand for ``scale·(values − zero_point)``; both are tensors along ``axis`` where that is given."""

    values: torch.Tensor
    scale: Any
    zero_point: Any
    axis: int | None = None

    @property
    def _range(self) -> tuple[int, int, torch.dtype]:
        limits = torch.iinfo(self.values.dtype)
        return limits.min, limits.max, self.values.dtype

    def dequantize(self) -> torch.Tensor:
        decode = torch.ops.quantized_decomposed
        found: torch.Tensor
        if self.axis is None:
            found = decode.dequantize_per_tensor(self.values, self.scale, self.zero_point, *self._range)
        else:
            found = decode.dequantize_per_channel(self.values, self.scale, self.zero_point, self.axis, *self._range)
        return found


def quantize(x: torch.Tensor, scale: float, zero_point: int, dtype: Any) -> Quantized:
    """Rounds to integers of a type, given as TorchScript's number for it or itself."""
    stored = _CODES.get(dtype, dtype)
    if stored not in _CODES.values():
        raise UnsupportedError("quantisation to this type", expected="qint8 or quint8", actual=dtype)
    limits = torch.iinfo(stored)
    encode = torch.ops.quantized_decomposed.quantize_per_tensor
    return Quantized(encode(x, scale, zero_point, limits.min, limits.max, stored), scale, zero_point)


@contextlib.contextmanager
def _outside_of_the_trace() -> Iterator[None]:
    """Weights are taken apart for real: what is traced are their integers."""
    with torch._C.DisableTorchFunction(), torch.utils._python_dispatch._disable_current_modes():
        yield


def from_storage(tensor: torch.Tensor) -> Quantized:
    """A quantised tensor of a module."""
    with _outside_of_the_trace():
        return _taken_apart(tensor)


def _taken_apart(tensor: torch.Tensor) -> Quantized:
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return Quantized(tensor.int_repr(), tensor.q_scale(), tensor.q_zero_point())
    scales, zeros = tensor.q_per_channel_scales().float(), tensor.q_per_channel_zero_points()
    return Quantized(tensor.int_repr(), scales, zeros, tensor.q_per_channel_axis())


def _elementwise(combine: Callable[..., torch.Tensor]) -> Callable[..., Quantized]:
    def rule(x: Quantized, y: Quantized, scale: float, zero_point: int) -> Quantized:
        return quantize(combine(x.dequantize(), y.dequantize()), scale, zero_point, x.values.dtype)

    return rule


def _linear(activate: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., Quantized]:
    def rule(x: Quantized, packed: Any, scale: float, zero_point: int) -> Quantized:
        with _outside_of_the_trace():
            weight, bias = torch.ops.quantized.linear_unpack(packed.script)
        y = torch.nn.functional.linear(x.dequantize(), from_storage(weight).dequantize(), bias)
        return quantize(activate(y), scale, zero_point, x.values.dtype)

    return rule


def _conv2d(activate: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., Quantized]:
    def rule(x: Quantized, packed: Any, scale: float, zero_point: int) -> Quantized:
        script = packed.script
        with _outside_of_the_trace():
            weight, bias = script.unpack()
        y = torch.nn.functional.conv2d(
            x.dequantize(),
            from_storage(weight).dequantize(),
            bias,
            script.stride(),
            script.padding(),
            script.dilation(),
            script.groups(),
        )
        return quantize(activate(y), scale, zero_point, x.values.dtype)

    return rule


def _same(x: torch.Tensor) -> torch.Tensor:
    return x


RULES: dict[str, Callable[..., Any]] = {
    "aten::quantize_per_tensor": quantize,
    "aten::dequantize": lambda q: q.dequantize() if isinstance(q, Quantized) else q,
    "quantized::add": _elementwise(torch.add),
    "quantized::add_relu": _elementwise(lambda x, y: torch.relu(x + y)),
    "quantized::mul": _elementwise(torch.mul),
    "quantized::linear": _linear(_same),
    "quantized::linear_relu": _linear(torch.relu),
    "quantized::conv2d": _conv2d(_same),
    "quantized::conv2d_relu": _conv2d(torch.relu),
}
