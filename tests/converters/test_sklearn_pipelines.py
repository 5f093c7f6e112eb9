"""Transformers and pipelines converted from scikit-learn give what they give there; what is refused, and how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import InputError, InputTypeError, UnsupportedError
from gristmill.frontends.sklearn import registry
from gristmill.models import datatypes
from tests.converters.sklearn_models import (
    NEW,
    RNG,
    ROWS,
    SCORE,
    THREE,
    TOLERANCE,
    TWO,
    X,
    check_classifier,
    check_regressor,
    check_transformer,
    convert,
    parameters,
    predictions,
    with_gaps,
)

pytest.importorskip("sklearn")

import sklearn.experimental.enable_halving_search_cv  # noqa: F401  # before model_selection shows it
from sklearn import (
    compose,
    ensemble,
    feature_extraction,
    feature_selection,
    impute,
    linear_model,
    model_selection,
    naive_bayes,
    neighbors,
    pipeline,
    preprocessing,
    svm,
    tree,
)

# --- transformers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    parameters(
        preprocessing.StandardScaler(),
        preprocessing.StandardScaler(with_mean=False),
        preprocessing.StandardScaler(with_std=False),
        preprocessing.MinMaxScaler((-1, 2)),
        preprocessing.MaxAbsScaler(),
        preprocessing.RobustScaler(),
        preprocessing.Normalizer("l1"),
        preprocessing.Normalizer("l2"),
        preprocessing.Normalizer("max"),
        preprocessing.FunctionTransformer(),
        feature_selection.VarianceThreshold(2.0),
        pipeline.FeatureUnion([("a", preprocessing.StandardScaler()), ("b", "passthrough"), ("c", "drop")]),
    ),
)
def test_transformers(estimator):
    check_transformer(estimator.fit(X), NEW)


@pytest.mark.parametrize(
    "estimator",
    parameters(
        feature_selection.SelectPercentile(percentile=50),
        feature_selection.SelectFpr(alpha=0.01),
        feature_selection.SelectFdr(alpha=0.01),
        feature_selection.SelectFwe(alpha=0.01),
        feature_selection.GenericUnivariateSelect(mode="k_best", param=2),
        feature_selection.SelectFromModel(linear_model.Lasso(0.1)),
        feature_selection.RFE(linear_model.Ridge(), n_features_to_select=2),
        feature_selection.RFECV(linear_model.Ridge(), cv=3),
        feature_selection.SequentialFeatureSelector(linear_model.Ridge(), n_features_to_select=2, cv=3),
    ),
)
def test_selectors(estimator):
    check_transformer(estimator.fit(X, THREE), NEW[:100])


@pytest.mark.parametrize(
    "search",
    [
        model_selection.RandomizedSearchCV(linear_model.Ridge(), {"alpha": [0.1, 10]}, n_iter=1),
        model_selection.HalvingGridSearchCV(linear_model.Ridge(), {"alpha": [0.1, 10]}, random_state=0),
        model_selection.HalvingRandomSearchCV(linear_model.Ridge(), {"alpha": [0.1, 10]}, random_state=0),
    ],
    ids=lambda search: type(search).__name__,
)
@pytest.mark.filterwarnings("ignore:The total space")
def test_other_searches(search):
    check_regressor(search.fit(X, SCORE), NEW[:100])


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
def test_imputer(strategy):
    check_transformer(impute.SimpleImputer(strategy=strategy).fit(with_gaps(X)), with_gaps(NEW))


def test_imputer_of_another_value():
    x, new = np.where(np.isnan(with_gaps(X)), -1, X), np.where(np.isnan(with_gaps(NEW)), -1, NEW)
    check_transformer(impute.SimpleImputer(missing_values=-1).fit(x), new)


@pytest.mark.filterwarnings("ignore:Skipping features")
@pytest.mark.parametrize("keep", [False, True])
def test_imputer_of_an_empty_column(keep):
    x = with_gaps(X)
    x[:, 2] = np.nan
    check_transformer(impute.SimpleImputer(keep_empty_features=keep).fit(x), with_gaps(NEW))


CATEGORIES = np.stack([RNG.integers(0, 3, 200), RNG.choice([-5, 7, 2], 200), RNG.integers(0, 2, 200)], axis=1)


@pytest.mark.parametrize("drop", [None, "first", "if_binary", [1, 2, 0]])
def test_one_hot_encoder_of_integers(drop):
    check_transformer(preprocessing.OneHotEncoder(drop=drop).fit(CATEGORIES), CATEGORIES)


def test_unknown_categories():
    new = np.array([[0, 7, 1], [9, -5, 0], [2, 2, -1]])
    check_transformer(preprocessing.OneHotEncoder(handle_unknown="ignore").fit(CATEGORIES), new)
    model = convert(preprocessing.OneHotEncoder().fit(CATEGORIES))
    with pytest.raises(InputError, match="no known category"):
        predictions(model, new)


WORDS = np.array([["red", "s"], ["green", "m"], ["red", "l"], ["blue", "s"]], object)


def test_one_hot_encoder_of_texts():
    """Each column is an input."""
    estimator = preprocessing.OneHotEncoder().fit(WORDS)
    for names, features in ((("input_0", "input_1"), None), (("colour", "size"), ["colour", "size"])):
        model = convert(estimator, features, "places")
        rows = [dict(zip(names, row, strict=True)) for row in WORDS]
        found = [row["places"] for row in model.predict(rows)]
        np.testing.assert_array_equal(found, estimator.transform(WORDS).toarray())


def test_dict_vectorizer():
    """Alone, before a regressor, and with a text as part of the key."""
    rows = [{"a": 1.0, "b": 2.0}, {"b": 3.0, "c=x": 1.0}, {"a": -1.0, "c=y": 1.0}]
    estimator = feature_extraction.DictVectorizer(sparse=False).fit(rows)
    found = [row["transformed_features"] for row in predictions(convert(estimator), [*rows, {"z": 1.0}])]
    np.testing.assert_array_equal(found, estimator.transform([*rows, {"z": 1.0}]))
    chain = pipeline.make_pipeline(feature_extraction.DictVectorizer(), linear_model.LinearRegression())
    chain.fit(rows, [1.0, 2.0, 4.0])
    check_regressor(chain, rows)


# --- several together ------------------------------------------------------------------------------------------------


def test_pipeline():
    chain = pipeline.make_pipeline(
        impute.SimpleImputer(),
        "passthrough",
        pipeline.make_pipeline(preprocessing.StandardScaler(), preprocessing.Normalizer()),
        feature_selection.SelectKBest(k=3),
        linear_model.LogisticRegression(),
    )
    check_classifier(chain.fit(with_gaps(X), THREE), with_gaps(NEW))


def test_list_and_search():
    """A list is applied in order; of a search its best estimator is converted."""
    scaler = preprocessing.StandardScaler().fit(X)
    search = model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [0.1, 10]}).fit(scaler.transform(X), SCORE)
    found = [row["prediction"] for row in predictions(convert([scaler, search]), NEW)]
    np.testing.assert_allclose(found, search.predict(scaler.transform(NEW)), rtol=TOLERANCE)


def mixed_rows(count, seed):
    rng = np.random.default_rng(seed)
    x = np.empty((count, 4), object)
    x[:, 0], x[:, 1] = rng.normal(size=count), rng.choice(["red", "green", "blue"], count)
    x[:, 2], x[:, 3] = rng.normal(size=count), rng.integers(0, 4, count).astype(float)
    x[rng.random(count) < 0.2, 0] = np.nan
    return x


def test_columns_of_different_types():
    """The usual preparation of a table: numbers imputed and scaled, texts and integers encoded, the rest passed on."""
    columns = compose.ColumnTransformer(
        [
            ("numbers", pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler()), [0]),
            ("texts", preprocessing.OneHotEncoder(), [1]),
            ("codes", preprocessing.OneHotEncoder(drop="first", handle_unknown="ignore"), slice(3, 4)),
        ],
        remainder="passthrough",
    )
    chain = pipeline.make_pipeline(columns, tree.DecisionTreeClassifier(max_depth=5, random_state=0))
    x, new = mixed_rows(300, 0), mixed_rows(ROWS, 1)
    y = (x[:, 1] == "red").astype(int) + (x[:, 2].astype(float) > 0)
    chain.fit(x, y)
    names = ["amount", "colour", "size", "code"]
    found = convert(chain, names, ["y", "p"]).predict([dict(zip(names, row, strict=True)) for row in new])
    assert [row["y"] for row in found] == chain.predict(new).tolist()
    np.testing.assert_allclose(
        [list(row["p"].values()) for row in found], chain.predict_proba(new), rtol=0, atol=TOLERANCE
    )


def test_columns_of_one_array():
    """Columns out of order, one of them twice, one dropped."""
    columns = compose.ColumnTransformer(
        [
            ("a", preprocessing.StandardScaler(), [4, 1]),
            ("b", preprocessing.MinMaxScaler(), [1, 2, 3]),
            ("c", "drop", [0]),
        ]
    )
    check_transformer(columns.fit(X), NEW)


def test_missing_texts():
    """Where texts are imputed, an input may be left out."""
    x = np.array([["red"], ["blue"], ["red"], [np.nan]], object)
    chain = pipeline.make_pipeline(impute.SimpleImputer(strategy="most_frequent"), preprocessing.OneHotEncoder())
    chain.fit(x)
    model = convert(chain, "colour", "places")
    found = [row["places"] for row in model.predict([{"colour": "blue"}, {"colour": "red"}, {}])]
    np.testing.assert_array_equal(found, chain.transform(x[[1, 0, 3]]).toarray())


def test_every_estimator_is_tried():
    """The documentation's rows are those of the estimators that tests make."""
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_sklearn*.py"))
    assert [name for name, _ in registry.rows() if f".{name}(" not in text and name != "Pipeline"] == []


