"""What the machine can do at the moment: ``python -m benchmarks.peers.machine THREADS`` prints it as JSON.

The peak of float32 arithmetic is that of multiply-adds in registers, the bandwidth that of reading memory that no cache
holds: what ``MLModel.profile`` compares with as well. On a machine that others use too both change from second to
second, so they are measured again in each round, like an engine that takes its turn.
"""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any


def measure(threads: int) -> dict[str, float]:
    """Floating-point operations and bytes a second, with so many threads."""
    from gristmill.devices.cpu import _native

    # Each call takes the best of some 20 ms; a batch of an engine's runs is longer than that.
    peaks = [_native.peak_flops(threads) for _ in range(5)]
    return {"flops": statistics.median(peaks), "bandwidth": _native.peak_bytes(threads)}


def measured(threads: int) -> dict[str, float]:
    """``measure`` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.peers.machine", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def description() -> dict[str, Any]:
    """The processor and what it can do, as far as the system says."""
    text = Path("/proc/cpuinfo").read_text()
    name = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*: (.*)$", text, re.MULTILINE)
    wanted = {"avx2", "fma", "f16c", "avx512f", "avx512_bf16", "avx512_fp16", "avx512_vnni", "amx_bf16", "amx_int8"}
    return {
        "processor": name[1].strip() if name else platform.processor(),
        "processors": os.cpu_count(),
        "features": sorted(wanted & set(flags[1].split())) if flags else [],
        "cache": _last_level_cache(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _last_level_cache() -> int:
    """Bytes of the largest cache that one processor reaches; 0 where the system does not say."""
    sizes = [path.read_text().strip() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return max((int(size.removesuffix("K")) << 10 for size in sizes if size.endswith("K")), default=0)


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
