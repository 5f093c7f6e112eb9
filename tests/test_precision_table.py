"""``docs/precision.md`` and ``docs/planted.md`` are the pages that their results make, and these what was promised."""

import json

import pytest

from tools import precision_table


def test_page_is_that_of_its_results():
    results = json.loads(precision_table.RESULTS.read_text(encoding="utf-8"))
    assert precision_table.PAGE.read_text(encoding="utf-8") == precision_table.page(results)


def test_the_search_is_at_least_as_good_as_bisection():
    """Of every model and budget that was measured: no more ops in float32, after at most 12 full evaluations."""
    results = json.loads(precision_table.RESULTS.read_text(encoding="utf-8"))
    for name, rows in results.items():
        for row in rows:
            assert row["met"], name
            assert row["float32_ops"] <= row["bisection"]["float32_ops"], name
            assert row["runs"] <= 12, name


def test_planted_failures_are_found_and_mended():
    """At full size: the guilty op is named, and at most 3 % of the ops are float32 after the search."""
    pytest.importorskip("torch")
    from tools.planted import __main__ as planted

    results = json.loads(planted.RESULTS.read_text(encoding="utf-8"))
    assert planted.PAGE.read_text(encoding="utf-8") == planted.page(results)
    assert list(results) == [case.name for case in planted.PLANTED]
    for row in results.values():
        assert row["guilty"]
        assert row["before"] < planted.BUDGET <= row["after"]
        assert row["float32_ops"] <= 0.03 * row["ops"]


def test_peers_and_losses_are_written_out():
    """A failure of a peer and a model without a number are said, not left out."""
    row = {
        "budget": 40.0,
        "ops": 50,
        "float32": 130.0,
        "float16": float("-inf"),
        "eligible_before": 0.96,
        "eligible": 0.9,
        "searched": 45.123,
        "float32_ops": 1,
        "rewritten": 2,
        "runs": 3,
        "seconds": 1.0,
        "bisection": {"float32_ops": 10, "runs": 6, "seconds": 2.0},
        "auto_mixed_precision": {"failed": ["Fail: no kernel", "Fail: no type"], "runs": 1},
    }
    (line,) = [line for line in precision_table.page({"net": [row]}).splitlines() if line.startswith("| net ")]
    assert line == (
        "| net | 40 | 50 | 130.0 | no number | 45.1 | 1 (2.0%) | 2 | 96.0% → 90.0% | 3 | 1.0 | 10 (20.0%), 6, 2.0 "
        "| failed after 1: Fail: no kernel … |"
    )
