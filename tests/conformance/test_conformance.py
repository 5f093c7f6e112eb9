"""Models that coremltools wrote give the outputs that its own tests expect.

``GRISTMILL_CONFORMANCE`` names another folder of cases than the sample here, ``GRISTMILL_CONFORMANCE_EVERY`` takes
every n-th of them; ``scripts/conformance.sh`` sets both.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.conformance import collection
from tests.conformance.known_misses import MISSES

FOLDER = Path(os.environ.get("GRISTMILL_CONFORMANCE") or Path(__file__).parent / "cases")
CASES = list(collection.find(FOLDER, int(os.environ.get("GRISTMILL_CONFORMANCE_EVERY") or 1)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(case: collection.Conformance, tmp_path: Path, request: pytest.FixtureRequest):
    """The case's outputs are the expected ones."""
    if case.key in MISSES:
        request.applymarker(pytest.mark.xfail(reason=MISSES[case.key], strict=True))
    collection.run(case, case.unpack(tmp_path))


def test_there_are_cases():
    """An empty folder does not count as success."""
    assert len(CASES) > 100


def test_judge_rejects_a_wrong_value():
    """The comparison can fail: on a value, on a shape, and on a NaN."""
    wanted = np.array([1.0, 2.0])
    collection.judge(np.array([1.0, 2.0], np.float32), wanted, {}, "y", float16=False)
    for wrong in (np.array([1.0, 2.1]), np.array([[1.0, 2.0]]), np.array([1.0, np.nan])):
        with pytest.raises(AssertionError):
            collection.judge(wrong, wanted, {}, "y", float16=True)
