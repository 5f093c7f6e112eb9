"""Bayesian probit regression."""

from __future__ import annotations

import math

import numpy as np

from gristmill.errors import InputError
from gristmill.ir.constants import Array
from gristmill.models.classic.base import ClassicModel
from gristmill.models.classic.columns import Columns
from gristmill.models.classic.linear import normal_cdf
from gristmill.package.proto import Message


class BayesianProbitRegressor(ClassicModel):
    """The probability of an event under Gaussian beliefs about the weights of its features' values.

    The sum of the weights is Gaussian with mean μ and variance σ². The probability that it exceeds standard normal
    noise is ``Φ(μ / √(1 + σ²))``: the format holds no scale β of the noise, so it is 1. Optimism o shifts μ by o·σ. A
    sample is ``Φ(s)`` for an s drawn around μ with standard deviation ``samplingScale``·σ, no further from μ than
    ``samplingTruncation``·σ. Values of a feature without a weight add nothing.
    """

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        self.parameters = parameters = model.bayesianProbitRegressor
        self.expect(parameters.regressionInputFeatureName, "multiArrayType")
        for name in (
            parameters.optimismInputFeatureName,
            parameters.samplingScaleInputFeatureName,
            parameters.samplingTruncationInputFeatureName,
        ):
            self.expect(name, "doubleType")
        self.weights: dict[tuple[int, int], tuple[float, float]] = {}
        for feature in parameters.features:
            for weight in feature.weights:
                self.weights[feature.featureId, weight.featureValue] = self._belief(weight.featureWeight)
        self.bias = self._belief(parameters.bias) if parameters.HasField("bias") else (0.0, 0.0)
        self.random = np.random.default_rng()

    def _belief(self, gaussian: Message) -> tuple[float, float]:
        """Mean and variance."""
        mean, precision = gaussian.mean, gaussian.precision
        if not (precision > 0 and math.isfinite(1 / precision) and math.isfinite(mean)):
            raise self.malformed("a belief has a mean and a precision above zero", actual=f"{mean}, {precision}")
        return mean, 1 / precision

    def compute(self, columns: Columns) -> Columns:
        p = self.parameters
        x = self.column(columns, p.regressionInputFeatureName)
        found = np.array([self._sum(row) for row in x], np.float64).reshape(-1, 2)
        mean, variance = found.T
        deviation, noise = np.sqrt(variance), np.sqrt(1 + variance)
        optimism = columns.get(p.optimismInputFeatureName, np.zeros(len(x)))
        return {
            self._predicted: normal_cdf(mean / noise),
            p.meanOutputFeatureName: mean,
            p.varianceOutputFeatureName: variance,
            p.pessimisticProbabilityOutputFeatureName: normal_cdf((mean + optimism * deviation) / noise),
            p.sampledProbabilityOutputFeatureName: normal_cdf(self._sample(columns, mean, deviation)),
        }

    def _sum(self, x: Array) -> tuple[float, float]:
        """Mean and variance of the sum of weights, for values of features 0, 1, … or for pairs of feature and value."""
        if x.ndim == 1:
            pairs = np.stack([np.arange(x.size), x], axis=1)
        elif x.ndim == 2 and x.shape[1] == 2:
            pairs = x
        else:
            raise InputError("features are a vector of values, or pairs of feature and value", actual=list(x.shape))
        means, variances = zip(
            self.bias, *(self.weights.get((int(i), int(v)), (0.0, 0.0)) for i, v in pairs), strict=True
        )
        return sum(means), sum(variances)

    def _sample(self, columns: Columns, mean: Array, deviation: Array) -> Array:
        """Draws that lie too far away are drawn again."""
        ones = np.ones_like(mean)
        scale = columns.get(self.parameters.samplingScaleInputFeatureName, ones)
        reach = columns.get(self.parameters.samplingTruncationInputFeatureName, np.inf * ones)
        if (scale < 0).any() or not (reach > 0).all():
            raise InputError("sampling needs a scale of 0 or more and a truncation above 0")
        offset = self.random.standard_normal(len(mean)) * scale
        for _ in range(1000):
            far = np.abs(offset) > reach
            if not far.any():
                break
            offset[far] = (self.random.standard_normal(len(mean)) * scale)[far]
        return mean + np.clip(offset, -reach, reach) * deviation
