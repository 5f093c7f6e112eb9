"""What the loaders of ``tools.precision_models`` and ``tools.precision_sound`` share."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gristmill as ct
from tools import real_models


@dataclass(frozen=True)
class Real:
    """A model, data, and its ONNX form where it has one.

    Attributes:
        model: What ``search`` takes.
        data: One sample.
        options: Of the conversion.
        onnx: Writes the ONNX form into a folder; names of inputs are in the order of the data.
    """

    model: Any
    data: Mapping[str, Any]
    options: Mapping[str, Any]
    onnx: Callable[[Path], Path] | None = None


def exported(module: Any, data: Mapping[str, np.ndarray]) -> Real:
    """A module with inputs in the order of its arguments."""
    import torch

    module = module.eval()
    arguments = tuple(map(torch.from_numpy, data.values()))
    with torch.no_grad():
        exported = torch.export.export(module, arguments)

    def onnx(folder: Path) -> Path:
        path = folder / "model.onnx"
        torch.onnx.export(module, arguments, str(path), dynamo=False, opset_version=17)
        return path

    return Real(exported, data, {"minimum_deployment_target": ct.target.iOS18, "verify": False}, onnx)


def noise(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(shape) * scale).astype(np.float32)


def module_of(package: str, name: str) -> Any:
    """A module of a fetched package, without what the package's own ``__init__`` imports for other purposes."""
    top = name.partition(".")[0]
    shell = types.ModuleType(top)
    shell.__path__ = [str(real_models.fetch(package) / top)]
    sys.modules.setdefault(top, shell)
    return importlib.import_module(name)


def voice(samples: int) -> np.ndarray:
    """A vowel of 120 Hz and its overtones, at 16 kHz."""
    t = np.arange(samples) / 16000
    tones = [0.3 / k * np.sin(2 * np.pi * 120 * k * t) for k in range(1, 12)]
    return np.asarray(np.sum(tones, axis=0, dtype=np.float64), np.float32)
