"""Broadcasting to a shape, and triangles of matrices."""

from __future__ import annotations

import numpy as np

from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.op import Op
from gristmill.ir.signature import Const, Operand, TypeVar
from gristmill.ir.traits import DataMovement
from gristmill.ir.types import Type, bool_, fp16, fp32, int32
from gristmill.ops.broadcast import broadcast_shapes
from gristmill.ops.sizes import claim, known_length, sized, sizes_of


class nn_broadcast_to(Op):
    """``x`` stretched to the shape that it and ``shape`` broadcast to."""

    T = TypeVar(fp16, fp32, int32, bool_)

    x = Operand(T)
    shape = Operand(int32, rank=1)
    traits = (DataMovement,)
    dialect = "nn"

    def infer(self) -> Type:
        wanted = sizes_of(self.shape)
        if wanted is None:
            rank = max(known_length(self.shape, "'shape'"), self.x.rank)
            return self.x.tensor.with_shape(tuple(dims.unknown() for _ in range(rank)))
        return self.x.tensor.with_shape(sized(broadcast_shapes(self.x.shape, tuple(wanted), op=self)))

    def reference(self, x: Array, shape: Array) -> Array:
        made = np.broadcast_shapes(x.shape, tuple(shape.tolist()))
        return np.broadcast_to(x, claim(made, x.itemsize)).copy()


class nn_triangular(Op):
    """Matrices (the last two axes) with zeros above diagonal ``k`` (``keep`` is ``lower``), or below it (``upper``).

    Diagonal k holds the elements of column - row = k. ``band_part`` has no place for those with k on the other side.
    """

    T = TypeVar(fp16, fp32, int32, bool_)

    x = Operand(T, rank=(2, 64))
    k = Const(int)
    keep = Const(str, choices=("lower", "upper"))
    traits = (DataMovement,)
    dialect = "nn"

    def infer(self) -> Type:
        return self.x.type

    def reference(self, x: Array, k: int, keep: str) -> Array:
        return np.tril(x, k) if keep == "lower" else np.triu(x, k)


OPS = (nn_broadcast_to, nn_triangular)
