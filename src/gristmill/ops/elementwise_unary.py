"""Functions of one element each: rounding, powers, logarithms, trigonometry, casts."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from gristmill.ir import types
from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS13, iOS17
from gristmill.ir.signature import ByOpset, Const, Operand, TypeVar
from gristmill.ir.traits import Elementwise, Exact, ShapeArithmetic, Trait
from gristmill.ir.types import Type, bool_, fp16, fp32, int8, int16, int32, uint8, uint16
from gristmill.ops.broadcast import decided_equal
from gristmill.ops.mathematics import erf as erf_of
from gristmill.ops.mathematics import truncated


class _Unary(Op):
    T = TypeVar(fp16, fp32)
    U = TypeVar(fp16, fp32)

    x = Operand(T)
    traits: ClassVar[tuple[type[Trait], ...]] = (Elementwise,)

    def infer(self) -> Type:
        return self.x.type


class _UnaryOfNumbers(_Unary):
    """Integers too."""

    N = TypeVar(fp16, fp32, int32)

    x = Operand(N)


def _in_type_of_x(value: float) -> Callable[[_Unary], float]:
    """A default that is rounded to the operand's type, as the files that spell it out have it."""

    def default(op: _Unary) -> float:
        return float(np.asarray(value, op.x.dtype.numpy))

    return default


class abs(_UnaryOfNumbers):
    """``|x|``. The least integer has no positive counterpart and stays itself."""

    traits = (Elementwise, Exact)

    def reference(self, x: Array) -> Array:
        return np.abs(x)


class acos(_Unary):
    """Inverse cosine in radians; NaN outside [-1, 1]."""

    def reference(self, x: Array) -> Array:
        return np.arccos(x)


class asin(_Unary):
    """Inverse sine in radians; NaN outside [-1, 1]."""

    def reference(self, x: Array) -> Array:
        return np.arcsin(x)


class atan(_Unary):
    """Inverse tangent in radians."""

    def reference(self, x: Array) -> Array:
        return np.arctan(x)


class atanh(_Unary):
    """Inverse hyperbolic tangent; ±∞ at ±1, NaN beyond."""

    def reference(self, x: Array) -> Array:
        return np.arctanh(x)


class cast(Op):
    """Changes the element type.

    Floats become integers by dropping the fraction; what is out of the integers' range becomes the nearest of them, and
    NaN becomes 0. Integers become narrower ones modulo 2ⁿ. Whatever is not 0, NaN included, is true; true becomes 1.
    """

    T = TypeVar(fp16, fp32, int32, bool_).also(iOS17, int8, uint8, int16, uint16)

    x = Operand(T)
    dtype = Const(str)
    traits = (Elementwise, Exact, ShapeArithmetic)

    def infer(self) -> Type:
        allowed = {t.name: t for t in self.T.allowed(self.opset)}
        if self.dtype not in allowed:
            raise self.misfit("unknown target type", expected=", ".join(sorted(allowed)), actual=repr(self.dtype))
        return self.x.tensor.with_dtype(allowed[self.dtype])

    def reference(self, x: Array, dtype: str) -> Array:
        to = types.DTYPES[dtype]
        if x.dtype == object:
            return _cast_dimensions(x, to)
        if to.is_integer and x.dtype.kind == "f":
            return truncated(x, to)
        return x.astype(to.numpy)


def _cast_dimensions(x: Array, to: types.DType) -> Array:
    """Known integers wrap; a dimension that is not known is taken to fit, or the program could not run."""
    if to == bool_:
        return np.logical_not(decided_equal(x, 0))
    if to.is_float:
        raise TypeError("dimensions are integers")
    wrapped = np.frompyfunc(lambda d: (d - to.min) % (1 << to.bits) + to.min if isinstance(d, int) else d, 1, 1)
    return np.asarray(wrapped(x))


class ceil(_Unary):
    """The least integer that is not below x."""

    traits = (Elementwise, Exact)

    def reference(self, x: Array) -> Array:
        return np.ceil(x)


class clip(_Unary):
    """``min(max(x, alpha), beta)``; a NaN stays one. From iOS17 on ``alpha`` must be below ``beta``."""

    alpha = Const(float, _Unary.T)
    beta = Const(float, _Unary.T)

    def infer(self) -> Type:
        if self.opset >= iOS17 and not self.alpha < self.beta:
            raise self.misfit("bounds of the interval", expected="alpha < beta", actual=f"{self.alpha}, {self.beta}")
        return self.x.type

    def reference(self, x: Array, alpha: float, beta: float) -> Array:
        return np.minimum(np.maximum(x, alpha), beta)


