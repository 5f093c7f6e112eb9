"""Tree ensembles beside the libraries that grew them: 1,000 trees of depth 8, 10,000 rows of 20 features.

Run ``python -m benchmarks.trees [--threads 1,2] [--rounds N]``; it needs scikit-learn and XGBoost. Each number of
threads is measured in a process of its own. Engines take turns, so what slows the machine down slows all of them down,
and medians of the rounds are printed. All read the same float64 numbers; their predictions are compared first.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

TREES, DEPTH, ROWS, FEATURES, LEARNED = 1000, 8, 10_000, 20, 3000
ONE = 200
"""How often one row alone is predicted in a round."""

Ways = dict[str, tuple[Callable[[], Any], int]]
"""What is measured, with how many runs make one measurement."""


def data(rows: int, seed: int) -> np.ndarray:
    """Random numbers with a tenth missing."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, FEATURES))
    return np.where(random.random(x.shape) < 0.1, np.nan, x)


def target(x: np.ndarray) -> np.ndarray:
    """Something that is worth many trees."""
    known = np.nan_to_num(x)
    return np.sin(3 * known[:, 0]) + known[:, 1] * known[:, 2] + np.random.default_rng(9).normal(size=len(x))


def xgboost_ways(threads: int) -> Ways:
    """XGBoost and what is converted from it."""
    import xgboost

    import gristmill as ct

    x, new = data(LEARNED, 1), data(ROWS, 2)
    settings = {"max_depth": DEPTH, "eta": 0.02, "nthread": threads, "min_child_weight": 0, "base_score": 0.0}
    booster = xgboost.train(settings, xgboost.DMatrix(x, target(x)), TREES)
    converted = ct.converters.xgboost.convert(booster, feature_names="x")
    return ways("XGBoost", converted, new, booster.inplace_predict, "x", "target")


def sklearn_ways(threads: int) -> Ways:
    """Scikit-learn and what is converted from it."""
    from sklearn.ensemble import RandomForestRegressor

    import gristmill as ct

    x, new = data(LEARNED, 1), data(ROWS, 2)
    forest = RandomForestRegressor(TREES, max_depth=DEPTH, max_features=0.3, n_jobs=threads, random_state=0)
    forest.fit(x, target(x))
    return ways("scikit-learn", ct.converters.sklearn.convert(forest), new, forest.predict, "input", "prediction")


def ways(
    library: str, model: Any, new: np.ndarray, predict: Callable[[np.ndarray], np.ndarray], given: str, result: str
) -> Ways:
    """Predictions of all rows and of one, by the library and by the converted model, once they agree."""
    rows = [{given: row} for row in new]
    theirs, ours = predict(new), [row[result] for row in model.predict(rows)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)  # XGBoost sums 1,000 leaves in float32
    turns = itertools.cycle(range(ROWS))  # another row each time: its ways through the trees are in no cache

    def single() -> int:
        return next(turns)

    return {
        f"{library}, {ROWS} rows": (lambda: predict(new), 1),
        f"Gristmill, {ROWS} rows of {library}'s trees": (lambda: model.predict(rows), 1),
        f"{library}, one row": (lambda: predict(new[(at := single()) : at + 1]), ONE if library == "XGBoost" else 2),
        f"Gristmill, one row of {library}'s trees": (lambda: model.predict(rows[single()]), ONE),
    }


def measure(threads: int, rounds: int) -> None:
    """Prints a line for each way."""
    timed = {**xgboost_ways(threads), **sklearn_ways(threads)}
    found: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, (run, times) in timed.items():
            start = time.perf_counter()
            for _ in range(times):
                run()
            found[name].append((time.perf_counter() - start) / times)
    for name, seconds in found.items():
        print(f"{threads} threads, {name}: {statistics.median(seconds) * 1e3:.3f} ms", flush=True)


def main() -> None:
    """Measures each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", default="1,2", help="numbers of threads")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    counts = [int(count) for count in options.threads.split(",")]
    if options.here:
        measure(counts[0], options.rounds)
        return
    for count in counts:
        variables = dict.fromkeys(("GRISTMILL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(count))
        command = [sys.executable, "-m", "benchmarks.trees", "--here", "--threads", str(count)]
        subprocess.run([*command, "--rounds", str(options.rounds)], env={**os.environ, **variables}, check=True)


if __name__ == "__main__":
    main()
