"""Evaluates ops whose operands are all constant."""

from __future__ import annotations

from gristmill.ir.builtin import const
from gristmill.ir.constants import Array, ArrayData, Constant, LazyData, constant
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function
from gristmill.ir.traits import ControlFlow, DataDependentShape, Decompresses, Random, ReadsState, WritesState
from gristmill.ir.types import TensorType
from gristmill.passes.infra import FunctionPass
from gristmill.passes.rewriting import is_readable

_LAZY = 1 << 16
"""Results of more elements, such as a transposed weight, are constants that are computed when they are read: converting
never holds a second copy of the weights."""

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
        if isinstance(op, const) or not op.operands or not op.results or any(op.has(trait) for trait in _KEEP):
            return False
        operands = [value for _, _, value in op.uses()]
        if not all(map(is_readable, operands)):
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
    """Puts constants in the place of an op on constants; large ones are computed when somebody reads them."""
    assert op.block is not None
    later = any(_elements(value.tensor) > _LAZY for value in op.results)
    arrays = [] if later else _compute(op)
    for place, value in enumerate(op.results):
        data = _computed_later(op, place) if later else ArrayData(arrays[place], value.dtype)
        folded = const.of(op.opset, constant(data), value.name, location=op.location)
        op.block.insert(folded, before=op)
        value.replace_uses(folded.result)
    op.erase()


def _computed_later(op: Op, place: int) -> LazyData:
    value = op.results[place]
    shape = tuple(int(dim) for dim in value.shape if isinstance(dim, int))
    return LazyData(value.dtype, shape, lambda: _compute(op)[place], f"folded {value.name}")


def _compute(op: Op) -> list[Array]:
    operands: dict[str, object] = {}
    for name, bound in op.operands.items():
        operands[name] = tuple(_array(v) for v in bound) if isinstance(bound, tuple) else _array(bound)
    return op.compute(operands)


def _array(value: object) -> object:
    constant = getattr(value, "constant", None)
    assert isinstance(constant, Constant)
    return constant.numpy()
