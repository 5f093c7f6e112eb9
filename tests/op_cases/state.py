"""States need more than one prediction to be seen."""

from __future__ import annotations

from tests.op_cases.case import Case

CASES: list[Case] = []

ELSEWHERE = dict.fromkeys(("coreml_update_state", "read_state", "write_state"), "tests/ops/test_state.py")
