"""How far a quantised model's results lie from those of the model that it was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.errors import InputError, InputTypeError
from gristmill.ir.constants import Array
from gristmill.models import images
from gristmill.models.model import MLModel
from gristmill.package.proto import Message

_IMAGES = (".jpg", ".jpeg", ".png", ".bmp")
_TOP = 5
_LEAST_NOISE = 1e-7  # so that equal results have a finite ratio


class TopKMetrics:
    """How often the most probable label of one model is among the other's ``topk`` most probable.

    Args:
        topk: How many.
    """

    def __init__(self, topk: int) -> None:
        self._top, self._correct, self._count = topk, 0, 0

    def add_metric(self, output1: Any, output2: Any) -> None:
        """Counts one pair of labels, or of probabilities by label."""
        self._count += 1
        if not isinstance(output1, Mapping):
            self._correct += output1 == output2
            return
        best = max(output1, key=output1.__getitem__)
        self._correct += best in sorted(output2, key=output2.__getitem__, reverse=True)[: self._top]

    def display_metrics(self) -> None:
        """Prints the share."""
        print(f"  top {self._top}: {100 * self._correct / max(self._count, 1):.2f}% agree, of {self._count}")


class NoiseMetrics:
    """Ratios of signal and noise, in decibels, where the difference of two arrays is the noise."""

    def __init__(self) -> None:
        self._ratios: list[tuple[float, float]] = []

    def add_metric(self, output1: Any, output2: Any) -> None:
        """Takes one pair of arrays, or of images."""
        first, second = _array(output1), _array(output2)
        noise = np.mean(np.square(first - second)) + _LEAST_NOISE
        with np.errstate(divide="ignore"):
            energies = np.array([np.mean(np.square(second)), np.max(np.square(second))])
            snr, psnr = 10 * np.log10(energies / noise)
        self._ratios.append((float(snr), float(psnr)))

    def display_metrics(self) -> None:
        """Prints means and variances."""
        for name, values in zip(("SNR", "PSNR"), zip(*self._ratios, strict=True), strict=False):
            print(f"  {name}: {np.mean(values):.2f} dB, variance {np.var(values):.2g}")


class OutputMetric:
    """What is measured of one output.

    Args:
        name: Of the output.
        type: Its type, as the format calls it.

    Raises:
        InputError: Nothing is measured of such a type.
    """

    def __init__(self, name: str, type: str) -> None:
        self.name = name
        self._metric: TopKMetrics | NoiseMetrics
        match type:
            case "stringType" | "int64Type":
                self._metric = TopKMetrics(1)
            case "dictionaryType":
                self._metric = TopKMetrics(_TOP)
            case "imageType" | "multiArrayType":
                self._metric = NoiseMetrics()
            case _:
                raise InputError("nothing is measured of such an output", op=name, actual=type)

    def add_metric(self, output1: Any, output2: Any) -> None:
        """Takes one pair of results."""
        self._metric.add_metric(output1, output2)

    def display_metrics(self) -> None:
        """Prints what was measured."""
        self._metric.display_metrics()


class ModelMetrics:
    """What is measured of all outputs of a model.

    Args:
        spec: Its ``Model`` message.
    """

    def __init__(self, spec: Message) -> None:
        outputs = spec.description.output
        self.model_metrics = {one.name: OutputMetric(one.name, str(one.type.WhichOneof("Type"))) for one in outputs}

    def add_metrics(self, model1_output: Mapping[str, Any], model2_output: Mapping[str, Any]) -> None:
        """Takes the results of both models for one sample."""
        for name, value in model1_output.items():
            self.model_metrics[name].add_metric(value, model2_output[name])

    def display_metrics(self) -> None:
        """Prints what was measured."""
        for name, metric in self.model_metrics.items():
            print(f"output {name}:")
            metric.display_metrics()


def compare_models(full_precision_model: MLModel, quantized_model: MLModel, sample_data: Any) -> None:
    """Prints how far two models agree: labels, or decibels of signal to noise.

    Args:
        full_precision_model: The one.
        quantized_model: The other, with the same inputs and outputs.
        sample_data: A list of inputs by name; or a folder of images, for models with one input, an image.

    Raises:
        InputError: The folder has no images, or the model takes other inputs.
        InputTypeError: The samples are something else.
    """
    spec = full_precision_model.get_spec()
    if isinstance(sample_data, str | Path):
        samples: Sequence[Mapping[str, Any]] = _images(spec, Path(sample_data))
    elif isinstance(sample_data, list) and all(isinstance(sample, dict) for sample in sample_data):
        samples = sample_data
    else:
        raise InputTypeError(
            "samples are a list of dictionaries, or a folder of images", actual=type(sample_data).__name__
        )
    metrics = ModelMetrics(spec)
    for sample in samples:
        metrics.add_metrics(full_precision_model.predict(sample), quantized_model.predict(sample))
    print(f"{len(samples)} samples")
    metrics.display_metrics()


def _images(spec: Message, folder: Path) -> list[dict[str, Any]]:
    """Images of a folder, in the size of the model's only input."""
    inputs = spec.description.input
    if len(inputs) != 1 or inputs[0].type.WhichOneof("Type") != "imageType":
        raise InputError("a folder of images is for models with one input, an image", hint="give a list of inputs")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGES)
    if not paths:
        raise InputError("the folder has no images", location=folder, expected=", ".join(_IMAGES))
    image = inputs[0].type.imageType
    pillow = images.pil()
    mode = "L" if type(image).ColorSpace.Name(image.colorSpace).startswith("GRAYSCALE") else "RGB"
    size = (image.width, image.height)
    opened = (pillow.open(path).convert(mode).resize(size, pillow.Resampling.LANCZOS) for path in paths)
    return [{inputs[0].name: one} for one in opened]


def _array(value: Any) -> Array:
    """Numbers of an array or an image, without its opacity."""
    if getattr(value, "mode", None) == "RGBA":
        value = value.convert("RGB")
    return np.asarray(value).astype(np.float64).reshape(-1)
