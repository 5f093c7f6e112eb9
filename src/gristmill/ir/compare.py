"""Whether two programs are the same: the same ops in the same order with the same types, names and constants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

from gristmill.ir.builtin import const
from gristmill.ir.constants import BlobData, Constant, Data
from gristmill.ir.dims import Dim, DimExpr, Symbol, is_unknown
from gristmill.ir.op import Op
from gristmill.ir.printer import inline_constant
from gristmill.ir.program import Block, Function, Program, Value
from gristmill.ir.types import DictType, ListType, StateType, TensorType, TupleType, Type


def difference(a: Program | Function, b: Program | Function) -> str | None:
    """The first difference between two programs or functions, in words; ``None`` where there is none.

    Names count, but for those that nobody gave: of dimensions that are only known to exist (``?``), which must
    correspond one to one, and of constants that stand where they are used. Bits of constants count, NaNs included;
    weight file references are equal if path and offset are. Locations do not count, nor how a program's text is
    styled.
    """
    if isinstance(a, Function) and isinstance(b, Function):
        return next(_Comparison().functions(a, b), None)
    if isinstance(a, Program) and isinstance(b, Program):
        return next(_programs(a, b), None)
    return "one is a program, the other a function"


def _programs(a: Program, b: Program) -> Iterator[str]:
    if a.version != b.version:
        yield f"version: {a.version}, {b.version}"
    if list(a.functions) != list(b.functions):
        yield f"functions: {', '.join(a.functions)}; {', '.join(b.functions)}"
    yield from _Comparison().attributes("the program", a.attributes, b.attributes)
    for name in a.functions:
        yield from _Comparison().functions(a.functions[name], b.functions[name])


class _Comparison:
    """What is known to correspond so far."""

    def __init__(self) -> None:
        self.values: dict[Value, Value] = {}
        self.symbols: dict[Symbol, Symbol] = {}
        self.images: dict[Symbol, Symbol] = {}

    # -- structure ---------------------------------------------------------------------------------------------------

    def functions(self, a: Function, b: Function) -> Iterator[str]:
        where = f"function '{a.name}'"
        if (a.name, a.opset) != (b.name, b.opset):
            yield f"functions: {a.name}<{a.opset}>, {b.name}<{b.opset}>"
        yield from self.attributes(where, a.attributes, b.attributes)
        yield from self.blocks(where, a.body, b.body)

    def blocks(self, where: str, a: Block, b: Block) -> Iterator[str]:
        yield from self.attributes(f"a block of {where}", a.attributes, b.attributes)
        yield from self.define(f"arguments of {where}", a.arguments, b.arguments)
        for mine, theirs in zip_longest(_ops(a), _ops(b)):
            if mine is None or theirs is None:
                yield f"{where}: one has {(mine or theirs).title} where the other ends"
                return
            yield from self.ops(where, mine, theirs)
        if len(a.outputs) != len(b.outputs) or not all(map(self.same_value, a.outputs, b.outputs)):
            yield f"outputs of {where}: {_names(a.outputs)}; {_names(b.outputs)}"

    def ops(self, where: str, a: Op, b: Op) -> Iterator[str]:
        if (a.op_name, a.name, a.opset) != (b.op_name, b.name, b.opset):
            yield f"{where}: {a.title} in {a.opset}, {b.title} in {b.opset}"
        where = f"{where}, {a.title}"
        if a.operands.keys() != b.operands.keys():
            yield f"{where}: operands {', '.join(a.operands)}; {', '.join(b.operands)}"
        for name in a.operands:
            mine, theirs = _tuple(a.operands[name]), _tuple(b.operands[name])
            if len(mine) != len(theirs) or not all(map(self.same_value, mine, theirs)):
                yield f"{where}: operand '{name}' is {_names(mine)}; {_names(theirs)}"
        yield from self.attributes(where, a.attributes, b.attributes)
        if len(a.blocks) != len(b.blocks):
            yield f"{where}: {len(a.blocks)} and {len(b.blocks)} blocks"
        for one, other in zip(a.blocks, b.blocks, strict=True):
            yield from self.blocks(where, one, other)
        yield from self.define(f"results of {where}", a.results, b.results)

    def define(self, where: str, a: Sequence[Value], b: Sequence[Value]) -> Iterator[str]:
        if len(a) != len(b):
            yield f"{where}: {_names(a)}; {_names(b)}"
        for mine, theirs in zip(a, b, strict=True):
            if mine.name != theirs.name or not self.same_type(mine.type, theirs.type):
                yield f"{where}: {mine}, {theirs}"
            self.values[mine] = theirs

    def attributes(self, where: str, a: Mapping[str, Constant], b: Mapping[str, Constant]) -> Iterator[str]:
        if a.keys() != b.keys():
            yield f"attributes of {where}: {', '.join(a)}; {', '.join(b)}"
        for name in a:
            if not self.same_constant(a[name], b[name]):
                yield f"attribute '{name}' of {where}: {_show(a[name])}, {_show(b[name])}"

    def same_value(self, a: Value, b: Value) -> bool:
        mine, theirs = inline_constant(a), inline_constant(b)
        if mine is not None and theirs is not None:
            return self.same_constant(mine.value, theirs.value)
        return a in self.values and self.values[a] is b

    # -- types and constants -----------------------------------------------------------------------------------------

    def same_constant(self, a: Constant, b: Constant) -> bool:
        if not self.same_type(a.type, b.type):
            return False
        if isinstance(a.payload, Data) and isinstance(b.payload, Data):
            return _same_data(a.payload, b.payload)
        if isinstance(a.type, DictType):
            mine, theirs = ([part for pair in constant.pairs for part in pair] for constant in (a, b))
        else:
            mine, theirs = list(a.elements), list(b.elements)
        return len(mine) == len(theirs) and all(map(self.same_constant, mine, theirs))

    def same_type(self, a: Type, b: Type) -> bool:
        match a, b:
            case TensorType(), TensorType():
                return a.dtype == b.dtype and a.rank == b.rank and all(map(self.same_dim, a.shape, b.shape))
            case ListType(), ListType():
                return (
                    a.dynamic == b.dynamic
                    and self.same_dim(a.length, b.length)
                    and self.same_type(a.element, b.element)
                )
            case TupleType(), TupleType():
                return len(a.elements) == len(b.elements) and all(map(self.same_type, a.elements, b.elements))
            case DictType(), DictType():
                return self.same_type(a.key, b.key) and self.same_type(a.value, b.value)
            case StateType(), StateType():
                return self.same_type(a.wrapped, b.wrapped)
        return False

    def same_dim(self, a: Dim, b: Dim) -> bool:
        if not isinstance(a, DimExpr) or not isinstance(b, DimExpr):
            return not isinstance(a, DimExpr) and a == b
        if isinstance(a, Symbol) and isinstance(b, Symbol) and is_unknown(a) and is_unknown(b):
            return a.bounds == b.bounds and self.symbols.setdefault(a, b) == b and self.images.setdefault(b, a) == a
        return a.substitute({symbol.name: self.symbols.get(symbol, symbol) for symbol in a.symbols}) == b


def _ops(block: Block) -> Iterator[Op]:
    return (op for op in block if not (isinstance(op, const) and inline_constant(op.result)))


def _same_data(a: Data, b: Data) -> bool:
    if isinstance(a, BlobData) and isinstance(b, BlobData):
        return (a.path, a.offset, a.dtype, a.shape) == (b.path, b.offset, b.dtype, b.shape)
    if isinstance(a, BlobData) or isinstance(b, BlobData):
        return False
    x, y = a.read(), b.read()
    return x.tolist() == y.tolist() if x.dtype == object else x.tobytes() == y.tobytes()


def _tuple(found: Value | tuple[Value, ...]) -> tuple[Value, ...]:
    return found if isinstance(found, tuple) else (found,)


def _names(values: Sequence[Value]) -> str:
    return ", ".join(value.name for value in values) or "none"


def _show(constant: Constant) -> str:
    small = not isinstance(constant.payload, Data) or constant.payload.size <= 8
    readable = not isinstance(constant.payload, BlobData)
    return f"{constant.type} {constant.python()}" if small and readable else f"{constant.type}"
