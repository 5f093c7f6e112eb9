"""Matrix products that leave float16's range before they are scaled down."""

from __future__ import annotations

from gristmill.ir.program import Value
from gristmill.passes.fusion import Fusion
from gristmill.passes.patterns import ANYTHING, Match, Miss, nonzero, op, var
from gristmill.passes.rewriting import make_before, make_constant, rebuilt
from gristmill.passes.stabilizing import Stabilizer

_product = op.matmul(var("x"), var("y"), transpose_x=ANYTHING, transpose_y=ANYTHING).named("product")


def _scaled(match: Match) -> Value | Miss:
    root, product, x = match.root, match.named["product"], match["x"]
    factor = 1 / match.number("divisor") if match.get("divisor") is not None else match.number("factor")
    if not -1 < factor < 1:
        return Miss(root, "the factor does not make the product smaller")
    number = make_constant(root, x.dtype.numpy.type(factor), f"{root.name}_factor")
    scaled = make_before(root, "mul", name=f"{root.name}_scaled", x=x, y=number)
    return rebuilt(product, root, {"x": scaled}, name=root.name)


class ScaleFirst(Stabilizer):
    """``(x·y)·c`` with ``|c| < 1`` becomes ``(x·c)·y``, as attention scores are scaled."""

    name = "scale_first"
    fusions = (
        Fusion(op.mul(_product, nonzero("factor")), _scaled),
        Fusion(op.real_div(_product, nonzero("divisor")), _scaled),
    )
