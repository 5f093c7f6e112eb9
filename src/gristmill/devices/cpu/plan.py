"""Plans of blocks: native segments, with reference ops between them, in the program's order."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from gristmill.devices.base import CallProfile, Observer, Refusal
from gristmill.devices.cpu import _native, lowering
from gristmill.devices.cpu.contents import contents, is_known
from gristmill.devices.cpu.dataflow import Dataflow, live_ops, operands_of, read_in, symbols_met
from gristmill.devices.cpu.elementwise import STEPS
from gristmill.devices.cpu.emit import Emitter, PreparedConstants, epilogue_kind
from gristmill.devices.cpu.fusion import Group, absorb_scalings, group
from gristmill.devices.cpu.layout import PLAIN
from gristmill.devices.cpu.lowering.registry import LOWERINGS
from gristmill.devices.cpu.states import brought_together, updates_in_place, written_by
from gristmill.devices.reference.executor import check_result, fixed
from gristmill.errors import ExecutionError, FormatError
from gristmill.ir.builtin import const
from gristmill.ir.constants import Array
from gristmill.ir.dims import DimExpr, Symbol, is_static
from gristmill.ir.op import Op, RuntimeValue
from gristmill.ir.program import Block, Function, Value
from gristmill.ir.traits import ControlFlow, Decompresses
from gristmill.ir.types import StateType, TensorType, fp16
from gristmill.ops.sizes import claim

assert lowering.FAMILIES  # importing them registers the lowerings

NATIVE_TYPES = frozenset({"fp16", "fp32", "int32", "int16", "uint16", "int8", "uint8", "bool"})
INTEGERS = frozenset({"int32", "int16", "uint16", "int8", "uint8"})
MAX_RANK = 8


def native_refusal(op: Op) -> Refusal | None:
    """``None`` when an op has a native kernel, else why it runs on the reference device."""
    found = LOWERINGS.get(type(op)) or STEPS.get(type(op))
    if found is None:
        return Refusal(f"'{op.op_name}' has no native kernel")
    for value in (*operands_of(op), *op.results):
        kind = value.type
        if isinstance(kind, TensorType) and not _is_native(kind) and not is_known(value):
            return Refusal(f"a native tensor is not {kind}")
    return found.supports(op)


def _is_native(kind: TensorType) -> bool:
    return kind.dtype.name in NATIVE_TYPES and len(kind.shape) <= MAX_RANK


class Environment:
    """What is known while a function runs: values, and sizes of symbols.

    Args:
        constants: Those that were read already; kept from run to run.
        observe: Told of every op's results.
    """

    def __init__(self, constants: dict[Value, RuntimeValue], observe: Observer | None = None) -> None:
        self.observe = observe
        self.values: dict[Value, RuntimeValue] = {}
        self.sizes: dict[str, int] = {}
        self.undo: list[Callable[[], None]] = []
        self._constants = constants

    def value(self, value: Value) -> RuntimeValue:
        if value not in self._constants:
            constant = contents(value)
            if constant is None:
                return self.values[value]
            self._constants[value] = fixed(constant)
        return self._constants[value]

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Takes back what was written to states in place when the run does not come to its end."""
        try:
            yield
        except BaseException:
            for undo in reversed(self.undo):
                undo()
            raise

    def bind(self, value: Value, found: RuntimeValue) -> None:
        """Takes a value, and the sizes of the symbols that its type names."""
        self.values[value] = found
        if isinstance(value.type, TensorType):
            for axis, dim in enumerate(value.type.shape):
                if isinstance(dim, Symbol):
                    self.sizes[dim.name] = found.shape[axis]


