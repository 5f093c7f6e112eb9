"""``gristmill plan``: what of a model would run where, and why."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gristmill.cli.options import UNIT_CHOICES, opened, shared, stage, stage_title

if TYPE_CHECKING:
    from gristmill.runtime.plan import Plan

UNMET: Final = 3
"""Exit code where a requirement is not met."""

_UNITS: Final[Mapping[str, str]] = {"cpu": "cpu", "gpu": "gpu", "ne": "neural_engine", "neural_engine": "neural_engine"}
_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Requirement:
    """A share that a plan must have.

    Attributes:
        text: As it was written.
        unit: Whose share.
        of: Of the ``ops``, or of their estimated ``cost``.
        comparison: One of ``>=``, ``<=``, ``>``, ``<``.
        bound: What the share is compared with, from 0 to 1.
    """

    text: str
    unit: str
    of: str
    comparison: str
    bound: float

    def share(self, plan: Plan) -> float:
        """What the plan has."""
        return plan.share(self.unit, of=self.of)

    def met(self, plan: Plan) -> bool:
        """Whether that is enough."""
        return _COMPARISONS[self.comparison](self.share(plan), self.bound)


_REQUIREMENT: Final = re.compile(r"\s*(\w+)(?::(ops|cost))?\s*(>=|<=|>|<)\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*")


def requirement(text: str) -> Requirement:
    """The requirement that a text states: ``ne>=0.95``, ``cpu:cost<10%``.

    Raises:
        click.BadParameter: It states none.
    """
    found = _REQUIREMENT.fullmatch(text)
    unit = _UNITS.get(found[1].lower()) if found else None
    bound = float(found[4]) / (100 if found[5] else 1) if found else 0
    if found is None or unit is None or bound > 1:
        raise click.BadParameter(f"'{text}' is no requirement; write for example ne>=0.95, cpu<=5% or gpu:cost<0.1")
    return Requirement(text, unit, found[2] or "ops", found[3], bound)


def _requirements(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> list[Requirement]:
    return [requirement(text) for text in texts]


@click.command(short_help="Show which unit of a chip would run which op, and why.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", metavar="CHIP", help="A12 to A19, M1 to M5; this computer when left out.")
@click.option(
    "--compute-units", type=click.Choice(UNIT_CHOICES, case_sensitive=False), default="ALL", show_default=True,
    help="Which units may run the model.",
)  # fmt: skip
@click.option("--function", help="Which function of the model to place.")
@stage
@click.option("--ops", "all_ops", is_flag=True, help="List every op, not only those that something keeps off a unit.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page that any browser shows, offline too.")
@click.option(
    "--require", "requirements", multiple=True, metavar="SHARE", callback=_requirements,
    help="Exit with code 3 if a share is not met, such as ne>=0.95 of the ops or ne:cost>=95% of their time. "
    "May be given several times.",
)  # fmt: skip
@shared
def plan(
    model: Path,
    target: str | None,
    compute_units: str,
    function: str | None,
    stage: int | None,
    all_ops: bool,
    html: Path | None,
    requirements: Sequence[Requirement],
    as_json: bool,
) -> None:
    """Show which unit of a chip would run which op of MODEL, and why the others would not.

    Placement is a model made from public facts; Core ML decides by itself, on the device. docs/placement.md says what
    it is made of and how well it agrees with plans that Core ML made.
    """
    from gristmill.cli.output import print_json, working
    from gristmill.models.compute_units import ComputeUnit

    with working(f"Placing {model}"):
        loaded = opened(model, stage, function_name=function, compute_units=ComputeUnit[compute_units])
        made = loaded.plan(target)
    verdicts = [{"requirement": item.text, "share": item.share(made), "met": item.met(made)} for item in requirements]
    document = {"path": str(model), **made.document(), "requirements": verdicts}
    if html is not None:
        from gristmill.models.report import write_report

        write_report(loaded, html, title=stage_title(model, stage), plan=made, view="Plan")
    if as_json:
        print_json(document)
    else:
        _show(document, all_ops=all_ops)
    if not all(item.met(made) for item in requirements):
        raise SystemExit(UNMET)


# --- tables ----------------------------------------------------------------------------------------------------------


def _show(document: Mapping[str, Any], *, all_ops: bool) -> None:
    from gristmill.cli.output import console, text
    from gristmill.runtime.plan import UNIT_NAMES

    out = console()
    out.print(text(f"{document['path']}, function {document['function']}, on {document['target']}"), style="bold")
    out.print(text(_costs(document)))
    out.print(_units(document))
    refusals = _refusals(document)
    for unit, rows in refusals.items():
        if rows:
            out.print(_refused(f"Not on the {UNIT_NAMES[unit]}", rows))
    if all_ops:
        out.print(_ops(document["ops"]))
    for verdict in document["requirements"]:
        style = "green" if verdict["met"] else "red"
        state = "met" if verdict["met"] else "NOT met"
        out.print(text(f"{verdict['requirement']}: {verdict['share']:.1%}, {state}"), style=style)
    for note in document["notes"]:
        out.print(text(note), style="yellow")


def _costs(document: Mapping[str, Any]) -> str:
    gap = document["cost"] / document["bound"] - 1 if document["bound"] else None
    proved = "" if gap is None else ", the best there is" if gap <= 0 else f", at most {gap:.1%} from the best"
    return (
        f"About {_time(document['cost'])}: ops {_time(document['op_cost'])}, "
        f"transfers {_time(document['transfer_cost'])} ({len(document['transfers'])}), "
        f"launches {_time(document['launch_cost'])} ({len(document['segments'])}){proved}"
    )


def _units(document: Mapping[str, Any]) -> Any:
    from gristmill.cli.output import table, text
    from gristmill.runtime.plan import UNIT_NAMES

    numbers = ("ops", "share of ops", "share of time", "segments")
    made = table("", ["unit", *numbers], right=numbers)
    made.title = None
    for unit, share in document["shares"].items():
        segments = sum(segment["unit"] == unit for segment in document["segments"])
        made.add_row(
            text(UNIT_NAMES[unit]), str(share["count"]), f"{share['ops']:.1%}", f"{share['cost']:.1%}", str(segments)
        )
    return made


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} µs"


Refused = tuple[str, str, str, int]
"""Type of op, reason, fix, number of ops."""


def _refusals(document: Mapping[str, Any]) -> dict[str, list[Refused]]:
    """Why each unit does not run ops, the most frequent reason first."""
    found: dict[str, dict[tuple[str, str, str], int]] = {unit: {} for unit in document["units"]}
    for op in document["ops"]:
        for unit, refusal in op["refusals"].items():
            doubt = " (low confidence)" if refusal.get("confidence") == "low" else ""
            key = op["type"], _without_names(refusal["reason"]) + doubt, refusal["fix"] or ""
            found[unit][key] = found[unit].get(key, 0) + 1
    return {
        unit: sorted(((*key, count) for key, count in counts.items()), key=lambda row: -row[3])
        for unit, counts in found.items()
    }


def _without_names(reason: str) -> str:
    """A reason without the name of one value, so that the same reasons come together."""
    return re.sub(r"(the constant )?'[^']*'", lambda found: "a constant" if found[1] else "one", reason)


def _refused(title: str, rows: Sequence[Refused]) -> Any:
    from gristmill.cli.output import table, text

    made = table(title, ["ops", "type", "reason", "what helps"], right=["ops"])
    for name, reason, fix, count in rows:
        made.add_row(str(count), text(name), text(reason), text(fix))
    return made


def _ops(rows: Sequence[Mapping[str, Any]]) -> Any:
    from gristmill.cli.output import table, text
    from gristmill.runtime.plan import UNIT_NAMES

    made = table("Ops", ["segment", "type", "name", "unit", "could run on", "µs"], right=["segment", "µs"])
    for row in rows:
        made.add_row(
            str(row["segment"]),
            text(row["type"]),
            text(row["name"]),
            text(UNIT_NAMES[row["unit"]]),
            text(", ".join(UNIT_NAMES[unit] for unit in row["supported"])),
            f"{row['cost'] * 1e6:.1f}",
        )
    return made
