"""A plan as one HTML page that needs no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from gristmill.runtime.plan import UNIT_NAMES

_COLOURS: Final[Mapping[str, str]] = {"cpu": "#8a8f98", "gpu": "#2f7ed8", "neural_engine": "#2e9e5b"}

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; vertical-align: top; border-bottom: 1px solid #8884; }
th { position: sticky; top: 0; background: Canvas; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.note { border-left: 4px solid #d08700; padding: .4rem .8rem; background: #d0870018; }
.bar { display: flex; height: 1.6rem; border-radius: .3rem; overflow: hidden; }
.bar span { color: white; font-size: .8rem; line-height: 1.6rem; padding-left: .4rem; overflow: hidden; }
.unit { display: inline-block; padding: 0 .5rem; border-radius: .6rem; color: white; white-space: nowrap; }
.fix { opacity: .75; } code { overflow-wrap: anywhere; } input { font: inherit; padding: .2rem .5rem; width: 20rem; }
"""

_SCRIPT: Final = """
const box = document.getElementById("filter");
box.addEventListener("input", () => {
  const wanted = box.value.toLowerCase();
  for (const row of document.querySelectorAll("#ops tbody tr"))
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
});
"""


def page(document: Mapping[str, Any]) -> str:
    """The page of a plan.

    Args:
        document: Of ``Plan.document``, with the model's ``path``.
    """
    title = f"{document['path']} on {document['target']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="note">{escape(note)}</p>' for note in document["notes"]),
        _summary(document),
        "<h2>Segments</h2>",
        _table(
            ("", "unit", "ops", "first", "last", "inputs", "outputs", "µs"),
            (_segment(index, segment) for index, segment in enumerate(document["segments"])),
        ),
        "<h2>Transfers</h2>",
        _table(("value", "type", "from", "to", "µs"), map(_transfer, document["transfers"])),
        '<h2>Ops</h2><p><input id="filter" placeholder="filter by any text" aria-label="filter"></p>',
        _table(
            ("segment", "type", "name", "unit", "why not elsewhere", "µs", "share"), map(_op, document["ops"]), "ops"
        ),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + f"\n<script>{_SCRIPT}</script></body></html>\n"
    )


def _summary(document: Mapping[str, Any]) -> str:
    bars = []
    for of, label in (("ops", "ops"), ("cost", "estimated time")):
        spans = "".join(
            f'<span style="width:{share[of]:.2%};background:{_COLOURS[unit]}" title="{UNIT_NAMES[unit]}">'
            f"{UNIT_NAMES[unit]} {share[of]:.1%}</span>"
            for unit, share in document["shares"].items()
            if share[of]
        )
        bars.append(f'<p>Share of {label}</p><div class="bar">{spans}</div>')
    times = (
        f"<p>About {_micro(document['cost'])} µs: ops {_micro(document['op_cost'])} µs, "
        f"transfers {_micro(document['transfer_cost'])} µs, launches {_micro(document['launch_cost'])} µs.</p>"
    )
    return "\n".join([*bars, times])


def _segment(index: int, segment: Mapping[str, Any]) -> Sequence[str]:
    ops = segment["ops"]
    return (
        str(index),
        _unit(segment["unit"]),
        _number(str(len(ops))),
        _code(ops[0]),
        _code(ops[-1]),
        _number(str(len(segment["inputs"]))),
        _number(str(len(segment["outputs"]))),
        _number(_micro(segment["cost"])),
    )


def _transfer(transfer: Mapping[str, Any]) -> Sequence[str]:
    return (
        _code(transfer["value"]),
        _code(transfer["type"]),
        _unit(transfer["source"]),
        _unit(transfer["destination"]),
        _number(_micro(transfer["cost"])),
    )


def _op(op: Mapping[str, Any]) -> Sequence[str]:
    reasons = [
        f"<b>{UNIT_NAMES[unit]}</b>: {escape(refusal['reason'])} "
        f'<span class="fix">{escape(refusal["fix"] or "")}{_confidence(refusal)}</span>'
        for unit, refusal in op["refusals"].items()
    ]
    reasons += [
        f"<b>{UNIT_NAMES[unit]}</b>: possible, {_micro(seconds)} µs alone"
        for unit, seconds in op["costs"].items()
        if unit != op["unit"]
    ]
    place = f'<br><span class="fix">{escape(op["location"])}</span>' if op["location"] else ""
    return (
        _number(str(op["segment"])),
        _code(op["type"]),
        _code(op["name"]) + place,
        _unit(op["unit"]),
        "<br>".join(reasons),
        _number(_micro(op["cost"])),
        _number(f"{op['share']:.2%}"),
    )


def _confidence(refusal: Mapping[str, Any]) -> str:
    """How far a rule can be trusted; where it is known from stands in what a mouse shows."""
    if "confidence" not in refusal:
        return ""
    return f' <i title="{escape(", ".join(refusal["sources"]))}">({refusal["confidence"]} confidence)</i>'


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], name: str = "") -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    identity = f' id="{name}"' if name else ""
    return f"<table{identity}><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _unit(unit: str) -> str:
    return f'<span class="unit" style="background:{_COLOURS[unit]}">{UNIT_NAMES[unit]}</span>'


def _number(text: str) -> str:
    return f'<div class="number">{text}</div>'


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f}"
