"""Choosing: between elements, between blocks, and how often a block runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gristmill.ir import dims
from gristmill.ir.constants import Array
from gristmill.ir.op import Op, RunBlock, RuntimeValue
from gristmill.ir.program import Value
from gristmill.ir.signature import ANY, Operand, TypeVar, Variadic
from gristmill.ir.traits import ControlFlow, DataMovement, Elementwise, ShapeArithmetic
from gristmill.ir.types import TensorType, Type, bool_, compatible, fp16, fp32, int32
from gristmill.ops.broadcast import broadcast_shapes


class select(Op):
    """Elements of ``a`` where ``cond`` is true, of ``b`` elsewhere; all three broadcast.

    What is not taken has no influence, not even a NaN.
    """

    T = TypeVar(fp16, fp32, bool_, int32)

    cond = Operand(bool_)
    a = Operand(T)
    b = Operand(T)
    traits = (DataMovement, Elementwise, ShapeArithmetic)

    def infer(self) -> Type:
        return self.a.tensor.with_shape(broadcast_shapes(self.cond.shape, self.a.shape, self.b.shape, op=self))

    def reference(self, cond: Array, a: Array, b: Array) -> Array:
        return np.where(cond.astype(bool), a, b)


def _either(first: Type, second: Type) -> Type:
    """What is certain of a value that has one of two compatible types; where sizes differ, nothing is."""
    if not isinstance(first, TensorType) or not isinstance(second, TensorType):
        return first
    pairs = zip(first.shape, second.shape, strict=True)
    return first.with_shape(tuple(a if dims.always_equal(a, b) else dims.unknown() for a, b in pairs))


def _is_truth_value(type: Type) -> bool:
    """Whether a value is a single bool, of whatever rank."""
    return isinstance(type, TensorType) and type.dtype == bool_ and not dims.never_equal(dims.product(type.shape), 1)


def _same_kind(first: Type, second: Type) -> bool:
    """Whether two types differ in sizes only."""
    if isinstance(first, TensorType) and isinstance(second, TensorType):
        return first.dtype == second.dtype and first.rank == second.rank
    return compatible(first, second)


class cond(Op):
    """Runs the first block where ``pred`` is true, the second elsewhere; its results are that block's outputs.

    The blocks take no arguments. Their outputs agree in number, element type and rank; a size in which they differ is
    unknown in the result.
    """

    pred = Operand(bool_)
    traits = (ControlFlow,)

    def infer(self) -> Sequence[Type]:
        if not _is_truth_value(self.pred.type):
            raise self.misfit("'pred' is one truth value", actual=self.pred.type)
        if len(self.blocks) != 2 or any(block.arguments for block in self.blocks):
            raise self.misfit("there are two blocks without arguments", actual=f"{len(self.blocks)} blocks")
        yes, no = ([value.type for value in block.outputs] for block in self.blocks)
        if len(yes) != len(no) or not all(map(_same_kind, yes, no)):
            raise self.misfit("the blocks' outputs have the same types", expected=yes, actual=no)
        return list(map(_either, yes, no))

    def control(self, operands: Mapping[str, RuntimeValue], run: RunBlock) -> list[RuntimeValue]:
        taken = self.blocks[0 if operands["pred"].item() else 1]
        return run(taken, [])


class while_loop(Op):
    """Runs the second block as long as the first one says true; both take the loop variables as arguments.

    The variables start as ``loop_vars``; each run of the second block gives their next values, the last of which are
    the results. A size that changes from round to round is unknown in the blocks' arguments.
    """

    loop_vars = Variadic(ANY)
    traits = (ControlFlow,)

    def infer(self) -> Sequence[Type]:
        if len(self.blocks) != 2:
            raise self.misfit("there are two blocks, condition and body", actual=f"{len(self.blocks)} blocks")
        condition, body = self.blocks
        if len(condition.outputs) != 1 or not _is_truth_value(condition.outputs[0].type):
            raise self.misfit("the condition is one truth value", actual=_types(condition.outputs))
        for block in self.blocks:
            self._check("arguments", block.arguments)
        self._check("outputs of the body", body.outputs)
        return [
            _either(argument.type, value.type) for argument, value in zip(body.arguments, body.outputs, strict=True)
        ]

    def _check(self, what: str, values: Sequence[Value]) -> None:
        mine = self.loop_vars
        if len(values) != len(mine) or not all(_same_kind(a.type, b.type) for a, b in zip(mine, values, strict=True)):
            raise self.misfit(f"{what} have the loop variables' types", expected=_types(mine), actual=_types(values))

    def control(self, operands: Mapping[str, RuntimeValue], run: RunBlock) -> list[RuntimeValue]:
        condition, body = self.blocks
        values = list(operands["loop_vars"])
        while run(condition, values)[0].item():
            values = run(body, values)
        return values


def _types(values: Sequence[Value]) -> str:
    return ", ".join(str(value.type) for value in values)


OPS = (cond, select, while_loop)
