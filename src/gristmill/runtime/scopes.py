"""What ops take from around them, nested blocks included."""

from __future__ import annotations

from collections.abc import Iterator

from gristmill.ir.op import Op
from gristmill.ir.program import Value


def needs(op: Op) -> Iterator[Value]:
    """Values that an op, or anything that it holds, takes from outside of it."""
    for _, _, value in op.uses():
        yield value
    for block in op.blocks:
        made = set(block.arguments)
        for inner in block:
            yield from (value for value in needs(inner) if value not in made)
            made.update(inner.results)
        yield from (value for value in block.outputs if value not in made)
