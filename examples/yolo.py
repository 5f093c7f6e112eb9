"""A detector of 2018 on a photograph: the whole pipeline, and what its network loses on other units.

YOLOv3-tiny as Apple published it: an image input with a scaler, a neural network with 8-bit weights in look-up tables,
and non-maximum suppression. Redmon and Farhadi, "YOLOv3: An Incremental Improvement" (2018).

    python -m examples.yolo [PHOTOGRAPH] [FOLDER]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

import gristmill as ct
from tools import real_models

SIZE = 416
"""Side of the square that the detector sees, in pixels."""

TARGET = "A17"
PROFILES = {"gpu_float32": ct.ComputeUnit.CPU_AND_GPU, "neural_engine_float32": ct.ComputeUnit.CPU_AND_NE}
"""How the network would run on a telephone: profiles with the units that they need."""

_COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080")


@dataclass(frozen=True)
class Found:
    """An object in the square: its label, how sure the model is, and left, top, right and bottom in pixels."""

    label: str
    confidence: float
    box: tuple[float, float, float, float]


def load() -> ct.models.MLModel:
    """The pipeline."""
    (path,) = real_models.fetch("yolov3-tiny").rglob("YOLOv3TinyInt8LUT.mlmodel")
    return ct.models.MLModel(path, compute_units=ct.ComputeUnit.CPU_ONLY)


def street() -> Image.Image:
    """A photograph of a bus and people in a street."""
    return Image.open(real_models.fetch("street") / "ultralytics" / "assets" / "bus.jpg").convert("RGB")


def square(photograph: Image.Image) -> Image.Image:
    """The whole photograph in the middle of a grey square."""
    scale = SIZE / max(photograph.size)
    width, height = (round(side * scale) for side in photograph.size)
    canvas = Image.new("RGB", (SIZE, SIZE), "#808080")
    scaled = photograph.resize((width, height), Image.Resampling.BICUBIC)
    canvas.paste(scaled, ((SIZE - width) // 2, (SIZE - height) // 2))
    return canvas


def labels(model: ct.models.MLModel) -> Sequence[str]:
    """What the pipeline's last model calls the classes."""
    return list(model.get_spec().pipeline.models[-1].nonMaximumSuppression.stringClassLabels.vector)


def objects(names: Sequence[str], outputs: Mapping[str, Any]) -> list[Found]:
    """The pipeline's outputs as objects, the surest first."""
    found = []
    for confidences, (x, y, width, height) in zip(outputs["confidence"], SIZE * outputs["coordinates"], strict=True):
        best = int(confidences.argmax())
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        found.append(Found(names[best], float(confidences[best]), box))
    return sorted(found, key=lambda each: -each.confidence)


def draw(picture: Image.Image, found: Sequence[Found]) -> Image.Image:
    """The picture with a box around each object."""
    drawn = picture.copy()
    pen = ImageDraw.Draw(drawn)
    kinds = list(dict.fromkeys(each.label for each in found))
    for each in found:
        colour = _COLOURS[kinds.index(each.label) % len(_COLOURS)]
        pen.rectangle(each.box, outline=colour, width=2)
        text = f"{each.label} {each.confidence:.0%}"
        corner = (each.box[0] + 3, max(0, each.box[1]))
        pen.rectangle(pen.textbbox(corner, text), fill=colour)
        pen.text(corner, text, fill="white")
    return drawn


def main(photograph: Path | None = None, folder: Path = Path()) -> None:
    """Finds objects, draws them, and says what the units' types change."""
    model, picture = load(), square(street() if photograph is None else Image.open(photograph).convert("RGB"))
    names = labels(model)
    runs = {"CPU, float32": model.predict({"image": picture})}
    for profile, units in PROFILES.items():
        found = model.simulate({"image": picture}, target=TARGET, compute_units=units, profiles=[profile])
        runs[f"{TARGET}, {profile}"] = found.results[profile]
    for title, outputs in runs.items():
        print(f"{title}: " + ", ".join(f"{each.label} {each.confidence:.4f}" for each in objects(names, outputs)))
    draw(picture, objects(names, runs["CPU, float32"])).save(folder / "yolo.png")
    network = model.stages[0]
    inspection = ct.precision.inspect(network, {"image": picture}, unit="neural_engine")
    print(inspection.table(8))
    network.report(
        folder / "yolo.html",
        title="YOLOv3-tiny on a Neural Engine",
        plan=network.plan(TARGET, ct.ComputeUnit.CPU_AND_NE),
        inspection=inspection,
    )
    print(f"Written: {folder / 'yolo.png'}, {folder / 'yolo.html'}")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:3]))
