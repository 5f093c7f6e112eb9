"""Passes that replace formulas by ops."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gristmill.errors import TypeInferenceError
from gristmill.ir.op import Op
from gristmill.ir.program import Function, Value
from gristmill.passes.infra import FunctionPass, blocks_of
from gristmill.passes.patterns import Match, Miss, Pattern, find, find_all
from gristmill.passes.rewriting import erase_unused, replace, same_type

Rewrite: TypeAlias = Callable[[Match], "Value | Miss"]
"""Makes the replacement before the root of a match, or says why there is none."""


@dataclass(frozen=True)
class Fusion:
    """A formula and what replaces it."""

    formula: Pattern
    rewrite: Rewrite


class FusionPass(FunctionPass):
    """Replaces each formula by an op, root by root in program order; an op may be the result of an earlier fusion.

    Formulas are indexed by the ops that can be their root, so every op is tried for few of them. The replacement has
    the type of what it replaces, or it is not made; the op's own signature decides what the op can do.

    Attributes:
        declined: Where a formula stands but was left as it is, and why.
    """

    fusions: Sequence[Fusion] = ()

    def __init__(self) -> None:
        self.declined: list[Miss] = []
        self._by_root: dict[str, list[Fusion]] = defaultdict(list)
        for fusion in self.fusions:
            for root in fusion.formula.roots:
                self._by_root[root].append(fusion)

    def run_on(self, function: Function) -> bool:
        changed = False
        for block in blocks_of(function):
            for op in block:
                changed |= any(self._try(fusion, op) for fusion in self._by_root.get(op.op_name, ()))
        return changed

    def explain(self, op: Op) -> list[Miss]:
        """Why no formula stands at an op, for each formula that could; for people, it changes nothing."""
        found = [find(fusion.formula, op) for fusion in self._by_root.get(op.op_name, ())]
        return [result for result in found if isinstance(result, Miss)]

    def _try(self, fusion: Fusion, op: Op) -> bool:
        for found in find_all(fusion.formula, op):
            new = self._made(fusion, found)
            if isinstance(new, Value):
                replace(op, new)
                return True
            self.declined.append(new)
        return False

    def _made(self, fusion: Fusion, found: Match) -> Value | Miss:
        try:
            new = fusion.rewrite(found)
        except TypeInferenceError as error:
            return Miss(found.root, error.message)
        if isinstance(new, Value) and not same_type(new, found.root.result):
            assert new.producer is not None
            erase_unused(new.producer)
            return Miss(found.root, f"the type would change from {found.root.result.type} to {new.type}")
        return new
