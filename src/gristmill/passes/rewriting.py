"""Steps that passes take: making ops, putting them in the place of others, reading constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from gristmill.ir import types
from gristmill.ir.builder import mb
from gristmill.ir.builtin import const
from gristmill.ir.constants import BlobData, Data
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function, Value
from gristmill.ir.traits import ControlFlow, Random, Reshapes, WritesState

# --- ops -------------------------------------------------------------------------------------------------------------


def make_before(place: Op, op_name: str, *, name: str | None = None, **operands: Any) -> Value:
    """A new op before another one, with its location, and its name unless another is given; returns its result."""
    name = name or place.name
    with mb.before(place) as point:
        made = mb.op(op_name, name=name, **operands)
        assert isinstance(made, Value)
        if made.name != name:  # it is to take the place's name: so do its parameters
            _name_parameters(made, name, point.function)
    return made


def _name_parameters(made: Value, name: str, function: Function) -> None:
    """Names the constants that were made with an op as if the op had another name."""
    assert made.producer is not None
    for slot, _, value in made.producer.uses():
        if isinstance(value.producer, const) and value.name.startswith(f"{made.name}_{slot}"):
            value.name = value.producer.name = function.unique_name(f"{name}_{slot}")


def make_constant(place: Op, value: object, name: str) -> Value:
    """A new constant before an op, with its location."""
    with mb.before(place):
        return mb.const(value, name=name)


def rebuilt(op: Op, place: Op, changed: Mapping[str, Any], *, name: str | None = None) -> Value:
    """A copy of an op of one result with some operands exchanged (``None``: left out), before another op."""
    operands: dict[str, Any] = {**op.operands, **changed}
    made = make_before(place, op.op_name, name=name or op.name, **operands)
    assert made.producer is not None
    made.producer.inserted = op.inserted
    return made


def replace(op: Op, new: Value) -> None:
    """Lets a newly made value take an op's place.

    The value gets the name of the op's result, so that outputs keep theirs, and its maker the op's name and location.
    The op goes, and with it whatever only it used.
    """
    old, maker = op.result, new.producer
    assert maker is not None
    old.replace_uses(new)
    new.name, maker.name, maker.location = old.name, op.name, op.location
    erase_unused(op)


def bypass(op: Op, source: Value) -> bool:
    """Lets the users of an op's result take another value that is there already; the op goes.

    A function's outputs keep their names: the source takes the name of an output that it becomes. Where it cannot (it
    is an input, a constant or an output already, or made in another block) the op stays.

    Returns:
        Whether the op went.
    """
    value = op.result
    if is_function_output(value):
        maker = source.producer
        if maker is None or isinstance(maker, const) or maker.block is not op.block or is_function_output(source):
            return False
        if len(maker.results) == 1 and maker.name == source.name:
            maker.name = value.name
        source.name = value.name
    value.replace_uses(source)
    erase_unused(op)
    return True


def erase_unused(op: Op) -> None:
    """Erases an op without uses, and then those that only it used."""
    pending = [op]
    while pending:
        op = pending.pop()
        if op.block is None or not is_removable(op):
            continue
        makers = [value.producer for _, _, value in op.uses()]
        op.erase()
        pending += [maker for maker in makers if maker is not None]


def is_removable(op: Op) -> bool:
    """Whether nobody would notice if the op were gone."""
    if any(value.uses for value in op.results):
        return False
    return not any(op.has(trait) for trait in (ControlFlow, Random, WritesState))


def is_function_output(value: Value) -> bool:
    """Whether the value is an output of its function, whose name callers know."""
    return any(isinstance(use.user, Block) and isinstance(use.user.owner, Function) for use in value.uses)


Perm: TypeAlias = tuple[int, ...]


def perm_of(op: Op) -> Perm | None:
    """How a transposition permutes, with axes counted from the front; ``None`` for every other op."""
    if op.op_name != "transpose":
        return None
    rank = op.operand("x").rank
    return tuple(axis % rank for axis in getattr(op, "perm", ()))


def reshapes(op: Op) -> bool:
    """Whether an op does nothing but give its one operand another shape."""
    return op.has(Reshapes) and len(op.results) == 1 and isinstance(op.operands.get("x"), Value)


def same_type(a: Value, b: Value) -> bool:
    """Whether two tensors have one element type and, whatever the unknown sizes are, one shape."""
    if not (isinstance(a.type, types.TensorType) and isinstance(b.type, types.TensorType)):
        return a.type == b.type
    return a.dtype == b.dtype and types.same_shape(a.shape, b.shape)


# --- constants -------------------------------------------------------------------------------------------------------


def is_readable(value: Value) -> bool:
    """Whether a value is a constant tensor whose elements are at hand."""
    if value.constant is None or not isinstance(value.type, types.TensorType):
        return False
    data = value.constant.data
    return not isinstance(data, BlobData) or data.readable


def data_of(value: Value) -> Data:
    """Contents of a constant."""
    assert value.constant is not None
    return value.constant.data


def static_shape(value: Value) -> tuple[int, ...]:
    """The shape of a constant, or of another value without unknown sizes."""
    return tuple(int(dim) for dim in value.shape if isinstance(dim, int))
