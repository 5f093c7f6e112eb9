"""The end of a classifier."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gristmill.ir import types
from gristmill.ir.constants import Array
from gristmill.ir.dims import is_static
from gristmill.ir.op import Op
from gristmill.ir.signature import OfType, Operand
from gristmill.ir.traits import Exact
from gristmill.ir.types import DictType, ListType, TensorType, Type, fp32, fp64


class classify(Op):
    """The label of the greatest probability, and all probabilities by label.

    ``probabilities`` holds one for each of ``classes``, whatever its shape. Of equal ones the first label wins, and a
    NaN counts as the greatest. The second result is a dictionary from labels to float64.
    """

    probabilities = Operand(fp32)
    classes = Operand(OfType(ListType), const=True)
    traits = (Exact,)

    def infer(self) -> list[Type]:
        labels = self.classes.type
        assert isinstance(labels, ListType)
        if not isinstance(labels.element, TensorType) or labels.element.dtype not in (types.string, types.int64):
            raise self.misfit("labels", expected="a list of string or int64", actual=labels)
        shape = self.probabilities.shape
        if is_static(shape) and isinstance(labels.length, int) and math.prod(shape) != labels.length:
            raise self.misfit("number of probabilities", expected=f"{labels.length} labels", actual=list(shape))
        label = types.scalar(labels.element.dtype)
        return [label, DictType(label, types.scalar(fp64))]

    def reference(self, probabilities: Array, classes: list[Any]) -> tuple[Array, dict[Any, float]]:
        flat = probabilities.reshape(-1)
        winner = np.asarray(classes[int(np.argmax(flat))], dtype=self.results[0].dtype.numpy)
        return winner, dict(zip(classes, flat.astype(np.float64).tolist(), strict=True))


OPS = (classify,)
