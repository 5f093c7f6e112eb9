"""XGBoost's models, from the JSON that ``Booster.save_raw("json")`` gives.

The format is described in XGBoost's documentation ("Introduction to Model IO") and its schema ``doc/model.schema``.
What it leaves open is in XGBoost's sources: how features are compared in ``src/predictor/predict_fn.h`` and
``src/common/categorical.h``, what becomes of ``base_score`` and of sums in ``src/objective``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gristmill.errors import FormatError, UnsupportedError
from gristmill.frontends.boosting.boosted import Boosted, Link, bounded, grow, leaf_of, link_of
from gristmill.frontends.classic import Branch, Comparison, Leaf, Node, float32_below, member_of
from gristmill.frontends.common import reading
from gristmill.ir.constants import Array

_OBJECTIVES: Mapping[str, Link] = {
    "binary:hinge": Link.STEP,
    "binary:logistic": Link.LOGISTIC,
    "binary:logitraw": Link.IDENTITY,
    "count:poisson": Link.EXPONENTIAL,
    "multi:softmax": Link.SOFTMAX,
    "multi:softprob": Link.SOFTMAX,
    "rank:map": Link.IDENTITY,
    "rank:ndcg": Link.IDENTITY,
    "rank:pairwise": Link.IDENTITY,
    "reg:absoluteerror": Link.IDENTITY,
    "reg:expectileerror": Link.IDENTITY,
    "reg:gamma": Link.EXPONENTIAL,
    "reg:linear": Link.IDENTITY,  # the name of squared errors before version 1.0
    "reg:logistic": Link.LOGISTIC,
    "reg:pseudohubererror": Link.IDENTITY,
    "reg:quantileerror": Link.IDENTITY,
    "reg:squarederror": Link.IDENTITY,
    "reg:squaredlogerror": Link.IDENTITY,
    "reg:tweedie": Link.EXPONENTIAL,
    "survival:aft": Link.EXPONENTIAL,
    "survival:cox": Link.EXPONENTIAL,
}
_LOGIT = ("binary:logistic", "reg:logistic")
"""Objectives whose ``base_score`` is a probability."""

_TIE = 1.5 * 2.0**-24
"""The largest sum whose logistic function is one half in float32, as XGBoost computes it."""


def read_xgboost(document: Any, *, estimator: bool | None = None, rounds_features: bool = True) -> Boosted:
    """Reads a model.

    Args:
        document: The decoded JSON.
        estimator: Whether an estimator predicts with it: it stops at the best round, where a ``Booster`` uses all. By
            default, whether an estimator wrote the file.
        rounds_features: Whether features count as rounded to float32, as XGBoost rounds them. Otherwise they are
            compared as they are.

    Raises:
        FormatError: It is no such model.
        UnsupportedError: It has no trees, or an unknown objective.
    """
    with reading("model of XGBoost"):
        if isinstance(document, list):
            raise FormatError(
                "this is a dump of trees, which lacks the objective and the base score",
                hint="save the model with save_model('model.json')",
            )
        learner = document["learner"]
        objective = learner["objective"]["name"]
        link = link_of(objective, _OBJECTIVES)
        model, drops = _trees_of(learner["gradient_booster"])
        parameters = learner["learner_model_param"]
        classes = bounded(parameters.get("num_class", 0), "classes")
        width = max(1, classes, bounded(parameters.get("num_target", 1), "targets"))
        features = bounded(parameters["num_feature"], "features")
        reader = _TreeReader(width, features, rounds_features)
        info, rounds = model["tree_info"], _best_rounds(learner.get("attributes") or {}, estimator)
        trees = [
            reader.read(model["trees"][number], int(info[number]), 1.0 if drops is None else drops[number])
            for number in range(_count(model, width, rounds))
        ]
        if objective == "binary:logistic" and width == 1:
            classes = 2
        return Boosted(
            source="xgboost==" + ".".join(map(str, document["version"])),
            objective=objective,
            link=link,
            trees=trees,
            base=_base(parameters["base_score"], objective, link, width),
            features=features,
            names=[str(name) for name in learner.get("feature_names") or ()] or None,
            classes=classes or None,
            tie=_TIE,
        )


def _trees_of(booster: Any) -> tuple[Any, Sequence[float] | None]:
    """The trees' model, and the factors of trees where dropout was used."""
    match booster["name"]:
        case "gbtree":
            return booster["model"], None
        case "dart":
            return booster["gbtree"]["model"], booster["weight_drop"]
        case other:
            raise UnsupportedError(
                "this booster has no trees",
                expected="gbtree or dart",
                actual=other,
                hint="a linear booster is a linear model: fit one with scikit-learn and convert that",
            )


