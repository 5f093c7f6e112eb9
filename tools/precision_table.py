"""Measures the search for a precision on real models: ``python -m tools.precision_table`` writes ``docs/precision.md``.

Beside each search stand, on the same model, data, metric and budget, in the same run: bisection as Polygraphy does it
(the first N ops in float32, N halved or doubled until the least is found), with this project's own evaluations; and
``auto_convert_mixed_precision`` of onnxconverter-common on the model's ONNX form, which ONNX Runtime runs. It needs
``pip install onnx onnxscript onnxconverter-common``, and for pesto's checkpoint ``omegaconf``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import tempfile
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import gristmill as ct
from gristmill.analysis.bench import Bench
from gristmill.analysis.metrics import METRICS
from gristmill.devices.cpu import CpuDevice
from gristmill.devices.reference import ReferenceDevice
from gristmill.ir.program import Program
from gristmill.models import mend
from gristmill.models.explain import arrays_for
from gristmill.runtime.partition import partition
from gristmill.runtime.session import Session
from tools.precision_models import MODELS, chosen
from tools.precision_parts import Real

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "docs/precision.json", ROOT / "docs/precision.md"
METRIC = METRICS["snr"]
BUDGETS = (40.0, 60.0)
TARGET, UNITS = "A17", "CPU_AND_NE"


def measure(real: Real, budget: float) -> dict[str, Any]:
    """Everything that a row says."""
    found = ct.precision.search(real.model, real.data, metric=METRIC, budget=budget, progress=False, **real.options)
    bench = _bench(real)
    row: dict[str, Any] = {
        "budget": budget,
        "ops": found.best.cost.ops,
        "float32": float32_error(bench),
        "float16": found.before.value,
        "eligible_before": eligible(bench.typed({}, frozenset())[0]),
        "eligible": eligible(bench.typed(found.best.rewrites, found.best.kept)[0]),
        "searched": found.best.value,
        "met": found.met,
        "float32_ops": found.best.cost.float32_ops,
        "kept_before": found.before.cost.float32_ops,
        "rewritten": sum(map(len, found.best.rewrites.values())),
        "runs": found.runs,
        "seconds": found.seconds,
    }
    row["bisection"] = bisect(bench, budget)
    if real.onnx is not None:
        row["auto_mixed_precision"] = auto_mixed_precision(real, budget)
    return row


def _bench(real: Real) -> Bench:
    """Where candidates run, with as many runs as it takes."""
    source = mend._source(real.model, dict(real.options))
    samples = [arrays_for(source.shown, source.program.main, real.data)]
    return Bench(source.program, samples, METRIC, read=source.read)


def float32_error(bench: Bench) -> float:
    """The float32 model on the CPU beside the reference device, which computes each op in float64 and rounds once."""
    session = Session(bench.program.main, ReferenceDevice())
    exact = [session.run(sample, session.make_state() if bench.program.main.states else None) for sample in bench.data]
    fast = Session(bench.program.main, CpuDevice(strict=True))
    mine = [fast.run(sample, fast.make_state() if bench.program.main.states else None) for sample in bench.data]
    return METRIC.over(mine, exact)


def eligible(program: Program) -> float:
    """The share of the ops that the Neural Engine of a chip could run, by the rules of its plan."""
    placements = partition(program.main, TARGET, UNITS).placements
    return sum("neural_engine" in placement.supported for placement in placements) / len(placements)


def bisect(bench: Bench, budget: float) -> dict[str, Any]:
    """The least N for which the first N ops in float32 meet the budget, by halving."""
    names = bench.order({})
    start = time.perf_counter()
    low, high = -1, len(names)  # all of them are the reference
    while high - low > 1:
        middle = (low + high) // 2 if low >= 0 else 0
        value = bench.evaluate(f"first {middle}", {}, frozenset(names[:middle])).value
        low, high = (low, middle) if METRIC.accepts(value, budget) else (middle, high)
    return {
        "runs": bench.runs,
        "float32_ops": bench.cost({}, frozenset(names[:high])).float32_ops,
        "seconds": time.perf_counter() - start,
    }


def auto_mixed_precision(real: Real, budget: float) -> dict[str, Any]:
    """onnxconverter-common's search, with the same metric on ONNX Runtime's outputs."""
    import onnx
    from onnxconverter_common.auto_mixed_precision import auto_convert_mixed_precision  # type: ignore[import-untyped]  # has no types

    runs = 0

    def validate(theirs: list[Any], mine: list[Any]) -> bool:
        nonlocal runs
        runs += 1
        names = [str(index) for index in range(len(theirs))]
        value = METRIC.over([dict(zip(names, mine, strict=True))], [dict(zip(names, theirs, strict=True))])
        return METRIC.accepts(value, budget)

    start = time.perf_counter()
    assert real.onnx is not None
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            path = real.onnx(Path(folder))
        except Exception as error:  # whatever the exporter raises
            return {"failed": [_reason(error)], "runs": 0}
        model = onnx.load(path)
        for index, node in enumerate(model.graph.node):
            node.name = node.name or f"node_{index}"  # it finds nodes by name
        feeds = dict(zip([item.name for item in model.graph.input], real.data.values(), strict=False))
        del model.graph.value_info[:]  # types that an exporter noted stand in its way
        made, failures = None, []
        for keep_io_types in (True, False):  # where one fails, the other may not
            runs = 0
            try:
                made = auto_convert_mixed_precision(model, feeds, validate, keep_io_types=keep_io_types)
                break
            except Exception as error:  # whatever the tool raises is what the table says
                failures.append(_reason(error))
        if made is None:
            return {"failed": failures, "runs": runs}
    halves = {t.name for t in made.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    halves |= {v.name for v in made.graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16}
    nodes = [node for node in made.graph.node if node.op_type not in ("Cast", "Constant")]
    wide = sum(not any(name in halves for name in (*node.input, *node.output)) for node in nodes)
    return {
        "runs": runs - 1,  # it compares the reference with itself first
        "float32_ops": wide,
        "ops": len(nodes),
        "seconds": time.perf_counter() - start,
    }


def _reason(error: Exception) -> str:
    """An error in one line, without the folders that packages and this project are in."""
    text = re.sub(r"/\S*/site-packages/", "", " ".join(str(error).split())).replace(f"{ROOT.resolve()}/", "")
    return f"{type(error).__name__}: {text}"


HEAD = f"""\
# Choosing precision on real models

