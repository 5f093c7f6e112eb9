"""No file of a known type ends in an error that is not ours. ``python -m tests.fuzz`` searches for longer."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests import fuzz

BEGUN = fuzz.models()
NAMES = sorted(BEGUN)
PARTS = 8


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("part", range(PARTS))
def test_spoiled_models(part: int) -> None:
    """Each runs or gives one of our errors; both happen."""
    counts: Counter[str] = Counter()
    for place in range(part, len(NAMES), PARTS):
        choose = random.Random(place)
        counts[fuzz.outcome(fuzz.spoiled(BEGUN[NAMES[place]], choose), choose)] += 1
    assert counts["runs"] > 2
    assert counts["FormatError"] > 2