@dataclass
class NativeStep:
    """One segment.

    Attributes:
        ops: What it runs.
        emitter: The executable, with what it needs from outside.
        shares: For each state that it writes, whether others see the array that becomes its contents.
        dying: Values that nobody needs after it.
    """

    ops: list[Op]
    emitter: Emitter
    shares: Mapping[Value, bool] = field(default_factory=dict)
    dying: list[Value] = field(default_factory=list)

    def run(self, environment: Environment, run_block: RunPlan) -> None:
        symbols = self._symbols(environment)
        with self.errors_named():
            arrays, made = self._externals(environment)
            self.emitter.executable.run(symbols, arrays)
        self._take(environment, made, symbols, arrays)

    @contextlib.contextmanager
    def errors_named(self) -> Iterator[None]:
        """Turns what native code refuses, and too little memory, into an error that names the segment."""
        try:
            yield
        except MemoryError as error:
            raise ExecutionError(
                f"there is not enough memory: {error}", op=self.ops[0].title, location=self.ops[0].location
            ) from error
        except _native.FileError as error:
            raise FormatError(f"{error}", hint="load the model again, from a whole file") from error
        except _native.NativeError as error:
            raise ExecutionError(
                f"the native code refuses this input: {error}",
                op=self.ops[0].title,
                location=self.ops[0].location,
                hint="an index is out of range, or the model's declared shapes do not hold for this input",
            ) from error

    def profile(self, environment: Environment) -> list[CallProfile]:
        """Runs once and says what each call took."""
        symbols = self._symbols(environment)
        begin = time.perf_counter()
        with self.errors_named():
            arrays, made = self._externals(environment)
            rows = self.emitter.executable.profile(symbols, arrays)
        self._take(environment, made, symbols, arrays)
        return [
            CallProfile(kernel, tuple(ops), begin + start, seconds, flops, moved + constants, variant)
            for (number, start, seconds, flops, constants, moved, variant) in rows
            for kernel, ops in [self.emitter.calls[number]]
        ]

    @property
    def made(self) -> list[Value]:
        """What the environment gets from it."""
        return [v for v in self.emitter.externals if isinstance(v, Value) and v not in self.emitter.inputs]

    @property
    def read(self) -> set[Value]:
        """What it takes from the environment, states that it only writes among it."""
        return self.emitter.inputs | self.emitter.written.keys() | set(self.emitter.written.values())

    def _symbols(self, environment: Environment) -> list[int]:
        return [environment.sizes[name] for name in self.emitter.symbols]

    def _externals(self, environment: Environment) -> tuple[list[Array], list[tuple[Value, Array]]]:
        """Arrays for all external tensors, and those of them that are results."""
        emitter = self.emitter
        arrays: list[Array] = []
        made: list[tuple[Value, Array]] = []
        for value in emitter.externals:
            if isinstance(value, Value) and value in emitter.inputs:
                array = environment.value(value)
                if isinstance(value.type, StateType):
                    array = array.own() if value in emitter.updated else array.read()
                arrays.append(np.ascontiguousarray(array).reshape(array.shape))  # which makes a vector of a scalar
                continue
            sizes = [d.evaluate(environment.sizes) if isinstance(d, DimExpr) else d for d in value.shape]
            arrays.append(np.empty(claim(sizes, value.dtype.numpy.itemsize), value.dtype.numpy))
            if isinstance(value, Value):
                made.append((value, arrays[-1]))
        return arrays, made

    def _take(
        self, environment: Environment, made: Sequence[tuple[Value, Array]], symbols: list[int], arrays: list[Array]
    ) -> None:
        if self.emitter.updated:
            environment.undo.append(functools.partial(self.emitter.executable.undo, symbols, arrays))
        for value, array in made:
            environment.values[value] = array
        for state, value in self.emitter.written.items():
            # A copy where somebody else gets the array too, and might write to it.
            contents = environment.value(value)
            environment.values[state].write(contents.copy() if self.shares[state] else contents, owned=True)
        if environment.observe is not None:
            for op in self.ops:
                environment.observe(op, [environment.values[result] for result in op.results])


@dataclass
class ReferenceStep:
    """One op that runs by its definition."""

    op: Op
    reason: Refusal
    dying: list[Value] = field(default_factory=list)

    @property
    def made(self) -> list[Value]:
        """What the environment gets from it."""
        return self.op.results

    @property
    def read(self) -> set[Value]:
        """What it takes from the environment, and its blocks do."""
        return set(operands_of(self.op)).union(*map(read_in, self.op.blocks))

    def run(self, environment: Environment, run_block: RunPlan) -> None:
        op = self.op
        operands = {
            name: tuple(map(environment.value, bound)) if isinstance(bound, tuple) else environment.value(bound)
            for name, bound in op.operands.items()
        }

        def nested(block: Block, arguments: Sequence[RuntimeValue]) -> list[RuntimeValue]:
            return run_block(block, environment, arguments)

        results = op.control(operands, nested) if op.has(ControlFlow) else op.compute(operands)
        for value, result in zip(results, op.results, strict=True):
            check_result(op, value, result)
            environment.bind(result, value)
        if environment.observe is not None:
            environment.observe(op, results)


Step = NativeStep | ReferenceStep
RunPlan = Callable[[Block, Environment, Sequence[RuntimeValue]], list[RuntimeValue]]


