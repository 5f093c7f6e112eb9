"""Types a float32 program in float16, op by op.

The pass walks a function once. An op becomes float16 when its signature allows float16 for every floating operand and
result, the caller's selector agrees, and none of its constants is beyond float16's range. Its operands are cast (once
for each value), and its results are cast back, so that its users are right whatever their own type; where the next op
is float16 too the two casts meet and vanish. The casts that remain stand exactly at the borders between types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np

from gristmill.ir.builtin import const
from gristmill.ir.constants import Array, CastData, Constant
from gristmill.ir.op import Op
from gristmill.ir.program import Function, Value
from gristmill.ir.signature import Const, TypeVar
from gristmill.ir.traits import ControlFlow, Decompresses, ReadsState, WritesState
from gristmill.ir.types import ListType, TensorType, fp16, fp32
from gristmill.passes.infra import FunctionPass, blocks_of
from gristmill.precision.casts import Casts, cancel, decodes_to, insert_cast
from gristmill.precision.map import name_of

OpSelector: TypeAlias = Callable[[Op], bool]

_FP16 = np.finfo(np.float16)


@dataclass(frozen=True)
class Kept:
    """An op that stayed float32, and why."""

    op: str
    reason: str


@dataclass(frozen=True)
class Vanished:
    """A constant of which elements become zero in float16.

    Attributes:
        name: The constant.
        share: Of its elements that are not zero before.
        largest: The largest magnitude among them: how much is lost at most.
    """

    name: str
    share: float
    largest: float


@dataclass
class TypingReport:
    """What the pass did.

    Attributes:
        typed: Number of ops that became float16.
        kept: Floating ops that stayed float32.
        raised: Names of tiny parameters that float16 would have turned to zero, and that became its smallest number.
        vanished: Constants of which elements became zero.
        origins: For each result that became float16 the op that made it before, by the name that selectors see.
    """

    typed: int = 0
    kept: list[Kept] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)
    vanished: list[Vanished] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)


class Float16Typing(FunctionPass):
    """Gives float16 to every float32 op that may have it.

    Args:
        op_selector: Told each op that could become float16; false keeps it float32.
    """

    name = "float16_typing"

    def __init__(self, op_selector: OpSelector | None = None) -> None:
        self._selector = op_selector or (lambda op: True)
        self._fits: dict[Value, _Fit] = {}
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
        if op.has(Decompresses):
            return  # those who use the constant have it decoded to their type
        reason = self._reason_to_keep(op)
        if reason is not None:
            self.report.kept.append(Kept(op.title, reason))
            return
        self._retype(op, function, casts)
        self.report.typed += 1

    def _reason_to_keep(self, op: Op) -> str | None:
        if any(op.has(trait) for trait in (ControlFlow, ReadsState, WritesState)):
            return "its types are those of what it holds or stores"
        if any(isinstance(value.type, ListType) for _, _, value in op.uses()):
            return "the list that it works on has its own element type"
        for name, param in op.params.items():
            if name in op.operands and fp32 in (allowed := param.allowed(op.opset) or ()) and fp16 not in allowed:
                return f"operand '{name}' has no float16 form in {op.opset}"
        for name, _, value in op.uses():
            if _is_fp32(value) and (reason := self._why_not_held(value)) is not None:
                return f"constant '{name}' {reason}"
        if any(_is_fp32(result) and not _result_follows_operands(op) for result in op.results):
            return "its result is float32 by definition"
        return None if self._selector(op) else "the selector keeps it"

    def _why_not_held(self, value: Value) -> str | None:
        """Why float16 cannot hold a constant; ``None`` if it can, and for what is no constant."""
        if value.constant is not None and self._fit(value).overflows:
            return "is beyond float16's range (±65504)"
        if value.producer is not None and value.producer.has(Decompresses):
            return _why_not_decoded(value.producer)
        return None

    def _fit(self, value: Value) -> _Fit:
        """How float16 holds a constant: it is read once, since that may mean to decode or compute it."""
        if value not in self._fits:
            self._fits[value] = _fit(value)
        return self._fits[value]

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
            if not _is_fp32(new):
                self.report.origins[new.name] = name_of(op)
            if _is_fp32(old) and not _is_fp32(new) and old.uses:
                old.replace_uses(insert_cast(function, new, fp32, old.name))
            else:
                old.replace_uses(new)
        op.erase()

    def _operand(self, op: Op, name: str, value: Value, function: Function, casts: Casts) -> Value:
        if not _is_fp32(value):
            return value
        if value.constant is None or (lost := self._fit(value).vanished) is None:
            return casts.to(value, fp16)
        if not isinstance(op.params[name], Const):
            if lost not in self.report.vanished:  # once, however many users it has
                self.report.vanished.append(lost)
            return casts.to(value, fp16)
        assert op.block is not None
        self.report.raised.append(value.name)
        raised = const.of(
            op.opset,
            Constant(value.tensor.with_dtype(fp16), RaisedData(value.constant.data, fp16)),
            function.unique_name(f"{value.name}_to_{fp16}"),
            location=op.location,
        )
        op.block.insert(raised, before=op)
        return raised.result


class RaisedData(CastData):
    """A constant in a narrower floating type, in which what would become zero is the type's smallest number."""

    def read(self) -> Array:
        wide, array = self.source.read(), super().read()
        small = np.copysign(np.finfo(array.dtype).smallest_subnormal, wide).astype(array.dtype)
        return np.where((wide != 0) & (array == 0), small, array)


