"""Choices of precision that are made op by op."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gristmill.errors import InputTypeError
from gristmill.precision.map import PrecisionMap
from gristmill.precision.typing import OpSelector


class FP16ComputePrecision:
    """Types in float16 those ops that a selector accepts, and leaves the others as the source has them.

    Args:
        op_selector: Called with each op that could become float16, which it knows by ``op_type``, ``name``, ``inputs``
            (values by field, which have ``val``, ``shape``, ``dtype``, ``op``, ``child_ops``), ``outputs``, the fields
            themselves (``op.x``), and its ``location`` in the source. A ``PrecisionMap`` is such a selector. All ops
            when left out.
    """

    def __init__(self, op_selector: OpSelector | None = None) -> None:
        if op_selector is not None and not callable(op_selector):
            raise InputTypeError("op_selector is a function of an op", actual=type(op_selector).__name__)
        self.op_selector = op_selector
        self.rewrites: Mapping[str, Iterable[str] | None] = {}
        """Passes that run before, with the names of the ops that they concern; see ``PrecisionMap``."""

    @classmethod
    def of(cls, choice: PrecisionMap) -> FP16ComputePrecision:
        """What a map says, its rewrites included."""
        made = cls(choice)
        made.rewrites = choice.rewrites
        return made


Float16ComputePrecision = FP16ComputePrecision
