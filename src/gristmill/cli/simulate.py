"""``gristmill simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gristmill.cli.options import UNIT_CHOICES, model_with_inputs, shared

if TYPE_CHECKING:
    from rich.table import Table

    from gristmill.analysis.simulation import Envelope


@click.command(short_help="Run a model as a chip that is not here might.")
@model_with_inputs
@click.option("--target", metavar="CHIP", required=True, help="A12 to A19, M1 to M5.")
@click.option(
    "--compute-units", type=click.Choice(UNIT_CHOICES, case_sensitive=False), default="ALL", show_default=True,
    help="Which units may run the model.",
)  # fmt: skip
@click.option(
    "--profile", "profiles", multiple=True, metavar="NAME",
    help="A numerics profile such as neural_engine_float16; all of the units in use when left out. May be given "
    "several times.",
)  # fmt: skip
@click.option("--random", is_flag=True, help="Make up values for the inputs that no file was given for.")
@click.option("--seed", type=int, default=0, show_default=True, help="Other numbers, other random values.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path),
    help="Write the outputs of each profile to this .npz file, as PROFILE.OUTPUT.",
)  # fmt: skip
@shared
def simulate(
    model: Path,
    sources: tuple[str, ...],
    function: str | None,
    target: str,
    compute_units: str,
    profiles: tuple[str, ...],
    random: bool,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Run MODEL as a chip might: placed as ``plan`` says, the GPU and the Neural Engine by numerics profiles.

    One run for each profile, and one in float32 beside them. Placement and profiles are models, not Apple's own
    numbers: docs/simulation.md says what they are worth. States start at zero.
    """
    from gristmill.cli import values
    from gristmill.cli.output import console, print_json, text, working
    from gristmill.errors import InputError
    from gristmill.models.compute_units import ComputeUnit
    from gristmill.models.model import MLModel

    if output is not None and output.suffix != ".npz":
        raise InputError("outputs are written as .npz", expected="a name ending in .npz", actual=output)
    with working(f"Simulating {model} on {target}"):
        loaded = MLModel(model, function_name=function, compute_units=ComputeUnit[compute_units])
        given = values.read(sources, loaded.inputs)
        given = values.completed(given, loaded.inputs, seed=seed if random else None)
        found = loaded.simulate(given, loaded.make_state(), target=target, profiles=profiles or None)
    if output is not None:
        results = {"float32": found.float32, **found.results}
        values.write(
            output, {f"{run}.{name}": array for run, arrays in results.items() for name, array in arrays.items()}
        )
    if as_json:
        print_json({"path": str(model), "target": target, **_document(found)})
        return
    out = console()
    out.print(_table(found))
    for name, spread in found.spread.items():
        out.print(text(f"{name}: profiles are up to {spread:.3g} apart."))
    out.print(text("Profiles are models, not Apple's own numbers: docs/simulation.md."), style="yellow")


def _document(found: Envelope) -> dict[str, Any]:
    from gristmill.cli import values

    def outputs(profile: str) -> dict[str, Any]:
        ratios = found.snr_db[profile]
        return {
            name: {**values.document(array), "snr_db": ratios[name]} for name, array in found.results[profile].items()
        }

    return {
        "float32": {name: values.document(array) for name, array in found.float32.items()},
        "profiles": {profile: outputs(profile) for profile in found.results},
        "spread": dict(found.spread),
    }


def _table(found: Envelope) -> Table:
    from gristmill.cli.output import table, text
    from gristmill.cli.values import glance

    made = table("", ["profile", "output", "type", "dB beside float32", "range"], right=["dB beside float32"])
    made.title = None
    for profile, outputs in found.results.items():
        for name, value in outputs.items():
            kind, spread, _ = glance(value)
            made.add_row(text(profile), text(name), text(kind), f"{found.snr_db[profile][name]:.1f}", text(spread))
    return made
