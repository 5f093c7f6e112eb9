"""Transformers and what follows detectors, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import ExecutionError, FormatError, InputError, InputTypeError
from tests.models.classic import specs


def y(spec, value):
    return specs.run(spec, x=value)["y"]


@pytest.mark.parametrize(
    ("shift", "scale", "expected"),
    [([1], [2], [4, 10]), ([1, -1], [2, 3], [4, 9]), ([], [2], [2, 8]), ([1], [], [2, 5]), ([], [], [1, 4])],
)
def test_scaler(shift, scale, expected):
    np.testing.assert_array_equal(y(specs.scaler(shift, scale), [1.0, 4.0]), expected)


def test_scaled_integers_stay_integers_or_fail():
    """Apple's text: a lossy cast is an error."""
    spec = specs.transformer(int, int)
    spec.scaler.scaleValue.append(0.5)
    assert y(spec, 4) == 2
    with pytest.raises(ExecutionError, match="integers"):
        y(spec, 3)


def test_scales_of_another_size():
    with pytest.raises(InputError):
        y(specs.scaler([1, 2, 3], []), [1.0, 2.0])


@pytest.mark.parametrize(("norm", "expected"), [("LMax", [-0.75, 1]), ("L1", [-3 / 7, 4 / 7]), ("L2", [-0.6, 0.8])])
def test_normalizer(norm, expected):
    np.testing.assert_allclose(y(specs.normalizer(norm), [-3.0, 4.0]), expected, rtol=1e-15)
    np.testing.assert_array_equal(y(specs.normalizer(norm), [0.0, 0.0]), [0, 0])


def test_imputer():
    np.testing.assert_array_equal(y(specs.imputer(), [1.0, math.nan, 3.0]), [1, 5, 3])
    np.testing.assert_array_equal(y(specs.imputer(replaced=math.nan), [1.0, math.nan, 3.0]), [1, 5, 3])
    np.testing.assert_array_equal(y(specs.imputer(replaced=-1), [1.0, math.nan, -1.0]), [1, math.nan, 5])


def test_imputer_with_a_value_for_each_element():
    spec = specs.transformer((3,), (3,))
    spec.imputer.imputedDoubleArray.vector.extend([7, 8, 9])
    np.testing.assert_array_equal(y(spec, [math.nan, 1.0, math.nan]), [7, 1, 9])


def test_imputer_of_strings_and_dictionaries():
    spec = specs.transformer(str, str)
    spec.imputer.imputedStringValue, spec.imputer.replaceStringValue = "none", ""
    assert (y(spec, ""), y(spec, "a")) == ("none", "a")
    spec = specs.transformer({"key": str}, {"key": str})
    spec.imputer.imputedStringDictionary.map.update({"a": 1, "b": 2})
    spec.imputer.replaceDoubleValue = -1
    assert y(spec, {"a": -1, "b": 5, "c": -1}) == {"a": 1, "b": 5, "c": -1}


@pytest.mark.parametrize("pairs", [{}, {"a": 1.0}])
def test_imputer_of_dictionaries_for_numbers(pairs):
    spec = specs.transformer((3,), (3,))
    spec.imputer.imputedStringDictionary.map.update(pairs)
    spec.imputer.imputedStringDictionary.SetInParent()
    with pytest.raises(FormatError, match="another type than the input"):
        y(spec, [math.nan, 1.0, math.nan])


def test_one_hot():
    np.testing.assert_array_equal(y(specs.one_hot(["a", "b"]), "b"), [0, 1])
    np.testing.assert_array_equal(y(specs.one_hot([5, -2, 9]), 9), [0, 0, 1])
    assert y(specs.one_hot([5, -2, 9], sparse=True), -2) == {1: 1.0}


def test_one_hot_of_unknown_categories():
    np.testing.assert_array_equal(y(specs.one_hot(["a", "b"], ignore=True), "?"), [0, 0])
    assert y(specs.one_hot(["a", "b"], ignore=True, sparse=True), "?") == {}
    with pytest.raises(InputError, match="category"):
        y(specs.one_hot(["a", "b"]), "?")


def test_mapping():
    assert y(specs.mapping(), "b") == 2
    with pytest.raises(InputError, match="category"):
        y(specs.mapping(), "?")
    spec = specs.mapping()
    spec.categoricalMapping.int64Value = -1
    assert y(spec, "?") == -1
    spec = specs.transformer(int, str)
    spec.categoricalMapping.int64ToStringMap.map.update({1: "one"})
    spec.categoricalMapping.strValue = "many"
    assert (y(spec, 1), y(spec, 7)) == ("one", "many")


def test_dict_vectorizer():
    """The example in Apple's text; a key without a place is left out."""
    np.testing.assert_array_equal(y(specs.dict_vectorizer(), {"a": 4, "c": 8}), [4, 8, 0, 0])
    np.testing.assert_array_equal(y(specs.dict_vectorizer(), {"?": 4}), [0, 0, 0, 0])


def test_feature_vectorizer():
    result = specs.run(specs.feature_vectorizer(), a=1.5, b=[2.0, 3.0], c={1: 4.0}, d=5)
    np.testing.assert_array_equal(result["y"], [1.5, 2, 3, 0, 4, 5])
    with pytest.raises(InputError, match="place"):
        specs.run(specs.feature_vectorizer(), a=1.5, b=[2.0, 3.0], c={2: 4.0}, d=5)


def test_extractor():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(y(specs.extractor([3, 0]), x), [4, 1])
    assert y(specs.extractor([2], float), x) == 3.0
    assert y(specs.extractor([1], int), x) == 2
    with pytest.raises(InputError, match="not in the array"):
        y(specs.extractor([4]), x)


