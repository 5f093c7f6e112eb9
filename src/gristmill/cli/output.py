"""What the commands print: tables for people, one JSON document for machines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

_UNLIMITED = 10_000  # columns

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def console(*, stderr: bool = False) -> Console:
    """Where tables go. In a file or a pipe nothing limits their width, unless ``COLUMNS`` does."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = _UNLIMITED
    return made


def table(title: str, columns: Iterable[str], *, right: Iterable[str] = ()) -> Table:
    """An empty table.

    Args:
        title: Printed above it.
        columns: Headings.
        right: Those whose cells are numbers.
    """
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    numbers = set(right)
    for name in columns:
        number = name in numbers
        made.add_column(name, justify="right" if number else "left", no_wrap=number, overflow="fold")
    return made


def text(value: object) -> Any:
    """A cell that stands as it is: names in models may look like the markup of tables."""
    from rich.text import Text

    return Text(str(value))


@contextmanager
def working(message: str) -> Iterator[None]:
    """Shows that something is going on, where a person is watching."""
    with console(stderr=True).status(text(message)):
        yield


def print_json(document: Any) -> None:
    """Writes a document; numbers that JSON does not have become the strings NaN, Infinity and -Infinity."""
    from gristmill.analysis.report.page import plain

    click.echo(json.dumps(plain(document), ensure_ascii=False, allow_nan=False, indent=2))


def bytes_text(count: int) -> str:
    """A number of bytes in decimal units, as file managers show it."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def seconds_text(seconds: float) -> str:
    """A time to three significant digits."""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"
