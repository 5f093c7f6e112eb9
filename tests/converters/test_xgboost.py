"""What is converted from XGBoost predicts what XGBoost predicts, for 1,000 rows with missing values.

XGBoost sums leaves and applies functions in float32, so results agree to 1e-6: a sum of twenty leaves is rounded twenty
times, each time by at most 2⁻²⁴ of its size.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import FormatError, InputError, InputTypeError, MissingFileError, UnsupportedError
from tests.converters.boosting import (
    NEW,
    ROWS,
    SCORE,
    THREE,
    TWO,
    X,
    check_many,
    check_two,
    classes,
    near,
    numbers,
    softmax,
    with_categories,
)

xgboost = pytest.importorskip("xgboost", reason="the extra xgboost")

TOLERANCE = 1e-6
convert = ct.converters.xgboost.convert


def train(objective="reg:squarederror", y=SCORE, rounds=20, x=X, **options):
    data = xgboost.DMatrix(x, y, **({"feature_types": options.pop("types")} if "types" in options else {}))
    settings = {"objective": objective, "max_depth": 4, "nthread": 1, "seed": 0, **options}
    if objective.startswith("rank"):
        data.set_group([100] * 6)
    if objective == "survival:aft":
        data.set_float_info("label_lower_bound", np.abs(y))
        data.set_float_info("label_upper_bound", np.abs(y) + 1)
    return xgboost.train(settings, data, rounds)


def expected(booster, x=NEW, **options):
    return booster.predict(xgboost.DMatrix(x), **options)


# --- objectives ------------------------------------------------------------------------------------------------------

PAIR = np.stack([SCORE, SCORE**2 / 4], axis=1)


@pytest.mark.parametrize(
    ("objective", "y", "options"),
    [
        ("reg:squarederror", SCORE, {}),
        ("reg:squarederror", SCORE, {"base_score": 3.25}),
        ("reg:squaredlogerror", np.abs(SCORE), {}),
        ("reg:absoluteerror", SCORE, {}),
        ("reg:pseudohubererror", SCORE, {}),
        ("reg:quantileerror", SCORE, {"quantile_alpha": 0.3}),
        ("reg:quantileerror", SCORE, {"quantile_alpha": [0.3, 0.7]}),
        ("reg:logistic", TWO, {}),
        ("binary:logistic", TWO, {"base_score": 0.2}),
        ("binary:logitraw", TWO, {}),
        ("rank:pairwise", TWO, {}),
        ("reg:squarederror", SCORE, {"booster": "dart", "rate_drop": 0.5}),
        ("reg:squarederror", SCORE, {"num_parallel_tree": 3, "subsample": 0.5}),
        ("reg:squarederror", SCORE, {"grow_policy": "lossguide", "max_leaves": 9, "max_depth": 0}),
        ("reg:squarederror", SCORE, {"tree_method": "exact"}),
        ("reg:squarederror", PAIR, {}),
        ("reg:squarederror", PAIR, {"multi_strategy": "multi_output_tree"}),
        ("binary:logistic", np.stack([TWO, 1 - TWO], axis=1), {}),
    ],
)
def test_regressors(objective, y, options):
    """Several results are an array."""
    booster = train(objective, y, **options)
    np.testing.assert_allclose(numbers(convert(booster), NEW), expected(booster), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("objective", ["count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"])
def test_exponentials(objective):
    """XGBoost computes them in float32: of a number of that rounding, its own and the sum's."""
    booster = train(objective, np.abs(SCORE) + 0.5)
    np.testing.assert_allclose(numbers(convert(booster), NEW), expected(booster), rtol=TOLERANCE)
    sums = numbers(convert(booster, mode="raw"), NEW)
    np.testing.assert_allclose(sums, expected(booster, output_margin=True), rtol=TOLERANCE, atol=TOLERANCE)


def test_functions_that_core_ml_lacks():
    """They are refused by name; the sums beneath them can be had."""
    booster = train("binary:hinge", TWO)
    with pytest.raises(UnsupportedError, match=r"'binary:hinge'.*\n.*softmax.*\n.*step.*\n.*mode='raw'"):
        convert(booster)
    sums = numbers(convert(booster, mode="raw"), NEW)
    np.testing.assert_allclose(sums, expected(booster, output_margin=True), rtol=TOLERANCE, atol=TOLERANCE)


def test_two_labels():
    booster = train("binary:logistic", TWO)
    check_two(convert(booster, mode="classifier"), NEW, expected(booster), TOLERANCE)


@pytest.mark.parametrize("objective", ["multi:softprob", "multi:softmax"])
def test_more_labels(objective):
    """The base score of each is its own since XGBoost 3.1."""
    booster = train(objective, THREE, num_class=3)
    shares = softmax(expected(booster, output_margin=True))
    check_many(convert(booster, mode="classifier"), NEW, shares, TOLERANCE)


def test_a_tie_goes_to_the_first_label():
    """Trees that never split leave the margin 0: XGBoost asks for more than one half."""
    booster = train("binary:logistic", TWO, min_child_weight=1e9, base_score=0.5, reg_lambda=1e9)
    assert set(expected(booster)) == {0.5}
    labels, shares = classes(convert(booster, mode="classifier"), NEW[:3])
    assert set(labels) == {0}
    np.testing.assert_allclose(shares, 0.5, atol=1e-7)


