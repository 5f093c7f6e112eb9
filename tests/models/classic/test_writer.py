"""Descriptions of classic models become messages that run."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.errors import UnsupportedError
from gristmill.frontends import classic
from gristmill.frontends.classic import Branch, Comparison, Feature, Kind, Leaf, Stage
from gristmill.models import classic_writer, datatypes
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


# --- exponentials ----------------------------------------------------------------------------------------------------


def exponential(*leaves, base, name="x"):
    """Two leaves by a feature, on either side of 0, and what their exponentials are multiplied with."""
    trees = [Branch(0, 0.0, *leaves)]
    ensemble = classic.TreeEnsemble(trees, base, classic.TreeTransform.EXPONENTIAL)
    feature = Feature(name)
    outputs = [("y", datatypes.Array(len(base)))] if len(base) > 1 else "y"
    return classic_writer.write_stages([Stage(ensemble, [feature])], [feature], outputs)


@pytest.mark.parametrize("base", [0.0, 1.5, -30.0, 600.0, -600.0])
def test_exponentials_of_sums(base):
    """Shifting a sum costs half a unit in the last place of the shift: at most 2**-44 for shifts below 1024."""
    spec = exponential(Leaf({0: -3.25}), Leaf({0: 2.5}), base=[base])
    for x, leaf in ((-1.0, -3.25), (1.0, 2.5)):
        np.testing.assert_allclose(specs.run(spec, x=x)["y"], np.exp(base + leaf), rtol=2 * 2**-44)
    kinds = [model.WhichOneof("Type") for model in spec.pipelineRegressor.pipeline.models]
    assert kinds == ["treeEnsembleRegressor", "glmRegressor"]


def test_exponentials_of_several_sums():
    """A leaf that says nothing of a dimension adds nothing to it."""
    spec = exponential(Leaf({0: 1.0}), Leaf({1: 2.0, 0: -1.0}), base=[0.5, -4.0], name="exponential")
    np.testing.assert_allclose(specs.run(spec, exponential=-1.0)["y"], np.exp([1.5, -4.0]), rtol=1e-13)
    np.testing.assert_allclose(specs.run(spec, exponential=1.0)["y"], np.exp([-0.5, -2.0]), rtol=1e-13)


@pytest.mark.parametrize("leaf", [700.0, -700.0, np.inf, np.nan])
def test_exponentials_that_float64_has_not(leaf):
    with pytest.raises(UnsupportedError, match=r"too large, or too small\n.*663"):
        exponential(Leaf({0: leaf}), Leaf({0: 1.0}), base=[0.0])
