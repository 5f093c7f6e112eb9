"""Linear models, support vectors, neighbours, probit regression, recommending: by their formulas, on small numbers."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import FormatError, InputError, UnsupportedError
from tests.models.classic import specs

PHI = NormalDist().cdf
"""The standard library's own; here it is W. J. Cody's approximation, so they may differ by 1e-15."""


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("transform", "expected"), [("NoTransform", 3.5), ("Logit", sigmoid(3.5)), ("Probit", PHI(3.5))]
)
def test_linear_regression(transform, expected):
    """2·0.5 + 3·0.5 + 1 = 3.5."""
    spec = specs.glm_regressor()
    spec.glmRegressor.postEvaluationTransform = type(spec.glmRegressor).PostEvaluationTransform.Value(transform)
    assert specs.run(spec, x=[0.5, 0.5])["y"] == pytest.approx(expected, abs=1e-15)


def test_linear_regression_of_several_numbers():
    spec = specs.model({"a": float, "b": int}, {"y": (2,)}, "y")
    for row, offset in (([1, 2], 0.5), ([3, -1], 0)):
        spec.glmRegressor.weights.add(value=row)
        spec.glmRegressor.offset.append(offset)
    np.testing.assert_array_equal(specs.run(spec, a=2.0, b=5)["y"], [12.5, 1])


def test_logistic_regression_of_two():
    result = specs.run(specs.glm_classifier([[1, -1]], ["no", "yes"]), x=[3.0, 1.0])
    assert result["label"] == "yes"
    assert result["p"] == pytest.approx({"no": 1 - sigmoid(2), "yes": sigmoid(2)}, abs=1e-15)


def test_probit_regression_of_two():
    spec = specs.glm_classifier([[1, -1]], [0, 1])
    spec.glmClassifier.postEvaluationTransform = 1
    assert specs.run(spec, x=[0.0, 1.0])["p"] == pytest.approx({0: PHI(1), 1: PHI(-1)}, abs=1e-15)


def test_first_class_is_the_reference():
    """Scores 0, 1, 2: softmax."""
    result = specs.run(specs.glm_classifier([[1, 0], [0, 1]], ["a", "b", "c"]), x=[1.0, 2.0])
    total = 1 + math.e + math.e**2
    assert result["p"] == pytest.approx({"a": 1 / total, "b": math.e / total, "c": math.e**2 / total}, abs=1e-15)


def test_one_against_the_rest():
    spec = specs.glm_classifier([[1, 0], [0, 1], [-1, -1]], ["a", "b", "c"])
    spec.glmClassifier.classEncoding = 1
    result = specs.run(spec, x=[1.0, 2.0])
    apart = [sigmoid(1), sigmoid(2), sigmoid(-3)]
    assert result["p"] == pytest.approx({k: v / sum(apart) for k, v in zip("abc", apart, strict=True)}, abs=1e-15)
    assert result["label"] == "b"


def test_probit_is_for_two_classes():
    spec = specs.glm_classifier([[1, 0], [0, 1]], ["a", "b", "c"])
    spec.glmClassifier.postEvaluationTransform = 1
    with pytest.raises(UnsupportedError, match="probit"):
        specs.run(spec, x=[1.0, 2.0])


# --- support vectors -------------------------------------------------------------------------------------------------

KERNELS = {
    "linearKernel": ({}, lambda x, s: x @ s),
    "rbfKernel": ({"gamma": 0.5}, lambda x, s: math.exp(-0.5 * ((x - s) ** 2).sum())),
    "polyKernel": ({"degree": 3, "c": 1, "gamma": 2}, lambda x, s: (2 * (x @ s) + 1) ** 3),
    "sigmoidKernel": ({"gamma": 0.3, "c": -0.2}, lambda x, s: math.tanh(0.3 * (x @ s) - 0.2)),
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels(kernel):
    parameters, formula = KERNELS[kernel]
    spec = specs.svm_regressor()
    getattr(spec.supportVectorRegressor.kernel, kernel).SetInParent()
    for name, value in parameters.items():
        setattr(getattr(spec.supportVectorRegressor.kernel, kernel), name, value)
    x = np.array([0.7, -1.3])
    expected = formula(x, np.array([1, 0])) - 2 * formula(x, np.array([0, 1])) - 0.5
    assert specs.run(spec, x=x)["y"] == pytest.approx(expected, rel=1e-14)


def test_gaussian_kernel_far_from_the_origin():
    """Differences of squares would lose all digits here."""
    spec = specs.svm_regressor()
    machine = spec.supportVectorRegressor
    machine.kernel.rbfKernel.gamma = 1
    machine.denseSupportVectors.vectors[0].values[:] = [1e9, 0]
    machine.denseSupportVectors.vectors[1].values[:] = [0, 1e9]
    assert specs.run(spec, x=[1e9 + 1, 0.0])["y"] == pytest.approx(math.exp(-1) - 0.5, rel=1e-14)


def test_votes_of_pairs():
    """Decisions are x₀ − x₁ for (a, b), x₀ − x₂ for (a, c), x₁ − x₂ for (b, c): the largest coordinate wins."""
    model = ct.models.MLModel(specs.svm_classifier())
    for x, label in (([3, 1, 2], "a"), ([1, 3, 2], "b"), ([1, 2, 3], "c")):
        result = model.predict({"x": np.array(x, float)})
        assert result["label"] == label
    assert result["p"] == pytest.approx({"a": 0, "b": 1 / 3, "c": 2 / 3})


def test_probabilities_of_two_are_platts_sigmoid():
    spec = specs.classifier(1, ["a", "b"])
    machine = spec.supportVectorClassifier
    machine.kernel.linearKernel.SetInParent()
    machine.denseSupportVectors.vectors.add(values=[1])
    machine.denseSupportVectors.vectors.add(values=[-1])
    machine.numberOfSupportVectorsPerClass.extend([1, 1])
    machine.coefficients.add(alpha=[1, -1])
    machine.rho.append(0)
    machine.probA.append(-1)
    machine.probB.append(0.25)
    specs.put_labels(machine, ["a", "b"])
    result = specs.run(spec, x=[0.5])  # the decision is 1
    # The coupling ends when it is within 0.005 / labels of the best, as LIBSVM's.
    assert result["p"] == pytest.approx({"a": sigmoid(0.75), "b": 1 - sigmoid(0.75)}, abs=0.0025)


def test_coupled_probabilities_agree_with_the_pairs():
    """Pairs that come of probabilities give these back: r = pᵢ / (pᵢ + pⱼ)."""
    from gristmill.models.classic.support_vectors import couple

    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    pairs = [(0, 1), (0, 2), (1, 2)]
    first = np.stack([p[:, i] / (p[:, i] + p[:, j]) for i, j in pairs], axis=1)
    np.testing.assert_allclose(couple(first, pairs, 3), p, atol=0.005)


@pytest.mark.parametrize("field", ["rho", "coefficients", "numberOfSupportVectorsPerClass"])
def test_machines_that_lack_a_part(field):
    spec = specs.svm_classifier()
    del getattr(spec.supportVectorClassifier, field)[-1]
    with pytest.raises(FormatError):
        specs.run(spec, x=[1.0, 2.0, 3.0])


def test_sparse_indices_count_from_one():
    spec = specs.svm_classifier()
    spec.supportVectorClassifier.sparseSupportVectors.vectors[0].nodes[0].index = 0
    with pytest.raises(FormatError, match="index"):
        specs.run(spec, x=[1.0, 2.0, 3.0])


# --- neighbours ------------------------------------------------------------------------------------------------------

SAMPLES = [[0, 0], [1, 0], [4, 0], [4, 1], [4, 2]]
LABELS = ["a", "a", "b", "b", "c"]


@pytest.mark.parametrize(
    ("k", "x", "label", "expected"),
    [
        (1, [0.1, 0.0], "a", {"a": 1, "b": 0, "c": 0}),
        (3, [4.0, 1.0], "b", {"a": 0, "b": 2 / 3, "c": 1 / 3}),
        (5, [9.0, 9.0], "b", {"a": 0.4, "b": 0.4, "c": 0.2}),  # a and b tie; b's (4, 1) is nearer than a's (1, 0)
        (9, [0.0, 0.0], "a", {"a": 0.4, "b": 0.4, "c": 0.2}),  # more than there are; a is nearer
        (2, [4.0, 1.6], "c", {"a": 0, "b": 0.5, "c": 0.5}),  # tie: c at 0.16, b at 0.36
    ],
)
def test_neighbors(k, x, label, expected):
    result = specs.run(specs.neighbors(SAMPLES, LABELS, k), x=x)
    assert result["label"] == label
    assert result["p"] == pytest.approx(expected)


def test_inverse_distances_weigh_neighbors():
    """To (3, 0): b at squared distances 1 and 2, a at 4; weights 1, 1/2, 1/4."""
    result = specs.run(specs.neighbors(SAMPLES, LABELS, 3, "inverseDistanceWeighting"), x=[3.0, 0.0])
    assert result["p"] == pytest.approx({"a": 0.25 / 1.75, "b": 1.5 / 1.75, "c": 0})


def test_a_sample_itself_outvotes_all():
    result = specs.run(specs.neighbors(SAMPLES, LABELS, 5, "inverseDistanceWeighting"), x=[4.0, 2.0])
    assert result == {"label": "c", "p": {"a": 0, "b": 0, "c": 1}}


def test_a_tree_index_gives_the_same_neighbors():
    spec = specs.neighbors(SAMPLES, LABELS, 3)
    spec.kNearestNeighborsClassifier.nearestNeighborsIndex.singleKdTreeIndex.leafSize = 2
    assert specs.run(spec, x=[4.0, 1.0])["label"] == "b"


def test_neighbors_without_samples_give_the_default():
    spec = specs.neighbors([], [], 3)
    with pytest.raises(FormatError, match="default"):
        specs.run(spec, x=[0.0, 0.0])
    spec.kNearestNeighborsClassifier.defaultStringLabel = "none"
    assert specs.run(spec, x=[0.0, 0.0])["label"] == "none"


# --- Bayesian probit regression --------------------------------------------------------------------------------------


def test_probit_regression():
    """For x = (1, 3): mean 0.5 + 1 − 2, variance 1/4 + 1/2 + 2."""
    result = specs.run(specs.probit(), x=np.array([1, 3], np.int32))
    assert (result["mean"], result["variance"]) == (-0.5, 2.75)
    assert result["y"] == result["pessimistic"] == pytest.approx(PHI(-0.5 / math.sqrt(3.75)), abs=1e-15)


@pytest.mark.parametrize(("x", "mean", "variance"), [([1, 0], 1.5, 0.75), ([0, 3], -1.5, 2.25), ([7, 7], 0.5, 0.25)])
def test_values_without_weight_add_nothing(x, mean, variance):
    result = specs.run(specs.probit(), x=np.array(x, np.int32))
    assert (result["mean"], result["variance"]) == (mean, variance)


def test_pairs_of_feature_and_value():
    spec = specs.probit()
    spec.description.input[0].type.multiArrayType.shape[:] = [1, 2]
    assert specs.run(spec, x=np.array([[1, 3]], np.int32))["mean"] == -1.5


def test_optimism_shifts_the_mean():
    result = specs.run(specs.probit(), x=np.array([1, 3], np.int32), optimism=2.0)
    expected = PHI((-0.5 + 2 * math.sqrt(2.75)) / math.sqrt(3.75))
    assert result["pessimistic"] == pytest.approx(expected, abs=1e-15)


def test_samples_without_spread_are_the_mean():
    result = specs.run(specs.probit(), x=np.array([1, 3], np.int32), scale=0.0, truncation=1.0)
    assert result["sampled"] == pytest.approx(PHI(-0.5), abs=1e-15)


def test_samples_spread_as_they_are_asked_to():
    """Deviation 2σ truncated at 1.5σ: draws lie inside; their mean is −0.5 within 5 standard errors."""
    model = ct.models.MLModel(specs.probit())
    row = {"x": np.array([1, 3], np.int32), "scale": 2.0, "truncation": 1.5}
    drawn = np.array([NormalDist().inv_cdf(result["sampled"]) for result in model.predict([row] * 2000)])
    deviation = math.sqrt(2.75)
    assert np.abs(drawn + 0.5).max() <= 1.5 * deviation * (1 + 1e-9)
    assert np.std(drawn) > 0.5 * deviation
    assert abs(drawn.mean() + 0.5) < 5 * 1.5 * deviation / math.sqrt(2000)


def test_precisions_are_above_zero():
    spec = specs.probit()
    spec.bayesianProbitRegressor.bias.precision = 0
    with pytest.raises(FormatError, match="precision"):
        specs.run(spec, x=np.array([1, 3], np.int32))


# --- recommending ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        # b: 0.5·2. c: 0.25·(2 − 0.1). d: nothing is similar. a is given.
        ({"items": {"a": 2}}, {"b": 1.0, "c": 0.475, "d": 0.0}),
        ({"items": {"a": 2}, "count": 1}, {"b": 1.0}),
        # c: 0.25·(1 − 0.1) + 1·(3 − 0.1)
        ({"items": {"a": 1, "b": 3}}, {"c": 3.125, "d": 0.0}),
        ({"items": {"a": 2}, "only": ["c", "d"]}, {"c": 0.475, "d": 0.0}),
        ({"items": {"a": 2}, "without": ["b", "d"]}, {"c": 0.475, "a": 0.0}),
        ({"items": {"unknown": 2}, "count": 2}, {"a": 0.0, "b": 0.0}),
    ],
)
def test_recommendations(inputs, expected):
    result = specs.run(specs.recommender(), **inputs)
    assert result["best"] == list(expected)
    assert result["scores"] == pytest.approx(expected, abs=1e-15)


def test_items_in_a_sequence_score_one():
    spec = specs.recommender()
    specs.declare(spec.description.input[0].type, [str])
    assert specs.run(spec, items=["a"], count=1)["scores"] == {"b": 0.5}


def test_items_have_ids():
    spec = specs.recommender()
    del spec.itemSimilarityRecommender.itemStringIds.vector[2:]
    with pytest.raises(FormatError, match="id"):
        specs.run(spec, items={})


def test_fewer_than_no_recommendations():
    with pytest.raises(InputError, match="0 or more"):
        specs.run(specs.recommender(), items={}, count=-1)
