"""``docs/precision.md`` is the page that its results make."""

import json

from tools import precision_table


def test_page_is_that_of_its_results():
    results = json.loads(precision_table.RESULTS.read_text(encoding="utf-8"))
    assert precision_table.PAGE.read_text(encoding="utf-8") == precision_table.page(results)


def test_peers_and_losses_are_written_out():
    """A failure of a peer and a model without a number are said, not left out."""
    row = {
        "budget": 40.0,
        "ops": 50,
        "float16": float("-inf"),
        "searched": 45.123,
        "float32_ops": 1,
        "rewritten": 2,
        "runs": 3,
        "seconds": 1.0,
        "bisection": {"float32_ops": 10, "runs": 6},
        "auto_mixed_precision": {"failed": "Fail: no kernel", "runs": 1},
    }
    line = precision_table.page({"net": [row]}).splitlines()[-1]
    assert line == (
        "| net | 40 | 50 | no number | 45.1 | 1 (2.0%) | 2 | 98.0% | 3 | 1.0 | 10 (20.0%), 6 "
        "| failed after 1: Fail: no kernel |"
    )
