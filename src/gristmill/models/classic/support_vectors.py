"""Support vector machines, as LIBSVM defines them.

Formulas and the order of pairs follow Chang and Lin, "LIBSVM: a library for support vector machines" (2011), sections
2, 4.1 and 8; pairwise coupling is the second method of Wu, Lin and Weng, "Probability estimates for multi-class
classification by pairwise coupling" (2004), with LIBSVM's limits, as results depend on where the iteration ends.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from gristmill.errors import InputError
from gristmill.ir.constants import Array
from gristmill.models.classic.base import LARGEST, ClassicModel, Classifier, Regressor
from gristmill.package.proto import Message

_BLOCK = 1 << 20  # elements of differences that the Gaussian kernel holds at a time
_LEAST = 1e-7  # of a pair's probability


class _Kernel:
    """``K(x, s)`` for rows and support vectors."""

    def __init__(self, model: ClassicModel, parameters: Message) -> None:
        self.kind = parameters.kernel.WhichOneof("kernel")
        if self.kind is None:
            raise model.malformed("the machine has no kernel")
        self.parameters = getattr(parameters.kernel, self.kind)
        self.vectors = _vectors(model, parameters)

    def __call__(self, x: Array) -> Array:
        vectors = self.vectors
        if x.shape[1] < vectors.shape[1]:
            raise InputError("the inputs have too few features", expected=vectors.shape[1], actual=x.shape[1])
        if x.shape[1] > vectors.shape[1]:  # sparse vectors end with their last number that is not zero
            vectors = np.pad(vectors, ((0, 0), (0, x.shape[1] - vectors.shape[1])))
        kernel, products = self.parameters, x @ vectors.T
        result: Array
        match self.kind:
            case "rbfKernel":
                result = np.exp(-kernel.gamma * _squared_distances(x, vectors))
            case "polyKernel":
                result = (kernel.gamma * products + kernel.c) ** kernel.degree
            case "sigmoidKernel":
                result = np.tanh(kernel.gamma * products + kernel.c)
            case _:
                result = products
        return result


def _squared_distances(x: Array, vectors: Array) -> Array:
    """By differences: a difference of squares would cancel."""
    result = np.empty((len(x), len(vectors)))
    step = max(1, _BLOCK // max(1, vectors.size))
    for begin in range(0, len(x), step):
        difference = x[begin : begin + step, None] - vectors
        result[begin : begin + step] = np.einsum("rvf,rvf->rv", difference, difference)
    return result


def _vectors(model: ClassicModel, parameters: Message) -> Array:
    kind = parameters.WhichOneof("supportVectors")
    if kind == "denseSupportVectors":
        rows = [model.vector(row.values) for row in parameters.denseSupportVectors.vectors]
        if len({row.size for row in rows}) > 1:
            raise model.malformed("support vectors have different lengths")
        return np.stack(rows) if rows else np.empty((0, 0))
    sparse = parameters.sparseSupportVectors.vectors
    nodes = [(place, node.index, node.value) for place, row in enumerate(sparse) for node in row.nodes]
    width = max((index for _, index, _ in nodes), default=0)
    if any(index < 1 for _, index, _ in nodes) or width * len(sparse) > LARGEST:
        raise model.malformed("an index of a sparse support vector is out of range", expected="1 or more")
    result = np.zeros((len(sparse), width))
    for place, index, value in nodes:
        result[place, index - 1] = value
    return result


class SupportVectorRegressor(Regressor):
    """``Σ αᵢ K(x, sᵢ) − ρ``."""

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        parameters = model.supportVectorRegressor
        self.kernel = _Kernel(self, parameters)
        self.alpha = self.vector(parameters.coefficients.alpha, len(self.kernel.vectors), "coefficients")
        self.rho = parameters.rho

    def values(self, x: Array) -> Array:
        result: Array = self.kernel(x) @ self.alpha - self.rho
        return result[:, None]


class SupportVectorClassifier(Classifier):
    """One machine for each pair of labels: by votes, or where it holds them, by the pairs' probabilities."""

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        parameters = model.supportVectorClassifier
        self.kernel = _Kernel(self, parameters)
        labels, vectors = len(self.labels), len(self.kernel.vectors)
        if labels < 2:
            raise self.malformed("a classifier has two labels or more", actual=labels)
        counts = list(parameters.numberOfSupportVectorsPerClass)
        if len(counts) != labels or min(counts) < 0 or sum(counts) != vectors:
            raise self.malformed(f"{vectors} support vectors of {labels} labels are counted otherwise", actual=counts)
        if len(parameters.coefficients) != labels - 1:
            raise self.malformed(
                "another number of coefficients", expected=labels - 1, actual=len(parameters.coefficients)
            )
        alpha = np.stack([self.vector(row.alpha, vectors, "coefficients") for row in parameters.coefficients])
        self.pairs = list(combinations(range(labels), 2))
        self.rho = self.vector(parameters.rho, len(self.pairs), "constants")
        self.sigmoids: tuple[Array, Array] | None = None
        if parameters.probA or parameters.probB:
            a, b = (self.vector(p, len(self.pairs), "pairs") for p in (parameters.probA, parameters.probB))
            self.sigmoids = a, b
        starts = np.concatenate([[0], np.cumsum(counts)])
        self.weights = np.zeros((len(self.pairs), vectors))
        for row, (i, j) in zip(self.weights, self.pairs, strict=True):
            row[starts[i] : starts[i + 1]] = alpha[j - 1, starts[i] : starts[i + 1]]
            row[starts[j] : starts[j + 1]] = alpha[i, starts[j] : starts[j + 1]]

    def probabilities(self, x: Array) -> tuple[Array, Array]:
        decisions = self.kernel(x) @ self.weights.T - self.rho
        if self.sigmoids is not None:
            a, b = self.sigmoids
            first = np.clip(1 / (1 + np.exp(a * decisions + b)), _LEAST, 1 - _LEAST)
            result = couple(first, self.pairs, len(self.labels))
            return result, result.argmax(axis=1)
        votes = np.zeros((len(x), len(self.labels)))
        for decision, (i, j) in zip(decisions.T, self.pairs, strict=True):
            votes[:, i] += decision > 0
            votes[:, j] += decision <= 0
        return votes / len(self.pairs), votes.argmax(axis=1)


