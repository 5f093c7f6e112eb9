"""Classification by the nearest samples."""

from __future__ import annotations

import numpy as np

from gristmill.errors import InputError
from gristmill.ir.constants import Array
from gristmill.models.classic.base import ClassicModel
from gristmill.models.classic.columns import Columns, objects
from gristmill.package.proto import Message

_BLOCK = 1 << 20  # elements of differences held at a time


class KNearestNeighborsClassifier(ClassicModel):
    """The label that most of the nearest samples have, each counted once or by the inverse of its distance.

    Distances are squared Euclidean, also as weights: the format knows no other. Samples at distance zero then outvote
    all others. Of equally near samples the first ones count; of labels with equal votes the one with the nearest sample
    wins. A k-d tree is another way to the same samples, so all are compared.
    """

    def __init__(self, model: Message) -> None:
        super().__init__(model)
        parameters = model.kNearestNeighborsClassifier
        index = parameters.nearestNeighborsIndex
        self.only(self.inputs, "input")
        kind = parameters.WhichOneof("ClassLabels")
        labels = list(getattr(parameters, kind).vector) if kind else []
        rows = [self.vector(row.vector, index.numberOfDimensions, "dimensions") for row in index.floatSamples]
        if len(rows) != len(labels):
            raise self.malformed("one label for each sample", expected=len(rows), actual=len(labels))
        if index.WhichOneof("DistanceFunction") is None or parameters.WhichOneof("WeightingScheme") is None:
            raise self.malformed("the distance function or the weighting scheme is missing")
        self.samples = np.stack(rows) if rows else np.empty((0, max(0, index.numberOfDimensions)))
        self.neighbors = int(parameters.numberOfNeighbors.defaultValue)
        if self.neighbors < 1:
            raise self.malformed("another number of neighbours", expected="1 or more", actual=self.neighbors)
        self.inverse = parameters.WhichOneof("WeightingScheme") == "inverseDistanceWeighting"
        default = parameters.WhichOneof("DefaultClassLabel")
        self.default = getattr(parameters, default) if default else None
        self.labels = list(dict.fromkeys(labels))
        places = {label: place for place, label in enumerate(self.labels)}
        self.classes = np.array([places[label] for label in labels], np.intp)
        if not labels and self.default is None:
            raise self.malformed("a classifier without samples has a default label")

    def takes_gaps(self, name: str) -> bool:
        return True

    def compute(self, columns: Columns) -> Columns:
        x = self.matrix(columns)
        if x.shape[1] != self.samples.shape[1]:
            raise InputError("the input has another size", expected=self.samples.shape[1], actual=x.shape[1])
        if not len(self.samples):
            labels, weights = [self.default] * len(x), [{self.default: 1.0}] * len(x)
        else:
            votes, places = self._votes(x)
            labels = [self.labels[place] for place in places]
            shares = votes / votes.sum(axis=1, keepdims=True)
            weights = [dict(zip(self.labels, row, strict=True)) for row in shares.tolist()]
        column = objects(labels) if isinstance(labels[0], str) else np.asarray(labels, np.int64)
        return {self._predicted: column, self._probabilities: objects(weights)}

    def _votes(self, x: Array) -> tuple[Array, Array]:
        """The weight of each label, ``[rows, labels]``, and the places of the labels that win."""
        count = min(self.neighbors, len(self.samples))
        votes = np.zeros((len(x), len(self.labels)))
        ranks = np.full(votes.shape, count)  # of each label's nearest sample
        step = max(1, _BLOCK // max(1, self.samples.size))
        for begin in range(0, len(x), step):
            block = x[begin : begin + step]
            difference = block[:, None] - self.samples
            distances = np.einsum("rsd,rsd->rs", difference, difference)
            nearest = np.argsort(distances, axis=1, kind="stable")[:, :count]
            near = np.take_along_axis(distances, nearest, axis=1)
            weights = self._weights(near)
            rows = begin + np.arange(len(block))
            for rank in reversed(range(count)):
                at = rows, self.classes[nearest[:, rank]]
                votes[at] += weights[:, rank]
                ranks[at] = rank
        best = votes == votes.max(axis=1, keepdims=True)
        return votes, np.where(best, ranks, count).argmin(axis=1)

    def _weights(self, distances: Array) -> Array:
        if not self.inverse:
            return np.ones_like(distances)
        exact = distances == 0
        return np.where(exact.any(axis=1, keepdims=True), exact, 1 / distances)
