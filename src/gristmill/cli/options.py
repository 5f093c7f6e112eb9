"""Options that all commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_DEBUG = "gristmill.debug"


def shared(command: Command) -> Command:
    """Adds ``--json``, which the command receives as ``as_json``, and ``--debug``, which concerns only errors."""
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for machines.")(command)
    return click.option(
        "--debug", is_flag=True, expose_value=False, callback=_remember, help="Show the traceback of an error."
    )(command)


def _remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[_DEBUG] = True  # shared by a command's context and those around it


def wants_traceback(ctx: click.Context) -> bool:
    """Whether ``--debug`` was given."""
    return bool(ctx.meta.get(_DEBUG))
