"""Runs the engines in turn and collects what their processes answer."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from benchmarks.peers import machine
from benchmarks.peers.engines import ENGINES, FACTS, read_all

Results = dict[str, Any]

LIMIT = 600
"""Seconds that an engine may take for one thing."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        threads: Numbers of threads.
        rounds: How often the engines take turns.
        seconds: Of one batch of runs, of one engine in one round.
        least: Runs in a batch that takes longer than that.
        loads: Fresh processes for the time to load.
    """

    threads: tuple[int, ...] = (1, 2)
    rounds: int = 12
    seconds: float = 0.5
    least: int = 4
    loads: int = 5


class EngineError(Exception):
    """An engine could not do what it was asked."""


class Worker:
    """A process that runs one engine, stopped while it is not its turn."""

    def __init__(self, engine: str, folder: Path, threads: int) -> None:
        command = [sys.executable, "-m", "benchmarks.peers.worker", engine, str(folder), str(threads)]
        environment = {**os.environ, **ENGINES[engine].environment(threads)}
        # A pipe that nobody reads would fill up and block. The file lives as long as the process.
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def ask(self, what: str, **details: float) -> Any:
        """Wakes the process, has it do something, and stops it: waiting threads of some engines spin.

        Raises:
            EngineError: It failed or died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": what, **details}) + "\n")
            self._process.stdin.flush()
        timer = threading.Timer(LIMIT, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()  # or this process, interrupted here, would end only after the limit
        if not line:
            self._process.wait()
            self._said.seek(0)
            raise EngineError(f"the process ended: {_last_line(self._said.read(), self._process.returncode)}")
        self._process.send_signal(signal.SIGSTOP)
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise EngineError(answer["error"])
        return answer


def _last_line(text: str, code: int) -> str:
    """What a failed process said at last; -9 as its code means that it was stopped for time or memory."""
    return (text.strip().splitlines() or [f"no message, code {code}"])[-1]


def prepare(model: str, engine: str, folder: Path) -> None:
    """Makes a file in a process of its own, once for each folder.

    Raises:
        EngineError: The process failed; the last line that it wrote says why.
    """
    done = folder / f".{engine}"
    if done.exists():
        return
    command = [sys.executable, "-m", "benchmarks.peers.prepare", model, engine, str(folder)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"its file was not made in {LIMIT} s") from error
    if ran.returncode:
        raise EngineError(_last_line(ran.stderr, ran.returncode))
    done.touch()


def measure(model: str, engines: Sequence[str], folder: Path, settings: Settings) -> Iterator[str | Results]:
    """Measures one model.

    Args:
        model: Its name.
        engines: Names of engines.
        folder: For the files, which are kept.
        settings: How much.

    Yields:
        Lines about what is being done, and at last the results. What fails has its message under ``error``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results: Results = {name: {"latency": {}} for name in engines}
    try:
        prepare(model, "reference", folder)
    except EngineError as error:
        yield {"title": model, "error": str(error), "engines": {}}
        return
    for name in engines:
        yield f"{model}: preparing {name}"
        with _reported(results[name]):
            prepare(model, ENGINES[name].shares or name, folder)
    found: Results = {**json.loads((folder / FACTS).read_text()), "machine": {}, "engines": results}
    for threads in settings.threads:
        yield f"{model}: {threads} thread{'s' if threads > 1 else ''}"
        found["machine"][str(threads)] = _latencies(results, folder, threads, settings)
    yield f"{model}: loading"
    _loads(results, folder, max(settings.threads), settings.loads)
    yield found


@contextlib.contextmanager
def _reported(result: Results) -> Iterator[None]:
    """Notes an engine's failure, which does not end the others' run."""
    try:
        yield
    except EngineError as error:
        result["error"] = str(error)


def _working(results: Results) -> list[str]:
    return [name for name, result in results.items() if "error" not in result]


def _latencies(results: Results, folder: Path, threads: int, settings: Settings) -> dict[str, list[float]]:
    """Has the engines take turns; returns what the machine itself reached in each round."""
    peaks: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name in _working(results):
            workers[name] = stack.enter_context(Worker(name, folder, threads))
            with _reported(results[name]):
                results[name]["version"] = workers[name].ask("load")["version"]
                difference = results[name]["difference"] = workers[name].ask("compare")
                if not difference <= ENGINES[name].tolerance:
                    raise EngineError(f"its results differ by {difference:.1e}, allowed are {ENGINES[name].tolerance}")
                results[name]["flops"] = workers[name].ask("flops")
                workers[name].ask("time", seconds=settings.seconds, least=1)
        batches: dict[str, list[list[int]]] = {name: [] for name in workers}
        for index in range(settings.rounds):
            for what, peak in machine.measured(threads).items():
                peaks.setdefault(what, []).append(peak)
            turns = _working(results)
            shift = index % max(len(turns), 1)
            for name in turns[shift:] + turns[:shift]:  # none always follows the same one
                with _reported(results[name]):
                    batch = workers[name].ask("time", seconds=settings.seconds, least=settings.least)
                    batches[name].append(batch)
        for name in _working(results):
            every = np.concatenate(batches[name]) / 1e9
            results[name]["latency"][str(threads)] = {
                "median": float(np.median(every)),
                "p95": float(np.percentile(every, 95)),
                "least": float(every.min()),
                "runs": len(every),
                "rounds": [float(np.median(batch)) / 1e9 for batch in batches[name]],
            }
    return peaks


def _loads(results: Results, folder: Path, threads: int, times: int) -> None:
    read_all(folder)  # what is measured is not the disk
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in _working(results)}
    for _ in range(times):
        for name in _working(results):
            with _reported(results[name]), Worker(name, folder, threads) as worker:
                taken[name].append(worker.ask("load"))
                time.sleep(0.1)  # the last process gives its memory back
    for name in _working(results):
        keys = ("import", "load", "peak", "before")
        results[name]["load"] = {key: float(np.median([one[key] for one in taken[name]])) for key in keys}
        results[name]["load"]["threads"] = threads