def couple(first: Array, pairs: list[tuple[int, int]], labels: int) -> Array:
    """Probabilities of labels that agree best with those of pairs.

    Args:
        first: The probability of each pair's first label, ``[rows, pairs]``.
        pairs: The labels' places.
        labels: How many there are.
    """
    rows = len(first)
    r = np.zeros((rows, labels, labels))
    for number, (i, j) in enumerate(pairs):
        r[:, i, j], r[:, j, i] = first[:, number], 1 - first[:, number]
    q = -r.transpose(0, 2, 1) * r
    diagonal = np.arange(labels)
    q[:, diagonal, diagonal] = np.square(r).sum(axis=1)
    p = np.full((rows, labels), 1 / labels)
    live = np.arange(rows)
    for _ in range(max(100, labels)):
        qp = np.einsum("rij,rj->ri", q[live], p[live])
        pqp = np.einsum("ri,ri->r", p[live], qp)
        going = np.abs(qp - pqp[:, None]).max(axis=1, initial=0) >= 0.005 / labels
        live, qp, pqp = live[going], qp[going], pqp[going]
        if not live.size:
            break
        now, matrix = p[live], q[live]
        for t in range(labels):
            step = (pqp - qp[:, t]) / matrix[:, t, t]
            now[:, t] += step
            scale = (1 + step)[:, None]
            pqp = (pqp + step * (step * matrix[:, t, t] + 2 * qp[:, t])) / scale[:, 0] ** 2
            qp = (qp + step[:, None] * matrix[:, t]) / scale
            now /= scale
        p[live] = now
    return p
