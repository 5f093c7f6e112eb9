"""Cases of ``gristmill.ops.control_flow``; ops with blocks are tested in ``tests/ops/test_control_flow.py``."""

from __future__ import annotations

import numpy as np

from tests.op_cases.case import Case

A = np.array([[1.0, np.nan, 3]])
MASK = np.array([[True, False, True], [False, False, True]])

CASES = [
    Case("select", {"cond": MASK, "a": A, "b": -1.0}, [[1, -1, 3], [-1, -1, 3]]),
    Case("select", {"cond": np.array(False), "a": A, "b": A[:, :1]}, [[1, 1, 1]], id="scalar"),
    Case("select", {"cond": MASK[:, :1], "a": 1.5, "b": np.array([2.0, 4])}, [[1.5, 1.5], [2, 4]], id="all-broadcast"),
    Case("select", {"cond": MASK[0], "a": MASK[1], "b": MASK[0]}, [False, False, True], id="bool"),
    Case(
        "select",
        {"cond": MASK[0], "a": 2**31 - 1, "b": np.array([0, 1, 2], np.int32)},
        [2**31 - 1, 1, 2**31 - 1],
        id="int",
    ),
]

ELSEWHERE = dict.fromkeys(("cond", "while_loop"), "tests/ops/test_control_flow.py")
