"""How long a model takes from its file to the first result, by phases, each time in a fresh process.

Run ``python -m benchmarks.load model.mlpackage ...``. Inputs are ones. The files' pages are in memory; what is measured
is not the disk. ``python -m benchmarks.peers --folder FOLDER`` leaves models to measure in its folder.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import compile_package

PHASES = ("import", "open", "decode", "lower", "pack", "first run", "load", "next run")
"""``load`` is the sum from ``open`` to ``first run``; ``pack`` is the part of lowering that the native core's functions
take, and ``lower`` is the rest. Weights are read and packed in the background: what is left of it then is in
``first run``."""


def resident(field: str) -> int:
    """``VmHWM``, the most memory that this process has had resident, or another of its sizes, in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


class Stopwatch:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def skip(self) -> None:
        """What happened since the last lap belongs to no phase."""
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = now - self._last
        self._last = now

    def split(self, phase: str, part: str, seconds: float) -> None:
        """Counts a part of a phase apart."""
        self.seconds[phase] -= seconds
        self.seconds[part] = seconds


def measured(path: Path) -> dict[str, float]:
    """Loads a model in this process and says what that took: seconds by phase, and bytes of memory."""
    watch = Stopwatch()
    import numpy as np

    from gristmill.devices.cpu import CpuDevice, _native  # noqa: F401  # its import is what is timed
    from gristmill.models.model import MLModel

    watch.lap("import")
    packing = 0.0

    def timed(function: Any) -> Any:
        def run(*arguments: Any, **options: Any) -> Any:
            nonlocal packing
            start = time.perf_counter()
            made = function(*arguments, **options)
            packing += time.perf_counter() - start
            return made

        return run

    for name, found in list(vars(_native).items()):
        if callable(found) and not isinstance(found, type):
            setattr(_native, name, timed(found))
    before = resident("VmHWM")
    watch.skip()
    model = MLModel(path)
    watch.lap("open")
    model.package.program  # noqa: B018  # decoded when it is asked for
    watch.lap("decode")
    function = model._session.function  # prepared for the device by now
    watch.lap("lower")
    watch.split("lower", "pack", packing)
    described = {item.name for item in model.inputs}  # the others are states
    inputs = {v.name: np.ones(v.shape, v.dtype.numpy) for v in function.inputs if v.name in described}
    state = model.make_state() if len(inputs) < len(function.inputs) else None
    model.predict(inputs, state)
    watch.lap("first run")
    seconds = watch.seconds
    load = sum(seconds.values()) - seconds["import"]
    model.predict(inputs, state)
    watch.lap("next run")
    memory = {"peak": resident("VmHWM") - before, "resident": resident("VmRSS") - before}
    return {"load": load, **seconds, **memory}


def repeated(path: Path, times: int) -> dict[str, list[float]]:
    """What so many fresh processes measure."""
    rows = []
    for _ in range(times):
        command = [sys.executable, "-m", "benchmarks.load", "--once", str(path)]
        rows.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        time.sleep(0.1)  # the last process gives its memory back
    return {key: [row[key] for row in rows] for key in rows[0]}


def report(path: Path, times: int) -> None:
    """Prints a table of one model."""
    weights = 0
    for file in path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()  # its pages are then in memory
            weights += len(content) if file.suffix == ".bin" else 0
    found = repeated(path, times)
    print(f"{path}, {times} processes\n\n| phase | least ms | median ms |\n|---|---|---|")
    for phase in PHASES:
        print(f"| {phase} | {min(found[phase]) * 1e3:.0f} | {statistics.median(found[phase]) * 1e3:.0f} |")
    for kind in ("peak", "resident"):
        size = statistics.median(found[kind])
        share = size / max(weights, 1)
        print(f"\n{kind} memory {size / 1e6:.0f} MB, {share:.2f} of the weights' {weights / 1e6:.0f} MB")
    print()


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--times", type=int, default=7, help="processes for each model")
    parser.add_argument("--once", action="store_true", help="measure in this process and print JSON")
    options = parser.parse_args()
    if not options.once:
        compile_package()
    for path in options.models:
        if options.once:
            print(json.dumps(measured(path)))
        else:
            report(path, options.times)


if __name__ == "__main__":
    main()
