"""From a ``MILSpec.Program`` message to a program.

The message comes from a file that nobody has vetted. Everything that a program here cannot say is refused, and nothing
is allocated in proportion to a number that the file merely states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

from gristmill.errors import FormatError, GristmillError, UnsupportedError
from gristmill.ir import dims, registry
from gristmill.ir.builtin import const
from gristmill.ir.constants import Constant
from gristmill.ir.dims import Dim
from gristmill.ir.garbage import uncollected
from gristmill.ir.op import Op
from gristmill.ir.opset import Opset
from gristmill.ir.program import Block, Function, Location, Program, Value
from gristmill.ir.types import TensorType, Type
from gristmill.ir.verify import verify
from gristmill.package.description import Range
from gristmill.package.mil_values import Weights, open_size, read_type, read_value
from gristmill.package.proto import Message

_BACKEND = "IntendedBackend"  # what coremltools' ``set_intended_backends`` writes: where an op should run


@dataclass
class Hints:
    """What a model says of its program elsewhere. Where that contradicts the program, it is ignored.

    Attributes:
        shapes: Named dimensions, by function and name of the input or block argument; ``None`` for those without.
        ranges: Bounds of dimensions, by function and name of the input.
        locations: Where ops come from, by function, then by name of the op.
    """

    shapes: Mapping[tuple[str, str], Sequence[Dim | None]] = field(default_factory=dict)
    ranges: Mapping[tuple[str, str], Sequence[Range]] = field(default_factory=dict)
    locations: Mapping[str, Mapping[str, Location]] = field(default_factory=dict)


def read_program(spec: Message, weights: Weights, hints: Hints | None = None) -> Program:
    """Decodes a program.

    Args:
        spec: A ``MILSpec.Program``.
        weights: Files that its constants lie in; their contents are not read.
        hints: Names and bounds for dimensions whose size the program leaves open, and places of ops.

    Raises:
        FormatError: The program is malformed.
        UnsupportedError: It has an op, a type or a field that is unknown here.
        IRError: It breaks a rule that every program keeps.
    """
    refuse_unknown_fields(spec, "program")
    if spec.version != 1:
        raise UnsupportedError("unknown version of the program format", expected=1, actual=spec.version)
    with uncollected():
        program = _read_program(spec, weights, hints or Hints())
        verify(program, fresh=True)
    return program


def _read_program(spec: Message, weights: Weights, hints: Hints) -> Program:
    program = Program()
    try:
        for name, value in sorted(spec.attributes.items()):
            program.attributes[name] = read_value(value, weights)
        # A message's map has no order of its own; the default function comes first.
        for name in sorted(spec.functions, key=lambda name: (name != "main", name)):
            program.add_function(_FunctionReader(name, spec.functions[name], weights, hints).read())
    except RecursionError as error:
        raise FormatError("the program is nested too deeply") from error
    return program


def refuse_unknown_fields(spec: Message, what: str) -> None:
    """Raises UnsupportedError if a message, or one inside it, has fields that the schema lacks.

    What is unknown may change what is computed, so nothing that has such fields is run.
    """
    stated = spec.SerializeToString()
    spec.DiscardUnknownFields()
    if spec.ByteSize() == len(stated):  # without Python's help, and nearly always the last step
        return
    spec.ParseFromString(stated)  # the message is the caller's
    raise UnsupportedError(
        f"the {what} has fields that are unknown here, so it cannot be run",
        location=_first_unknown(spec, what),
        hint="the model was made for a newer version of the format: update Gristmill",
    )


def _first_unknown(spec: Message, path: str) -> str | None:
    unknown = UnknownFieldSet(spec)
    if len(unknown):
        return f"{path}, field {unknown[0].field_number}"
    for descriptor, value in spec.ListFields():
        for where, part in _submessages(descriptor, value, f"{path}.{descriptor.name}"):
            found = _first_unknown(part, where)
            if found is not None:
                return found
    return None


def _submessages(descriptor: Any, value: Any, path: str) -> list[tuple[str, Message]]:
    if descriptor.message_type is None:
        return []
    if descriptor.message_type.GetOptions().map_entry:
        holds_messages = descriptor.message_type.fields_by_name["value"].message_type is not None
        return [(f"{path}[{key!r}]", value[key]) for key in value] if holds_messages else []
    if hasattr(value, "add"):
        return [(f"{path}[{number}]", item) for number, item in enumerate(value)]
    return [(path, value)]


class _FunctionReader:
    """Decodes one function. Names are looked up innermost block first."""

    def __init__(self, name: str, spec: Message, weights: Weights, hints: Hints) -> None:
        self.name, self.spec, self.weights, self.hints = name, spec, weights, hints
        self.opset = Opset.parse(spec.opset)
        self.locations = hints.locations.get(name, {})
        self.scopes: list[dict[str, Value]] = []
        self.suffixes: dict[str, int] = {}

    def read(self) -> Function:
        body = self._body()
        if body.inputs:
            raise FormatError(f"the block of function '{self.name}' has inputs of its own", expected="the function's")
        function = Function(self.name, self._inputs(), self.opset)
        for name, value in sorted(self.spec.attributes.items()):
            function.attributes[name] = read_value(value, self.weights)
        self._fill(function.body, body, self.spec.inputs)
        return function

    def _body(self) -> Message:
        if self.spec.opset not in self.spec.block_specializations:
            raise FormatError(
                f"function '{self.name}' has no block for its opset",
                expected=self.spec.opset,
                actual=", ".join(sorted(self.spec.block_specializations)) or "no block",
            )
        return self.spec.block_specializations[self.spec.opset]

    def _inputs(self) -> dict[str, Type]:
        found: dict[str, Type] = {}
        for spec in self.spec.inputs:
            if spec.name in found:
                raise FormatError(f"function '{self.name}' has two inputs of the same name", actual=spec.name)
            found[spec.name] = self._argument_type(spec, self.hints.ranges.get((self.name, spec.name), ()))
        return found

    def _argument_type(self, spec: Message, ranges: Sequence[Range] = ()) -> Type:
        declared = read_type(spec.type, lambda axis: dims.unknown(*ranges[axis] if axis < len(ranges) else ()))
        hint = self.hints.shapes.get((self.name, spec.name))
        if hint is None or not isinstance(declared, TensorType) or len(hint) != declared.rank:
            return declared
        pairs = list(zip(declared.shape, hint, strict=True))
        agree = all(h is None or isinstance(d, int) == isinstance(h, int) for d, h in pairs)
        agree = agree and all(d == h for d, h in pairs if isinstance(h, int))
        return declared.with_shape(tuple(d if h is None else h for d, h in pairs)) if agree else declared

    # -- blocks ------------------------------------------------------------------------------------------------------

    def _fill(self, block: Block, spec: Message, arguments: Sequence[Message]) -> None:
        self.scopes.append({a.name: value for a, value in zip(arguments, block.arguments, strict=True)})
        for name, value in sorted(spec.attributes.items()):
            block.attributes[name] = read_value(value, self.weights)
        for op in spec.operations:
            try:
                self._operation(op, block)
            except GristmillError as error:
                if error.op is None:
                    error.op = f"{op.type} '{_op_name(op)}'"
                if error.location is None:
                    error.location = f"function '{self.name}'"
                raise
        block.outputs = [self._lookup(name) for name in spec.outputs]
        self.scopes.pop()

    def _nested(self, spec: Message, function: Function | None) -> Block:
        arguments = [(self._unique(a.name), self._argument_type(a)) for a in spec.inputs]
        block = Block(arguments, owner=function)
        self._fill(block, spec, spec.inputs)
        return block

    def _lookup(self, name: str, operand: str | None = None) -> Value:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        role = "a block's output" if operand is None else f"operand '{operand}'"
        raise FormatError(
            f"{role} is used before it is made, or nothing makes it",
            location=f"function '{self.name}'",
            expected="the name of an input or of an earlier result",
            actual=repr(name[:200]),
        )

    @cached_property
    def _taken(self) -> set[str]:
        """Names in use. Values of the outermost block keep theirs, which the model's outputs refer to."""
        results = (output.name for op in self._body().operations for output in op.outputs)
        return {*(spec.name for spec in self.spec.inputs), *results}

    def _unique(self, hint: str) -> str:
        name = hint
        while name in self._taken:
            number = self.suffixes[hint] = self.suffixes.get(hint, -1) + 1
            name = f"{hint}_{number}"
        self._taken.add(name)
        return name

    # -- ops ---------------------------------------------------------------------------------------------------------

    def _operation(self, spec: Message, block: Block) -> None:
        cls = registry.lookup(spec.type, self.opset)
        name = _op_name(spec)
        if cls is const and self._plain_constant(spec, block, name):
            return
        operands = self._operands(spec, block, name)
        attributes = self._attributes(cls, spec, block, operands, name)
        blocks = [self._nested(b, block.function) for b in spec.blocks] if spec.blocks else ()
        scope, outermost = self.scopes[-1], len(self.scopes) == 1
        stated: list[str] = []
        types: list[Type] = []
        for output in spec.outputs:
            result = output.name
            if result in scope:
                raise FormatError("a value is made twice", actual=repr(result[:200]))
            stated.append(result)
            types.append(read_type(output.type, open_size))
        try:
            op = cls(
                self.opset,
                operands,
                name=name,
                result_names=stated if outermost else [self._unique(n) for n in stated],
                result_types=types,
                blocks=blocks,
                attributes=attributes,
                location=self.locations.get(name),
            )
        except GristmillError:
            raise
        except Exception as error:  # inference met something that no well-formed program has
            raise FormatError(f"the op's types cannot be inferred: {error!r}") from error
        block.insert(op)
        for result, value in zip(stated, op.results, strict=True):
            scope[result] = value

    def _plain_constant(self, spec: Message, block: Block, name: str) -> bool:
        """Decodes a constant like nearly all, which are most of a program's ops; says whether it was one."""
        attributes, outputs = spec.attributes, spec.outputs
        if len(attributes) != 2 or "val" not in attributes or "name" not in attributes:
            return False
        if len(outputs) != 1 or len(self.scopes) != 1 or spec.inputs or spec.blocks:
            return False
        output = outputs[0]
        result = output.name
        value = read_value(attributes["val"], self.weights)
        if result in self.scopes[0] or read_type(output.type, open_size) != value.type:
            return False
        op = const.of(self.opset, value, name, result_name=result, location=self.locations.get(name))
        block.insert(op)
        self.scopes[0][result] = op.results[0]
        return True

    def _attributes(
        self, cls: type[Op], spec: Message, block: Block, operands: dict[str, list[Value]], name: str
    ) -> dict[str, Constant]:
        """Attributes that stay such; those that are operands, as in constexpr ops up to iOS17, join ``operands``."""
        kept: dict[str, Constant] = {}
        stated = spec.attributes
        for key in sorted(stated):
            if key == "name":
                continue
            if (cls is const and key == "val") or key == _BACKEND:
                kept[key] = read_value(stated[key], self.weights)
            elif key in cls.params and key not in operands:
                operands[key] = [self._literal(stated[key], block, f"{name}_{key}")]
            else:
                raise FormatError(
                    f"the op has no attribute '{key[:200]}' in {self.opset}",
                    expected=", ".join(["name", *(["val"] if cls is const else cls.params)]),
                    actual=key[:200],
                )
        return kept

    def _operands(self, spec: Message, block: Block, name: str) -> dict[str, list[Value]]:
        operands: dict[str, list[Value]] = {}
        inputs = spec.inputs
        for key in sorted(inputs):
            values = operands[key] = []
            for number, binding in enumerate(inputs[key].arguments):
                if stated := binding.name:  # nearly always; empty where it is something else
                    values.append(self._lookup(stated, key))
                elif (kind := binding.WhichOneof("binding")) == "value":
                    hint = f"{name}_{key}_{number}" if number else f"{name}_{key}"
                    values.append(self._literal(binding.value, block, hint))
                elif kind == "name":
                    values.append(self._lookup("", key))
                else:
                    raise FormatError(f"operand '{key[:200]}' is bound to nothing")
        return operands

    def _literal(self, spec: Message, block: Block, hint: str) -> Value:
        """A constant that stands in an op, as an operand or an attribute."""
        op = const.of(self.opset, read_value(spec, self.weights), self._unique(hint))
        op.inline = True
        block.insert(op)
        return op.result


def _op_name(spec: Message) -> str:
    attributes = spec.attributes
    if "name" in attributes:
        stated = attributes["name"].immediateValue.tensor.strings.values
        if len(stated) == 1:
            return str(stated[0])
    return str(spec.outputs[0].name) if spec.outputs else str(spec.type)
