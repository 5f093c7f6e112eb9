"""Classifiers: a label, and probabilities by label."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gristmill as ct
from gristmill.errors import InputError, InputTypeError

NAMES = ["ant", "bee", "cat"]


class Heads(torch.nn.Module):
    """Probabilities, and something else."""

    def forward(self, x):
        return torch.nn.functional.softmax(x, -1), x.sum(-1)


def converted(module: torch.nn.Module | None = None, labels=NAMES, outputs=None, **config) -> ct.models.MLModel:
    return ct.convert(
        torch.export.export(module or torch.nn.Softmax(-1), (torch.zeros(1, 3),)),
        inputs=[ct.TensorType(name="x")],
        outputs=outputs,
        classifier_config=ct.ClassifierConfig(labels, **config),
        compute_precision=ct.precision.FLOAT32,
    )


def predicted(model: ct.models.MLModel) -> dict:
    """Scores whose softmax is (1, 2, 1) / 4."""
    return model.predict({"x": np.log(np.float32([[1, 2, 1]]))})


def test_string_labels(tmp_path):
    """The most probable label, and all probabilities; also after saving."""
    made = converted()
    made.save(tmp_path / "m.mlpackage")
    for model in (made, ct.models.MLModel(tmp_path / "m.mlpackage")):
        result = predicted(model)
        assert result["classLabel"] == "bee"
        # float32's rounding of the logarithms is some 1e-7
        assert result["classLabel_probs"] == pytest.approx({"ant": 0.25, "bee": 0.5, "cat": 0.25}, abs=1e-6)


def test_integer_labels():
    result = predicted(converted(labels=[10, 20, 30]))
    assert result["classLabel"] == 20
    assert type(result["classLabel"]) is int
    assert list(result["classLabel_probs"]) == [10, 20, 30]


def test_labels_from_a_file(tmp_path):
    """One label a line; empty lines do not count."""
    (tmp_path / "labels.txt").write_text("ant\nbee\n\ncat\n")
    assert predicted(converted(labels=str(tmp_path / "labels.txt")))["classLabel"] == "bee"


def test_names_of_outputs():
    """The label's name is the caller's; the specification points to both outputs."""
    model = converted(predicted_feature_name="animal")
    assert predicted(model)["animal"] == "bee"
    spec = model.get_spec().description
    assert spec.predictedFeatureName == "animal"
    assert spec.predictedProbabilitiesName == "animal_probs"


def test_other_outputs_stay():
    """One of two outputs holds the probabilities; the caller says which."""
    outputs = [ct.TensorType(name="scores"), ct.TensorType(name="total")]
    result = predicted(converted(Heads(), outputs=outputs, predicted_probabilities_output="scores"))
    assert sorted(result) == ["classLabel", "classLabel_probs", "total"]
    np.testing.assert_allclose(result["total"], np.log(2), rtol=1e-6)  # one float32 sum
    with pytest.raises(InputError, match="scores, total"):
        converted(Heads(), outputs=outputs)


def test_image_beside_the_label():
    """Descriptions of outputs find theirs, though a classifier has others than its source."""

    class Cam(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.softmax(x, -1), x.reshape(1, 1, 1, 3) * 2

    outputs = [ct.TensorType(name="scores"), ct.ImageType(name="map", color_layout="GRAYSCALE")]
    result = converted(Cam(), outputs=outputs, predicted_probabilities_output="scores").predict(
        {"x": np.float32([[1, 5, 2]])}
    )
    assert result["classLabel"] == "bee"
    assert np.asarray(result["map"]).tolist() == [[2, 10, 4]]


def test_as_many_labels_as_probabilities():
    with pytest.raises(InputError, match="one class label for each probability") as error:
        converted(labels=["ant", "bee"])
    assert (error.value.expected, error.value.actual) == (3, 2)


def test_labels_of_two_types():
    with pytest.raises(InputTypeError, match="all str or all int"):
        ct.ClassifierConfig(["ant", 2])
