"""Searches for programs on which the CPU device disagrees with the reference device.

    python -m tests.devices.random_programs --seconds 600 --seed 1   # a long search, in a process of its own
    python -m tests.devices.random_programs --only 1234              # one program again, made as small as it goes

A finding is printed with its seed; a crash ends the inner process, which begins anew behind the seed that it was at.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter

from gristmill.ir.printer import print_function
from tests.devices.random_programs.agreement import finding
from tests.devices.random_programs.growing import Growing
from tests.devices.random_programs.shrinking import shrunk


def _search(seed: int, end: float) -> None:
    """The inner process: prints each seed, and what was found."""
    while time.time() < end:
        print(f"seed {seed}", flush=True)
        found = finding(Growing(seed).grown())
        if found is not None:
            print(f"found {seed}: {found}", flush=True)
        seed += 1


def _one(seed: int) -> int:
    example = Growing(seed).grown()
    found = finding(example)
    if found is None:
        print("both devices agree")
        return 0
    kind = found.split()[0]
    small = shrunk(example, lambda other: (again := finding(other)) is not None and again.split()[0] == kind)
    print(print_function(small.program.main, max_elements=64))
    for inputs in small.calls:
        for name, array in inputs.items():
            print(f"{name} = {array!r}")
    print(finding(small))
    return 1


def _supervised(seed: int, seconds: float) -> int:
    end, first = time.time() + seconds, seed
    findings: Counter[str] = Counter()
    while time.time() < end:
        command = [
            sys.executable,
            "-m",
            __package__,
            "--inner",
            "--seed",
            str(seed),
            "--seconds",
            str(end - time.time()),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as inner:
            assert inner.stdout is not None
            for line in inner.stdout:
                if line.startswith("seed "):
                    seed = int(line.split()[1])
                else:
                    print(line, end="", flush=True)
                    findings["disagreements"] += line.startswith("found ")
        if inner.returncode:
            print(f"found {seed}: the process ended with {inner.returncode}", flush=True)
            findings["crashes"] += 1
        seed += 1
    print(f"{seed - first} programs, {dict(findings)}")
    return min(1, findings.total())


def main() -> int:
    """Searches; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="SEED", help="one program, made smaller while the devices disagree")
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only is not None:
        return _one(options.only)
    if not options.inner:
        return _supervised(options.seed, options.seconds)
    _search(options.seed, time.time() + options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
