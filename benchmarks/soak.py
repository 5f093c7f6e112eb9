"""Whether many predictions leave memory flat: 100,000 of one model, by each way through ``predict``.

Run ``python -m benchmarks.soak``; exit code 1 when resident memory grew by more than 2 MB.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import gristmill as ct

ALLOWED = 2_000_000  # bytes


def resident() -> int:
    """Bytes of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def model() -> ct.models.MLModel:
    """Two layers and a softmax."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 64), torch.nn.Softmax(-1))
    return ct.convert(torch.export.export(net.eval(), (torch.ones(4, 64),)))


def grown(run: Callable[[], object], times: int) -> int:
    """How much resident memory grows from the first tenth of the runs to the end."""
    for _ in range(times // 10):
        run()
    gc.collect()
    before = resident()
    for _ in range(times):
        run()
    gc.collect()
    return resident() - before


def main() -> int:
    """Runs all ways and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100_000)
    times = parser.parse_args().times
    made = model()
    name = made.inputs[0].name
    x = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    wide, bound = x.astype(np.float64), made.bind()
    ways: dict[str, Callable[[], object]] = {
        "predict, arrays as declared": lambda: made.predict({name: x}),
        "predict, arrays to be converted": lambda: made.predict({name: wide}),
        "bound": bound,
    }
    worst = 0
    for label, run in ways.items():
        growth = grown(run, times)
        worst = max(worst, growth)
        print(f"{label}: {times:,} predictions, {growth / 1e6:+.2f} MB")
    return int(worst > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
