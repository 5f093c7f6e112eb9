"""A process that runs one engine on one model: ``python -m benchmarks.peers.worker ENGINE FOLDER THREADS``.

It answers each line of JSON that it is sent with one, and does nothing in between.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.engines import ENGINES, EXPECTED, FACTS, Arrays, Loaded, read_inputs


def _peak_memory() -> int:
    """The most memory that this process has had resident, in bytes."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def timed(run: Callable[[], Any], seconds: float, least: int) -> list[int]:
    """Nanoseconds of each run, for so many seconds but at least so many runs."""
    clock = time.perf_counter_ns
    run()  # the batch before was another engine's, and so is what the caches hold
    found: list[int] = []
    end = clock() + int(seconds * 1e9)
    while len(found) < least or clock() < end:
        start = clock()
        run()
        found.append(clock() - start)
    return found


def difference(found: Arrays, expected: Arrays) -> float:
    """The largest difference as a share of the largest magnitude, over all outputs."""
    worst = 0.0
    for name, wanted in expected.items():
        got = found[name]
        if got.shape != wanted.shape:
            raise ValueError(f"output '{name}' has shape {got.shape}, not {wanted.shape}")
        exact = wanted.astype(np.float64)
        share = float(np.abs(got.astype(np.float64) - exact).max() / np.abs(exact).max())
        worst = max(worst, share if np.isfinite(share) else float("inf"))  # max() would lose a NaN
    return worst


def load(engine: str, folder: Path, threads: int) -> tuple[Loaded, dict[str, Any]]:
    """Loads and runs once, which is when some engines do their last preparations."""
    model = json.loads((folder / FACTS).read_text())
    inputs = read_inputs(folder)
    start = time.perf_counter()
    version = ENGINES[engine].start(model["modules"])
    imported, before = time.perf_counter(), _peak_memory()
    loaded = ENGINES[engine].load(folder, threads, inputs, model["outputs"])
    loaded.run()
    seconds = time.perf_counter() - imported
    facts = {"import": imported - start, "load": seconds, "peak": _peak_memory(), "before": before, "version": version}
    return loaded, facts


def main() -> None:
    """Answers until its input ends."""
    warnings.simplefilter("ignore")
    engine, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    # Libraries print: what they print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    loaded: Loaded | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        answer: Any
        try:
            if asked["do"] == "load":
                loaded, answer = load(engine, folder, threads)
            elif asked["do"] == "compare":
                assert loaded is not None
                with np.load(folder / EXPECTED) as expected:
                    answer = difference(loaded.outputs(), dict(expected))
            elif asked["do"] == "flops":
                assert loaded is not None
                answer = None if loaded.flops is None else loaded.flops()
            else:
                assert loaded is not None
                answer = timed(loaded.run, asked["seconds"], asked["least"])
        except Exception as error:  # whatever an engine raises is its result
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
