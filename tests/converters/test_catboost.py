"""What is converted from CatBoost predicts what CatBoost predicts, for 1,000 rows with missing values.

Both sides compute in float64 and differ in the order of sums: results agree to 1e-12. CatBoost takes 100 MB and is no
part of the tests' environment: files that it wrote stand for it (``stored.py``), and ``scripts/catboost.sh`` runs the
tests that need the library itself.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import FormatError, InputError, InputTypeError, UnsupportedError
from tests.converters.boosting import (
    NEW,
    SCORE,
    THREE,
    TWO,
    X,
    check_many,
    check_two,
    classes,
    near,
    numbers,
)
from tests.converters.stored import FOLDER, with_words

TOLERANCE = 1e-12
convert = ct.converters.catboost.convert


def document(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def convert_document(value, tmp_path, **options):
    path = tmp_path / "model.json"
    path.write_text(json.dumps(value))
    return convert(path, **options)


# --- files of CatBoost -----------------------------------------------------------------------------------------------


def test_oblivious_trees_of_a_file():
    """Missing numbers count as less than all others."""
    model = convert(FOLDER / "catboost_two.json", class_labels=[0, 1])
    check_two(model, NEW, np.load(FOLDER / "catboost_two.npy"), TOLERANCE)
    assert model.user_defined_metadata["com.gristmill.source"] == "catboost==1.2.10"
    labels, _ = classes(convert(FOLDER / "catboost_two.json"), NEW)
    assert set(labels) == {"no", "yes"}


def test_other_trees_of_a_file():
    """Missing numbers count as more than all others."""
    model = convert(FOLDER / "catboost_deep.json")
    np.testing.assert_allclose(numbers(model, NEW), np.load(FOLDER / "catboost_deep.npy"), rtol=TOLERANCE)


def test_a_core_ml_file_of_catboost():
    """CatBoost writes Core ML's format itself, with categories as a pipeline of a mapping and trees."""
    model = ct.models.MLModel(FOLDER / "catboost_core_ml.mlmodel")
    names = [feature.name for feature in model.get_spec().description.input]
    rows = model.predict([dict(zip(names, row, strict=True)) for row in with_words(NEW)])
    wanted = np.load(FOLDER / "catboost_core_ml.npy")
    np.testing.assert_allclose([row["prediction"][0] for row in rows], wanted, rtol=TOLERANCE)
    mapping, trees = model.get_spec().pipeline.models
    assert (mapping.WhichOneof("Type"), trees.WhichOneof("Type")) == ("categoricalMapping", "treeEnsembleRegressor")
    places = {node.branchFeatureIndex for node in trees.treeEnsembleRegressor.treeEnsemble.nodes}
    assert 5 in places  # some trees ask for the word


@pytest.mark.interop
def test_coremltools_reads_what_is_converted_and_what_catboost_wrote(tmp_path):
    coremltools = pytest.importorskip("coremltools")
    ours = [convert(FOLDER / "catboost_two.json"), convert(FOLDER / "catboost_deep.json", feature_names="x")]
    for number, model in enumerate([*ours, ct.models.MLModel(FOLDER / "catboost_core_ml.mlmodel")]):
        path = str(tmp_path / f"{number}.mlmodel")
        model.save(path)
        theirs = coremltools.models.MLModel(path, skip_model_load=True).get_spec()
        own = model.get_spec()
        assert theirs.SerializeToString(deterministic=True) == own.SerializeToString(deterministic=True)


def tree(values, *splits):
    """A document with one oblivious tree of splits (feature, border)."""
    floats = [{"feature_index": i, "flat_feature_index": i, "nan_value_treatment": "AsIs"} for i in range(3)]
    return {
        "features_info": {"float_features": floats},
        "scale_and_bias": [2, [1]],
        "oblivious_trees": [
            {
                "leaf_values": values,
                "splits": [{"split_type": "FloatFeature", "float_feature_index": f, "border": b} for f, b in splits],
            }
        ],
    }


def test_a_tree_by_hand(tmp_path):
    """The first split is the lowest bit; scale and bias apply; what is missing is not more."""
    model = convert_document(tree([1, 2, 3, 4], (0, 0.5), (2, 1.5)), tmp_path, mode="raw")
    x = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 2], [1, 0, 2], [0.5, 0, 1.5], [np.nan, 0, 2]], float)
    np.testing.assert_array_equal(numbers(model, x), [3, 5, 7, 9, 3, 7])
    assert [one.name for one in model.get_spec().description.input] == ["feature_0", "feature_1", "feature_2"]


def test_levels_that_are_answered_ask_nothing(tmp_path):
    """More than 2 is more than 1 too, so three leaves of four can be reached."""
    model = convert_document(tree([1, 2, 3, 4], (0, 2.0), (0, 1.0)), tmp_path, mode="raw")
    np.testing.assert_array_equal(numbers(model, np.array([[0, 0, 0], [1.5, 0, 0], [3, 0, 0.0]])), [3, 7, 9])
    assert len(model.get_spec().treeEnsembleRegressor.treeEnsemble.nodes) == 5


