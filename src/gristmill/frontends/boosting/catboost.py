"""CatBoost's models, from the JSON that ``save_model(..., format="json")`` writes.

The format is described in CatBoost's documentation ("Save a model in JSON"); how features are compared is in its
sources, ``catboost/libs/model/cpu/quantization.h``, and how predictions become of sums in
``catboost/private/libs/algo/apply.cpp`` and ``eval_result``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from gristmill.errors import FormatError, UnsupportedError
from gristmill.frontends.boosting.boosted import Boosted, Link, as_labels, bounded, grow, leaf_of
from gristmill.frontends.classic import Branch, Label, Leaf, Node, float32_at_most
from gristmill.frontends.common import reading
from gristmill.ir.constants import Array

_LINKS: Mapping[str, Link] = {
    "CrossEntropy": Link.LOGISTIC,
    "Focal": Link.LOGISTIC,
    "Logloss": Link.LOGISTIC,
    "MultiClass": Link.SOFTMAX,
    "MultiClassOneVsAll": Link.LOGISTIC,
    "MultiCrossEntropy": Link.LOGISTIC,
    "MultiLogloss": Link.LOGISTIC,
    "Poisson": Link.EXPONENTIAL,
    "RMSEWithUncertainty": Link.VARIANCE,
    "Tweedie": Link.EXPONENTIAL,
}
"""Of all other losses, the prediction is the sum itself."""

_DEEPEST = 16  # the deepest trees that CatBoost grows
_ALWAYS, _NEVER = -np.inf, np.inf  # a border that is always, or never, exceeded


def read_catboost(document: Any) -> Boosted:
    """Reads a model.

    Args:
        document: The decoded JSON.

    Raises:
        FormatError: It is no such model.
        UnsupportedError: It asks for categories or texts, which only CatBoost encodes; or its labels' border is not one
            half.
    """
    with reading("model of CatBoost"):
        info = document.get("model_info") or {}
        objective = ((info.get("params") or {}).get("loss_function") or {}).get("type", "unknown")
        scale, bias = document["scale_and_bias"]
        bias = np.asarray(bias, np.float64).reshape(-1)
        features = _Features(document["features_info"])
        reader = _TreeReader(features, bounded(len(bias), "dimensions", 1), float(scale))
        if "oblivious_trees" in document:
            trees = [reader.read_oblivious(tree) for tree in document["oblivious_trees"]]
        else:
            trees = [reader.read(tree) for tree in document["trees"]]
        classes = {"CrossEntropy": 2, "Focal": 2, "Logloss": 2}.get(objective)
        if objective in ("MultiClass", "MultiClassOneVsAll"):
            classes = len(bias)
        if classes == 2 and float(info.get("binclass_probability_threshold", 0.5)) != 0.5:
            raise UnsupportedError(
                "the model decides at another probability than one half, where Core ML does",
                actual=info["binclass_probability_threshold"],
                hint="set_probability_threshold(0.5), and compare the probabilities that the converted model gives",
            )
        return Boosted(
            source=_source(info),
            objective=objective,
            link=_LINKS.get(objective, Link.IDENTITY),
            trees=trees,
            base=bias.tolist(),
            features=features.count,
            names=features.names,
            prefix="feature_",
            classes=classes,
            labels=_labels(info.get("class_params")) if classes else None,
        )


def _source(info: Any) -> str:
    """CatBoost with its version, which stands in a text about the commit that it was built from."""
    found = re.search(r"tags/v([0-9.]+)", str(info.get("catboost_version_info")))
    return f"catboost=={found[1]}" if found else "catboost"


def _labels(classes: Any) -> list[Label] | None:
    """The labels that dimensions stand for; two labels share one dimension."""
    if not classes:
        return None
    names, places = classes.get("class_names"), [int(place) for place in classes["class_to_label"]]
    return as_labels([names[place] for place in places] if names else places)


def _place(feature: Any) -> int:
    return bounded(feature["flat_feature_index"], "features")


class _Features:
    """The features of a model.

    Args:
        info: What the file says of them.
    """

    def __init__(self, info: Any) -> None:
        kinds = ("float_features", "categorical_features", "text_features", "embedding_features")
        everything = {_place(one): one for kind in kinds for one in info.get(kind) or ()}
        self.count = max(everything, default=-1) + 1
        names = [str(everything.get(place, {}).get("feature_id") or "") for place in range(self.count)]
        self.names = [name or str(place) for place, name in enumerate(names)] if any(names) else None
        numbers = {int(one["feature_index"]): one for one in info["float_features"]}
        self.places = {index: _place(one) for index, one in numbers.items()}
        self.missing_more = {
            index: one.get("nan_value_treatment", "AsIs") == "AsTrue" for index, one in numbers.items()
        }


@dataclass(frozen=True)
class _Split:
    """Whether ``float32(x[feature]) > border``, also where it is missing."""

    feature: int
    border: float
    missing_more: bool

    def branch(self, more: Node, less: Node) -> Node:
        return Branch(self.feature, _threshold(self.border), less, more, not self.missing_more)


@lru_cache(maxsize=1 << 16)  # trees ask for the same borders again and again
def _threshold(border: float) -> float:
    """The largest float64 number that does not exceed a border once it is rounded."""
    return float(float32_at_most(border))


class _TreeReader:
    """Reads trees of one model.

    Args:
        features: The model's.
        width: Dimensions of the prediction.
        scale: Of leaves.
    """

    def __init__(self, features: _Features, width: int, scale: float) -> None:
        self.features, self.width, self.scale = features, width, scale

    def read(self, root: Any) -> Node:
        """A tree whose nodes have splits of their own; they get numbers as they are met."""
        nodes = [root]

        def children(number: int) -> tuple[int, int] | None:
            node = nodes[number]
            if "split" not in node:
                return None
            nodes.extend((node["right"], node["left"]))
            return len(nodes) - 2, len(nodes) - 1

        def make(number: int, more: Node | None, less: Node | None) -> Node:
            if more is None or less is None:
                return self._leaf(np.atleast_1d(np.asarray(nodes[number]["value"], np.float64)))
            return self._split(nodes[number]["split"]).branch(more, less)

        return grow(0, children, make)

    def read_oblivious(self, tree: Any) -> Node:
        """A tree that has one split on each level: which of them hold are the bits of the leaf's number."""
        splits = [self._split(split) for split in tree.get("splits") or ()]
        values = np.asarray(tree["leaf_values"], np.float64)
        if len(splits) > _DEEPEST or values.shape != (self.width << len(splits),):
            raise FormatError(
                "a tree has another number of leaves", expected=self.width << len(splits), actual=values.size
            )
        return self._expand(splits, values.reshape(-1, self.width), 0, 0, {})

    def _expand(
        self, splits: Sequence[_Split], values: Array, level: int, leaf: int, known: Mapping[int, tuple[float, float]]
    ) -> Node:
        """The nodes from a level on.

        Args:
            splits: The tree's.
            values: Its leaves'.
            level: The level.
            leaf: The bits so far.
            known: Of each feature, the largest border that it exceeds and the least that it does not. A level asks
                nothing where that tells the answer; what is missing stands on one side of all borders.
        """
        if level == len(splits):
            return self._leaf(values[leaf])
        split = splits[level]
        exceeded, bound = known.get(split.feature, (_ALWAYS, _NEVER))
        if split.border <= exceeded:
            return self._expand(splits, values, level + 1, leaf | 1 << level, known)
        if split.border >= bound:
            return self._expand(splits, values, level + 1, leaf, known)
        above, below = (
            {**known, split.feature: (split.border, bound)},
            {**known, split.feature: (exceeded, split.border)},
        )
        more = self._expand(splits, values, level + 1, leaf | 1 << level, above)
        return split.branch(more, self._expand(splits, values, level + 1, leaf, below))

    def _leaf(self, values: Array) -> Leaf:
        return leaf_of(values * self.scale, self.width)

    def _split(self, split: Any) -> _Split:
        if split["split_type"] != "FloatFeature":
            raise UnsupportedError(
                "the model asks for a feature that only CatBoost can compute",
                expected="FloatFeature",
                actual=split["split_type"],
                hint="give categories to CatBoost as numbers, for example by scikit-learn's OneHotEncoder or "
                "OrdinalEncoder, and convert both",
            )
        index = int(split["float_feature_index"])
        border = float(np.float32(split["border"]))
        return _Split(self.features.places[index], border, self.features.missing_more[index])
