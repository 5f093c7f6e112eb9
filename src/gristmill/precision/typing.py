"""Types a float32 program in float16, op by op.

The pass walks a function once. An op becomes float16 when its signature allows float16 for every floating operand and
result, the caller's selector agrees, and none of its constants is beyond float16's range. Its operands are cast (once
for each value), and its results are cast back, so that its users are right whatever their own type; where the next op
is float16 too the two casts meet and vanish. The casts that remain stand exactly at the borders between types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from gristmill.ir.builtin import const
from gristmill.ir.constants import ArrayData, Constant
from gristmill.ir.op import Op
from gristmill.ir.program import Function, Value
from gristmill.ir.signature import Const, TypeVar
from gristmill.ir.traits import ControlFlow, Decompresses, ReadsState, WritesState
from gristmill.ir.types import ListType, TensorType, fp16, fp32
from gristmill.passes.infra import FunctionPass, blocks_of
from gristmill.precision.casts import Casts, cancel, insert_cast

OpSelector: TypeAlias = Callable[[Op], bool]

_FP16 = np.finfo(np.float16)


@dataclass(frozen=True)
class Kept:
    """An op that stayed float32, and why."""

    op: str
    reason: str


@dataclass
class TypingReport:
    """What the pass did.

    Attributes:
        typed: Number of ops that became float16.
        kept: Floating ops that stayed float32.
        raised: Names of tiny constants that float16 would have turned to zero, and that became its smallest number.
    """

    typed: int = 0
    kept: list[Kept] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)


class Float16Typing(FunctionPass):
    """Gives float16 to every float32 op that may have it.

    Args:
        op_selector: Told each op that could become float16; false keeps it float32.
    """

    name = "float16_typing"

    def __init__(self, op_selector: OpSelector | None = None) -> None:
        self._selector = op_selector or (lambda op: True)
        self.report = TypingReport()

    def run_on(self, function: Function) -> bool:
        before = self.report.typed
        casts = Casts(function)
        for block in blocks_of(function):
            for op in block:
                self._visit(op, function, casts)
        return self.report.typed > before

    def _visit(self, op: Op, function: Function, casts: Casts) -> None:
        if op.op_name == "cast" and op.inserted:
            cancel(op, function)
            return
        if isinstance(op, const) or not _has_fp32(op) or op.op_name == "cast":
            return
        reason = self._reason_to_keep(op)
        if reason is not None:
            self.report.kept.append(Kept(op.title, reason))
            return
        self._retype(op, function, casts)
        self.report.typed += 1

    def _reason_to_keep(self, op: Op) -> str | None:
        if any(op.has(trait) for trait in (ControlFlow, Decompresses, ReadsState, WritesState)):
            return "its types are those of what it holds, stores or decodes"
        if any(isinstance(value.type, ListType) for _, _, value in op.uses()):
            return "the list that it works on has its own element type"
        for name, param in op.params.items():
            if name in op.operands and fp32 in (allowed := param.allowed(op.opset) or ()) and fp16 not in allowed:
                return f"operand '{name}' has no float16 form in {op.opset}"
        for name, _, value in op.uses():
            if value.constant is not None and _is_fp32(value) and _overflows(value.constant):
                return f"constant '{name}' is beyond float16's range (±65504)"
        if any(_is_fp32(result) and not _result_follows_operands(op) for result in op.results):
            return "its result is float32 by definition"
        return None if self._selector(op) else "the selector keeps it"

    def _retype(self, op: Op, function: Function, casts: Casts) -> None:
        assert op.block is not None
        operands: Mapping[str, Value | tuple[Value, ...]] = {
            name: tuple(self._operand(op, name, v, function, casts) for v in bound)
            if isinstance(bound, tuple)
            else self._operand(op, name, bound, function, casts)
            for name, bound in op.operands.items()
        }
        names = [function.unique_name(f"{r.name}_{fp16}") if _is_fp32(r) else r.name for r in op.results]
        typed = type(op)(
            op.opset,
            operands,
            name=names[0] if len(names) == 1 else function.unique_name(f"{op.name}_{fp16}"),
            result_names=names,
            attributes=op.attributes,
            location=op.location,
        )
        op.block.insert(typed, before=op)
        for old, new in zip(op.results, typed.results, strict=True):
            if _is_fp32(old) and not _is_fp32(new) and old.uses:
                old.replace_uses(insert_cast(function, new, fp32, old.name))
            else:
                old.replace_uses(new)
        op.erase()

    def _operand(self, op: Op, name: str, value: Value, function: Function, casts: Casts) -> Value:
        if not _is_fp32(value):
            return value
        tiny = isinstance(op.params[name], Const) and value.constant is not None and _vanishes(value.constant)
        if not tiny:
            return casts.to(value, fp16)
        assert value.constant is not None
        assert op.block is not None
        self.report.raised.append(value.name)
        array = value.constant.numpy()
        small = np.copysign(_FP16.smallest_subnormal, array).astype(np.float16)
        held = np.where((array != 0) & (array.astype(np.float16) == 0), small, array.astype(np.float16))
        raised = const.of(
            op.opset,
            Constant(value.tensor.with_dtype(fp16), ArrayData(held)),
            function.unique_name(f"{value.name}_to_{fp16}"),
            location=op.location,
        )
        op.block.insert(raised, before=op)
        return raised.result


def _is_fp32(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.type.dtype == fp32


def _has_fp32(op: Op) -> bool:
    return any(_is_fp32(value) for _, _, value in op.uses()) or any(map(_is_fp32, op.results))


def _result_follows_operands(op: Op) -> bool:
    """Whether some floating operand determines the type of the results."""
    return any(
        _is_fp32(value) and isinstance(op.params[name].constraint_at(op.opset), TypeVar) for name, _, value in op.uses()
    )


def _overflows(constant: Constant) -> bool:
    """Whether a finite element becomes infinite in float16.

    Values in the upper half of the last rounding interval (65504 to 65520) round down to float16's largest number.
    """
    array = constant.numpy()
    return bool(np.any(np.isfinite(array) & (np.abs(array) >= 65520)))


def _vanishes(constant: Constant) -> bool:
    """Whether an element that is not zero becomes zero in float16."""
    array = constant.numpy()
    with np.errstate(all="ignore"):
        return bool(np.any((array != 0) & (array.astype(np.float16) == 0)))