def test_exponentials_by_hand(tmp_path):
    value = tree([1, 2, 3, 4], (0, 0.5), (2, 1.5))
    value["model_info"] = {"params": {"loss_function": {"type": "Poisson"}}}
    x = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 2], [1, 0, 2]], float)
    np.testing.assert_allclose(numbers(convert_document(value, tmp_path), x), np.exp([3, 5, 7, 9]), rtol=TOLERANCE)


def test_features_are_rounded_to_float32_first(tmp_path):
    """CatBoost compares ``float32(x) > border``."""
    model = convert_document(tree([0, 1], (0, float(np.float32(0.1)))), tmp_path, mode="raw")
    rows = near([0.1], 3)
    np.testing.assert_array_equal(numbers(model, rows), 1 + 2 * (rows[:, 0].astype(np.float32) > np.float32(0.1)))


# --- what is refused -------------------------------------------------------------------------------------------------


def test_features_that_only_catboost_computes(tmp_path):
    value = tree([1, 2], (0, 0.5))
    value["oblivious_trees"][0]["splits"] = [{"split_type": "OnlineCtr", "border": 9.0, "ctr_target_border_idx": 0}]
    with pytest.raises(
        UnsupportedError, match=r"only CatBoost can compute\n.*FloatFeature\n.*OnlineCtr\n.*OneHotEncoder"
    ):
        convert_document(value, tmp_path)


def test_functions_that_core_ml_lacks(tmp_path):
    value = tree([1, 2], (0, 0.5))
    value["model_info"] = {"params": {"loss_function": {"type": "RMSEWithUncertainty"}}}
    with pytest.raises(UnsupportedError, match=r"'RMSEWithUncertainty'.*\n.*softmax.*\n.*second.*\n.*mode='raw'"):
        convert_document(value, tmp_path)
    np.testing.assert_array_equal(numbers(convert_document(value, tmp_path, mode="raw"), np.zeros((1, 3))), [3])


def test_another_border_between_labels(tmp_path):
    value = document("catboost_two")
    value["model_info"]["binclass_probability_threshold"] = 0.3
    with pytest.raises(UnsupportedError, match="set_probability_threshold"):
        convert_document(value, tmp_path)


def test_what_is_no_model(tmp_path):
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(FormatError, match="this is no model of CatBoost"):
        convert(tmp_path / "model.json")
    value = tree([1, 2, 3], (0, 0.5))
    with pytest.raises(FormatError, match="number of leaves"):
        convert_document(value, tmp_path)


@pytest.mark.parametrize("name", ["catboost_two", "catboost_deep"])
def test_files_are_hostile_until_checked(name, tmp_path):
    """Any entry replaced gives an error of ours, or a model that still can be written."""
    value = document(name)
    for trees in value.keys() & {"oblivious_trees", "trees"}:
        del value[trees][1:]
    about = value["model_info"]
    about["params"] = {"loss_function": about["params"]["loss_function"]}
    value["model_info"] = {key: about[key] for key in about.keys() & {"class_params", "params"}}
    refused = 0
    for holder, key in entries(value):
        kept = holder[key]
        for other in (None, -1, 10**9):
            holder[key] = other
            try:
                convert_document(value, tmp_path)
            except (FormatError, InputError, UnsupportedError):
                refused += 1
        holder[key] = kept
    assert refused > 30


def entries(value):
    """Places in a document: all of dictionaries, and the first two of lists."""
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(min(2, len(value)))
    else:
        return
    for key in keys:
        yield value, key
        yield from entries(value[key])


# --- with CatBoost itself --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def catboost():
    return pytest.importorskip(
        "catboost", reason="CatBoost takes 100 MB; scripts/catboost.sh installs it and runs this"
    )


OPTIONS = {"iterations": 20, "depth": 5, "thread_count": 1, "verbose": 0, "allow_writing_files": False}


