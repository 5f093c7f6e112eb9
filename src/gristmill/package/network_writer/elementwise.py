"""Arithmetic, comparisons and functions, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.ir import types
from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.ops import control_flow, elementwise_binary, elementwise_unary, tensor_operation
from gristmill.ops.nn import elementwise as nn
from gristmill.package.network_writer.registry import RefusedError, Writing, writes
from gristmill.package.network_writer.writer import Writer, epsilon

_FUNCTIONS: dict[type[Op], str] = {
    elementwise_unary.acos: "acos",
    elementwise_unary.asin: "asin",
    elementwise_unary.atan: "atan",
    elementwise_unary.atanh: "atanh",
    elementwise_unary.ceil: "ceil",
    elementwise_unary.cos: "cos",
    elementwise_unary.cosh: "cosh",
    elementwise_unary.erf: "erf",
    elementwise_unary.floor: "floor",
    elementwise_unary.logical_not: "logicalNot",
    elementwise_unary.round: "round",
    elementwise_unary.sign: "sign",
    elementwise_unary.sin: "sin",
    elementwise_unary.sinh: "sinh",
    elementwise_unary.tan: "tan",
    elementwise_unary.tanh: "tanh",
    nn.nn_acosh: "acosh",
    nn.nn_asinh: "asinh",
}
_UNARY: dict[type[Op], str] = {
    elementwise_unary.abs: "ABS",
    elementwise_unary.exp: "EXP",
    elementwise_unary.sqrt: "SQRT",
}
_WITH_EPSILON: dict[type[Op], str] = {
    elementwise_unary.inverse: "INVERSE",
    elementwise_unary.log: "LOG",
    elementwise_unary.rsqrt: "RSQRT",
}
_BROADCASTING: dict[type[Op], str] = {
    elementwise_binary.floor_div: "floorDivBroadcastable",
    elementwise_binary.logical_and: "logicalAnd",
    elementwise_binary.logical_or: "logicalOr",
    elementwise_binary.logical_xor: "logicalXor",
    elementwise_binary.maximum: "maxBroadcastable",
    elementwise_binary.minimum: "minBroadcastable",
    elementwise_binary.mod: "modBroadcastable",
}
_COMPARISONS: dict[type[Op], tuple[str, str]] = {
    elementwise_binary.equal: ("equal", "equal"),
    elementwise_binary.greater: ("greaterThan", "lessThan"),
    elementwise_binary.greater_equal: ("greaterEqual", "lessEqual"),
    elementwise_binary.less: ("lessThan", "greaterThan"),
    elementwise_binary.less_equal: ("lessEqual", "greaterEqual"),
    elementwise_binary.not_equal: ("notEqual", "notEqual"),
}
"""The layer, and the one for exchanged operands."""


def _function(kind: str) -> Writing:
    return lambda w, op: w.layer(kind, w.tensor(op.x))


def _unary(kind: str) -> Writing:
    return lambda w, op: w.layer("unary", w.tensor(op.x), type=kind)


def _with_epsilon(kind: str) -> Writing:
    return lambda w, op: w.layer("unary", w.tensor(op.x), type=kind, epsilon=epsilon(op.epsilon))


def _broadcasting(kind: str) -> Writing:
    return lambda w, op: w.layer(kind, w.tensor(op.x), w.tensor(op.y))


def _comparison(kind: str, exchanged: str) -> Writing:
    def write(w: Writer, op: Any) -> str:
        """With a number, the layer holds it."""
        if (alpha := _scalar(w, op.y, op.x)) is not None:
            return w.layer(kind, w.tensor(op.x), alpha=alpha)
        if (alpha := _scalar(w, op.x, op.y)) is not None:
            return w.layer(exchanged, w.tensor(op.y), alpha=alpha)
        return w.layer(kind, w.tensor(op.x), w.tensor(op.y))

    return write


def _scalar(w: Writer, value: Value, other: Value) -> float | None:
    """A constant number that does not give the other operand more axes."""
    return w.number(value) if value.rank <= other.rank and other.constant is None else None


for _op, _kind in _FUNCTIONS.items():
    writes(_op)(_function(_kind))
for _op, _kind in _UNARY.items():
    writes(_op)(_unary(_kind))
for _op, _kind in _WITH_EPSILON.items():
    writes(_op)(_with_epsilon(_kind))
for _op, _kind in _BROADCASTING.items():
    writes(_op)(_broadcasting(_kind))
for _op, _pair in _COMPARISONS.items():
    writes(_op)(_comparison(*_pair))


@writes(elementwise_binary.add)
def add(w: Writer, op: Any) -> str:
    return _sum_or_product(w, op, "add", "addBroadcastable")


@writes(elementwise_binary.mul)
def multiply(w: Writer, op: Any) -> str:
    return _sum_or_product(w, op, "multiply", "multiplyBroadcastable")


def _sum_or_product(w: Writer, op: Any, plain: str, broadcasting: str) -> str:
    """With a number, the layer holds it; integers stay tensors, so that readers can follow shapes."""
    if op.x.dtype.is_float:
        for x, y in ((op.x, op.y), (op.y, op.x)):
            if (alpha := _scalar(w, y, x)) is not None:
                return w.layer(plain, w.tensor(x), alpha=alpha)
        if op.x.tensor.is_static and op.x.shape == op.y.shape:
            return w.layer(plain, w.tensor(op.x), w.tensor(op.y))
    return w.layer(broadcasting, w.tensor(op.x), w.tensor(op.y))


@writes(elementwise_binary.sub)
def subtract(w: Writer, op: Any) -> str:
    if op.x.dtype.is_float and (alpha := _scalar(w, op.y, op.x)) is not None:
        return w.layer("add", w.tensor(op.x), alpha=-alpha)
    return w.layer("subtractBroadcastable", w.tensor(op.x), w.tensor(op.y))


@writes(elementwise_binary.real_div)
def divide(w: Writer, op: Any) -> str:
    return whole(w, op, w.layer("divideBroadcastable", w.tensor(op.x), w.tensor(op.y)))


@writes(elementwise_binary.pow)
def power(w: Writer, op: Any) -> str:
    if (alpha := _scalar(w, op.y, op.x)) is not None:
        return whole(w, op, w.layer("unary", w.tensor(op.x), type="POWER", alpha=alpha))
    return whole(w, op, w.layer("powBroadcastable", w.tensor(op.x), w.tensor(op.y)))


@writes(elementwise_unary.exp2)
def power_of_two(w: Writer, op: Any) -> str:
    return whole(w, op, w.layer("exp2", w.tensor(op.x)))


@writes(elementwise_unary.square)
def square(w: Writer, op: Any) -> str:
    x = w.tensor(op.x)
    return w.layer("multiply", x, x)


@writes(elementwise_unary.clip)
def clip(w: Writer, op: Any) -> str:
    if not op.alpha < op.beta:  # which the layer asks for
        above = w.layer("maxBroadcastable", w.tensor(op.x), w.load(np.float32(op.alpha).reshape(1)))
        return w.layer("minBroadcastable", above, w.load(np.float32(op.beta).reshape(1)))
    return w.layer("clip", w.tensor(op.x), minVal=op.alpha, maxVal=op.beta)


@writes(elementwise_unary.threshold)
def threshold(w: Writer, op: Any) -> str:
    return w.layer("unary", w.tensor(op.x), type="THRESHOLD", alpha=op.alpha)


@writes(elementwise_unary.cast)
def cast(w: Writer, op: Any) -> str:
    """Floats become integers by truncation, numbers truth values by comparison; else the numbers stay as they are."""
    source, wanted = op.x.dtype, op.result.dtype
    x = w.tensor(op.x)
    if wanted == source or source == types.bool_:
        return x
    if wanted == types.bool_:
        return w.layer("notEqual", x, alpha=0.0)
    if wanted.is_float:  # tensors have the type of the unit that runs them: there is no rounding to float16
        return x
    if source.is_float and wanted == types.int32:
        return truncated(w, x)
    if source.is_float or not wanted.min <= source.min <= source.max <= wanted.max:
        raise RefusedError(f"a network's numbers do not wrap as those of {wanted} do", "convert to an ML Program")
    return x


def whole(w: Writer, op: Any, x: str) -> str:
    """An op's result, truncated where it is one of integers: up to 2²⁴ that is right for float32 quotients, too."""
    return x if op.result.dtype.is_float else truncated(w, x)


def truncated(w: Writer, x: str) -> str:
    """Numbers without their fractions, towards zero."""
    down, up = w.layer("floor", x), w.layer("ceil", x)
    return w.layer("whereBroadcastable", w.layer("greaterThan", x, alpha=0.0), down, up)


@writes(control_flow.select)
def select(w: Writer, op: Any) -> str:
    return w.layer("whereBroadcastable", w.tensor(op.cond), w.tensor(op.a), w.tensor(op.b))


@writes(tensor_operation.identity)
def identity(w: Writer, op: Any) -> str:
    return w.tensor(op.x)
