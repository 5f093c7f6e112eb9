r"""Programs as MIL text, the form in which Core ML's compiler writes ``model.mil``.

    program(1.0)
    [buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"coremlc-version", "3404.23.1"}})]
    {
        func main<ios15>(tensor<fp32, [1, 3]> x) {
                tensor<fp32, [1, 3]> y = relu(x = x)[name = tensor<string, []>("y")];
            } -> (y);
    }

Facts of the format, from files that the compiler wrote: operands and attributes stand in the order of their names;
floats are C's hexadecimal ones; several operands under one name stand in parentheses, several results do not; an
operand may be an immediate value; ops without results have no left side; compressed constants carry their operands as
attributes until iOS18; constants out of a weight file are ``BLOBFILE`` references. Since version 1.3 scalar types are
written plainly, ``int32`` for ``tensor<int32, []>``.

Where no file shows how the compiler writes something, this text says:

- Nested blocks follow their op's attributes, each like a function without a name: ``(arguments) { … } -> (outputs)``.
  Attributes of a block stand behind its outputs.
- A dimension that is an expression is written as ``str`` writes it, bounds included: ``n{1..128}*2``. One of which
  nothing is known but that it exists is ``?``, as the compiler writes all of them.
- A list that grows from 4 elements on is ``list<T, 4..>``; ``?`` stands for the usual ``1..``.
- Names that are not identifiers stand in quotes. In strings, ``"``, ``\`` and control characters are escaped as in C,
  the rarer ones as ``\u001f``. A NaN with other than the usual bits is ``nan(0x7e01)``. A tensor without elements is
  ``[]`` whatever its shape.
- Constants left out on request are ``ELIDED``, which the parser refuses.

What the text does not hold: where ops come from (``Op.location``).
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TextIO

import numpy as np

from gristmill.errors import IRError
from gristmill.ir import types
from gristmill.ir.builtin import const
from gristmill.ir.constants import Array, BlobData, Constant, constant
from gristmill.ir.dims import Dim, DimExpr, Symbol, is_unknown
from gristmill.ir.op import Op
from gristmill.ir.opset import iOS18
from gristmill.ir.program import Block, Function, Program, Value
from gristmill.ir.traits import AttributesOnly, Decompresses
from gristmill.ir.types import DictType, DType, ListType, StateType, TensorType, TupleType, Type

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPED = re.compile(r'[\\"\x00-\x1f\x7f\ud800-\udfff]')  # surrogates: a file of UTF-8 cannot hold them

INDENT = 4
BODY = 8  # further than the line that opens the block; its end stands halfway


def print_program(program: Program, *, plain_scalars: bool | None = None, max_elements: int | None = None) -> str:
    """A program as MIL text, which ends without a line break, as the compiler's does.

    Args:
        program: What to write.
        plain_scalars: Whether scalar types are written ``int32`` or ``tensor<int32, []>``; as the program says when
            left out.
        max_elements: Constants with more elements, weight file references excepted, are left out. Such a text is for
            people only.
    """
    target = io.StringIO()
    write_program(program, target, plain_scalars=plain_scalars, max_elements=max_elements)
    return target.getvalue()


def write_program(
    program: Program, stream: TextIO, *, plain_scalars: bool | None = None, max_elements: int | None = None
) -> None:
    """Writes a program as MIL text to a stream, op by op; see ``print_program``."""
    plain = program.plain_scalars if plain_scalars is None else plain_scalars
    _Writer(stream, plain, max_elements).program(program)


def print_function(function: Function, *, max_elements: int | None = 16) -> str:
    """One function as text for people: long constants are left out unless ``max_elements`` is None."""
    target = io.StringIO()
    _Writer(target, True, max_elements).function(function)
    return target.getvalue()


def quoted(text: str) -> str:
    """A string literal."""
    return '"' + _ESCAPED.sub(lambda m: ESCAPES.get(m[0], f"\\u{ord(m[0]):04x}"), text) + '"'


def inline_constant(value: Value) -> const | None:
    """The constant whose contents stand where ``value`` is used, in place of its name."""
    op = value.producer
    if not isinstance(op, const) or not op.inline or len(op.attributes) != 1 or len(value.uses) != 1:
        return None
    (use,) = value.uses
    return op if use.slot is not None else None


def takes_attributes(op: Op) -> bool:
    """Whether immediate operands of the op stand among its attributes: most compressed constants do until iOS18."""
    return op.has(Decompresses) and (op.opset < iOS18 or op.has(AttributesOnly))


class _Writer:
    def __init__(self, stream: TextIO, plain: bool, max_elements: int | None) -> None:
        self.stream, self.plain, self.max_elements = stream, plain, max_elements
        self.shows: Callable[[Dim], str] = _show_any

    # -- structure ---------------------------------------------------------------------------------------------------

    def program(self, program: Program) -> None:
        self.stream.write(f"program({program.version})\n")
        if program.attributes:
            self.stream.write(f"{self.attributes(program.attributes)}\n")
        self.stream.write("{\n")
        for function in program.functions.values():
            self.function(function)
        self.stream.write("}")

    def function(self, function: Function) -> None:
        attributes = f" {self.attributes(function.attributes)}" if function.attributes else ""
        self.shows = _dims_of(function)
        self.stream.write(f"{' ' * INDENT}func {_name(function.name)}<{function.opset.text_name}>")
        self.block(function.body, INDENT, attributes)
        self.stream.write(";\n")
        self.shows = _show_any

    def block(self, block: Block, indent: int, attributes: str = "") -> None:
        arguments = ", ".join(map(self.declaration, block.arguments))
        self.stream.write(f"({arguments}){attributes} {{\n")
        for op in block:
            if not (isinstance(op, const) and inline_constant(op.result)):
                self.op(op, indent + BODY)
        outputs = ", ".join(_name(value.name) for value in block.outputs)
        end = f" {self.attributes(block.attributes)}" if block.attributes else ""
        self.stream.write(f"{' ' * (indent + BODY // 2)}}} -> ({outputs}){end}")

    def op(self, op: Op, indent: int) -> None:
        operands: dict[str, str] = {}
        attributes = {name: self.typed(value) for name, value in op.attributes.items()}
        for name, found in op.operands.items():
            values = found if isinstance(found, tuple) else (found,)
            inline = inline_constant(values[0]) if len(values) == 1 else None
            if inline is not None and takes_attributes(op):
                attributes[name] = self.typed(inline.value)
            else:
                operands[name] = self.operand(values)
        if op.name:
            attributes["name"] = self.typed(constant(op.name))
        results = ", ".join(map(self.declaration, op.results))
        self.stream.write(
            f"{' ' * indent}{results}{' = ' if results else ''}{_name(op.op_name)}({_pairs(operands)})"
            + (f"[{_pairs(attributes)}]" if attributes else "")
        )
        for block in op.blocks:
            self.stream.write(f"\n{' ' * (indent + INDENT)}")
            self.block(block, indent + INDENT)
        self.stream.write(";\n")

    def declaration(self, value: Value) -> str:
        return f"{self.type(value.type)} {_name(value.name)}"

    def operand(self, values: Sequence[Value]) -> str:
        shown = []
        for value in values:
            inline = inline_constant(value)
            shown.append(self.typed(inline.value) if inline is not None else _name(value.name))
        return shown[0] if len(shown) == 1 else f"({', '.join(shown)})"

    def attributes(self, attributes: Mapping[str, Constant]) -> str:
        return f"[{_pairs({name: self.typed(value) for name, value in attributes.items()})}]"

    # -- types -------------------------------------------------------------------------------------------------------

    def type(self, type: Type) -> str:
        match type:
            case TensorType(dtype, ()) if self.plain:
                return dtype.name
            case TensorType(dtype, shape):
                return f"tensor<{dtype}, [{', '.join(map(self.shows, shape))}]>"
            case ListType(element, length, dynamic):
                shown = self.shows(length)
                if dynamic:
                    shown = "?" if length == 1 else f"{shown}.."
                return f"list<{self.type(element)}, {shown}>"
            case TupleType(elements):
                return f"tuple<{', '.join(map(self.type, elements))}>"
            case DictType(key, value):
                return f"dict<{self.type(key)}, {self.type(value)}>"
            case StateType(wrapped):
                return f"state<{self.type(wrapped)}>"

    # -- constants ---------------------------------------------------------------------------------------------------

    def typed(self, value: Constant) -> str:
        return f"{self.type(value.type)}({self.literal(value)})"

    def literal(self, value: Constant) -> str:
        match value.type:
            case TensorType(dtype):
                return self.tensor(value, dtype)
            case DictType():
                return "{" + ", ".join(f"{{{self.literal(k)}, {self.literal(v)}}}" for k, v in value.pairs) + "}"
            case TupleType():
                return f"({', '.join(map(self.literal, value.elements))})"
            case ListType():
                return f"[{', '.join(map(self.literal, value.elements))}]"
        raise IRError("a constant cannot have this type", actual=value.type)

    def tensor(self, value: Constant, dtype: DType) -> str:
        data = value.data
        if isinstance(data, BlobData):
            path, offset = self.typed(constant(data.path)), f"{self.type(types.scalar(types.uint64))}({data.offset})"
            return f"BLOBFILE(path = {path}, offset = {offset})"
        if self.max_elements is not None and data.size > self.max_elements:
            return "ELIDED"
        array = data.read()
        return _nested(array, dtype) if array.size or not array.ndim else "[]"


def _pairs(shown: Mapping[str, str]) -> str:
    return ", ".join(f"{_name(name)} = {shown[name]}" for name in sorted(shown))


def _name(name: str) -> str:
    return name if IDENTIFIER.fullmatch(name) else quoted(name)


# --- dimensions ------------------------------------------------------------------------------------------------------


def _show_any(dim: Dim) -> str:
    return "?" if isinstance(dim, DimExpr) and all(map(is_unknown, dim.symbols)) else str(dim)


def _dims_of(function: Function) -> Callable[[Dim], str]:
    """How to write dimensions inside a function: ``?`` where reading that back gives the same dimension again.

    A parser makes a new symbol of each ``?`` in the arguments' types and infers from those the ones in results. So an
    unknown that relates two dimensions of arguments, or has bounds, is written by its name after all.
    """
    places: Counter[Symbol] = Counter()
    for dim in _argument_dims(function):
        if isinstance(dim, Symbol) and dim.bounds == (0, None):
            places[dim] += 1
        elif isinstance(dim, DimExpr):
            places.update(symbol for symbol in dim.symbols for _ in range(2))

    def show(dim: Dim) -> str:
        hidden = isinstance(dim, DimExpr) and all(is_unknown(s) and places[s] <= 1 for s in dim.symbols)
        return "?" if hidden else str(dim)

    return show


def _argument_dims(function: Function) -> Iterable[Dim]:
    blocks = [function.body, *(block for op in function.body.walk() for block in op.blocks)]
    for block in blocks:
        for value in block.arguments:
            yield from _dims_in(value.type)


def _dims_in(type: Type) -> Iterable[Dim]:
    match type:
        case TensorType(_, shape):
            yield from shape
        case ListType(element, length, _):
            yield length
            yield from _dims_in(element)
        case StateType(wrapped):
            yield from wrapped.shape
        case TupleType(elements):
            for element in elements:
                yield from _dims_in(element)
        case DictType(key, value):
            yield from _dims_in(key)
            yield from _dims_in(value)


# --- elements --------------------------------------------------------------------------------------------------------


def _nested(array: Array, dtype: DType) -> str:
    if array.ndim == 0:
        return _scalars(array.reshape(1), dtype)[0]
    if array.ndim == 1:
        return f"[{', '.join(_scalars(array, dtype))}]"
    return f"[{', '.join(_nested(row, dtype) for row in array)}]"


def _scalars(array: Array, dtype: DType) -> list[str]:
    match dtype.kind:
        case "float":
            return _floats(array)
        case "bool":
            return ["true" if value else "false" for value in array.tolist()]
        case "string":
            return [quoted(str(value)) for value in array.tolist()]
    return list(map(str, array.tolist()))


def _floats(array: Array) -> list[str]:
    shown = [_hex(value) for value in array.tolist()]  # every fp16 and fp32 is exactly a Python float
    for index in np.flatnonzero(np.isnan(array)):
        bits = array[index : index + 1].view(f"u{array.itemsize}").item()
        shown[index] = "nan" if bits == usual_nan(array.dtype) else f"nan({bits:#x})"
    return shown


def usual_nan(dtype: np.dtype[np.generic]) -> int:
    """The bits of ``nan``: positive and quiet, nothing else set."""
    return int(np.array(np.nan, dtype=dtype).view(f"u{dtype.itemsize}").item())


def _hex(value: float) -> str:
    text = value.hex()
    mantissa, dot, rest = text.partition(".")
    if not dot:  # inf and nan
        return text
    digits, _, exponent = rest.partition("p")
    digits = digits.rstrip("0")
    return f"{mantissa}{'.' if digits else ''}{digits}p{exponent}"
