"""The ``gristmill`` command: converts, runs and shows models.

Exit codes: 0 when all went well, 1 when the model or its data stood in the way, 2 when the command was used wrongly,
3 when a requirement of ``plan`` is not met.
"""

from __future__ import annotations

from typing import Any

import click

from gristmill._version import __version__
from gristmill.cli.convert import convert
from gristmill.cli.info import info
from gristmill.cli.options import wants_traceback
from gristmill.cli.plan import plan
from gristmill.cli.precision import precision
from gristmill.cli.profile import profile
from gristmill.cli.run import run
from gristmill.cli.simulate import simulate
from gristmill.cli.view import view
from gristmill.errors import GristmillError


class Commands(click.Group):
    """Turns the errors that people cause into messages."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (GristmillError, OSError) as error:
            if wants_traceback(ctx) or isinstance(error, BrokenPipeError):
                raise
            raise click.ClickException(_message(error)) from error


def _message(error: GristmillError | OSError) -> str:
    """What to print; of the system's errors without their number."""
    if isinstance(error, GristmillError) or not error.strerror:
        return str(error)
    return error.strerror + (f"\n  at: {error.filename}" if error.filename else "")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def main() -> None:
    """Convert models to Core ML, run them on this computer, and see what is in them."""


main.add_command(convert)
main.add_command(run)
main.add_command(info)
main.add_command(profile)
main.add_command(plan)
main.add_command(simulate)
main.add_command(view)
main.add_command(precision)
