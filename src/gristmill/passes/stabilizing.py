"""Rewrites that keep numbers in float16's range, or keep their digits; in exact arithmetic they change nothing.

They cost ops, and some hold only for the values that a model meets. So no conversion runs them by itself:
``precision.search`` tries them where an inspection shows trouble, verifies each by running the model, and writes down
what helped; ``PrecisionMap.rewrites`` repeats it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal, TypeAlias

from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.passes.fusion import Fusion, FusionPass
from gristmill.passes.patterns import Match, Miss

Cure: TypeAlias = Literal["range", "digits", "sums"]
"""What a rewrite is good for: numbers that leave float16's range, such as lose their digits or vanish, or sums that a
device holds in float16."""


class Stabilizer(FusionPass):
    """Replaces formulas by others of the same value.

    Args:
        only: Names of ops: a formula is replaced only if one of them is in it. Everywhere when left out.

    Attributes:
        cures: What it is good for.
        exact: Whether the value stays the same in exact arithmetic, whatever the model meets.
        touched: Names of the roots that were replaced.
    """

    cures: ClassVar[Cure] = "range"
    exact: ClassVar[bool] = True

    def __init__(self, only: Iterable[str] | None = None) -> None:
        super().__init__()
        self.only = None if only is None else frozenset(only)
        self.touched: list[str] = []

    def wants(self, ops: Iterable[Op]) -> bool:
        """Whether a place is one of those where the rewrite is wanted."""
        return self.only is None or any(op.name in self.only for op in ops)

    def _made(self, fusion: Fusion, found: Match) -> Value | Miss:
        if not self.wants(found.ops):
            return Miss(found.root, "the rewrite is not wanted here")
        made = super()._made(fusion, found)
        if isinstance(made, Value):
            self.touched.append(found.root.name)
        return made


def axes_of(reduction: Op) -> tuple[int, ...]:
    """The axes of a reduction, counted from the front, in order."""
    rank = reduction.operand("x").rank
    axes = getattr(reduction, "axes", None)
    return tuple(sorted(axis % rank for axis in (range(rank) if axes is None else axes)))
