"""What the frontends share: how a caller describes inputs, and how they report what they cannot convert or read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gristmill.errors import ConversionError, FormatError, GristmillError, UnsupportedError
from gristmill.ir.dims import Shape
from gristmill.ir.program import Location
from gristmill.ir.types import DType


@dataclass(frozen=True)
class InputSpec:
    """What a caller says of one input of the source model; whatever is ``None`` follows from the model.

    Attributes:
        name: The name that the program's input gets.
        shape: Its shape; symbols (``gristmill.ir.dims.symbol``) make it flexible.
        dtype: Its declared element type.
        default: A shape that it usually has, where ``shape`` is flexible.
    """

    name: str | None = None
    shape: Shape | None = None
    dtype: DType | None = None
    default: tuple[int, ...] | None = None


@dataclass(frozen=True)
class UnsupportedOperator:
    """An operator of the source model that has no counterpart here.

    Attributes:
        name: As the source framework calls it.
        locations: Every place in the source model that uses it.
    """

    name: str
    locations: tuple[Location, ...]


class UnsupportedOperatorsError(ConversionError, UnsupportedError):
    """The model uses operators that cannot be converted; it lists all of them at once.

    Args:
        operators: All of them, each with its places.
        hint: What the user can do.
    """

    def __init__(self, operators: Sequence[UnsupportedOperator], *, hint: str | None = None) -> None:
        self.operators = tuple(operators)
        lines = [f"{len(self.operators)} operators of the model cannot be converted"]
        for operator in self.operators:
            count = len(operator.locations)
            lines.append(f"  {operator.name}" + (f" ({count} times)" if count > 1 else ""))
            lines += [f"    at {location}" for location in dict.fromkeys(operator.locations)]
        super().__init__("\n".join(lines), hint=hint)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Says of what is missing or of another type that the model is malformed.

    Args:
        what: What is read, for the message.
    """
    try:
        yield
    except GristmillError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise FormatError(f"this is no {what}", actual=f"{type(error).__name__}: {str(error)[:200]}") from error
