"""The models: a decoder as Llama is one, a ViT, a U-Net; each takes the piece that fails from ``faults``.

Touvron et al., "LLaMA" (2023); Dosovitskiy et al., "An Image is Worth 16×16 Words" (2021); Ronneberger et al., "U-Net"
(2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

Norm = Callable[[Tensor], Tensor]
Attention = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def rms_norm(x: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], eps=1e-6)


def layer_norm(x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:])


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return torch.softmax(scores if mask is None else scores + mask, dim=-1) @ value


def causal_mask(length: int, padding: Tensor | None) -> Tensor:
    """0 where a token may look, a number that float16 holds elsewhere."""
    allowed = torch.ones(length, length, dtype=torch.bool).tril()
    return torch.where(allowed, 0.0, -1e4)[None, None]


def angles(places: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of rotary position embeddings for places that start at 0."""
    frequencies = 10000 ** (-torch.arange(0, width, 2) / width)
    turned = places.to(torch.float32)[:, None] * frequencies
    return torch.cos(turned), torch.sin(turned)


class DecoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, norm: Norm, attend: Attention) -> None:
        super().__init__()
        self.heads, self.norm, self.attend = heads, norm, attend
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(width, 2 * width, bias=False) for _ in range(2))
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor, mask: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, width = x.shape

        def by_head(y: Tensor) -> Tensor:
            return y.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

        def turned(y: Tensor) -> Tensor:
            first, second = y.chunk(2, dim=-1)
            return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)

        h = self.norm(x)
        query, key, value = (by_head(linear(h)) for linear in (self.query, self.key, self.value))
        h = self.attend(turned(query), turned(key), value, mask)
        x = x + self.out(h.transpose(1, 2).reshape(batch, length, width))
        h = self.norm(x)
        return x + self.down(functional.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Module):
    """Tokens and their places to logits."""

    def __init__(
        self,
        layers: int,
        width: int,
        *,
        heads: int = 4,
        vocabulary: int = 256,
        scale: float = 1.0,
        norm: Norm = rms_norm,
        mask: Callable[[int, Tensor | None], Tensor] = causal_mask,
        angles: Callable[[Tensor, int], tuple[Tensor, Tensor]] = angles,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, norm, attention) for _ in range(layers))
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.scale, self.norm, self.mask, self.angles = scale, norm, mask, angles

    def forward(self, tokens: Tensor, places: Tensor, padding: Tensor) -> Tensor:
        x = self.embedding(tokens) * self.scale
        mask = self.mask(tokens.shape[1], padding)
        cos, sin = self.angles(places, x.shape[-1] // self.layers[0].heads)
        for layer in self.layers:
            x = layer(x, mask, cos, sin)
        return self.head(self.norm(x))


class EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, norm: Norm, attend: Attention) -> None:
        super().__init__()
        self.heads, self.norm, self.attend = heads, norm, attend
        self.projected, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.projected(self.norm(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.out(self.attend(query, key, value, None).transpose(1, 2).reshape(batch, length, width))
        return x + self.narrow(functional.gelu(self.widen(layer_norm(x))))


class ViT(nn.Module):
    """Pictures to classes; the piece that fails is in the layer in the middle."""

    def __init__(
        self,
        layers: int,
        width: int,
        size: int,
        *,
        heads: int = 4,
        patch: int = 8,
        norm: Norm = layer_norm,
        attend: Attention = attention,
        pooled: Callable[[Tensor], Tensor] = lambda x: x.mean(dim=1),
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.places = nn.Parameter(torch.randn(1, (size // patch) ** 2, width) * 0.1)
        middle = layers // 2
        self.layers = nn.ModuleList(
            EncoderLayer(width, heads, norm if i == middle else layer_norm, attend if i == middle else attention)
            for i in range(layers)
        )
        self.head, self.pooled = nn.Linear(width, 10), pooled

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patches(pixels).flatten(2).transpose(1, 2) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.head(self.pooled(layer_norm(x)))


def group_norm(x: Tensor) -> Tensor:
    return functional.group_norm(x, 4)


class Block(nn.Module):
    def __init__(self, before: int, after: int, norm: Norm = group_norm) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)
        self.skip = nn.Conv2d(before, after, 1)
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        h = functional.silu(group_norm(self.first(x)))
        return self.skip(x) + functional.silu(self.norm(self.second(h)))


class Gate(nn.Module):
    """Scales channels by what their average over the picture says (squeeze and excitation)."""

    def __init__(self, channels: int, average: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.dense, self.average = nn.Linear(channels, channels), average

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.dense(self.average(x)))[:, :, None, None]


class UNet(nn.Module):
    """Pictures to pictures; the piece that fails is at the bottom, or in the gate before the end."""

    def __init__(
        self,
        depth: int,
        width: int,
        *,
        norm: Norm = group_norm,
        average: Callable[[Tensor], Tensor] = lambda x: x.mean(dim=(2, 3)),
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        sizes = [width * 2**level for level in range(depth)]
        self.enter = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(Block(a, b) for a, b in pairwise(sizes))
        self.bottom = Block(sizes[-1], sizes[-1], norm)
        self.up = nn.ModuleList(Block(b + a, a) for a, b in reversed(list(pairwise(sizes))))
        self.gate, self.leave, self.scale = Gate(width, average), nn.Conv2d(width, 3, 1), scale

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.enter(pixels)
        kept = []
        for block in self.down:
            kept.append(x)
            x = functional.avg_pool2d(block(x), 2)
        x = self.bottom(x)
        for block in self.up:
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), kept.pop()], dim=1))
        return self.leave(self.gate(x * self.scale))