def _is_fp32(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.type.dtype == fp32


def _has_fp32(op: Op) -> bool:
    return any(_is_fp32(value) for _, _, value in op.uses()) or any(map(_is_fp32, op.results))


def _result_follows_operands(op: Op) -> bool:
    """Whether some floating operand determines the type of the results."""
    return any(
        _is_fp32(value) and isinstance(op.params[name].constraint_at(op.opset), TypeVar) for name, _, value in op.uses()
    )


_BLOCK = 1 << 16
"""How many elements are looked at together: what is made of them stays in a core's cache."""


class _Fit(NamedTuple):
    """How float16 holds a constant.

    Attributes:
        overflows: Whether a finite element becomes infinite.
        vanished: What becomes zero, if anything.
    """

    overflows: bool
    vanished: Vanished | None


def _fit(value: Value) -> _Fit:
    """Looks at every element of a float32 constant once.

    Values in the upper half of the last rounding interval (65504 to 65520) round down to float16's largest number;
    half its smallest number rounds to zero, which is even.
    """
    assert value.constant is not None
    elements = value.constant.numpy().ravel(order="K")
    overflows, lost, largest = False, 0, 0.0
    for start in range(0, elements.size, _BLOCK):
        size = np.abs(elements[start : start + _BLOCK])
        if not size.max() < 65520:  # or there is a NaN
            overflows |= bool(np.any(np.isfinite(size) & (size >= 65520)))
        tiny = size <= float(_FP16.smallest_subnormal) / 2
        if np.any(tiny):
            vanishing = size[tiny & (size != 0)]
            lost += vanishing.size
            largest = max(largest, float(vanishing.max(initial=0)))
    share = lost / int(np.count_nonzero(elements)) if lost else 0.0
    return _Fit(overflows, Vanished(value.name, share, largest) if lost else None)


def _why_not_decoded(op: Op) -> str | None:
    """Why a compressed constant does not decode to float16; ``None`` if it does."""
    floats = [name for name, _, value in op.uses() if _is_fp32(value)]
    if not any(decodes_to(op, name, fp16) for name in floats):
        return "has no float16 form"
    for name in floats:
        value = op.operand(name)
        if value.producer is not None and value.producer.has(Decompresses):
            if (reason := _why_not_decoded(value.producer)) is not None:
                return reason
        elif value.constant is not None and decodes_to(op, name, fp16):
            size = np.abs(value.constant.numpy())
            if _fit(value).overflows or np.any((size > 0) & (size < _FP16.smallest_normal)):
                return f"has a '{name}' beyond what float16 holds exactly enough (6.1e-5 to 65504)"
    return None