def test_labels_have_names():
    model = convert(train("binary:logistic", TWO), mode="classifier", class_labels=["no", "yes"], n_classes=2)
    labels, _ = classes(model, NEW)
    assert set(labels) == {"no", "yes"}


# --- comparisons -----------------------------------------------------------------------------------------------------


def json_of(booster):
    return json.loads(bytes(booster.save_raw("json")))


def test_features_are_rounded_to_float32_first():
    """Every float64 number around every threshold goes the way that XGBoost sends its float32."""
    booster = train(rounds=10)
    trees = json_of(booster)["learner"]["gradient_booster"]["model"]["trees"]
    splits = [
        t
        for tree in trees
        for t, left in zip(tree["split_conditions"], tree["left_children"], strict=True)
        if left >= 0
    ]
    rows = near(splits, 5)
    wanted = expected(booster, rows)
    np.testing.assert_allclose(numbers(convert(booster), rows), wanted, rtol=TOLERANCE, atol=TOLERANCE)
    unrounded = numbers(convert(booster, force_32bit_float=False), rows)
    assert np.abs(unrounded - wanted).max() > 0.01  # some of these rows do depend on it
    same = rows.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(
        numbers(convert(booster, force_32bit_float=False), same), wanted, rtol=TOLERANCE, atol=TOLERANCE
    )


@pytest.mark.parametrize("options", [{}, {"max_cat_to_onehot": 1}, {"max_cat_to_onehot": 100}])
def test_sets_of_categories(options):
    """Missing categories go their own way, unknown ones are in no set."""
    types = ["c", "c", "q", "q", "q"]
    x, new = with_categories(X, 3), with_categories(NEW, 4)
    y = SCORE + 3 * (x[:, 0] % 3 == 1) - 2 * (x[:, 1] == 2)
    booster = train(y=y, x=x, types=types, max_depth=3, **options)
    wanted = booster.predict(xgboost.DMatrix(new, feature_types=types))
    np.testing.assert_allclose(numbers(convert(booster), new), wanted, rtol=TOLERANCE, atol=TOLERANCE)


def test_missing_values_only():
    gaps = np.full((4, 5), np.nan)
    booster = train()
    np.testing.assert_allclose(numbers(convert(booster), gaps), expected(booster, gaps), rtol=TOLERANCE)


# --- estimators and files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_files(tmp_path, suffix):
    booster = train("binary:logistic", TWO)
    path = tmp_path / f"model.{suffix}"
    booster.save_model(path)
    model = convert(str(path), mode="classifier")
    check_two(model, NEW, expected(booster), TOLERANCE)
    assert model.user_defined_metadata["com.gristmill.source"] == f"xgboost=={xgboost.__version__}"


@pytest.mark.parametrize("suffix", [None, "json", "ubj"])
def test_an_estimator_stops_where_it_was_best(tmp_path, suffix):
    """A file that an estimator wrote predicts as the estimator does; a booster uses all trees."""
    pytest.importorskip("sklearn", reason="estimators of XGBoost need scikit-learn")
    estimator = xgboost.XGBClassifier(
        n_estimators=80, max_depth=6, learning_rate=1.0, early_stopping_rounds=5, n_jobs=1, random_state=0
    )
    estimator.fit(X[:100], THREE[:100], eval_set=[(X[100:], THREE[100:])], verbose=False)
    assert estimator.best_iteration + 1 < estimator.get_booster().num_boosted_rounds()
    source = estimator
    if suffix:
        source = tmp_path / f"model.{suffix}"
        estimator.save_model(source)
    check_many(convert(source, mode="classifier"), NEW, estimator.predict_proba(NEW), TOLERANCE)
    booster = estimator.get_booster()
    check_many(convert(booster, mode="classifier"), NEW, expected(booster), TOLERANCE)


def test_random_forests():
    pytest.importorskip("sklearn", reason="estimators of XGBoost need scikit-learn")
    forest = xgboost.XGBRFRegressor(n_estimators=15, max_depth=4, n_jobs=1, random_state=0).fit(X, SCORE)
    np.testing.assert_allclose(numbers(convert(forest), NEW), forest.predict(NEW), rtol=TOLERANCE, atol=TOLERANCE)


def test_names_of_features():
    booster = train(rounds=2)
    assert [one.name for one in convert(booster).get_spec().description.input] == ["f0", "f1", "f2", "f3", "f4"]
    (array,) = convert(booster, feature_names="input").get_spec().description.input
    assert list(array.type.multiArrayType.shape) == [5]
    first, rest = convert(booster, feature_names=["a", "b", "b", "b", "b"], target="y").get_spec().description.input
    assert (first.name, rest.name, list(rest.type.multiArrayType.shape)) == ("a", "b", [4])
    booster.feature_names = list("vwxyz")
    assert [one.name for one in convert(booster).get_spec().description.input] == list("vwxyz")
    with pytest.raises(InputError, match=r"another order.*\n.*v, w, x, y, z"):
        convert(booster, feature_names=list("zyxwv"))
    with pytest.raises(InputError, match=r"another number of features\n.*5\n.*2"):
        convert(booster, feature_names=["a", "b"])