# --- features --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "rows"),
    [
        (["a", "b", "c", "d", "e"], {name: [0, 1, 2, 3, 4][place] for place, name in enumerate("abcde")}),
        (["a", "a", "b", "c", "c"], {"a": [0, 1], "b": 2, "c": [3, 4]}),
        ({"b": [2, 3, 4], "a": 0, "c": 1}, {"a": 0, "c": 1, "b": [2, 3, 4]}),
        ([("a", datatypes.Array(4)), ("b", float)], {"a": [0, 1, 2, 3], "b": 4}),
    ],
)
def test_input_features(features, rows):
    """Names and places of columns in all forms."""
    estimator = linear_model.LinearRegression().fit(X, SCORE)
    model = convert(estimator, features, "y")
    found = model.predict([{name: row[places] for name, places in rows.items()} for row in NEW])
    np.testing.assert_allclose([row["y"] for row in found], estimator.predict(NEW), rtol=TOLERANCE)


def test_what_a_file_says():
    spec = convert(linear_model.LinearRegression().fit(X, SCORE)).get_spec()
    assert spec.WhichOneof("Type") == "glmRegressor"  # alone, no pipeline
    assert spec.description.metadata.userDefined["com.gristmill.source"].startswith("scikit-learn==")
    spec = convert(tree.DecisionTreeClassifier().fit(X, TWO), list("abcde")).get_spec()
    assert spec.WhichOneof("Type") == "pipelineClassifier"
    assert [one.WhichOneof("Type") for one in spec.pipelineClassifier.pipeline.models] == [
        "featureVectorizer",
        "treeEnsembleClassifier",
    ]


