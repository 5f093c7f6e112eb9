"""The page ``docs/sklearn.md``: what becomes of each estimator of scikit-learn. The rows stand beside the mappings."""

from __future__ import annotations

from gristmill.converters.sklearn import OLDEST
from gristmill.frontends.sklearn import FAMILIES, registry

HEAD = f"""\
# Estimators of scikit-learn

`converters.sklearn.convert(estimator)` makes Core ML models of fitted estimators of scikit-learn
{".".join(map(str, OLDEST))} and later. The table says what each becomes, and how far predictions agree with
scikit-learn's own; the tests hold every row to that on 1,000 random rows. Written by `python -m tools.generate` from
what stands beside the code.

*To rounding*: both sides compute in float64, in another order. *Decisions equal*: every row takes the same way through
every tree. scikit-learn rounds features to float32 before it compares them, so thresholds are moved to where that
rounding changes sides; histogram-based boosting does not round, and its thresholds stay. Missing values (NaN) go where
they go in scikit-learn.
"""

NOTES = """\
## What else to know

- **Inputs.** All columns are one array `input` unless `input_features` gives them names. Where columns hold texts, each
  column is an input of its own; integers may be given as numbers. A model of several steps is a pipeline.
- **Missing values** are NaN in arrays and numbers. A text is missing where its input is left out, which a model allows
  whose first step imputes it. Where scikit-learn refuses a missing value because it saw none in training, a converted
  tree takes it to the side that scikit-learn's file holds.
- **Categories of `HistGradientBoosting…`** are numbers or texts, not both in one column. A branch on a set of them
  becomes one comparison for each category, with a copy of what follows. Unknown ones go where missing ones go.
- **Numbers in `OneHotEncoder`** have to be integers: another number is an error, also where unknown ones are ignored.
- **Equal probabilities.** The first class wins, as in scikit-learn, but for two classes with one score: there the
  second does. Sums in another order may break a tie of a forest otherwise.
- **`HistGradientBoostingRegressor` of the losses `poisson` and `gamma`** is a pipeline: Core ML's trees have no
  exponential function, so they give logistic functions of their sums far below zero, which a `glmRegressor` multiplies
  ([boosted-trees.md](boosted-trees.md)).
- **`LogisticRegression` of several classes** is written with the first class as reference; probabilities are those of
  softmax all the same.
- **Refused**, with an error that names estimator, parameter and what to do: several outputs, kernels that are functions
  or matrices, distances but the Euclidean one, weights by distance, estimators that boosting starts from, indicators
  of missing values, rare categories, limits of scalers, weights of transformers.
"""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for family in FAMILIES:
        about = (family.__doc__ or "").strip().splitlines()[0].rstrip(".")
        rows = [(name, row) for name, row in registry.rows() if row.family == family.__name__]
        lines += [f"## {about}", "", "| estimator | Core ML model | agrees |", "|---|---|---|"]
        lines += [f"| {_listed(names)} | {becomes} | {exactness} |" for (becomes, exactness), names in _grouped(rows)]
        lines.append("")
    return "\n".join([*lines, NOTES])


def _grouped(rows: list[tuple[str, registry.Row]]) -> list[tuple[tuple[str, str], list[str]]]:
    """Estimators with the same words stand in one row."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, row in rows:
        becomes = ", ".join(f"`{kind}`" if kind[0].islower() and " " not in kind else kind for kind in _kinds(row))
        groups.setdefault((becomes, row.exactness), []).append(name)
    return list(groups.items())


def _kinds(row: registry.Row) -> list[str]:
    return row.becomes.split(", ")


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