def test_identity():
    result = specs.run(specs.identity(), x=[1.0, 2.0], s="as it is")
    assert result["s"] == "as it is"
    np.testing.assert_array_equal(result["x"], [1, 2])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (float, 0.1),
        (int, -(2**60)),
        ((2, 3), np.arange(6.0).reshape(2, 3)),
        ({"key": int}, {7: 1.5}),
        ([str], ["a", "b"]),
    ],
)
def test_identity_of_any_type(kind, value):
    """An output of another name stands for the input in the same place."""
    spec = specs.transformer(kind, kind)
    spec.identity.SetInParent()
    got = y(spec, value)
    assert type(got) is type(value)
    np.testing.assert_array_equal(got, value)


@pytest.mark.parametrize(
    "confidences", [[0.1, 0.9, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.5, math.nan, 0.5], [-1.0, 2.0, 1e-300]]
)
def test_thresholding(confidences):
    """The format's text: for now all classes are there."""
    np.testing.assert_array_equal(y(specs.thresholding(), confidences), [confidences, [1, 1, 1]])


def test_thresholding_of_another_number_of_classes():
    spec = specs.thresholding()
    for _ in range(2):
        spec.classConfidenceThresholding.precisionRecallCurves.add()
    with pytest.raises(InputError, match="classes than of curves"):
        y(spec, [0.1, 0.9, 0.0])


# --- boxes -----------------------------------------------------------------------------------------------------------

# Overlaps of squares of side 4 whose centres are apart by 1: 12 of 20. By 2: 8 of 24.
BOXES = np.array([[0, 0, 4, 4], [1, 0, 4, 4], [2, 0, 4, 4], [20, 0, 4, 4], [40, 0, 4, 4]], float)
CONFIDENCES = np.array([[0.6, 0.1], [0.2, 0.9], [0.5, 0.1], [0.3, 0.2], [0.05, 0.05]])


def kept(spec, **more):
    result = specs.run(spec, confidence=CONFIDENCES, boxes=BOXES, **more)
    rows = [int(np.flatnonzero((row == BOXES).all(axis=1))[0]) if row.any() else None for row in result["where"]]
    for row, confidence in zip(rows, result["kept"], strict=True):
        np.testing.assert_array_equal(confidence, [0, 0] if row is None else CONFIDENCES[row])
    return rows


@pytest.mark.parametrize(
    ("spec", "more", "expected"),
    [
        (specs.suppression(), {}, [1, 3]),  # 0 and 2 overlap 1 by 0.6, 4 is too weak
        (specs.suppression(per_class=True), {}, [1, 0, 2, 3]),  # 1 is of another class; 0 and 2 overlap by a third
        (specs.suppression(), {"iou": 0.6}, [1, 0, 2, 3]),  # 0.6 is not more than 0.6
        (specs.suppression(), {"iou": 0.3, "least": 0.0}, [1, 3, 4]),
        (specs.suppression(), {"least": 0.95}, []),
        (specs.suppression(count=1), {}, [1]),
        (specs.suppression(count=4), {}, [1, 3, None, None]),
    ],
)
def test_suppression(spec, more, expected):
    assert kept(spec, **more) == expected


def test_rows_keep_different_numbers_of_boxes():
    model = ct.models.MLModel(specs.suppression())
    weak = {"confidence": CONFIDENCES * 0.1, "boxes": BOXES}
    results = model.predict([{"confidence": CONFIDENCES, "boxes": BOXES}, weak])
    assert [len(result["kept"]) for result in results] == [2, 0]


def test_boxes_of_another_number():
    with pytest.raises(InputError, match="as many boxes"):
        specs.run(specs.suppression(), confidence=CONFIDENCES[1:], boxes=BOXES)


# --- features --------------------------------------------------------------------------------------------------------


def test_rows_of_any_kind_are_computed_together_or_apart():
    """Rows with other optional inputs are computed one by one."""
    model = ct.models.MLModel(specs.suppression())
    rows = [{"confidence": CONFIDENCES, "boxes": BOXES}, {"confidence": CONFIDENCES, "boxes": BOXES, "iou": 0.6}]
    assert [len(result["kept"]) for result in model.predict(rows)] == [2, 4]
    assert model.predict([]) == []


def test_a_batch_of_one_before_the_declared_shape():
    """Frameworks make ``[1, 2]`` of a row of two."""
    np.testing.assert_array_equal(y(specs.scaler([1], [2]), np.array([[1.0, 4.0]])), [4, 10])


@pytest.mark.parametrize(
    ("spec", "inputs"),
    [
        (specs.mapping(), {"x": 3}),
        (specs.mapping(), {}),
        (specs.mapping(), {"x": "a", "z": 1}),
        (specs.dict_vectorizer(), {"x": {1: 2.0}}),
        (specs.dict_vectorizer(), {"x": {"a": "b"}}),
        (specs.one_hot([1, 2]), {"x": 1.5}),
        (specs.one_hot([1, 2]), {"x": [1, 2]}),
        (specs.one_hot([1, 2]), {"x": "1"}),
        (specs.scaler([], []), {"x": [1.0]}),
        (specs.scaler([], []), {"x": "text"}),
        (specs.recommender(), {"items": ["a"]}),
        (specs.recommender(), {"items": {}, "only": "abc"}),
        (specs.recommender(), {"items": {}, "only": [1]}),
    ],
)
def test_wrong_inputs(spec, inputs):
    with pytest.raises(InputError):
        specs.run(spec, **inputs)


def test_rows_are_dictionaries():
    with pytest.raises(InputTypeError):
        ct.models.MLModel(specs.mapping()).predict(["a"])
