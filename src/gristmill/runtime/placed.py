"""Running a function whose segments are on several devices.

Each segment becomes a function of its own. Values that others make are its inputs, in their declared types; what others
need are its outputs. So every device runs its part as it would run a whole function, and what crosses is stored as it
is declared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gristmill.devices.base import Device, Executable, Observer, Refusal
from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import InputError
from gristmill.ir.builtin import const
from gristmill.ir.clone import clone_op
from gristmill.ir.op import Op, RuntimeValue
from gristmill.ir.program import Block, Function, Value
from gristmill.ir.traits import Decompresses
from gristmill.precision.unit_types import OnUnit
from gristmill.runtime.scopes import needs
from gristmill.runtime.state import Cell


class PlacedDevice(Device):
    """Several devices that run one function together, each the segments of its unit.

    Args:
        segments: In the order of execution, such as a plan's. They hold every op of the function's own block but
            constants and what decompresses them; an op with blocks runs with all that it holds.
        devices: By unit.

    Raises:
        InputError: A segment is on a unit that has no device.
    """

    name = "placed"

    def __init__(self, segments: Sequence[OnUnit], devices: Mapping[str, Device]) -> None:
        for segment in segments:
            if segment.unit not in devices:
                raise InputError("a segment's unit has no device", expected=", ".join(devices), actual=segment.unit)
        self._segments, self._devices = segments, devices
        self._unit_of = {op: segment.unit for segment in segments for op in segment.ops}

    def supports(self, op: Op) -> Refusal | None:
        unit = self._unit_of.get(op)
        return None if unit is None else self._devices[unit].supports(op)

    def prepare(self, function: Function) -> PlacedExecutable:
        for op in function.body:
            if op not in self._unit_of and not (isinstance(op, const) or op.has(Decompresses)):
                raise InputError("no segment has the op", op=op.title, location=op.location, hint="place this function")
        parts = [_part(function, segment, self._devices[segment.unit]) for segment in self._segments]
        return PlacedExecutable(function, [*parts, _known_outputs(function)])


@dataclass
class _Part:
    """A segment, ready to run.

    Attributes:
        inputs: Values that it takes, in the order of its function's inputs.
        outputs: Values that it gives, in the order of its function's outputs.
        original: Of each op of its function, the one that it is a copy of.
        executable: Its function on its device.
        dying: Values that nobody needs after it.
    """

    inputs: Sequence[Value]
    outputs: Sequence[Value]
    original: Mapping[Op, Op]
    executable: Executable
    dying: list[Value] = field(default_factory=list)


class PlacedExecutable(Executable):
    """The segments of a function, one after the other."""

    def __init__(self, function: Function, parts: Sequence[_Part]) -> None:
        self._function, self._parts = function, parts
        needed = set(function.outputs)
        for part in reversed(parts):
            part.dying = [value for value in (*part.inputs, *part.outputs) if value not in needed]
            needed.update(part.inputs)

    def run(self, inputs: Mapping[str, RuntimeValue], observe: Observer | None = None) -> list[RuntimeValue]:
        values: dict[Value, RuntimeValue] = {value: inputs[value.name] for value in self._function.inputs}
        # A device may write to a state's own array, and put back what was there if its segment fails. Should a later
        # one fail, nobody would: the segments get cells of their own.
        states = {value: Cell(values[value].read(), owned=False) for value in self._function.states}
        values.update(states)
        for part in self._parts:
            given = {value.name: values[value] for value in part.inputs}
            results = part.executable.run(given, _observer(part.original, observe))
            values.update(zip(part.outputs, results, strict=True))
            for value in part.dying:
                values.pop(value, None)
        for value, cell in states.items():
            if cell.read() is not inputs[value.name].read():
                inputs[value.name].write(cell.read(), owned=cell.owned)
        return [values[value] for value in self._function.outputs]


def _observer(original: Mapping[Op, Op], observe: Observer | None) -> Observer | None:
    if observe is None:
        return None

    def told(op: Op, results: list[RuntimeValue]) -> None:
        if op in original:  # all but what decompresses constants
            observe(original[op], results)

    return told


# --- a segment as a function -----------------------------------------------------------------------------------------


def _part(function: Function, segment: OnUnit, device: Device) -> _Part:
    inside, inputs = set(segment.ops), dict[Value, None]()
    for value in (value for op in segment.ops for value in needs(op)):
        if not _is_known(value) and value.producer not in inside:
            inputs[value] = None
    outputs = [v for op in segment.ops for v in op.results if any(u not in inside for u in _users(v, function.body))]
    alone = Function(function.name, {}, function.opset)
    mapping: dict[Value, Value] = {}
    for value in inputs:
        argument = alone.body.add_argument(value.name, value.type)
        argument.contents = value.contents
        mapping[value] = argument
    original: dict[Op, Op] = {}
    for op in segment.ops:
        for value in needs(op):
            _copy_known(value, alone.body, mapping)
        copied = clone_op(op, mapping)
        alone.body.insert(copied)
        original.update(zip(_walk(copied), _walk(op), strict=True))
    alone.body.outputs = [mapping[value] for value in outputs]
    return _Part(list(inputs), outputs, original, device.prepare(alone))


def _known_outputs(function: Function) -> _Part:
    """What no segment makes: outputs that are constants."""
    known = [value for value in dict.fromkeys(function.outputs) if _is_known(value)]
    alone = Function(function.name, {}, function.opset)
    mapping: dict[Value, Value] = {}
    for value in known:
        _copy_known(value, alone.body, mapping)
    alone.body.outputs = [mapping[value] for value in known]
    return _Part([], known, {}, ReferenceDevice().prepare(alone))


def _is_known(value: Value) -> bool:
    """Whether a value is a constant, or one that is decompressed: each segment that uses it has its own."""
    made = value.producer
    return value.is_constant or (made is not None and made.has(Decompresses))


def _copy_known(value: Value, body: Block, mapping: dict[Value, Value]) -> None:
    """Brings a constant, with what it is made of, into a block."""
    made = value.producer
    if not _is_known(value) or value in mapping or made is None:
        return
    for _, _, operand in made.uses():
        _copy_known(operand, body, mapping)
    body.insert(clone_op(made, mapping))


def _users(value: Value, body: Block) -> Iterator[Op | None]:
    """Ops of a block that use a value, themselves or in what they hold; ``None`` for the block's own outputs."""
    for user in value.users:
        block = user if isinstance(user, Block) else user.block
        op = None if isinstance(user, Block) else user
        while block is not None and block is not body:
            op = block.owner if isinstance(block.owner, Op) else None
            block = None if op is None else op.block
        yield op


def _walk(op: Op) -> Iterator[Op]:
    yield op
    for block in op.blocks:
        yield from block.walk()
