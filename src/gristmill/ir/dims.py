"""Dimensions: exact integer expressions over named, bounded symbols.

A dimension (``Dim``) is a Python ``int`` or a ``DimExpr``. Every ``DimExpr`` is kept in one canonical form, an
integer polynomial whose variables are *atoms*: a ``Symbol``, a ``FloorDiv``, a ``Min`` or a ``Max``. An expression
that is itself one atom is represented by that atom, anything else by a ``Polynomial``. Arithmetic
simplifies as it builds, so ``==`` and ``hash`` are structural, and a result that is constant is a plain ``int``.

What the canonical form promises: wherever the expression as written has a value (no division by zero) and every symbol
is within its bounds, the canonical form has that value. Two different forms may still be equal as functions;
``always_equal`` and ``never_equal`` decide more than ``==`` does, and "neither" means that it is not known.

Division is floor division and ``%`` its remainder, as Python defines them, for negative values too.

Expressions come from files that nobody has vetted, so their size is limited (``MAX_*`` in ``dim_expr``): what would
exceed a limit raises ``DimError`` at once, which keeps time and memory bounded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

from gristmill.ir.dim_algebra import (
    always_equal,
    always_le,
    always_lt,
    as_dim,
    bounds,
    ceil_div,
    floor_div,
    maximum,
    minimum,
    mod,
    never_equal,
    product,
)
from gristmill.ir.dim_expr import (
    Dim,
    DimExpr,
    FloorDiv,
    Max,
    Min,
    Polynomial,
    Shape,
    Symbol,
    UnboundSymbolError,
    used_names,
)
from gristmill.ir.dim_text import parse_dim

__all__ = [
    "UNKNOWN",
    "Dim",
    "DimExpr",
    "FloorDiv",
    "Max",
    "Min",
    "Polynomial",
    "Shape",
    "Symbol",
    "UnboundSymbolError",
    "always_equal",
    "always_le",
    "always_lt",
    "bounds",
    "broadcast",
    "ceil_div",
    "floor_div",
    "fresh",
    "is_static",
    "is_unknown",
    "maximum",
    "minimum",
    "mod",
    "never_equal",
    "parse_dim",
    "product",
    "symbol",
    "unknown",
]

UNKNOWN: Final = "unknown"
"""Names of unknown dimensions are this and a number."""

_fresh_counts: Final[dict[str, int]] = {}
_fresh_lock: Final = threading.Lock()


def symbol(name: str, lower: int = 0, upper: int | None = None) -> Symbol:
    """An unknown dimension with inclusive bounds; ``upper`` None leaves it unbounded above.

    Raises:
        DimError: The name is not an identifier, or the bounds are empty.
    """
    return Symbol(name, lower, upper)


def fresh(prefix: str = "d", lower: int = 0, upper: int | None = None) -> Symbol:
    """A symbol whose name, the prefix and a number, no symbol of this process has had before."""
    with _fresh_lock:
        count = _fresh_counts.get(prefix, 0)
        while f"{prefix}{count}" in used_names:
            count += 1
        _fresh_counts[prefix] = count + 1
    return Symbol(f"{prefix}{count}", lower, upper)


def unknown(lower: int = 0, upper: int | None = None) -> Symbol:
    """A fresh symbol for a dimension that has no name, which text writes as ``?``."""
    return fresh(UNKNOWN, lower, upper)


def is_unknown(symbol: Symbol) -> bool:
    """Whether a symbol stands for a dimension that has no name, as ``unknown`` makes them."""
    return symbol.name.removeprefix(UNKNOWN).isdigit() and symbol.name.startswith(UNKNOWN)


def is_static(shape: Iterable[Dim]) -> bool:
    """Whether every dimension is a known integer."""
    return not any(isinstance(d, DimExpr) for d in shape)


def broadcast(a: Dim, b: Dim) -> Dim | None:
    """The dimension that NumPy's broadcasting makes of two, or None when they certainly do not broadcast.

    Where legality depends on unknown values, it is assumed: the program is valid, and the run checks.
    So a dimension that cannot be 1 is the result, whatever the unknown other one is. If both may be 1, the result is
    ``max(a, b) * min(a, b, 1)``, which is exact in each legal case, empty dimensions included, and is just
    ``max(a, b)`` when neither can be empty. (coremltools picks one of the two, which is wrong when that one is 1.)
    """
    a, b = as_dim(a), as_dim(b)
    if always_equal(a, b):
        return a if isinstance(a, int) else b
    if a == 1 or b == 1:
        return b if a == 1 else a
    a_fixed, b_fixed = never_equal(a, 1), never_equal(b, 1)
    if a_fixed and b_fixed and never_equal(a, b):
        return None
    if a_fixed and b_fixed:  # both are the result; the more definite says more
        return b if isinstance(b, int) else a
    if a_fixed or b_fixed:
        return a if a_fixed else b
    return maximum(a, b) * minimum(a, b, 1)
