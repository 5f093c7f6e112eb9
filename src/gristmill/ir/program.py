"""Programs: values, blocks, functions.

A program holds functions, a function a block, a block ops in order; an op may hold blocks again. Values are in static
single assignment form: made once, by an op or as a block's argument, and used anywhere after that, in nested blocks
too. Blocks keep their ops in a linked list and values keep their uses, so that a pass can insert, replace and erase
in constant time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gristmill.errors import IRError
from gristmill.ir.constants import Array, Constant
from gristmill.ir.dims import Shape
from gristmill.ir.opset import Opset
from gristmill.ir.types import DType, StateType, TensorType, Type

if TYPE_CHECKING:
    from gristmill.ir.op import Op


class Location(NamedTuple):
    """Where an op comes from. A file may name one for each of its ops.

    Attributes:
        module: Path of the module in the source model, such as ``encoder.layer.0.output``.
        file: Source file.
        line: Line in it, from 1.
        source: The source framework's own operator, such as ``aten.linear``.
    """

    module: str | None = None
    file: str | None = None
    line: int | None = None
    source: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        return ", ".join(part for part in (self.module, self.source, place) if part) or "unknown"


class Use(NamedTuple):
    """One use of a value: an operand of an op, or an output of a block (``slot`` is then ``None``)."""

    user: Op | Block
    slot: str | None
    position: int


class Value:
    """What an op produces, or a block receives.

    Attributes:
        name: Unique within its function.
        type: The declared type.
        producer: The op that makes it; ``None`` for a block's argument.
        block: The block that receives it as an argument; ``None`` for an op's result.
        constant: Its contents, when they are known before the program runs.
        contents: For small integer tensors, the elements as an object array of ints and dimension expressions, as far
            as inference knows them; shapes that a program computes are followed through these.
        uses: Every use, in the order in which they were added.
    """

    __slots__ = ("block", "constant", "contents", "name", "producer", "type", "uses")

    def __init__(self, type: Type, name: str, *, producer: Op | None = None, block: Block | None = None) -> None:
        self.type = type
        self.name = name
        self.producer = producer
        self.block = block
        self.constant: Constant | None = None
        self.contents: Array | None = None
        self.uses: dict[Use, None] = {}

    @property
    def tensor(self) -> TensorType:
        """The type, when it is a tensor's.

        Raises:
            IRError: It is not.
        """
        if not isinstance(self.type, TensorType):
            raise IRError(f"value '{self.name}' is not a tensor", expected="a tensor", actual=self.type)
        return self.type

    @property
    def dtype(self) -> DType:
        return self.tensor.dtype

    @property
    def shape(self) -> Shape:
        return self.tensor.shape

    @property
    def rank(self) -> int:
        return self.tensor.rank

    @property
    def is_constant(self) -> bool:
        return self.constant is not None

    # What selectors and lowerings written for coremltools ask of a value.

    @property
    def val(self) -> Any:
        """Contents that are known before the program runs: a NumPy scalar or array, plain Python, or ``None``."""
        if self.constant is None:
            return None
        if not isinstance(self.type, TensorType):
            return self.constant.python()
        array = self.constant.numpy()
        return array if self.type.rank else array[()]

    @property
    def op(self) -> Op | None:
        """The op that makes it."""
        return self.producer

    @property
    def sym_type(self) -> Type:
        """Its type, sizes that are symbols included."""
        return self.type

    @property
    def child_ops(self) -> list[Op]:
        """The ops that use it, each once, in order."""
        return [user for user in self.users if not isinstance(user, Block)]

    @property
    def users(self) -> list[Op | Block]:
        """Everything that uses the value, each once, in order."""
        return list(dict.fromkeys(use.user for use in self.uses))

    def replace_uses(self, new: Value, *, only: Iterable[Use] | None = None) -> None:
        """Makes users take ``new`` instead, all of them or the given uses."""
        for use in list(self.uses if only is None else only):
            if isinstance(use.user, Block):
                use.user.set_output(use.position, new)
            else:
                assert use.slot is not None
                use.user.set_operand(use.slot, new, use.position)

    def __repr__(self) -> str:
        return f"%{self.name}: {self.type}"


class Block:
    """Ops in order, between arguments and outputs."""

    def __init__(self, arguments: Iterable[tuple[str, Type]] = (), *, owner: Op | Function | None = None) -> None:
        self.owner = owner
        self.arguments = [Value(type, name, block=self) for name, type in arguments]
        self.attributes: dict[str, Constant] = {}
        self._outputs: list[Value] = []
        self._first: Op | None = None
        self._last: Op | None = None
        self._count = 0

    # -- ops ---------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Op]:
        """The ops in order. The op at hand may be erased, and ops inserted anywhere, during the walk."""
        op = self._first
        while op is not None:
            following = op.next
            yield op
            op = op.next if op.block is self else following

    def __reversed__(self) -> Iterator[Op]:
        op = self._last
        while op is not None:
            following = op.previous
            yield op
            op = op.previous if op.block is self else following

    def __len__(self) -> int:
        return self._count

    @property
    def first(self) -> Op | None:
        return self._first

    @property
    def last(self) -> Op | None:
        return self._last

    def insert(self, op: Op, *, before: Op | None = None) -> None:
        """Places an op that is in no block before another one of this block, or at the end."""
        if op.block is not None or (before is not None and before.block is not self):
            raise IRError("an op is inserted once, beside an op of the same block", op=op)
        after = before.previous if before is not None else self._last
        op.block, op.previous, op.next = self, after, before
        if after is None:
            self._first = op
        else:
            after.next = op
        if before is None:
            self._last = op
        else:
            before.previous = op
        self._count += 1

    def remove(self, op: Op) -> None:
        """Takes an op out, its operands and uses untouched; see ``Op.erase`` for the usual way."""
        if op.block is not self:
            raise IRError("the op is not in this block", op=op)
        if op.previous is None:
            self._first = op.next
        else:
            op.previous.next = op.next
        if op.next is None:
            self._last = op.previous
        else:
            op.next.previous = op.previous
        op.block = op.previous = op.next = None
        self._count -= 1

    def walk(self) -> Iterator[Op]:
        """All ops, those of nested blocks included, each before what it holds."""
        for op in self:
            yield op
            for block in op.blocks:
                yield from block.walk()

    # -- values ------------------------------------------------------------------------------------------------------

    @property
    def outputs(self) -> tuple[Value, ...]:
        return tuple(self._outputs)

    @outputs.setter
    def outputs(self, values: Iterable[Value]) -> None:
        for index, old in enumerate(self._outputs):
            del old.uses[Use(self, None, index)]
        self._outputs = list(values)
        for index, value in enumerate(self._outputs):
            value.uses[Use(self, None, index)] = None

    @property
    def inputs(self) -> list[Value]:
        """The arguments, under coremltools' name."""
        return self.arguments

    def set_output(self, index: int, value: Value) -> None:
        del self._outputs[index].uses[Use(self, None, index)]
        self._outputs[index] = value
        value.uses[Use(self, None, index)] = None

    def add_argument(self, name: str, type: Type) -> Value:
        value = Value(type, name, block=self)
        self.arguments.append(value)
        return value

    @property
    def function(self) -> Function | None:
        """The function that the block is in, however deep."""
        owner = self.owner
        while owner is not None and not isinstance(owner, Function):
            owner = owner.block.owner if owner.block is not None else None
        return owner