Written by `python -m tools.precision_table`; the models are in `tools/precision_models.py`. The metric is the
signal-to-noise ratio of the worst output beside the same model in float32, in decibels, on one sample (a sentence,
notes, a vowel, the helix of a protein, or noise for pictures). Candidates run in strict numerics, every result rounded
to its declared type.

- *Float32*: the float32 model on native kernels beside the reference device, which computes each op in float64 and
  rounds once; ∞ where that changes no bit of outputs that are declared float16. *Float16*: everything in float16.
  *Search*: what `precision.search` found for the budget.
- *Eligible*: the share of ops that the Neural Engine of an {TARGET} could run by the rules of its
  [plan](placement.md), everything in float16 → after the search.
- *Runs* are full evaluations, instrumented ones included. Seconds are of one thread of a machine that others were
  using too, so only their order says something.
- *Bisection*, run beside the search, is Polygraphy's way: the first N ops in float32, the least N that meets the
  budget, with this project's evaluations. `polygraphy debug precision` itself (0.53.6) does not start without
  TensorRT: "Module: 'tensorrt' is required but could not be imported".
- *auto_mixed_precision* is onnxconverter-common's, run beside it on the model's ONNX form in ONNX Runtime, whose nodes
  are others, and whose CPU runs many float16 nodes by float32 kernels between casts, so that it rounds less: its share
  is of its own nodes. Where it fails, the table says how. Models that have no ONNX form have no figure.

"""

COLUMNS = (
    "Model",
    "Budget",
    "Ops",
    "Float32",
    "Float16",
    "Search",
    "Float32 ops",
    "Rewritten",
    "Eligible",
    "Runs",
    "Seconds",
    "Bisection: float32 ops, runs, seconds",
    "auto_mixed_precision: float32 ops, runs",
)

LEFT_OUT = """
## What is left out

- Models that exist as ONNX or TFLite only: there is no importer for them yet.
- YOLOv3-tiny, a neural network: its tensors are untyped, so there is no precision to choose; `simulate` says what each
  unit makes of it.
- Of models that are measured, these parts: Whisper's decoder, and 28 of the 30 seconds that its encoder takes; the
  spectrograms and the constant-Q transform that Whisper, javad and pesto are given; MTCNN's loops over
  scales and boxes. EfficientNet-Lite0 sees 96×96 pixels, TransNetV2 12 frames, DistillMOS 1.28 seconds.
"""


def page(results: dict[str, list[dict[str, Any]]]) -> str:
    """The page that results make."""
    lines = [_line(COLUMNS), _line(["---", *["--:"] * (len(COLUMNS) - 1)])]
    for name, rows in results.items():
        for row in rows:
            wide, ops = row["float32_ops"], row["ops"]
            halved = row["bisection"]
            cells = (
                name,
                f"{row['budget']:.0f}",
                str(ops),
                _decibels(row["float32"]),
                _decibels(row["float16"]),
                _decibels(row["searched"]),
                _share(wide, ops),
                str(row["rewritten"] or "–"),
                f"{row['eligible_before']:.1%} → {row['eligible']:.1%}",
                str(row["runs"]),
                f"{row['seconds']:.1f}",
                f"{_share(halved['float32_ops'], ops)}, {halved['runs']}, {halved['seconds']:.1f}",
                _peer(row.get("auto_mixed_precision")),
            )
            lines.append(_line(cells))
    return HEAD + "".join(lines) + LEFT_OUT


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _share(some: int, ops: int) -> str:
    return f"{some} ({some / ops:.1%})"


def _decibels(value: float | str) -> str:
    number = float(value)
    return f"{number:.1f}" if np.isfinite(number) else ("∞" if number > 0 else "no number")


def _peer(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    if "failed" in found:
        return f"failed after {found['runs']}: {found['failed'][0][:150].replace('|', ' ')} …"
    return f"{found['float32_ops']} of {found['ops']} ({found['float32_ops'] / found['ops']:.1%}), {found['runs']}"


def main() -> None:
    """Measures the named models, or all, and writes results and page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="beginnings of names")
    beginnings = parser.parse_args().models
    for name, load in chosen(beginnings):
        real = load()
        rows = []
        for budget in BUDGETS:
            rows.append(measure(real, budget))
            print(name, rows[-1], flush=True)
        results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        results[name] = rows
        ordered = {known: results[known] for known in MODELS if known in results}
        RESULTS.write_text(json.dumps(ordered, indent=1, default=float) + "\n", encoding="utf-8")
        PAGE.write_text(page(ordered), encoding="utf-8")


if __name__ == "__main__":
    main()
