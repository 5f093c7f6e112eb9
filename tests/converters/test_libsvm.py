"""What is converted from LIBSVM predicts what LIBSVM predicts, for 1,000 random rows.

Both sides compute in float64 and differ in the order of sums: results agree to 1e-10. Support vector machines know no
missing values.
"""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import FormatError, InputError, InputTypeError, UnsupportedError
from tests.converters.boosting import grid

svmutil = pytest.importorskip("libsvm.svmutil", reason="the extra libsvm")
from libsvm import svm  # noqa: E402  # is there where svmutil is

TOLERANCE = 1e-10
X, NEW = grid(150, 4, seed=5, missing=False), grid(1000, 4, seed=6, missing=False)
SCORE = X @ [1, -1, 0.5, 2]
Y = {2: np.where(SCORE > 0, 7, -3), 3: np.digitize(SCORE, [-2, 2])}
KERNELS = ["-t 0", "-t 1 -r 1 -d 2 -g 0.5", "-t 2 -g 0.3", "-t 3 -g 0.01 -r 0.1"]
convert = ct.converters.libsvm.convert


def train(options, y=SCORE):
    """A model, which keeps what its structure points into."""
    problem, parameter = svm.svm_problem(y.tolist(), X.tolist()), svm.svm_parameter(f"-q {options}")
    model = svmutil.svm_train(problem, parameter)
    model.kept = problem, parameter
    return model


def expected(model, probabilities=False):
    """Labels or numbers, and probabilities.

    By the C functions: ``svmutil.svm_predict`` writes beyond an array for nu-SVC with more than two labels.
    """
    results, shares = [], []
    for row in NEW.tolist():
        node, _ = svm.gen_svm_nodearray(row)
        found = (ctypes.c_double * model.get_nr_class())()
        if probabilities:
            results.append(svm.libsvm.svm_predict_probability(model, node, found))
        else:
            results.append(svm.libsvm.svm_predict(model, node))
        shares.append(list(found))
    return np.array(results), np.array(shares)


def predictions(model, name="input"):
    return model.predict([{name: row} for row in NEW])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", ["-s 0", "-s 1 -n 0.2"])
