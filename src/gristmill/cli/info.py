"""``gristmill info``: what is in a model, whatever its type."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import shared


@click.command(short_help="Show what is in a model, whatever its type.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--ops", is_flag=True, help="List every type of op, not only the most frequent.")
@shared
def info(model: Path, ops: bool, as_json: bool) -> None:
    """Show what is in MODEL: a .mlpackage, .mlmodel or .mlmodelc, of any type."""
    from gristmill.cli.inspect import inspect
    from gristmill.cli.output import print_json
    from gristmill.cli.show import show
    from gristmill.package import load

    document = inspect(load(model))
    if as_json:
        print_json(document)
    else:
        show(document, all_ops=ops)
