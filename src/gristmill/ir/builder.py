"""Building programs op by op.

``mb.relu(x=value)`` makes a ``relu`` at the current insertion point and returns its result. Python and NumPy values
become constants in the element type that the operand asks for. The insertion point belongs to the current context, so
builders in different threads do not meet.

    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (1, 3))}, opset=Opset.iOS17) as (x,):
        mb.output(mb.relu(x=x))
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gristmill.errors import IRError
from gristmill.ir import registry, types
from gristmill.ir.builtin import const
from gristmill.ir.constants import Constant, Data, constant
from gristmill.ir.op import Op
from gristmill.ir.op_methods import OpMethods
from gristmill.ir.opset import Opset
from gristmill.ir.program import Block, Function, Location, Program, Value
from gristmill.ir.signature import Param, TypeVar, Variadic
from gristmill.ir.types import DType, Type


@dataclass
class InsertionPoint:
    """Where new ops go: a block of a function, before an op or at the end, with a location to give them."""

    function: Function
    block: Block
    before: Op | None = None
    location: Location | None = None


_current: contextvars.ContextVar[InsertionPoint | None] = contextvars.ContextVar("insertion_point", default=None)


class Builder(OpMethods):
    """Makes ops at the current insertion point; one instance, ``mb``, serves everybody."""

    def op(self, op_name: str, *, name: str | None = None, blocks: Sequence[Block] = (), **operands: Any) -> Any:
        """Makes an op of a given name.

        Args:
            op_name: Registered name of the op.
            name: Name of the op and its result; made from ``op_name`` when left out.
            blocks: Nested blocks of a control-flow op.
            **operands: Values, or anything that can become a constant; ``None`` counts as left out.

        Returns:
            The result, or a tuple of them where the op has several, or ``None`` where it has none.

        Raises:
            TypeInferenceError: The operands do not fit the op.
        """
        point = self.point
        cls = registry.lookup(op_name, point.function.opset)
        name = point.function.unique_name(name or op_name)
        bound = self._bind(cls, name, operands)
        op = cls(point.function.opset, bound, name=name, blocks=blocks, location=point.location)
        for result in op.results if len(op.results) > 1 else ():  # a single one has the op's own name
            result.name = point.function.unique_name(result.name)
        point.block.insert(op, before=point.before)
        results = tuple(op.results)
        return results[0] if len(results) == 1 else results or None

    def const(self, val: object, *, name: str | None = None, dtype: DType | None = None) -> Value:
        """Makes a constant of a Python or NumPy value, lazy data, or a ``Constant``."""
        point = self.point
        name = point.function.unique_name(name or "const")
        op = const.of(point.function.opset, constant(val, dtype), name, location=point.location)
        point.block.insert(op, before=point.before)
        return op.result

    # -- insertion points --------------------------------------------------------------------------------------------

    @property
    def point(self) -> InsertionPoint:
        point = _current.get()
        if point is None:
            raise IRError(
                "there is no insertion point", hint="build inside `with mb.function(...)` or `with mb.at(...)`"
            )
        return point

    @contextlib.contextmanager
    def at(
        self, block: Block, *, before: Op | None = None, location: Location | None = None
    ) -> Iterator[InsertionPoint]:
        """New ops go into ``block``, before an op of it or at its end, and carry ``location``."""
        function = block.function
        if function is None:
            raise IRError("the block belongs to no function yet", hint="use mb.block() for nested blocks")
        with self._enter(InsertionPoint(function, block, before, location)) as point:
            yield point

    @contextlib.contextmanager
    def before(self, op: Op) -> Iterator[InsertionPoint]:
        """New ops go before ``op`` and carry its location."""
        if op.block is None:
            raise IRError("the op is in no block", op=op.title)
        with self.at(op.block, before=op, location=op.location) as point:
            yield point

    @contextlib.contextmanager
    def located(self, location: Location | None) -> Iterator[None]:
        """New ops carry ``location``."""
        point = self.point
        with self._enter(InsertionPoint(point.function, point.block, point.before, location)):
            yield

    @contextlib.contextmanager
    def function(
        self, program: Program, name: str, inputs: Mapping[str, Type], opset: Opset = Opset.iOS15
    ) -> Iterator[list[Value]]:
        """Adds a function to a program and builds inside it; gives its inputs."""
        function = program.add_function(Function(name, inputs, opset))
        with self._enter(InsertionPoint(function, function.body)):
            yield function.inputs

    @contextlib.contextmanager
    def nested(self, arguments: Mapping[str, Type] | None = None) -> Iterator[Block]:
        """A new block for a control-flow op; ops go into it, ``mb.output`` ends it.

        The block is handed to the op in ``blocks=``.
        """
        point = self.point
        named = [(point.function.unique_name(n), t) for n, t in (arguments or {}).items()]
        block = Block(named, owner=point.function)
        with self._enter(InsertionPoint(point.function, block, None, point.location)):
            yield block

    def output(self, *values: Value) -> None:
        """Sets the outputs of the block that is being built."""
        self.point.block.outputs = values

    @contextlib.contextmanager
    def _enter(self, point: InsertionPoint) -> Iterator[InsertionPoint]:
        token = _current.set(point)
        try:
            yield point
        finally:
            _current.reset(token)

    # -- operands ----------------------------------------------------------------------------------------------------

    def _bind(self, cls: type[Op], op_name: str, given: Mapping[str, Any]) -> dict[str, Value | list[Value]]:
        opset = self.point.function.opset
        bound: dict[str, Value | list[Value]] = {}
        for name, value in given.items():
            param = cls.params.get(name)
            if value is None:
                continue
            if isinstance(param, Variadic):
                bound[name] = [self._value(v, param, cls, given, f"{op_name}_{name}_{k}") for k, v in enumerate(value)]
            else:
                bound[name] = self._value(value, param, cls, given, f"{op_name}_{name}")
        for name in bound:
            if name not in cls.params:
                cls(opset, bound, name=op_name, location=self.point.location)  # raises, naming the operand
        return bound

    def _value(self, value: Any, param: Param | None, cls: type[Op], given: Mapping[str, Any], name: str) -> Value:
        if isinstance(value, Value):
            return value
        dtype = None
        if param is not None and not isinstance(value, Constant | Data):
            dtype = self._wanted_dtype(value, param, cls, given)
        return self.const(value, name=name, dtype=dtype)

    def _wanted_dtype(self, value: Any, param: Param, cls: type[Op], given: Mapping[str, Any]) -> DType | None:
        """The element type of a constant: that of operands under the same variable, else the nearest allowed."""
        opset = self.point.function.opset
        allowed = param.allowed(opset)
        if not allowed:
            return None
        constraint = param.constraint_at(opset)
        if isinstance(constraint, TypeVar):
            mates = [
                item
                for name, other in given.items()
                if name in cls.params and cls.params[name].constraint_at(opset) is constraint
                for item in (other if isinstance(other, list | tuple) else (other,))
            ]
            for item in mates:
                if isinstance(item, Value):
                    return item.dtype
            if not isinstance(value, np.ndarray | np.generic):  # it has no type of its own
                for item in mates:
                    if isinstance(item, np.ndarray | np.generic | Data):
                        for dtype in allowed:
                            if item.dtype in (dtype, dtype.numpy):
                                return dtype
        return _nearest(value, allowed)


def _nearest(value: Any, allowed: Sequence[DType]) -> DType | None:
    array = np.asarray(value)
    if array.size == 0 and not isinstance(value, np.ndarray):
        return allowed[0]
    if array.dtype.kind in "USO":
        return types.string
    own = types.dtype_of(array.dtype)
    if isinstance(value, np.ndarray | np.generic) and own in allowed:
        return own
    preferred: tuple[DType, ...]
    match array.dtype.kind:
        case "b":
            preferred = (types.bool_,)
        case "f":
            preferred = (types.fp32, types.fp16)
        case _:
            preferred = (types.int32, types.fp32, types.fp16) if not isinstance(value, np.ndarray) else (types.int32,)
    candidates: tuple[DType, ...] = (*preferred, *allowed)
    for dtype in candidates:
        if dtype in allowed and (array.dtype.kind != "f" or dtype.is_float):
            return dtype
    return own


mb = Builder()
