"""In which order a tensor's dimensions lie in memory.

The program's own order is *plain*. Between convolutions tensors are kept *channels last*, [N, spatial…, C], whatever
the program says: channels then fill vectors, and a 1×1 convolution is a matrix product.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from enum import Enum
from typing import TypeVar

from gristmill.ir.program import Value

T = TypeVar("T")


class Layout(Enum):
    """An order of dimensions."""

    PLAIN = "plain"
    CHANNELS_LAST = "channels last"

    __hash__ = object.__hash__  # each is one object; an enumeration's own hash runs in Python

    def of(self, value: Value) -> Layout:
        """The layout itself, or plain for what has no spatial dimensions."""
        return self if self is Layout.PLAIN or value.rank >= 3 else Layout.PLAIN

    @functools.cache  # of two layouts and a few ranks
    def permutation(self, rank: int) -> tuple[int, ...]:
        """Which logical axis lies at each place in memory."""
        if self is Layout.PLAIN or rank < 3:
            return tuple(range(rank))
        return (0, *range(2, rank), 1)

    def order(self, items: Sequence[T]) -> list[T]:
        """Something given for each logical axis, in the order of memory."""
        return list(items) if self is Layout.PLAIN else [items[axis] for axis in self.permutation(len(items))]


PLAIN, CHANNELS_LAST = Layout.PLAIN, Layout.CHANNELS_LAST