@dataclass
class BlockPlan:
    """A block's steps in order, and the plans of the blocks that its ops hold."""

    block: Block
    steps: list[Step]
    nested: Mapping[Block, BlockPlan]

    def run(self, environment: Environment, arguments: Sequence[RuntimeValue]) -> list[RuntimeValue]:
        """Runs the block."""
        for value, argument in zip(self.block.arguments, arguments, strict=True):
            environment.bind(value, argument)
        for step in self.steps:
            step.run(environment, self._run_nested)
            for value in step.dying:
                environment.values.pop(value, None)
        return [environment.value(value) for value in self.block.outputs]

    def profile(self, environment: Environment, arguments: Sequence[RuntimeValue]) -> list[CallProfile]:
        """Runs the block and says what each native call, and each op on the reference device, took."""
        for value, argument in zip(self.block.arguments, arguments, strict=True):
            environment.bind(value, argument)
        calls: list[CallProfile] = []
        for step in self.steps:
            if isinstance(step, NativeStep):
                calls += step.profile(environment)
                continue
            begin = time.perf_counter()
            step.run(environment, self._run_nested)
            calls.append(
                CallProfile("reference", (step.op,), begin, time.perf_counter() - begin, 0, 0, step.reason.reason)
            )
        return calls

    def _run_nested(
        self, block: Block, environment: Environment, arguments: Sequence[RuntimeValue]
    ) -> list[RuntimeValue]:
        return self.nested[block].run(environment, arguments)


class Planner:
    """Makes plans.

    Args:
        threads: How many the calls may use.
        prepared: Packed constants, shared with other plans.
        strict: Round every result.
        fuse: Whether ops may be fused and share segments; if not, every op's results can be observed.
    """

    def __init__(self, threads: int, prepared: PreparedConstants, *, strict: bool = False, fuse: bool = True) -> None:
        self._threads, self._prepared, self._strict, self._fuse = threads, prepared, strict, fuse

    def plan(self, block: Block, known: frozenset[str] = frozenset()) -> BlockPlan:
        """Plans a block.

        Args:
            block: What to plan.
            known: Symbols whose sizes are known before it starts.
        """
        # In a block that may run again, undoing would keep what every turn overwrote.
        outermost = isinstance(block.owner, Function)
        # What decompresses is known beforehand too, but observers want to see it.
        ops = [op for op in block if not (isinstance(op, const) or (self._fuse and op.has(Decompresses)))]
        sizes = set(known)
        for value in block.arguments:
            sizes |= _symbols_bound_by(value)
        given = frozenset(sizes)  # what an op of the block decides is known only where that op runs
        refusals: dict[Op, Refusal | None] = {}
        sized: set[Op] = set()
        decided: dict[str, Value] = {}  # sizes that are known once a value is there
        for op in brought_together(ops) if self._fuse else ops:
            if self._fuse and _is_sized(op, given):
                refusals[op] = None
                sized.add(op)
                continue
            refusals[op] = self._refusal(op, sizes)
            if not self._fuse and not any(result.uses for result in op.results):
                refusals[op] = Refusal("nobody uses its results")  # but observers want to see them
            if refusals[op] is not None:
                for result in op.results:
                    decided |= dict.fromkeys(_symbols_bound_by(result) - sizes, result)
                    sizes |= _symbols_bound_by(result)
        live = live_ops(block, refusals, sized, decided, _reads) if self._fuse else dict.fromkeys(refusals)
        flow = Dataflow(block, refusals, sized, live)
        steps: list[Step] = []
        nested: dict[Block, BlockPlan] = {}
        pending: list[Op] = []

        def flush() -> None:
            if pending:
                step = self._segment(list(pending), flow, in_place=outermost)
                if step.emitter.calls or step.emitter.externals:
                    steps.append(step)
                pending.clear()

        for op, refusal in refusals.items():
            if op not in live:
                continue
            if refusal is None:
                pending.append(op)
                if not self._fuse:
                    flush()
                continue
            flush()
            for inner in op.blocks:
                nested[inner] = self.plan(inner, frozenset(sizes))
            steps.append(ReferenceStep(op, refusal))
        flush()
        for value, step in _last_needed(block, steps).items():
            step.dying.append(value)
        return BlockPlan(block, steps, nested)

    @staticmethod
    def _refusal(op: Op, sizes: set[str]) -> Refusal | None:
        refusal = native_refusal(op)
        if refusal is not None:
            return refusal
        unknown = symbols_met(op) - sizes
        return Refusal(f"the size {min(unknown)} is known only while the model runs") if unknown else None

    def _segment(self, ops: list[Op], flow: Dataflow, *, in_place: bool) -> NativeStep:
        inside = set(ops)

        @functools.cache  # results are asked for when they are grouped, made and handed over
        def needed_outside(value: Value) -> bool:
            return not self._fuse or flow.needed_outside(value, inside)

        # What a state holds in the end is an array of its own.
        left = {written[0]: written[1] for op in ops if (written := written_by(op))}

        def exported(value: Value) -> bool:
            return needed_outside(value) or value in left.values()

        run = [op for op in ops if op not in flow.sized]
        if self._fuse:
            groups = group(run, _is_elementwise, _is_root, _joins_root, flow.users)
            groups = absorb_scalings(groups, self._scaling_of, flow.users)
        else:
            groups = [_alone(op) for op in run]
        updates: dict[Op, Value] = {}
        if left and in_place and self._fuse:
            place = {op: index for index, found in enumerate(groups) for op in found.ops}
            final = set(left.values())
            updates = updates_in_place(run, place, flow.users, lambda v: needed_outside(v) or v in final)
            left = {state: value for state, value in left.items() if value.producer not in updates}
        emitter = Emitter(
            self._threads,
            flow.users,
            exported,
            self._prepared,
            sized={value for op in flow.sized for value in op.results},
            in_place=updates,
            strict=self._strict,
        )
        for found in groups:
            if found.root is None and _is_elementwise(found.first):
                emitter.elementwise(found)
            else:
                emitter.lower(found, LOWERINGS[type(found.first)].emit)
        emitter.close([value for op in ops for value in op.results if exported(value)])
        shares = {
            state: value in emitter.inputs
            or is_known(value)
            or needed_outside(value)
            or list(left.values()).count(value) > 1
            for state, value in left.items()
        }
        return NativeStep(ops, emitter, shares)

    def _scaling_of(self, root: Op) -> Op | None:
        scaling = LOWERINGS[type(root)].scaling(root)
        # Strictly, a float16 product is rounded before somebody reads it.
        return None if scaling is None or (self._strict and scaling.result.dtype == fp16) else scaling


