"""The adapter for ``score.py`` touches the shape of numbers, and nothing else."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np


def test_only_numbers_change(monkeypatch):
    """``score.py`` gives its own classes; what stands for them here returns what a model returned."""

    class Model:
        def __init__(self, model):
            self.model = model

        def predict(self, inputs, state):
            return self.model

    outputs = {"double": 0.1, "int": 3, "label": "a", "by_label": {"a": 0.1}, "array": np.ones(2)}
    score = ModuleType("score")
    score.Model = Model
    score.Gristmill = type("Gristmill", (), {"load": lambda self, path, name: SimpleNamespace(model=outputs)})
    monkeypatch.setitem(sys.modules, "score", score)
    spec = importlib.util.spec_from_file_location("adapter", Path(__file__).with_name("adapter.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    found = module.Adapter().load("model", None).predict({}, None)
    for name, value in (("double", 0.1), ("int", 3)):
        np.testing.assert_array_equal(found[name], [value], strict=True)
    assert all(found[name] is outputs[name] for name in ("label", "by_label", "array"))
