"""Copies of programs, functions and blocks. Types are copied, not inferred again, and constants share their data."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping

from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function, Program, Use, Value


def clone_program(program: Program) -> Program:
    """A copy that shares nothing with the original but types, constants and locations."""
    copied = Program(version=program.version, attributes=dict(program.attributes), plain_scalars=program.plain_scalars)
    for function in program.functions.values():
        copied.add_function(clone_function(function))
    return copied


def clone_function(function: Function, name: str | None = None) -> Function:
    """A copy of a function, under another name where one is given."""
    copied = Function(name or function.name, {}, function.opset)
    copied.attributes = dict(function.attributes)
    clone_block(function.body, {}, into=copied.body)
    return copied


def clone_block(block: Block, mapping: MutableMapping[Value, Value], *, into: Block | None = None) -> Block:
    """A copy of a block and all in it.

    Args:
        block: What to copy.
        mapping: What stands for values from outside; values that are not in it stand for themselves. The copies of the
            values inside are added.
        into: An empty block to fill; a new one without owner when left out.

    Returns:
        The copy. Its values have the names of the originals: when it joins the same function, rename them.
    """
    copied = into if into is not None else Block()
    copied.attributes = dict(block.attributes)
    for value in block.arguments:
        mapping[value] = _clone_value(value, copied.add_argument(value.name, value.type))
    for op in block:
        copied.insert(clone_op(op, mapping))
    copied.outputs = [mapping.get(value, value) for value in block.outputs]
    return copied


def clone_op(op: Op, mapping: MutableMapping[Value, Value]) -> Op:
    """A copy of an op that is in no block yet; see ``clone_block`` for ``mapping``."""
    copied = copy.copy(op)  # whatever an op knows beside the structure comes along
    copied.block = copied.previous = copied.next = None
    copied.attributes = dict(op.attributes)
    copied.operands = {name: _mapped(found, mapping) for name, found in op.operands.items()}
    for slot, index, value in copied.uses():
        value.uses[Use(copied, slot, index)] = None
    copied.blocks = tuple(clone_block(block, mapping) for block in op.blocks)
    for block in copied.blocks:
        block.owner = copied
    copied.results = [_clone_value(value, Value(value.type, value.name, producer=copied)) for value in op.results]
    mapping.update(zip(op.results, copied.results, strict=True))
    return copied


def _mapped(found: Value | tuple[Value, ...], mapping: Mapping[Value, Value]) -> Value | tuple[Value, ...]:
    if isinstance(found, tuple):
        return tuple(mapping.get(value, value) for value in found)
    return mapping.get(found, found)


def _clone_value(value: Value, copied: Value) -> Value:
    copied.constant, copied.contents = value.constant, value.contents
    return copied
