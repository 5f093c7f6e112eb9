"""Op-by-op execution with NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from gristmill.devices.base import Device, Executable, Observer, Refusal
from gristmill.errors import ExecutionError
from gristmill.ir.builtin import const
from gristmill.ir.constants import Constant
from gristmill.ir.op import Op, RuntimeValue
from gristmill.ir.program import Block, Function, Value
from gristmill.ir.traits import ControlFlow
from gristmill.ir.types import TensorType, compatible, unit_float

Evaluate: TypeAlias = Callable[[Op, Mapping[str, RuntimeValue]], list[RuntimeValue]]
"""What an op gives for operands by field."""


class ReferenceDevice(Device):
    """Runs every op that has a reference."""

    name = "reference"

    def supports(self, op: Op) -> Refusal | None:
        if any(isinstance(r.type, TensorType) and r.type.dtype == unit_float for r in op.results):
            return Refusal("the tensor has no type yet", "give it the type of a compute unit first")
        if type(op).reference is Op.reference and type(op).control is Op.control:
            return Refusal(f"'{op.op_name}' has no definition that runs here")
        return None

    def prepare(self, function: Function) -> ReferenceExecutable:
        self.check(function)
        return ReferenceExecutable(function)


class ReferenceExecutable(Executable):
    """A function with the places where each of its values is used last.

    Args:
        function: What to run.
        evaluate: How each op is computed that holds no blocks.
    """

    def __init__(self, function: Function, evaluate: Evaluate = Op.compute) -> None:
        self._function, self._evaluate = function, evaluate
        self._constants: dict[Value, RuntimeValue] = {}
        self._dying = last_uses(function.body)

    def run(self, inputs: Mapping[str, RuntimeValue], observe: Observer | None = None) -> list[RuntimeValue]:
        arguments = [inputs[value.name] for value in self._function.inputs]
        return _Run(self._constants, self._dying, self._evaluate, observe).block(self._function.body, arguments)


class _Run:
    """One execution: the values that are alive at the moment."""

    def __init__(
        self,
        constants: dict[Value, RuntimeValue],
        dying: Mapping[Op, Sequence[Value]],
        evaluate: Evaluate,
        observe: Observer | None,
    ) -> None:
        self._constants, self._dying, self._evaluate, self._observe = constants, dying, evaluate, observe
        self._alive: dict[Value, RuntimeValue] = {}

    def block(self, block: Block, arguments: Sequence[RuntimeValue]) -> list[RuntimeValue]:
        self._alive.update(zip(block.arguments, arguments, strict=True))
        for op in block:
            if isinstance(op, const):
                continue
            results = self._execute(op)
            if self._observe is not None:
                self._observe(op, results)
            self._alive.update(zip(op.results, results, strict=True))
            for value in self._dying.get(op, ()):
                self._alive.pop(value, None)
        return [self._value(value) for value in block.outputs]

    def _execute(self, op: Op) -> list[RuntimeValue]:
        operands = {
            name: tuple(map(self._value, bound)) if isinstance(bound, tuple) else self._value(bound)
            for name, bound in op.operands.items()
        }
        results = op.control(operands, self.block) if op.has(ControlFlow) else self._evaluate(op, operands)
        for value, result in zip(results, op.results, strict=True):
            check_result(op, value, result)
        return results

    def _value(self, value: Value) -> RuntimeValue:
        if value.constant is None:
            return self._alive[value]
        if value not in self._constants:
            self._constants[value] = fixed(value.constant)
        return self._constants[value]


def fixed(constant: Constant) -> RuntimeValue:
    """What a constant holds while a program runs: a tensor nobody can write to, since results may be views of it."""
    if not isinstance(constant.type, TensorType):
        return constant.python()
    array = constant.numpy().view()
    array.flags.writeable = False
    return array


def check_result(op: Op, value: RuntimeValue, result: Value) -> None:
    """Holds what an op computed against its declared type.

    Raises:
        ExecutionError: They differ.
    """
    if not isinstance(result.type, TensorType):
        return
    found = TensorType(result.type.dtype, value.shape)
    if value.dtype != result.type.dtype.numpy or not compatible(found, result.type):
        raise ExecutionError(
            f"result '{result.name}' came out differently than declared",
            op=op.title,
            location=op.location,
            expected=result.type,
            actual=f"{value.dtype}{list(value.shape)}",
            hint="the model's declared shapes do not hold for this input",
        )


def last_uses(body: Block) -> dict[Op, list[Value]]:
    """For each op the values that nothing needs after it.

    A value made outside a nested block and used inside dies with the op that holds the block, since the block may run
    again.
    """
    dying: dict[Op, list[Value]] = {}

    def visit(block: Block) -> None:
        order = {op: place for place, op in enumerate(block)}
        made: list[Value] = list(block.arguments)
        for op in block:
            made += op.results
            for nested in op.blocks:
                visit(nested)
        for value in made:
            users = list(_users_in(value, block))
            if users and all(isinstance(user, Op) for user in users):
                last = max((user for user in users if isinstance(user, Op)), key=order.__getitem__)
                dying.setdefault(last, []).append(value)
            elif not users and value.producer is not None:
                dying.setdefault(value.producer, []).append(value)

    visit(body)
    return dying


def _users_in(value: Value, block: Block) -> Iterable[Op | Block]:
    """Users of a value as seen from a block: an op of it, possibly holding the real user, or the block itself."""
    for user in value.users:
        seen: Op | Block = user
        while seen is not block:
            if isinstance(seen, Block):
                assert isinstance(seen.owner, Op)  # a function's own block is `block`, or holds it
                seen = seen.owner
            elif seen.block is block:
                break
            else:
                assert seen.block is not None
                seen = seen.block
        yield seen
