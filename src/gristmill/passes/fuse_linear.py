"""Matrix products with constants become ``linear``, and take over the bias that follows."""

from __future__ import annotations

import numpy as np

from gristmill.ir.constants import Array, Data, TransposeData
from gristmill.ir.dims import always_equal
from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.ir.types import same_shape
from gristmill.passes.folding import FoldedData, as_vector, exact, folded_name, why_not_scaled
from gristmill.passes.fusion import Fusion, FusionPass
from gristmill.passes.patterns import ANYTHING, Apply, Match, Miss, constant, nonzero, op, scalar, var
from gristmill.passes.reshapes import static_or_one_open
from gristmill.passes.rewriting import data_of, make_before, make_constant, rebuilt

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


# --- numbers and reshapes around -------------------------------------------------------------------------------------

_MOVEMENTS = ("transpose", "reshape", "expand_dims", "squeeze")


def _moved(inner: Apply, number: int) -> Apply:
    return Apply(_MOVEMENTS, {"x": inner}, rest=True, name=f"movement {number}")


_moved_once = _moved(_layer, 1)
_moved_twice = _moved(_moved_once, 2)
_moved_thrice = _moved(_moved_twice, 3)
_MOVED = (_layer, _moved_once, _moved_twice, _moved_thrice)


def _multiplied(match: Match) -> Value | Miss:
    layer, root = match.named["layer"], match.root
    weight, bias = layer.operand("weight"), layer.optional_operand("bias")
    factor = match.number("number") if root.op_name == "mul" else 1 / match.number("number")
    reason = why_not_scaled(layer, np.asarray(factor))
    if reason is not None:
        return Miss(layer, reason)
    changed = {"weight": _times(weight, factor, layer)}
    if bias is not None:
        changed["bias"] = _times(bias, factor, layer)
    value = rebuilt(layer, layer, changed)
    for place in range(1, len(_MOVED)):
        movement = match.named.get(f"movement {place}")
        if movement is not None:
            value = rebuilt(movement, movement, {"x": value})
    return value


def _times(parameter: Value, factor: float, layer: Op) -> Value:
    data = data_of(parameter)
    scaled = FoldedData(data.dtype, data.shape, lambda: exact(data) * factor, f"scaled {parameter.name}")
    return make_constant(layer, scaled, folded_name(parameter))


class FuseLinearScale(FusionPass):
    """A number by which the result of a ``linear`` is multiplied or divided joins its weight and bias.

    Reshapes and transpositions, up to three, may stand between: attention scales queries behind them. The rounding of
    the product disappears; the new weight is computed in float64 and rounded once, as late as anybody reads it. Weights
    in float16, which are rounded already, are not multiplied.
    """

    name = "fuse_linear_scale"
    fusions = tuple(
        Fusion(formula, _multiplied)
        for moved in _MOVED
        for formula in (op.mul(moved, scalar("number")), op.real_div(moved, nonzero("number")))
    )


def _reshaped_before(match: Match) -> Value | Miss:
    x, layer, root = match["x"], match.named["layer"], match.root
    rows, width = root.result.shape[:-1], layer.operand("x").shape[-1]
    if not 1 <= len(rows) <= 2 or not always_equal(root.result.shape[-1], layer.result.shape[-1]):
        return Miss(root, "the reshape does not leave rows of outputs, or more than three axes")
    if not same_shape(x.shape, (*rows, width)):
        shape = static_or_one_open((*rows, width))
        if shape is None:
            return Miss(root, "two sizes are not known")
        x = make_before(root, "reshape", name=f"{layer.name}_rows", x=x, shape=shape)
    return rebuilt(layer, root, {"x": x}, name=root.name)


def _reshaped_after(match: Match) -> Value | Miss:
    x, layer, root = match["x"], match.named["layer"], match.root
    if not 2 <= x.rank <= 3 or not always_equal(x.shape[-1], layer.operand("x").shape[-1]):
        return Miss(
            root, "the first reshape changes more than how rows are counted, or there were more than three axes"
        )
    shape = static_or_one_open(root.result.shape)
    if shape is None:
        return Miss(root, "two sizes are not known")
    return make_before(root, "reshape", x=rebuilt(layer, root, {"x": x}), shape=shape)


_LAYER = op.linear(op.reshape(var("x"), rest=True), rest=True).named("layer")


class FuseLinearReshapes(FusionPass):
    """Of two reshapes around a ``linear`` one goes: either both can be done before it, or both after it.

    Where the first one joins axes and the second parts them again, neither is left. No value changes: the rows are the
    same ones in the same order, and each is multiplied by itself.
    """

    name = "fuse_linear_reshapes"
    fusions = (
        *(Fusion(reshape(_LAYER, rest=True), _reshaped_before) for reshape in (op.reshape, op.expand_dims, op.squeeze)),
        Fusion(op.reshape(_LAYER, rest=True), _reshaped_after),
    )
