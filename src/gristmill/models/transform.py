"""Choices of precision that are made op by op."""

from __future__ import annotations

from gristmill.errors import InputTypeError
from gristmill.precision.typing import OpSelector


class FP16ComputePrecision:
    """Types in float16 those ops that a selector accepts, and leaves the others as the source has them.

    Args:
        op_selector: Called with each op that could become float16, which it knows by ``op_type``, ``name``, ``inputs``
            (values by field, which have ``val``, ``shape``, ``dtype``, ``op``, ``child_ops``), ``outputs``, the fields
            themselves (``op.x``), and its ``location`` in the source. All ops when left out.
    """

    def __init__(self, op_selector: OpSelector | None = None) -> None:
        if op_selector is not None and not callable(op_selector):
            raise InputTypeError("op_selector is a function of an op", actual=type(op_selector).__name__)
        self.op_selector = op_selector


Float16ComputePrecision = FP16ComputePrecision
