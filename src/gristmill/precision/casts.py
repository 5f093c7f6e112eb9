"""Casts that typing inserts: made once for each value and type, and never where two of them would cancel."""

from __future__ import annotations

from gristmill.ir import registry
from gristmill.ir.builtin import const
from gristmill.ir.constants import CastData, Constant, constant
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function, Value
from gristmill.ir.signature import TypeVar
from gristmill.ir.traits import Decompresses
from gristmill.ir.types import DType, TensorType


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
        if value.producer is not None and value.producer.has(Decompresses):
            return self._decoded(value.producer, value, dtype)
        if value.constant is None:
            return insert_cast(self._function, value, dtype, name)
        data = CastData(value.constant.data, dtype)
        op = const.of(self._function.opset, Constant(value.tensor.with_dtype(dtype), data), name)
        op.location = value.producer.location if value.producer is not None else None
        block, before = _place_after(value)
        block.insert(op, before=before)
        return op.result

    def _decoded(self, op: Op, value: Value, dtype: DType) -> Value:
        """The result of an op that decompresses a constant, which then decodes to the other type and stays one."""
        operands = {
            name: self.to(bound, dtype) if isinstance(bound, Value) and decodes_to(op, name, dtype) else bound
            for name, bound in op.operands.items()
        }
        names = [self._function.unique_name(f"{result.name}_to_{dtype}") for result in op.results]
        name = names[0] if len(names) == 1 else self._function.unique_name(f"{op.name}_to_{dtype}")
        made = type(op)(op.opset, operands, name=name, result_names=names, location=op.location)
        assert op.block is not None
        op.block.insert(made, before=op.next)
        for old, new in zip(op.results, made.results, strict=True):
            self._made[old, dtype] = new if new.dtype == dtype else old
        return self._made[value, dtype]


def decodes_to(op: Op, name: str, dtype: DType) -> bool:
    """Whether an operand of an op that decompresses is a float that may have the other type."""
    value, constraint = op.operand(name), op.params[name].constraint_at(op.opset)
    is_float = isinstance(value.type, TensorType) and value.dtype.is_float
    return is_float and isinstance(constraint, TypeVar) and dtype in constraint.allowed(op.opset)


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
