"""Which function writes which op as layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from gristmill.errors import GristmillError
from gristmill.ir.op import Op

if TYPE_CHECKING:
    from gristmill.package.network_writer.writer import Writer

Writing: TypeAlias = "Callable[[Writer, Any], str | Sequence[str]]"
"""Adds the layers of an op and gives the names of the tensors that hold its results."""

WRITINGS: dict[type[Op], Writing] = {}


class RefusedError(GristmillError):
    """A network cannot hold an op; raised by the function that writes it, collected by the writer.

    Args:
        reason: Why, as one sentence without its final stop.
        hint: What the user can do about it.
    """

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason, hint=hint)


def writes(*ops: type[Op]) -> Callable[[Writing], Writing]:
    """Declares a function as the one that writes some ops; a decorator."""

    def register(function: Writing) -> Writing:
        for op in ops:
            if op in WRITINGS:
                raise AssertionError(f"'{op.op_name}' is written by two functions")
            WRITINGS[op] = function
        return function

    return register
