"""Neural networks beside the same models as float32 ML Programs, on the CPU device.

Both are made of the same PyTorch module, saved, and loaded again. They take turns, prediction by prediction, and what
is reported is the median of the ratios of neighbouring turns: what slows the machine for a while slows both.

    python -m benchmarks.network_speed [--size 128] [--seconds 10] [--models mobilenet_v2,resnet18,u_net] [--ops]
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import gristmill as ct
from gristmill.frontends.torch.torchvision import declare_operators
from gristmill.ir.builtin import const


class UNet(nn.Module):
    """Down and up again, with the images of each size joined: transposed convolutions, concatenations, group norms."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.one, self.two, self.three = _block(3, width), _block(width, 2 * width), _block(2 * width, 4 * width)
        self.up_two = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.up_one = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.join_two, self.join_one = _block(4 * width, 2 * width), _block(2 * width, width)
        self.last = nn.Conv2d(width, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.one(x)
        two = self.two(nn.functional.max_pool2d(one, 2))
        three = self.three(nn.functional.max_pool2d(two, 2))
        two = self.join_two(torch.cat([two, self.up_two(three)], 1))
        one = self.join_one(torch.cat([one, self.up_one(two)], 1))
        return torch.sigmoid(self.last(one))


def _block(taken: int, made: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(taken, made, 3, padding=1), nn.GroupNorm(4, made), nn.SiLU())


def _torchvision(name: str) -> Callable[[], nn.Module]:
    """A model of torchvision's without weights."""

    def make() -> nn.Module:
        declare_operators()  # what torchvision asks for where its compiled part does not fit PyTorch
        models: Any = importlib.import_module("torchvision.models")  # which has no types
        module: nn.Module = getattr(models, name)(weights=None)
        return module

    return make


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v2": _torchvision("mobilenet_v2"),
    "mobilenet_v3_small": _torchvision("mobilenet_v3_small"),
    "resnet18": _torchvision("resnet18"),
    "u_net": UNet,
}


def both(name: str, size: int, folder: Path) -> dict[str, Any]:
    """The model as a network and as an ML Program, loaded from files."""
    torch.manual_seed(0)
    module = MODELS[name]().eval()
    example = torch.rand(1, 3, size, size)
    found = {}
    for kind, suffix, precision in (
        ("neuralnetwork", ".mlmodel", None),
        ("mlprogram", ".mlpackage", ct.precision.FLOAT32),
    ):
        inputs = [ct.TensorType(name="x", shape=example.shape)]
        model = ct.convert(module, inputs=inputs, convert_to=kind, compute_precision=precision, skip_model_load=True)
        path = folder / f"{name}{suffix}"
        model.save(path)
        found[kind] = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit.CPU_ONLY)
    return found


def ratio(network: Any, program: Any, data: dict[str, np.ndarray], seconds: float) -> tuple[float, float, float]:
    """How much longer the network takes, and milliseconds of both: medians."""
    for model in (network, program):
        model.predict(data)
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    turn = 0
    while time.perf_counter() < end or len(times[0]) < 5:
        turn += 1
        for k in (0, 1) if turn % 2 else (1, 0):
            begun = time.perf_counter()
            (network, program)[k].predict(data)
            times[k].append(time.perf_counter() - begun)
    slower = statistics.median(a / b for a, b in zip(*times, strict=True))
    return slower, 1e3 * statistics.median(times[0]), 1e3 * statistics.median(times[1])


def ops_of(model: Any) -> Counter[str]:
    """How many ops of each type a model's program has."""
    return Counter(op.op_name for op in model.program.main.body if not isinstance(op, const))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--size", type=int, default=128, help="height and width of the image")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each model")
    parser.add_argument("--ops", action="store_true", help="what one program has more than the other")
    options = parser.parse_args()
    data = {"x": np.random.default_rng(0).random((1, 3, options.size, options.size), np.float32)}
    print("| model | network, ms | ML Program, ms | ratio |\n|---|---|---|---|")
    for name in options.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            found = both(name, options.size, Path(folder))
            network, program = found["neuralnetwork"], found["mlprogram"]
            slower, mine, theirs = ratio(network, program, data, options.seconds)
            print(f"| {name} | {mine:.2f} | {theirs:.2f} | {slower:.3f} |", flush=True)
            if options.ops:
                a, b = ops_of(network), ops_of(program)
                print(f"more in the network: {dict(a - b)}; more in the program: {dict(b - a)}", flush=True)


if __name__ == "__main__":
    main()
