"""Devices that run ops by their definitions in the arithmetic of a numerics profile."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gristmill.devices.float16 import float16_array
from gristmill.devices.profiles import NumericsProfile, profile_of
from gristmill.devices.reference import ReferenceDevice
from gristmill.devices.reference.executor import ReferenceExecutable
from gristmill.errors import InputError
from gristmill.ir.constants import Array
from gristmill.ir.op import Op, RuntimeValue
from gristmill.ir.program import Function, Value
from gristmill.ir.signature import Const
from gristmill.ir.traits import Decompresses, Elementwise, Exact
from gristmill.ir.types import TensorType, fp16

_LEAST_NORMAL = np.finfo(np.float16).smallest_normal


def _as_float32(array: Array) -> Array:
    return array.astype(np.float32, copy=False)


def tensors_of(op: Op) -> list[Value]:
    """Operands of an op that are data: what a ``Const`` field holds, such as an epsilon, is an attribute."""
    return [value for name, _, value in op.uses() if not isinstance(op.params[name], Const)]


def _is_float16(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.dtype == fp16


def _is_wide(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.dtype.is_float and value.dtype != fp16


class SimulatedDevice(ReferenceDevice):
    """A model of a unit that is not here.

    Args:
        profile: How it computes, or the name of a known profile.
    """

    unit: str
    """Whose profiles it takes."""

    def __init__(self, profile: NumericsProfile | str) -> None:
        self.profile = profile_of(profile)
        if self.profile.unit != self.unit:
            raise InputError(
                f"profile '{self.profile.name}' is of another unit", expected=self.unit, actual=self.profile.unit
            )

    def prepare(self, function: Function) -> ReferenceExecutable:
        self.check(function)
        return ReferenceExecutable(function, self.evaluate)

    def evaluate(self, op: Op, operands: Mapping[str, RuntimeValue]) -> list[RuntimeValue]:
        """What the unit computes for an op, by the profile.

        Exact ops move, compare and select. Functions of one element are taken to be tables or polynomials of enough
        precision: their results are rounded once. Of all others the definition is evaluated with every step, sums above
        all, in the type in which the profile accumulates; only what decompresses weights is exact until it is stored.
        """
        if op.has(Exact):
            return op.compute(operands)
        given = {name: self._flushed(value) for name, value in operands.items()}
        if op.has(Elementwise) or op.has(Decompresses):
            results = op.compute(given)
        else:
            # One float32 tensor makes it an op of float32, and integers are no business of float16.
            narrow = not any(map(_is_wide, tensors_of(op))) and all(map(_is_float16, op.results))
            narrow = narrow and self.profile.accumulation == fp16
            results = op.compute(given, floats=float16_array if narrow else _as_float32)
        return [self._flushed(result) for result in results]

    def _flushed(self, value: RuntimeValue) -> RuntimeValue:
        if isinstance(value, tuple):
            return tuple(map(self._flushed, value))
        if not (self.profile.flushes_subnormals and isinstance(value, np.ndarray) and value.dtype == np.float16):
            return value
        return np.where(np.abs(value) < _LEAST_NORMAL, np.copysign(np.float16(0), value), value)
