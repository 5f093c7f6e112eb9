"""Options that all commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from gristmill.models.model import MLModel

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


def stage(command: Command) -> Command:
    """Adds ``--stage``, which comes as ``stage``, for what concerns one program: a pipeline has several."""
    return click.option(
        "--stage", type=click.IntRange(1), metavar="N", help="Take the Nth model of a pipeline, the first being 1."
    )(command)


def opened(model: Path, stage: int | None, **options: Any) -> MLModel:
    """The model, or one of its stages.

    Args:
        model: Where it lies.
        stage: Which of a pipeline's models, from 1 on; the whole when left out.
        options: Of ``MLModel``.

    Raises:
        InputError: It has no such stage.
    """
    from gristmill.errors import InputError
    from gristmill.models.model import MLModel

    loaded = MLModel(model, **options)
    if stage is None:
        return loaded
    if stage > len(loaded.stages):
        raise InputError(
            f"the model has no stage {stage}",
            expected=f"1 to {len(loaded.stages)}" if loaded.stages else "a pipeline",
            actual=loaded.kind,
        )
    return loaded.stages[stage - 1]


def stage_title(model: Path, stage: int | None) -> str:
    """What pages call it."""
    return model.name if stage is None else f"{model.name}, stage {stage}"


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
            help="A value for an input: .npy, .npz, .json or an image; a single number or text as it is. Without a "
            "name, a file of several values by name.",
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
