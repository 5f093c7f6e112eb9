"""What a lowering works with: the node at hand, its place in the source, and helpers to make ops for it.

An argument of an operator reaches its lowering as a ``Value`` for a tensor or a size that is only known at run time,
as plain Python for everything else. A complex tensor is a ``Complex``, a pair of values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch

from gristmill.errors import UnsupportedError
from gristmill.frontends.torch.dtypes import ir_dtype, narrow_integer
from gristmill.ir import types
from gristmill.ir.builder import mb
from gristmill.ir.constants import Array, CastData, Constant, Data, LazyData
from gristmill.ir.dims import Dim, Shape, broadcast
from gristmill.ir.op import Op
from gristmill.ir.opset import Opset
from gristmill.ir.program import Function, Location, Value
from gristmill.ir.traits import ControlFlow, Decompresses
from gristmill.ir.types import DType, TensorType

Number: TypeAlias = int | float | bool
Size: TypeAlias = "int | Value"
"""A size or an index: known, or a scalar int32 value."""

CONSTANT_LIMIT = 1 << 16
"""Most elements of a constant that an op makes as well."""

FOLD_LIMIT = 1 << 22
"""Most elements that ``Context.static`` computes."""


@dataclass(frozen=True)
class Complex:
    """A complex tensor: its real and imaginary parts, of one type."""

    real: Value
    imag: Value


class NodeBuilder:
    """Makes ops whose names start with the name of the node that they are made for."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __getattr__(self, op_name: str) -> Callable[..., Value]:
        def make(**operands: Any) -> Value:
            (result,) = self.results(op_name, **operands)
            return result

        return make

    def results(self, op_name: str, **operands: Any) -> list[Value]:
        """Makes an op and gives all its results."""
        found = mb.op(op_name, name=f"{self._context.name}_{op_name}", **operands)
        return [found] if isinstance(found, Value) else list(found or ())

    def const(self, value: object, *, dtype: DType | None = None, name: str | None = None) -> Value:
        """A constant."""
        return mb.const(value, name=f"{self._context.name}_{name or 'const'}", dtype=dtype)


