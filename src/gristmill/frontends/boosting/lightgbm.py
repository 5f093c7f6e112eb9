"""LightGBM's models, from the text that ``Booster.model_to_string()`` gives.

The format has no description but LightGBM's sources: ``src/io/tree.cpp`` writes trees and
``src/boosting/gbdt_model_text.cpp`` what stands before them, ``include/LightGBM/tree.h`` says how features are
compared, and ``src/objective`` what becomes of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from gristmill.errors import FormatError, UnsupportedError
from gristmill.frontends.boosting.boosted import Boosted, Link, bounded, grow, link_of
from gristmill.frontends.classic import Branch, Comparison, Leaf, Node, member_of
from gristmill.frontends.common import reading

_OBJECTIVES: Mapping[str, Link] = {
    "binary": Link.LOGISTIC,
    "cross_entropy": Link.LOGISTIC,
    "cross_entropy_lambda": Link.SOFTPLUS,
    "custom": Link.IDENTITY,
    "fair": Link.IDENTITY,
    "gamma": Link.EXPONENTIAL,
    "huber": Link.IDENTITY,
    "lambdarank": Link.IDENTITY,
    "mape": Link.IDENTITY,
    "multiclass": Link.SOFTMAX,
    "multiclassova": Link.LOGISTIC,
    "poisson": Link.EXPONENTIAL,
    "quantile": Link.IDENTITY,
    "rank_xendcg": Link.IDENTITY,
    "regression": Link.IDENTITY,
    "regression_l1": Link.IDENTITY,
    "tweedie": Link.EXPONENTIAL,
}

_CATEGORICAL, _DEFAULT_LEFT = 1, 2  # bits of a node's decision type; the next two say what counts as missing
_NONE, _ZERO, _NAN = range(3)

_NEAR_ZERO = float(np.float32(1e-35))
"""Numbers of at most this size are zero to LightGBM, which drops them as it reads rows."""

_Fields = dict[str, str]


def read_lightgbm(text: str) -> Boosted:
    """Reads a model.

    Raises:
        FormatError: It is no such model.
        UnsupportedError: Its leaves hold linear models, or its objective is unknown.
    """
    with reading("model of LightGBM"):
        header, trees = _sections(text)
        objective, _, options = header.get("objective", "custom").partition(" ")
        link = link_of(objective, _OBJECTIVES)
        if "sqrt" in options.split():
            link = Link.SQUARE
        width = bounded(header["num_tree_per_iteration"], "trees of a round", 1)
        features = bounded(header["max_feature_idx"], "features") + 1
        if len(trees) % width:
            raise FormatError(
                "rounds have another number of trees", expected=f"a multiple of {width}", actual=len(trees)
            )
        scale = _scale(options)
        if "average_output" in header:  # a random forest
            scale /= max(1, len(trees) // width)
        classes = {"binary": 2, "multiclass": width, "multiclassova": width}.get(objective)
        return Boosted(
            source=f"lightgbm, format {header.get('version')}",
            objective=objective,
            link=link,
            trees=[_tree(fields, number % width, scale, features) for number, fields in enumerate(trees)],
            base=[0.0] * width,
            features=features,
            names=header["feature_names"].split(),
            classes=classes,
        )


def _sections(text: str) -> tuple[_Fields, list[_Fields]]:
    """The fields of the header and of each tree."""
    head, *trees = text.partition("\nend of trees")[0].split("\nTree=")
    if not head.startswith("tree\n"):
        raise FormatError("this is no model of LightGBM", expected="a first line 'tree'", actual=head[:40])
    return _fields(head), [_fields(tree) for tree in trees]


def _fields(section: str) -> _Fields:
    return {name: value for name, _, value in (line.partition("=") for line in section.splitlines())}


def _scale(options: str) -> float:
    """The factor of sums in the logistic function."""
    found = [option.removeprefix("sigmoid:") for option in options.split() if option.startswith("sigmoid:")]
    return float(found[0]) if found else 1.0


def _tree(fields: _Fields, dimension: int, scale: float, features: int) -> Node:
    if int(fields.get("is_linear", 0)):
        raise UnsupportedError(
            "leaves hold linear models, which Core ML's trees lack", hint="train without linear_tree"
        )
    values = [float(value) * scale for value in fields["leaf_value"].split()]
    count = len(values) - 1
    if count == 0:
        return Leaf({dimension: values[0]})
    left, right, feature, decision = (
        _integers(fields, name, count) for name in ("left_child", "right_child", "split_feature", "decision_type")
    )
    threshold = [float(value) for value in fields["threshold"].split()]
    if not all(0 <= index < features for index in feature) or len(threshold) != count:
        raise FormatError("a tree's nodes do not fit together")
    member = _sets(fields)

    def children(number: int) -> tuple[int, int] | None:
        if number < 0:  # a leaf, numbered from -1 downwards
            return None
        return left[number], right[number]

    def make(number: int, first: Node | None, second: Node | None) -> Node:
        if first is None or second is None:
            return Leaf({dimension: values[-1 - number]})
        kind = decision[number]
        if kind & _CATEGORICAL:
            return member_of(feature[number], member(int(threshold[number])), first, second)
        return _numeric(feature[number], threshold[number], first, second, bool(kind & _DEFAULT_LEFT), kind >> 2 & 3)

    return grow(0, children, make)


def _integers(fields: _Fields, name: str, count: int) -> list[int]:
    numbers = [int(number) for number in fields[name].split()]
    if len(numbers) != count:
        raise FormatError(f"another number of '{name}'", expected=count, actual=len(numbers))
    return numbers


def _sets(fields: _Fields) -> Callable[[int], list[int]]:
    """The sets of categories, which the file holds as bits of words of 32."""
    starts = [int(start) for start in fields.get("cat_boundaries", "").split()]
    words = [int(word) for word in fields.get("cat_threshold", "").split()]

    def members(number: int) -> list[int]:
        own = words[starts[number] : starts[number + 1]]
        return [32 * place + bit for place, word in enumerate(own) for bit in range(32) if word >> bit & 1]

    return members


def _numeric(feature: int, threshold: float, left: Node, right: Node, default_left: bool, missing: int) -> Node:
    """A node that compares; what counts as missing goes the default way."""
    if missing == _ZERO:
        return _zero_is_missing(feature, threshold, left, right, default_left)
    if missing not in (_NONE, _NAN):
        raise FormatError("a node's missing values are of an unknown kind", actual=missing)
    if missing == _NONE:  # not-a-number counts as zero
        default_left = threshold >= 0
    if 0 <= threshold < _NEAR_ZERO:
        threshold = _NEAR_ZERO
    if -_NEAR_ZERO <= threshold < 0:
        return Branch(feature, -_NEAR_ZERO, left, right, default_left, Comparison.LESS)
    return Branch(feature, threshold, left, right, default_left)


def _zero_is_missing(feature: int, threshold: float, left: Node, right: Node, default_left: bool) -> Node:
    """A node where zero and not-a-number go the default way, and other numbers where the comparison sends them."""
    if default_left:
        if threshold >= _NEAR_ZERO:
            return Branch(feature, threshold, left, right, True)
        more = Branch(feature, _NEAR_ZERO, left, right, True)
        if threshold >= -_NEAR_ZERO:
            return more
        near = Branch(feature, -_NEAR_ZERO, right, more, False, Comparison.LESS)
        return Branch(feature, threshold, left, near, False)
    if threshold < -_NEAR_ZERO:
        return Branch(feature, threshold, left, right, False)
    if threshold < _NEAR_ZERO:
        return Branch(feature, -_NEAR_ZERO, left, right, False, Comparison.LESS)
    more = Branch(feature, threshold, left, right, False)
    near = Branch(feature, _NEAR_ZERO, right, more, True)
    return Branch(feature, -_NEAR_ZERO, left, near, False, Comparison.LESS)
