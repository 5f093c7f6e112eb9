"""Models that coremltools 9.0 converted from scikit-learn 1.5.1 predict here what scikit-learn predicts there.

``sklearn_files/write.py`` made the files. Expected numbers were stored in float32, so they are good for 1e-6.
"""

from __future__ import annotations

import numpy as np
import pytest

import gristmill as ct
from tests.converters.sklearn_files import write

NAMES = sorted(path.stem for path in write.HERE.glob("*.mlmodel"))
CLOSE = {"rtol": 1e-6, "atol": 1e-6}


@pytest.mark.parametrize("name", NAMES)
def test_files_of_coremltools(name):
    model = ct.models.MLModel(write.HERE / f"{name}.mlmodel")
    expected = np.load(write.HERE / f"{name}.npz")
    count = len(expected[expected.files[0]])
    assert count >= 250
    found = model.predict([{"input": row} for row in write.inputs(name)[:count]])
    if "transformed" in expected:
        np.testing.assert_allclose([row["transformed_features"] for row in found], expected["transformed"], **CLOSE)
        return
    if "prediction" in found[0]:
        np.testing.assert_allclose([row["prediction"] for row in found], expected["predicted"], **CLOSE)
        return
    assert [row["classLabel"] for row in found] == expected["predicted"].tolist()
    if "probabilities" in expected:
        shares = np.array([list(row["classProbability"].values()) for row in found])
        if name == "forest_classifier":  # of more than two classes coremltools sums trees and does not divide
            np.testing.assert_allclose(shares.sum(axis=1), 5, rtol=1e-12)
            shares /= 5
        np.testing.assert_allclose(shares, expected["probabilities"], **CLOSE)


def test_all_are_there():
    assert len(NAMES) == 21
