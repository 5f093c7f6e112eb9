"""What is converted from LightGBM predicts what LightGBM predicts, for 1,000 rows with missing values.

Both sides compute in float64 and differ in the order of sums: results agree to 1e-12.
"""

from __future__ import annotations

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import FormatError, InputError, InputTypeError, UnsupportedError
from tests.converters.boosting import (
    NEW,
    SCORE,
    THREE,
    TWO,
    X,
    check_many,
    check_two,
    classes,
    numbers,
    predictions,
    thresholds,
    with_categories,
)

lightgbm = pytest.importorskip("lightgbm", reason="the extra lightgbm")

TOLERANCE = 1e-12
NEAR_ZERO = float(np.float32(1e-35))  # LightGBM's kZeroThreshold
convert = ct.converters.lightgbm.convert


def train(objective="regression", y=SCORE, rounds=20, x=X, categories=(), **options):
    settings = {"objective": objective, "num_leaves": 15, "verbose": -1, "num_threads": 1, "seed": 0, **options}
    group = [100] * 6 if objective in ("lambdarank", "rank_xendcg") else None
    data = lightgbm.Dataset(x, y, categorical_feature=list(categories) or "auto", group=group, free_raw_data=False)
    return lightgbm.train(settings, data, rounds)


# --- objectives ------------------------------------------------------------------------------------------------------

FOREST = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}


@pytest.mark.parametrize(
    ("objective", "y", "options"),
    [
        ("regression", SCORE, {}),
        ("regression_l1", SCORE, {}),
        ("huber", SCORE, {}),
        ("fair", SCORE, {}),
        ("quantile", SCORE, {"alpha": 0.3}),
        ("mape", SCORE, {}),
        ("lambdarank", TWO, {}),
        ("binary", TWO, {"sigmoid": 2.0}),
        ("cross_entropy", TWO, {}),
        ("regression", SCORE, {"boosting": "dart"}),
        ("regression", SCORE, FOREST),
        ("binary", TWO, FOREST),
    ],
)
def test_regressors(objective, y, options):
    booster = train(objective, y, **options)
    found = numbers(convert(booster, mode="regressor"), NEW)
    np.testing.assert_allclose(found, booster.predict(NEW), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("objective", ["poisson", "gamma", "tweedie"])
def test_exponentials(objective):
    booster = train(objective, np.abs(SCORE) + 0.5)
    np.testing.assert_allclose(numbers(convert(booster), NEW), booster.predict(NEW), rtol=TOLERANCE)


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        ("cross_entropy_lambda", {}),
        ("regression", {"reg_sqrt": True}),
    ],
)
def test_functions_that_core_ml_lacks(objective, options):
    """They are refused by name; the sums beneath them can be had."""
    booster = train(objective, TWO if objective.startswith("cross") else np.abs(SCORE) + 0.5, **options)
    with pytest.raises(UnsupportedError, match=rf"'{objective}'.*\n.*softmax.*\n.*(exp|square).*\n.*mode='raw'"):
        convert(booster)
    sums = numbers(convert(booster, mode="raw"), NEW)
    np.testing.assert_allclose(sums, booster.predict(NEW, raw_score=True), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("options", [{}, {"sigmoid": 0.7}, FOREST])
def test_two_labels(options):
    booster = train("binary", TWO, **options)
    check_two(convert(booster), NEW, booster.predict(NEW), TOLERANCE)


@pytest.mark.parametrize("objective", ["multiclass", "multiclassova"])
def test_more_labels(objective):
    """One against all others: probabilities that need not have the sum 1."""
    booster = train(objective, THREE, num_class=3)
    check_many(convert(booster), NEW, booster.predict(NEW), TOLERANCE)


def test_a_tie_goes_to_the_first_label():
    """Half of the labels, and no split: the sum is 0."""
    booster = train("binary", np.arange(600) % 2, rounds=1, min_data_in_leaf=600)
    assert set(booster.predict(NEW)) == {0.5}
    labels, _ = classes(convert(booster), NEW[:3])
    assert set(labels) == {0}


# --- comparisons -----------------------------------------------------------------------------------------------------


def test_thresholds_are_compared_in_float64():
    booster = train(rounds=10)
    model = convert(booster)
    edges = np.array(thresholds(model))
    values = np.concatenate([edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf)])
    rows = np.repeat(values[:, None], 5, axis=1)
    np.testing.assert_allclose(numbers(model, rows), booster.predict(rows), rtol=TOLERANCE, atol=TOLERANCE)


MISSING = [{}, {"zero_as_missing": True}, {"use_missing": False}]
"""Not-a-number, zero and nothing count as missing."""


