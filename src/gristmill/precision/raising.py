"""Types a float16 program in float32, with its constants as they are: where a choice of precision starts again."""

from __future__ import annotations

from gristmill.ir.builtin import const
from gristmill.ir.constants import constant
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function, Value
from gristmill.ir.signature import Const
from gristmill.ir.traits import ControlFlow, Decompresses, ReadsState, WritesState
from gristmill.ir.types import ListType, TensorType, fp16, fp32, string
from gristmill.passes.infra import FunctionPass, blocks_of
from gristmill.precision.casts import Casts, cancel, insert_cast


class Float32Raising(FunctionPass):
    """Gives float32 to every op that has float16, but for those that hold blocks, states or lists.

    Casts between floating types do nothing afterwards, those in files included: what they rounded to is the choice that
    is made anew. Inputs, outputs and states keep their types. Ops and results keep their names.
    """

    name = "float32_raising"

    def run_on(self, function: Function) -> bool:
        casts = Casts(function)
        changed = False
        for block in blocks_of(function):
            for op in block:
                if op.op_name == "cast" and op.inserted:
                    cancel(op, function)
                elif _is_raised(op):
                    _raise(op, function, casts)
                    changed = True
        return changed


def _is_fp16(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.type.dtype == fp16


def _is_raised(op: Op) -> bool:
    if isinstance(op, const) or any(op.has(t) for t in (ControlFlow, Decompresses, ReadsState, WritesState)):
        return False
    if any(isinstance(value.type, ListType) for _, _, value in op.uses()):
        return False
    return any(_is_fp16(value) for _, _, value in op.uses()) or any(map(_is_fp16, op.results))


def _raise(op: Op, function: Function, casts: Casts) -> None:
    assert op.block is not None
    operands: dict[str, Value | tuple[Value, ...]] = {
        name: tuple(_operand(op, name, v, function, casts) for v in bound)
        if isinstance(bound, tuple)
        else _operand(op, name, bound, function, casts)
        for name, bound in op.operands.items()
    }
    names = [result.name for result in op.results]
    raised = type(op)(
        op.opset, operands, name=op.name, result_names=names, attributes=op.attributes, location=op.location
    )
    op.block.insert(raised, before=op)
    for old, new in zip(op.results, raised.results, strict=True):
        if new.type != old.type and old.uses:
            cast = insert_cast(function, new, fp16, function.unique_name(f"{old.name}_{fp16}"))
            if any(isinstance(user, Block) and user is function.body for user in old.users):
                cast.name, new.name = new.name, cast.name  # outputs keep their names
            old.replace_uses(cast)
        else:
            old.replace_uses(new)
    op.erase()


def _operand(op: Op, name: str, value: Value, function: Function, casts: Casts) -> Value:
    if _is_fp16(value):
        return casts.to(value, fp32)
    names_type = isinstance(op.params[name], Const) and isinstance(value.type, TensorType) and value.dtype == string
    if not names_type or value.constant is None or value.constant.python() != fp16.name:
        return value
    assert op.block is not None
    text = const.of(op.opset, constant(fp32.name), function.unique_name(f"{op.name}_{name}"))
    op.block.insert(text, before=op)
    return text.result
