"""Sizes that operands' values decide: what is known of them, what a tensor may have, what the machine holds.

These work on known sizes and on expressions alike, and raise ``DimError``; inference and evaluation add the op's name.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable
from pathlib import Path

from gristmill.errors import DimError
from gristmill.ir import dims
from gristmill.ir.dims import Dim, Shape
from gristmill.ir.program import Value

MAX_ELEMENTS = 1 << 40
"""Most elements that a tensor may have; beyond that a declared shape is a mistake or an attack."""


MAX_RANK = 32
"""Most axes that a tensor may have, which is what every NumPy can hold."""


def sizes_of(value: Value) -> list[Dim] | None:
    """What is known of a one-dimensional integer operand's elements."""
    return None if value.contents is None else list(value.contents.ravel())


def known_length(value: Value, what: str) -> int:
    """Elements of a one-dimensional operand, which decide a rank and so must be known before the program runs."""
    (length,) = value.shape
    if not isinstance(length, int):
        raise DimError(f"the length of {what} decides a rank and must be known", actual=length)
    if length > MAX_RANK:
        raise DimError(f"the length of {what} is a rank", expected=f"at most {MAX_RANK}", actual=length)
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
        DimError: As of ``sized``.
        MemoryError: It is more than half of the memory that can be had; the rest is for what the op needs beside it.
            The system itself might promise more and then kill the process.
    """
    wanted = tuple(int(n) for n in shape)
    size = math.prod(wanted) * itemsize
    if 0 <= size <= _SMALL and min(wanted, default=0) >= 0:
        return wanted
    sized(wanted)
    if size > (most := available_memory() // 2):
        raise MemoryError(f"a result of shape {list(wanted)} takes {size} bytes, and at most {most} may be had")
    return wanted


_SMALL = 1 << 28
"""Bytes that are not worth a question."""


def available_memory() -> int:
    """Bytes that the system says it can give, within the limits of a container."""
    found = [_physical()]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        most, used = (int((Path("/sys/fs/cgroup") / f"memory.{name}").read_text()) for name in ("max", "current"))
        found.append(most - used)
    return max(0, min(found))


def _physical() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return 1 << 36


def agree(a: Dim, b: Dim) -> Dim | None:
    """The more definite of two dimensions that must be equal; ``None`` when they cannot be."""
    if dims.never_equal(a, b):
        return None
    return b if isinstance(b, int) else a
