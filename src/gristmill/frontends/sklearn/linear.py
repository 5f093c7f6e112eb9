"""Linear models."""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.frontends.classic import LinearModel
from gristmill.frontends.sklearn.common import dense, labels, learnt, unsupported
from gristmill.frontends.sklearn.registry import predicts
from gristmill.ir.constants import Array

ROUNDING = "to rounding"


@predicts(
    "LinearRegression",
    "Ridge",
    "RidgeCV",
    "Lasso",
    "LassoCV",
    "LassoLars",
    "LassoLarsCV",
    "LassoLarsIC",
    "Lars",
    "LarsCV",
    "ElasticNet",
    "ElasticNetCV",
    "OrthogonalMatchingPursuit",
    "OrthogonalMatchingPursuitCV",
    "BayesianRidge",
    "ARDRegression",
    "HuberRegressor",
    "QuantileRegressor",
    "TheilSenRegressor",
    "SGDRegressor",
    "LinearSVR",
    becomes="glmRegressor",
    exactness=ROUNDING,
)
def linear_regressor(estimator: Any) -> LinearModel:
    weights, offset = _functions(estimator)
    if len(weights) != 1:
        raise unsupported(
            estimator, "coef_.shape", list(weights.shape), expected="one target", hint="fit a regressor for each target"
        )
    return LinearModel(weights, offset)


def _functions(estimator: Any) -> tuple[Array, Array]:
    """Weights ``[functions, features]`` and offsets ``[functions]``."""
    weights = np.atleast_2d(dense(learnt(estimator, "coef_")))
    offset = np.zeros(len(weights)) + np.asarray(estimator.intercept_, np.float64)
    return weights, offset


@predicts(
    "LogisticRegression",
    "LogisticRegressionCV",
    "LinearDiscriminantAnalysis",
    becomes="glmClassifier",
    exactness=f"classes equal, probabilities {ROUNDING}",
)
def softmax_classifier(estimator: Any) -> LinearModel:
    classes = labels(estimator)
    weights, offset = _functions(estimator)
    chosen = getattr(estimator, "multi_class", "auto")  # before scikit-learn 1.8
    if len(weights) == 1:
        scale = 2 if chosen == "multinomial" else 1  # softmax of a score and its negative
        return LinearModel(scale * weights, scale * offset, classes)
    if chosen == "ovr" or estimator.solver == "liblinear":
        return LinearModel(weights, offset, classes, one_vs_rest=True)
    return LinearModel(weights[1:] - weights[0], offset[1:] - offset[0], classes)


@predicts(
    "LinearSVC",
    "SGDClassifier",
    "Perceptron",
    "RidgeClassifier",
    "RidgeClassifierCV",
    becomes="glmClassifier",
    exactness="classes equal; probabilities are logistic functions of the scores, which are those of `SGDClassifier` "
    "with `log_loss`; others have none in scikit-learn. Scores beyond ±36 may tie there",
)
def one_vs_rest_classifier(estimator: Any) -> LinearModel:
    classes = labels(estimator)
    binarizer = getattr(estimator, "_label_binarizer", None)
    if binarizer is not None and binarizer.y_type_.startswith("multilabel"):
        raise unsupported(
            estimator, "y", binarizer.y_type_, expected="one label", hint="fit a classifier for each label"
        )
    weights, offset = _functions(estimator)
    return LinearModel(weights, offset, classes, one_vs_rest=len(weights) > 1)
