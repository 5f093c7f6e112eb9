"""What one prediction of a small model costs: three layers, 64 wide, at batch 1.

Run ``python -m benchmarks.overhead``. The ways take turns; the median of their rounds is printed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

import gristmill as ct

ROUNDS, TIMES = 30, 500


def model() -> ct.models.MLModel:
    """Float16-typed, with float32 at its inputs and outputs."""
    torch.manual_seed(0)
    layers = [
        torch.nn.Linear(64, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 8),
    ]
    return ct.convert(torch.export.export(torch.nn.Sequential(*layers).eval(), (torch.ones(1, 64),)))


def ways(made: ct.models.MLModel) -> dict[str, Callable[[], object]]:
    """The ways through a prediction, by name."""
    name, x = made.inputs[0].name, np.random.default_rng(0).normal(size=(1, 64)).astype(np.float32)
    wide, bound = x.astype(np.float64), made.bind()
    return {
        "predict, arrays as declared": lambda: made.predict({name: x}),
        "predict, arrays to be converted": lambda: made.predict({name: wide}),
        "bound": bound,
    }


def main() -> None:
    """Prints a line for each way."""
    found: dict[str, list[float]] = {}
    timed = ways(model())
    for _ in range(ROUNDS):
        for name, run in timed.items():
            start = time.perf_counter()
            for _ in range(TIMES):
                run()
            found.setdefault(name, []).append((time.perf_counter() - start) / TIMES)
    for name, seconds in found.items():
        print(f"{name}: {statistics.median(seconds) * 1e6:.1f} µs")


if __name__ == "__main__":
    main()
