"""What is converted from scikit-learn predicts what scikit-learn predicts, on 1,000 random rows.

Probabilities and numbers agree to 1e-9 of their size: both sides compute in float64, and differ in the order of sums
and in dividing by a number or multiplying by its inverse.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import InputTypeError, UnsupportedError
from gristmill.frontends.sklearn import registry
from gristmill.models import datatypes

pytest.importorskip("sklearn")

import sklearn.experimental.enable_halving_search_cv  # noqa: F401  # before model_selection shows it
from sklearn import (
    compose,
    discriminant_analysis,
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

TOLERANCE = 1e-9
ROWS = 1000
RNG = np.random.default_rng(7)
X = RNG.normal(size=(300, 5)) * [1, 10, 0.1, 1, 100] + [0, 5, 0, -3, 20]
SCORE = X @ [1, 0.2, 8, -1, 0.01] + RNG.normal(size=300)
TWO = np.where(np.median(SCORE) < SCORE, "yes", "no")
THREE = np.digitize(SCORE, np.quantile(SCORE, [0.3, 0.7])) * 10
NEW = RNG.normal(size=(ROWS, 5)) * [1, 10, 0.1, 1, 100] + [0, 5, 0, -3, 20]


def with_gaps(x):
    """A fifth of the values is missing, in all columns but the last."""
    gaps = np.random.default_rng(1).random(x.shape) < 0.2
    gaps[:, -1] = False
    return np.where(gaps, np.nan, x)


def convert(estimator, *arguments):
    """The converted model, as coremltools and Gristmill read it from a file."""
    return ct.converters.sklearn.convert(estimator, *arguments)


def predictions(model, x, name="input"):
    """What a model gives for each row."""
    return model.predict([{name: row} for row in x])


def check_classifier(estimator, x, probabilities=True):
    found = predictions(convert(estimator), x)
    classes = [row["classLabel"] for row in found]
    np.testing.assert_array_equal(classes, estimator.predict(x))
    if probabilities:
        shares = [list(row["classProbability"].values()) for row in found]
        np.testing.assert_allclose(shares, estimator.predict_proba(x), rtol=0, atol=TOLERANCE)
        assert list(found[0]["classProbability"]) == estimator.classes_.tolist()


def check_regressor(estimator, x):
    found = [row["prediction"] for row in predictions(convert(estimator), x)]
    np.testing.assert_allclose(found, estimator.predict(x), rtol=TOLERANCE, atol=TOLERANCE)


def check_transformer(estimator, x):
    found = [row["transformed_features"] for row in predictions(convert(estimator), x)]
    expected = estimator.transform(x)
    expected = expected.toarray() if hasattr(expected, "toarray") else expected
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def parameters(*estimators):
    return [pytest.param(one, id=repr(one).replace("\n", "")) for one in estimators]


# --- predictors ------------------------------------------------------------------------------------------------------

TREES = parameters(
    tree.DecisionTreeClassifier(random_state=0),
    tree.DecisionTreeClassifier(max_depth=3, random_state=0),
    tree.ExtraTreeClassifier(max_depth=6, random_state=0),
    ensemble.RandomForestClassifier(10, random_state=0),
    ensemble.RandomForestClassifier(7, max_depth=4, random_state=0),
    ensemble.ExtraTreesClassifier(10, random_state=0),
    ensemble.HistGradientBoostingClassifier(max_iter=10),
)


@pytest.mark.parametrize("y", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("estimator", TREES)
def test_trees_that_classify(estimator, y):
    """With and without missing values, and where classes are rare."""
    check_classifier(estimator.fit(X, y), NEW)
    check_classifier(estimator.fit(with_gaps(X), y), with_gaps(NEW))


@pytest.mark.parametrize("y", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize(
    "estimator",
    parameters(
        ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0),
        ensemble.GradientBoostingClassifier(n_estimators=10, init="zero", subsample=0.5, random_state=0),
    ),
)
def test_boosted_trees_that_classify(estimator, y):
    check_classifier(estimator.fit(X, y), NEW)


def test_boosting_with_exponential_loss():
    check_classifier(ensemble.GradientBoostingClassifier(loss="exponential", n_estimators=10).fit(X, TWO), NEW)


@pytest.mark.parametrize(
    "estimator",
    parameters(
        tree.DecisionTreeRegressor(random_state=0),
        tree.ExtraTreeRegressor(max_depth=5, random_state=0),
        ensemble.RandomForestRegressor(10, random_state=0),
        ensemble.ExtraTreesRegressor(7, random_state=0),
        ensemble.HistGradientBoostingRegressor(max_iter=10),
        ensemble.HistGradientBoostingRegressor(max_iter=10, loss="quantile", quantile=0.8),
    ),
)
def test_trees_that_predict_numbers(estimator):
    check_regressor(estimator.fit(X, SCORE), NEW)
    check_regressor(estimator.fit(with_gaps(X), SCORE), with_gaps(NEW))


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
def test_boosted_trees_that_predict_numbers(loss):
    check_regressor(ensemble.GradientBoostingRegressor(loss=loss, n_estimators=10, random_state=0).fit(X, SCORE), NEW)


@pytest.mark.parametrize(
    "estimator", parameters(tree.DecisionTreeRegressor(), ensemble.HistGradientBoostingRegressor(max_iter=5))
)
def test_decisions_beside_thresholds(estimator):
    """Features that are thresholds, or that only the rounding to float32 takes to another side of one."""
    estimator.fit(X, SCORE)
    if hasattr(estimator, "tree_"):
        thresholds = estimator.tree_.threshold[estimator.tree_.feature == 0]
    else:
        nodes = np.concatenate([one.nodes for (one,) in estimator._predictors])
        thresholds = nodes["num_threshold"][(nodes["feature_idx"] == 0) & (nodes["is_leaf"] == 0)]
    assert len(thresholds) > 5
    rounded = thresholds.astype(np.float32)
    beside = [np.nextafter(rounded, np.float32(side)) for side in (-np.inf, np.inf)]
    middles = [(rounded.astype(float) + one) / 2 for one in beside]
    values = np.concatenate([thresholds, rounded, *beside, *middles])
    values = np.concatenate([values, np.nextafter(values, np.inf), np.nextafter(values, -np.inf)])
    rows = np.repeat(NEW[:40], len(values), axis=0)
    rows[:, 0] = np.tile(values, 40)
    check_regressor(estimator, rows)


@pytest.mark.parametrize("missing", [False, True])
def test_categories(missing):
    """Branches on sets of categories; unknown ones go where missing ones go."""
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=600), rng.integers(0, 12, 600) * 3.0, rng.normal(size=600)], axis=1)
    y = np.sin(x[:, 1] * 5) + x[:, 0]
    if missing:
        x[rng.random(600) < 0.1, 1] = np.nan
    estimator = ensemble.HistGradientBoostingRegressor(max_iter=6, categorical_features=[1]).fit(x, y)
    new = np.stack([rng.normal(size=ROWS), rng.integers(-2, 40, ROWS), rng.normal(size=ROWS)], axis=1)
    new[::10, 1] = np.nan
    assert any(one.nodes["is_categorical"].any() for (one,) in estimator._predictors)
    check_regressor(estimator, new)


def test_categories_that_are_texts():
    """Each column is an input; a missing text is left out, and goes where unknown ones go."""
    rng = np.random.default_rng(0)

    def rows(count, words, missing):
        x = np.empty((count, 3), object)
        x[:, 0], x[:, 1], x[:, 2] = rng.normal(size=count), rng.choice(words, count), rng.integers(0, 4, count)
        x[rng.random(count) < missing, 1] = np.nan
        return x

    x = rows(600, ["red", "green", "blue", "black"], 0.1)
    y = np.array([len(str(word)) for word in x[:, 1]]) % 3 * (x[:, 2].astype(int) % 2 + 1)
    estimator = ensemble.HistGradientBoostingClassifier(max_iter=4, categorical_features=[1, 2]).fit(x, y)
    names = ["a", "b", "c"]
    model = convert(estimator, names)
    for count, missing in ((ROWS, 0.0), (20, 0.5)):
        new = rows(count, ["red", "green", "blue", "black", "white"], missing)
        given = [{name: one for name, one in zip(names, row, strict=True) if one == one} for row in new]
        found = model.predict(given)
        assert [row["classLabel"] for row in found] == estimator.predict(new).tolist()
        shares = [list(row["classProbability"].values()) for row in found]
        np.testing.assert_allclose(shares, estimator.predict_proba(new), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "estimator",
    parameters(
        linear_model.LinearRegression(),
        linear_model.LinearRegression(fit_intercept=False),
        linear_model.Ridge(),
        linear_model.Lasso(0.01),
        linear_model.ElasticNet(0.01),
        linear_model.BayesianRidge(),
        svm.LinearSVR(max_iter=10000, random_state=0),
        svm.SVR(),
        svm.SVR(kernel="linear", max_iter=1000),
        svm.NuSVR(kernel="poly", degree=2, coef0=1.0),
        svm.SVR(kernel="sigmoid", gamma=0.01, coef0=0.1),
    ),
)
@pytest.mark.filterwarnings("ignore:Liblinear failed", "ignore:Solver terminated early")
def test_regressors(estimator):
    check_regressor(estimator.fit(X, SCORE), NEW)


@pytest.mark.parametrize(
    "estimator",
    parameters(
        linear_model.RidgeCV(),
        linear_model.LassoCV(alphas=[0.1, 1]),
        linear_model.LassoLars(0.01),
        linear_model.LassoLarsCV(),
        linear_model.LassoLarsIC(),
        linear_model.Lars(),
        linear_model.LarsCV(),
        linear_model.ElasticNetCV(alphas=[0.1, 1]),
        linear_model.OrthogonalMatchingPursuit(),
        linear_model.OrthogonalMatchingPursuitCV(),
        linear_model.ARDRegression(),
        linear_model.HuberRegressor(max_iter=10000),
        linear_model.QuantileRegressor(alpha=0.01),
        linear_model.TheilSenRegressor(max_subpopulation=20, random_state=0),
        linear_model.SGDRegressor(eta0=1e-6, tol=None, max_iter=5, random_state=0),
    ),
)
def test_other_linear_regressors(estimator):
    """They differ in how they learn, not in how they predict."""
    check_regressor(estimator.fit(X[:100], SCORE[:100]), NEW[:100])


@pytest.mark.parametrize("y", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize(
    "estimator",
    parameters(
        linear_model.Perceptron(random_state=0),
        linear_model.RidgeClassifierCV(),
        linear_model.LogisticRegressionCV(Cs=2, max_iter=5000),
    ),
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_other_linear_classifiers(estimator, y):
    standard = preprocessing.StandardScaler().fit(X)
    estimator.fit(standard.transform(X), y)
    check_classifier(estimator, standard.transform(NEW), probabilities=hasattr(estimator, "predict_proba"))


def test_one_target_as_a_column():
    estimator = linear_model.LinearRegression().fit(X, SCORE[:, None])
    found = [row["prediction"] for row in predictions(convert(estimator), NEW)]
    np.testing.assert_allclose(found, estimator.predict(NEW)[:, 0], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("y", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize(
    "estimator",
    parameters(
        linear_model.LogisticRegression(max_iter=5000),
        linear_model.SGDClassifier(loss="log_loss", alpha=1.0, random_state=0),
        discriminant_analysis.LinearDiscriminantAnalysis(),
    ),
)
def test_linear_classifiers(estimator, y):
    check_classifier(estimator.fit(X, y), NEW)


@pytest.mark.parametrize(("multi_class", "y"), [("multinomial", TWO), ("ovr", THREE)])
def test_logistic_regression_before_release_8(multi_class, y):
    """What the parameter meant: softmax of a score and its negative, or each class against the rest."""
    estimator = linear_model.LogisticRegression(max_iter=5000).fit(X, y)
    estimator.multi_class = multi_class
    scores = estimator.decision_function(NEW)
    if multi_class == "multinomial":
        expected = np.exp(np.stack([-scores, scores], axis=1) - np.abs(scores)[:, None])
    else:
        expected = 1 / (1 + np.exp(-scores))
    found = [list(row["classProbability"].values()) for row in predictions(convert(estimator), NEW)]
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("y", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize(
    "estimator",
    parameters(svm.LinearSVC(C=0.01, max_iter=100000), linear_model.RidgeClassifier(), svm.LinearSVC(dual=False)),
)
def test_linear_classifiers_without_probabilities(estimator, y):
    """Probabilities are logistic functions of the scores, as in what coremltools converts."""
    estimator.fit(X, y)
    check_classifier(estimator, NEW, probabilities=False)
    scores = estimator.decision_function(NEW)
    apart = 1 / (1 + np.exp(-(np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores)))
    found = [list(row["classProbability"].values()) for row in predictions(convert(estimator), NEW)]
    np.testing.assert_allclose(found, apart / apart.sum(axis=1, keepdims=True), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("y", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize(
    "estimator",
    parameters(
        svm.SVC(),
        svm.SVC(kernel="linear", max_iter=2000),
        svm.NuSVC(nu=0.3, kernel="poly", degree=3, coef0=1.0),
        svm.SVC(kernel="sigmoid", gamma=0.001, decision_function_shape="ovo"),
    ),
)
@pytest.mark.filterwarnings("ignore:Solver terminated early")
def test_support_vector_classifiers(estimator, y):
    check_classifier(estimator.fit(X, y), NEW, probabilities=False)
    assert set(predictions(convert(estimator), NEW[:1])[0]) == {"classLabel"}


@pytest.mark.parametrize("y", [TWO, THREE], ids=["two", "three"])
@pytest.mark.filterwarnings("ignore:The .probability. parameter")
def test_probabilities_of_support_vector_classifiers(y):
    """The class is the likeliest one; scikit-learn's ``predict`` counts votes and may say another."""
    estimator = svm.SVC(probability=True, random_state=0).fit(X, y)
    found = predictions(convert(estimator), NEW)
    expected = estimator.predict_proba(NEW)
    shares = [list(row["classProbability"].values()) for row in found]
    np.testing.assert_allclose(shares, expected, rtol=0, atol=TOLERANCE)
    assert [row["classLabel"] for row in found] == estimator.classes_[expected.argmax(axis=1)].tolist()


