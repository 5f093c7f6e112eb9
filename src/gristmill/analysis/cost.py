"""What a choice of precision costs: time of ops, ops that leave the Neural Engine, casts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gristmill.ir.builtin import const
from gristmill.ir.op import Op
from gristmill.ir.program import Program, Value
from gristmill.ir.traits import Contraction, Decompresses
from gristmill.ir.types import TensorType, fp16, fp32
from gristmill.ops.elementwise_unary import cast


@dataclass(frozen=True)
class Cost:
    """The cost of a typed program.

    Attributes:
        ops: Ops with floating operands or results, casts between floating types apart.
        float32_ops: Those of them that are float32, which the Neural Engine does not take.
        evictions: How often, in the program's order, float32 ops follow a float16 one.
        casts: Casts between floating types.
        total: One number, in units of the multiply-adds of float16 ops; candidates are ordered by it.
    """

    ops: int
    float32_ops: int
    evictions: int
    casts: int
    total: float

    @property
    def share(self) -> float:
        """The share of the ops that are float32."""
        return self.float32_ops / self.ops if self.ops else 0.0


@dataclass(frozen=True)
class CostModel:
    """Prices of what a choice of precision brings about.

    The prices are a model: what matters is their order. Where a plan for real units is at hand, ``estimate`` gives its
    cost instead, and everything else is counted as before.

    Attributes:
        slower: By how much an op takes longer where it is float32.
        eviction: Of handing over to another unit and back, in multiply-adds.
        moved: Of each element that a cast reads.
        open_size: What a dimension counts that is known only when the model runs.
        estimate: The total of a typed program, in whatever unit.
    """

    slower: float = 4.0
    eviction: float = 1e5
    moved: float = 4.0
    open_size: int = 128
    estimate: Callable[[Program], float] | None = None

    def of(self, program: Program) -> Cost:
        """The cost of a typed program's main function."""
        ops = wide = evictions = casts = 0
        total = 0.0
        was_wide = False
        for op in program.main.body.walk():
            if isinstance(op, const) or op.has(Decompresses) or not _floats(op):
                continue
            if is_float_cast(op):
                casts += 1
                total += self.moved * self._size(op.result)
                continue
            ops += 1
            is_wide = is_float32(op)
            wide += is_wide
            evictions += is_wide and not was_wide
            was_wide = is_wide
            total += multiply_adds(op, self._size) * (self.slower if is_wide else 1)
        total += self.eviction * evictions
        return Cost(ops, wide, evictions, casts, total if self.estimate is None else self.estimate(program))

    def _size(self, value: Value) -> int:
        if not isinstance(value.type, TensorType):
            return 0
        return math.prod(dim if isinstance(dim, int) else self.open_size for dim in value.shape)


def multiply_adds(op: Op, size: Callable[[Value], int]) -> float:
    """An estimate of the multiply-adds of an op.

    A matrix product of [M, K] and [K, N] takes M·K·N = √(M·K · K·N · M·N); so every contraction is counted as the root
    of the sizes of its two largest operands and its result, and any other op as the size of its largest result.

    Args:
        op: The op.
        size: Elements of a value.
    """
    made = max(map(size, op.results), default=0)
    if not op.has(Contraction):
        return made
    return math.sqrt(made * math.prod(sorted(size(value) for _, _, value in op.uses())[-2:]))


def is_float_cast(op: Op) -> bool:
    """Whether an op only changes one floating type to another."""
    return isinstance(op, cast) and op.result.dtype.is_float and op.operand("x").dtype.is_float


def is_float32(op: Op) -> bool:
    """Whether an op computes in float32: the type of its floating results, or of its operands where it has none."""
    made = [value for value in op.results if _is_float(value)]
    return any(value.dtype == fp32 for value in made or [v for _, _, v in op.uses() if _is_float(v)])


def _floats(op: Op) -> list[Value]:
    return [value for value in (*op.results, *(v for _, _, v in op.uses() if v.constant is None)) if _is_float(value)]


def _is_float(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.dtype in (fp16, fp32)
