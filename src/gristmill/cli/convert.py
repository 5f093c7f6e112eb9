"""``gristmill convert``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from gristmill.cli.options import shared

TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26", "macOS12", "macOS13", "macOS14", "macOS15", "macOS26")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Where to write.  [default: SOURCE with .mlpackage]"
)
@click.option(
    "--precision",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="The type that floating values are computed in, at least.",
)
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    default="iOS15",
    show_default=True,
    help="The oldest system that shall run the model.",
)
@click.option("--input-name", "input_names", multiple=True, metavar="NAME", help="Name of an input; one for each.")
@click.option("--output-name", "output_names", multiple=True, metavar="NAME", help="Name of an output; one for each.")
@shared
def convert(
    source: Path,
    output: Path | None,
    precision: str,
    target: str,
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
    as_json: bool,
) -> None:
    """Convert SOURCE, a .pt2 file of torch.export, to a Core ML package."""
    from gristmill.cli.inspect import inspect
    from gristmill.cli.output import console, print_json, seconds_text, working
    from gristmill.cli.show import show
    from gristmill.models.convert import convert as convert_model
    from gristmill.models.io_types import TensorType
    from gristmill.models.target import DeploymentTarget
    from gristmill.package import load
    from gristmill.precision import Precision

    output = output or source.with_suffix(".mlpackage")
    start = time.perf_counter()
    with working(f"Converting {source}"):
        model = convert_model(
            source,
            inputs=[TensorType(name=name) for name in input_names] or None,
            outputs=[TensorType(name=name) for name in output_names] or None,
            minimum_deployment_target=DeploymentTarget[target],
            compute_precision=Precision(precision),
            skip_model_load=True,
        )
        model.save(output)
    seconds = time.perf_counter() - start
    document = inspect(load(output))
    if as_json:
        print_json({**document, "source": str(source), "seconds": seconds})
    else:
        show(document)
        console().print(f"Converted in {seconds_text(seconds)}.")