@pytest.mark.interop
@pytest.mark.parametrize(
    ("estimator", "y"),
    [
        pytest.param(estimator, y, id=type(estimator).__name__)
        for y, estimators in {
            "numbers": [
                tree.DecisionTreeRegressor(),
                ensemble.RandomForestRegressor(2),
                ensemble.ExtraTreesRegressor(2),
                ensemble.GradientBoostingRegressor(n_estimators=2),
                ensemble.HistGradientBoostingRegressor(max_iter=2),
                linear_model.LinearRegression(),
                svm.LinearSVR(max_iter=100),
                svm.SVR(),
                svm.NuSVR(),
            ],
            "classes": [
                tree.DecisionTreeClassifier(),
                ensemble.RandomForestClassifier(2),
                ensemble.ExtraTreesClassifier(2),
                ensemble.GradientBoostingClassifier(n_estimators=2),
                ensemble.HistGradientBoostingClassifier(max_iter=2),
                linear_model.LogisticRegression(),
                svm.LinearSVC(),
                svm.SVC(),
                svm.NuSVC(nu=0.1),
                neighbors.KNeighborsClassifier(),
            ],
            "nothing": [
                preprocessing.StandardScaler(),
                preprocessing.MinMaxScaler(),
                preprocessing.Normalizer("max"),
                preprocessing.OneHotEncoder(),
                impute.SimpleImputer(),
                feature_selection.VarianceThreshold(),
                compose.ColumnTransformer([("a", preprocessing.RobustScaler(), [1, 0])], remainder="passthrough"),
                pipeline.make_pipeline(preprocessing.MaxAbsScaler(), preprocessing.Normalizer()),
            ],
        }.items()
        for estimator in estimators
    ],
)
@pytest.mark.filterwarnings("ignore:Liblinear failed", "ignore:.*failed to converge")
def test_coremltools_reads_it(estimator, y, tmp_path):
    """The file is the same model for coremltools, and for Gristmill after it was read."""
    import coremltools

    x = CATEGORIES if isinstance(estimator, preprocessing.OneHotEncoder) else X[:60]
    estimator.fit(x, {"numbers": SCORE, "classes": THREE, "nothing": THREE}[y][: len(x)])
    model = convert(estimator)
    path = tmp_path / "model.mlmodel"
    model.save(path)
    theirs = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()
    assert theirs.SerializeToString(deterministic=True) == model.get_spec().SerializeToString(deterministic=True)
    again = ct.models.MLModel(path)
    np.testing.assert_equal(predictions(again, x[:5]), predictions(model, x[:5]))


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "parameter"),
    [
        (svm.SVC(kernel=lambda a, b: a @ b.T), "kernel"),
        (svm.SVC(break_ties=True), "break_ties"),
        (neighbors.KNeighborsClassifier(weights="distance"), "weights"),
        (neighbors.KNeighborsClassifier(metric="manhattan"), "metric"),
        (ensemble.GradientBoostingClassifier(n_estimators=2, init=tree.DecisionTreeClassifier()), "init"),
        (preprocessing.MinMaxScaler(clip=True), "clip"),
        (impute.SimpleImputer(add_indicator=True), "add_indicator"),
        (preprocessing.FunctionTransformer(np.log1p), "func"),
        (preprocessing.OneHotEncoder(min_frequency=0.9), "min_frequency"),
        (pipeline.FeatureUnion([("a", preprocessing.MinMaxScaler())], transformer_weights={"a": 2}), "weights"),
    ],
    ids=lambda one: one if isinstance(one, str) else type(one).__name__,
)
def test_parameters_that_the_format_lacks(estimator, parameter):
    """The error names estimator, parameter and what to do."""
    x = CATEGORIES if isinstance(estimator, preprocessing.OneHotEncoder) else X
    estimator.fit(x[:50], THREE[:50])
    with pytest.raises(UnsupportedError, match=f"{type(estimator).__name__}.*{parameter}") as caught:
        convert(estimator)
    assert isinstance(caught.value, ValueError)  # which coremltools raises
    assert caught.value.op == type(estimator).__name__
    assert caught.value.hint


