"""Cases of ``gristmill.ops.classify``."""

from __future__ import annotations

import numpy as np

from gristmill.ir.constants import constant, list_constant
from gristmill.ir.types import fp32, int64, scalar, string
from tests.op_cases.case import Case

NAMES = list_constant(tuple(constant(name) for name in ("cat", "dog", "owl")), scalar(string))
NUMBERS = list_constant(tuple(constant(n, int64) for n in (7, -1, 2**40)), scalar(int64))


def gives(label, probabilities):
    def check(winner, by_label):
        assert winner.item() == label
        assert by_label == probabilities
        assert list(by_label) == list(probabilities)

    return check


def classify(id, probabilities, classes, check):
    operands = {"probabilities": np.array(probabilities), "classes": classes}
    return Case("classify", operands, None, id=id, dtypes=(fp32,), check=check)


CASES = [
    classify("names", [0.25, 0.5, 0.125], NAMES, gives("dog", {"cat": 0.25, "dog": 0.5, "owl": 0.125})),
    classify("numbers", [[0.25, 0.125, 0.5]], NUMBERS, gives(2**40, {7: 0.25, -1: 0.125, 2**40: 0.5})),
    classify("tie", [0.25, 0.5, 0.5], NAMES, gives("dog", {"cat": 0.25, "dog": 0.5, "owl": 0.5})),
]
