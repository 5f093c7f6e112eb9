"""Models made of models, models that others compute, and files from strangers."""

from __future__ import annotations

import random

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import FormatError, GristmillError, InputError, MissingFileError, UnsupportedError
from gristmill.ir.builder import mb
from gristmill.ir.types import TensorType, fp32
from gristmill.models.classic import ALONE, CLOSED, MADE_OF_MODELS, pipeline, register_custom_model
from gristmill.package import proto
from tests.models import small
from tests.models.classic import specs


def test_stages_see_what_came_before():
    """A scaler by 2 before a stump at 2."""
    model = ct.models.MLModel(specs.scaled_tree())
    assert model.predict([{"x": [1.0]}, {"x": [1.5]}]) == [{"y": 10.0}, {"y": 20.0}]


def test_pipelines_in_pipelines():
    """The result is ((x + 1)·2 + 1)·2."""
    once = specs.pipeline("pipeline", {"x": (2,)}, {"y": (2,)}, specs.scaler([1], [2]))
    again = specs.scaler([1], [2])
    again.description.input[0].name, again.description.output[0].name = "y", "z"
    spec = specs.pipeline("pipeline", {"x": (2,)}, {"z": (2,)}, once, again)
    np.testing.assert_array_equal(specs.run(spec, x=[0.0, 1.0])["z"], [6, 10])


def test_classifier_pipeline():
    assert specs.run(specs.EVERY["pipelineClassifier"](), x=[0.0]) == {"label": "b", "p": {"a": 0.25, "b": 0.75}}


def test_program_in_a_pipeline(tmp_path):
    """An ML Program between two classic models, with weights in a file, before and after saving."""
    program = small.model(
        {"y": TensorType(fp32, (2,))},
        lambda y: mb.mul(x=y, y=np.array([1, 10], np.float32), name="z"),
    )
    last = specs.model({"z": (2,)}, {"best": float}, "best")
    last.glmRegressor.weights.add(value=[1, 1])
    last.glmRegressor.offset.append(0)
    middle = program.get_spec()
    middle.description.output[0].type.multiArrayType.shape[:] = [2]
    spec = specs.pipeline("pipeline", {"x": (2,)}, {"best": float}, specs.scaler([1], [2]), middle, last)
    model = ct.models.MLModel(spec)
    assert model.predict({"x": [0.0, 1.0]}) == {"best": 42.0}  # (2, 4) → (2, 40)
    model.save(tmp_path / "m.mlmodel")
    loaded = ct.models.MLModel(tmp_path / "m.mlmodel")
    assert loaded.predict([{"x": [0.0, 1.0]}, {"x": [1.0, 1.0]}]) == [{"best": 42.0}, {"best": 44.0}]


def test_a_stage_that_nothing_feeds():
    spec = specs.scaled_tree()
    spec.pipelineRegressor.pipeline.models[1].description.input[0].name = "elsewhere"
    with pytest.raises(FormatError, match="elsewhere"):
        specs.run(spec, x=[1.0])


def test_a_stage_that_is_fed_another_type():
    spec = specs.scaled_tree()
    description = spec.pipelineRegressor.pipeline.models[1].description
    specs.declare(description.input[0].type, float)
    with pytest.raises(FormatError, match="another type"):
        specs.run(spec, x=[1.0])


def test_an_output_that_nothing_makes():
    spec = specs.scaled_tree()
    spec.description.output[0].name = "nowhere"
    with pytest.raises(FormatError, match="nowhere"):
        specs.run(spec, x=[1.0])


# --- models of others ------------------------------------------------------------------------------------------------


def test_custom_model():
    with pytest.raises(UnsupportedError, match="Doubler"):
        specs.run(specs.custom(), x=1.0)
    register_custom_model("Doubler", lambda parameters: lambda row: {"y": row["x"] * parameters.get("times", 1)})
    assert specs.run(specs.custom(), x=1.5) == {"y": 3.0}


