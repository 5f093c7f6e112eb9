"""Matrix products with constants become ``linear``, and take over the bias that follows."""

from __future__ import annotations

import numpy as np

from gristmill.ir.constants import Array, Data, ReshapeData, TransposeData
from gristmill.ir.program import Value
from gristmill.passes.fusion import Fusion, FusionPass
from gristmill.passes.patterns import ANYTHING, Match, Miss, constant, op, var
from gristmill.passes.rewriting import (
    FoldedData,
    data_of,
    exact,
    folded_name,
    make_before,
    make_constant,
    rebuilt,
    static_shape,
)

_product = op.matmul(var("x"), constant("weight"), transpose_x=ANYTHING, transpose_y=ANYTHING).named("product")


def _linear(match: Match) -> Value | Miss:
    x, weight, product = match["x"], match["weight"], match.named["product"]
    if weight.rank != 2 or not 2 <= x.rank <= 3:
        return Miss(product, "linear has a matrix for weight, and at most three axes")
    if x.dtype != weight.dtype or not x.dtype.is_float:
        return Miss(product, f"it multiplies {x.dtype} by {weight.dtype}")
    if getattr(product, "transpose_x", False):
        return Miss(product, "it transposes its first operand")
    if not getattr(product, "transpose_y", False):
        name = f"{weight.name}_transposed"
        weight = make_constant(match.root, TransposeData(data_of(weight), (1, 0)), name)
    return make_before(match.root, "linear", x=x, weight=weight)


class FuseLinear(FusionPass):
    """``matmul(x, constant matrix)`` becomes ``linear``, whose weight is the transpose; no value changes.

    ``linear`` is Core ML's own form of a fully connected layer: of up to three axes.
    """

    name = "fuse_linear"
    fusions = (Fusion(_product, _linear),)


_layer = op.linear(var("x"), rest=True).named("layer")


def _with_bias(match: Match) -> Value | Miss:
    layer, added, root = match.named["layer"], match["bias"], match.root
    weight, old = layer.operand("weight"), layer.optional_operand("bias")
    (outputs,) = weight.shape[:1]
    if not isinstance(outputs, int) or not weight.dtype.is_float:
        return Miss(layer, "the bias of floats only is folded")
    vector = as_vector(added, axis=-1, length=outputs)
    if vector is None:
        return Miss(root, "what is added is not one number for each output")
    if old is None and root.op_name == "add":
        return rebuilt(layer, root, {"bias": vector}, name=root.name)
    if old is not None and old.constant is None:
        return Miss(layer, "its bias is not constant")
    sign = 1 if root.op_name == "add" else -1
    before = None if old is None else data_of(old)

    def total() -> Array:
        start = 0 if before is None else exact(before)
        return np.asarray(start + sign * exact(vector))

    bias: Data | Value = FoldedData(layer.result.dtype, (outputs,), total, f"bias of {root.name}")
    if old is not None:
        bias = make_constant(root, bias, folded_name(old))
    return rebuilt(layer, root, {"bias": bias}, name=root.name)


class FuseLinearBias(FusionPass):
    """A constant for each output that is added to a ``linear``, or taken away, joins its bias.

    The rounding of the product disappears. Two biases are summed in float64 and rounded once.
    """

    name = "fuse_linear_bias"
    fusions = (
        Fusion(op.add(_layer, constant("bias")), _with_bias),
        Fusion(op.sub(_layer, constant("bias")), _with_bias),
    )


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
