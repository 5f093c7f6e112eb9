"""Builders and helpers under coremltools' names: what they make runs, and coremltools reads it."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import FormatError, InputError, InputTypeError, UnsupportedError
from gristmill.ir.builder import mb
from gristmill.ir.types import TensorType, fp32
from gristmill.models import datatypes
from gristmill.models.array_feature_extractor import create_array_feature_extractor
from gristmill.models.feature_vectorizer import create_feature_vectorizer
from gristmill.models.nearest_neighbors import KNearestNeighborsClassifierBuilder, update
from gristmill.models.pipeline import Pipeline, PipelineClassifier, PipelineRegressor
from gristmill.models.tree_ensemble import TreeEnsembleClassifier, TreeEnsembleRegressor
from tests.models import small
from tests.models.classic import specs

FEATURES = [("a", datatypes.Array(3)), ("b", datatypes.Double())]


def grow(trees):
    """−1 where a[2] ≤ 3; else 1 where b = 0, and −1 where it is not."""
    trees.add_branch_node(0, 0, 2, 3, "BranchOnValueLessThanEqual", 1, 2)
    trees.add_leaf_node(0, 1, -1)
    trees.add_branch_node(0, 2, 3, 0, "BranchOnValueEqual", 3, 4, relative_hit_rate=0.5)
    trees.add_leaf_node(0, 3, {0: 1})
    trees.add_leaf_node(0, 4, [-1])
    trees.set_default_prediction_value(0.25)


def test_tree_regressor():
    trees = TreeEnsembleRegressor(FEATURES, [("y", datatypes.Double())])
    grow(trees)
    model = ct.models.MLModel(trees.spec)
    rows = [{"a": [0, 0, 3.0], "b": 0.0}, {"a": [0, 0, 4.0], "b": 0.0}, {"a": [0, 0, 4.0], "b": 1.0}]
    assert [row["y"] for row in model.predict(rows)] == [-0.75, 1.25, -0.75]


def test_tree_classifier():
    trees = TreeEnsembleClassifier(FEATURES, ["no", "yes"], "label")
    grow(trees)
    trees.set_post_evaluation_transform("Regression_Logistic")
    result = specs.run(trees.spec, a=[0, 0, 4.0], b=0.0)
    assert result["label"] == "yes"
    assert result["classProbability"]["yes"] == pytest.approx(1 / (1 + np.exp(-1.25)), abs=1e-15)


def test_unknown_modes_and_transforms():
    trees = TreeEnsembleRegressor(FEATURES, "y")
    with pytest.raises(InputError, match="name"):
        trees.add_branch_node(0, 0, 2, 3, "BranchOnWeather", 1, 2)
    with pytest.raises(InputError, match="name"):
        trees.set_post_evaluation_transform("Softer")


def test_pipelines():
    """Numbers into an array, an element out of it, and a tree over that."""
    vectorizer, size = create_feature_vectorizer(["p", "q", "r"], "all")
    assert size == 3
    extractor = create_array_feature_extractor([("all", datatypes.Array(3))], "one", [1])
    trees = TreeEnsembleClassifier([("one", datatypes.Array(1))], [4, 5], ["label", "scores"])
    trees.add_branch_node(0, 0, 0, 2, "BranchOnValueLessThan", 1, 2)
    trees.add_leaf_node(0, 1, [1, 0])
    trees.add_leaf_node(0, 2, [0, 1])
    trees.set_default_prediction_value([0, 0])
    pipeline = PipelineClassifier(["p", "q", "r"], [4, 5], ["label", "scores"])
    for spec in (vectorizer, extractor, ct.models.MLModel(trees.spec)):
        pipeline.add_model(spec)
    model = ct.models.MLModel(pipeline.spec)
    assert model.predict({"p": 9.0, "q": 1.0, "r": 9.0}) == {"label": 4, "scores": {4: 1.0, 5: 0.0}}
    assert model.predict({"p": 0.0, "q": 3.0, "r": 0.0})["label"] == 5


def test_regressor_pipeline():
    trees = TreeEnsembleRegressor(FEATURES, "y")
    grow(trees)
    pipeline = PipelineRegressor(FEATURES, [("y", datatypes.Double())])
    pipeline.add_model(trees.spec)
    assert specs.run(pipeline.spec, a=[0, 0, 4.0], b=0.0) == {"y": 1.25}


def test_dictionaries_need_a_size():
    features = [("d", datatypes.Dictionary("Int64")), ("x", float)]
    with pytest.raises(InputError, match="size"):
        create_feature_vectorizer(features, "y")
    spec, size = create_feature_vectorizer(features, "y", {"d": 3})
    assert size == 4
    np.testing.assert_array_equal(specs.run(spec, d={2: 7.0}, x=1.0)["y"], [0, 0, 7, 1])


def test_elements_have_to_be_there():
    with pytest.raises(InputError, match="element"):
        create_array_feature_extractor([("x", datatypes.Array(3))], "y", 3)


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (["a", "a", "b"], [("a", datatypes.Array(2)), ("b", datatypes.Double())]),
        (
            {"a": 0, "b": [2, 3], "c": 1},
            [("a", datatypes.Double()), ("c", datatypes.Double()), ("b", datatypes.Array(2))],
        ),
        ([("a", str), ("b", "Int64")], [("a", datatypes.String()), ("b", datatypes.Int64())]),
    ],
)
def test_forms_of_features(features, expected):
    from gristmill.models.classic import interface

    assert interface.as_features(features) == expected


@pytest.mark.parametrize("features", ["a", [1, 2], ["a", "b", "a"], {"a": [0, 2]}, [("a", "Image")]])
def test_what_are_no_features(features):
    with pytest.raises(InputError):
        TreeEnsembleRegressor(features, "y")


# --- neighbours ------------------------------------------------------------------------------------------------------


def neighbors(**more):
    builder = KNearestNeighborsClassifierBuilder("x", "label", 2, "none", number_of_neighbors=1, **more)
    builder.add_samples([[0, 0], [4, 0]], ["a", "b"])
    return builder


def test_neighbors():
    builder = neighbors(index_type="kd_tree", leaf_size=7, weighting_scheme="inverse_distance")
    assert (builder.index_type, builder.leaf_size, builder.weighting_scheme) == ("kd_tree", 7, "inverse_distance")
    assert builder.number_of_neighbors_allowed_range() == (1, 1000)
    assert specs.run(builder.spec, x=[3.0, 1.0]) == {"label": "b", "labelProbs": {"a": 0.0, "b": 1.0}}


def test_updating_neighbors():
    """What ``update`` makes knows the new sample; the old model does not."""
    model = ct.models.MLModel(neighbors().spec)
    updated = update(model, [{"x": [3.0, 1.0], "label": "c"}])
    assert updated.predict({"x": [3.0, 1.0]})["label"] == "c"
    assert model.predict({"x": [3.0, 1.0]})["label"] == "b"
    with pytest.raises(InputError, match="missing"):
        update(model, [{"x": [3.0, 1.0]}])
    with pytest.raises(InputTypeError, match="labels"):
        update(model, [{"x": [3.0, 1.0], "label": 3}])


def test_updating_a_pipeline():
    """The samples pass the models before the classifier: what is learnt at 13 is found at 13, which those see as 3."""
    shifted = specs.scaler([-10], [])
    shifted.description.output[0].name = "shifted"
    classifier = KNearestNeighborsClassifierBuilder("shifted", "label", 2, "none", number_of_neighbors=1)
    classifier.add_samples([[0, 0], [4, 0]], ["a", "b"])
    pipeline = Pipeline(
        [("x", datatypes.Array(2))],
        [("label", str), ("labelProbs", datatypes.Dictionary(str))],
        [("x", datatypes.Array(2)), ("label", str)],
    )
    pipeline.add_model(shifted)
    pipeline.add_model(classifier.spec)
    with pytest.raises(UnsupportedError, match="updated"):
        update(ct.models.MLModel(pipeline.spec), [])
    pipeline.make_updatable()
    model = ct.models.MLModel(pipeline.spec)
    assert model.predict({"x": [13.0, 11.0]})["label"] == "b"
    updated = update(model, [{"x": [13.0, 11.0], "label": "c"}])
    assert updated.predict({"x": [13.0, 11.0]})["label"] == "c"
    assert updated.predict({"x": [10.0, 10.0]})["label"] == "a"
    assert model.predict({"x": [13.0, 11.0]})["label"] == "b"
    with pytest.raises(InputError, match="missing"):
        update(model, [{"x": [13.0, 11.0]}])


def test_models_that_are_not_updatable():
    builder = neighbors()
    builder.is_updatable = False
    with pytest.raises(UnsupportedError, match="updated"):
        update(ct.models.MLModel(builder.spec), [])


def test_wrong_parameters_of_neighbors():
    builder = neighbors()
    for wrong in ({"allowed_range": (2, 9)}, {"allowed_set": {3}}, {}, {"allowed_range": (1, 9), "allowed_set": {1}}):
        with pytest.raises(InputError):
            builder.set_number_of_neighbors_with_bounds(1, **wrong)
    with pytest.raises(InputError):
        builder.add_samples([[1, 2, 3]], ["a"])
    with pytest.raises(InputError):
        builder.weighting_scheme = "by weather"


def test_updatable_pipelines():
    pipeline = Pipeline([("x", datatypes.Array(2))], [("label", str)])
    pipeline.add_model(specs.scaler([], []))
    with pytest.raises(InputError, match="last model"):
        pipeline.make_updatable()
    pipeline.add_model(neighbors().spec)
    pipeline.make_updatable()
    with pytest.raises(InputError, match="updatable already"):
        pipeline.add_model(neighbors().spec)


# --- pipelines of models, compiled models ----------------------------------------------------------------------------


def product(name, result, factor):
    """``result = name · factor``, with enough weights for a file."""
    weights = np.full((64, 64), 0, np.float32) + np.eye(64, dtype=np.float32) * factor
    kind = TensorType(fp32, (1, 64))
    return small.model(
        {name: kind}, lambda x: mb.linear(x=x, weight=weights, bias=np.zeros(64, np.float32), name=result)
    )


def test_pipeline_of_programs(tmp_path):
    """Each program keeps its weights, before and after saving."""
    pipeline = ct.utils.make_pipeline(product("x", "y", 2), product("y", "z", 5))
    x = np.arange(64, dtype=np.float32)[None]
    np.testing.assert_array_equal(pipeline.predict({"x": x})["z"], 10 * x)
    pipeline.save(tmp_path / "p.mlpackage")
    loaded = ct.models.MLModel(tmp_path / "p.mlpackage")
    assert [list(loaded.input_description), list(loaded.output_description)] == [["x"], ["z"]]
    np.testing.assert_array_equal(loaded.predict({"x": x})["z"], 10 * x)


def test_pipelines_need_two_models_and_one_set_of_units():
    first = product("x", "y", 2)
    with pytest.raises(InputError, match="two models"):
        ct.utils.make_pipeline(first)
    second = ct.models.MLModel(product("y", "z", 5).package, compute_units=ct.ComputeUnit.CPU_ONLY)
    with pytest.raises(InputError, match="units"):
        ct.utils.make_pipeline(first, second)
    assert ct.utils.make_pipeline(first, second, compute_units=ct.ComputeUnit.CPU_ONLY).kind == "pipeline"


def test_compiled_program(tmp_path):
    """MIL text and weights, which load again and compute the same."""
    product("x", "y", 3).save(tmp_path / "m.mlpackage")
    path = ct.utils.compile_model(str(tmp_path / "m.mlpackage"), tmp_path / "m.mlmodelc")
    assert {file.name for file in (tmp_path / "m.mlmodelc").iterdir()} == {"metadata.json", "model.mil", "weights"}
    schema = json.loads((tmp_path / "m.mlmodelc" / "metadata.json").read_text())[0]["inputSchema"]
    assert (schema[0]["name"], schema[0]["dataType"], schema[0]["shape"]) == ("x", "Float32", "[1, 64]")
    x = np.arange(64, dtype=np.float32)[None]
    np.testing.assert_array_equal(ct.models.CompiledMLModel(path).predict({"x": x})["y"], 3 * x)
    ct.models.MLModel(path).save(tmp_path / "again.mlpackage")
    np.testing.assert_array_equal(ct.models.MLModel(tmp_path / "again.mlpackage").predict({"x": x})["y"], 3 * x)


def test_compiled_classic_model(tmp_path):
    """The example of coremltools' own documentation."""
    spec = specs.model({"x": float}, {"y": float}, "y", version=1)
    spec.glmRegressor.offset.append(0.1)
    spec.glmRegressor.weights.add(value=[2.0])
    model = ct.models.CompiledMLModel(ct.utils.compile_model(spec))
    assert model.predict({"x": 2}) == {"y": 4.1}


