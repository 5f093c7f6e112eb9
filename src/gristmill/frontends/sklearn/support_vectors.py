"""Support vector machines: what scikit-learn has of LIBSVM."""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.frontends.classic import Kernel, SupportVectorMachine
from gristmill.frontends.sklearn.common import dense, labels, learnt, require, unsupported
from gristmill.frontends.sklearn.registry import predicts

_KERNELS = ("linear", "rbf", "poly", "sigmoid")


def _kernel(estimator: Any) -> Kernel:
    require(estimator, "kernel", *_KERNELS, hint="the format knows no other kernels")
    gamma = float(learnt(estimator, "_gamma"))
    return Kernel(estimator.kernel, gamma, float(estimator.coef0), int(estimator.degree))


def _rho(estimator: Any) -> Any:
    return -np.asarray(estimator._intercept_, np.float64)


@predicts("SVR", "NuSVR", becomes="supportVectorRegressor", exactness="to rounding")
def support_vector_regressor(estimator: Any) -> SupportVectorMachine:
    vectors = dense(learnt(estimator, "support_vectors_"))
    return SupportVectorMachine(_kernel(estimator), vectors, dense(estimator._dual_coef_), _rho(estimator))


@predicts(
    "SVC",
    "NuSVC",
    becomes="supportVectorClassifier",
    exactness="classes equal, no probabilities; with `probability=True` probabilities to rounding, and the class is "
    "the likeliest one, where scikit-learn's `predict` counts votes",
)
def support_vector_classifier(estimator: Any) -> SupportVectorMachine:
    classes = labels(estimator)
    if estimator.break_ties and len(classes) > 2:
        raise unsupported(
            estimator, "break_ties", True, expected="break_ties=False", hint="Core ML counts votes; so does that"
        )
    return SupportVectorMachine(
        _kernel(estimator),
        dense(learnt(estimator, "support_vectors_")),
        dense(estimator._dual_coef_),
        _rho(estimator),
        classes,
        counts=list(estimator.n_support_),
        prob_a=list(estimator._probA),
        prob_b=list(estimator._probB),
    )
