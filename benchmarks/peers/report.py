"""Turns results into tables and a picture."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.engines import ENGINES

Results = dict[str, Any]

BEST_OF = {"pytorch": ("pytorch", "pytorch-channels-last")}
"""An engine that is shown in whichever of its forms was faster."""
WEIGHT_BYTES = 2
"""Of a float16 weight: no engine can read less of what these models hold."""

ABOUT_LATENCY = (
    "Median / 95th percentile in milliseconds. *GFLOP*: products and convolutions by the algorithms that Gristmill "
    "chose. *Floor*: the longer of that arithmetic at the rate of float32 multiply-adds in registers and, where "
    "float16 weights exceed the last-level cache, reading them at that of reading memory; both rates are measured in "
    "each round beside the engines, and their median over all rounds counts ({:.0f} GFLOP/s and {:.1f} GB/s). *Of "
    "floor*: floor / Gristmill's median. *Beside the best*: the fastest peer's median / Gristmill's; above 1 Gristmill "
    "is faster. Engines that compute in another precision are shown and not counted."
)
ABOUT_LOADING = (
    "A fresh process with the files in the page cache: importing the engine, then from the file to the first result. "
    "The memory is the most that was resident, the interpreter and the engine's libraries included."
)
BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
"""Marks in the README, between which the summary stands."""
ABOUT_DIFFERENCE = "The largest difference as a share of the largest magnitude."


def markdown(results: Results) -> str:
    """Tables of latency, loading, memory and accuracy, and the list of what failed."""
    machine, settings = results["machine"], results["settings"]
    versions = [f"{ENGINES[name].title} {version}" for name, version in _versions(results).items()]
    system = f"{machine['system']}, Python {machine['python']}"
    lines = [
        f"{machine['processor']}, {machine['processors']} processors, {' '.join(machine['features'])}; {system}.",
        f"{'; '.join(versions)}.",
        f"{settings['rounds']} rounds of batches of {settings['seconds']} s, the engines in turn.",
        "",
    ]
    for threads in settings["threads"]:
        peaks = _peaks(results, threads)
        lines += [f"## Latency, {threads} thread{'s' if threads > 1 else ''}", ""]
        lines += [ABOUT_LATENCY.format(peaks["flops"] / 1e9, peaks["bandwidth"] / 1e9), ""]
        lines += [*_latency_table(results, threads), ""]
    lines += ["## Loading", "", ABOUT_LOADING, ""]
    lines += _table(results, "Start and load, s", "load", lambda one: f"{one['import']:.2f} + {one['load']:.2f}")
    lines += ["", *_table(results, "Peak memory, MB", "load", lambda one: f"{one['peak'] / 1e6:.0f}")]
    allowed = ", ".join(f"{engine.tolerance:g} ({engine.title})" for engine in ENGINES.values())
    lines += ["", "## Agreement with PyTorch", "", f"{ABOUT_DIFFERENCE} Allowed are {allowed}.", ""]
    lines += [*_table(results, "Difference", "difference", lambda one: f"{one:.1e}"), "", *_failures(results)]
    return "\n".join(lines)


def summary(results: Results) -> str:
    """The README's table: medians at the most threads, and loading."""
    machine, threads = results["machine"], max(results["settings"]["threads"])
    columns = [engine for engine in _columns(results) if not ENGINES[engine].apart]
    rows = []
    for name, model in results["models"].items():
        found = {engine: latency(results, name, engine, threads) for engine in columns}
        loads = [model["engines"].get(engine, {}).get("load") for engine in columns]
        own, peers = found["gristmill"], [one["median"] for e, one in found.items() if one and e != "gristmill"]
        rows.append(
            [
                model["title"],
                *(_ms(one["median"]) if one else "failed" for one in found.values()),
                f"{min(peers) / own['median']:.2f}" if own and peers else "–",
                f"{100 * floor(results, name, threads) / own['median']:.0f} %" if own else "–",
                " / ".join(f"{load['load']:.2f}" if load else "–" for load in loads),
            ]
        )
    titles = [ENGINES[engine].title for engine in columns]
    head = ["Model", *titles, "Beside the best", "Of floor", f"Load, s ({' / '.join(titles)})"]
    about = f"{machine['processor']}, {threads} threads, milliseconds of a run (median)."
    return "\n".join([about, "", *_rows(head, rows)])


def renew(readme: str, results: Results) -> str:
    """A text with the summary between its two marks."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{summary(results)}\n{END}{rest.split(END)[1]}"


def _peaks(results: Results, threads: int) -> dict[str, float]:
    """The machine's median rates over all rounds: those of one model are too few on a machine that others use."""
    found = [model["machine"][str(threads)] for model in results["models"].values() if "machine" in model]
    every = {key: [rate for one in found for rate in one[key]] for key in ("flops", "bandwidth")}
    return {key: statistics.median(rates) if rates else float("nan") for key, rates in every.items()}


def floor(results: Results, model: str, threads: int) -> float:
    """Seconds that the model takes at least, by the roofline of the machine."""
    one, peaks = results["models"][model], _peaks(results, threads)
    weights = WEIGHT_BYTES * one["read"]
    reading = weights / peaks["bandwidth"] if weights > results["machine"]["cache"] else 0.0
    return max(flops(results, model) / peaks["flops"], reading)