@pytest.mark.parametrize("policy", ["SymmetricTree", "Depthwise", "Lossguide"])
@pytest.mark.parametrize("missing", ["Min", "Max"])
def test_regressors(catboost, policy, missing):
    model = catboost.CatBoostRegressor(grow_policy=policy, nan_mode=missing, **OPTIONS).fit(X, SCORE)
    converted = convert(model)
    np.testing.assert_allclose(numbers(converted, NEW), model.predict(NEW), rtol=TOLERANCE, atol=TOLERANCE)
    borders = np.concatenate(list(model.get_borders().values()))
    edges = near(borders[np.abs(borders) < 1e38], 5)  # the last ones stand for what is missing
    np.testing.assert_allclose(numbers(converted, edges), model.predict(edges), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(
    "labels", [TWO, TWO > 0, TWO + 3, np.array(["no", "yes"])[TWO]], ids=["01", "bool", "34", "text"]
)
def test_two_labels(catboost, labels):
    model = catboost.CatBoostClassifier(**OPTIONS).fit(X, labels)
    converted = convert(model)
    check_two(convert(model, class_labels=[0, 1]), NEW, model.predict_proba(NEW)[:, 1], TOLERANCE)
    found, _ = classes(converted, NEW)
    wanted = model.predict(NEW).ravel()
    if labels.dtype == bool:
        wanted = wanted.astype(str) == "True"
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("loss", ["MultiClass", "MultiClassOneVsAll"])
def test_more_labels(catboost, loss):
    model = catboost.CatBoostClassifier(loss_function=loss, **OPTIONS).fit(X, THREE)
    check_many(convert(model), NEW, model.predict_proba(NEW), TOLERANCE)


@pytest.mark.parametrize("loss", ["Poisson", "Tweedie:variance_power=1.5"])
def test_exponentials(catboost, loss):
    model = catboost.CatBoostRegressor(loss_function=loss, **OPTIONS).fit(X, np.abs(SCORE) + 0.5)
    np.testing.assert_allclose(numbers(convert(model), NEW), model.predict(NEW), rtol=TOLERANCE)


@pytest.mark.parametrize("loss", ["MAE", "Quantile", "MultiRMSE", "MultiLogloss", "CrossEntropy"])
def test_losses(catboost, loss):
    y = np.stack([SCORE, SCORE**2], axis=1) if loss == "MultiRMSE" else SCORE
    y = np.stack([TWO, 1 - TWO], axis=1) if loss == "MultiLogloss" else TWO if loss == "CrossEntropy" else y
    model = catboost.CatBoost({"loss_function": loss, **OPTIONS}).fit(X, y)
    kind = {"MultiLogloss": "Probability", "CrossEntropy": "Probability"}.get(loss, "RawFormulaVal")
    wanted = model.predict(NEW, kind)
    wanted = wanted[:, 1] if loss == "CrossEntropy" else wanted
    np.testing.assert_allclose(numbers(convert(model, mode="regressor"), NEW), wanted, rtol=TOLERANCE, atol=TOLERANCE)


def test_a_file_of_its_own_format(catboost, tmp_path):
    model = catboost.CatBoostRegressor(**OPTIONS).fit(X, SCORE)
    model.save_model(str(tmp_path / "model.cbm"))
    converted = convert(tmp_path / "model.cbm")
    np.testing.assert_allclose(numbers(converted, NEW), model.predict(NEW), rtol=TOLERANCE, atol=TOLERANCE)
    (tmp_path / "noise.cbm").write_bytes(b"noise")
    with pytest.raises((FormatError, InputError), match="this is no model of CatBoost"):
        convert(tmp_path / "noise.cbm")


LEARNED = {"score": SCORE, "two": TWO, "words": np.array(["no", "yes"])[TWO], "three": THREE}


@pytest.mark.parametrize("target", LEARNED)
def test_catboosts_own_core_ml_file(catboost, target, tmp_path):
    """CatBoost writes Core ML's format itself, always as a regressor of sums: it agrees with it too.

    Its files lack the biases of several dimensions, other than zero only for regressors of several targets.
    """
    x, new = np.nan_to_num(X), np.nan_to_num(NEW)
    kind = catboost.CatBoostRegressor if target == "score" else catboost.CatBoostClassifier
    model = kind(**OPTIONS).fit(x, LEARNED[target])
    model.save_model(str(tmp_path / "theirs.mlmodel"), format="coreml")
    theirs = ct.models.MLModel(str(tmp_path / "theirs.mlmodel"))
    same = new.astype(np.float32).astype(np.float64)  # its thresholds expect rounded features
    rows = [dict(zip([f"feature_{i}" for i in range(5)], row, strict=True)) for row in same.tolist()]
    found = np.squeeze([row["prediction"] for row in theirs.predict(rows)])
    sums = model.predict(same, prediction_type="RawFormulaVal")
    np.testing.assert_allclose(found, sums, rtol=1e-9, atol=1e-9)
    ours = numbers(convert(model, mode="raw"), same)
    np.testing.assert_allclose(ours, sums, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.interop
@pytest.mark.parametrize("target", LEARNED)
def test_coremltools_reads_files_of_both(catboost, target, tmp_path):
    coremltools = pytest.importorskip("coremltools")
    kind = catboost.CatBoostRegressor if target == "score" else catboost.CatBoostClassifier
    model = kind(**OPTIONS).fit(X, LEARNED[target])
    model.save_model(str(tmp_path / "theirs.mlmodel"), format="coreml")
    ours = convert(model)
    ours.save(tmp_path / "ours.mlmodel")
    for name, wanted in (("theirs", "treeEnsembleRegressor"), ("ours", ours.get_spec().WhichOneof("Type"))):
        found = coremltools.models.MLModel(str(tmp_path / f"{name}.mlmodel"), skip_model_load=True).get_spec()
        again = ct.models.MLModel(str(tmp_path / f"{name}.mlmodel")).get_spec()
        assert found.WhichOneof("Type") == wanted
        assert found.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)


def test_objects_that_are_no_models(catboost):
    with pytest.raises(InputTypeError, match=r"catboost\.CatBoost.*\n.*dict"):
        convert({})
    with pytest.raises(InputError, match="not fitted"):
        convert(catboost.CatBoostClassifier())
