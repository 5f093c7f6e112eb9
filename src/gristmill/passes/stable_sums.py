"""Long sums in stages, for units that hold a sum in float16: there, what is added to 2048 ones is lost."""

from __future__ import annotations

import math

from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.passes.fusion import Fusion
from gristmill.passes.patterns import ANYTHING, Apply, Match, Miss, var
from gristmill.passes.rewriting import make_before
from gristmill.passes.stabilizing import Stabilizer, axes_of

_LONG = 1024
"""From so many terms on a sum is split: half of the 2048 beyond which float16 has no more odd numbers."""

_MOST_RANK = 5
"""Of Core ML's tensors."""


_reduction = Apply(("reduce_mean", "reduce_sum"), {"x": var("x"), "axes": ANYTHING, "keep_dims": ANYTHING})


def _in_stages(match: Match) -> Value | Miss:
    root, x = match.root, match["x"]
    axes = axes_of(root)
    sizes = [x.shape[axis] for axis in axes]
    fixed = [size for size in sizes if isinstance(size, int)]
    if len(fixed) < len(sizes):
        return Miss(root, "how many elements it sums is not known")
    if math.prod(fixed) < _LONG or not x.dtype.is_float:
        return Miss(root, "it is short, or exact")
    if len(axes) == 1 and _halfway(fixed[0]) == 1:
        return Miss(root, "its size has no divisors")
    for axis, size in sorted(zip(axes, fixed, strict=True), reverse=True):
        inner = _halfway(size) if size >= _LONG else 1
        if inner > 1 and x.rank < _MOST_RANK and sum(not isinstance(n, int) for n in x.shape) <= 1:
            shape = [n if isinstance(n, int) else -1 for n in x.shape]
            shape[axis : axis + 1] = [size // inner, inner]
            x = make_before(root, "reshape", name=f"{root.name}_parts", x=x, shape=tuple(shape))
            x = _reduced(root, x, axis + 1, keep=False)
        x = _reduced(root, x, axis, keep=True)
    if bool(getattr(root, "keep_dims", False)):
        return x
    return make_before(root, "squeeze", x=x, axes=axes)


def _reduced(root: Op, x: Value, axis: int, *, keep: bool) -> Value:
    return make_before(root, root.op_name, name=f"{root.name}_stage", x=x, axes=(axis,), keep_dims=keep)


def _halfway(size: int) -> int:
    """The divisor that is nearest below the square root; 1 for primes."""
    return next(divisor for divisor in range(math.isqrt(size), 0, -1) if size % divisor == 0)


class SplitSums(Stabilizer):
    """A sum or mean of many terms becomes one of partial ones, axis by axis and each long axis in two stages."""

    name = "split_sums"
    cures = "sums"
    fusions = (
        Fusion(
            Apply(("reduce_mean", "reduce_sum"), {"x": var("x"), "axes": ANYTHING, "keep_dims": ANYTHING}), _in_stages
        ),
    )
