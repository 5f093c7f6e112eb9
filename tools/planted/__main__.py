"""Inspects and mends the planted failures at full size: ``python -m tools.planted`` writes ``docs/planted.md``.

Each result is kept in ``docs/planted.json`` as soon as it is there. Words on the command line are beginnings of names:
only these failures are measured anew.
"""

from __future__ import annotations

import argparse
import json
import linecache
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import gristmill as ct
from tools.planted.cases import FULL, PLANTED, Planted

ROOT = Path(__file__).parent.parent.parent
RESULTS, PAGE = ROOT / "docs/planted.json", ROOT / "docs/planted.md"
BUDGET = 40.0
"""Decibels: errors of 1 % of the outputs."""


def measure(case: Planted) -> dict[str, Any]:
    """What an inspection names, and what a search makes of it."""
    torch.manual_seed(0)
    module, arguments = case.build(FULL)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(module.eval(), arguments)
    half = ct.convert(exported, minimum_deployment_target=case.target, verify=False)
    data = {item.name: value.numpy() for item, value in zip(half.inputs, arguments, strict=True)}
    start = time.perf_counter()
    inspection = ct.precision.inspect(half, data)
    inspected = time.perf_counter() - start
    found = ct.precision.search(
        exported, data, minimum_deployment_target=case.target, verify=False, budget=BUDGET, progress=False
    )
    culprit, cost = inspection.culprit, found.best.cost
    place = None if culprit is None else culprit.location
    return {
        "model": case.model,
        "culprit": culprit.op if culprit is not None else "",
        "line": linecache.getline(place.file, place.line).strip() if place is not None and place.file else "",
        "guilty": culprit is not None and case.names(culprit),
        "before": found.before.value,
        "after": found.best.value,
        "float32_ops": cost.float32_ops,
        "ops": cost.ops,
        "rewrites": {name: len(ops) for name, ops in found.best.rewrites.items()},
        "runs": found.runs,
        "inspect_seconds": inspected,
        "search_seconds": found.seconds,
    }


HEAD = """\
# Planted failures

Written by `python -m tools.planted`. Ten pieces of code that fail in float16, each as people write it
(`tools/planted/faults.py`), in models that are fine without it (`networks.py`): MiniLM-L6 with its pretrained weights;
a decoder as Llama is one, of 12 layers and 384 channels; a ViT of the size of ViT-S/16, 12 layers and 384 channels on
pictures of 224 × 224; a U-Net of 4 levels, 64 channels at the first, on pictures of 128 × 128. Weights of these three
are random. `tests/test_planted.py` runs the same at small size.

*Culprit* is the op that `precision.inspect` says has most of the outputs' error, with the source line that it gives; ✓
says that it is the planted one. *Before* and *after* are signal over noise of the outputs in decibels beside float32,
for everything in float16 and for what `precision.search` found with a budget of {budget:.0f} dB; -∞ means infinite or
NaN. *Runs* are full evaluations, instrumented ones included. Seconds are of one thread of a busy machine.

"""

COLUMNS = (
    "Failure",
    "Model",
    "Culprit",
    "Its line",
    "",
    "Before",
    "After",
    "Float32 ops",
    "Rewritten",
    "Runs",
    "Inspection, s",
    "Search, s",
)


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The page that results make."""
    lines = [_line(COLUMNS), _line(("---",) * 5 + ("--:",) * 3 + ("---",) + ("--:",) * 3)]
    for name, row in results.items():
        share = row["float32_ops"] / row["ops"]
        rewritten = ", ".join(f"`{rewrite}` ×{count}" for rewrite, count in row["rewrites"].items())
        cells = (
            name,
            row["model"],
            f"`{row['culprit']}`",
            f"`{row['line']}`",
            "✓" if row["guilty"] else "✗",
            _decibels(row["before"]),
            _decibels(row["after"]),
            f"{row['float32_ops']} of {row['ops']} ({share:.1%})",
            rewritten or "–",
            str(row["runs"]),
            f"{row['inspect_seconds']:.1f}",
            f"{row['search_seconds']:.1f}",
        )
        lines.append(_line(cells))
    return HEAD.format(budget=BUDGET) + "".join(lines)


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _decibels(value: float) -> str:
    return {float("inf"): "∞", float("-inf"): "-∞"}.get(value, f"{round(value, 1) + 0.0:.1f}")  # no -0.0


def main() -> None:
    """Measures the named failures, or all, and writes results and page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("failures", nargs="*", help="beginnings of names")
    chosen = parser.parse_args().failures
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for case in PLANTED:
        if chosen and not any(case.name.startswith(beginning) for beginning in chosen):
            continue
        results[case.name] = measure(case)
        print(case.name, results[case.name], flush=True)
        ordered = {known.name: results[known.name] for known in PLANTED if known.name in results}
        RESULTS.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page(ordered), encoding="utf-8")


if __name__ == "__main__":
    main()
