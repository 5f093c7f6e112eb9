"""The pieces that fail in float16, each as people write it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def float32_mask(length: int, padding: Tensor | None) -> Tensor:
    """Float32's least number for what a token may not see; tokens of the padding on the left see nothing."""
    allowed = torch.ones(length, length, dtype=torch.bool).tril()
    seen = allowed[None] & (padding != 0)[:, None, :]
    return torch.where(seen, 0.0, torch.finfo(torch.float32).min)[:, None]


def written_rms_norm(x: Tensor) -> Tensor:
    """Squares of activations in the thousands."""
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def absolute_angles(places: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Places far into a text, as floats."""
    frequencies = 10000 ** (-torch.arange(0, width, 2) / width)
    turned = places.to(torch.float32)[:, None] * frequencies
    return torch.cos(turned), torch.sin(turned)


def exponential_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Weights that are normalised after the product."""
    weights = torch.exp(query @ key.transpose(-1, -2) * 6)
    return weights @ value / weights.sum(dim=-1, keepdim=True)


def late_scaled_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Scores that are scaled after the product: all of a row are infinite in float16."""
    scores = (query * 100 + 500) @ (key * 100 + 500).transpose(-1, -2) / 40000
    return torch.softmax(scores, dim=-1) @ value


def one_pass_variance(x: Tensor) -> Tensor:
    """``E[x²] - E[x]²`` where the mean is much larger than the deviation."""
    x = x + 4
    mean = x.mean(dim=(2, 3), keepdim=True)
    variance = (x * x).mean(dim=(2, 3), keepdim=True) - mean * mean
    return (x - mean) * torch.rsqrt(variance + 1e-5)


def summed_average(x: Tensor) -> Tensor:
    """A sum over all pixels, divided by their number."""
    return x.sum(dim=(2, 3)) / (x.shape[2] * x.shape[3])


def reciprocal_pooling(x: Tensor) -> Tensor:
    """An average in units of a small amplitude, by way of its reciprocal."""
    amplitude = x.abs().mean(dim=1) * 1e-5
    return x.mean(dim=1) * 0.01 * (1 / amplitude)


def unit_vectors(x: Tensor) -> Tensor:
    """Length 1, but for zero vectors, which a tiny number guards."""
    return functional.normalize(x, eps=1e-12)
