"""Evaluates ops whose operands are all constant."""

from __future__ import annotations

from gristmill.ir.builtin import const
from gristmill.ir.constants import ArrayData, Constant
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function
from gristmill.ir.traits import ControlFlow, DataDependentShape, Decompresses, Random, ReadsState, WritesState
from gristmill.ir.types import TensorType
from gristmill.passes.infra import FunctionPass

_KEEP = (ControlFlow, DataDependentShape, Decompresses, Random, ReadsState, WritesState)


class ConstantFolding(FunctionPass):
    """Replaces an op on constants by its results, computed by the op's own definition and rounded to its own types.

    Args:
        size_limit: Results of more elements are left to be computed at run time, unless no operand is smaller:
            broadcasting a scalar into a large tensor would make the file grow.
    """

    name = "constant_folding"

    def __init__(self, size_limit: int = 1 << 16) -> None:
        self.size_limit = size_limit

    def run_on(self, function: Function) -> bool:
        return self._fold(function.body)

    def _fold(self, block: Block) -> bool:
        changed = False
        for op in block:
            for nested in op.blocks:
                changed |= self._fold(nested)
            if self._foldable(op):
                replace_by_constants(op)
                changed = True
        return changed

    def _foldable(self, op: Op) -> bool:
        if isinstance(op, const) or not op.operands or any(op.has(trait) for trait in _KEEP):
            return False
        operands = [value for _, _, value in op.uses()]
        if not all(value.is_constant and isinstance(value.type, TensorType) for value in operands):
            return False
        sizes = [_elements(value.type) for value in operands if isinstance(value.type, TensorType)]
        for value in op.results:
            if not isinstance(value.type, TensorType) or not value.type.is_static:
                return False
            size = _elements(value.type)
            if size > self.size_limit and size > max(sizes):
                return False
        return True


def _elements(tensor: TensorType) -> int:
    count = 1
    for dim in tensor.shape:
        count *= dim if isinstance(dim, int) else 0
    return count


def replace_by_constants(op: Op) -> None:
    """Computes an op on constants now, and puts constants in its place."""
    assert op.block is not None
    operands: dict[str, object] = {}
    for name, bound in op.operands.items():
        operands[name] = tuple(_array(v) for v in bound) if isinstance(bound, tuple) else _array(bound)
    for value, array in zip(op.results, op.compute(operands), strict=True):
        folded = const.of(
            op.opset,
            Constant(value.tensor.with_shape(array.shape), ArrayData(array, value.dtype)),
            value.name,
            location=op.location,
        )
        op.block.insert(folded, before=op)
        value.replace_uses(folded.result)
    op.erase()


def _array(value: object) -> object:
    constant = getattr(value, "constant", None)
    assert isinstance(constant, Constant)
    return constant.numpy()
