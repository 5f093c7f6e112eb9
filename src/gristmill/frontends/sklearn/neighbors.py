"""Classification by the nearest samples."""

from __future__ import annotations

from typing import Any

from gristmill.frontends.classic import NearestNeighbors
from gristmill.frontends.sklearn.common import dense, labels, learnt, require, unsupported
from gristmill.frontends.sklearn.registry import predicts


@predicts(
    "KNeighborsClassifier",
    becomes="kNearestNeighborsClassifier",
    exactness="classes and probabilities equal but for samples that float32 rounds, for equally near ones, and for "
    "equal votes: they go to the label with the nearest sample, in scikit-learn to the first label",
)
def nearest_neighbors(estimator: Any) -> NearestNeighbors:
    classes = labels(estimator)
    require(estimator, "weights", "uniform", hint="Core ML weighs by squared distances, scikit-learn by distances")
    metric = learnt(estimator, "effective_metric_")
    if metric not in ("euclidean", "sqeuclidean"):
        raise unsupported(
            estimator, "metric", metric, expected="Euclidean distance", hint="the format has no other distance"
        )
    tree = estimator._fit_method != "brute"
    return NearestNeighbors(
        dense(estimator._fit_X),
        [classes[place] for place in estimator._y],
        int(estimator.n_neighbors),
        default=classes[0],
        leaf_size=int(estimator.leaf_size) if tree else None,
    )
