"""For ``score.py --adapter``: numbers as the conformance cases store them.

A Double or Int64 feature is a Python number in what ``predict`` returns, as it is in coremltools. Whoever recorded the
cases stored it as an array of one element, and ``score.py`` takes the one for the other only where the case is the one
that holds a plain number. So the adapter wraps such numbers, and changes nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from score import Gristmill, Model  # the script that loads this file


class Adapter(Gristmill):
    """What ``score.py`` does without an adapter, but for the shape of numbers."""

    def load(self, path: str, function_name: str | None) -> AsStored:
        return AsStored(super().load(path, function_name).model)

    def convert(self, source: str, case: dict[str, Any]) -> AsStored:
        return AsStored(super().convert(source, case).model)


class AsStored(Model):
    """A model whose numbers are arrays of one element."""

    def predict(self, inputs: dict[str, Any], state: Any) -> dict[str, Any]:
        outputs = super().predict(inputs, state)
        return {name: np.array([value]) if type(value) in (int, float) else value for name, value in outputs.items()}
