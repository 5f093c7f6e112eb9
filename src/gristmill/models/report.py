"""A model's report: what it is, what it holds, and what a plan, an inspection or another model says of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gristmill._version import __version__
from gristmill.analysis.report.diff import diff
from gristmill.analysis.report.graph import graph
from gristmill.analysis.report.page import page
from gristmill.errors import InputError, InputTypeError
from gristmill.ir.builtin import const
from gristmill.ir.constants import BlobData
from gristmill.ir.op import Op, RuntimeValue
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType
from gristmill.models.kinds import PROGRAMS
from gristmill.models.model import MLModel
from gristmill.package.network_messages import NETWORKS
from gristmill.precision.map import name_of

Document: TypeAlias = dict[str, Any]

_FLOAT16_MAX, _FLOAT16_VANISHING = 65504.0, 2.0**-25


def write_report(
    model: MLModel,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    plan: Any = None,
    inspection: Any = None,
    inputs: Mapping[str, Any] | None = None,
    old: MLModel | None = None,
    view: str | None = None,
) -> Path:
    """Writes a page about a model; see ``MLModel.report``. ``view`` names the view that it opens with."""
    target = Path(path)
    shown = document(model, title=title, plan=plan, inspection=inspection, inputs=inputs, old=old)
    text = page(shown if view is None else {**shown, "view": view})
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target


def document(
    model: MLModel,
    *,
    title: str | None = None,
    plan: Any = None,
    inspection: Any = None,
    inputs: Mapping[str, Any] | None = None,
    old: MLModel | None = None,
) -> Document:
    """What the page shows, as plain values; arguments as of ``MLModel.report``.

    Raises:
        InputError: A model is neither an ML Program nor a neural network.
    """
    for each in (model, old):
        if each is not None and each.kind not in PROGRAMS:
            raise InputError(
                "models of this type are not reported on",
                expected=", ".join(PROGRAMS),
                actual=each.kind,
                hint="report on one of the pipeline's models: MLModel.stages, or --stage" if each.stages else None,
            )
    program = model.program
    weights = _weights(program)
    if inspection is None and inputs is not None:
        inspection = ranges(model, inputs)
    found: Document = {
        "title": title or (model.package.path.name if model.package.path is not None else "model"),
        "generator": f"Gristmill {__version__}",
        "summary": _summary(model, program, weights),
        "tiles": _tiles(weights),
        "interface": {
            kind: [{"name": f.name, "type": f.describe(), "about": f.about} for f in getattr(model, kind)]
            for kind in ("inputs", "outputs")
        },
        "metadata": _metadata(model),
        "functions": graph(program),
        "running": model._function(program).name,
    }
    states = [{"name": v.name, "type": str(v.type), "about": ""} for v in model._function(program).states]
    found["interface"]["states"] = states
    if plan is not None:
        found["plan"] = _plain(plan, "document")
    if inspection is not None:
        found["inspection"] = _plain(inspection, "as_dict")
    if old is not None:
        found["diff"] = diff(old.program, program)
        found["diff"]["name"] = old.package.path.name if old.package.path is not None else "the other model"
    return found


def _plain(found: Any, method: str) -> Document:
    """A plan or an inspection as plain values, whether it comes as an object or was read from JSON."""
    made = getattr(found, method)() if hasattr(found, method) else found
    if not isinstance(made, Mapping) or not isinstance(made.get("ops"), Sequence):
        raise InputTypeError(
            "this is neither a plan nor an inspection",
            expected="what `gristmill plan --json` or `gristmill precision --json` prints, or the object itself",
            actual=type(found).__name__,
        )
    return dict(made)


def _summary(model: MLModel, program: Program, weights: Mapping[str, tuple[int, int]]) -> list[tuple[str, str]]:
    package = model.package
    version = package.specification_version
    if model.kind in NETWORKS:
        rows = [("Kind", f"Neural network ({model.kind}), untyped inside"), ("Specification", str(version))]
    else:
        rows = [("Kind", "ML Program"), ("Specification", f"{version} ({Opset(version)} and later)")]
    if package.tree is not None:
        rows.append(("On disk", _size(sum(file.size for file in package.tree.values()))))
    if weights:
        held = (f"{count:,} {dtype} ({_size(size)})" for dtype, (count, size) in weights.items())
        rows.append(("Weights", ", ".join(held)))
    names = ", ".join(f"{name} ({function.opset})" for name, function in program.functions.items())
    rows.append(("Functions" if len(program.functions) > 1 else "Function", names))
    return rows


def _weights(program: Program) -> dict[str, tuple[int, int]]:
    """Number and bytes of constants that are no mere parameters, by type; what functions share counts once."""
    found: dict[str, tuple[int, int]] = {}
    seen: set[object] = set()
    for function in program.functions.values():
        for op in function.body.walk():
            if not isinstance(op, const) or not isinstance(op.value.type, TensorType) or op.value.data.size < 10:
                continue
            data = op.value.data
            key = (data.path, data.offset) if isinstance(data, BlobData) else id(data)
            if key not in seen:
                seen.add(key)
                count, size = found.get(str(data.dtype), (0, 0))
                found[str(data.dtype)] = count + data.size, size + -(-data.size * data.dtype.bits // 8)
    return found


def _tiles(weights: Mapping[str, tuple[int, int]]) -> list[tuple[str, str]]:
    count, size = (sum(numbers) for numbers in zip(*weights.values(), strict=True)) if weights else (0, 0)
    return [(_count_text(count), "weights"), (_size(size), "of weights")] if count else []


def _count_text(count: float) -> str:
    for unit in ("", " k", " M"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g} G"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _metadata(model: MLModel) -> dict[str, str]:
    metadata = model.package.description.metadata
    known = {
        "Description": metadata.shortDescription,
        "Author": metadata.author,
        "License": metadata.license,
        "Version": metadata.versionString,
    }
    # The program's notes are for machines, and shown with the ops.
    own = {key: text for key, text in sorted(metadata.userDefined.items()) if len(text) <= 500}
    return {key: str(text) for key, text in known.items() if text} | own


def ranges(model: MLModel, inputs: Mapping[str, Any]) -> Document:
    """Ranges of all floating values of one run in the declared types, as an inspection has them, without errors.

    Args:
        model: An ML Program.
        inputs: As for ``predict``.
    """
    rows: dict[Op, Document] = {}

    def observe(op: Op, results: list[RuntimeValue]) -> None:
        floats = [r for r in results if isinstance(r, np.ndarray) and r.dtype.kind == "f" and r.size]
        if floats:
            row = rows.setdefault(op, {"name": name_of(op), "op": op.op_name, "count": 0})
            for array in floats:
                _count(row, array)

    arrays, _ = model._arrays(inputs)
    model._session.run(arrays, model._session.make_state(), observe)
    return {"shadow": None, "ops": list(rows.values())}


def _count(row: Document, array: np.ndarray[Any, Any]) -> None:
    size = np.abs(array.astype(np.float64))
    finite = array[np.isfinite(array)]
    old, row["count"] = row["count"], row["count"] + array.size
    for key, counted in (
        ("overflow", (size > _FLOAT16_MAX) & ~np.isnan(size)),
        ("underflow", (size != 0) & (size <= _FLOAT16_VANISHING)),
        ("nan", np.isnan(size)),
    ):
        row[key] = (row.get(key, 0.0) * old + int(np.count_nonzero(counted))) / row["count"]
    if finite.size:
        row["low"] = min(row.get("low", np.inf), float(finite.min()))
        row["high"] = max(row.get("high", -np.inf), float(finite.max()))
