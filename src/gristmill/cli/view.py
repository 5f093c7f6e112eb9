"""``gristmill view``: a model as a page in the browser."""

from __future__ import annotations

import json
import tempfile
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gristmill.cli.options import model_with_inputs, opened, shared, stage, stage_title

if TYPE_CHECKING:
    from gristmill.models.model import MLModel


@click.command(short_help="Show a model in the browser: graph, ops, ranges, plan, differences.")
@model_with_inputs
@stage
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the page here.  [default: a new folder]")
@click.option("--target", metavar="CHIP", help="Plan what this chip would run where, such as A17.")
@click.option("--plan", type=click.Path(path_type=Path), help="Show a plan that `gristmill plan --json` printed.")
@click.option("--inspection", type=click.Path(path_type=Path), help="Show an inspection that was saved as JSON.")
@click.option("--run", is_flag=True, help="Run the model for the ranges of its values; what --input leaves is made up.")
@click.option("--inspect", is_flag=True, help="Run it beside a float32 shadow, for the errors that its types make.")
@click.option("--diff", type=click.Path(path_type=Path), help="Show what changed since this other model.")
@click.option("--no-open", is_flag=True, help="Only write the page.")
@shared
def view(
    model: Path,
    sources: tuple[str, ...],
    function: str | None,
    stage: int | None,
    output: Path | None,
    target: str | None,
    plan: Path | None,
    inspection: Path | None,
    run: bool,
    inspect: bool,
    diff: Path | None,
    no_open: bool,
    as_json: bool,
) -> None:
    """Write a page about MODEL and open it in the browser.

    The page is one file that needs no network: the graph, to search and to zoom; every op with its types, weights and
    place in the source; what a plan or an inspection says; what changed since another model.
    """
    if target is not None and plan is not None:
        raise click.UsageError("--target and --plan both say which plan to show: give one of them.")
    if inspect and inspection is not None:
        raise click.UsageError("--inspect and --inspection both say which inspection to show: give one of them.")
    from gristmill import precision
    from gristmill.cli.output import console, print_json, working

    with working(f"Reading {model}"):
        loaded = opened(model, stage, function_name=function)
        inputs = _inputs(loaded, sources) if sources or run or inspect else None
        path = output or Path(tempfile.mkdtemp(prefix="gristmill-")) / f"{model.stem}.html"
        placed = loaded.plan(target) if target is not None else None
        inspected = precision.inspect(loaded, inputs or {}) if inspect else None
        written = loaded.report(
            path,
            title=stage_title(model, stage),
            plan=placed if plan is None else _read(plan),
            inspection=inspected if inspection is None else _read(inspection),
            inputs=inputs,
            old=opened(diff, stage) if diff is not None else None,
        )
    if as_json:
        print_json({"page": str(written)})
    else:
        console().print(str(written), markup=False)
    if not no_open and not as_json:
        webbrowser.open(written.resolve().as_uri())


def _inputs(model: MLModel, sources: tuple[str, ...]) -> dict[str, Any]:
    from gristmill.cli import values

    return values.completed(values.read(sources, model.inputs), model.inputs)


def _read(path: Path) -> Any:
    from gristmill.errors import InputError

    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError("this is no JSON", expected="what --json printed", actual=path) from error