def _best_rounds(attributes: Any, estimator: bool | None) -> int | None:
    """How many rounds count, if not all do."""
    if estimator is None:
        estimator = "scikit_learn" in attributes
    return int(attributes["best_iteration"]) + 1 if estimator and "best_iteration" in attributes else None


def _count(model: Any, width: int, rounds: int | None) -> int:
    """How many trees the first rounds have."""
    total = len(model["trees"])
    if rounds is None:
        return total
    ends = model.get("iteration_indptr")
    if ends is None:  # before version 2
        each = width * int(model["gbtree_model_param"].get("num_parallel_tree", 1) or 1)
        ends = range(0, total + 1, each)
    return int(ends[min(rounds, len(ends) - 1)])


def _base(text: str, objective: str, link: Link, width: int) -> list[float]:
    """What sums begin with: ``base_score``, one number or one for each dimension, as the objective takes it."""
    score = np.atleast_1d(np.asarray(json.loads(text), np.float32))
    if score.shape not in ((1,), (width,)):
        raise FormatError("another number of base scores", expected=f"1 or {width}", actual=score.size)
    with np.errstate(all="ignore"):
        if objective in _LOGIT:
            score = -np.log(1 / score - 1)
        elif link is Link.EXPONENTIAL:
            score = np.log(score)
    if not np.isfinite(score).all():
        raise FormatError("the base score is out of the objective's range", actual=text)
    return [float(value) for value in np.broadcast_to(score, width)]


class _TreeReader:
    """Reads trees of one model.

    Args:
        width: Dimensions of the prediction.
        features: How many features there are.
        rounds_features: As for ``read_xgboost``.
    """

    def __init__(self, width: int, features: int, rounds_features: bool) -> None:
        self.width, self.features, self.rounds_features = width, features, rounds_features

    def read(self, tree: Any, dimension: int, factor: float) -> Node:
        """A tree's root.

        Args:
            tree: The decoded JSON.
            dimension: What its leaves add to, where they hold one number each.
            factor: Of its leaves.
        """
        left, right = tree["left_children"], tree["right_children"]
        feature, default_left = tree["split_indices"], tree["default_left"]
        conditions = np.asarray(tree["split_conditions"], np.float32)
        thresholds = float32_below(conditions) if self.rounds_features else conditions.astype(np.float64)
        comparison = Comparison.LESS_EQUAL if self.rounds_features else Comparison.LESS
        leaves = self._leaves(tree, conditions, dimension, factor)
        chosen = _categories(tree)
        kinds = tree.get("split_type") or [0] * len(left)

        def children(number: int) -> tuple[int, int] | None:
            below = int(left[number]), int(right[number])
            if below[0] == -1:  # the right one of a leaf may hold where its values are
                return None
            if not (min(below) >= 0 and max(below) < len(left) and 0 <= feature[number] < self.features):
                raise FormatError("a node points nowhere", actual=f"node {number}")
            return below

        def make(number: int, less: Node | None, more: Node | None) -> Node:
            if less is None or more is None:
                return leaves(number)
            missing_left = bool(default_left[number])
            if kinds[number]:  # what is in the set goes right
                return member_of(feature[number], chosen[number], more, less, not missing_left)
            return Branch(feature[number], float(thresholds[number]), less, more, missing_left, comparison)

        return grow(0, children, make)

    def _leaves(self, tree: Any, conditions: Array, dimension: int, factor: float) -> Callable[[int], Leaf]:
        """What makes leaves, by the number of their node."""
        size = int(tree["tree_param"].get("size_leaf_vector", 1) or 1)
        scale = np.float32(factor)
        if size <= 1:
            if not 0 <= dimension < self.width:
                raise FormatError("a tree adds to a dimension that is not there", actual=dimension)
            return lambda number: Leaf({dimension: float(conditions[number] * scale)})
        packed = tree.get("leaf_weights")  # since version 3.2; a leaf's right child is the place of its values
        values = np.asarray(packed or tree["base_weights"], np.float32).reshape(-1, size) * scale
        places = tree["right_children"] if packed else range(len(values))
        return lambda number: leaf_of(values[places[number]], self.width)


def _categories(tree: Any) -> dict[int, Sequence[int]]:
    """The chosen categories of nodes that have some."""
    starts, sizes = tree.get("categories_segments") or [], tree.get("categories_sizes") or []
    flat = tree.get("categories") or []
    nodes = tree.get("categories_nodes") or []
    if any(not 0 <= start <= start + size <= len(flat) for start, size in zip(starts, sizes, strict=True)):
        raise FormatError("a set of categories is out of range")
    return {
        int(node): [int(category) for category in flat[start : start + size]]
        for node, start, size in zip(nodes, starts, sizes, strict=True)
    }
