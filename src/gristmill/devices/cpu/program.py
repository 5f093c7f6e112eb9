"""Builds tile programs: the native form of a group of element-wise ops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gristmill.devices.cpu import _native
from gristmill.devices.cpu.contents import contents
from gristmill.ir.constants import Array, constant
from gristmill.ir.program import Value


class ProgramBuilder:
    """Collects the steps of one group.

    Args:
        first: The value that is in register 0 when the program starts, if it finishes another kernel's result.
        strict: Round every float16 result, as if each op stored it.
    """

    def __init__(self, first: Value | None = None, *, strict: bool = False) -> None:
        self.inputs: list[Value] = [first] if first is not None else []
        self.strict = strict
        self._input_of: dict[Value, int] = {first: 0} if first is not None else {}
        self._steps: list[tuple[str, int, tuple[int, ...], float, float]] = []
        self._made: dict[Value, int] = {}
        self._constants: dict[tuple[str, float], int] = {}
        self._count = 0

    def operand(self, value: Value) -> int:
        """The virtual register that holds a value: made by an earlier step, or loaded."""
        if value in self._made:
            return self._made[value]
        if value not in self._input_of:
            number = self.immediate(value)
            if number is not None:
                return self.constant(number, integer=not value.dtype.is_float)
            self._input_of[value] = len(self.inputs)
            self.inputs.append(value)
        return -1 - self._input_of[value]

    def parameter(self, array: Array) -> int:
        """The register of constants that no value of the program stands for, in float32; they broadcast."""
        numbers = constant(array.astype(np.float32))
        value = Value(numbers.type, "parameter")
        value.constant = numbers
        return self.operand(value)

    @staticmethod
    def immediate(value: Value) -> float | None:
        """The number of a constant with one element."""
        constant = contents(value)
        if constant is None or constant.data.size != 1:
            return None
        return float(constant.numpy().reshape(()))

    def constant(self, number: float, *, integer: bool = False) -> int:
        """A register filled with one number."""
        kind = "ConstantInt" if integer else "Constant"
        if (kind, number) not in self._constants:
            self._constants[kind, number] = self.step(kind, p=number)
        return self._constants[kind, number]

    def step(self, op: str, *operands: int, p: float = 0.0, q: float = 0.0) -> int:
        """Adds a step and returns the register of its result."""
        self._steps.append((op, self._count, operands, p, q))
        self._count += 1
        return self._count - 1

    def define(self, value: Value, register: int) -> None:
        """Says which register holds an op's result."""
        if self.strict and value.dtype.name == "fp16":
            register = self.step("RoundHalf", register)
        self._made[value] = register

    def build(self, outputs: Sequence[Value]) -> _native.Prepared:
        """The program, with registers reused as soon as nothing needs what they hold."""
        results = [self.operand(value) for value in outputs]
        last: dict[int, int] = {}
        for place, (_, _, operands, _, _) in enumerate(self._steps):
            for register in operands:
                last[register] = place
        for register in results:
            last[register] = len(self._steps)
        loaded = len(self.inputs)
        real: dict[int, int] = {-1 - i: i for i in range(loaded)}
        free: list[int] = []
        used = loaded
        steps = []
        for place, (op, to, operands, p, q) in enumerate(self._steps):
            if not free:
                free.append(used)
                used += 1
            real[to] = free.pop()
            x, y, z = ([real[r] for r in operands] + [real[to]] * 3)[:3]
            steps.append((op, real[to], x, y, z, p, q))
            dead = {r for r in (*operands, to) if r >= 0 and last.get(r, place) <= place}
            free += [real[r] for r in dead]
        return _native.tile_program(loaded, used, steps, [real[r] for r in results])
