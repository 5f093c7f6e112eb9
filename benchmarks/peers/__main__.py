"""``python -m benchmarks.peers``: measures, writes JSON, prints a table; ``--report`` only prints one."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import compile_package
from benchmarks.peers import machine, report
from benchmarks.peers.engines import ENGINES
from benchmarks.peers.measure import Settings, measure


def _chosen(text: str, known: Iterable[str]) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose among {', '.join(known)}")
    return names


def _models(text: str) -> list[str]:
    from benchmarks.peers.models import MODELS  # loads PyTorch, which a report does without

    return list(MODELS) if text == "all" else _chosen(text, MODELS)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--models", type=_models, help="names with commas between them; all when left out")
    parser.add_argument("--engines", type=lambda text: _chosen(text, ENGINES), default=list(ENGINES))
    parser.add_argument("--threads", type=lambda text: tuple(map(int, text.split(","))), default=(1, 2))
    parser.add_argument("--quick", action="store_true", help="a look, in a tenth of the time; figures are noisy")
    parser.add_argument("--rounds", type=int, help="how often the engines take turns")
    parser.add_argument("--seconds", type=float, help="of one engine's turn")
    parser.add_argument("--loads", type=int, help="fresh processes for the time to load")
    parser.add_argument("--json", type=Path, help="where the results go, after each model")
    parser.add_argument("--plot", type=Path, help="where a picture goes, .svg or .png; needs matplotlib")
    parser.add_argument("--folder", type=Path, help="keeps the models' files there and uses those that are there")
    parser.add_argument("--readme", type=Path, help="a file whose table is renewed")
    parser.add_argument("--report", type=Path, help="measures nothing: reports these results")
    return parser.parse_args()


def _measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    settings = Settings(options.threads)
    if options.quick:
        settings = Settings(options.threads, rounds=3, seconds=0.1, least=2, loads=2)
    given = {name: getattr(options, name) for name in ("rounds", "seconds", "loads")}
    settings = dataclasses.replace(settings, **{name: value for name, value in given.items() if value is not None})
    compile_package()  # the others' are
    results: dict[str, Any] = {"machine": machine.description(), "settings": vars(settings), "models": {}}
    for model in options.models or _models("all"):
        for step in measure(model, options.engines, folder / model, settings):
            if isinstance(step, str):
                print(step, file=sys.stderr, flush=True)
            else:
                results["models"][model] = step
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    return results


def main() -> None:
    """Measures or reads results, and reports them."""
    options = _options()
    # Workers are stopped most of the time and would stay so for ever: this process must not end without ending them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.report:
        results = json.loads(options.report.read_text())
    elif options.folder:
        results = _measured(options, options.folder)
    else:
        with tempfile.TemporaryDirectory() as folder:
            results = _measured(options, Path(folder))
    print(report.markdown(results))
    if options.readme:
        options.readme.write_text(report.renew(options.readme.read_text(), results))
    if options.plot:
        report.plot(results, options.plot)


if __name__ == "__main__":
    main()
