"""``gristmill run``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from gristmill.cli.options import model_with_inputs, shared


@click.command(short_help="Run a model once.")
@model_with_inputs
@click.option("--random", is_flag=True, help="Make up values for the inputs that no file was given for.")
@click.option("--seed", type=int, default=0, show_default=True, help="Other numbers, other random values.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the outputs to this .npz file.")
@shared
def run(
    model: Path,
    sources: tuple[str, ...],
    random: bool,
    seed: int,
    function: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Run MODEL once, on this computer.

    States start at zero. Random numbers are uniform from 0 to 1, random integers 0 or 1.
    """
    from gristmill.cli import values
    from gristmill.cli.output import console, print_json, seconds_text, working
    from gristmill.errors import InputError
    from gristmill.models.model import MLModel

    if output is not None and output.suffix != ".npz":
        raise InputError("outputs are written as .npz", expected="a name ending in .npz", actual=output)
    start = time.perf_counter()
    with working(f"Loading {model}"):
        loaded = MLModel(model, function_name=function)
        given = values.read(sources, loaded.inputs)
        given = values.completed(given, loaded.inputs, seed=seed if random else None)
    load_seconds, start = time.perf_counter() - start, time.perf_counter()
    with working(f"Running {model}"):
        results = loaded.predict(given, loaded.make_state())
    seconds = time.perf_counter() - start
    if output is not None:
        values.write(output, results)
    if as_json:
        outputs = {name: values.document(value) for name, value in results.items()}
        print_json({"outputs": outputs, "load_seconds": load_seconds, "predict_seconds": seconds})
    else:
        out = console()
        out.print(values.table_of(results))
        out.print(f"Loaded in {seconds_text(load_seconds)}, ran in {seconds_text(seconds)}.")
