"""Affine quantisation of values that are computed: floats to 8-bit integers and back."""

from __future__ import annotations

import numpy as np

from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS17
from gristmill.ir.signature import Const, Operand, OptionalOperand, TypeVar
from gristmill.ir.types import DTYPES, Type, fp16, fp32, int8, uint8
from gristmill.ops.broadcast import along, normalized_axis


class _Quantization(Op):
    """``scale`` and ``zero_point`` are both scalars, or vectors along ``axis``."""

    since = iOS17
    F = TypeVar(fp16, fp32)
    Q = TypeVar(int8, uint8)

    scale = Operand(F, const=True, rank=(0, 1))
    zero_point = OptionalOperand(Q, const=True, rank=(0, 1))
    axis = Const(int, default=None)

    def _check_parameters(self) -> None:
        of = self.operand("input")
        if self.zero_point is not None and self.zero_point.rank != self.scale.rank:
            raise self.misfit(
                "rank of 'zero_point'", expected=f"{self.scale.rank}, as of 'scale'", actual=self.zero_point.rank
            )
        if self.scale.rank == 0:
            return
        if self.axis is None:
            raise self.misfit("'axis' of the vector 'scale'", expected="an axis of 'input'", actual="none")
        size = of.shape[normalized_axis(self.axis, of.rank, self)]
        for name in ("scale", "zero_point"):
            value = self.optional_operand(name)
            if value is not None and dims.never_equal(value.shape[0], size):
                raise self.misfit(f"length of '{name}'", expected=f"{size}, as of 'input'", actual=value.shape[0])


def along_axis(parameter: Array | None, axis: int | None, rank: int) -> Array:
    """A scalar, or a vector in a shape that broadcasts along an axis, in float64; 0 where there is none."""
    if parameter is None:
        return np.zeros(())
    return along(parameter.astype(np.float64), () if parameter.ndim == 0 or axis is None else (axis,), rank)


class dequantize(_Quantization):
    """``scale·(input - zero_point)``."""

    input = Operand(_Quantization.Q)

    def infer(self) -> Type:
        self._check_parameters()
        return self.input.tensor.with_dtype(self.scale.dtype)

    def reference(self, input: Array, scale: Array, zero_point: Array | None, axis: int | None) -> Array:
        rank = input.ndim
        return along_axis(scale, axis, rank) * (input.astype(np.float64) - along_axis(zero_point, axis, rank))


class quantize(_Quantization):
    """``round(input / scale) + zero_point``, clipped to the range of the result's type.

    Of two equally near integers the even one is taken. A NaN becomes the zero point.
    """

    input = Operand(_Quantization.F)
    output_dtype = Const(str, choices=("int8", "uint8"))

    def infer(self) -> Type:
        self._check_parameters()
        dtype = DTYPES[self.output_dtype]
        if self.zero_point is not None and self.zero_point.dtype != dtype:
            raise self.misfit(
                "type of 'zero_point'", expected=f"{dtype}, as 'output_dtype'", actual=self.zero_point.dtype
            )
        return self.input.tensor.with_dtype(dtype)

    def reference(
        self, input: Array, scale: Array, zero_point: Array | None, axis: int | None, output_dtype: str
    ) -> Array:
        dtype = DTYPES[output_dtype]
        steps = np.rint(input / along_axis(scale, axis, input.ndim))
        steps = np.nan_to_num(steps, nan=0.0, posinf=np.inf, neginf=-np.inf) + along_axis(zero_point, axis, input.ndim)
        return np.clip(steps, dtype.min, dtype.max).astype(dtype.numpy)


OPS = (dequantize, quantize)
