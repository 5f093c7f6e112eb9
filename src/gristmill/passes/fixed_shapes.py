"""Makes a function for fixed sizes of one that takes several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gristmill.errors import InputError
from gristmill.ir.builtin import const
from gristmill.ir.clone import clone_op
from gristmill.ir.constants import ArrayData, Constant
from gristmill.ir.dims import Dim, DimExpr, Symbol, never_equal
from gristmill.ir.op import Op
from gristmill.ir.program import Block, Function, Value
from gristmill.ir.traits import Decompresses
from gristmill.ir.types import ListType, StateType, TensorType, Type


def with_fixed_shapes(function: Function, shapes: Mapping[str, Sequence[int]], name: str) -> Function:
    """A copy of a function in which some inputs have fixed shapes; all types are inferred anew.

    Args:
        function: Stays as it is.
        shapes: By input. Sizes that share a symbol must agree; those of other inputs follow from the symbols.
        name: Of the copy.

    Raises:
        InputError: There is no such input, or it does not allow the shape.
        TypeInferenceError: The sizes do not fit an op.
    """
    sizes = _sizes({value.name: value for value in function.inputs}, shapes)
    copied = Function(name, {}, function.opset)
    copied.attributes = dict(function.attributes)
    _Copy(sizes).block(function.body, copied.body)
    return copied


def _sizes(inputs: Mapping[str, Value], shapes: Mapping[str, Sequence[int]]) -> dict[str, Dim]:
    """Sizes of symbols."""
    sizes: dict[str, Dim] = {}
    for name, shape in shapes.items():
        value = inputs.get(name)
        if value is None or not isinstance(value.type, TensorType):
            raise InputError(f"there is no tensor input '{name}'", expected=", ".join(inputs), actual=name)
        if len(shape) != value.rank:
            raise InputError(f"input '{name}' has another rank", expected=value.type, actual=list(shape))
        for dim, size in zip(value.shape, shape, strict=True):
            low, high = dim.bounds if isinstance(dim, DimExpr) else (dim, dim)
            known = sizes.setdefault(dim.name, size) if isinstance(dim, Symbol) else size
            if (low is not None and size < low) or (high is not None and size > high) or known != size:
                raise InputError(
                    f"input '{name}' cannot have this shape",
                    expected=f"{value.type}, '{dim}' from {low} to {high}" + (f", {known} so far" * (known != size)),
                    actual=list(shape),
                )
    for name, shape in shapes.items():
        for dim, size in zip(inputs[name].shape, shape, strict=True):
            if never_equal(_fixed_dim(dim, sizes), size):
                raise InputError(f"input '{name}' cannot have this shape", expected=f"{dim}", actual=list(shape))
    return sizes


def _fixed_dim(dim: Dim, sizes: Mapping[str, Dim]) -> Dim:
    return dim.substitute(sizes) if isinstance(dim, DimExpr) else dim


def _known(op: Op) -> Constant | None:
    """The result of arithmetic on sizes all of which are fixed by now."""
    contents = op.results[0].contents if len(op.results) == 1 else None
    if contents is None or any(isinstance(item, DimExpr) for item in contents.flat):
        return None
    kind = op.result.tensor
    return Constant(kind.with_shape(contents.shape), ArrayData(contents.astype(kind.dtype.numpy), kind.dtype))


class _Copy:
    """Copies ops with their types inferred from the operands' new types."""

    def __init__(self, sizes: Mapping[str, Dim]) -> None:
        self._sizes = sizes
        self._values: dict[Value, Value] = {}

    def type(self, type: Type) -> Type:
        match type:
            case TensorType():
                return type.with_shape(tuple(_fixed_dim(dim, self._sizes) for dim in type.shape))
            case StateType():
                wrapped = self.type(type.wrapped)
                assert isinstance(wrapped, TensorType)
                return StateType(wrapped)
            case ListType():
                return ListType(self.type(type.element), _fixed_dim(type.length, self._sizes), type.dynamic)
        return type

    def block(self, block: Block, into: Block) -> Block:
        into.attributes = dict(block.attributes)
        for value in block.arguments:
            self._values[value] = into.add_argument(value.name, self.type(value.type))
        for op in block:
            into.insert(self._op(op))
        into.outputs = [self._values[value] for value in block.outputs]
        return into

    def _op(self, op: Op) -> Op:
        if isinstance(op, const) or op.has(Decompresses):  # their types hang on nothing
            return clone_op(op, self._values)
        copied = type(op)(
            op.opset,
            {slot: self._mapped(found) for slot, found in op.operands.items()},
            name=op.name,
            result_names=[value.name for value in op.results],
            result_types=[self.type(value.type) for value in op.results],
            blocks=[self.block(block, Block()) for block in op.blocks],
            attributes=op.attributes,
            location=op.location,
        )
        copied.inserted = op.inserted
        if (known := _known(copied)) is not None and not any(isinstance(user, Block) for user in op.result.users):
            copied.erase()
            copied = const.of(op.opset, known, op.result.name, location=op.location)
        self._values.update(zip(op.results, copied.results, strict=True))
        return copied

    def _mapped(self, found: Value | tuple[Value, ...]) -> Value | list[Value]:
        return [self._values[value] for value in found] if isinstance(found, tuple) else self._values[found]
