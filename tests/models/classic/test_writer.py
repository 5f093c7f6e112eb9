"""Descriptions of classic models become messages that run."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.errors import UnsupportedError
from gristmill.frontends import classic
from gristmill.frontends.classic import Branch, Comparison, Feature, Kind, Leaf, Stage
from gristmill.models import classic_writer
from tests.models.classic import specs

THRESHOLDS = [0.0, -0.0, 0.1, -0.1, 1.0, 1 + 2**-24, 1 + 2**-23, 16777217.0, 1e-45, -1e-45, 3.5e38, np.inf, -np.inf]


def near(threshold):
    """Numbers around a threshold and around its neighbours in float32, where rounding to float32 decides."""
    low, high = (np.nextafter(np.float32(threshold), np.float32(side * np.inf)) for side in (-1, 1))
    middle = np.float64(np.float32(threshold)) + np.array([-1, 1]) * (np.float64(high) - np.float64(low)) / 4
    bases = np.concatenate([[threshold, low, high, np.float32(threshold)], middle])
    return np.concatenate([bases, np.nextafter(bases, np.inf), np.nextafter(bases, -np.inf)])


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_comparisons_after_rounding_to_float32(threshold):
    """The same decision without the rounding, for the numbers that are hardest to decide."""
    x = np.concatenate([near(threshold), np.random.default_rng(0).normal(size=1000)])
    x = x[np.isfinite(x.astype(np.float32))]  # libraries refuse what is infinite in float32
    rounded = x.astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(x <= classic.float32_at_most(threshold), rounded <= threshold)
    np.testing.assert_array_equal(x <= classic.float32_below(threshold), rounded < threshold)


def classify(root):
    ensemble = classic.TreeEnsemble([root], [0.0, 0.0], labels=["no", "yes"])
    return classic_writer.write_model(ensemble, ["x"], ("label", "scores"))


NO, YES = Leaf({0: 1.0}), Leaf({1: 1.0})


def test_sets_of_categories():
    """A shared node is copied; a missing value is no member."""
    spec = classify(classic.member_of(0, [2, 5], Branch(0, 3.0, YES, NO), NO))
    assert len(spec.treeEnsembleClassifier.treeEnsemble.nodes) == 9
    found = [specs.run(spec, x=x)["label"] for x in (2.0, 5.0, 3.0, np.nan)]
    assert found == ["yes", "no", "no", "no"]


@pytest.mark.parametrize("missing", [True, False])
def test_comparisons(missing):
    for comparison, holds in zip(Comparison, ("le", "lt", "ge", "gt", "eq", "ne"), strict=True):
        spec = classify(Branch(0, 1.0, YES, NO, missing, comparison))
        for x in (0.0, 1.0, 2.0):
            expected = "yes" if getattr(x, f"__{holds}__")(1.0) else "no"
            assert specs.run(spec, x=x)["label"] == expected
        assert specs.run(spec, x=np.nan)["label"] == ("yes" if missing else "no")


def test_too_many_copies():
    """Branches on sets of two that double the tree become an error, not a full memory."""
    node = YES
    for feature in range(40):
        node = classic.member_of(feature, [0, 1], node, NO)
    with pytest.raises(UnsupportedError, match="too many nodes"):
        classify(node)


def test_stages():
    """A text's place, beside a number, into a linear function; the text may be missing."""
    word, number = Feature("word", Kind.STRING, optional=True), Feature("number")
    filled, place = Feature("filled", Kind.STRING), Feature("place", Kind.INT64_KEYS, 2)
    array = Feature("all", Kind.ARRAY, 3)
    stages = [
        Stage(classic.Imputer("b"), [word], [filled]),
        Stage(classic.OneHotEncoder(["a", "b"]), [filled], [place]),
        Stage(classic.FeatureVectorizer({"place": 2, "number": 1}), [place, number], [array]),
        Stage(classic.LinearModel(np.array([[10.0, 20.0, 1.0]]), np.array([0.5])), [array]),
    ]
    spec = classic_writer.write_stages(stages, [word, number], "y")
    assert specs.run(spec, word="a", number=3.0)["y"] == 13.5
    assert specs.run(spec, number=3.0)["y"] == 23.5
