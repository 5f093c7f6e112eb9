"""How much work an op is: floating-point operations, bytes, and the sizes that limits of chips are about.

Sizes that are not fixed count as a nominal one, so that a flexible model has costs too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import singledispatch
from math import prod
from typing import Any, Final

from gristmill.errors import DimError
from gristmill.ir.dims import Dim, DimExpr
from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.ir.traits import Contraction, DataMovement, Reshapes
from gristmill.ir.types import StateType, TensorType, Type
from gristmill.ops import attention, conv, linear, pooling, recurrent

_UNBOUNDED: Final = 256
_LARGEST: Final = 1024


@dataclass(frozen=True)
class Work:
    """What one op does.

    Attributes:
        flops: Floating-point operations, of contractions; one for each element of a result otherwise.
        bytes: Of operands, constants and results, each counted once; none where data stays in place.
    """

    flops: float
    bytes: float


def work_of(op: Op, sizes: Mapping[str, int] | None = None) -> Work:
    """The work of an op and of everything in its blocks, each of which counts as run once.

    Args:
        op: The op.
        sizes: Values of symbols by name; others have a nominal one.
    """
    inner = [work_of(held, sizes) for block in op.blocks for held in block]
    elements = sum(count(value.type, sizes) for value in op.results)
    flops = 2.0 * elements * depth(op, sizes) if op.has(Contraction) else float(elements)
    return Work(flops + sum(work.flops for work in inner), _moved(op, sizes) + sum(work.bytes for work in inner))


def _moved(op: Op, sizes: Mapping[str, int] | None) -> float:
    if op.has(Reshapes):
        return 0.0
    made = sum(bytes_of(value, sizes) for value in op.results)
    read = [bytes_of(value, sizes) for value in dict.fromkeys(value for _, _, value in op.uses())]
    if op.has(DataMovement):  # gathers and slices read no more than they make, however large the table is
        read = [min(size, made) for size in read]
    return made + sum(read)


def follows_from_sizes(value: Value) -> bool:
    """Whether a value is known as soon as the sizes of the inputs are, so that no unit has to compute or move it."""
    return value.contents is not None and all(element is not None for element in value.contents.flat)


def bytes_of(value: Value, sizes: Mapping[str, int] | None = None) -> float:
    """The bytes of a value as it is stored; of a decompressed constant, what its compressed form takes."""
    kind = value.type.wrapped if isinstance(value.type, StateType) else value.type
    return count(kind, sizes) * max(kind.dtype.bits, 1) / 8 if isinstance(kind, TensorType) else 0.0


def count(kind: Type, sizes: Mapping[str, int] | None = None) -> int:
    """The elements of a tensor; 1 for anything else."""
    return elements_of(kind.shape, sizes) if isinstance(kind, TensorType) else 1


def elements_of(shape: Iterable[Dim], sizes: Mapping[str, int] | None = None) -> int:
    """The product of dimensions."""
    return prod(nominal(dim, sizes) for dim in shape)


def nominal(dim: Dim, sizes: Mapping[str, int] | None = None) -> int:
    """A dimension as a number: its symbols' upper bounds up to 1,024, or 256 where there is none."""
    if not isinstance(dim, DimExpr):
        return dim
    environment = {}
    for symbol in dim.symbols:
        top = _UNBOUNDED if symbol.upper is None else min(symbol.upper, _LARGEST)
        environment[symbol.name] = (sizes or {}).get(symbol.name, max(symbol.lower, top))
    try:
        return max(0, dim.evaluate(environment))
    except DimError:  # symbols that depend on each other in a way that nominal values break
        return _UNBOUNDED


@singledispatch
def depth(op: Any, sizes: Mapping[str, int] | None = None) -> int:
    """How many products a contraction sums up for each element of its result; 0 for other ops."""
    return 0


@depth.register
def _(op: linear.linear, sizes: Mapping[str, int] | None = None) -> int:
    return nominal(op.weight.shape[1], sizes)


@depth.register
def _(op: linear.matmul, sizes: Mapping[str, int] | None = None) -> int:
    axis = -2 if op.transpose_x and op.x.rank > 1 else -1
    return nominal(op.x.shape[axis], sizes)


@depth.register
def _(op: linear.einsum, sizes: Mapping[str, int] | None = None) -> int:
    inputs, _, output = op.equation.replace(" ", "").partition("->")
    lengths = {
        letter: nominal(dim, sizes)
        for letters, value in zip(inputs.split(","), op.values, strict=True)
        for letter, dim in zip(letters, value.shape, strict=True)
    }
    return prod(size for letter, size in lengths.items() if letter not in output)


@depth.register(conv.conv)
@depth.register(conv.conv_quantized)
def _(op: Any, sizes: Mapping[str, int] | None = None) -> int:
    return elements_of(op.weight.shape[1:], sizes)


@depth.register
def _(op: conv.conv_transpose, sizes: Mapping[str, int] | None = None) -> int:
    """Each element of x goes into as many results as the kernel has places; shared out evenly."""
    made = elements_of(op.result.shape, sizes)
    products = elements_of(op.x.shape, sizes) * elements_of(op.weight.shape[1:], sizes)
    return max(1, products // max(made, 1))


@depth.register
def _(op: attention.scaled_dot_product_attention, sizes: Mapping[str, int] | None = None) -> int:
    """Scores and their products with the values: S·(E + F) for each of F results."""
    length, width = op.key.shape[-2:]
    made = nominal(op.value.shape[-1], sizes)
    return nominal(length, sizes) * (nominal(width, sizes) + made) // max(made, 1)


@depth.register(recurrent.lstm)
@depth.register(recurrent.gru)
@depth.register(recurrent.rnn)
def _(op: Any, sizes: Mapping[str, int] | None = None) -> int:
    """All weights at every step, for as many results as there are."""
    weights = sum(count(value.type, sizes) for slot, _, value in op.uses() if slot.startswith("weight"))
    steps = elements_of(op.x.shape[:2], sizes)
    return weights * steps // max(sum(count(value.type, sizes) for value in op.results), 1)


@singledispatch
def window(op: Any) -> tuple[Dim, ...]:
    """The window that an op moves over its operand, along each spatial axis; empty for other ops."""
    return ()


@window.register(conv.conv)
@window.register(conv.conv_quantized)
@window.register(conv.conv_transpose)
def _(op: Any) -> tuple[Dim, ...]:
    return tuple(op.weight.shape[2:])


@window.register(pooling.avg_pool)
@window.register(pooling.max_pool)
@window.register(pooling.l2_pool)
def _(op: Any) -> tuple[Dim, ...]:
    return tuple(op.kernel_sizes)
