"""What a conversion costs: ``python -m benchmarks.conversion_cost [--large]``.

A transformer of 2, 4, 8, 16 and 32 equal layers is exported, converted to float16 for iOS 18 and saved, each in a fresh
process, a few times; the sizes take turns. *Convert* and *save* are seconds of the run in which both together took
least, without ``torch.export``, after a small model was converted to load modules; *peak* is the most memory beyond
what the process held when the exported program, with its weights, was ready.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

LAYERS = (2, 4, 8, 16, 32)
WIDTH = 1024


def _memory(field: str) -> int:
    """A field of the process's status in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def _transformer(layers: int, width: int) -> Any:
    """Pre-normalised encoder layers with attention and a GELU network of four times the width."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            batch, length, _ = x.shape
            q, k, v = self.qkv(self.norms[0](x)).view(batch, length, 3, 16, -1).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
            x = x + self.out(mixed)
            return x + self.down(functional.gelu(self.up(self.norms[1](x))))

    return nn.Sequential(*(Layer() for _ in range(layers))).eval(), (torch.randn(1, 16, width),)


def _decoder() -> Any:
    """The shape of TinyLlama: 22 layers of width 2048, 32 heads over 4 of keys and values, 32,000 tokens.

    The weights are float16, as published ones are, and zero, which costs a conversion just as much.
    """
    import torch

    from gristmill.frontends.torch.torchvision import declare_operators

    declare_operators()  # which transformers asks for, where torchvision does not fit PyTorch
    import transformers

    config = transformers.LlamaConfig(
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=22,
        num_attention_heads=32,
        num_key_value_heads=4,
        vocab_size=32000,
        dtype=torch.float16,
    )
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    model = model.to(torch.float16).to_empty(device="cpu").eval()
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    for weight in model.parameters():
        weight.data.zero_()

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids=tokens, use_cache=False).logits

    return Logits(), (torch.zeros(1, 16, dtype=torch.int64),)


def measure(module: Any, arguments: tuple[Any, ...]) -> dict[str, float]:
    """Converts in this process."""
    import torch

    import gristmill as ct

    target = ct.target.iOS18

    def converted(module: Any, arguments: tuple[Any, ...], folder: Path) -> dict[str, float]:
        with torch.no_grad():
            program = torch.export.export(module, arguments, strict=False)
        before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        start = time.perf_counter()
        model = ct.convert(program, minimum_deployment_target=target, verify=False)
        middle = time.perf_counter()
        model.save(folder / "model.mlpackage")
        end = time.perf_counter()
        return {"convert": middle - start, "save": end - middle, "peak": _memory("VmHWM") - before}

    with tempfile.TemporaryDirectory() as folder:
        converted(*_transformer(1, 64), Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        found = converted(module, arguments, Path(folder))
    weights = sum(p.numel() * p.element_size() for p in module.parameters())
    return {**found, "weights": weights, "parameters": sum(p.numel() for p in module.parameters())}


def _in_a_fresh_process(what: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.conversion_cost", "--one", what]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Prints a row for each size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversion_cost", description=__doc__)
    parser.add_argument("--large", action="store_true", help="the decoder of 1.1 billion parameters instead")
    parser.add_argument("--times", type=int, default=3, help="runs of each size")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        warnings.simplefilter("ignore")
        module, arguments = _decoder() if options.one == "large" else _transformer(int(options.one), WIDTH)
        print(json.dumps(measure(module, arguments)))
        return
    sizes = {"large": 22} if options.large else {str(layers): layers for layers in LAYERS}
    runs = [{what: _in_a_fresh_process(what) for what in sizes} for _ in range(1 if options.large else options.times)]
    print("layers  parameters  convert    save  a layer  peak/weights   peak")
    for what, layers in sizes.items():
        found = min((run[what] for run in runs), key=lambda run: run["convert"] + run["save"])
        seconds = found["convert"] + found["save"]
        print(
            f"{layers:6d}  {found['parameters'] / 1e6:8.0f} M  {found['convert']:7.2f}  {found['save']:6.2f}  "
            f"{seconds / layers:7.3f}  {found['peak'] / found['weights']:12.3f}  {found['peak'] / 1e6:3.0f} MB"
        )


if __name__ == "__main__":
    main()
