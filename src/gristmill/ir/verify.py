"""The rules that every program keeps, checked; run after whatever changed a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gristmill.errors import GristmillError, IRError
from gristmill.ir import types
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function, Program, Use, Value
from gristmill.ir.traits import ControlFlow, ReadsState, WritesState
from gristmill.ir.types import DictType, ListType, StateType, TensorType, TupleType, Type, unit_float

MAX_DEPTH = 100
"""Of blocks inside one another; far from Python's own limit."""


def verify(what: Program | Function, *, planned: bool = False, fresh: bool = False) -> None:
    """Checks a program or one function.

    Args:
        what: What to check.
        planned: Whether partition is done, after which no value is untyped (``unit_float``).
        fresh: Whether the ops were made just now, by their constructors, and not changed since. These checked operands
            and types, which is the larger part of the work, so it is not done again.

    Raises:
        IRError: The first rule that is broken, with the op and its place.
    """
    for problem in problems(what, planned=planned, fresh=fresh):
        raise problem


def problems(what: Program | Function, *, planned: bool = False, fresh: bool = False) -> Iterator[IRError]:
    """Every broken rule, in order; empty for a valid program. Takes time linear in the program's size."""
    if isinstance(what, Function):
        yield from _Verifier(what, planned, fresh).run()
        return
    for name, function in what.functions.items():
        if function.name != name:
            yield IRError("a function is registered under another name", expected=function.name, actual=name)
        yield from _Verifier(function, planned, fresh).run()


