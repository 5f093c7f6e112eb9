"""What a decoder's step costs when every step is one position longer than the one before.

A decoder of GPT-2's size with random weights keeps its cache as Core ML states. Its mask has one element for each
position that attention sees, so the number of them is a symbol, and each step brings a new one. Beside that stands the
same work at a shape that was there before: the step at the same length once more, on the same cache.

Run ``python -m benchmarks.growing``. New and repeated steps take turns; medians of each range of lengths are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import gristmill as ct
from benchmarks.peers.nets import Decoder, DecoderLayer
from gristmill.devices.cpu.plan import NativeStep

LENGTHS, RANGES = 512, 8
ALLOWED = 1.10
"""How many times the repeated step a new length may cost."""


class GrowingDecoder(nn.Module):
    """One step of a decoder whose attention sees the filled part of a cache in buffers, and nothing beyond it."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder
        for name in decoder.cache_names():
            self.register_buffer(name, torch.zeros(decoder.cache_shape))

    def forward(self, token: Tensor, mask: Tensor) -> Tensor:
        """Logits after the token; the mask (1, 1, 1, length) is added to the scores, and says how many there are."""
        length = mask.shape[-1]
        x = self.decoder.tokens(token) + self.decoder.places.weight[None, length - 1 : length]
        for index, layer in enumerate(self.decoder.layers):
            assert isinstance(layer, DecoderLayer)
            q, k, v = layer.project(x)
            keys, values = self.get_buffer(f"keys_{index}"), self.get_buffer(f"values_{index}")
            keys[:, :, length - 1 : length] = k
            values[:, :, length - 1 : length] = v
            x = layer.mix(x, q, keys[:, :, :length], values[:, :, :length], mask)
        logits: Tensor = self.decoder.head(self.decoder.norm(x))
        return logits


def decoder(layers: int, capacity: int) -> ct.models.MLModel:
    """Float16-typed, 768 wide, 12 heads."""
    torch.manual_seed(0)
    module = GrowingDecoder(Decoder(layers, 768, 12, 50257, capacity)).eval()
    # PyTorch takes a slice that might be the whole for another operator, so the length stays below the capacity.
    length = torch.export.Dim("length", min=2, max=capacity - 1)
    example = (torch.tensor([[1]]), torch.zeros(1, 1, 1, 8))
    program = torch.export.export(module, example, dynamic_shapes=({}, {3: length}))
    return ct.convert(program, minimum_deployment_target=ct.target.iOS18, outputs=[ct.TensorType(name="logits")])


def measure(model: ct.models.MLModel, lengths: int, repeats: int) -> list[tuple[float, float]]:
    """For each length the seconds of the first step and the median of those that repeat it."""
    state = model.make_state()
    token, mask = (item.name for item in model.inputs)

    def step(length: int) -> float:
        given: dict[str, Any] = {
            token: np.array([[length % 50257]], np.int32),
            mask: np.zeros((1, 1, 1, length), np.float32),
        }
        start = time.perf_counter()
        model.predict(given, state)
        return time.perf_counter() - start

    for length in range(2, 10):
        step(length)
    return [
        (step(length), statistics.median(step(length) for _ in range(repeats))) for length in range(10, 10 + lengths)
    ]


def main() -> int:
    """Prints a line for each range of lengths; exit code 1 when growing costs more than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, default=LENGTHS)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    model = decoder(options.layers, options.lengths + 16)
    found = measure(model, options.lengths, options.repeats)
    for step in model._session._executable.plan.steps:  # the CPU device's own
        if isinstance(step, NativeStep):
            times, seconds, room = step.emitter.executable.configured()
            print(
                f"{times} times new sizes: {seconds / times * 1e6:.0f} µs each; {room / 1e6:.2f} MB of working memory"
            )
    size = max(1, len(found) // RANGES)
    for first in range(0, len(found), size):
        _row(f"lengths {10 + first:>4} to {9 + min(first + size, len(found)):>4}", found[first : first + size])
    return int(_row("all lengths", found) > ALLOWED)


def _row(title: str, found: list[tuple[float, float]]) -> float:
    new, again = (statistics.median(column) for column in zip(*found, strict=True))
    print(f"{title:<24} new {new * 1e3:7.2f} ms, repeated {again * 1e3:7.2f} ms, ratio {new / again:.3f}")
    return new / again


if __name__ == "__main__":
    raise SystemExit(main())
