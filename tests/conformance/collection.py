"""Finding, unpacking and judging conformance cases."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import gristmill as ct

FLOAT16_SHARE = 2e-2
"""Float16 models may differ by this share of the largest expected magnitude."""

_NUMPY = {"FLOAT32": np.float32, "FLOAT16": np.float16, "DOUBLE": np.float64, "INT32": np.int32, "INT8": np.int8}


@dataclass(frozen=True)
class Conformance:
    """One case in an archive."""

    archive: Path
    key: str
    about: dict[str, Any]

    @property
    def id(self) -> str:
        return f"{self.about['suite']}-{self.about['family']}-{self.about['precision']}-{self.key}"

    def unpack(self, folder: Path) -> Path:
        with zipfile.ZipFile(self.archive) as archive:
            archive.extractall(folder, [n for n in archive.namelist() if n.startswith(self.key + "/")])
        return folder / self.key


def find(folder: Path, every: int = 1) -> Iterator[Conformance]:
    """The cases of all archives under a folder; every n-th by key."""
    for path in sorted(folder.rglob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            for key in sorted({name.split("/")[0] for name in archive.namelist()}):
                about = json.loads(archive.read(f"{key}/case.json"))
                if int(key, 16) % every == 0:
                    yield Conformance(path, key, about)


def run(case: Conformance, folder: Path) -> None:
    """Runs a case and asserts that its outputs are as expected."""
    about = case.about
    if "pair" in about:
        _run_pair(about, folder)
        return
    model = ct.models.MLModel(folder / about["model"], function_name=about.get("function_name"))
    state = model.make_state() if about["stateful"] else None
    declared = {feature["name"]: feature for feature in about["inputs"]}
    for number, step in enumerate(about["steps"]):
        if step["via"] in ("read_state", "write_state"):
            return
        inputs = _inputs(folder, "inputs", number, declared) | step.get("inputs_json", {})
        got = model.predict(inputs, state) if state is not None else model.predict(inputs)
        for name, wanted in _arrays(folder, "expected", number).items():
            assert name in got, f"no output {name!r} among {sorted(got)}"
            judge(got[name], wanted, step, name, float16=about["precision"] in ("fp16", "mixed"))
        for name, value in step.get("expected_json", {}).items():
            assert same_json(got[name], value), f"{name}: {got[name]!r}, expected {value!r}"


def _run_pair(about: dict[str, Any], folder: Path) -> None:
    pair = about["pair"]
    sides = []
    for model, output, stem, features in (
        (pair["model"], pair["output"], "inputs", about["inputs"]),
        (pair["ref_model"], pair["ref_output"], "ref_inputs", pair["ref_inputs"]),
    ):
        inputs = _inputs(folder, stem, 0, {feature["name"]: feature for feature in features})
        sides.append(np.asarray(ct.models.MLModel(folder / model).predict(inputs)[output]))
    step = {"rtol": pair.get("rtol", 1e-5), "atol": pair.get("atol", 1e-4), "metric": pair.get("metric")}
    judge(sides[0], sides[1], step, pair["output"], float16=about["precision"] in ("fp16", "mixed"))


def _arrays(folder: Path, stem: str, number: int) -> dict[str, np.ndarray]:
    path = folder / (f"{stem}.npz" if number == 0 else f"{stem}.{number}.npz")
    return dict(np.load(path)) if path.exists() else {}


def _inputs(folder: Path, stem: str, number: int, declared: dict[str, Any]) -> dict[str, Any]:
    return {name: _typed(value, declared.get(name)) for name, value in _arrays(folder, stem, number).items()}


def _typed(value: np.ndarray, feature: dict[str, Any] | None) -> Any:
    """A stored input in the type that the model declares."""
    match feature and feature["type"]:
        case "imageType":
            return Image.fromarray(value.astype(np.uint8))
        case "multiArrayType":
            return value.astype(_NUMPY.get(feature.get("dtype"), value.dtype))
        case "doubleType" | "int64Type":
            return value.reshape(-1)[0].item()
    return value


def judge(got: Any, wanted: np.ndarray, step: dict[str, Any], name: str, *, float16: bool) -> None:
    """Asserts that one output is as expected, by the rule that its case asks for."""
    got = np.asarray(got)
    assert got.dtype != object, f"{name} is no array"
    rule = step.get("shape_check", True)
    if rule in ("flatten", "squeeze"):
        shape = np.ravel if rule == "flatten" else np.squeeze
        got, wanted = shape(got), shape(wanted)
    if rule is not False:
        # Core ML returns scalars of programs as arrays of one element, and numbers of classic models as numbers. Cases
        # hold either as either.
        assert got.shape == wanted.shape or {got.shape, wanted.shape} == {(), (1,)}, f"{name}: shape {got.shape}"
    assert got.size == wanted.size
    if step.get("shapes_only") or not wanted.size:
        return
    got, wanted = got.astype(np.float64).reshape(wanted.shape), wanted.astype(np.float64)
    metric = step.get("metric") or {"type": None}
    match metric["type"]:
        case "rel_error":
            limit = max(metric["delta"], FLOAT16_SHARE if float16 else 0)
            assert np.max(np.abs(got - wanted) / np.maximum(np.abs(wanted), 1)) <= limit
        case "moments":
            _judge_moments(got, wanted, metric)
        case "SNR":
            _judge_noise(got, wanted, metric)
        case _:
            _judge_elements(got, wanted, step, name, float16=float16)


def _judge_elements(got: np.ndarray, wanted: np.ndarray, step: dict[str, Any], name: str, *, float16: bool) -> None:
    rtol, atol = step.get("tols", {}).get(name, (step.get("rtol", 1e-5), step.get("atol", 1e-4)))
    finite = wanted[np.isfinite(wanted)]
    scale = float(np.max(np.abs(finite))) if finite.size else 1.0
    atol = max(atol, (FLOAT16_SHARE if float16 else 1e-6) * scale)
    with np.errstate(all="ignore"):
        close = np.isclose(got, wanted, rtol=rtol, atol=atol, equal_nan=True)
    if float16:
        close |= np.isinf(got) & (np.abs(wanted) > 65504)  # beyond float16's range an infinity is right
    wrong = np.count_nonzero(~close)
    at = np.unravel_index(np.argmin(close), close.shape)
    assert wrong <= step.get("allow_mismatch_ratio", 0) * wanted.size, (
        f"{name}: {wrong}/{wanted.size} differ, first at {[int(i) for i in at]}: {got[at]:.7g}, not {wanted[at]:.7g}"
    )


def _judge_moments(got: np.ndarray, wanted: np.ndarray, metric: dict[str, Any]) -> None:
    for order in range(1, metric["num_moments"] + 1):
        a, b = (np.mean(v) if order == 1 else np.mean((v - np.mean(v)) ** order) for v in (got, wanted))
        assert abs(a - b) <= 1.5 * 10 ** -metric["decimal"], f"moment {order}: {a:.4g}, expected {b:.4g}"


def _judge_noise(got: np.ndarray, wanted: np.ndarray, metric: dict[str, Any]) -> None:
    noise, power = np.mean((got - wanted) ** 2) + 1e-10, np.mean(wanted**2) + 1e-10
    assert 10 * math.log10(power / noise) >= metric["SNR"]
    assert 10 * math.log10((np.max(wanted**2) + 1e-10) / noise) >= metric["PSNR"]


def same_json(got: Any, wanted: Any) -> bool:
    """Whether strings, numbers and dictionaries agree; probabilities to 1e-2, as the authors ask of float16."""
    if isinstance(wanted, dict):
        found = {str(key): value for key, value in got.items()} if isinstance(got, dict) else {}
        return set(found) == set(map(str, wanted)) and all(same_json(found[str(k)], v) for k, v in wanted.items())
    if isinstance(wanted, float):
        return abs(float(got) - wanted) <= 1e-2 * max(1.0, abs(wanted))
    return str(got) == str(wanted)
