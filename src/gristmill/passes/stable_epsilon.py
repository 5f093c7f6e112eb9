"""Guards against zero that float16 can hold."""

from __future__ import annotations

from collections.abc import Iterable

from gristmill.ir.program import Value
from gristmill.passes.fusion import Fusion
from gristmill.passes.patterns import ANYTHING, Match, Miss, Pattern, op, scalar, var
from gristmill.passes.rewriting import make_before, make_constant, rebuilt
from gristmill.passes.stabilizing import Stabilizer

_VANISHING = 2.0**-24
"""Float16's smallest number; what is smaller vanishes or doubles."""

_x, _epsilon = var("x"), scalar("epsilon")


def _own(op_name: str) -> Pattern:
    """An op that has a guard of its own."""
    return getattr(op, op_name)(_x, epsilon=ANYTHING)  # type: ignore[no-any-return]  # made by name


class RaiseEpsilon(Stabilizer):
    """``x + ε``, ``max(x, ε)``, and the ``epsilon`` of roots, logarithms and reciprocals, where float16 has no such ε.

    The guard becomes float16's smallest normal number. That changes what is not much larger than it; running the model
    tells whether anything is.
    """

    name = "raise_epsilon"
    cures = "digits"
    least = 2.0**-14

    def __init__(self, only: Iterable[str] | None = None) -> None:
        self.fusions = (
            Fusion(op.add(_x, _epsilon), self._operand),
            Fusion(op.maximum(_x, _epsilon), self._operand),
            Fusion(op.clip(_x, alpha=ANYTHING, beta=ANYTHING), self._bound),
            *(Fusion(_own(name), self._parameter) for name in ("rsqrt", "log", "inverse")),
        )
        super().__init__(only)

    def _operand(self, match: Match) -> Value | Miss:
        if not 0 < match.number("epsilon") < _VANISHING:
            return Miss(match.root, "what is added is no guard that float16 would lose")
        root, x = match.root, match["x"]
        raised = make_constant(root, x.dtype.numpy.type(self.least), f"{root.name}_epsilon")
        return make_before(root, root.op_name, x=x, y=raised)

    def _bound(self, match: Match) -> Value | Miss:
        if not 0 < getattr(match.root, "alpha", 0.0) < _VANISHING:
            return Miss(match.root, "its lower bound is no guard that float16 would lose")
        return rebuilt(match.root, match.root, {"alpha": self.least})

    def _parameter(self, match: Match) -> Value | Miss:
        if not getattr(match.root, "epsilon", 1.0) < _VANISHING:
            return Miss(match.root, "float16 holds its epsilon")
        return rebuilt(match.root, match.root, {"epsilon": self.least})


class RaiseEpsilonLittle(RaiseEpsilon):
    """The same with float16's smallest number, for models that meet numbers in between."""

    name = "raise_epsilon_little"
    least = _VANISHING
