"""Plans against public ones that Core ML made on Apple's hardware; docs/placement.md has the table."""

from __future__ import annotations

import pytest

from tools import measured_plans
from tools.measured_plans import MEASUREMENTS, agreement


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda measurement: measurement.title)
def test_support_is_as_measured(measurement):
    """Where it is known which units could run an op, the rules say the same."""
    same, known = agreement(measurement).supported
    assert same == known


EXPLAINED = {
    "Matrix product of 512 × 512 in float16": 3,  # the casts, which the contract keeps off
    "Attention of 1 × 2048 × 128 in float16": 1,
    "Attention of 8 × 512 × 64 in float16": 1,
    "Attention of 16 × 1024 × 64 in float16": 1,
    "Projection of 5,120 to 17,408": 1,
}
"""Ops that are placed differently than measured; docs/placement.md says why. One that agrees again is an error here."""


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda measurement: measurement.title)
def test_preferences_are_as_measured(measurement):
    same, known = agreement(measurement).preferred
    assert known - same == EXPLAINED.get(measurement.title, 0)


def test_the_page_is_fresh():
    assert measured_plans.main(["--check"]) == 0


def test_every_fact_is_about_an_op():
    """A misspelt name would make a fact say nothing."""
    for measurement in MEASUREMENTS:
        names = [op.name for op in measurement.make().body]
        for fact in measurement.facts:
            assert fact.ops == "*" or any(name.startswith(fact.ops) for name in names), (measurement.title, fact.ops)
        assert measurement.url.startswith("https://")
