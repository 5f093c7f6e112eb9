"""Generalised linear models."""

from __future__ import annotations

import math

import numpy as np

from gristmill.errors import UnsupportedError
from gristmill.ir.constants import Array
from gristmill.models.classic.base import ClassicModel, Classifier, Regressor
from gristmill.ops.mathematics import erf, sigmoid_of, softmax_of
from gristmill.package.proto import Message


def normal_cdf(x: Array) -> Array:
    """The distribution function of the standard normal distribution."""
    return (1 + erf(x / math.sqrt(2))) / 2


class _Scores:
    """``W·x + b``."""

    def __init__(self, model: ClassicModel, parameters: Message) -> None:
        rows = [model.vector(row.value) for row in parameters.weights]
        if not rows or len({row.size for row in rows}) != 1:
            raise model.malformed("weights are vectors of one length", actual=[row.size for row in rows][:8])
        self.weights = np.stack(rows)
        self.offset = model.vector(parameters.offset, len(rows), "offsets")

    def __call__(self, x: Array) -> Array:
        scores: Array = x @ self.weights.T + self.offset
        return scores


class GLMRegressor(Regressor):
    """A linear function, and the inverse of a link function."""

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        self.scores = _Scores(self, model.glmRegressor)
        self.transform = model.glmRegressor.postEvaluationTransform
        if self.transform not in range(3):
            raise self.malformed("an unknown transform", actual=self.transform)

    def matrix(self, columns: dict[str, Array], width: int | None = None) -> Array:
        return super().matrix(columns, self.scores.weights.shape[1])

    def values(self, x: Array) -> Array:
        scores = self.scores(x)
        return scores if self.transform == 0 else sigmoid_of(scores) if self.transform == 1 else normal_cdf(scores)


class GLMClassifier(Classifier):
    """Probabilities of linear functions.

    With one function for two labels it is that of the second label. Otherwise either the first label is the reference,
    whose score is zero, or each label has a function of its own, and probabilities are divided by their sum.
    """

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        parameters = model.glmClassifier
        self.scores = _Scores(self, parameters)
        self.probit = parameters.postEvaluationTransform == 1
        self.one_vs_rest = parameters.classEncoding == 1
        functions, labels = len(self.scores.weights), len(self.labels)
        if parameters.postEvaluationTransform not in (0, 1) or parameters.classEncoding not in (0, 1):
            raise self.malformed("an unknown transform or encoding")
        self.binary = labels == 2 and functions == 1
        if not self.binary and functions != (labels if self.one_vs_rest else labels - 1):
            raise self.malformed(
                f"another number of functions for {labels} labels",
                expected=labels if self.one_vs_rest else labels - 1,
                actual=functions,
            )
        if self.probit and not self.binary:
            raise UnsupportedError("Core ML has probit for two labels only", expected=2, actual=labels)

    def matrix(self, columns: dict[str, Array], width: int | None = None) -> Array:
        return super().matrix(columns, self.scores.weights.shape[1])

    def probabilities(self, x: Array) -> tuple[Array, Array]:
        scores = self.scores(x)
        if self.binary:
            return self.of_two((normal_cdf if self.probit else sigmoid_of)(scores[:, 0]))
        if self.one_vs_rest:
            apart = sigmoid_of(scores)
            total = apart.sum(axis=1, keepdims=True)
            result = np.divide(apart, total, out=np.full_like(apart, 1 / apart.shape[1]), where=total > 0)
        else:
            result = softmax_of(np.concatenate([np.zeros((len(x), 1)), scores], axis=1))
        return result, result.argmax(axis=1)