class cos(_Unary):
    """Cosine of radians."""

    def reference(self, x: Array) -> Array:
        return np.cos(x)


class cosh(_Unary):
    """Hyperbolic cosine."""

    def reference(self, x: Array) -> Array:
        return np.cosh(x)


class erf(_Unary):
    """The error function, ``2/√π·∫₀ˣ exp(-t²) dt``."""

    def reference(self, x: Array) -> Array:
        return erf_of(x)


class exp(_Unary):
    """``eˣ``."""

    def reference(self, x: Array) -> Array:
        return np.exp(x)


class exp2(_UnaryOfNumbers):
    """``2ˣ``; for integers modulo 2ⁿ, and 0 where x is negative."""

    def reference(self, x: Array) -> Array:
        if x.dtype.kind == "f":
            return np.exp2(x)
        bits = x.dtype.itemsize * 8
        return np.where((x >= 0) & (x < bits), np.left_shift(1, np.clip(x, 0, bits - 1)), 0)


class floor(_Unary):
    """The greatest integer that is not above x."""

    traits = (Elementwise, Exact)

    def reference(self, x: Array) -> Array:
        return np.floor(x)


class inverse(_Unary):
    """``1 / (x + epsilon)``."""

    epsilon = Const(float, ByOpset({iOS13: _Unary.T, iOS17: _Unary.U}), default=_in_type_of_x(1e-4))

    def reference(self, x: Array, epsilon: float) -> Array:
        return 1 / (x + epsilon)


class log(_Unary):
    """``ln(x + epsilon)``; -∞ at 0, NaN below. The default ``epsilon``, 1e-45, is 0 in float16."""

    epsilon = Const(float, ByOpset({iOS13: _Unary.T, iOS17: _Unary.U}), default=_in_type_of_x(1e-45))

    def reference(self, x: Array, epsilon: float) -> Array:
        return np.log(x + epsilon)


class logical_not(Op):
    """``not x``."""

    x = Operand(bool_)
    traits = (Elementwise, Exact, ShapeArithmetic)

    def infer(self) -> Type:
        return self.x.type

    def reference(self, x: Array) -> Array:
        return np.logical_not(x)


class round(_Unary):
    """The nearest integer; of two equally near ones the even one."""

    traits = (Elementwise, Exact)

    def reference(self, x: Array) -> Array:
        return np.rint(x)


class rsqrt(_Unary):
    """``1 / √(x + epsilon)``. The default ``epsilon``, 1e-12, is 0 in float16."""

    epsilon = Const(float, ByOpset({iOS13: _Unary.T, iOS17: _Unary.U}), default=_in_type_of_x(1e-12))

    def reference(self, x: Array, epsilon: float) -> Array:
        return 1 / np.sqrt(x + epsilon)


class sign(_UnaryOfNumbers):
    """-1, 0 or 1; NaN for a NaN."""

    traits = (Elementwise, Exact)

    def reference(self, x: Array) -> Array:
        return np.sign(x)


class sin(_Unary):
    """Sine of radians."""

    def reference(self, x: Array) -> Array:
        return np.sin(x)


class sinh(_Unary):
    """Hyperbolic sine."""

    def reference(self, x: Array) -> Array:
        return np.sinh(x)


class sqrt(_Unary):
    """``√x``; NaN below 0."""

    def reference(self, x: Array) -> Array:
        return np.sqrt(x)


class square(_UnaryOfNumbers):
    """``x²``; integers modulo 2ⁿ."""

    def reference(self, x: Array) -> Array:
        return x * x


class tan(_Unary):
    """Tangent of radians."""

    def reference(self, x: Array) -> Array:
        return np.tan(x)


class tanh(_Unary):
    """Hyperbolic tangent."""

    def reference(self, x: Array) -> Array:
        return np.tanh(x)


class threshold(_UnaryOfNumbers):
    """``max(x, alpha)``; a NaN stays one."""

    alpha = Const(float, _UnaryOfNumbers.N)

    def reference(self, x: Array, alpha: float) -> Array:
        return np.maximum(x, alpha)


OPS = (
    abs,
    acos,
    asin,
    atan,
    atanh,
    cast,
    ceil,
    clip,
    cos,
    cosh,
    erf,
    exp,
    exp2,
    floor,
    inverse,
    log,
    logical_not,
    round,
    rsqrt,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    tan,
    tanh,
    threshold,
)
