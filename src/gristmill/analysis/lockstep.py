"""Runs a program in its declared types beside a shadow in a wide type, op by op.

Both runs advance together, so that a value lives until its last use and no run is ever stored whole. The declared run
is strict: an op is evaluated in the wide type on operands in their declared types, and its result rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gristmill.analysis.wide import Evaluator
from gristmill.devices.reference.executor import last_uses
from gristmill.errors import InputError
from gristmill.ir.builtin import const
from gristmill.ir.constants import Array, CastData, Data
from gristmill.ir.op import Op, RuntimeValue, round_to
from gristmill.ir.program import Block, Function, Value
from gristmill.ir.traits import ControlFlow, Decompresses, Random
from gristmill.ir.types import StateType, TensorType, fp16
from gristmill.runtime.session import check_tensor
from gristmill.runtime.state import Cell


@dataclass
class Pair:
    """A value in both runs."""

    typed: RuntimeValue
    shadow: RuntimeValue

    def item(self) -> Any:
        """The declared run decides which way control flow takes."""
        return self.typed.item()


Pairs: TypeAlias = "Mapping[str, Pair | tuple[Pair, ...]]"


@dataclass
class Step:
    """One op with floating results, just evaluated.

    Attributes:
        op: Which one.
        operands: Its operands in both runs.
        exact: Results on the declared run's operands, in the wide type, with constants as they were before typing.
        unrounded: The same with constants as declared: what was rounded.
        typed: The results of the declared run.
        shadow: Those of the shadow.
        inherited: For each operand that differs between the runs the sum of squares by which it alone changes the
            shadow's results: first all of its error, then the rounding of its shadow to its declared type.
    """

    op: Op
    operands: Pairs
    exact: list[Array]
    unrounded: list[Array]
    typed: list[Array]
    shadow: list[Array]
    inherited: dict[Value, tuple[float, float]]


class Lockstep:
    """A function that runs in its declared types and beside them in a wide one.

    Args:
        function: What to run.
        evaluator: Of the wide type.
        observe: Told of each op with floating results.
        heal: Whether the declared run goes on with the shadow's value, as near as the type has it, where it alone has
            no finite number: so that one run shows what would fail next if this were mended.
    """

    def __init__(
        self, function: Function, evaluator: Evaluator, observe: Callable[[Step], None], *, heal: bool = False
    ) -> None:
        self._function, self._evaluator = function, evaluator
        self._observe, self._heal = observe, heal
        self._dying = last_uses(function.body)
        self._alive: dict[Value, Pair] = {}

    def run(self, inputs: Mapping[str, Array]) -> list[Pair]:
        """Runs both from the same inputs and from states of zeros.

        Args:
            inputs: One array for each tensor input; floats may be wider than declared, and the shadow sees them so.

        Returns:
            The outputs, in order.
        """
        self._alive.clear()
        arguments = [self._argument(value, inputs) for value in self._function.inputs]
        sizes: dict[str, tuple[int, str]] = {}
        for value, pair in zip(self._function.inputs, arguments, strict=True):
            if isinstance(value.type, TensorType):
                check_tensor(value, pair.typed, sizes)
        return self._block(self._function.body, arguments)

    def _argument(self, value: Value, inputs: Mapping[str, Array]) -> Pair:
        if isinstance(value.type, StateType):
            zeros = np.zeros([int(str(n)) for n in value.type.wrapped.shape], value.type.wrapped.dtype.numpy)
            return Pair(Cell(zeros, owned=True), Cell(self._evaluator.widened(zeros), owned=False))
        if value.name not in inputs:
            raise InputError(f"input '{value.name}' is missing", expected=value.type, actual=", ".join(inputs))
        given = np.asarray(inputs[value.name])
        with np.errstate(over="ignore"):
            typed = given.astype(value.dtype.numpy)
        return Pair(typed, self._evaluator.widened(given if given.dtype.kind == "f" else typed))

    def _block(self, block: Block, arguments: Sequence[Any]) -> list[Pair]:
        self._alive.update(zip(block.arguments, arguments, strict=True))
        for op in block:
            if isinstance(op, const):
                continue
            self._alive.update(zip(op.results, self._execute(op), strict=True))
            for value in self._dying.get(op, ()):
                self._alive.pop(value, None)
        return [self._pair(value) for value in block.outputs]

    def _execute(self, op: Op) -> Sequence[Pair]:
        operands: Pairs = {
            name: tuple(map(self._pair, bound)) if isinstance(bound, tuple) else self._pair(bound)
            for name, bound in op.operands.items()
        }
        if op.has(ControlFlow):
            return op.control(operands, self._block)
        typed = _side(operands, "typed")
        if op.has(Decompresses) or op.has(Random):  # what the model says, the same for both
            return [Pair(result, self._evaluator.widened(result)) for result in op.compute(typed)]
        shadow = _side(operands, "shadow")
        if not _is_numeric(op):
            return list(map(Pair, op.compute(typed), self._evaluator.by_definition(op, shadow)))
        step = self._evaluated(op, operands, typed, shadow)
        self._observe(step)
        return list(map(Pair, map(self._healed, step.typed, step.shadow), step.shadow))

    def _evaluated(
        self, op: Op, operands: Pairs, typed: Mapping[str, RuntimeValue], shadow: Mapping[str, RuntimeValue]
    ) -> Step:
        evaluate = self._evaluator
        unrounded = evaluate(op, typed)
        results = [_rounded(array, value) for array, value in zip(unrounded, op.results, strict=True)]
        before_typing = {
            name: shadow[name] for name, value in op.operands.items() if isinstance(value, Value) and _was_cast(value)
        }
        wide = evaluate(op, shadow)
        exact = evaluate(op, {**typed, **before_typing}) if before_typing else unrounded
        inherited = self._inherited(op, operands, shadow, wide, exact)
        return Step(op, operands, exact, unrounded, results, wide, inherited)

    def _inherited(
        self, op: Op, operands: Pairs, shadow: Mapping[str, RuntimeValue], wide: list[Array], exact: list[Array]
    ) -> dict[Value, tuple[float, float]]:
        """What each differing operand alone does; a single one does all that ``exact`` shows."""
        differing: dict[Value, list[tuple[str, int]]] = {}
        for slot, index, value in op.uses():
            pair = _at(operands, slot, index)
            if value.constant is None and _differs(pair, self._evaluator):
                differing.setdefault(value, []).append((slot, index))

        def effect(places: list[tuple[str, int]], array: Array) -> float:
            changed = dict(shadow)
            for slot, index in places:
                now, old = self._evaluator.widened(array), changed[slot]
                changed[slot] = (*old[:index], now, *old[index + 1 :]) if isinstance(old, tuple) else now
            return sum(map(_energy, self._evaluator(op, changed), wide))

        found = {}
        for value, places in differing.items():
            pair = _at(operands, *places[0])
            alone = len(differing) == 1
            gathered = sum(map(_energy, exact, wide)) if alone else effect(places, pair.typed)
            rounded = round_to(pair.shadow, value.dtype)
            rounded = np.where(np.isfinite(rounded), rounded, pair.shadow)  # what gets lost is counted where it does
            same = np.array_equal(rounded, pair.typed, equal_nan=True)
            found[value] = (gathered, gathered if same else effect(places, rounded))
        return found

    def _healed(self, typed: Array, shadow: Array) -> Array:
        if not self._heal or typed.dtype.kind != "f" or typed.shape != shadow.shape:
            return typed
        lost = ~np.isfinite(typed) & np.isfinite(shadow)
        if not lost.any():
            return typed
        limit = np.finfo(typed.dtype).max
        return np.where(lost, np.clip(shadow, -limit, limit).astype(typed.dtype), typed)

    def _pair(self, value: Value) -> Pair:
        if value.constant is None:
            return self._alive[value]
        constant = value.constant
        if not isinstance(constant.type, TensorType):
            return Pair(constant.python(), constant.python())
        typed = constant.numpy()
        if typed.dtype.kind != "f":
            return Pair(typed, typed)
        return Pair(typed, self._evaluator.widened(_before_typing(constant.data).read()))


def _side(operands: Pairs, side: str) -> dict[str, RuntimeValue]:
    return {
        name: tuple(getattr(p, side) for p in pair) if isinstance(pair, tuple) else getattr(pair, side)
        for name, pair in operands.items()
    }


def _at(operands: Pairs, slot: str, index: int) -> Pair:
    found = operands[slot]
    return found[index] if isinstance(found, tuple) else found


def pairs_of(step: Step) -> Iterator[tuple[str, Value, Pair]]:
    """Floating operands of a step, with their fields and values."""
    for slot, index, value in step.op.uses():
        pair = _at(step.operands, slot, index)
        if isinstance(pair.typed, np.ndarray) and pair.typed.dtype.kind == "f":
            yield slot, value, pair


def _is_numeric(op: Op) -> bool:
    """Whether the op takes tensors and makes floats."""
    return any(isinstance(r.type, TensorType) and r.type.dtype.is_float for r in op.results) and all(
        isinstance(value.type, TensorType) or value.constant is not None for _, _, value in op.uses()
    )


def _rounded(array: Array, value: Value) -> Array:
    return round_to(array, value.dtype)


def _before_typing(data: Data) -> Data:
    """The contents of a constant before typing rounded them, where it still knows."""
    while isinstance(data, CastData) and data.dtype == fp16 and data.source.dtype.is_float:
        data = data.source
    return data


def _was_cast(value: Value) -> bool:
    return (
        value.constant is not None
        and isinstance(value.type, TensorType)
        and _before_typing(value.constant.data) is not value.constant.data
    )


def _differs(pair: Pair, evaluator: Evaluator) -> bool:
    if not (isinstance(pair.typed, np.ndarray) and pair.typed.dtype.kind == "f"):
        return False
    return not np.array_equal(evaluator.widened(pair.typed), pair.shadow, equal_nan=True)


def _energy(a: Array, b: Array) -> float:
    if a.shape != b.shape or a.dtype.kind != "f":
        return 0.0
    apart = np.subtract(a, b, dtype=np.float64).reshape(-1)
    apart = np.where(np.isfinite(apart), apart, 1e30)
    return float(apart @ apart)