def test_losses_and_targets():
    two = np.stack([SCORE, SCORE], axis=1)
    for estimator in (tree.DecisionTreeRegressor(), linear_model.LinearRegression()):
        with pytest.raises(UnsupportedError, match=type(estimator).__name__):
            convert(estimator.fit(X, two))
    with pytest.raises(UnsupportedError, match=r"RidgeClassifier.*multilabel"):
        convert(linear_model.RidgeClassifier().fit(X, np.stack([THREE > 0, THREE > 10], axis=1).astype(int)))
    with pytest.raises(UnsupportedError, match=r"RandomForestClassifier.*n_outputs"):
        convert(ensemble.RandomForestClassifier(2).fit(X, np.stack([THREE, THREE], axis=1)))


def test_estimators_that_are_unknown_or_misplaced():
    with pytest.raises(UnsupportedError, match="GaussianNB is not converted") as caught:
        convert(naive_bayes.GaussianNB().fit(X, THREE))
    assert "RandomForestClassifier" in str(caught.value)
    with pytest.raises(UnsupportedError, match="int is not converted"):
        convert(3)
    with pytest.raises(UnsupportedError, match="Ridge stands before the end"):
        convert([linear_model.Ridge().fit(X, SCORE), linear_model.Ridge().fit(X, SCORE)])


@pytest.mark.parametrize(
    "estimator",
    parameters(
        tree.DecisionTreeClassifier(),
        ensemble.RandomForestRegressor(),
        linear_model.Lasso(),
        svm.SVC(),
        preprocessing.StandardScaler(),
        preprocessing.OneHotEncoder(),
        feature_extraction.DictVectorizer(),
        compose.ColumnTransformer([("a", preprocessing.StandardScaler(), [0])]),
        pipeline.make_pipeline(impute.SimpleImputer(), svm.SVC()),
    ),
)
def test_estimators_that_are_not_fitted(estimator):
    with pytest.raises(InputTypeError, match="has not been fitted"):
        convert(estimator)


def test_features_that_do_not_suit():
    estimator = linear_model.LinearRegression().fit(X, SCORE)
    with pytest.raises(InputTypeError, match="another number of columns"):
        convert(estimator, ["a", "b"])
    with pytest.raises(InputTypeError, match="one output"):
        convert(estimator, None, ["a", "b"])
    with pytest.raises(InputTypeError, match="no probabilities"):
        convert(svm.SVC().fit(X, THREE), None, ["a", "b"])
    with pytest.raises(InputTypeError, match="texts"):
        convert(estimator, [("a", str), ("b", datatypes.Array(4))])
    with pytest.raises(InputTypeError, match="one dictionary"):
        convert(feature_extraction.DictVectorizer().fit([{"a": 1}]), ["a"])
