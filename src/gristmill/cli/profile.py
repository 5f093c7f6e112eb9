"""``gristmill profile``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gristmill.cli.options import model_with_inputs, shared

if TYPE_CHECKING:
    from rich.table import Table

    from gristmill.devices.base import CallProfile
    from gristmill.models.profile import KernelTotal, Profile


@click.command(short_help="Show where a prediction's time goes.")
@model_with_inputs
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
    best in the same minute: multiply-adds in registers, or bytes read from memory, whichever bounds it. A kernel whose
    operands are still in a cache may exceed what memory gives.
    """
    from gristmill.cli import values
    from gristmill.cli.output import console, print_json, working
    from gristmill.models.model import MLModel

    with working(f"Running {model}"):
        loaded = MLModel(model, function_name=function)
        given = values.completed(values.read(sources, loaded.inputs), loaded.inputs)
        found = loaded.profile(given, loaded.make_state(), runs=runs)
    if trace is not None:
        found.save_trace(trace)
    if as_json:
        document = {"seconds": found.seconds, "peak_flops": found.peak_flops, "peak_bytes": found.peak_bytes}
        print_json({**document, "calls": found.rows()})
        return
    shown: Sequence[CallProfile | KernelTotal] = found.calls if calls else found.by_kernel()
    console().print(_table(found, shown))


def _table(found: Profile, shown: Sequence[CallProfile | KernelTotal]) -> Table:
    """A row for each call, or for each kernel."""
    from gristmill.cli.output import table, text
    from gristmill.models.profile import KernelTotal

    numbers = ("ms", "of time", "GFLOP/s", "GB/s", "of peak")
    sums = not shown or isinstance(shown[0], KernelTotal)
    title = f"{found.seconds * 1e3:.3g} ms in {len(found.calls)} calls"
    made = table(title, ("kernel", "calls" if sums else "ops", *numbers), right=("calls", *numbers))
    for item in shown:
        if isinstance(item, KernelTotal):
            ran = str(item.calls)
        else:
            ran = " + ".join(op.op_name for op in item.ops) or item.variant or "order in memory"
        share, seconds = found.share(item), item.seconds or float("nan")
        made.add_row(
            text(item.kernel),
            text(ran),
            f"{item.seconds * 1e3:.3f}",
            f"{item.seconds / (found.seconds or 1):.1%}",
            f"{item.flops / seconds / 1e9:.1f}" if item.flops else "",
            f"{item.bytes / seconds / 1e9:.1f}" if item.bytes else "",
            "" if share is None else f"{share:.0%}",
        )
    return made