@pytest.fixture
def application():
    """Registers classes that custom models name, and forgets them afterwards."""
    before = dict(pipeline._CUSTOM)
    yield register_custom_model
    pipeline._CUSTOM.clear()
    pipeline._CUSTOM.update(before)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [(float, 1.5, 4.5), (int, 7, 21), (str, "ab", "ababab"), ((2,), [1.0, 2.0], [3, 6]), ([int], [1, 2], [1, 2] * 3)],
)
def test_custom_models_of_any_type(application, kind, value, expected):
    """The class gets the model's parameters once, then every row's inputs; its outputs are checked as inputs are."""
    spec = specs.transformer(kind, kind)
    spec.customModel.className = "Times"
    spec.customModel.parameters["n"].intValue = 3
    made = []
    application("Times", lambda parameters: made.append(parameters) or (lambda row: {"y": row["x"] * parameters["n"]}))
    model = ct.models.MLModel(spec)
    for result in model.predict([{"x": value}] * 2):
        np.testing.assert_array_equal(result["y"], expected)
    assert made == [{"n": 3}]


def test_a_custom_model_that_lacks_an_output(application):
    application("Doubler", lambda parameters: lambda row: {})
    with pytest.raises(InputError, match="no output 'y'"):
        specs.run(specs.custom(), x=1.0)


def test_linked_model(tmp_path):
    """The linked model lies in one of the folders of the search path, below the model."""
    (tmp_path / "models").mkdir()
    ct.models.MLModel(specs.glm_regressor()).save(tmp_path / "models" / "there.mlmodel")
    ct.models.MLModel(specs.linked(path="nowhere:models")).save(tmp_path / "m.mlmodel")
    assert ct.models.MLModel(tmp_path / "m.mlmodel").predict({"x": [0.5, 0.5]}) == {"y": 3.5}


def test_linked_models_of_several_types(tmp_path):
    """What the linked model gives is given, batch by batch; a pipeline may hold a link too."""
    linked = {"tree": specs.stump(), "line": specs.glm_regressor(), "pipe": specs.scaled_tree()}
    for name, spec in linked.items():
        ct.models.MLModel(spec).save(tmp_path / f"{name}.mlmodel")
        link = specs.model({"x": tuple(spec.description.input[0].type.multiArrayType.shape)}, {"y": float}, "y")
        link.linkedModel.linkedModelFile.linkedModelFileName.defaultValue = f"{name}.mlmodel"
        ct.models.MLModel(link).save(tmp_path / f"link to {name}.mlmodel")
        size = link.description.input[0].type.multiArrayType.shape[0]
        rows = [{"x": np.full(size, value)} for value in (0.5, 1.5, 2.5)]
        assert ct.models.MLModel(tmp_path / f"link to {name}.mlmodel").predict(rows) == [
            specs.run(spec, **row) for row in rows
        ]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/etc/passwd", ""),
        ("../there.mlmodel", ""),
        ("there.mlmodel", "/"),
        ("there.mlmodel", ".:../.."),
        ("there.mlmodel", "$BUNDLE_MAIN"),
    ],
)
def test_links_stay_below_the_model(tmp_path, name, path):
    ct.models.MLModel(specs.linked(name, path)).save(tmp_path / "m.mlmodel")
    with pytest.raises(UnsupportedError, match="below"):
        ct.models.MLModel(tmp_path / "m.mlmodel").predict({"x": [0.5, 0.5]})


def test_links_do_not_leave_by_symbolic_links(tmp_path):
    (tmp_path / "inner").mkdir()
    ct.models.MLModel(specs.glm_regressor()).save(tmp_path / "secret.mlmodel")
    (tmp_path / "inner" / "there.mlmodel").symlink_to(tmp_path / "secret.mlmodel")
    ct.models.MLModel(specs.linked()).save(tmp_path / "inner" / "m.mlmodel")
    with pytest.raises(UnsupportedError, match="below"):
        ct.models.MLModel(tmp_path / "inner" / "m.mlmodel").predict({"x": [0.5, 0.5]})


def test_a_link_to_nothing(tmp_path):
    ct.models.MLModel(specs.linked()).save(tmp_path / "m.mlmodel")
    with pytest.raises(MissingFileError):
        ct.models.MLModel(tmp_path / "m.mlmodel").predict({"x": [0.5, 0.5]})