def test_compiled_pipeline(tmp_path):
    path = ct.utils.compile_model(
        ct.utils.make_pipeline(product("x", "y", 2), product("y", "z", 5)).package.save(tmp_path / "p.mlpackage")
    )
    x = np.ones((1, 64), np.float32)
    np.testing.assert_array_equal(ct.models.CompiledMLModel(path).predict({"x": x})["z"], 10 * x)


def test_paths_of_compiled_models(tmp_path):
    with pytest.raises(InputError, match="mlmodelc"):
        ct.utils.compile_model(specs.glm_regressor(), tmp_path / "m.mlpackage")
    with pytest.raises(InputError, match="mlmodelc"):
        ct.models.CompiledMLModel(tmp_path / "m.mlpackage")
    (tmp_path / "m.mlmodelc").mkdir()
    with pytest.raises(FormatError):
        ct.models.CompiledMLModel(tmp_path / "m.mlmodelc")


# --- coremltools reads it --------------------------------------------------------------------------------------------


@pytest.mark.interop
def test_coremltools_reads_what_is_built(tmp_path):
    """Its own loader takes the files, and finds the same numbers of nodes and samples."""
    coremltools = pytest.importorskip("coremltools")
    trees = TreeEnsembleRegressor(FEATURES, "y")
    grow(trees)
    ct.utils.save_spec(trees.spec, tmp_path / "t.mlmodel")
    loaded = coremltools.utils.load_spec(str(tmp_path / "t.mlmodel"))
    assert len(loaded.treeEnsembleRegressor.treeEnsemble.nodes) == 5
    ct.utils.save_spec(neighbors().spec, tmp_path / "k.mlmodel")
    loaded = coremltools.models.MLModel(str(tmp_path / "k.mlmodel"), skip_model_load=True).get_spec()
    assert len(loaded.kNearestNeighborsClassifier.nearestNeighborsIndex.floatSamples) == 2
