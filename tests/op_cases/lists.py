"""Lists are no inputs or outputs of a program, so their ops are tested together."""

from __future__ import annotations

from tests.op_cases.case import Case

CASES: list[Case] = []

ELSEWHERE = dict.fromkeys(
    ("list_gather", "list_length", "list_read", "list_scatter", "list_write", "make_list"), "tests/ops/test_lists.py"
)
