"""Rows that lack optional inputs are computed together, and give what they give alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gristmill as ct
from gristmill.models.classic.base import ClassicModel
from tests.models.classic import specs


def optional(spec, *names):
    """The model with these inputs optional."""
    for feature in spec.description.input:
        feature.type.isOptional = feature.name in names
    return spec


def of_numbers(spec):
    """The model of a row ``x`` of three, fed with two numbers ``a`` and ``b`` and an integer ``n`` instead."""
    del spec.description.input[:]
    for name, kind in (("a", float), ("b", float), ("n", int)):
        specs.declare(spec.description.input.add(name=name).type, kind)
    return optional(spec, "a", "b", "n")


def trees():
    """1 or 2 by ``a``, where a missing one is more, and 10 or 20 by the integer ``n``, where it is not."""
    spec = specs.regressor(3)
    ensemble = spec.treeEnsembleRegressor.treeEnsemble
    ensemble.numPredictionDimensions = 1
    ensemble.basePredictionValue.append(0)
    for tree, feature, missing in ((0, 0, False), (1, 2, True)):
        specs.branch(
            ensemble, tree, 0, feature, "BranchOnValueLessThanEqual", 0.5, (1, 2)
        ).missingValueTracksTrueChild = missing
        specs.leaf(ensemble, tree, 1, 10**tree)
        specs.leaf(ensemble, tree, 2, 2 * 10**tree)
    return of_numbers(spec)


def vectors():
    """A vector of a number, an array of two, a dictionary and an integer."""
    return optional(specs.feature_vectorizer(), "a", "b", "c", "d")


def calls(monkeypatch, kind):
    """The sizes of the batches that models of a kind compute from now on."""
    sizes, compute = [], kind.compute

    def counted(self, columns):
        sizes.append(next((len(column) for column in columns.values()), 1))
        return compute(self, columns)

    monkeypatch.setattr(kind, "compute", counted)
    return sizes


def together_and_alone(spec, rows):
    model = ct.models.MLModel(spec)
    return model.predict(rows), [model.predict(row) for row in rows]


def test_missing_numbers_by_hand():
    rows = [{"a": 0, "b": 0, "n": 0}, {"b": 0, "n": 1}, {"a": 1.0}, {}, {"a": 0.2, "n": 3, "b": None}]
    found, alone = together_and_alone(trees(), rows)
    assert [row["y"] for row in found] == [11, 22, 12, 12, 21]
    assert found == alone


def test_trees_compute_all_rows_at_once(monkeypatch):
    random = np.random.default_rng(0)
    rows = [
        {name: value for name, value in zip("abn", row, strict=True) if value < 2}
        for row in random.integers(0, 3, (99, 3)).tolist()
    ]
    model = ct.models.MLModel(trees())
    model.predict(rows[0])
    sizes = calls(monkeypatch, type(model._rows))
    assert len({tuple(row) for row in rows}) > 5
    found = model.predict(rows)
    assert sizes == [99]
    for row, result in zip(rows, found, strict=True):
        assert result["y"] == (1 if row.get("a", 1) == 0 else 2) + (20 if row.get("n", 0) == 1 else 10)


def test_arrays_and_dictionaries():
    """Missing numbers are not-a-number; a row without its dictionary is computed apart."""
    whole = {"a": 1.0, "b": [2.0, 3.0], "c": {1: 4.0}, "d": 5}
    rows = [
        {name: value for name, value in whole.items() if name not in left} for left in ("", "a", "b", "c", "d", "abd")
    ]
    found, alone = together_and_alone(vectors(), rows)
    nan = math.nan
    wanted = [
        [1, 2, 3, 0, 4, 5],
        [nan, 2, 3, 0, 4, 5],
        [1, nan, nan, 0, 4, 5],
        [1, 2, 3, nan, nan, 5],
        [1, 2, 3, 0, 4, nan],
        [nan, nan, nan, 0, 4, nan],
    ]
    np.testing.assert_array_equal([row["y"] for row in found], wanted)
    np.testing.assert_array_equal([row["y"] for row in alone], wanted)


def test_pipelines_hand_gaps_on(monkeypatch):
    """A vectorizer that takes gaps feeds trees that take them: the pipeline computes all rows at once."""
    vectorizer = of_numbers(specs.model({}, {"x": (3,)}))
    for name in "abn":
        vectorizer.featureVectorizer.inputList.add(inputColumn=name, inputDimensions=1)
    ensemble = trees()
    del ensemble.description.input[:]
    specs.declare(ensemble.description.input.add(name="x").type, (3,))
    spec = optional(
        specs.pipeline("pipelineRegressor", {"a": float, "b": float, "n": int}, {"y": float}, vectorizer, ensemble),
        *"abn",
    )
    rows = [{"a": 0, "b": 0, "n": 0}, {"b": 0, "n": 1}, {"a": 1.0}]
    model = ct.models.MLModel(spec)
    model.predict(rows[0])
    sizes = calls(monkeypatch, type(model._rows))
    assert [row["y"] for row in model.predict(rows)] == [11, 22, 12]
    assert sizes == [3]


def test_what_a_model_fills_in_is_not_a_gap():
    """An imputer replaces -1: what is missing it fills in too, and not-a-number stays."""
    spec = optional(specs.imputer(5.0, replaced=-1.0), "x")
    rows = [{"x": [1.0, -1.0, math.nan]}, {}, {"x": [2.0, 2.0, -1.0]}]
    found, alone = together_and_alone(spec, rows)
    for results in (found, alone):
        np.testing.assert_array_equal(results[0]["y"], [1, 5, math.nan])
        np.testing.assert_array_equal(results[1]["y"], np.full_like(results[1]["y"], 5))
        np.testing.assert_array_equal(results[2]["y"], [2, 2, 5])


def test_many_rows_without_what_a_model_fills_in():
    """Their number follows from no column: alone, and as a pipeline's stage beside one that has its input."""
    rows = [{}, {"x": [1.0, 2.0, -1.0]}, {}, {}]
    for row, result in zip(
        rows, ct.models.MLModel(optional(specs.imputer(5.0, replaced=-1.0), "x")).predict(rows), strict=True
    ):
        np.testing.assert_array_equal(result["y"], [1, 2, 5] if row else np.full_like(result["y"], 5))

    first, second = optional(specs.imputer(5.0, replaced=-1.0), "x"), specs.model({"y": (3,), "a": float}, {"z": (4,)})
    for name, width in (("a", 1), ("y", 3)):
        second.featureVectorizer.inputList.add(inputColumn=name, inputDimensions=width)
    spec = optional(specs.pipeline("pipeline", {"x": (3,), "a": float}, {"z": (4,)}, first, second), "x")
    rows = [{"a": 1.0}, {"a": 2.0}, {"a": 3.0, "x": [1.0, 2.0, -1.0]}]
    found, alone = together_and_alone(spec, rows)
    for results in (found, alone):
        np.testing.assert_array_equal([row["z"] for row in results], [[1, 5, 5, 5], [2, 5, 5, 5], [3, 1, 2, 5]])


