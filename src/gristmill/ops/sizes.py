"""Sizes that operands' values decide: what is known of them, what a tensor may have, what the machine holds.

These work on known sizes and on expressions alike, and raise ``DimError``; inference and evaluation add the op's name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from gristmill.errors import DimError
from gristmill.ir import dims
from gristmill.ir.dims import Dim, Shape
from gristmill.ir.program import Value

MAX_ELEMENTS = 1 << 40
"""Most elements that a tensor may have; beyond that a declared shape is a mistake or an attack."""


def sizes_of(value: Value) -> list[Dim] | None:
    """What is known of a one-dimensional integer operand's elements."""
    return None if value.contents is None else list(value.contents.ravel())


def known_length(value: Value, what: str) -> int:
    """Elements of a one-dimensional operand, which decide a rank and so must be known before the program runs."""
    (length,) = value.shape
    if not isinstance(length, int):
        raise DimError(f"the length of {what} decides a rank and must be known", actual=length)
    return length


def sized(shape: Iterable[Dim]) -> Shape:
    """A shape that a tensor may have.

    Raises:
        DimError: A dimension is certainly negative, or there are more elements than any machine holds.
    """
    checked = tuple(shape)
    least = 1
    for dim in checked:
        low, high = dims.bounds(dim)
        if high is not None and high < 0:
            raise DimError("a dimension is negative", actual=f"[{', '.join(map(str, checked))}]")
        least *= max(low or 0, 1) if not isinstance(dim, int) else dim
    if least > MAX_ELEMENTS:
        raise DimError(
            "the tensor is too large",
            expected=f"at most 2^{MAX_ELEMENTS.bit_length() - 1} elements",
            actual=f"[{', '.join(map(str, checked))}]",
        )
    return checked


def claim(shape: Iterable[int], itemsize: int) -> tuple[int, ...]:
    """A shape that is about to be allocated because operands' values ask for it.

    Raises:
        MemoryError: It exceeds the machine's memory. The system itself might promise it and then kill the process.
    """
    wanted = tuple(int(n) for n in sized([int(n) for n in shape]))
    count = 1
    for n in wanted:
        count *= n
    if count * itemsize > _MEMORY:
        raise MemoryError(f"a result of shape {list(wanted)} takes {count * itemsize} bytes, the machine has {_MEMORY}")
    return wanted


def _memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return 1 << 36


_MEMORY = _memory()


def agree(a: Dim, b: Dim) -> Dim | None:
    """The more definite of two dimensions that must be equal; ``None`` when they cannot be."""
    if dims.never_equal(a, b):
        return None
    return b if isinstance(b, int) else a
