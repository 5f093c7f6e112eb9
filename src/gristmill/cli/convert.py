"""``gristmill convert``."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gristmill.cli.options import shared
from gristmill.errors import InputError

if TYPE_CHECKING:
    from gristmill.analysis.verify import ConversionReport
    from gristmill.models.io_types import TensorType

TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26", "macOS12", "macOS13", "macOS14", "macOS15", "macOS26")


@click.command(short_help="Convert a PyTorch model to a Core ML package.")
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
    metavar="SYSTEM",
    help=f"The oldest system that shall run the model: {', '.join(TARGETS)}.",
)
@click.option("--input-name", "input_names", multiple=True, metavar="NAME", help="Name of an input; one for each.")
@click.option(
    "--input-shape",
    "input_shapes",
    multiple=True,
    metavar="N,N,…",
    help="Shape of an input, such as 1,3,224,224; one for each. A .pt2 file says its own.",
)
@click.option("--output-name", "output_names", multiple=True, metavar="NAME", help="Name of an output; one for each.")
@click.option(
    "--verify/--no-verify",
    default=None,
    help="Run the result beside the source model and refuse one that differs.  [default: where that is quick]",
)
@shared
def convert(
    source: Path,
    output: Path | None,
    precision: str,
    target: str,
    input_names: tuple[str, ...],
    input_shapes: tuple[str, ...],
    output_names: tuple[str, ...],
    verify: bool | None,
    as_json: bool,
) -> None:
    """Convert SOURCE, a .pt2 file of torch.export or a .pt file of TorchScript, to a Core ML package."""
    from gristmill.cli.inspect import inspect
    from gristmill.cli.output import console, print_json, seconds_text, text, working
    from gristmill.cli.show import show
    from gristmill.models.convert import convert as convert_model
    from gristmill.models.target import DeploymentTarget
    from gristmill.package import load
    from gristmill.precision import Precision

    if not source.name:
        raise InputError("the source has no name", expected="a .pt2 or .pt file", actual=source)
    output = output or source.with_suffix(".mlpackage")
    if output.suffix != ".mlpackage":  # now, not after a long conversion
        raise InputError("the model cannot be saved there", expected="a name ending in .mlpackage", actual=output)
    start = time.perf_counter()
    with working(f"Converting {source}"), _quiet():
        model = convert_model(
            source,
            inputs=_tensors(input_names, input_shapes),
            outputs=_tensors(output_names),
            minimum_deployment_target=DeploymentTarget[target],
            compute_precision=Precision(precision),
            skip_model_load=True,
            verify=verify,
        )
        model.save(output)
    seconds = time.perf_counter() - start
    document = inspect(load(output))
    if as_json:
        verification = asdict(model.conversion_report) if model.conversion_report is not None else None
        print_json({**document, "source": str(source), "seconds": seconds, "verification": verification})
    else:
        show(document)
        for line in _verification(model.conversion_report):
            console().print(text(line))
        console().print(f"Converted in {seconds_text(seconds)}.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps PyTorch's logs to itself, which print tracebacks of what becomes an error with a message anyway."""
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _verification(report: ConversionReport | None) -> Iterator[str]:
    """What was found beside the source model."""
    if report is None:
        return
    if report.skipped is not None:
        yield f"Not verified: {report.skipped}."
    for kind, differences in (("float32", report.float32), ("float16", report.float16)):
        for name, difference in differences.items():
            yield f"Beside the source, in {kind}: {name} differs by {difference}."


def _tensors(names: tuple[str, ...], shapes: tuple[str, ...] = ()) -> list[TensorType] | None:
    """Descriptions of inputs or outputs, in order; ``None`` where nothing is said of them."""
    from gristmill.models.io_types import TensorType

    if names and shapes and len(names) != len(shapes):
        raise InputError("as many names as shapes", expected=len(names), actual=len(shapes))
    return [TensorType(name=name, shape=shape) for name, shape in zip_longest(names, map(_shape, shapes))] or None


def _shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", text):
        raise InputError("this is no shape", expected="sizes such as 1,3,224,224", actual=text)
    return tuple(int(size) for size in text.split(","))
