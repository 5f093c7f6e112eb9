"""``evaluate_*``: models beside the predictions of their sources."""

from __future__ import annotations

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import InputError, InputTypeError
from gristmill.models import datatypes
from gristmill.models.tree_ensemble import TreeEnsembleClassifier, TreeEnsembleRegressor

FEATURES = [("a", datatypes.Double()), ("b", datatypes.Double())]


def grow(trees, low, high):
    """``low`` where a ≤ 1, else ``high``."""
    trees.add_branch_node(0, 0, 0, 1, "BranchOnValueLessThanEqual", 1, 2)
    trees.add_leaf_node(0, 1, low)
    trees.add_leaf_node(0, 2, high)
    trees.set_default_prediction_value(np.zeros(np.size(low)).tolist())
    return ct.models.MLModel(trees.spec)


@pytest.fixture(scope="module")
def regressor():
    return grow(TreeEnsembleRegressor(FEATURES, "target"), 2.0, 5.0)


@pytest.fixture(scope="module")
def classifier():
    return grow(TreeEnsembleClassifier(FEATURES, ["no", "yes"], ["target", "probabilities"]), [0.75, 0.25], [0.1, 0.9])


class Frame:
    """As much of pandas' DataFrame as is used."""

    def __init__(self, rows):
        self.rows = rows

    def iterrows(self):
        return enumerate(self.rows)


ROWS = [
    {"a": 0.0, "b": 0.0, "target": 2.0, "other": "x"},
    {"a": 2.0, "b": 0.0, "target": 2.0, "other": "x"},
    {"a": 2.0, "b": 1.0, "target": 1.0, "other": "x"},
]


@pytest.mark.parametrize("data", [ROWS, Frame(ROWS)], ids=["rows", "frame"])
def test_a_regressor(regressor, data, capsys):
    """Errors of 0, 3 and 4."""
    found = ct.utils.evaluate_regressor(regressor, data, verbose=True)
    assert found == {"samples": 3, "rmse": pytest.approx((25 / 3) ** 0.5), "max_error": 4.0}
    assert "expected 1.0, predicted 5.0, difference 4" in capsys.readouterr().out


def test_files(regressor, tmp_path):
    """A model's, and a table's."""
    regressor.save(tmp_path / "model.mlmodel")
    (tmp_path / "data.csv").write_text("a,b,target\n0,0,2\n2.0,0,4.5\n")
    found = ct.utils.evaluate_regressor(str(tmp_path / "model.mlmodel"), tmp_path / "data.csv")
    assert found["max_error"] == 0.5


def test_a_classifier(classifier):
    rows = [{"a": 0.0, "b": 0.0, "target": label} for label in ("no", "yes", "yes")]
    assert ct.utils.evaluate_classifier(classifier, rows) == {"num_samples": 3, "num_errors": 2}


def test_probabilities(classifier):
    """Of the second row, which has other labels, only the fact counts."""
    rows = [{"a": 0.0, "b": 0.0, "probabilities": {"no": 0.5, "yes": 0.5}}, {"a": 0.0, "b": 0.0, "probabilities": {}}]
    found = ct.utils.evaluate_classifier_with_probabilities(classifier, rows)
    assert found == {"num_samples": 2, "max_probability_error": pytest.approx(0.25), "num_key_mismatch": 1}


def test_a_transformer(regressor, capsys):
    """Differences below 10⁻⁵ of the magnitudes do not count, nor do outputs that nobody expects."""
    samples = [{"a": 0.0, "b": 0.0}] * 3
    expected = [{"target": 2.0 + 1e-6}, {"target": 2.1}, {}]
    found = ct.utils.evaluate_transformer(regressor, samples, expected, verbose=True)
    assert found == {"num_samples": 3, "num_errors": 1}
    assert "expected {'target': 2.1}" in capsys.readouterr().out


def test_wrong_data(regressor):
    for data, message in (([], "no rows"), ([{"a": 0.0, "b": 0.0}], "no column 'target'")):
        with pytest.raises(InputError, match=message):
            ct.utils.evaluate_regressor(regressor, data)
    with pytest.raises(InputError, match="no output 'y'"):
        ct.utils.evaluate_regressor(regressor, ROWS, "y")
    with pytest.raises(InputTypeError, match="DataFrame"):
        ct.utils.evaluate_regressor(regressor, 3)
    with pytest.raises(InputError, match="as many results"):
        ct.utils.evaluate_transformer(regressor, [{}], [])
