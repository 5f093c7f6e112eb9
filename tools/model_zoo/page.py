"""The page of the zoo, made from what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.model_zoo.catalogue import ARCHITECTURES
from tools.model_zoo.registry import Architecture

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
DATA = DOCS / "model-zoo.json"
PAGE = DOCS / "model-zoo.md"

_HEAD = """\
# The model zoo

{count} architectures, exported with `torch.export` and converted to ML Programs for iOS 18 with float16 typing. Each
package was saved, loaded in coremltools 9.0 and passed through its loader of programs. Written by
`python -m tools.model_zoo` from `docs/model-zoo.json`.

- *seconds*: `convert` and `save`, without `torch.export` and without verification, on one core of a shared machine.
- *peak*: the most memory beyond what the process held when the exported program was ready, weights included; it has a
  floor of some 30 MB that modules imported on the way take.
- *float32*, *float16*: the largest difference from PyTorch's float32 results on the example inputs, relative to the
  largest magnitude of that output, when all ops are typed float32 and as converted. The bar for float32 is 1e-4.
- Weights are random unless it says otherwise. Random weights make float16 look worse or better than trained ones do.
"""


def page(results: Mapping[str, Any]) -> str:
    """The whole page."""
    good = [name for name in ARCHITECTURES if "float32" in results.get(name, {})]
    lines = [_HEAD.format(count=len(good))]
    for kind in dict.fromkeys(entry.kind for entry in ARCHITECTURES.values()):
        entries = [entry for entry in ARCHITECTURES.values() if entry.kind == kind and entry.name in good]
        if not entries:
            continue
        lines += [f"## {kind}", "", "| model | from | ops | file | seconds | peak | float32 | float16 | reduced to |"]
        lines.append("|---|---|--:|--:|--:|--:|--:|--:|---|")
        lines += [_row(entry, results[entry.name]) for entry in entries]
        lines.append("")
    failed = {n: results[n]["failed"] for n in ARCHITECTURES if "failed" in results.get(n, {})}
    if failed:
        lines += ["## Not converted", "", "| model | why |", "|---|---|"]
        lines += [f"| {name} | {' '.join(why.split())[:200].replace('|', '/')} |" for name, why in failed.items()]
        lines.append("")
    return "\n".join(lines)


def _row(entry: Architecture, found: Mapping[str, Any]) -> str:
    origin = entry.origin if entry.weights == "random" else f"{entry.origin}, {entry.weights} weights"
    states = f"; {found['states']} states" if found["states"] else ""
    cells = [
        entry.name,
        origin,
        f"{found['ops']:,}",
        _megabytes(found["bytes"]),
        f"{found['seconds']:.1f}",
        _megabytes(found["peak_bytes"]),
        f"{found['float32']:.0e}",
        f"{found['float16']:.0e}",
        (entry.size or "full size") + states,
    ]
    return "| " + " | ".join(cells) + " |"


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"
