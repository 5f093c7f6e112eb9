"""Reads MIL text; ``gristmill.ir.printer`` describes it.

One method for each construct. Text comes from strangers: nesting and the length of numbers are limited, memory is
proportional to the text and never to a size that the text merely claims, and whatever is wrong raises an error that
says where.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import numpy as np

from gristmill.errors import FormatError, GristmillError
from gristmill.ir import registry, types
from gristmill.ir.builtin import const
from gristmill.ir.constants import Array, ArrayData, BlobData, Constant, Data
from gristmill.ir.dims import UNKNOWN, Dim, DimExpr, Symbol, is_unknown, parse_dim
from gristmill.ir.lexer import Lexer
from gristmill.ir.op import Op
from gristmill.ir.opset import Opset
from gristmill.ir.printer import usual_nan
from gristmill.ir.program import Block, Function, Location, Program, Value
from gristmill.ir.types import DTYPES, DictType, DType, ListType, StateType, TensorType, TupleType, Type

MAX_RANK: Final = 32  # NumPy's limit before version 2
MAX_SIZE: Final = 2**63
MAX_SHAPE: Final = 1 << 16  # characters
_BOOLEANS: Final = {"true": True, "false": False}

BlobReader: TypeAlias = Callable[[str, int, TensorType], Data]
"""Makes the data of a BLOBFILE reference: path as the text has it, offset of the record, declared type."""


def parse_program(text: str, *, blob: BlobReader | None = None, file: str = "MIL text") -> Program:
    """Reads a program.

    Args:
        text: The whole text.
        blob: Makes the data of weight file references; without it they can be referred to but not read.
        file: Name of the text in messages and in the ops' locations.

    Raises:
        FormatError: The text is malformed; says the line and column.
        UnsupportedError: An op is unknown.
        TypeInferenceError: The operands of an op do not fit it, or a declared type contradicts them.
    """
    return _Parser(text, blob or _unread_blob, file).program()


def _unread_blob(path: str, offset: int, type: TensorType) -> Data:
    return BlobData(type.dtype, _static(type), path, offset)


def _static(type: TensorType) -> tuple[int, ...]:
    return tuple(int(dim) for dim in type.shape)


# --- structure -------------------------------------------------------------------------------------------------------


class _Parser:
    def __init__(self, text: str, blob: BlobReader, file: str) -> None:
        self.lexer = Lexer(text, file)
        self.blob, self.file = blob, file
        self.opset = Opset.iOS15
        self.plain_scalars: bool | None = None
        self.dims: dict[str, Dim] = {}
        self.symbols: set[Symbol] = set()  # whatever types mention; what inference adds is made unknown
        self.reserved = set(re.findall(rf"\b{UNKNOWN}[0-9]+\b", text))
        self.unknowns = 0
        self.visible: dict[str, Value] = {}
        self.taken: set[str] = set()
        self.unnamed: list[tuple[Value, str]] = []

    def program(self) -> Program:
        lexer = self.lexer
        lexer.expect("program")
        lexer.expect("(")
        if lexer.kind != "number" or not re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", lexer.token):
            lexer.unexpected("a version such as 1.0")
        program = Program(version=lexer.advance())
        lexer.expect(")")
        program.attributes = self.attributes()
        lexer.expect("{")
        while not lexer.at("}"):
            start = lexer.start
            function = self.function()
            if function.name in program.functions:
                raise lexer.error("two functions have this name", actual=function.name, start=start)
            program.add_function(function)
        lexer.expect("}")
        if lexer.kind != "end":
            lexer.unexpected("the end of the text")
        program.plain_scalars = program.version != "1.0" if self.plain_scalars is None else self.plain_scalars
        return program

    def function(self) -> Function:
        lexer = self.lexer
        lexer.expect("func")
        name = lexer.identifier("a function's name")
        lexer.expect("<")
        try:
            self.opset = Opset.parse(lexer.token)
        except FormatError as error:
            raise lexer.error(error.message, expected=error.expected, actual=error.actual) from None
        lexer.advance()
        lexer.expect(">")
        self.visible, self.taken, self.unnamed = {}, set(), []
        function = Function(name, {}, self.opset)
        self.block(function.body, function.attributes)
        lexer.expect(";")
        for value, hint in self.unnamed:
            value.name = function.unique_name(hint)
        return function

    def block(self, block: Block, attributes: dict[str, Constant] | None = None) -> Block:
        """Arguments, attributes (of a function only), ops, outputs, and the block's own attributes."""
        lexer = self.lexer
        with lexer.nested():
            scope: list[str] = []
            for _ in lexer.list_of("(", ")"):
                kind = self.type()
                self.define(block.add_argument(self.new_name(), kind), scope)
            if attributes is not None:
                attributes.update(self.attributes())
            lexer.expect("{")
            while not lexer.at("}"):
                for op in self.op():
                    block.insert(op)
                for value in op.results:
                    self.define(value, scope)
            lexer.expect("}")
            lexer.expect("->")
            block.outputs = [self.reference() for _ in lexer.list_of("(", ")")]
            block.attributes = self.attributes()
            for name in scope:
                del self.visible[name]
        return block

    def op(self) -> list[Op]:
        """The next op, behind the constants that stand in it."""
        lexer = self.lexer
        location = Location(file=self.file, line=lexer.line)
        kinds, names = self.results()
        op_name = lexer.identifier("an op")
        with self.located(location):
            cls = registry.lookup(op_name, self.opset)
        constants: list[const] = []
        operands: dict[str, Value | list[Value]] = {}
        hint = names[0] if names else op_name
        for _ in lexer.list_of("(", ")"):
            name = self.new_key(operands, "operand")
            operands[name] = self.operand(f"{hint}_{name}", constants, location)
        start, attributes = lexer.start, self.attributes()
        own_name = self.own_name(attributes, start)
        for name in list(attributes):
            if name in cls.params and name not in operands:
                operands[name] = self.constant(attributes.pop(name), f"{hint}_{name}", constants, location)
            elif cls is not const or name != "val":  # it might change what the op computes
                raise lexer.error(f"'{op_name}' has no attribute '{name}', or has it twice", start=start)
        blocks: list[Block] = []
        while lexer.at("("):
            blocks.append(self.block(Block()))
        lexer.expect(";")
        with self.located(location):
            op = cls(
                self.opset,
                operands,
                name=own_name,
                result_names=names,
                result_types=kinds,
                blocks=blocks,
                attributes=attributes,
                location=location,
            )
        for value, kind in zip(op.results, kinds, strict=True):
            value.type = self.settle(value.type, kind)
        return [*constants, op]

    def results(self) -> tuple[list[Type], list[str]]:
        """Declared types and names on the left side, which an op without results does not have."""
        lexer = self.lexer
        kinds: list[Type] = []
        names: list[str] = []
        if lexer.followed_by("("):
            return kinds, names
        while True:
            kinds.append(self.type())
            names.append(self.new_name())
            if lexer.accept("="):
                return kinds, names
            if not lexer.accept(","):
                lexer.unexpected("',' or '='")

    def operand(self, hint: str, constants: list[const], location: Location) -> Value | list[Value]:
        lexer = self.lexer
        if lexer.at("("):
            return [self.one_operand(f"{hint}_{k}", constants, location) for k, _ in enumerate(lexer.list_of("(", ")"))]
        return self.one_operand(hint, constants, location)

    def one_operand(self, hint: str, constants: list[const], location: Location) -> Value:
        if self.lexer.kind == "name" and self.lexer.followed_by("<", "("):
            return self.constant(self.typed(), hint, constants, location)
        return self.reference()

    def constant(self, value: Constant, hint: str, constants: list[const], location: Location) -> Value:
        """A constant that has no op in the text; it is named when all names of the function are known."""
        op = const.of(self.opset, value, "", location=location)
        op.inline = True
        constants.append(op)
        self.unnamed.append((op.result, hint))
        return op.result

    def reference(self) -> Value:
        if self.lexer.kind not in ("name", "string"):
            self.lexer.unexpected("a value")
        start = self.lexer.start
        name = self.lexer.identifier("a value")
        value = self.visible.get(name)
        if value is None:
            raise self.lexer.error(
                "no value of this name is visible here",
                expected="an argument, or a result of an op further up in this block or around it",
                actual=name,
                start=start,
            )
        return value

    def new_name(self) -> str:
        start = self.lexer.start
        name = self.lexer.identifier("a value's name")
        if name in self.taken:
            raise self.lexer.error("two values of the function have this name", actual=name, start=start)
        self.taken.add(name)
        return name

    def new_key(self, known: Mapping[str, object], what: str) -> str:
        """The name of an operand or attribute and the sign behind it."""
        start = self.lexer.start
        name = self.lexer.identifier(f"an {what}'s name")
        if name in known:
            raise self.lexer.error(f"the {what} is given twice", actual=name, start=start)
        self.lexer.expect("=")
        return name

    def define(self, value: Value, scope: list[str]) -> None:
        self.visible[value.name] = value
        scope.append(value.name)

    def attributes(self) -> dict[str, Constant]:
        found: dict[str, Constant] = {}
        if self.lexer.at("["):
            for _ in self.lexer.list_of("[", "]"):
                name = self.new_key(found, "attribute")
                found[name] = self.typed()
        return found

    def own_name(self, attributes: dict[str, Constant], start: int) -> str:
        if "name" not in attributes:
            return ""
        value = attributes.pop("name")
        if value.type != types.scalar(types.string):
            raise self.lexer.error("an op's name is a string", actual=value.type, start=start)
        return str(value.python())

    @contextmanager
    def located(self, location: Location) -> Iterator[None]:
        """Tells errors of ops where they happened."""
        try:
            yield
        except GristmillError as error:
            error.location = error.location or location
            raise
        except Exception as error:  # inference met something that no well-formed program has
            raise FormatError(f"the op cannot be made: {error!r}", location=location) from error

    def settle(self, inferred: Type, declared: Type) -> Type:
        """The type of a result: what is declared, and what was inferred where that is ``?``."""
        if not isinstance(declared, TensorType) or not isinstance(inferred, TensorType):
            return declared
        dims = zip(inferred.shape, declared.shape, strict=True)
        return declared.with_shape(
            tuple(self.known(i) if isinstance(d, Symbol) and is_unknown(d) else d for i, d in dims)
        )

    def known(self, dim: Dim) -> Dim:
        """An inferred dimension; symbols that inference made, as for sizes that depend on data, become unknowns."""
        if not isinstance(dim, DimExpr):
            return dim
        made = sorted(dim.symbols - self.symbols, key=lambda symbol: symbol.name)
        if not made:
            return dim
        renamed: Dim = dim.substitute({symbol.name: self.unknown(symbol.lower, symbol.upper) for symbol in made})
        return renamed

    def unknown(self, lower: int = 0, upper: int | None = None) -> Symbol:
        """A symbol for ``?``; its name depends on the text alone, so that parsing is repeatable."""
        while (name := f"{UNKNOWN}{self.unknowns}") in self.reserved:
            self.unknowns += 1
        self.unknowns += 1
        symbol = Symbol(name, lower, upper)
        self.symbols.add(symbol)
        return symbol

    # -- types -------------------------------------------------------------------------------------------------------

    def type(self) -> Type:
        lexer = self.lexer
        name = lexer.token if lexer.kind == "name" else ""
        with lexer.nested():
            match name:
                case "tensor":
                    return self.tensor_type()
                case "state":
                    lexer.advance()
                    lexer.expect("<")
                    wrapped = self.tensor_type()
                    lexer.expect(">")
                    return StateType(wrapped)
                case "list":
                    lexer.advance()
                    lexer.expect("<")
                    return self.list_type(self.type())
                case "tuple":
                    lexer.advance()
                    return TupleType(tuple([self.type() for _ in lexer.list_of("<", ">")]))
                case "dict":
                    lexer.advance()
                    lexer.expect("<")
                    key = self.type()
                    lexer.expect(",")
                    value = self.type()
                    lexer.expect(">")
                    return DictType(key, value)
                case _ if name in DTYPES:
                    lexer.advance()
                    self.plain_scalars = True
                    return types.scalar(DTYPES[name])
        return lexer.unexpected("a type")

    def tensor_type(self) -> TensorType:
        lexer = self.lexer
        lexer.expect("tensor")
        lexer.expect("<")
        if lexer.kind != "name" or lexer.token not in DTYPES:
            lexer.unexpected("an element type")
        dtype = DTYPES[lexer.advance()]
        lexer.expect(",")
        if not lexer.at("["):
            lexer.unexpected("'['")
        start, text = lexer.start, lexer.raw("]")
        if len(text) > MAX_SHAPE:
            raise lexer.error("shape too long", expected=f"at most {MAX_SHAPE} characters", start=start)
        shape = tuple(map(self.dim, _split(text)))
        lexer.expect("]")
        lexer.expect(">")
        if not shape and self.plain_scalars is None:
            self.plain_scalars = False
        return TensorType(dtype, shape)

    def list_type(self, element: Type) -> ListType:
        lexer = self.lexer
        if not lexer.at(","):
            lexer.unexpected("','")
        length = lexer.raw(">").strip()
        lexer.expect(">")
        if length == "?":
            return ListType(element)
        dynamic = length.endswith("..")
        return ListType(element, self.dim(length.removesuffix("..")), dynamic)

    def dim(self, text: str) -> Dim:
        text = text.strip()
        if text == "?":
            return self.unknown()
        dim = self.dims.get(text)
        if dim is None:
            try:
                if not re.search(r"\d{21}", text):  # so much for the sizes of tensors, and for the time that it takes
                    dim = parse_dim(text)
            except GristmillError as error:
                raise self.lexer.error(error.message, expected=error.expected, actual=error.actual) from None
            if dim is None or (isinstance(dim, int) and not 0 <= dim < MAX_SIZE):
                raise self.lexer.error("dimension out of range", expected="0 to 2⁶³-1", actual=text[:80])
            self.dims[text] = dim
            if isinstance(dim, DimExpr):
                self.symbols |= dim.symbols
        return dim

    # -- constants ---------------------------------------------------------------------------------------------------

    def typed(self) -> Constant:
        """A type and in parentheses a value of it."""
        kind = self.type()
        self.lexer.expect("(")
        value = self.literal(kind)
        self.lexer.expect(")")
        return value

    def literal(self, kind: Type) -> Constant:
        lexer = self.lexer
        start = lexer.start
        with lexer.nested():
            match kind:
                case TensorType():
                    return Constant(*self.tensor(kind))
                case TupleType(expected):
                    return Constant(kind, tuple([self.literal(e) for e in self.tuple_types(expected)]))
                case ListType(element, length, dynamic):
                    found = [self.literal(element) for _ in lexer.list_of("[", "]")]
                    if not dynamic and len(found) != length:
                        raise lexer.error(
                            "wrong number of list elements", expected=length, actual=len(found), start=start
                        )
                    return Constant(kind, tuple(found))
                case DictType(key, value):
                    return Constant(kind, tuple([self.pair(key, value) for _ in lexer.list_of("{", "}")]))
        raise lexer.error("a constant cannot have this type", actual=kind)

    def tuple_types(self, expected: Sequence[Type]) -> Iterator[Type]:
        """Walks over a tuple's elements and gives the type of each."""
        start, count = self.lexer.start, 0
        for count, _ in enumerate(self.lexer.list_of("(", ")"), start=1):
            if count > len(expected):
                raise self.lexer.error("too many tuple elements", expected=len(expected), start=start)
            yield expected[count - 1]
        if count < len(expected):
            raise self.lexer.error("too few tuple elements", expected=len(expected), actual=count, start=start)

    def pair(self, key: Type, value: Type) -> tuple[Constant, Constant]:
        self.lexer.expect("{")
        first = self.literal(key)
        self.lexer.expect(",")
        second = self.literal(value)
        self.lexer.expect("}")
        return first, second

    def tensor(self, kind: TensorType) -> tuple[TensorType, Data]:
        lexer = self.lexer
        if lexer.at("BLOBFILE"):
            return kind, self.blob_reference(kind)
        if lexer.at("ELIDED"):
            raise lexer.error(
                "this text was printed without its large constants", expected="the values, or a BLOBFILE reference"
            )
        if kind.rank > MAX_RANK:
            raise lexer.error("too many dimensions", expected=f"at most {MAX_RANK}", actual=kind.rank)
        start, items = lexer.start, list[Any]()
        shape = self.elements(kind.dtype, kind.rank, items)
        static = [d for d in kind.shape if isinstance(d, int)]
        if not items and len(static) == kind.rank and 0 in static:  # `[]`, whatever the shape
            shape = static
        if any(isinstance(d, int) and d != n for d, n in zip(kind.shape, shape, strict=True)):
            raise lexer.error("the values have another shape than declared", expected=kind, actual=shape, start=start)
        try:
            array = _array(items, kind.dtype)
        except OverflowError:
            raise lexer.error("a float is out of its type's range", expected=kind.dtype, start=start) from None
        return kind.with_shape(tuple(shape)), ArrayData(array.reshape(shape), kind.dtype)

    def elements(self, dtype: DType, rank: int, items: list[Any]) -> list[int]:
        """Reads nested brackets into ``items``, in order, and gives their shape."""
        if rank == 0:
            items.append(self.scalar(dtype))
            return []
        count, inner = 0, [0] * (rank - 1)
        for _ in self.lexer.list_of("[", "]"):
            shape = self.elements(dtype, rank - 1, items)
            if count and shape != inner:
                raise self.lexer.error("rows of a tensor differ in length", expected=inner, actual=shape)
            count, inner = count + 1, shape
        return [count, *inner]

    def scalar(self, dtype: DType) -> Any:
        """One element: a str, bool, int or float, or the bits of a NaN."""
        lexer = self.lexer
        token = lexer.token
        value: bool | int | float | None = None
        try:
            match dtype.kind:
                case "string":
                    return lexer.string()
                case "bool" if lexer.kind == "name" and token in _BOOLEANS:
                    value = _BOOLEANS[token]
                case "float" if lexer.kind in ("number", "name"):
                    value = float.fromhex(token) if "x" in token.lower() else float(token)
                case "int" | "uint" if lexer.kind == "number" and dtype.min <= int(token) <= dtype.max:
                    value = int(token)
        except (ValueError, OverflowError) as error:
            if isinstance(error, GristmillError):
                raise
        if value is None:
            lexer.unexpected(f"a value of type {dtype}")
        lexer.advance()
        return self.nan(dtype) if value != value and lexer.accept("(") else value

    def nan(self, dtype: DType) -> _Bits:
        """The bits of a particular NaN, and the parenthesis behind them."""
        lexer = self.lexer
        unsigned = np.dtype(f"u{dtype.numpy.itemsize}")
        bits = int(lexer.token, 16) if re.fullmatch(r"0x[0-9a-f]{1,16}", lexer.token) else 0
        if bits >> (8 * unsigned.itemsize) or not np.isnan(np.array(bits, unsigned).view(dtype.numpy)):
            lexer.unexpected(f"the bits of a NaN of type {dtype}, such as {usual_nan(dtype.numpy):#x}")
        lexer.advance()
        lexer.expect(")")
        return _Bits(bits)

    def blob_reference(self, kind: TensorType) -> Data:
        lexer = self.lexer
        if not kind.is_static:
            raise lexer.error("a weight file reference needs a shape without unknowns", actual=kind)
        found: dict[str, Constant] = {}
        start = lexer.start
        lexer.advance()
        for _ in lexer.list_of("(", ")"):
            name = self.new_key(found, "argument")
            found[name] = self.typed()
        expected = {"path": types.scalar(types.string), "offset": types.scalar(types.uint64)}
        if {name: value.type for name, value in found.items()} != expected:
            raise lexer.error(
                "malformed weight file reference",
                expected="a path of type string and an offset of type uint64",
                actual=", ".join(f"{name}: {value.type}" for name, value in found.items()),
                start=start,
            )
        return self.blob(str(found["path"].python()), int(found["offset"].python()), kind)


def _split(text: str) -> list[str]:
    """The dimensions between the brackets of a shape: commas inside parentheses are not theirs."""
    if not text.strip():
        return []
    if "(" not in text:
        return text.split(",")
    parts, depth, start = [], 0, 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]


class _Bits(int):
    """A float given by its bits: signalling NaNs do not survive a conversion."""


def _array(items: list[Any], dtype: DType) -> Array:
    """Elements as an array; floats are rounded once.

    Raises:
        OverflowError: A finite float is infinite in its type.
    """
    if dtype.kind == "string":
        array = np.empty(len(items), dtype=object)
        array[:] = items
        return array
    if not dtype.is_float:
        return np.array(items, dtype=dtype.numpy)
    wide = np.array([np.nan if isinstance(item, _Bits) else item for item in items], dtype=np.float64)
    with np.errstate(over="ignore"):
        floats = wide.astype(dtype.numpy)
    if np.any(np.isinf(floats) & np.isfinite(wide)):
        raise OverflowError
    for index, item in enumerate(items):
        if isinstance(item, _Bits):
            floats.view(f"u{dtype.numpy.itemsize}")[index] = item
    return floats
