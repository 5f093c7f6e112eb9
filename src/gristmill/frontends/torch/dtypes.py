"""Element types of PyTorch and what they become.

Core ML computes in float16, float32, int32 and bool. A type becomes the narrowest of these that holds it: bfloat16 has
float32's range, so it becomes float32. float64 and int64 are narrowed: that is the rule of the target, as every Core ML
converter has it, and constants are checked for their range. Integers under 32 bits are computed in 32.
"""

from __future__ import annotations

import numpy as np
import torch

from gristmill.errors import ConversionError
from gristmill.ir import types
from gristmill.ir.constants import Array, ArrayData, Data, LazyData
from gristmill.ir.types import DType

_IR_TYPES = {
    torch.float16: types.fp16,
    torch.bfloat16: types.fp32,
    torch.float32: types.fp32,
    torch.float64: types.fp32,
    torch.bool: types.bool_,
    torch.uint8: types.int32,
    torch.int8: types.int32,
    torch.uint16: types.int32,
    torch.int16: types.int32,
    torch.int32: types.int32,
    torch.int64: types.int32,
}
_COMPONENTS = {torch.complex32: torch.float16, torch.complex64: torch.float32, torch.complex128: torch.float64}
_NARROW_INTEGERS = {
    torch.uint8: types.uint8,
    torch.int8: types.int8,
    torch.uint16: types.uint16,
    torch.int16: types.int16,
}


def ir_dtype(dtype: torch.dtype) -> DType:
    """The element type in which values of a PyTorch type are computed; for a complex type that of its components.

    Raises:
        ConversionError: It has none.
    """
    found = _IR_TYPES.get(_COMPONENTS.get(dtype, dtype))
    if found is None:
        raise ConversionError("Core ML has no such element type", actual=dtype)
    return found


def narrow_integer(dtype: torch.dtype) -> DType | None:
    """The type to whose range results are wrapped, for integers under 32 bits."""
    return _NARROW_INTEGERS.get(dtype)


def tensor_data(tensor: torch.Tensor, name: str) -> Data:
    """A tensor's contents in the type in which they are computed, without a copy until they are read.

    Args:
        tensor: A real tensor; its storage is shared.
        name: For messages.

    Raises:
        ConversionError: An integer is out of range.
    """
    tensor = tensor.detach()
    if tensor.device.type != "cpu":
        tensor = tensor.cpu()
    dtype = ir_dtype(tensor.dtype)
    shape = tuple(tensor.shape)
    if tensor.dtype in (torch.int64, torch.uint16) and tensor.numel():
        _check_range(tensor, name)
    if tensor.is_contiguous() and not tensor.is_conj() and _numpy_type(tensor.dtype) == dtype.numpy:
        return ArrayData(tensor.numpy(), dtype)

    def produce() -> Array:
        array: Array = tensor.to(getattr(torch, dtype.numpy.name)).numpy()
        return np.ascontiguousarray(array).reshape(shape)

    return LazyData(dtype, shape, produce, name)


def _numpy_type(dtype: torch.dtype) -> np.dtype[np.generic] | None:
    return None if dtype == torch.bfloat16 else np.dtype(str(dtype).removeprefix("torch."))


def _check_range(tensor: torch.Tensor, name: str) -> None:
    low, high = int(tensor.min()), int(tensor.max())
    if low < types.int32.min or high > types.int32.max:
        raise ConversionError(
            f"the 64-bit constant '{name}' has values that do not fit 32 bits",
            expected=f"values in {types.int32.min}…{types.int32.max}: Core ML computes with 32-bit integers",
            actual=f"{low}…{high}",
            hint="keep such values out of the model, or make them floats there",
        )