@dataclass
class Context:
    """The node that is being lowered.

    Attributes:
        function: What is being built.
        name: The node's name; ops and values are named after it.
        operator: The operator, as PyTorch prints it.
        location: Its place in the source.
        meta: What the operator returns, as PyTorch's fake tensors: element types and shapes.
        argument_meta: Its arguments in the same form.
        inline: Lowers a nested graph, given its arguments, at the insertion point, and gives what it returns.
    """

    function: Function
    name: str = ""
    operator: str = ""
    location: Location | None = None
    meta: Any = None
    argument_meta: tuple[Any, ...] = ()
    inline: Callable[[torch.fx.GraphModule, Sequence[Any]], list[Any]] = lambda module, arguments: []
    mb: NodeBuilder = field(init=False)

    def __post_init__(self) -> None:
        self.mb = NodeBuilder(self)

    @property
    def opset(self) -> Opset:
        return self.function.opset

    def snapshot(self) -> tuple[Any, ...]:
        """Which node is at hand, for ``restore``."""
        return self.name, self.operator, self.location, self.meta, self.argument_meta

    def restore(self, entered: tuple[Any, ...]) -> None:
        """Comes back to a node after others were lowered in between."""
        self.name, self.operator, self.location, self.meta, self.argument_meta = entered

    def unsupported(self, message: str, **facts: Any) -> UnsupportedError:
        """An error about this node."""
        return UnsupportedError(message, op=f"{self.operator} '{self.name}'", location=self.location, **facts)

    # -- element types -----------------------------------------------------------------------------------------------

    @property
    def torch_dtype(self) -> torch.dtype:
        """Element type of the (first) result in the source."""
        meta = self.meta[0] if isinstance(self.meta, tuple | list) else self.meta
        dtype: torch.dtype = meta.dtype
        return dtype

    @property
    def dtype(self) -> DType:
        """Element type of the (first) result here."""
        return ir_dtype(self.torch_dtype)

    @property
    def common_dtype(self) -> DType:
        """The type to which the operator promotes its two operands, as ``torch.result_type`` has it."""
        metas: list[Any] = [m for m in self.argument_meta if isinstance(m, torch.Tensor | int | float | torch.SymInt)]
        return ir_dtype(torch.result_type(metas[0], metas[1]))

    def cast(self, x: Value | Number, dtype: DType) -> Value:
        """A value in another element type; a constant becomes a constant."""
        if not isinstance(x, Value):
            return self.number(x, dtype)
        if x.dtype == dtype:
            return x
        if x.constant is not None and dtype != types.bool_ and not (x.dtype.is_float and dtype.is_integer):
            return self.mb.const(CastData(x.constant.data, dtype), name=f"cast_{dtype}")
        return self.mb.cast(x=x, dtype=dtype.name)

    def number(self, x: Number, dtype: DType) -> Value:
        """A scalar constant of a type, converted as PyTorch converts it."""
        if dtype == types.bool_:
            return self.mb.const(np.bool_(bool(x)))
        if dtype.is_integer:
            return self.mb.const(int(x), dtype=dtype)
        with np.errstate(over="ignore"):
            return self.mb.const(dtype.numpy.type(x))

    def wrap(self, x: Value) -> Value:
        """Brings the result of integer arithmetic to the range of the source's type where that is under 32 bits."""
        narrow = narrow_integer(self.torch_dtype)
        if narrow is None or x.dtype != types.int32:
            return x
        if narrow.kind == "uint":
            return self.mb.mod(x=x, y=1 << narrow.bits)
        half = 1 << (narrow.bits - 1)
        wrapped = self.mb.mod(x=self.mb.add(x=x, y=half), y=1 << narrow.bits)
        wrapped = self.mb.sub(x=wrapped, y=half)
        return wrapped

    # -- constants ---------------------------------------------------------------------------------------------------

    def static(self, x: Value | Number | None) -> Array | None:
        """The contents of a value that does not depend on the program's inputs, else ``None``."""
        if not isinstance(x, Value):
            return None if x is None else np.asarray(x)
        if x.contents is not None and all(isinstance(item, int) for item in x.contents.flat):
            return x.contents.astype(x.dtype.numpy)
        folded = self.folded(x)
        return None if folded is None else folded.read()

    def folded(self, x: Value) -> Data | None:
        """The contents of a value as lazy data where everything that it depends on is constant, else ``None``."""
        if x.constant is not None:
            return x.constant.data
        if not isinstance(x.type, TensorType) or not x.type.is_static or not _foldable(x, FOLD_LIMIT):
            return None
        shape = tuple(int(dim) for dim in x.type.shape if isinstance(dim, int))
        return LazyData(x.type.dtype, shape, lambda: _evaluate(x, {}), f"folded {x.name}")

    def constant_operand(self, x: Value | None) -> Value | None:
        """``x`` as a constant where that is possible, for operands that must be constants."""
        if x is None or is_constant(x):
            return x
        data = self.folded(x)
        return x if data is None else self.mb.const(data, name=f"{x.name}_folded")

    # -- sizes -------------------------------------------------------------------------------------------------------

    def size(self, x: Value, axis: int) -> Size:
        """The size of an axis: an int where it is known, else a scalar."""
        dim = x.shape[axis]
        if isinstance(dim, int):
            return dim
        return self.mb.gather(x=self.mb.shape(x=x), indices=axis % x.rank, axis=0)

    def sizes(self, x: Value) -> list[Size]:
        """The size of every axis."""
        return [self.size(x, axis) for axis in range(x.rank)]

    def dim(self, size: Size) -> Dim | None:
        """What is known of a size: an int, an expression, or ``None``."""
        if not isinstance(size, Value):
            return int(size)
        if size.contents is None or size.contents.size != 1:
            return None
        dim: Dim = size.contents.reshape(-1)[0]
        return dim

    def known(self, size: Size) -> int | None:
        """A size as an int where it is one for all inputs."""
        dim = self.dim(size)
        return dim if isinstance(dim, int) else None

    def vector(self, sizes: Sequence[Size]) -> tuple[int, ...] | Value:
        """Sizes as an operand that holds a shape: plain numbers where all are known, else a 1-D value."""
        known = [self.known(size) for size in sizes]
        if all(size is not None for size in known):
            return tuple(size for size in known if size is not None)
        parts = [
            self.mb.reshape(x=size, shape=(1,)) if k is None else np.array([k], np.int32)
            for size, k in zip(sizes, known, strict=True)
        ]
        return self.mb.concat(values=parts, axis=0)

    def reshape(self, x: Value, shape: Sequence[Size]) -> Value:
        """``x`` under another shape; one unknown size is left to the op to find."""
        known = [self.known(size) for size in shape]
        if known.count(None) == 1 and 0 not in known and -1 not in known:
            known[known.index(None)] = -1
        target: tuple[int, ...] | Value
        if None in known:
            target = self.vector(shape)
        else:
            target = tuple(size for size in known if size is not None)
            if target == x.shape:
                return x
        return self.mb.reshape(x=x, shape=target)

    # -- ops that many lowerings need --------------------------------------------------------------------------------

    def transpose(self, x: Value, perm: Sequence[int]) -> Value:
        """``x`` with its axes permuted; ``x`` itself when nothing moves."""
        perm = [axis % x.rank for axis in perm]
        if perm == list(range(x.rank)):
            return x
        return self.mb.transpose(x=x, perm=perm)

    def move_axis(self, x: Value, source: int, target: int) -> Value:
        """``x`` with one axis moved, the others in order."""
        source, target = source % x.rank, target % x.rank
        perm = [axis for axis in range(x.rank) if axis != source]
        perm.insert(target, source)
        return self.transpose(x, perm)

    def slice(self, x: Value, axis: int, begin: Size | None = None, end: Size | None = None, stride: int = 1) -> Value:
        """Elements ``begin`` to before ``end`` of an axis; negative places count from its end."""
        axis %= x.rank
        if begin in (0, None) and end is None and stride == 1:
            return x
        here = [axis == other for other in range(x.rank)]
        sliced: Value = self.mb.slice_by_index(
            x=x,
            begin=self.vector([begin if h and begin is not None else 0 for h in here]),
            end=self.vector([end if h and end is not None else 0 for h in here]),
            stride=[stride if h else 1 for h in here],
            begin_mask=[not h or begin is None for h in here],
            end_mask=[not h or end is None for h in here],
        )
        return sliced

    def full(self, shape: Sequence[Size], value: Number, dtype: DType) -> Value:
        """A tensor of equal elements: a constant where the shape is known, unless it would only fill the file."""
        target = self.vector(shape)
        scalar = self.number(value, dtype)
        if not isinstance(target, Value) and math.prod(target) <= CONSTANT_LIMIT:
            assert scalar.constant is not None
            data = scalar.constant.data
            return self.mb.const(LazyData(dtype, target, lambda: np.broadcast_to(data.read(), target).copy(), "fill"))
        if dtype == types.bool_:
            ones = self.mb.fill(shape=target, value=np.int32(bool(value)))
            return self.cast(ones, dtype)
        return self.mb.fill(shape=target, value=scalar)

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        """``a`` where the condition holds, ``b`` elsewhere, all broadcast.

        One of the two is brought to the shape of the result where both are smaller: Core ML's tools take the shape from
        these two alone.
        """
        both = _broadcast(a.shape, b.shape)
        whole = _broadcast(both, condition.shape)
        if not types.same_shape(both, whole):
            sizes = self._broadcast_sizes((condition, a, b), len(whole))
            static = self.static(a) if not a.rank else None
            a = self.expand(a, sizes) if static is None else self.full(sizes, static.item(), a.dtype)
        result: Value = self.mb.select(cond=condition, a=a, b=b)
        return result

    def _broadcast_sizes(self, values: Sequence[Value], rank: int) -> list[Size]:
        """The sizes to which values broadcast: for each axis that of a value which is not 1 there."""
        sizes: list[Size] = [1] * rank
        for value in values:
            for axis in range(value.rank):
                place = rank - value.rank + axis
                if value.shape[axis] != 1 and sizes[place] == 1:
                    sizes[place] = self.size(value, axis)
        return sizes

    def expand(self, x: Value, shape: Sequence[Size]) -> Value:
        """``x`` repeated along axes of size 1 to a shape, new axes in front; -1 keeps an axis."""
        if x.rank < len(shape):
            x = self.mb.expand_dims(x=x, axes=list(range(len(shape) - x.rank)))
        reps: list[Size] = []
        for axis, size in enumerate(shape):
            dim, wanted = x.shape[axis], self.dim(size)
            reps.append(size if dim == 1 and wanted not in (1, -1) else 1)
        counts = self.vector(reps)
        if not isinstance(counts, Value) and all(count == 1 for count in counts):
            return x
        return self.mb.tile(x=x, reps=counts)


