"""From a program to a ``MILSpec.Program`` message and a weight file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from gristmill.errors import IRError
from gristmill.ir import types
from gristmill.ir.builtin import const
from gristmill.ir.constants import Constant
from gristmill.ir.op import Op
from gristmill.ir.opset import Opset, iOS18
from gristmill.ir.printer import inline_constant, takes_attributes
from gristmill.ir.program import Block, Function, Program, Use, Value
from gristmill.ir.traits import Decompresses
from gristmill.ir.types import TensorType
from gristmill.package import proto
from gristmill.package.blob import STORABLE
from gristmill.package.blob_writer import BlobWriter
from gristmill.package.mil_values import Store, text_value, write_type, write_value
from gristmill.package.proto import Message

WEIGHT_FILE = "weights/weight.bin"  # below the folder that @model_path stands for

_SMALLEST_BLOB = 10  # elements; what is smaller stands in the program itself
# Core ML reads these types from a weight file since its first ML Programs, the others since iOS 18.
_BLOBS_BEFORE_IOS18 = frozenset({types.fp16, types.fp32, types.uint8, types.int8})

# Core ML wants these operands as literals of the op, not as constants of their own.
_LITERAL_OPERANDS = {"classify": {"classes"}, "reshape_like": {"begins", "ends", "end_masks"}}


def write_program(program: Program, weights: BinaryIO | None) -> tuple[Message, bytes]:
    """Encodes a program.

    Args:
        program: The program. Its large constants are evaluated one at a time.
        weights: An empty binary file for them; without one they are left out, and the message is the same.

    Returns:
        A ``MILSpec.Program``, and a digest of what the weight file holds; empty if it holds nothing.

    Raises:
        IRError: The program has something that files cannot express.
    """
    blobs = BlobWriter(weights)
    spec = proto.message("MILSpec.Program")(version=1)
    try:
        for name, value in program.attributes.items():
            write_value(spec.attributes[name], value, _in_place)
        for name, function in program.functions.items():
            _FunctionWriter(function, blobs).write(spec.functions[name])
    except UnicodeEncodeError as error:
        raise IRError(
            "a text in the program is not Unicode, so files cannot hold it", actual=ascii(error.object)
        ) from error
    blobs.close()
    return spec, blobs.digest() if blobs.count else b""


def _in_place(constant: Constant) -> None:
    return None


class _FunctionWriter:
    def __init__(self, function: Function, blobs: BlobWriter) -> None:
        self.function, self.blobs = function, blobs
        self.store: Store = self._store

    def _store(self, constant: Constant) -> tuple[str, int] | None:
        type = constant.type
        assert isinstance(type, TensorType)
        allowed = STORABLE if self.function.opset >= iOS18 else _BLOBS_BEFORE_IOS18
        if type.dtype not in allowed or constant.data.size < _SMALLEST_BLOB:
            return None
        return f"@model_path/{WEIGHT_FILE}", self.blobs.write(constant.numpy(), type.dtype)

    def write(self, spec: Message) -> None:
        spec.opset = self.function.opset.proto_name
        self._named_types(spec.inputs, self.function.inputs)
        for name, value in self.function.attributes.items():
            write_value(spec.attributes[name], value, self.store)
        self._block(spec.block_specializations[spec.opset], self.function.body)

    def _named_types(self, specs: Message, values: Iterable[Value]) -> None:
        for value in values:
            spec = specs.add(name=value.name)
            write_type(spec.type, value.type)

    def _block(self, spec: Message, block: Block) -> None:
        for name, value in block.attributes.items():
            write_value(spec.attributes[name], value, self.store)
        for op in block:
            if isinstance(op, const) and op.result.uses and all(map(_is_literal, op.result.uses)):
                continue
            if op.op_name == "coreml_update_state":
                self._update_state(spec, op)
            else:
                self._op(spec.operations.add(), op)
        spec.outputs.extend(value.name for value in block.outputs)

    def _op(self, spec: Message, op: Op) -> None:
        spec.type = op.op_name
        text_value(spec.attributes["name"], op.name)
        for name, attribute in op.attributes.items():
            write_value(spec.attributes[name], attribute, self.store)
        for slot, index, value in op.uses():
            if takes_attributes(op) and _is_literal(Use(op, slot, index)):
                write_value(spec.attributes[slot], _contents(value), self.store)
            else:
                self._bind(spec.inputs[slot], Use(op, slot, index), value)
        self._named_types(spec.outputs, op.results)
        for nested in op.blocks:
            inner = spec.blocks.add()
            self._named_types(inner.inputs, nested.arguments)
            self._block(inner, nested)

    def _bind(self, spec: Message, use: Use, value: Value) -> None:
        if _is_literal(use):
            write_value(spec.arguments.add().value, _contents(value), self.store)
        else:
            spec.arguments.add(name=value.name)

    def _update_state(self, spec: Message, op: Op) -> None:
        """Files have no such op: it is a write, and a read of what was written if anything uses it."""
        state, data = Use(op, "state", 0), Use(op, "value", 0)
        write = spec.operations.add(type="write_state")
        text_value(write.attributes["name"], f"{op.name}_write_state")
        self._bind(write.inputs["input"], state, op.operand("state"))
        self._bind(write.inputs["data"], data, op.operand("value"))
        if op.result.uses:
            read = spec.operations.add(type="read_state")
            text_value(read.attributes["name"], op.name)
            self._bind(read.inputs["input"], state, op.operand("state"))
            self._named_types(read.outputs, op.results)


def _is_literal(use: Use) -> bool:
    """Whether a use is written as the constant itself instead of its name."""
    op, slot, index = use
    if not isinstance(op, Op) or slot is None:
        return False
    operand = op.operands[slot]
    value = operand[index] if isinstance(operand, tuple) else operand
    if not isinstance(value.producer, const):
        return False
    if op.has(Decompresses) or slot in _LITERAL_OPERANDS.get(op.op_name, ()):
        return True
    # Other ops' literals must not lie in a weight file: coremltools does not look there for them.
    small = not isinstance(value.type, TensorType) or value.producer.value.data.size < _SMALLEST_BLOB
    return small and inline_constant(value) is not None


def _contents(value: Value) -> Constant:
    assert value.constant is not None
    return value.constant


def newest_opset(program: Program) -> Opset:
    """The newest generation among a program's functions, which is the model's specification version."""
    return max((f.opset for f in program.functions.values()), default=Opset.iOS15)
