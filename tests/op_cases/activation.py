"""Cases of ``gristmill.ops.activation``."""

from __future__ import annotations

import numpy as np
from scipy import special

from tests.op_cases.case import Case

X = np.array([[-3.0, -0.5, 0.0], [0.25, 1.0, 6.5]])

CASES = [
    Case("clamped_relu", {"x": X, "alpha": 0.5, "beta": 6.0}, [[-1.5, -0.25, 0], [0.25, 1, 6]]),
    Case("gelu", {"x": X}, lambda x: x * special.ndtr(x), id="exact"),
    Case("relu", {"x": X}, [[0, 0, 0], [0.25, 1, 6.5]]),
    Case("sigmoid", {"x": X}, lambda x: special.expit(x)),
]
