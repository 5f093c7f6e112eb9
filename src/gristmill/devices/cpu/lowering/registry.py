"""Lowerings by op: how each becomes native kernel calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from gristmill.devices.base import Refusal
from gristmill.devices.cpu.layout import Layout
from gristmill.ir.op import Op

if TYPE_CHECKING:
    from gristmill.devices.cpu.emit import Emitter

Emit: TypeAlias = "Callable[[Any, Emitter], None]"
Supports: TypeAlias = Callable[[Any], "Refusal | None"]
ScalingOf: TypeAlias = Callable[[Any], "Op | None"]


def _nothing(op: Op) -> Op | None:
    return None


@dataclass(frozen=True)
class Lowering:
    """How an op becomes kernel calls.

    Attributes:
        emit: Adds the calls.
        supports: ``None`` when it can, else why not.
        epilogue: The layout of the result, if element-wise ops of the same shape may be finished by its kernel.
        reads: Names of the operands that the calls read while they run; ``None`` for all. Others only shape the result.
        scaling: The op that multiplies an operand, if the kernel can do that as it reads.
    """

    emit: Emit
    supports: Supports
    epilogue: Layout | None = None
    reads: tuple[str, ...] | None = None
    scaling: ScalingOf = _nothing


LOWERINGS: dict[type[Op], Lowering] = {}


def _always(op: Op) -> Refusal | None:
    return None


def lowers(
    *ops: type[Op],
    supports: Supports = _always,
    epilogue: Layout | None = None,
    reads: tuple[str, ...] | None = None,
    scaling: ScalingOf = _nothing,
) -> Callable[[Emit], Emit]:
    """Declares a function as the lowering of some ops; a decorator.

    Args:
        ops: Which ops.
        supports: Refuses occurrences that the kernel cannot run.
        epilogue: The layout of the result, if the function calls ``Emitter.finish`` so that the kernel may finish
            element-wise ops.
        reads: Operands that are read while the op runs, if not all are.
        scaling: Finds what multiplies an operand, for an op whose function looks at ``Emitter.scaling``.
    """

    def register(emit: Emit) -> Emit:
        for op in ops:
            if op in LOWERINGS:
                raise AssertionError(f"'{op.op_name}' has two lowerings")
            LOWERINGS[op] = Lowering(emit, supports, epilogue, reads, scaling)
        return emit

    return register
