"""``gristmill profile``."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import shared


@click.command(short_help="Show where a prediction's time goes.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-i",
    "--input",
    "sources",
    multiple=True,
    metavar="[NAME=]FILE",
    help="As for 'gristmill run'.",
)
@click.option("--function", help="Which function of the model to run.")
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="Of so many the fastest is shown.")
@click.option("--calls", is_flag=True, help="Show every call, not the sums of each kernel.")
@click.option("--trace", type=click.Path(path_type=Path), help="Write a trace for Perfetto or chrome://tracing.")
@shared
def profile(
    model: Path,
    sources: tuple[str, ...],
    function: str | None,
    runs: int,
    calls: bool,
    trace: Path | None,
    as_json: bool,
) -> None:
    """Run MODEL and show the time of every kernel.

    Inputs that no file is given for are made up. The share of peak compares a kernel with what this machine reached at
    best in the same minute: multiply-adds in registers, or bytes read from memory, whichever bounds it.
    """
    from gristmill.cli import values
    from gristmill.cli.output import console, print_json, working
    from gristmill.models.model import MLModel

    with working(f"Running {model}"):
        loaded = MLModel(model, function_name=function)
        given = values.read(sources, loaded.inputs)
        given |= values.make_up([f for f in loaded.inputs if f.name not in given and not f.optional], 0)
        found = loaded.profile(given, loaded.make_state(), runs=runs)
    if trace is not None:
        found.save_trace(trace)
    if as_json:
        document = {"seconds": found.seconds, "peak_flops": found.peak_flops, "peak_bytes": found.peak_bytes}
        print_json({**document, "calls": found.rows()})
    else:
        console().print(values.table_of_profile(found, every_call=calls))
