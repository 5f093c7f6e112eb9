"""Constants that are computed of constants, and when a layer's weight may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gristmill.ir.constants import Array, Data, LazyData, ReshapeData
from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.ir.types import DType, fp32
from gristmill.passes.rewriting import data_of, is_readable, static_shape


class FoldedData(LazyData):
    """Constants computed of constants when somebody needs them: in float64, and rounded once.

    Folding a folded constant again starts from its float64 values, so that a chain of folds rounds once, too.

    Args:
        dtype: The floating type of the result.
        shape: Its shape.
        exact: Computes it in float64.
        label: What it is.
    """

    def __init__(self, dtype: DType, shape: Sequence[int], exact: Callable[[], Array], label: str = "folded") -> None:
        self.exact = exact
        super().__init__(dtype, tuple(shape), self._rounded, label)

    def _rounded(self) -> Array:
        with np.errstate(over="ignore"):
            return np.asarray(self.exact()).astype(self.dtype.numpy)


def exact(data: Data) -> Array:
    """A floating constant's contents in float64, as they are before any rounding that a fold left for later."""
    array = data.exact() if isinstance(data, FoldedData) else data.read()
    return np.asarray(array).astype(np.float64)


def as_vector(value: Value, *, axis: int, length: int) -> Data | None:
    """A constant as a vector if it broadcasts along one axis only; a single number is repeated.

    Args:
        value: A constant.
        axis: The axis, counted from the end (so negative).
        length: Its size.
    """
    shape = static_shape(value)
    data = data_of(value)
    if data.size == 1:
        return FoldedData(value.dtype, (length,), lambda: np.repeat(exact(data).reshape(-1), length), "repeated")
    place = len(shape) + axis
    if place < 0 or shape[place] != length or data.size != length:
        return None
    return ReshapeData(data, (length,))


def why_not_scaled(layer: Op, factors: Array) -> str | None:
    """Why the weight and bias of a linear or convolutional layer cannot take over factors; ``None`` if they can."""
    weight, bias = layer.operand("weight"), layer.optional_operand("bias")
    if not is_readable(weight) or (bias is not None and not is_readable(bias)):
        return "its weight or bias is not constant"
    if not layer.result.dtype == weight.dtype == fp32:
        return f"its weight is {weight.dtype}: to round it a second time would lower the precision"
    if len(weight.uses) > 1:
        return "its weight has other users, and the file would hold it twice"
    size = np.abs(factors)
    if not np.all((size == 0) | ((size >= 2.0**-60) & (size <= 2.0**60))):  # infinite and NaN ones are neither
        return "a factor is so large or small that weights might leave float32's normal range"
    return None


def folded_name(original: Value) -> str:
    """What a constant is called that was computed of another one."""
    return f"{original.name.removesuffix('_folded')}_folded"
