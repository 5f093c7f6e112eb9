"""Single ops evaluated in a wide type, whatever type the program declares for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from gristmill.devices.base import Executable
from gristmill.devices.cpu import CpuDevice
from gristmill.errors import IRError, UnsupportedError
from gristmill.ir.builtin import const
from gristmill.ir.constants import Array, ArrayData, Constant, constant
from gristmill.ir.op import Op, RuntimeValue, round_to
from gristmill.ir.program import Function, Value
from gristmill.ir.signature import Const
from gristmill.ir.types import DType, TensorType, dtype_of, fp16, fp32, fp64
from gristmill.ops.elementwise_unary import cast

_SMALL = 256
"""Integers up to this many decide shapes more often than they are data: an op that knows them has fixed sizes."""


class Evaluator(ABC):
    """Evaluates ops on arrays of a wide floating type; other arrays come as the program declares them."""

    dtype: DType

    def widened(self, value: RuntimeValue) -> RuntimeValue:
        """A float array in the wide type; all else as it is."""
        if isinstance(value, tuple):
            return tuple(map(self.widened, value))
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            return value.astype(self.dtype.numpy, copy=False)
        return value

    def __call__(self, op: Op, operands: Mapping[str, RuntimeValue]) -> list[Array]:
        """The results, floats in the wide type.

        Args:
            op: Declared in any floating types.
            operands: All of them by field, constants included.
        """
        wide = {name: self.widened(value) for name, value in operands.items()}
        if isinstance(op, cast) and op.result.dtype.is_float:
            return [np.asarray(wide["x"], self.dtype.numpy)]  # only the rounding would be the op's own
        with np.errstate(all="ignore"):
            return [self._held(*pair) for pair in zip(self._evaluate(op, wide), op.results, strict=True)]

    def by_definition(self, op: Op, operands: Mapping[str, RuntimeValue]) -> list[RuntimeValue]:
        """The same by the op's reference, for ops on lists and states, and those that make no floats."""
        return [self._held(*pair) for pair in zip(op.evaluate(operands), op.results, strict=True)]

    def _held(self, result: RuntimeValue, value: Value) -> RuntimeValue:
        """A result as the runs go on with it: floats wide, all else as declared."""
        if isinstance(value.type, TensorType) and not value.dtype.is_float:
            return round_to(np.asarray(result), value.dtype)
        return self.widened(result)

    @abstractmethod
    def _evaluate(self, op: Op, operands: Mapping[str, RuntimeValue]) -> list[RuntimeValue]: ...


class Float64(Evaluator):
    """By the ops' own definitions."""

    dtype = fp64

    def _evaluate(self, op: Op, operands: Mapping[str, RuntimeValue]) -> list[RuntimeValue]:
        return op.evaluate(operands)


class Float32(Evaluator):
    """By native kernels: each op becomes a float32 function of its own, prepared, run and forgotten."""

    dtype = fp32

    def __init__(self) -> None:
        self._device = CpuDevice(strict=True)
        self._last: tuple[Op, Mapping[str, RuntimeValue], Executable | None] | None = None

    def _evaluate(self, op: Op, operands: Mapping[str, RuntimeValue]) -> list[RuntimeValue]:
        executable = self._prepared(op, operands)
        if executable is None:
            return op.evaluate(operands)
        return executable.run(dict(_arguments(op, operands)))

    def _prepared(self, op: Op, operands: Mapping[str, RuntimeValue]) -> Executable | None:
        """The op alone, ready to run; kept until another op comes, or other constants or sizes."""
        if self._last is not None:
            same, before, executable = self._last
            if same is op and _serves(op, before, operands):
                return executable
        try:
            executable = self._device.prepare(_alone(op, operands))
        except (IRError, UnsupportedError):  # no float32 form, or none with these values
            executable = None
        self._last = (op, dict(operands), executable)
        return executable


def _alone(op: Op, operands: Mapping[str, RuntimeValue]) -> Function:
    """A function that is one op, in float32."""
    function = Function("op", {}, op.opset)
    bound: dict[str, Value | tuple[Value, ...]] = {}
    arguments = dict(_arguments(op, operands))

    def place(slot: str, index: int, value: Value, given: Any) -> Value:
        name = _name(slot, index)
        if name in arguments:
            return function.body.add_argument(name, TensorType(dtype_of(given.dtype), given.shape))
        made = const.of(op.opset, _held(value, given), name)
        function.body.insert(made)
        return made.result

    for slot, found in op.operands.items():
        given = operands[slot]
        bound[slot] = (
            tuple(place(slot, i, v, g) for i, (v, g) in enumerate(zip(found, given, strict=True)))
            if isinstance(found, tuple)
            else place(slot, 0, found, given)
        )
    alone = type(op)(op.opset, bound, name="result", location=op.location)
    function.body.insert(alone)
    function.body.outputs = alone.results
    return function


def _held(value: Value, given: Any) -> Constant:
    """An operand as a constant: floats in float32, and where it names the type float16, float32 instead."""
    if isinstance(given, np.ndarray) and given.dtype.kind in "fiub":
        dtype = value.dtype if given.dtype.kind in "iu" else None
        return Constant(TensorType(dtype or dtype_of(given.dtype), given.shape), ArrayData(given, dtype))
    assert value.constant is not None
    if isinstance(value.type, TensorType) and value.constant.python() == fp16.name:
        return constant(fp32.name)
    return value.constant


def _arguments(op: Op, operands: Mapping[str, RuntimeValue]) -> list[tuple[str, Array]]:
    """Operands that the op alone takes as arguments: data that the program computes."""
    found = []
    for slot, index, value in op.uses():
        given = _at(operands, slot, index)
        if not _is_fixed(op, slot, value, given):
            found.append((_name(slot, index), given))
    return found


def _is_fixed(op: Op, slot: str, value: Value, given: Any) -> bool:
    if value.constant is not None or isinstance(op.params[slot], Const):
        return True
    return given.dtype.kind in "iu" and given.size <= _SMALL


def _serves(op: Op, before: Mapping[str, RuntimeValue], now: Mapping[str, RuntimeValue]) -> bool:
    """Whether what was prepared for some operands does for others: data of the same shapes."""
    for slot, index, value in op.uses():
        old, new = _at(before, slot, index), _at(now, slot, index)
        if old is new or not isinstance(new, np.ndarray):
            continue
        if old.shape != new.shape or (_is_fixed(op, slot, value, new) and not np.array_equal(old, new)):
            return False
    return True


def _at(operands: Mapping[str, RuntimeValue], slot: str, index: int) -> Any:
    found = operands[slot]
    return found[index] if isinstance(found, tuple) else found


def _name(slot: str, index: int) -> str:
    return f"{slot}_{index}"
