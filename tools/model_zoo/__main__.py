"""Measures the zoo: ``python -m tools.model_zoo [NAME …] [--jobs N]``; with no names, everything."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tools.model_zoo.catalogue import ARCHITECTURES
from tools.model_zoo.page import DATA, PAGE, page

TIMEOUT = 900


def run(name: str) -> dict[str, Any]:
    """Measures one entry in a fresh process."""
    command = [sys.executable, "-m", "tools.model_zoo.measure", name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {TIMEOUT} seconds"}
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        return {"failed": f"the process ended with {done.returncode}: {done.stderr.strip()[-300:]}"}
    result: dict[str, Any] = json.loads(lines[-1])
    if "failed" in result:
        print(done.stderr, file=sys.stderr)
    return result


def main() -> int:
    """Measures, keeps the results in ``docs/model-zoo.json`` and writes the page."""
    parser = argparse.ArgumentParser(prog="python -m tools.model_zoo", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="entries to measure again; all when left out")
    parser.add_argument("--jobs", type=int, default=1, help="how many at once")
    options = parser.parse_args()
    names = options.names or list(ARCHITECTURES)
    results: dict[str, Any] = json.loads(DATA.read_text()) if DATA.exists() else {}
    failures = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for name, result in zip(names, pool.map(run, names), strict=True):
            failures += "failed" in result
            print(
                name,
                result.get("failed") or "{seconds:.1f} s, {float32:.1e}, {float16:.1e}".format(**result),
                flush=True,
            )
            results[name] = result
            DATA.write_text(json.dumps({n: results[n] for n in ARCHITECTURES if n in results}, indent=1) + "\n")
    Path(PAGE).write_text(page(results))
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
