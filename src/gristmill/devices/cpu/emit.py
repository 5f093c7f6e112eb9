"""Emits the kernel calls of one segment: ops that follow one another and all run natively."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gristmill.devices.cpu import _native
from gristmill.devices.cpu.contents import array_of, is_known
from gristmill.devices.cpu.elementwise import STEPS
from gristmill.devices.cpu.fusion import Group, Users
from gristmill.devices.cpu.layout import CHANNELS_LAST, PLAIN, Layout
from gristmill.devices.cpu.packing import kept
from gristmill.devices.cpu.program import ProgramBuilder
from gristmill.devices.cpu.sizes import postfix
from gristmill.errors import ExecutionError
from gristmill.ir.constants import Array
from gristmill.ir.dims import Dim, Symbol, is_static
from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.ir.types import DType, StateType
from gristmill.ops.sizes import claim


@dataclass(frozen=True, eq=False)
class Replaced:
    """Room for what an op overwrites in place, handed over like a result so that a failed run can be taken back.

    Attributes:
        dtype: Of the elements.
        shape: Of the tensor.
    """

    dtype: DType
    shape: Sequence[Dim]


PreparedConstants = dict[Hashable, _native.Prepared]
"""Packed constants by what they were made from; shared by all plans of a function."""


class Emitter:
    """What a lowering sees.

    Args:
        threads: How many the calls may use.
        users: Of a value, those that count.
        exported: Whether something outside the segment needs a value.
        prepared: Constants that were packed already.
        sized: Values whose elements are sizes.
        in_place: Ops that replace slices of a state where it is, each with the state.
        strict: Round every float16 result where it arises.

    Attributes:
        executable: The native calls so far.
        symbols: Symbols of the segment's sizes, in the order of their numbers.
        externals: Whose arrays the caller hands over, in order: inputs, results that are needed outside, and room for
            what is overwritten in place.
        calls: For each call the ops that it runs.
        written: For each state that the segment replaces as a whole the value that it leaves there.
        updated: States whose own array the segment writes to.
    """

    def __init__(
        self,
        threads: int,
        users: Users,
        exported: Callable[[Value], bool],
        prepared: PreparedConstants,
        *,
        sized: Container[Value] = (),
        in_place: Mapping[Op, Value] | None = None,
        strict: bool = False,
    ) -> None:
        self.executable = _native.Executable(threads)
        self.symbols: dict[str, int] = {}
        self.externals: list[Value | Replaced] = []
        self.inputs: set[Value] = set()
        self.calls: list[tuple[str, list[Op]]] = []
        self.written: dict[Value, Value] = {}
        self.strict = strict
        self._in_place = in_place or {}
        self.updated = set(self._in_place.values())
        self._sized = sized
        self._users, self._exported, self._prepared = users, exported, prepared
        self._sizes: dict[Dim, int] = {}
        self._tensors: dict[tuple[Value, Layout], int] = {}
        self._layout: dict[Value, Layout] = {}
        self._group: Group | None = None
        self._states: dict[Value, int] = {}

    # -- sizes and tensors ---------------------------------------------------------------------------------------------

    def size(self, dim: Dim) -> int:
        """The number of a size."""
        if dim not in self._sizes:
            self._sizes[dim] = self.executable.size(postfix(dim, self._symbol))
        return self._sizes[dim]

    def _symbol(self, symbol: Symbol) -> int:
        return self.symbols.setdefault(symbol.name, len(self.symbols))

    def sizes(self, dims: Sequence[Dim]) -> tuple[int, ...]:
        """Sizes as a kernel's argument or a tensor's shape."""
        return tuple(map(self.size, dims))

    def layout(self, value: Value) -> Layout:
        """The layout that a value was made in; plain for what comes from outside."""
        return self._layout.get(value, PLAIN)

    def tensor(self, value: Value, layout: Layout = PLAIN) -> int:
        """The number of a value's tensor in a layout; transposes it where it exists only in another one."""
        layout = layout.of(value)
        found = self._tensors.get((value, layout))
        if found is None:
            found = self._tensors[value, layout] = self._make(value, layout)
        return found

    def _make(self, value: Value, layout: Layout) -> int:
        shape = self.sizes(layout.order(value.shape))
        if is_known(value):
            data = kept(value) if layout is PLAIN else None
            if data is not None:
                return self.executable.constant(value.dtype.name, shape, data)
            return self.constant(array_of(value).transpose(layout.permutation(value.rank)), value.dtype.name)
        other = CHANNELS_LAST if layout is PLAIN else PLAIN
        if value in self._sized and (value, other) not in self._tensors:
            return self._sizes_of(value, layout)
        if (value, other) not in self._tensors:
            if layout is not PLAIN:
                self.tensor(value, PLAIN)  # comes from outside
            else:
                self.inputs.add(value)
                self.externals.append(value)
                return self.executable.external(value.dtype.name, shape)
        source = self._tensors[value, other]
        if _same_order(value.shape, layout, other):
            return self.executable.alias(source, value.dtype.name, shape)
        made = self.executable.arena(value.dtype.name, shape)
        self.call("view", {"perm": _between(other, layout, value.rank)}, [source], [made])
        return made

    def _sizes_of(self, value: Value, layout: Layout) -> int:
        assert value.contents is not None
        elements = np.transpose(value.contents, layout.permutation(value.rank))
        made = self.executable.arena(value.dtype.name, self.sizes(elements.shape))
        self.call("sizes", {"values": self.sizes(elements.ravel().tolist())}, [], [made])
        return made

    def constant(self, array: Array, dtype: str) -> int:
        """A constant tensor."""
        contents = np.ascontiguousarray(array)  # which makes a vector of a scalar
        # What cannot be written to lies in the model's file.
        data = _native.buffer(contents, constant=not contents.flags.writeable)
        return self.executable.constant(dtype, self.sizes(array.shape), data)

    def result(self, value: Value, layout: Layout = PLAIN) -> int:
        """A new tensor for an op's result."""
        layout = layout.of(value)
        if is_static(value.shape):
            self._claim(value)
        shape = self.sizes(layout.order(value.shape))
        if layout is PLAIN and self._exported(value):
            self.externals.append(value)
            made = self.executable.external(value.dtype.name, shape)
        else:
            made = self.executable.arena(value.dtype.name, shape)
        self.define(value, made, layout)
        return made

    def define(self, value: Value, tensor: int, layout: Layout = PLAIN) -> None:
        """Says which tensor holds a result."""
        self._tensors[value, layout] = tensor
        self._layout[value] = layout

    def alias(self, value: Value, tensor: int, layout: Layout = PLAIN, start: Dim | None = None) -> None:
        """A result that is the bytes of another tensor under its own shape: all, or some from an element on."""
        layout = layout.of(value)
        shape = self.sizes(layout.order(value.shape))
        begin = None if start is None else self.size(start)
        self.define(value, self.executable.alias(tensor, value.dtype.name, shape, begin), layout)

    def renamed(self, tensor: int, dtype: DType, dims: Sequence[Dim]) -> int:
        """A tensor's bytes under another shape."""
        return self.executable.alias(tensor, dtype.name, self.sizes(dims))

    def replaced(self, op: Op, x: Value, replaced: Sequence[tuple[DType, Sequence[Dim]]]) -> list[int]:
        """Results of a call that replaces slices of ``x``: the op's, and what is overwritten where it does so in place.

        Args:
            op: What does it.
            x: The whole.
            replaced: Types and shapes of what the kernel keeps of the old contents.
        """
        if op not in self._in_place:
            return [self.result(op.results[0])]
        self.alias(op.results[0], self.tensor(x))
        kept = []
        for dtype, shape in replaced:
            self.externals.append(Replaced(dtype, shape))
            kept.append(self.executable.external(dtype.name, self.sizes(shape)))
        return [self.tensor(op.results[0]), *kept]

    def used_only_by(self, value: Value) -> list[Op] | None:
        """The ops that use a value, if nothing outside the segment does."""
        if self._exported(value):
            return None
        return [user for user in self._users(value) if isinstance(user, Op)]

    def state(self, state: Value) -> int:
        """The number of the tensor that holds a state's present contents."""
        if state not in self._states:
            assert isinstance(state.type, StateType)
            contents = state.type.wrapped
            self.inputs.add(state)
            self.externals.append(state)
            self._states[state] = self.executable.external(contents.dtype.name, self.sizes(contents.shape))
        return self._states[state]

    def write_state(self, state: Value, value: Value) -> None:
        """Makes a value a state's contents, for what follows in the segment and, after it, for everybody."""
        self._states[state] = self.tensor(value)
        if value.producer in self._in_place:
            self.written.pop(state, None)  # it is there
        else:
            self.written[state] = value

    @staticmethod
    def _claim(value: Value) -> None:
        """Raises ExecutionError where a result of a fixed shape takes more memory than can be had."""
        try:
            claim(map(int, value.shape), value.dtype.numpy.itemsize)
        except MemoryError as error:
            op = value.producer
            raise ExecutionError(
                f"there is not enough memory: {error}", op=op and op.title, location=op and op.location
            ) from error

    def scratch(self, dtype: str, dims: Sequence[Dim]) -> int:
        """A tensor that no value of the program stands for."""
        return self.executable.arena(dtype, self.sizes(dims))

    def prepared(self, key: Hashable, make: Callable[[], _native.Prepared]) -> _native.Prepared:
        """Something made from constants, once for all plans."""
        if key not in self._prepared:
            self._prepared[key] = make()
        return self._prepared[key]

    def moved(self, value: Value, perm: Sequence[int]) -> int:
        """A value's tensor with its axes in another order."""
        if list(perm) == list(range(value.rank)):
            return self.tensor(value)
        made = self.scratch(value.dtype.name, [value.shape[axis] for axis in perm])
        self.call("view", {"perm": list(perm)}, [self.tensor(value)], [made])
        return made

    def axis_last(self, value: Value, axis: int) -> int:
        """A value's tensor with one axis moved to the end."""
        return self.moved(value, _axis_last(value.rank, axis))

    @contextlib.contextmanager
    def result_axis_last(self, value: Value, axis: int) -> Iterator[int]:
        """A tensor for a result that is written with one axis at the end, and moved to its place afterwards."""
        perm = _axis_last(value.rank, axis)
        if axis == value.rank - 1:
            yield self.result(value)
            return
        made = self.scratch(value.dtype.name, [value.shape[a] for a in perm])
        yield made
        self.call("view", {"perm": [perm.index(a) for a in range(value.rank)]}, [made], [self.result(value)])

    # -- calls ---------------------------------------------------------------------------------------------------------

    def call(self, kernel: str, attributes: Mapping[str, Any], inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Appends a call; -1 stands for an operand that is left out."""
        self.executable.call(kernel, dict(attributes), list(inputs), list(outputs))
        self.calls.append((kernel, list(self._group.ops) if self._group is not None else []))

    def finish(
        self,
        op: Op,
        kernel: str,
        attributes: Mapping[str, Any],
        inputs: Sequence[int],
        layout: Layout = PLAIN,
        bias: Value | None = None,
    ) -> None:
        """Appends a call of a kernel with an epilogue, which also runs the element-wise ops of the op's group.

        Args:
            op: The root of the group.
            kernel: Name of the kernel.
            attributes: Its own arguments.
            inputs: Its own operands.
            layout: Of the result.
            bias: Added to the result, one element for each place along the last dimension in memory.
        """
        group = self._group
        assert group is not None
        assert group.root is op
        program = ProgramBuilder(op.result, strict=self.strict)
        register = program.operand(op.result)
        if bias is not None:
            register = program.step("Add", register, program.operand(bias))
        program.define(op.result, register)
        self._add_steps(group.followers, program)
        outputs = group.outputs(self._users)
        arguments = dict(attributes)
        operands = list(inputs)
        if bias is not None or group.followers or len(outputs) != 1:
            arguments["program"] = program.build(outputs)
            kinds = []
            for value in program.inputs[1:]:
                # A bias counts channels, wherever they lie.
                kind = "column" if value is bias else epilogue_kind(value, op.result, layout)
                assert kind is not None  # fusion asked before
                kinds.append(kind)
                operands.append(self.tensor(value, layout) if kind == "full" else self.tensor(value))
            arguments["layout"] = " ".join(kinds)
        self.call(kernel, arguments, operands, [self.result(value, layout) for value in outputs])

    @staticmethod
    def _add_steps(ops: Sequence[Op], program: ProgramBuilder) -> None:
        for op in ops:
            program.define(op.result, STEPS[type(op)].emit(op, program))

    def elementwise(self, group: Group) -> None:
        """Appends the call for a group that has no root."""
        self._group = group
        program = ProgramBuilder(strict=self.strict)
        self._add_steps(group.ops, program)
        outputs = group.outputs(self._users)
        layout = self._common_layout(program.inputs, outputs[0])
        rank = outputs[0].rank
        prepared = program.build(outputs)
        operands = [self._broadcast(value, rank, layout) for value in program.inputs]
        self.call("elementwise", {"program": prepared}, operands, [self.result(value, layout) for value in outputs])
        self._group = None

    def _common_layout(self, inputs: Sequence[Value], result: Value) -> Layout:
        """Channels last if a full-sized operand is; otherwise plain."""
        full = [value for value in inputs if value.shape == result.shape]
        return CHANNELS_LAST if any(self.layout(value) is CHANNELS_LAST for value in full) else PLAIN

    def _broadcast(self, value: Value, rank: int, layout: Layout) -> int:
        """An operand that broadcasts to a result of some rank, in the order of that result."""
        if layout is PLAIN or value.rank in (0, rank):
            return self.tensor(value, layout)
        tensor = self.tensor(value)
        shape = (1,) * (rank - value.rank) + value.shape
        if _same_order(shape, layout, PLAIN):
            return self.renamed(tensor, value.dtype, layout.order(shape))
        source = self.renamed(tensor, value.dtype, shape)
        made = self.executable.arena(value.dtype.name, self.sizes(layout.order(shape)))
        self.call("view", {"perm": _between(PLAIN, layout, rank)}, [source], [made])
        return made

    @property
    def scaling(self) -> Op | None:
        """The product that the kernel of the group's root makes of its operand."""
        return self._group.scaling if self._group is not None else None

    def lower(self, group: Group, emit: Callable[[Op, Emitter], None]) -> None:
        """Runs the lowering of a group's root, or of its only op."""
        self._group = group
        emit(group.first, self)
        self._group = None

    def close(self, exports: Sequence[Value]) -> None:
        """Brings what is needed outside into arrays of the caller's."""
        for value in exports:
            if value in self.externals and value not in self.inputs:
                continue
            layout = self.layout(value)
            self.externals.append(value)
            made = self.executable.external(value.dtype.name, self.sizes(value.shape))
            self.call("view", {"perm": _between(layout, PLAIN, value.rank)}, [self.tensor(value, layout)], [made])


def _axis_last(rank: int, axis: int) -> list[int]:
    return [*(a for a in range(rank) if a != axis), axis]


def _between(have: Layout, want: Layout, rank: int) -> list[int]:
    """Which axis in memory each axis of another layout is."""
    places = have.permutation(rank)
    return [places.index(axis) for axis in want.permutation(rank)]


def _same_order(shape: Sequence[Dim], a: Layout, b: Layout) -> bool:
    """Whether elements lie in the same order in two layouts: dimensions of size 1 may move freely."""
    rank = len(shape)

    def wide(layout: Layout) -> list[int]:
        return [axis for axis in layout.permutation(rank) if shape[axis] != 1]

    return wide(a) == wide(b)


def epilogue_kind(value: Value, result: Value, layout: Layout) -> str | None:
    """How an operand meets a result's rows: ``full``, ``column``, ``scalar``; ``None`` when it does not."""
    if value.shape == result.shape:
        return "full"
    ones: list[Dim] = [1] * (result.rank - value.rank)
    dims = layout.order([*ones, *value.shape])
    if all(dim == 1 for dim in dims):
        return "scalar"
    columns = layout.order(result.shape)[-1]
    return "column" if dims[-1] == columns and all(dim == 1 for dim in dims[:-1]) else None