class Function:
    """A named block with typed inputs, written for one opset.

    Attributes:
        name: Unique within its program.
        opset: The generation of the operation set that its ops belong to.
        attributes: Whatever the file said beside that, such as flexible shapes.
        body: The block.
    """

    def __init__(self, name: str, inputs: Mapping[str, Type], opset: Opset) -> None:
        self.name = name
        self.opset = opset
        self.attributes: dict[str, Constant] = {}
        self.body = Block(inputs.items(), owner=self)
        self._taken: set[str] | None = None
        self._next_suffix: dict[str, int] = {}

    @property
    def inputs(self) -> list[Value]:
        """Tensor inputs and states, in order."""
        return self.body.arguments

    @property
    def outputs(self) -> tuple[Value, ...]:
        return self.body.outputs

    @property
    def states(self) -> list[Value]:
        return [value for value in self.inputs if isinstance(value.type, StateType)]

    def values(self) -> Iterator[Value]:
        """Every value of the function: arguments and results, nested blocks included."""
        yield from self.body.arguments
        for op in self.body.walk():
            yield from op.results
            for block in op.blocks:
                yield from block.arguments

    def unique_name(self, hint: str) -> str:
        """A name that no value of this function has, made from ``hint``, and reserves it."""
        if self._taken is None:
            self._taken = {value.name for value in self.values()}
        name = hint
        while name in self._taken:
            suffix = self._next_suffix.get(hint, 0)
            self._next_suffix[hint] = suffix + 1
            name = f"{hint}_{suffix}"
        self._taken.add(name)
        return name


@dataclass
class Program:
    """A whole ML Program.

    Attributes:
        functions: By name, in order; ``main`` is the default one.
        version: Of the program format, as text: ``1.0``, or ``1.3`` in what newer compilers write.
        attributes: Such as ``buildInfo``.
        plain_scalars: Its text writes scalar types as newer compilers do: ``int32``, not ``tensor<int32, []>``.
    """

    functions: dict[str, Function] = field(default_factory=dict)
    version: str = "1.0"
    attributes: dict[str, Constant] = field(default_factory=dict)
    plain_scalars: bool = False

    def add_function(self, name: str | Function, ssa_func: Function | None = None) -> Function:
        """Adds a function under its own name, or ``add_function(name, function)`` under another.

        Raises:
            IRError: The program has a function of this name.
        """
        function = name if isinstance(name, Function) else ssa_func
        if function is None:
            raise IRError("a function is added", expected="add_function(function) or add_function(name, function)")
        if isinstance(name, str):
            function.name = name
        if function.name in self.functions:
            raise IRError("the program has a function of this name", actual=function.name)
        self.functions[function.name] = function
        return function

    @property
    def main(self) -> Function:
        """The function called ``main``, or the only one."""
        if "main" in self.functions:
            return self.functions["main"]
        if len(self.functions) == 1:
            return next(iter(self.functions.values()))
        raise IRError("the program has no function 'main'", actual=", ".join(self.functions) or "no function at all")
