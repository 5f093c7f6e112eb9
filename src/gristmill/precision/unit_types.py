"""Types for the untyped tensors of a neural network: those of the units that run its layers.

Such a tensor is a ``unit_float``. Once a plan says which unit runs an op, its untyped tensors get the unit's native
type, and where a value crosses from a unit to one of another type stands a cast. No ``unit_float`` remains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from gristmill.ir.builtin import const
from gristmill.ir.clone import clone_op
from gristmill.ir.constants import constant
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function, Value
from gristmill.ir.traits import Decompresses
from gristmill.ir.types import DType, ListType, StateType, TensorType, Type, fp16, fp32, scalar, string, unit_float
from gristmill.precision.casts import Casts

HOME: Final = "cpu"
"""The unit that holds inputs and outputs."""

NATIVE: Final[Mapping[str, DType]] = {HOME: fp32, "gpu": fp16, "neural_engine": fp16}
"""What each unit takes an untyped tensor for: design, section 1, point 4."""


class OnUnit(Protocol):
    """Ops that one unit runs in one go, in order, such as a plan's segment; constants are not listed."""

    @property
    def unit(self) -> str: ...
    @property
    def ops(self) -> Sequence[Op]: ...


class Placed(NamedTuple):
    """Such ops where there is no plan."""

    unit: str
    ops: Sequence[Op]


def type_by_unit(function: Function, segments: Sequence[OnUnit]) -> tuple[Function, list[Placed]]:
    """A copy of a function in which every untyped tensor has the native type of the unit that runs its op.

    Inputs and outputs that are untyped become float32. Casts are run by the unit on the float32 side of the border:
    the Neural Engine never sees that type.

    Args:
        function: Stays as it is.
        segments: In the order of execution.

    Returns:
        The copy, and its segments.
    """
    return _Typing(function, unit_float, NATIVE).run(segments)


def in_float32(function: Function) -> Function:
    """A copy of a function in which all that was float16 is float32: what the types cost is held against it."""
    ops = [op for op in function.body if not isinstance(op, const)]
    return _Typing(function, fp16, {HOME: fp32}).run([Placed(HOME, ops)])[0]