def test_a_link_to_itself(tmp_path):
    ct.models.MLModel(specs.linked("m.mlmodel")).save(tmp_path / "m.mlmodel")
    with pytest.raises(UnsupportedError, match="links to others"):
        ct.models.MLModel(tmp_path / "m.mlmodel").predict({"x": [0.5, 0.5]})


@pytest.mark.parametrize("kind", CLOSED)
def test_closed_models_say_so_and_stay_as_they_are(kind, tmp_path):
    spec = specs.closed(kind)
    path = tmp_path / "m.mlmodel"
    path.write_bytes(spec.SerializeToString())
    model = ct.models.MLModel(path)
    with pytest.raises(UnsupportedError, match="Apple"):
        model.predict({"x": "text"})
    model.save(tmp_path / "again.mlmodel")
    assert (tmp_path / "again.mlmodel").read_bytes() == path.read_bytes()


# --- files from strangers --------------------------------------------------------------------------------------------


def test_every_type_is_known():
    """Each field of ``Model`` that is a type runs, is a network, or has a reason why it does not."""
    networks = {"mlProgram", "neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor"}
    types = {field.name for field in proto.message("Model").DESCRIPTOR.oneofs_by_name["Type"].fields}
    assert types == networks | set(ALONE) | set(MADE_OF_MODELS) | set(CLOSED)
    assert set(specs.EVERY) == set(ALONE) | set(MADE_OF_MODELS)


def some(feature):
    """A value that a feature takes."""
    match feature.type.WhichOneof("Type"):
        case "multiArrayType":
            return np.ones([min(int(n), 8) for n in feature.type.multiArrayType.shape] or [2, 4])
        case "stringType":
            return "a"
        case "int64Type":
            return 1
        case "dictionaryType":
            return {"a": 1.0} if feature.type.dictionaryType.WhichOneof("KeyType") == "stringKeyType" else {1: 1.0}
        case "sequenceType":
            return ["a"]
        case _:
            return 1.0


@pytest.mark.parametrize(
    ("spec", "field", "kind", "value"),
    [
        (specs.recommender(), 0, float, 1.0),
        (specs.recommender(), 1, str, "a"),
        (specs.recommender(), 2, {"key": str}, {}),
        (specs.suppression(), 1, str, "a"),
        (specs.mapping(), 0, {"key": str}, {}),
        (specs.one_hot(["a"]), 0, [str], ["a"]),
        (specs.probit(), 1, str, "a"),
    ],
)
def test_inputs_that_a_type_never_has(spec, field, kind, value):
    feature = spec.description.input[field]
    specs.declare(feature.type, kind)
    with pytest.raises(FormatError, match="another type"):
        specs.run(spec, **{feature.name: value})


@pytest.mark.parametrize("kind", specs.EVERY)
def test_spoiled_files_give_our_errors(kind):
    """Bytes changed, cut or inserted at random: a prediction succeeds, or fails with an error of this package."""
    data = bytearray(specs.EVERY[kind]().SerializeToString(deterministic=True))
    choose = random.Random(kind)
    failed = 0
    for _ in range(150):
        spoiled = bytearray(data)
        for _ in range(choose.randint(1, 3)):
            place = choose.randrange(len(spoiled))
            match choose.randrange(3):
                case 0:
                    spoiled[place] = choose.randrange(256)
                case 1:
                    del spoiled[place : place + choose.randint(1, 9)]
                case 2:
                    spoiled.insert(place, choose.randrange(256))
        try:
            model = ct.models.MLModel(proto.parse("Model", bytes(spoiled)))
            model.predict({feature.name: some(feature) for feature in model.get_spec().description.input})
        except GristmillError:
            failed += 1
    assert failed > 20


def test_skipped_models_do_not_predict():
    model = ct.models.MLModel(specs.mapping(), skip_model_load=True)
    with pytest.raises(UnsupportedError, match="skip_model_load"):
        model.predict({"x": "a"})


def test_an_empty_row_is_missing_its_inputs():
    with pytest.raises(InputError, match="missing"):
        specs.run(specs.scaled_tree())