@pytest.mark.parametrize("algorithm", ["brute", "kd_tree", "ball_tree"])
def test_nearest_neighbors(algorithm):
    """Samples are stored as float32; of two classes and an odd number of neighbours no votes are equal."""
    x = X.astype(np.float32).astype(np.float64)
    estimator = neighbors.KNeighborsClassifier(5, algorithm=algorithm).fit(x, TWO)
    check_classifier_by_label(estimator)
    estimator = neighbors.KNeighborsClassifier(1, algorithm=algorithm).fit(x, THREE)
    check_classifier_by_label(estimator)


def check_classifier_by_label(estimator):
    """As ``check_classifier``; probabilities stand in the order in which samples bring the labels."""
    found = predictions(convert(estimator), NEW)
    assert [row["classLabel"] for row in found] == estimator.predict(NEW).tolist()
    shares = [[row["classProbability"][label] for label in estimator.classes_.tolist()] for row in found]
    np.testing.assert_allclose(shares, estimator.predict_proba(NEW), rtol=0, atol=TOLERANCE)


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
    with pytest.raises(ct.errors.InputError, match="no known category"):
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
    """The documentation's rows are those of the estimators that stand above."""
    text = Path(__file__).read_text(encoding="utf-8")
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
    with pytest.raises(UnsupportedError, match=r"HistGradientBoostingRegressor.*loss='poisson'"):
        convert(ensemble.HistGradientBoostingRegressor(loss="poisson", max_iter=2).fit(X, np.exp(SCORE / 10)))
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