class _Typing:
    """One copy in the making.

    Args:
        function: The original.
        replaced: The element type that vanishes.
        native: What takes its place, by unit.
    """

    def __init__(self, function: Function, replaced: DType, native: Mapping[str, DType]) -> None:
        self._original, self._replaced, self._native = function, replaced, native
        self._copy = Function(function.name, {}, function.opset)
        self._copy.attributes = dict(function.attributes)
        self._copy.body.attributes = dict(function.body.attributes)
        self._casts = Casts(self._copy)
        self._values: dict[Value, Value] = {}
        for value in function.values():
            self._copy.unique_name(value.name)  # casts take none of them

    def run(self, segments: Sequence[OnUnit]) -> tuple[Function, list[Placed]]:
        unit_of = {op: segment.unit for segment in segments for op in segment.ops}
        body, made = self._copy.body, dict[Op, Op]()
        for value in self._original.inputs:
            self._values[value] = body.add_argument(value.name, self._typed(value.type, self._native[HOME]))
        for op in self._original.body:
            made[op] = self._op(op, self._native[unit_of.get(op, HOME)], body)
        body.outputs = [self._output(value) for value in self._original.outputs]
        for op in reversed(list(body.walk())):
            if (isinstance(op, const) or op.has(Decompresses)) and not any(result.uses for result in op.results):
                op.erase()  # an untyped constant, whose users have typed ones now
        placed = [Placed(segment.unit, [made[op] for op in segment.ops]) for segment in segments]
        return self._copy, self._with_casts(placed)

    # -- copies ------------------------------------------------------------------------------------------------------

    def _op(self, op: Op, dtype: DType, block: Block) -> Op:
        """A copy at the end of a block, whose untyped tensors are of a type."""
        if isinstance(op, const) or not self._is_untyped(op):
            copied = clone_op(op, self._values)
            block.insert(copied)
            return copied
        operands: dict[str, Value | tuple[Value, ...]] = {
            name: tuple(self._operand(value, dtype) for value in found)
            if isinstance(found, tuple)
            else self._operand(found, dtype)
            for name, found in op.operands.items()
        }
        copied = type(op)(
            op.opset,
            operands,
            name=op.name,
            result_names=[result.name for result in op.results],
            result_types=[self._typed(result.type, dtype) for result in op.results],
            blocks=[self._block(nested, dtype) for nested in op.blocks],
            attributes=op.attributes,
            location=op.location,
        )
        copied.inserted = op.inserted
        block.insert(copied)
        self._values.update(zip(op.results, copied.results, strict=True))
        return copied

    def _block(self, block: Block, dtype: DType) -> Block:
        copied = Block()
        copied.attributes = dict(block.attributes)
        for value in block.arguments:
            self._values[value] = copied.add_argument(value.name, self._typed(value.type, dtype))
        for op in block:
            self._op(op, dtype, copied)
        copied.outputs = [self._operand(value, dtype) for value in block.outputs]
        return copied

    def _operand(self, value: Value, dtype: DType) -> Value:
        """What an op of a type takes for a value of the original."""
        made = self._values[value]
        if isinstance(value.type, TensorType) and value.dtype == self._replaced:
            return self._casts.to(made, dtype)
        if _names(value, self._replaced):
            named = const.of(self._copy.opset, constant(dtype.name), self._copy.unique_name(f"{value.name}_{dtype}"))
            assert made.producer is not None
            assert made.producer.block is not None
            made.producer.block.insert(named, before=made.producer)
            return named.result
        return made

    def _output(self, value: Value) -> Value:
        made = self._values[value]
        given = self._operand(value, self._native[HOME])
        if given is not made:
            made.name, given.name = given.name, made.name  # the output keeps its name
        return given

    # -- types -------------------------------------------------------------------------------------------------------

    def _typed(self, kind: Type, dtype: DType) -> Type:
        match kind:
            case TensorType() if kind.dtype == self._replaced:
                return kind.with_dtype(dtype)
            case StateType():
                inner = self._typed(kind.wrapped, dtype)
                assert isinstance(inner, TensorType)
                return StateType(inner)
            case ListType():
                return ListType(self._typed(kind.element, dtype), kind.length, kind.dynamic)
        return kind

    def _is_untyped(self, op: Op) -> bool:
        """Whether an op, or one that it holds, has to do with what is replaced."""
        values = [*(value for _, _, value in op.uses()), *op.results]
        if any(self._typed(value.type, fp32) != value.type or _names(value, self._replaced) for value in values):
            return True
        arguments = (value.type for block in op.blocks for value in block.arguments)
        return any(kind != self._typed(kind, fp32) for kind in arguments) or any(
            self._is_untyped(inner) for block in op.blocks for inner in block
        )

    # -- segments ----------------------------------------------------------------------------------------------------

    def _with_casts(self, segments: list[Placed]) -> list[Placed]:
        """The segments with the casts at the crossings, each where its operand is there and its result is needed."""
        index = {op: number for number, segment in enumerate(segments) for op in segment.ops}
        home = [number for number, segment in enumerate(segments) if segment.unit == HOME]
        first: list[Op] = []  # casts of inputs
        before: dict[int, list[Op]] = {}
        after: dict[int, list[Op]] = {}
        for op in self._copy.body:
            if op in index or not op.inserted:
                continue
            producer = op.operand("x").producer
            maker = None if producer is None else index.get(producer)
            if maker is None:
                first.append(op)
            elif segments[maker].unit == HOME:
                after.setdefault(maker, []).append(op)
            else:
                place = next((number for number in home if number > maker), len(segments))
                before.setdefault(place, []).append(op)
        result = [Placed(HOME, first)] if first else []
        for number, segment in enumerate(segments):
            result.append(Placed(segment.unit, [*before.get(number, ()), *segment.ops, *after.get(number, ())]))
        return [*result, Placed(HOME, before[len(segments)])] if len(segments) in before else result


def _names(value: Value, dtype: DType) -> bool:
    """Whether a value is the name of a type, as casts have one."""
    return value.constant is not None and value.type == scalar(string) and value.constant.python() == dtype.name
