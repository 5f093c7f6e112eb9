"""The rules that every program keeps, checked; run after whatever changed a program."""

from __future__ import annotations

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
            and types and wrote down each use, which is the larger part of the work, so it is not done again.

    Raises:
        IRError: The first rule that is broken, with the op and its place.
    """
    for problem in problems(what, planned=planned, fresh=fresh):
        raise problem


def problems(what: Program | Function, *, planned: bool = False, fresh: bool = False) -> list[IRError]:
    """Every broken rule, in order; empty for a valid program. Takes time linear in the program's size."""
    if isinstance(what, Function):
        return _Verifier(what, planned, fresh).run()
    found: list[IRError] = []
    for name, function in what.functions.items():
        if function.name != name:
            found.append(IRError("a function is registered under another name", expected=function.name, actual=name))
        found.extend(_Verifier(function, planned, fresh).run())
    return found


class _Verifier:
    def __init__(self, function: Function, planned: bool, fresh: bool) -> None:
        self.function, self.planned, self.fresh = function, planned, fresh
        self.place = f"function '{function.name}'"
        self.found: list[IRError] = []
        self.names: set[str] = set()
        self.defined: list[Value] = []
        self.visible: set[Value] = set()
        self.used: dict[Value, int] = {}
        self.blocks: set[Block] = set()

    def run(self) -> list[IRError]:
        if self.function.body.owner is not self.function:
            self.report("the function's block has another owner", actual=self.function.body.owner)
        self.block(self.function.body, 0)
        for value in () if self.fresh else self.defined:
            used = self.used.get(value, 0)
            if len(value.uses) != used:
                self.report(
                    f"value '{value.name}' keeps uses that are not there",
                    value.producer,
                    expected=f"{used} uses",
                    actual=f"{len(value.uses)}, by {', '.join(_title(use) for use in value.uses)}",
                )
        return self.found

    def report(self, message: str, op: Op | None = None, *, expected: object = None, actual: object = None) -> None:
        place = f"{self.place}, {op.location}" if op is not None and op.location is not None else self.place
        title = op.title if op is not None else None
        self.found.append(IRError(message, op=title, location=place, expected=expected, actual=actual))

    # -- blocks ------------------------------------------------------------------------------------------------------

    def block(self, block: Block, depth: int) -> None:
        if depth > MAX_DEPTH or block in self.blocks:
            message = "a block stands in two places" if block in self.blocks else "blocks are nested too deeply"
            self.report(message, block.owner if isinstance(block.owner, Op) else None)
            return
        self.blocks.add(block)
        inside: list[Value] = []
        for value in block.arguments:
            if value.block is not block or value.producer is not None:
                self.report(f"argument '{value.name}' belongs to another block")
            if isinstance(value.type, StateType) and depth:
                self.report(f"argument '{value.name}' is a state, which only a function's input may be")
            self.define(value, inside)
        ops, broken = _chain(block)
        if broken:
            self.report(f"the block's list of ops is broken: {broken}")
        for op in ops:
            self.op(op, depth)
            for value in op.results:
                if value.producer is not op or value.block is not None:
                    self.report(f"result '{value.name}' belongs to another op", op)
                if isinstance(value.type, StateType):
                    self.report(f"result '{value.name}' is a state, which only a function's input may be", op)
                self.define(value, inside)
        owner = block.owner if isinstance(block.owner, Op) else None
        for index, value in enumerate(block.outputs):
            self.use(value, owner, block, None, index)
            if isinstance(value.type, StateType):
                self.report(f"the block's output {index} is a state", owner, actual=value.name)
        self.visible.difference_update(inside)

    def define(self, value: Value, inside: list[Value]) -> None:
        if not value.name or value.name in self.names:
            self.report("values have unique names", value.producer, actual=repr(value.name))
        if self.planned and _untyped(value.type):
            self.report(f"value '{value.name}' is untyped after planning", value.producer, actual=value.type)
        self.names.add(value.name)
        self.defined.append(value)
        self.visible.add(value)
        inside.append(value)

    def use(self, value: Value, op: Op | None, user: Op | Block, slot: str | None, index: int) -> None:
        if value not in self.visible:
            self.report(
                f"{_role(slot, index)} is not visible here",
                op,
                expected="an argument, or a result of an op further up in this block or around it",
                actual=value,
            )
        if self.fresh:
            return
        if Use(user, slot, index) not in value.uses:
            self.report(f"{_role(slot, index)} does not know of its use", op, actual=value)
        self.used[value] = self.used.get(value, 0) + 1

    # -- ops ---------------------------------------------------------------------------------------------------------

    def op(self, op: Op, depth: int) -> None:
        if op.opset != self.function.opset:
            self.report("the op is for another opset", op, expected=self.function.opset, actual=op.opset)
        if bool(op.blocks) != op.has(ControlFlow):
            self.report("blocks belong to control flow, and control flow has blocks", op, actual=len(op.blocks))
        for block in op.blocks:
            if block.owner is not op:
                self.report("a block of the op has another owner", op, actual=block.owner)
            self.block(block, depth + 1)
        states: set[Value] = set()
        for slot, index, value in op.uses():
            self.use(value, op, op, slot, index)
            if isinstance(value.type, StateType):
                states.add(value)
        if states or op.has(ReadsState) or op.has(WritesState):
            self.effects(op, states)
        if not self.fresh:
            self.types(op)

    def effects(self, op: Op, states: set[Value]) -> None:
        effects = list(op.effects())
        for effect in effects:
            if effect.state not in states:
                self.report("the op has an effect on what is not its operand", op, actual=effect.state)
            if not op.has(ReadsState if effect.kind == "read" else WritesState):
                self.report(f"the op lacks the trait for its effect '{effect.kind}'", op)
        for state in states - {effect.state for effect in effects}:
            self.report(f"the op takes the state '{state.name}' without declaring an effect on it", op)

    def types(self, op: Op) -> None:
        """Operands against the signature; results against what inference says of them."""
        try:
            op.check_operands()
            inferred = op.inferred_types()
        except GristmillError as error:
            if not isinstance(error, IRError):
                self.report(error.message, op, expected=error.expected, actual=error.actual)
                return
            error.op, error.location = error.op or op.title, error.location or self.place
            self.found.append(error)
            return
        if len(inferred) != len(op.results):
            self.report("number of results", op, expected=len(inferred), actual=len(op.results))
            return
        for value, mine in zip(op.results, inferred, strict=True):
            if not types.compatible(mine, value.type):
                self.report(f"type of result '{value.name}'", op, expected=mine, actual=value.type)


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


def _role(slot: str | None, index: int) -> str:
    return f"operand '{slot}'" if slot is not None else f"output {index} of the block"


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
