"""What the machine can do: ``python -m benchmarks.peers.machine THREADS`` prints it as JSON.

The peak of float32 arithmetic is the best of several large matrix products, by PyTorch's and by NumPy's library, as
neither is the faster one everywhere. The bandwidth is that of reading: what a model with more weights than the cache
holds is bound by.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDE = 1536
"""Of the matrices: their product takes longer than starting threads, and packing is a small part of it."""
FLOATS = 64 << 20
"""A quarter of a GiB, which no cache holds."""


def _best(run: Callable[[], Any], times: int = 8) -> float:
    """Seconds of the fastest run."""
    run()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def measure(threads: int) -> dict[str, float]:
    """Floating-point operations and bytes a second, with so many threads."""
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    a, b, c = (torch.rand(SIDE, SIDE) for _ in range(3))
    x, y, z = a.numpy(), b.numpy(), c.numpy()
    product = min(_best(lambda: torch.mm(a, b, out=c)), _best(lambda: np.matmul(x, y, out=z)))
    long = torch.ones(FLOATS)
    other = torch.ones(FLOATS)
    # A dot product has two streams and a sum has one; which comes closer to the limit depends on the machine.
    reading = min(_best(long.sum) / (4 * FLOATS), _best(lambda: torch.dot(long, other)) / (8 * FLOATS))
    return {"flops": 2 * SIDE**3 / product, "bandwidth": 1 / reading}


def measured(threads: int) -> dict[str, float]:
    """``measure`` in a process of its own."""
    variables = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, "-m", "benchmarks.peers.machine", str(threads)]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
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