@pytest.mark.parametrize("labels", [2, 3])
def test_classifiers(kind, kernel, labels):
    """By votes; by probabilities where the model was trained to estimate them."""
    model = train(f"{kind} {kernel}", Y[labels])
    converted = convert(model)
    np.testing.assert_array_equal([row["target"] for row in predictions(converted)], expected(model)[0])
    assert not converted.get_spec().description.predictedProbabilitiesName

    model = train(f"{kind} {kernel} -b 1", Y[labels])
    wanted, wanted_shares = expected(model, probabilities=True)
    rows = predictions(convert(model))
    np.testing.assert_array_equal([row["target"] for row in rows], wanted)
    shares = [[row["classProbability"][label] for label in model.get_labels()] for row in rows]
    if labels == 2:  # LIBSVM keeps them away from 0 and 1, and the pipeline's logistic function does not
        shares = np.clip(shares, 1e-7, 1 - 1e-7)
    np.testing.assert_allclose(shares, wanted_shares, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", ["-s 3", "-s 4", "-s 3 -b 1"])
def test_regressors(kind, kernel):
    model = train(f"{kind} {kernel}")
    found = [row["target"] for row in predictions(convert(model))]
    np.testing.assert_allclose(found, expected(model)[0], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_class(kernel):
    """1 for what is like the others, -1 for what is not."""
    model = train(f"-s 2 -n 0.3 {kernel}")
    wanted, _ = expected(model)
    assert set(wanted) == {1, -1}
    np.testing.assert_array_equal([row["target"] for row in predictions(convert(model))], wanted)


@pytest.mark.parametrize("options", ["-s 0 -b 1", "-s 1 -n 0.2", "-s 2 -n 0.3", "-s 3", "-s 4"])
def test_files(tmp_path, options):
    """They hold features with eight digits: LIBSVM reads the same ones from them."""
    path = str(tmp_path / "model.svm")
    svmutil.svm_save_model(path, train(options, Y[3]))
    model = svmutil.svm_load_model(path)
    wanted, _ = expected(model, probabilities="-b 1" in options)
    found = [row["target"] for row in predictions(convert(path))]
    np.testing.assert_allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE)


def test_names_and_length():
    model = train("-s 0 -b 1", Y[2])
    spec = convert(model, input_names=["a", "b", "c", "d", "more"], target_name="y", probability="p").get_spec()
    assert [one.name for one in spec.description.input] == ["a", "b", "c", "d", "more"]
    assert [one.name for one in spec.description.output] == ["y", "p"]
    longer = convert(model, "x", input_length=6)
    assert list(longer.get_spec().description.input[0].type.multiArrayType.shape) == [6]
    assert longer.predict({"x": np.r_[NEW[0], 0, 0]})["target"] == expected(model, probabilities=True)[0][0]
    with pytest.raises(InputError, match=r"more features\n.*4 or more\n.*3"):
        convert(model, input_length=3)
    with pytest.raises(InputError, match=r"more features\n.*4 or more\n.*2"):
        convert(model, input_names=["a", "b"])
    with pytest.raises(InputError, match="for one array"):
        convert(model, input_names=["a", "b", "c", "d"], input_length=4)
    with pytest.raises(InputTypeError, match="or 'auto'"):
        convert(model, input_length="long")
    with pytest.raises(InputTypeError, match="target_name is a text"):
        convert(model, target_name=3)


def test_what_is_refused(tmp_path):
    kernel = [[i + 1, *row] for i, row in enumerate((X[:20] @ X[:20].T).tolist())]
    problem = svm.svm_problem(Y[2][:20].tolist(), [dict(enumerate(row)) for row in kernel], isKernel=True)
    with pytest.raises(UnsupportedError, match=r"precomputed kernel.*\n.*linear, polynomial, rbf, sigmoid"):
        convert(svmutil.svm_train(problem, svm.svm_parameter("-t 4 -q")))
    with pytest.raises(InputTypeError, match="svm_model"):
        convert([1])
    path = tmp_path / "model.svm"
    path.write_text("svm_type c_svc\n")
    with pytest.raises(FormatError, match="this is no model of LIBSVM"):
        convert(path)


def test_files_are_hostile_until_checked(tmp_path):
    """Any line left out or changed gives an error of ours, or a model that still can be written."""
    path = tmp_path / "model.svm"
    svmutil.svm_save_model(str(path), train("-s 0 -b 1", Y[3]))
    lines = path.read_text().splitlines()[:18]
    refused = 0
    for number, line in enumerate(lines):
        name = line.split()[0]
        for other in ("", name, f"{name} -1", f"{name} 999999999", f"{name} x", "1 1 999999999:1"):
            path.write_text("\n".join([*lines[:number], other, *lines[number + 1 :]]))
            try:
                convert(path)
            except (FormatError, InputError, UnsupportedError):
                refused += 1
    assert refused > 50


@pytest.mark.interop
@pytest.mark.parametrize("options", ["-s 0 -b 1", "-s 1 -n 0.2", "-s 3", "-s 4 -t 1"])
def test_what_coremltools_converts(monkeypatch, options):
    """It looks for names that LIBSVM's module had before version 3.30."""
    coremltools = pytest.importorskip("coremltools")
    for kinds in (svm.svm_forms, svm.kernel_names):
        for kind in kinds:
            monkeypatch.setattr(svm, kind.name, kind.value, raising=False)
    monkeypatch.setattr("libsvm.__version__", "3.37", raising=False)
    model = train(options, Y[3] if "-s 0" in options else Y[2])
    theirs = ct.models.MLModel(coremltools.converters.libsvm.convert(model).get_spec())
    ours = convert(model)
    wanted, _ = expected(model, probabilities="-b 1" in options)
    for converted in (theirs, ours):
        found = [row["target"] for row in predictions(converted)]
        np.testing.assert_allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.interop
def test_coremltools_reads_what_is_converted(tmp_path):
    coremltools = pytest.importorskip("coremltools")
    for number, options in enumerate(["-s 0 -b 1", "-s 2", "-s 3"]):
        path = str(tmp_path / f"{number}.mlmodel")
        convert(train(options, Y[2])).save(path)
        theirs = coremltools.models.MLModel(path, skip_model_load=True).get_spec()
        assert theirs.description.predictedFeatureName == "target"
