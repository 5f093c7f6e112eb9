"""Files that libraries wrote are converted without the libraries."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import UnsupportedError
from tests.converters.boosting import NEW, check_two
from tests.converters.stored import FOLDER

CONVERTERS = ct.converters


@pytest.fixture(autouse=True)
def _nothing_is_installed(monkeypatch):
    for name in ("xgboost", "lightgbm", "catboost", "libsvm", "libsvm.svm"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(
    ("convert", "file", "options", "tolerance"),
    [
        (CONVERTERS.xgboost.convert, "xgboost.json", {"mode": "classifier"}, 1e-6),  # which sums in float32
        (CONVERTERS.lightgbm.convert, "lightgbm.txt", {}, 1e-12),
        (CONVERTERS.catboost.convert, "catboost_two.json", {"class_labels": [0, 1]}, 1e-12),
    ],
)
def test_a_file_of_another_library(convert, file, options, tolerance):
    path = FOLDER / file
    check_two(convert(path, **options), NEW, np.load(path.with_suffix(".npy")), tolerance)


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "catboost", "libsvm"])
def test_an_object_needs_the_library(name):
    with pytest.raises(UnsupportedError, match=rf"needs {name}\n.*pip install 'gristmill\[{name}\]'"):
        getattr(CONVERTERS, name).convert(object())
