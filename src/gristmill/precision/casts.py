"""Casts that typing inserts: made once for each value and type, and never where two of them would cancel."""

from __future__ import annotations

from gristmill.ir import registry
from gristmill.ir.builtin import const
from gristmill.ir.constants import CastData, Constant, constant
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function, Value
from gristmill.ir.types import DType


class Casts:
    """Brings values to other floating types, remembering what was made.

    Args:
        function: Where the values are.
    """

    def __init__(self, function: Function) -> None:
        self._function = function
        self._made: dict[tuple[Value, DType], Value] = {}

    def to(self, value: Value, dtype: DType) -> Value:
        """The value in another floating type.

        The cast stands right after the value's maker, so that every user of the value may share it. A cast that typing
        inserted is undone rather than cast again: its source has seen no rounding that the source model asked for. A
        constant is cast lazily, when it is written or packed.
        """
        if value.dtype == dtype:
            return value
        if (original := inserted_source(value)) is not None and original.dtype == dtype:
            return original
        key = (value, dtype)
        if key not in self._made:
            self._made[key] = self._cast(value, dtype)
        return self._made[key]

    def _cast(self, value: Value, dtype: DType) -> Value:
        name = self._function.unique_name(f"{value.name}_to_{dtype}")
        if value.constant is None:
            return insert_cast(self._function, value, dtype, name)
        data = CastData(value.constant.data, dtype)
        op = const.of(self._function.opset, Constant(value.tensor.with_dtype(dtype), data), name)
        op.location = value.producer.location if value.producer is not None else None
        block, before = _place_after(value)
        block.insert(op, before=before)
        return op.result


def insert_cast(function: Function, value: Value, dtype: DType, name: str) -> Value:
    """Puts a cast right after the maker of a value and returns its result, which is called ``name``."""
    block, before = _place_after(value)
    text = const.of(function.opset, constant(str(dtype)), function.unique_name(f"{name}_dtype"))
    block.insert(text, before=before)
    op = registry.lookup("cast", function.opset)(function.opset, {"x": value, "dtype": text.result}, name=name)
    op.inserted = True
    op.location = value.producer.location if value.producer is not None else None
    block.insert(op, before=before)
    return op.result


def cancel(op: Op, function: Function) -> bool:
    """Lets the users of an inserted cast take what an inserted cast before it was made of; returns whether it could.

    An output keeps its name, which then goes to the value that takes its place.
    """
    original = inserted_source(op.result)
    original = inserted_source(original) if original is not None else None
    if original is None or original.dtype != op.result.dtype:
        return False
    if any(isinstance(user, Block) and user is function.body for user in op.result.users):
        if original.producer is None or any(isinstance(user, Block) for user in original.users):
            return False  # an input, or an output of its own, has a name to keep
        original.name, op.result.name = op.result.name, original.name
    op.result.replace_uses(original)
    op.erase()
    return True


def inserted_source(value: Value) -> Value | None:
    """What an inserted cast was made of, when ``value`` is its result."""
    producer = value.producer
    if producer is not None and producer.op_name == "cast" and producer.inserted:
        return producer.operand("x")
    return None


def _place_after(value: Value) -> tuple[Block, Op | None]:
    if value.producer is not None:
        assert value.producer.block is not None
        return value.producer.block, value.producer.next
    assert value.block is not None
    return value.block, value.block.first
