"""One file of HTML with everything in it: data, scripts, styles. It loads nothing, and names in models stay text."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from importlib import resources
from typing import Any

_SCRIPTS = ("layout.js", "parts.js", "graph.js", "table.js", "ranges.js", "views.js", "details.js", "main.js")
_STYLES = ("theme.css", "report.css")


def page(document: dict[str, Any]) -> str:
    """The page for a document of ``document.document``.

    A name in a model may be anything, so data is written as JSON in which no character means anything to HTML, scripts
    put names into the page as text only, and the page's own policy lets no other script run.
    """
    script = "(() => {\n'use strict';\n" + "\n".join(_asset(name) for name in _SCRIPTS) + "})();\n"
    style = "".join(_asset(name) for name in _STYLES)
    policy = f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:"
    parts = {
        "@policy@": html.escape(policy),
        "@title@": html.escape(str(document["title"])),
        "@style@": style,
        "@data@": _json(document),
        "@script@": script,
    }
    text = _asset("report.html")
    before, pieces = text, []
    for mark, content in parts.items():  # one after the other: what is put in is not searched for marks
        head, before = before.split(mark, 1)
        pieces += [head, content]
    return "".join([*pieces, before])


def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(document: Any) -> str:
    text = json.dumps(plain(document), separators=(",", ":"), allow_nan=False)  # ASCII: no line separators either
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def plain(value: Any) -> Any:
    """Numbers that JSON does not have become the strings that JavaScript's ``Number`` reads."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