class _Verifier:
    def __init__(self, function: Function, planned: bool, fresh: bool) -> None:
        self.function, self.planned, self.fresh = function, planned, fresh
        self.place = f"function '{function.name}'"
        self.names: set[str] = set()
        self.defined: dict[Value, None] = {}
        self.visible: set[Value] = set()
        self.used: Counter[Value] = Counter()
        self.blocks: set[Block] = set()

    def run(self) -> Iterator[IRError]:
        if self.function.body.owner is not self.function:
            yield self.problem("the function's block has another owner", actual=self.function.body.owner)
        yield from self.block(self.function.body, 0)
        for value in self.defined:
            if len(value.uses) != self.used[value]:
                yield self.problem(
                    f"value '{value.name}' keeps uses that are not there",
                    value.producer,
                    expected=f"{self.used[value]} uses",
                    actual=f"{len(value.uses)}, by {', '.join(_title(use) for use in value.uses)}",
                )

    def problem(self, message: str, op: Op | None = None, *, expected: object = None, actual: object = None) -> IRError:
        place = f"{self.place}, {op.location}" if op is not None and op.location is not None else self.place
        return IRError(message, op=op.title if op else None, location=place, expected=expected, actual=actual)

    # -- blocks ------------------------------------------------------------------------------------------------------

    def block(self, block: Block, depth: int) -> Iterator[IRError]:
        if depth > MAX_DEPTH or block in self.blocks:
            message = "a block stands in two places" if block in self.blocks else "blocks are nested too deeply"
            yield self.problem(message, block.owner if isinstance(block.owner, Op) else None)
            return
        self.blocks.add(block)
        inside: list[Value] = []
        for value in block.arguments:
            if value.block is not block or value.producer is not None:
                yield self.problem(f"argument '{value.name}' belongs to another block")
            if isinstance(value.type, StateType) and depth:
                yield self.problem(f"argument '{value.name}' is a state, which only a function's input may be")
            yield from self.define(value, inside)
        ops, broken = _chain(block)
        if broken:
            yield self.problem(f"the block's list of ops is broken: {broken}")
        for op in ops:
            yield from self.op(op, depth)
            for value in op.results:
                if value.producer is not op or value.block is not None:
                    yield self.problem(f"result '{value.name}' belongs to another op", op)
                if isinstance(value.type, StateType):
                    yield self.problem(f"result '{value.name}' is a state, which only a function's input may be", op)
                yield from self.define(value, inside)
        owner = block.owner if isinstance(block.owner, Op) else None
        for index, value in enumerate(block.outputs):
            yield from self.use(value, Use(block, None, index), owner)
            if isinstance(value.type, StateType):
                yield self.problem(f"the block's output {index} is a state", owner, actual=value.name)
        self.visible.difference_update(inside)

    def define(self, value: Value, inside: list[Value]) -> Iterator[IRError]:
        op = value.producer
        if not value.name or value.name in self.names:
            yield self.problem("values have unique names", op, actual=repr(value.name))
        if self.planned and _untyped(value.type):
            yield self.problem(f"value '{value.name}' is untyped after planning", op, actual=value.type)
        self.names.add(value.name)
        self.defined[value] = None
        self.visible.add(value)
        inside.append(value)

    def use(self, value: Value, use: Use, op: Op | None) -> Iterator[IRError]:
        what = f"operand '{use.slot}'" if use.slot is not None else f"output {use.position} of the block"
        if value not in self.visible:
            yield self.problem(
                f"{what} is not visible here",
                op,
                expected="an argument, or a result of an op further up in this block or around it",
                actual=value,
            )
        if use not in value.uses:
            yield self.problem(f"{what} does not know of its use", op, actual=value)
        self.used[value] += 1

    # -- ops ---------------------------------------------------------------------------------------------------------

    def op(self, op: Op, depth: int) -> Iterator[IRError]:
        if op.opset != self.function.opset:
            yield self.problem("the op is for another opset", op, expected=self.function.opset, actual=op.opset)
        if bool(op.blocks) != op.has(ControlFlow):
            yield self.problem("blocks belong to control flow, and control flow has blocks", op, actual=len(op.blocks))
        for block in op.blocks:
            if block.owner is not op:
                yield self.problem("a block of the op has another owner", op, actual=block.owner)
            yield from self.block(block, depth + 1)
        for slot, index, value in op.uses():
            yield from self.use(value, Use(op, slot, index), op)
        yield from self.effects(op)
        if not self.fresh:
            yield from self.types(op)

    def effects(self, op: Op) -> Iterator[IRError]:
        states = {value for _, _, value in op.uses() if isinstance(value.type, StateType)}
        effects = list(op.effects()) if states or op.has(ReadsState) or op.has(WritesState) else []
        for effect in effects:
            if effect.state not in states:
                yield self.problem("the op has an effect on what is not its operand", op, actual=effect.state)
            if not op.has(ReadsState if effect.kind == "read" else WritesState):
                yield self.problem(f"the op lacks the trait for its effect '{effect.kind}'", op)
        for state in states - {effect.state for effect in effects}:
            yield self.problem(f"the op takes the state '{state.name}' without declaring an effect on it", op)

    def types(self, op: Op) -> Iterator[IRError]:
        """Operands against the signature; results against what inference says of them."""
        try:
            op.check_operands()
            inferred = op.inferred_types()
        except GristmillError as error:
            if not isinstance(error, IRError):
                yield self.problem(error.message, op, expected=error.expected, actual=error.actual)
                return
            error.op, error.location = error.op or op.title, error.location or self.place
            yield error
            return
        if len(inferred) != len(op.results):
            yield self.problem("number of results", op, expected=len(inferred), actual=len(op.results))
            return
        for value, mine in zip(op.results, inferred, strict=True):
            if not types.compatible(mine, value.type):
                yield self.problem(f"type of result '{value.name}'", op, expected=mine, actual=value.type)


def _chain(block: Block) -> tuple[list[Op], str]:
    """The ops of a block, and what is wrong with the list that holds them."""
    ops: list[Op] = []
    op, previous = block.first, None
    while op is not None:
        if op.block is not block or op.previous is not previous:
            return ops, f"{op.title} is linked wrongly"
        if len(ops) == len(block):
            return ops, f"more than the {len(block)} ops that are counted"
        ops.append(op)
        op, previous = op.next, op
    if len(ops) != len(block) or block.last is not previous:
        return ops, f"it ends after {len(ops)} of {len(block)} ops"
    return ops, ""


def _title(use: Use) -> str:
    return use.user.title if isinstance(use.user, Op) else "a block's output"


def _untyped(type: Type) -> bool:
    match type:
        case TensorType(dtype, _):
            return dtype == unit_float
        case ListType(element, _, _):
            return _untyped(element)
        case StateType(wrapped):
            return _untyped(wrapped)
        case TupleType(elements):
            return any(map(_untyped, elements))
        case DictType(key, value):
            return _untyped(key) or _untyped(value)
