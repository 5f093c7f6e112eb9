"""Options that all commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

UNIT_CHOICES = ("ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")
"""What ``--compute-units`` takes."""

_DEBUG = "gristmill.debug"


def shared(command: Command) -> Command:
    """Adds ``--json``, which the command receives as ``as_json``, and ``--debug``, which concerns only errors."""
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for machines.")(command)
    return click.option(
        "--debug", is_flag=True, expose_value=False, callback=_remember, help="Show the traceback of an error."
    )(command)


def model_with_inputs(command: Command) -> Command:
    """Adds MODEL, ``--input`` and ``--function``, which come as ``model``, ``sources`` and ``function``."""
    options = [
        click.argument("model", type=click.Path(path_type=Path)),
        click.option(
            "-i",
            "--input",
            "sources",
            multiple=True,
            metavar="[NAME=]FILE",
            help="A value for an input: .npy, .npz, .json or an image. Without a name, a file of several values by "
            "name.",
        ),
        click.option("--function", help="Which function of the model to run."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[_DEBUG] = True  # shared by a command's context and those around it


def wants_traceback(ctx: click.Context) -> bool:
    """Whether ``--debug`` was given."""
    return bool(ctx.meta.get(_DEBUG))
