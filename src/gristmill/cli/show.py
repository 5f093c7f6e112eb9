"""Tables of what `gristmill.cli.inspect` found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gristmill.cli.output import bytes_text, console, table, text

if TYPE_CHECKING:
    from rich.console import Console

_RELEASES = {1: "iOS 11", 2: "iOS 11.2", 3: "iOS 12", 4: "iOS 13", 5: "iOS 14", 6: "iOS 15"} | {
    7: "iOS 16",
    8: "iOS 17",
    9: "iOS 18",
    10: "iOS 26",
}
_MOST_OPS = 8
_LONGEST = 100  # characters of one entry of the user-defined metadata


def show(document: Mapping[str, Any], *, all_ops: bool = False) -> None:
    """Prints everything.

    Args:
        document: From ``inspect``.
        all_ops: Every type of op, not only the most frequent ones.
    """
    out = console()
    _show_head(out, document)
    _show_interface(out, document)
    for name, function in document.get("functions", {}).items():
        if "ops" in function:
            _show_counts(out, f"Function {name}, operations of {function['opset']}", function["ops"], all_ops)
    if "layers" in document:
        _show_counts(out, "Layers", document["layers"], all_ops)
    for number, part in enumerate(document.get("models", ()), 1):
        named = f" '{part['name']}'" if part["name"] else ""
        out.print(text(f"── stage {number}{named}: {part['kind']} ──"), style="bold")
        _show_interface(out, part)
        if "layers" in part:
            _show_counts(out, "Layers", part["layers"], all_ops)
            _show_weights(out, part)
    _show_weights(out, document)
    _show_metadata(out, document["metadata"])
    if "problem" in document:
        out.print(text(document["problem"]), style="yellow")


def _show_head(out: Console, document: Mapping[str, Any]) -> None:
    version = document["specification_version"]
    release = _RELEASES.get(version)
    out.print(text(document["path"]), style="bold")
    out.print(
        f"{document['kind']}, specification {version}"
        + (f" ({release} and later)" if release else "")
        + f", {bytes_text(document['bytes'])}"
    )


def _show_interface(out: Console, document: Mapping[str, Any]) -> None:
    rows = [
        (role, item)
        for role, key in (("input", "inputs"), ("output", "outputs"), ("state", "states"))
        for item in document[key]
    ]
    about = any("description" in item for _, item in rows)
    made = table("", ["", "name", "type", *(["description"] if about else [])])
    for role, item in rows:
        kind = item["text"] + (", optional" if item["optional"] else "")
        made.add_row(role, text(item["name"]), text(kind), *([text(item.get("description", ""))] if about else []))
    made.title = None
    out.print(made)


def _show_counts(out: Console, title: str, counts: Mapping[str, int], everything: bool) -> None:
    everything = everything or len(counts) <= _MOST_OPS + 1  # "others" are at least two types
    shown = list(counts.items()) if everything else list(counts.items())[:_MOST_OPS]
    line = ", ".join(f"{name} {count}" for name, count in shown)
    if rest := sum(counts.values()) - sum(count for _, count in shown):
        line += f" and {rest} others of {len(counts) - len(shown)} types"
    out.print(text(f"{title}: {sum(counts.values())}"), style="bold")
    out.print(text(f"  {line}" if line else "  none"))
    out.print()


def _show_weights(out: Console, document: Mapping[str, Any]) -> None:
    weights = document.get("weights")
    if not weights:
        return
    made = table("Weights", ["type", "parameters", "bytes"], right=["parameters", "bytes"])
    for dtype, total in weights.items():
        made.add_row(dtype, f"{total['parameters']:,}", bytes_text(total["bytes"]))
    if len(weights) > 1:
        made.add_row("all", f"{document['parameters']:,}", bytes_text(sum(t["bytes"] for t in weights.values())))
    out.print(made)


def _show_metadata(out: Console, metadata: Mapping[str, Any]) -> None:
    rows: Sequence[tuple[str, str]] = [(key, value) for key, value in metadata.items() if key != "user_defined"]
    rows = [*rows, *metadata["user_defined"].items()]
    if not rows:
        return
    made = table("Metadata", ["key", "value"])
    for key, value in rows:
        made.add_row(text(key), text(_shortened(value)))
    out.print(made)


def _shortened(value: str) -> str:
    if len(value) <= _LONGEST:
        return value
    length = f"{len(value):,} characters"
    return f"{length} of JSON" if value.startswith(("{", "[")) else f"{value[:_LONGEST]}… ({length})"
