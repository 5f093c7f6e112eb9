"""What values hold that are known before the program runs: constants, and what decompresses to one."""

from __future__ import annotations

from gristmill.ir.constants import Array, Constant, LazyData
from gristmill.ir.op import Op, RuntimeValue
from gristmill.ir.program import Value
from gristmill.ir.traits import Decompresses
from gristmill.ir.types import TensorType


def is_known(value: Value) -> bool:
    """Whether a value is a constant or one decompressed."""
    return value.constant is not None or decompressing(value) is not None


def decompressing(value: Value) -> Op | None:
    """The op that decompresses a value, if it is made so."""
    return value.producer if value.producer is not None and value.producer.has(Decompresses) else None


def contents(value: Value) -> Constant | None:
    """A constant's contents, or what a value decompresses to: decoded by the op's reference when it is read."""
    op = decompressing(value)
    if op is None:
        return value.constant
    return Constant(value.type, LazyData(value.dtype, sizes_of(value), lambda: _decoded(op, value), "decompressed"))


def array_of(value: Value) -> Array:
    """The elements of a known tensor."""
    found = contents(value)
    assert found is not None
    return found.numpy()


def sizes_of(value: Value) -> tuple[int, ...]:
    """The shape of a known tensor."""
    return tuple(map(int, value.shape))


def _decoded(op: Op, value: Value) -> Array:
    def read(operand: Value) -> RuntimeValue:
        found = contents(operand)
        assert found is not None
        return found.numpy() if isinstance(found.type, TensorType) else found.python()

    operands = {name: read(bound) for name, bound in op.operands.items() if isinstance(bound, Value)}
    result: Array = op.compute(operands)[op.results.index(value)]
    return result