def _alone(op: Op) -> Group:
    return Group([op], root=op if _is_root(op) else None)


def _is_elementwise(op: Op) -> bool:
    return type(op) in STEPS


def _is_root(op: Op) -> bool:
    found = LOWERINGS.get(type(op))
    return found is not None and found.epilogue is not None


def _joins_root(op: Op, root: Op) -> bool:
    layout = LOWERINGS[type(root)].epilogue
    assert layout is not None
    if op.result.dtype.name not in ("fp16", "fp32"):
        return False
    per_channel = STEPS[type(op)].per_channel
    if per_channel and layout is PLAIN and op.result.rank > 2:
        return False  # channels are not the columns
    return all(
        value.producer is root
        or ((known := contents(value)) is not None and known.data.size == 1)
        or (per_channel and value.rank == 1)
        or epilogue_kind(value, root.result, layout) is not None
        for value in operands_of(op)
    )


def _symbols_bound_by(value: Value) -> set[str]:
    if not isinstance(value.type, TensorType) or is_static(value.type.shape):
        return set()
    return {dim.name for dim in value.type.shape if isinstance(dim, Symbol)}


def _symbols_met(op: Op) -> set[str]:
    """Symbols in the shapes of an op's operands and results."""
    types = (value.type for value in (*op.results, *(value for _, _, value in op.uses())))
    shapes = (kind.shape for kind in types if isinstance(kind, TensorType) and not is_static(kind.shape))
    return {symbol.name for shape in shapes for dim in shape if isinstance(dim, DimExpr) for symbol in dim.symbols}


def _is_sized(op: Op, sizes: Set[str]) -> bool:
    """Whether the elements of an op's result are sizes that are known before it runs: it need not run."""
    if len(op.results) != 1 or op.result.contents is None or op.result.dtype.name not in INTEGERS:
        return False
    found = op.result.contents.ravel().tolist()
    return all(symbol.name in sizes for dim in found if isinstance(dim, DimExpr) for symbol in dim.symbols)


def _reads(op: Op) -> Collection[str] | None:
    """Names of the operands that a native op reads while it runs; ``None`` for all."""
    found = LOWERINGS.get(type(op))
    return None if found is None else found.reads


def _last_needed(block: Block, steps: Sequence[Step]) -> dict[Value, Step]:
    """For each of a block's values that dies in it the step after which nobody needs it."""
    last: dict[Value, Step] = {}
    own = set(block.arguments)
    for step in steps:
        own.update(step.made)
        last.update(dict.fromkeys(step.made, step))
        last.update((value, step) for value in step.read if value in own)
    return {value: step for value, step in last.items() if value not in block.outputs}