@pytest.mark.parametrize("options", MISSING)
@pytest.mark.parametrize("shift", [-1.0, 0.0, 1.0])
def test_what_counts_as_missing(options, shift):
    """Thresholds left of zero, around it and right of it; zeros are a fifth of the features."""
    x, new = (np.where(np.abs(data) < 0.4, 0.0, data + shift) for data in (X, NEW))
    booster = train(y=SCORE + 3 * (x[:, 0] == 0), x=x, **options)
    model = convert(booster)
    np.testing.assert_allclose(numbers(model, new), booster.predict(new), rtol=TOLERANCE, atol=TOLERANCE)
    edges = [NEAR_ZERO, -NEAR_ZERO, 0.0, -0.0, 1e-300]
    edges += [float(np.nextafter(edge, way)) for edge in edges[:2] for way in (-np.inf, np.inf)]
    rows = np.repeat(np.array(edges)[:, None], 5, axis=1)
    np.testing.assert_allclose(numbers(model, rows), booster.predict(rows), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("options", [*MISSING, {"max_cat_to_onehot": 1, "min_data_per_group": 1, "cat_smooth": 1}])
def test_sets_of_categories(options):
    """Missing, negative and unknown categories are in no set."""
    x, new = with_categories(X, 3), with_categories(NEW, 4)
    new[:50, 0] = -1
    y = SCORE + 3 * (x[:, 0] % 3 == 1) - 2 * (x[:, 1] == 2)
    booster = train(y=y, x=np.where(np.arange(5) < 2, np.nan_to_num(x), x), categories=(0, 1), **options)
    np.testing.assert_allclose(numbers(convert(booster), new), booster.predict(new), rtol=TOLERANCE, atol=TOLERANCE)


# --- estimators and files --------------------------------------------------------------------------------------------


def test_training_that_stopped_early(tmp_path):
    """The best rounds count, and are all that files hold."""
    data = lightgbm.Dataset(X[:100], TWO[:100])
    booster = lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1, "learning_rate": 0.9, "min_data_in_leaf": 2},
        data,
        80,
        valid_sets=[lightgbm.Dataset(X[100:], TWO[100:], reference=data)],
        callbacks=[lightgbm.early_stopping(5, verbose=False)],
        keep_training_booster=True,
    )
    assert booster.best_iteration < booster.current_iteration()
    booster.save_model(tmp_path / "model.txt")
    for source in (booster, tmp_path / "model.txt"):
        check_two(convert(source), NEW, booster.predict(NEW), TOLERANCE)


def test_estimators_know_their_labels():
    pytest.importorskip("sklearn", reason="estimators of LightGBM need scikit-learn")
    names = np.array(["low", "middle", "high"])[THREE]
    estimator = lightgbm.LGBMClassifier(n_estimators=10, verbose=-1, n_jobs=1).fit(X, names)
    rows = convert(estimator, target="name", feature_names="input").predict([{"input": row} for row in NEW])
    np.testing.assert_array_equal([row["name"] for row in rows], estimator.predict(NEW))
    shares = [[row["classProbability"][label] for label in estimator.classes_] for row in rows]
    np.testing.assert_allclose(shares, estimator.predict_proba(NEW), rtol=0, atol=TOLERANCE)
    with pytest.raises(InputError, match="not fitted"):
        convert(lightgbm.LGBMClassifier())


def test_names_of_features():
    (first, *_) = convert(train(rounds=1)).get_spec().description.input
    assert first.name == "Column_0"
    assert len(predictions(convert(train(rounds=1), feature_names=["a", "b", "c", "d", "e"]), NEW)) == len(NEW)


# --- what is refused -------------------------------------------------------------------------------------------------


def test_linear_leaves():
    with pytest.raises(UnsupportedError, match="linear models"):
        convert(train(x=np.nan_to_num(X), linear_tree=True))


def test_what_is_no_model(tmp_path):
    with pytest.raises(InputTypeError, match=r"lightgbm\.Booster.*\n.*dict"):
        convert({})
    path = tmp_path / "model.txt"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(FormatError, match="this is no model of LightGBM"):
        convert(path)
    with pytest.raises(InputError, match="'multiclass' is a classifier"):
        convert(train("multiclass", THREE, num_class=3, rounds=1), mode="regressor")


def test_files_are_hostile_until_checked(tmp_path):
    """Any line left out or changed gives an error of ours, or a model that still can be written."""
    lines = train(rounds=2, categories=(0,), x=with_categories(X, 3)).model_to_string().splitlines()
    path = tmp_path / "model.txt"
    refused = 0
    for number, line in enumerate(lines[: lines.index("end of trees")]):
        name = line.partition("=")[0]
        for other in ("", f"{name}=-1", f"{name}=999999999", line[: len(line) // 2]):
            path.write_text("\n".join([*lines[:number], other, *lines[number + 1 :]]))
            try:
                convert(path)
            except (FormatError, InputError, UnsupportedError):
                refused += 1
    assert refused > 50


@pytest.mark.interop
def test_coremltools_reads_what_is_converted(tmp_path):
    coremltools = pytest.importorskip("coremltools")
    ours = convert(train("multiclass", THREE, num_class=3, rounds=2))
    ours.save(str(tmp_path / "model.mlmodel"))
    theirs = coremltools.models.MLModel(str(tmp_path / "model.mlmodel"), skip_model_load=True)
    assert theirs.get_spec().description.predictedProbabilitiesName == "classProbability"