def flops(results: Results, model: str) -> float:
    """Floating-point operations of the algorithms that Gristmill chose, or else of the definition."""
    one = results["models"][model]
    return float(one["engines"].get("gristmill", {}).get("flops") or one["flops"])


def latency(results: Results, model: str, engine: str, threads: int) -> dict[str, float] | None:
    """What was measured of an engine, in the faster of its forms; ``None`` where it did not run."""
    engines = results["models"][model]["engines"]
    forms = [engines[form] for form in BEST_OF.get(engine, (engine,)) if form in engines]
    found = [form["latency"][str(threads)] for form in forms if "error" not in form]
    best: dict[str, float] | None = min(found, key=lambda one: one["median"], default=None)
    return best


def _versions(results: Results) -> dict[str, str]:
    found: dict[str, str] = {}
    for model in results["models"].values():
        for name, one in model["engines"].items():
            if "version" in one and name in _columns(results):
                found.setdefault(name, one["version"])
    return found


def _columns(results: Results) -> list[str]:
    """Engines of the tables, in the order of the registry."""
    merged = {form for forms in BEST_OF.values() for form in forms[1:]}
    measured = {name for model in results["models"].values() for name in model["engines"]}
    return [name for name in ENGINES if name in measured and name not in merged]


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ["---", *["--:"] * (len(head) - 1)], *rows)]


def _latency_table(results: Results, threads: int) -> list[str]:
    columns = _columns(results)
    rows = []
    for name, model in results["models"].items():
        if "error" in model:
            continue
        found = {engine: latency(results, name, engine, threads) for engine in columns}
        cells = [f"{_ms(one['median'])} / {_ms(one['p95'])}" if one else "failed" for one in found.values()]
        least = floor(results, name, threads)
        own = found.get("gristmill")
        peers = [one["median"] for e, one in found.items() if one and e != "gristmill" and not ENGINES[e].apart]
        share = f"{100 * least / own['median']:.0f} %" if own else "–"
        beside = f"{min(peers) / own['median']:.2f}" if own and peers else "–"
        rows.append([model["title"], f"{flops(results, name) / 1e9:.3g}", _ms(least), *cells, share, beside])
    head = ["Model", "GFLOP", "Floor", *(ENGINES[engine].title for engine in columns), "Of floor", "Beside the best"]
    return _rows(head, rows)


def _ms(seconds: float) -> str:
    """Milliseconds in three digits."""
    value = 1e3 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _table(results: Results, title: str, key: str, show: Callable[[Any], str]) -> list[str]:
    """One figure of each engine for each model."""
    columns = _columns(results)
    rows = []
    for model in results["models"].values():
        if "error" not in model:
            found = [model["engines"].get(engine, {}).get(key) for engine in columns]
            rows.append([model["title"], *("failed" if one is None else show(one) for one in found)])
    return _rows([title, *(ENGINES[engine].title for engine in columns)], rows)


def _failures(results: Results) -> list[str]:
    """Every failure with its message, one line for all models that it is the same for."""
    where: dict[tuple[str, str], list[str]] = {}
    for model in results["models"].values():
        if "error" in model:
            where.setdefault(("every engine", model["error"]), []).append(model["title"])
        for engine, one in model["engines"].items():
            if "error" in one:
                where.setdefault((ENGINES[engine].title, one["error"]), []).append(model["title"])
    listed = [f"- {engine}: {', '.join(models)}: {error}" for (engine, error), models in where.items()]
    return ["## What did not run", "", *(listed or ["Everything ran."]), ""]


def plot(results: Results, path: Path) -> None:
    """Bars of each engine's speed as a share of the fastest, a panel for each number of threads.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "peers"  # the same results give the same file
    from matplotlib import pyplot as plt

    models = [name for name, model in results["models"].items() if "error" not in model]
    columns = [engine for engine in _columns(results) if not ENGINES[engine].apart]
    counts = results["settings"]["threads"]
    figure, panels = plt.subplots(
        1, len(counts), figsize=(5 * len(counts) + 2, 0.7 * len(models) + 1.5), sharey=True, squeeze=False
    )
    height = 0.8 / len(columns)
    for panel, threads in zip(panels[0], counts, strict=True):
        for index, engine in enumerate(columns):
            speeds = []
            for name in models:
                found = [latency(results, name, other, threads) for other in columns]
                fastest = min((one["median"] for one in found if one), default=float("nan"))
                own = latency(results, name, engine, threads)
                speeds.append(fastest / own["median"] if own else 0.0)
            places = [row + (index - (len(columns) - 1) / 2) * height for row in range(len(models))]
            panel.barh(places, speeds, height, label=ENGINES[engine].title)
        panel.set_title(f"{threads} thread{'s' if threads > 1 else ''}")
        panel.set_xlabel("speed, the fastest being 1")
        panel.set_yticks(range(len(models)), [results["models"][name]["title"] for name in models])
    panels[0][0].invert_yaxis()
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="lower center", ncols=len(columns), frameon=False)
    figure.tight_layout(rect=(0, 0.4 / figure.get_figheight(), 1, 1))
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