# --- what is refused -------------------------------------------------------------------------------------------------


def test_modes_that_do_not_suit():
    with pytest.raises(InputError, match=r"'multi:softprob' is a classifier\n.*mode='classifier'"):
        convert(train("multi:softprob", THREE, rounds=1, num_class=3))
    with pytest.raises(InputError, match=r"'reg:squarederror' is no classifier"):
        convert(train(rounds=1), mode="classifier")
    with pytest.raises(InputError, match="no such mode"):
        convert(train(rounds=1), mode="ranker")
    with pytest.raises(InputError, match=r"labels\n.*3\n.*2"):
        convert(train("multi:softprob", THREE, rounds=1, num_class=3), mode="classifier", class_labels=["a", "b"])
    with pytest.raises(InputError, match=r"labels\n.*2\n.*5"):
        convert(train("binary:logistic", TWO, rounds=1), mode="classifier", n_classes=5)


def test_boosters_that_are_no_trees():
    with pytest.raises(UnsupportedError, match=r"no trees\n.*gbtree or dart\n.*gblinear\n.*scikit-learn"):
        convert(train(rounds=1, booster="gblinear", max_depth=None))


def test_another_number_for_what_is_missing():
    pytest.importorskip("sklearn", reason="estimators of XGBoost need scikit-learn")
    estimator = xgboost.XGBRegressor(n_estimators=1, missing=-999.0).fit(np.nan_to_num(X), SCORE)
    with pytest.raises(UnsupportedError, match=r"missing=nan.*\n.*missing=-999"):
        convert(estimator)
    with pytest.raises(InputError, match="not fitted"):
        convert(xgboost.XGBRegressor())


def test_what_is_no_model(tmp_path):
    with pytest.raises(InputTypeError, match=r"xgboost.Booster.*\n.*list"):
        convert([1, 2])
    with pytest.raises(MissingFileError, match=r"nothing\.json"):
        convert(tmp_path / "nothing.json")
    (tmp_path / "noise.ubj").write_bytes(b"noise")
    with pytest.raises(FormatError, match="this is no model of XGBoost"):
        convert(tmp_path / "noise.ubj")
    train(rounds=1).dump_model(tmp_path / "dump.json", dump_format="json")
    with pytest.raises(FormatError, match="save_model"):
        convert(tmp_path / "dump.json")


def test_files_are_hostile_until_checked(tmp_path):
    """Any entry replaced or left out gives an error of ours, or a model that still can be written."""
    document = json_of(train("binary:logistic", TWO, rounds=1, max_depth=2))
    path = tmp_path / "model.json"
    refused = 0
    for holder, key in entries(document):
        kept = holder[key]
        for other in (None, -1, 10**9, []):
            holder[key] = other
            path.write_text(json.dumps(document))
            try:
                convert(path)
            except (FormatError, InputError, UnsupportedError):
                refused += 1
        holder[key] = kept
    assert refused > 100
    path.write_text(json.dumps(document)[:-40])
    with pytest.raises(FormatError, match="this is no model of XGBoost"):
        convert(path)


def entries(value):
    """Places in a document: all of dictionaries, and the first two of lists."""
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(min(2, len(value)))
    else:
        return
    for key in keys:
        yield value, key
        yield from entries(value[key])


# --- coremltools -----------------------------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.parametrize("labels", [2, 3])
def test_what_coremltools_converts(labels):
    """It knows no base score but its own, and thresholds of float32: features are float32 here."""
    coremltools = pytest.importorskip("coremltools")
    x = NEW.astype(np.float32).astype(np.float64)
    if labels == 2:
        booster = train("binary:logistic", TWO, base_score=0.5)
        shares = np.stack([1 - expected(booster, x), expected(booster, x)], axis=1)
    else:
        booster = train("multi:softprob", THREE, num_class=3, base_score=0.5)
        shares = expected(booster, x)
    theirs = coremltools.converters.xgboost.convert(
        booster, feature_names=["f0", "f1", "f2", "f3", "f4"], mode="classifier", n_classes=labels
    )
    check_many(ct.models.MLModel(theirs.get_spec()), x, shares, TOLERANCE)


@pytest.mark.interop
def test_coremltools_reads_what_is_converted(tmp_path):
    coremltools = pytest.importorskip("coremltools")
    for number, options in enumerate([{"mode": "classifier"}, {"mode": "regressor"}, {"feature_names": "input"}]):
        path = str(tmp_path / f"{number}.mlmodel")
        ours = convert(train("binary:logistic", TWO), **options)
        ours.save(path)
        theirs = coremltools.models.MLModel(path, skip_model_load=True)
        assert theirs.get_spec().SerializeToString(deterministic=True) == ours.get_spec().SerializeToString(
            deterministic=True
        )


def test_there_are_as_many_rows_as_promised():
    assert len(NEW) == ROWS == 1000
    assert 0.05 < np.isnan(NEW).mean() < 0.15
