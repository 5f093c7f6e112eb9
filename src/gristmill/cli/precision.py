"""``gristmill precision``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from gristmill.cli.options import model_with_inputs, opened, shared, stage

if TYPE_CHECKING:
    from rich.table import Table

    from gristmill.analysis.inspect import Inspection

_SHOWN = 20


@click.command(short_help="Show what a model's types do to its values.")
@model_with_inputs
@stage
@click.option(
    "--unit",
    type=click.Choice(["cpu", "gpu", "neural_engine"]),
    default="neural_engine",
    show_default=True,
    help="Whose type the untyped tensors of a neural network get.",
)
@click.option("--shadow", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--all", "every", is_flag=True, help=f"Show every op, not the {_SHOWN} with most of the error.")
@click.option("--heal", is_flag=True, help="Go on with the shadow's value where a number is lost.")
@shared
def precision(
    model: Path,
    sources: tuple[str, ...],
    function: str | None,
    stage: int | None,
    unit: Literal["cpu", "gpu", "neural_engine"],
    shadow: Literal["float32", "float64"],
    every: bool,
    heal: bool,
    as_json: bool,
) -> None:
    """Run MODEL in its declared types beside a shadow in a wide type, and show what becomes of the numbers.

    Inputs that no file is given for are made up, which says little of a model that was trained on others. ``lost`` is
    the share of elements that overflow, vanish or are no numbers; ``local`` the error that an op makes by itself,
    ``gathered`` that of everything up to it, in decibels; ``share`` its part of the outputs' error.
    """
    from gristmill.cli import values
    from gristmill.cli.output import console, print_json, text, working
    from gristmill.models.explain import inspect

    with working(f"Inspecting {model}"):
        loaded = opened(model, stage, function_name=function, skip_model_load=True)
        given = values.completed(values.read(sources, loaded.inputs), loaded.inputs)
        found = inspect(loaded, given, shadow, heal=heal, unit=unit)
    if as_json:
        print_json(found.as_dict())
        return
    out = console()
    out.print(_table(found, every))
    for name, figures in found.outputs.items():
        out.print(text(f"Output {name}: {figures.snr_db:.1f} dB, at most {figures.max_abs:.3g} off."))
    for label, culprit in found.findings():
        out.print(text(f"{label[0].upper()}{label[1:]}: {culprit}"))


def _table(found: Inspection, every: bool) -> Table:
    from gristmill.cli.output import table, text

    rows = found.rows if every else [row for row in found.worst(_SHOWN) if row.share]
    title = f"{len(found.rows)} ops with floating results beside {found.shadow}"
    numbers = ("local dB", "gathered dB", "share")
    made = table(title, ("op", "type", "range", "lost", *numbers), right=numbers)
    for row in rows:
        spread = f"{row.low:.3g} … {row.high:.3g}" if row.low <= row.high else "none finite"
        lost = {"overflow": row.overflow, "underflow": row.underflow, "NaN": row.nan}
        made.add_row(
            text(row.title),
            text(_short(row.type)),
            spread,
            ", ".join(f"{share:.1%} {kind}" for kind, share in lost.items() if share),
            f"{row.local.snr_db:.1f}",
            f"{row.accumulated.snr_db:.1f}",
            f"{row.share:.1%}",
        )
    return made


def _short(type: str) -> str:
    """A tensor's type as other tables show it: ``fp16 [1, 8]``."""
    return type.removeprefix("tensor<").removesuffix(">").replace(", [", " [", 1)