def test_groups_of_rows_come_back_in_order(monkeypatch):
    """A threshold that some rows bring does not concern the others; each set of inputs is one batch."""
    confidences, boxes = np.array([[0.9, 0.1], [0.8, 0.1]]), np.array([[0.5, 0.5, 1, 1], [0.5, 0.5, 1, 1]])
    plain = {"confidence": confidences, "boxes": boxes}
    rows = [plain, {**plain, "iou": 1.0}, plain, {**plain, "least": 0.95}, {**plain, "iou": 1.0}]
    model = ct.models.MLModel(specs.suppression())
    model.predict(plain)
    sizes = calls(monkeypatch, type(model._rows))
    assert [len(row["kept"]) for row in model.predict(rows)] == [1, 2, 1, 0, 2]
    assert sorted(sizes) == [1, 2, 2]


@pytest.mark.parametrize(
    "values", [(1, np.float32(2.5)), (np.array([1.0]), 2.5), (True, 2.5), (np.array(1), np.array([2.5]))]
)
def test_numbers_of_any_kind(values):
    """Numbers that do not convert together are converted one by one."""
    spec = specs.model({"a": float, "b": float}, {"y": (2,)})
    for name in "ab":
        spec.featureVectorizer.inputList.add(inputColumn=name, inputDimensions=1)
    row = dict(zip("ab", values, strict=True))
    for result in ct.models.MLModel(spec).predict([row, row]):
        np.testing.assert_array_equal(result["y"], [1, 2.5])


def test_every_reader_of_rows_of_numbers_takes_gaps():
    """The models that read all inputs as one matrix say so; transformers and detectors do not."""
    assert not ClassicModel.takes_gaps(ct.models.MLModel(specs.scaler([], []))._rows, "x")
    for spec in (specs.glm_regressor(), specs.svm_classifier(), specs.neighbors([[0, 0]], ["a"]), trees()):
        assert ct.models.MLModel(spec)._rows.takes_gaps("x")
