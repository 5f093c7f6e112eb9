"""Whether many predictions leave memory flat: 100,000 of one model, by each way through ``predict``.

Run ``python -m benchmarks.soak``; exit code 1 when resident memory grew by more than 2 MB.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.overhead import model, ways

ALLOWED = 2_000_000  # bytes


def resident() -> int:
    """Bytes of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


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
    worst = 0
    for label, run in ways(model()).items():
        growth = grown(run, times)
        worst = max(worst, growth)
        print(f"{label}: {times:,} predictions, {growth / 1e6:+.2f} MB")
    return int(worst > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
