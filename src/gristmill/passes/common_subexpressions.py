"""Computes equal things once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable

from gristmill.ir.builtin import const
from gristmill.ir.constants import ArrayData, BlobData, Constant, Data
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function, Value
from gristmill.ir.traits import ControlFlow, Random, ReadsState, WritesState
from gristmill.ir.types import ListType, TensorType
from gristmill.passes.infra import FunctionPass

_PARAMETER = 100
"""Constants of at most this many elements stay with the op that uses them: they cost nothing, and their names tell what
they are for. Ops are equal whichever of equal constants they use."""

_SMALL = 1 << 12
"""Constants of at most this many elements are compared by contents, larger ones by identity of their data."""


class CommonSubexpressions(FunctionPass):
    """Lets the first of several equal ops serve all; a nested block sees what its surroundings have computed."""

    name = "common_subexpressions"

    def run_on(self, function: Function) -> bool:
        return _merge(function.body, {}, _key)


class SharedParameters(FunctionPass):
    """Lets the first of several equal constants serve all, also small ones.

    Strides, axes and flags are most of a program's ops, and all that read the program spend time on each. It runs last:
    until then a constant stays with the op that uses it, and its name tells what it is for. Those that the file writes
    into their op stay there.
    """

    name = "shared_parameters"

    def run_on(self, function: Function) -> bool:
        return _merge(function.body, {}, _parameter_key)


def _merge(block: Block, seen: dict[Hashable, Op], key_of: Callable[[Op], Hashable | None]) -> bool:
    changed = False
    for op in block:
        key = key_of(op)
        if key is not None:
            first = seen.setdefault(key, op)
            if first is not op:
                for mine, theirs in zip(op.results, first.results, strict=True):
                    mine.replace_uses(theirs)
                op.erase()
                changed = True
                continue
        for nested in op.blocks:
            changed |= _merge(nested, dict(seen), key_of)
    return changed


def _key(op: Op) -> Hashable | None:
    """What makes two ops equal; ``None`` for ops that are never merged."""
    if any(op.has(trait) for trait in (ControlFlow, Random, ReadsState, WritesState)):
        return None
    if any(isinstance(value.type, ListType) for value in op.results) or _is_output_name(op):
        return None
    if isinstance(op, const):
        return None if _is_parameter(op.value) else _constant_key(op.value)
    operands = tuple(
        (name, tuple(map(_operand_key, bound)) if isinstance(bound, tuple) else _operand_key(bound))
        for name, bound in sorted(op.operands.items())
    )
    return (op.op_name, op.inserted, operands)


def _parameter_key(op: Op) -> Hashable | None:
    """What makes two constants equal; ``None`` for other ops, and for constants that stay where they are."""
    if not isinstance(op, const) or op.inline or _is_output_name(op):
        return None
    return _constant_key(op.value)


def _operand_key(value: Value) -> Hashable:
    if value.constant is not None and _is_parameter(value.constant):
        return _constant_key(value.constant)
    return value


def _is_parameter(constant: Constant) -> bool:
    return isinstance(constant.payload, Data) and constant.payload.size <= _PARAMETER


def _constant_key(constant: Constant) -> Hashable | None:
    """What makes two constants equal; ``None`` for those that are never merged."""
    if not isinstance(constant.type, TensorType) or not isinstance(constant.payload, Data):
        return None
    data = constant.payload
    if isinstance(data, BlobData):
        return ("blob", constant.type, data.path, data.offset)
    if data.size > _SMALL:
        source = data.array if isinstance(data, ArrayData) else data
        return ("const", constant.type, id(source))
    array = data.read()
    contents = tuple(array.ravel().tolist()) if array.dtype == object else hashlib.sha256(array.tobytes()).digest()
    return ("const", constant.type, contents)


def _is_output_name(op: Op) -> bool:
    """Outputs keep their names, so their makers stay."""
    return any(_is_output(value) for value in op.results)


def _is_output(value: Value) -> bool:
    return any(isinstance(use.user, Block) for use in value.uses)
