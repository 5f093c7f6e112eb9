"""MiniLM-L6, a sentence encoder: BERT with six layers, mean pooling and normalisation.

Devlin et al., "BERT" (2019); Wang et al., "MiniLM" (2020); Reimers and Gurevych, "Sentence-BERT" (2019).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Config:
    """Sizes of the network, named as in the model's `config.json`."""

    vocab_size: int
    max_position_embeddings: int
    type_vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    layer_norm_eps: float

    @classmethod
    def read(cls, path: Path) -> Config:
        fields = json.loads(path.read_text())
        return cls(**{name: fields[name] for name in cls.__dataclass_fields__})


class Embeddings(nn.Module):
    """What a token is, where it stands, and to which segment it belongs (here always the first)."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(c.vocab_size, c.hidden_size)
        self.position_embeddings = nn.Embedding(c.max_position_embeddings, c.hidden_size)
        self.token_type_embeddings = nn.Embedding(c.type_vocab_size, c.hidden_size)
        self.LayerNorm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)

    def forward(self, tokens: Tensor) -> Tensor:
        fixed = self.position_embeddings.weight[: tokens.shape[1]] + self.token_type_embeddings.weight[0]
        return self.LayerNorm(self.word_embeddings(tokens) + fixed)


class Layer(nn.Module):
    """Attention, then two linear layers, each added to its input and normalised."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.heads = c.num_attention_heads
        self.query, self.key, self.value, self.attended = (nn.Linear(c.hidden_size, c.hidden_size) for _ in range(4))
        self.attended_norm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.widen = nn.Linear(c.hidden_size, c.intermediate_size)
        self.narrow = nn.Linear(c.intermediate_size, c.hidden_size)
        self.norm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        batch, length, width = x.shape

        def by_head(linear: nn.Linear) -> Tensor:
            return linear(x).view(batch, length, self.heads, width // self.heads).transpose(1, 2)

        y = functional.scaled_dot_product_attention(
            by_head(self.query), by_head(self.key), by_head(self.value), attn_mask=bias
        )
        x = self.attended_norm(x + self.attended(y.transpose(1, 2).reshape(batch, length, width)))
        return self.norm(x + self.narrow(functional.gelu(self.widen(x))))


class SentenceEncoder(nn.Module):
    """Turns a sentence into a vector of length 1; similar sentences point in similar directions."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.embeddings = Embeddings(c)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encodes sentences.

        Args:
            input_ids: Tokens, `[batch, length]`.
            attention_mask: 1 for tokens, 0 for padding, `[batch, length]`.

        Returns:
            `[batch, hidden_size]`, each row of length 1.
        """
        mask = attention_mask.to(torch.float32)
        bias = (1 - mask[:, None, None, :]) * -10000  # exp(-10000) is 0 in every type, and float16 holds the number
        x = self.embeddings(input_ids)
        for layer in self.layers:
            x = layer(x, bias)
        weights = mask[:, :, None]
        return functional.normalize((x * weights).sum(dim=1) / weights.sum(dim=1))


_RENAMED = {
    "encoder.layer.": "layers.",
    "attention.self.": "",
    "attention.output.dense.": "attended.",
    "attention.output.LayerNorm.": "attended_norm.",
    "intermediate.dense.": "widen.",
    "output.dense.": "narrow.",
    "output.LayerNorm.": "norm.",
}


def load(folder: Path) -> SentenceEncoder:
    """The pretrained encoder, from a folder with `config.json` and `model.safetensors`."""
    model = SentenceEncoder(Config.read(folder / "config.json"))
    weights = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if name.startswith("pooler.") or name == "embeddings.position_ids":
            continue  # trained for another task, and the numbers 0, 1, 2 …
        for old, new in _RENAMED.items():
            name = name.replace(old, new)
        weights[name] = tensor
    model.load_state_dict(weights)
    return model.eval()