def _broadcast(*shapes: Shape) -> Shape:
    """What shapes broadcast to; those that do not go together are left to the op to refuse."""
    result: list[Dim] = [1] * max(map(len, shapes))
    for shape in shapes:
        for axis, dim in enumerate(shape, len(result) - len(shape)):
            merged = broadcast(result[axis], dim)
            result[axis] = dim if merged is None else merged
    return tuple(result)


def is_constant(x: Value) -> bool:
    """Whether a value is known before the program runs: a constant, or a compressed one that is decoded."""
    return x.constant is not None or (x.producer is not None and x.producer.has(Decompresses))


def positive_axes(axes: int | Sequence[int] | None, rank: int) -> list[int]:
    """Axes counted from the front, in order; all of them for ``None`` or none at all."""
    if axes is None or (not isinstance(axes, int) and not axes):
        return list(range(rank))
    listed = [axes] if isinstance(axes, int) else axes
    return sorted(axis % rank for axis in listed) if rank else []


def static_shape(shape: Shape) -> tuple[int, ...] | None:
    """A shape as ints where it is fixed."""
    ints = tuple(dim for dim in shape if isinstance(dim, int))
    return ints if len(ints) == len(shape) else None


def _foldable(x: Value, limit: int, seen: set[Op] | None = None) -> bool:
    seen = set() if seen is None else seen
    pending = [x]
    while pending:
        value = pending.pop()
        if value.constant is not None:
            continue
        op = value.producer
        if op is None or op.has(ControlFlow) or any(True for _ in op.effects()) or type(op).reference is Op.reference:
            return False
        if op.op_name.startswith("random_"):
            return False
        if op in seen:
            continue
        seen.add(op)
        for result in op.results:
            if not isinstance(result.type, TensorType):
                return False
            shape = static_shape(result.type.shape)
            if shape is None or math.prod(shape) > limit:
                return False
        pending += [operand for _, _, operand in op.uses()]
    return True


def _evaluate(x: Value, known: dict[Value, Any]) -> Array:
    if x not in known:
        if x.constant is not None:
            known[x] = _contents(x.constant)
        else:
            op = x.producer
            assert op is not None  # _foldable has seen it
            operands = {
                name: tuple(_evaluate(v, known) for v in bound) if isinstance(bound, tuple) else _evaluate(bound, known)
                for name, bound in op.operands.items()
            }
            known.update(zip(op.results, op.compute(operands), strict=True))
    found: Array = known[x]
    return found


def _contents(constant: Constant) -> Any:
    return constant.numpy() if isinstance(constant.type, TensorType) else constant.python()
