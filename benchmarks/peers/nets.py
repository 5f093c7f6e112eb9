"""Networks that no library has in the wanted form.

They stand at the top of a module so that they can be pickled: PyTorch's own load time is measured from such a file.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Dense(nn.Sequential):
    """Linear layers of one width with ReLU between them."""

    def __init__(self, layers: int, width: int) -> None:
        steps: list[nn.Module] = []
        for _ in range(layers):
            steps += [nn.Linear(width, width), nn.ReLU()]
        super().__init__(*steps[:-1])


class LastHidden(nn.Module):
    """A text encoder of transformers' as a function of tensors."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        hidden: Tensor = self.encoder(input_ids=tokens, attention_mask=mask).last_hidden_state
        return hidden


class DecoderLayer(nn.Module):
    """A pre-normalised layer of GPT-2 that sees one new token and a cache."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value (1, heads, 1, width / heads) of the new token."""
        q, k, v = self.qkv(self.norm1(x)).view(1, 1, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def mix(self, x: Tensor, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """The layer's result, given the cache with the new token in it."""
        mixed = functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        result: Tensor = x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))
        return result


class Decoder(nn.Module):
    """One step of a decoder of GPT-2's size; the cache comes in and goes out as tensors.

    Args:
        layers: How many layers.
        width: Of the hidden state.
        heads: Of the attention.
        vocabulary: Number of tokens; the embedding is the output layer as well.
        length: Positions in the cache, all of which attention reads and masks.
    """

    def __init__(self, layers: int, width: int, heads: int, vocabulary: int, length: int) -> None:
        super().__init__()
        self.cache_shape = (1, heads, length, width // heads)
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.layers = nn.ModuleList(DecoderLayer(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        nn.init.normal_(self.tokens.weight, std=0.02)

    def cache_names(self) -> list[str]:
        return [f"{kind}_{index}" for index in range(len(self.layers)) for kind in ("keys", "values")]

    def begin(self, token: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """The embedded token and the mask of the positions that are filled."""
        mask = torch.arange(self.cache_shape[2]) <= place
        return self.tokens(token) + self.places(place)[None], mask[None, None, None]

    def forward(self, token: Tensor, place: Tensor, *cache: Tensor) -> tuple[Tensor, ...]:
        x, mask = self.begin(token, place)
        updated = []
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, DecoderLayer)
            q, k, v = layer.project(x)
            keys, values = (old.index_copy(2, place, new) for old, new in zip(cache[2 * index :], (k, v), strict=False))
            x = layer.mix(x, q, keys, values, mask)
            updated += [keys, values]
        return (self.head(self.norm(x)), *updated)


class StatefulDecoder(nn.Module):
    """The same step with the cache in buffers, which conversion makes Core ML states of."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder
        for name in decoder.cache_names():
            self.register_buffer(name, torch.zeros(decoder.cache_shape))

    def forward(self, token: Tensor, place: Tensor) -> Tensor:
        x, mask = self.decoder.begin(token, place)
        for index, layer in enumerate(self.decoder.layers):
            assert isinstance(layer, DecoderLayer)
            q, k, v = layer.project(x)
            keys, values = self.get_buffer(f"keys_{index}"), self.get_buffer(f"values_{index}")
            keys.index_copy_(2, place, k)
            values.index_copy_(2, place, v)
            x = layer.mix(x, q, keys, values, mask)
        logits: Tensor = self.decoder.head(self.decoder.norm(x))
        return logits


class UNetBlock(nn.Module):
    """A residual block and a transformer block as in the U-Net of Stable Diffusion 1.

    Args:
        channels: Of the picture.
        context: Width of the text that cross-attention reads.
        heads: Of both attentions.
    """

    def __init__(self, channels: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2, self.norm3 = (nn.GroupNorm(32, channels) for _ in range(3))
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.time = nn.Linear(4 * channels, channels)
        self.into, self.back = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.q = nn.ModuleList(nn.Linear(channels, channels, bias=False) for _ in range(2))
        self.kv = nn.ModuleList(nn.Linear(n, 2 * channels, bias=False) for n in (channels, context))
        self.out = nn.ModuleList(nn.Linear(channels, channels) for _ in range(2))
        self.up, self.down = nn.Linear(channels, 8 * channels), nn.Linear(4 * channels, channels)

    def _attend(self, index: int, x: Tensor, source: Tensor) -> Tensor:
        q = self.q[index](x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv[index](source).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed: Tensor = self.out[index](functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return mixed

    def forward(self, x: Tensor, time: Tensor, text: Tensor) -> Tensor:
        h = self.conv1(functional.silu(self.norm1(x))) + self.time(functional.silu(time))[:, :, None, None]
        x = x + self.conv2(functional.silu(self.norm2(h)))
        y = self.into(self.norm3(x).flatten(2).transpose(1, 2))
        normal = self.norms[0](y)
        y = y + self._attend(0, normal, normal)
        y = y + self._attend(1, self.norms[1](y), text)
        value, gate = self.up(self.norms[2](y)).chunk(2, dim=-1)
        y = y + self.down(value * functional.gelu(gate))
        result: Tensor = x + self.back(y).transpose(1, 2).reshape(x.shape)
        return result
