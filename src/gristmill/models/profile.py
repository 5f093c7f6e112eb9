"""Where a prediction's time goes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.devices.base import CallProfile


@dataclass(frozen=True)
class KernelTotal:
    """All calls of one kernel together.

    Attributes:
        kernel: Its name; ``reference`` for ops without one.
        calls: How many.
        seconds: All of them.
        flops: Floating-point operations, where the kernel counts them.
        bytes: Of operands, results and constants.
    """

    kernel: str
    calls: int
    seconds: float
    flops: float
    bytes: float


@dataclass(frozen=True)
class Profile:
    """One prediction, call by call.

    Attributes:
        calls: In the order in which they ran.
        peak_flops: Float32 operations per second that this machine reached in a loop of multiply-adds alone, measured
            beside the prediction; 0 where it was not.
        peak_bytes: Bytes per second that it read from memory.
    """

    calls: Sequence[CallProfile]
    peak_flops: float = 0
    peak_bytes: float = 0

    @property
    def seconds(self) -> float:
        """All calls together."""
        return sum(call.seconds for call in self.calls)

    def share(self, call: CallProfile | KernelTotal) -> float | None:
        """The share of the machine's peak, of operations or bytes, whichever bounds the call; ``None`` if unknown."""
        if not (call.seconds and self.peak_flops and self.peak_bytes) or not (call.flops or call.bytes):
            return None
        return max(call.flops / self.peak_flops, call.bytes / self.peak_bytes) / call.seconds

    def by_kernel(self) -> list[KernelTotal]:
        """Sums for each kernel, the most expensive first."""
        found: dict[str, list[CallProfile]] = {}
        for call in self.calls:
            found.setdefault(call.kernel, []).append(call)
        totals = [
            KernelTotal(
                kernel,
                len(calls),
                sum(c.seconds for c in calls),
                sum(c.flops for c in calls),
                sum(c.bytes for c in calls),
            )
            for kernel, calls in found.items()
        ]
        return sorted(totals, key=lambda total: -total.seconds)

    def rows(self) -> list[dict[str, Any]]:
        """A JSON-like row for each call: kernel, names and types of its ops, seconds, flops, bytes, variant."""
        begin = min((call.start for call in self.calls), default=0.0)
        return [
            {
                "kernel": call.kernel,
                "ops": [{"type": op.op_name, "name": op.results[0].name if op.results else ""} for op in call.ops],
                "start": call.start - begin,
                "seconds": call.seconds,
                "flops": call.flops,
                "bytes": call.bytes,
                "variant": call.variant,
                "share_of_peak": self.share(call),
            }
            for call in self.calls
        ]

    def save_trace(self, path: str | os.PathLike[str]) -> None:
        """Writes the calls in Chrome's trace event format, which Perfetto and ``chrome://tracing`` open."""
        events = [
            {
                "name": " + ".join(op["type"] for op in row["ops"]) or row["kernel"],
                "cat": row["kernel"],
                "ph": "X",
                "ts": row["start"] * 1e6,
                "dur": row["seconds"] * 1e6,
                "pid": 1,
                "tid": 1,
                "args": {key: row[key] for key in ("kernel", "variant", "flops", "bytes", "share_of_peak", "ops")},
            }
            for row in self.rows()
        ]
        Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), encoding="utf-8")


def machine_peaks() -> tuple[float, float]:
    """Float32 operations and bytes read per second, measured now on as many threads as predictions use."""
    from gristmill.devices.cpu import _native  # only profiles need it where another device runs

    threads = _native.default_threads()
    return _native.peak_flops(threads), _native.peak_bytes(threads)
