"""Functions of two elements each, with NumPy's broadcasting: arithmetic, comparison, logic.

Integers are exact modulo 2ⁿ, and no operation on them fails: what is divided by zero is 0, and so is its remainder.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from gristmill.errors import DimError
from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.signature import Operand, TypeVar
from gristmill.ir.traits import Commutative, Elementwise, Exact, ShapeArithmetic, Trait
from gristmill.ir.types import TensorType, Type, bool_, fp16, fp32, int32
from gristmill.ops.broadcast import broadcast_shapes, decided_equal


class _Binary(Op):
    T = TypeVar(fp16, fp32, int32)

    x = Operand(T)
    y = Operand(T)
    traits: ClassVar[tuple[type[Trait], ...]] = (Elementwise, ShapeArithmetic)

    def infer(self) -> Type:
        return TensorType(self.x.dtype, broadcast_shapes(self.x.shape, self.y.shape, op=self))


class _Comparison(_Binary):
    """With a NaN all comparisons are false, but for ``not_equal``."""

    traits: ClassVar[tuple[type[Trait], ...]] = (Elementwise, Exact, ShapeArithmetic)

    def infer(self) -> Type:
        return TensorType(bool_, broadcast_shapes(self.x.shape, self.y.shape, op=self))


class _Logical(_Comparison):
    T = TypeVar(bool_)

    x = Operand(T)
    y = Operand(T)
    traits = (Elementwise, Commutative, Exact, ShapeArithmetic)


class add(_Binary):
    """``x + y``."""

    traits = (Elementwise, Commutative, ShapeArithmetic)

    def reference(self, x: Array, y: Array) -> Array:
        return x + y


class equal(_Comparison):
    """``x = y``; a NaN equals nothing."""

    traits = (Elementwise, Commutative, Exact, ShapeArithmetic)

    def reference(self, x: Array, y: Array) -> Array:
        return decided_equal(x, y) if x.dtype == object else np.equal(x, y)


class floor_div(_Binary):
    """``x / y`` rounded towards -∞: the floor of the exact quotient.

    Floats divided by zero give ±∞, or NaN for 0/0. Of integers, ``x / 0`` is 0, and the least one divided by -1 wraps
    to itself.
    """

    def reference(self, x: Array, y: Array) -> Array:
        return np.asarray(_floor_div_of_dims(x, y)) if x.dtype == object else np.floor_divide(x, y)


class greater(_Comparison):
    """``x > y``."""

    def reference(self, x: Array, y: Array) -> Array:
        return np.greater(x, y)


class greater_equal(_Comparison):
    """``x ≥ y``."""

    def reference(self, x: Array, y: Array) -> Array:
        return np.greater_equal(x, y)


class less(_Comparison):
    """``x < y``."""

    def reference(self, x: Array, y: Array) -> Array:
        return np.less(x, y)


class less_equal(_Comparison):
    """``x ≤ y``."""

    def reference(self, x: Array, y: Array) -> Array:
        return np.less_equal(x, y)


class logical_and(_Logical):
    """``x and y``."""

    def reference(self, x: Array, y: Array) -> Array:
        return np.logical_and(x, y)


class logical_or(_Logical):
    """``x or y``."""

    def reference(self, x: Array, y: Array) -> Array:
        return np.logical_or(x, y)


class logical_xor(_Logical):
    """``x`` or ``y``, but not both."""

    def reference(self, x: Array, y: Array) -> Array:
        return np.logical_xor(x, y)


class maximum(_Binary):
    """The greater of ``x`` and ``y``; NaN where one of them is."""

    traits = (Elementwise, Commutative, Exact, ShapeArithmetic)

    def reference(self, x: Array, y: Array) -> Array:
        return np.asarray(_maximum_of_dims(x, y)) if x.dtype == object else np.maximum(x, y)


class minimum(_Binary):
    """The lesser of ``x`` and ``y``; NaN where one of them is."""

    traits = (Elementwise, Commutative, Exact, ShapeArithmetic)

    def reference(self, x: Array, y: Array) -> Array:
        return np.asarray(_minimum_of_dims(x, y)) if x.dtype == object else np.minimum(x, y)


class mod(_Binary):
    """``x - y·⌊x / y⌋``, with the sign of ``y``; ``x mod 0`` is NaN for floats and 0 for integers."""

    def reference(self, x: Array, y: Array) -> Array:
        return np.asarray(_mod_of_dims(x, y)) if x.dtype == object else np.mod(x, y)


class mul(_Binary):
    """``x·y``."""

    traits = (Elementwise, Commutative, ShapeArithmetic)

    def reference(self, x: Array, y: Array) -> Array:
        return x * y


class not_equal(_Comparison):
    """``x ≠ y``; true where one is NaN."""

    traits = (Elementwise, Commutative, Exact, ShapeArithmetic)

    def reference(self, x: Array, y: Array) -> Array:
        return np.logical_not(decided_equal(x, y)) if x.dtype == object else np.not_equal(x, y)


class pow(_Binary):
    """``x`` to the power ``y``.

    Integers modulo 2ⁿ; a negative ``y`` truncates the fraction, so that only the powers of 1 and -1 are not 0.
    """

    traits = (Elementwise,)

    def reference(self, x: Array, y: Array) -> Array:
        if x.dtype.kind == "f":
            return np.power(x, y)
        reciprocal = np.where(np.abs(x) == 1, x, 0)
        negative = np.where(y & 1, reciprocal, np.square(reciprocal))
        return np.where(y < 0, negative, np.power(x, np.maximum(y, 0)))


class real_div(_Binary):
    """``x / y``; integers truncate towards zero, and ``x / 0`` is 0 for them."""

    def reference(self, x: Array, y: Array) -> Array:
        if x.dtype.kind == "f":
            return x / y
        if x.dtype == object:
            return np.asarray(_truncated_quotient_of_dims(x, y))
        quotient = np.floor_divide(x, y)
        return quotient + ((np.remainder(x, y) != 0) & ((x < 0) != (y < 0)))


class sub(_Binary):
    """``x - y``."""

    def reference(self, x: Array, y: Array) -> Array:
        return x - y


def _truncated_quotient(a: dims.Dim, b: dims.Dim) -> dims.Dim:
    quotient = dims.floor_div(a, b)
    if dims.always_le(0, quotient):
        return quotient
    if dims.always_lt(quotient, 0):
        return -dims.floor_div(-a, b)
    raise DimError(f"the sign of {a} / {b} depends on unknown dimensions")


_maximum_of_dims = np.frompyfunc(dims.maximum, 2, 1)
_minimum_of_dims = np.frompyfunc(dims.minimum, 2, 1)
_floor_div_of_dims = np.frompyfunc(dims.floor_div, 2, 1)
_mod_of_dims = np.frompyfunc(dims.mod, 2, 1)
_truncated_quotient_of_dims = np.frompyfunc(_truncated_quotient, 2, 1)


OPS = (
    add,
    equal,
    floor_div,
    greater,
    greater_equal,
    less,
    less_equal,
    logical_and,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    mod,
    mul,
    not_equal,
    pow,
    real_div,
    sub,
)
