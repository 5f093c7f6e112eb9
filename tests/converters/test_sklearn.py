"""Classifiers and regressors converted from scikit-learn predict what they predict there, on 1,000 random rows."""

from __future__ import annotations

import numpy as np
import pytest

from tests.converters.sklearn_models import (
    NEW,
    ROWS,
    SCORE,
    THREE,
    TOLERANCE,
    TWO,
    X,
    check_classifier,
    check_regressor,
    convert,
    parameters,
    predictions,
    with_gaps,
)

pytest.importorskip("sklearn")

from sklearn import discriminant_analysis, ensemble, linear_model, neighbors, pipeline, preprocessing, svm, tree

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


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_trees_that_predict_exponentials(loss):
    """A pipeline: logistic functions far below zero, times a large number."""
    estimator = ensemble.HistGradientBoostingRegressor(max_iter=10, loss=loss).fit(with_gaps(X), np.exp(SCORE / 2))
    check_regressor(estimator, with_gaps(NEW))
    check_regressor(pipeline.make_pipeline(preprocessing.StandardScaler(), estimator).fit(X, np.exp(SCORE / 2)), NEW)


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
