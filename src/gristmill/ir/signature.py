"""How an op declares its operands: typed fields of its class.

A field is a descriptor. Read from the class it is the declaration; read from an op it is the operand: a ``Value``, a
tuple of them, or for ``Const`` the plain Python value, its default included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeAlias, overload
from typing import TypeVar as _TypingVar

from gristmill.errors import IRError, TypeInferenceError
from gristmill.ir import types
from gristmill.ir.opset import Opset
from gristmill.ir.traits import Decompresses
from gristmill.ir.types import DType, TensorType, Type, unit_float

if TYPE_CHECKING:
    from gristmill.ir.op import Op
    from gristmill.ir.program import Value


class TypeVar:
    """An element type that several operands of an op share, out of a set that may grow with the opset.

    Attributes:
        alternatives: Pairs of an opset, or ``None`` for the op's first one, and the types allowed from it on.

    Args:
        dtypes: Allowed from the op's first opset on. Where float32 is allowed, the untyped ``unit_float`` is too.
    """

    def __init__(self, *dtypes: DType) -> None:
        self.name = "T"
        self.alternatives: list[tuple[Opset | None, tuple[DType, ...]]] = [(None, dtypes)]
        self._allowed: dict[Opset, tuple[DType, ...]] = {}  # found before

    def also(self, since: Opset, *dtypes: DType) -> TypeVar:
        """Allows more types from an opset on; returns itself."""
        self.alternatives.append((since, dtypes))
        self._allowed.clear()
        return self

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def allowed(self, opset: Opset) -> tuple[DType, ...]:
        if opset not in self._allowed:
            found = [d for since, dtypes in self.alternatives if since is None or opset >= since for d in dtypes]
            self._allowed[opset] = (*found, unit_float) if types.fp32 in found else tuple(found)
        return self._allowed[opset]

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(d.name for _, dtypes in self.alternatives for d in dtypes)})"


class AnyType:
    """Constraint of operands that may have any type: tensors, lists, states."""


class OfType:
    """Constraint of operands that are lists or states, by the class of their type."""

    def __init__(self, kind: type[types.ListType] | type[types.StateType] | type[types.DictType]) -> None:
        self.kind = kind


class ByOpset(dict[Opset, Any]):
    """A default, a constraint or a ``const`` that changed: the entry of the newest opset up to the op's own counts."""

    def at(self, opset: Opset) -> Any:
        return self[max(o for o in self if o <= opset)]


Constraint: TypeAlias = TypeVar | DType | tuple[DType, ...] | AnyType | OfType

ANY: Final = AnyType()


class Demand(NamedTuple):
    """What one opset demands of an operand. A model has thousands of operands and few fields: this is found once.

    Attributes:
        kind: Class of the operand's type.
        dtypes: Element types, where it is a tensor's; ``None`` where the operand need not be a tensor.
        variable: Stands for one element type of several operands, this one among them.
        const: The operand is known before the program runs, or decompressed from what is.
    """

    kind: type
    dtypes: tuple[DType, ...] | None = None
    variable: TypeVar | None = None
    const: bool = False


class Signature(NamedTuple):
    """The operand fields of an op in one opset.

    Attributes:
        params: By name, in order, each with what is demanded of its operand.
        required: Names of those that may not be left out.
    """

    params: Mapping[str, tuple[Param, Demand]]
    required: frozenset[str]


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED: Final = _Required()


class Param:
    """Base of the fields.

    Args:
        constraint: Which types the operand may have; ``ByOpset`` where that changed.
        rank: Required rank, or an inclusive (lowest, highest) pair.
        since: First opset that has the operand.
        until: First opset that no longer has it.
    """

    optional = False

    def __init__(
        self,
        constraint: Constraint | ByOpset,
        *,
        rank: int | tuple[int, int] | None = None,
        since: Opset | None = None,
        until: Opset | None = None,
    ) -> None:
        self.name = ""
        self.constraint = constraint
        self.rank = (rank, rank) if isinstance(rank, int) else rank
        self.since, self.until = since, until

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def present(self, opset: Opset) -> bool:
        """Whether the operand exists in an opset."""
        return (self.since is None or opset >= self.since) and (self.until is None or opset < self.until)

    def constraint_at(self, opset: Opset) -> Constraint:
        """The constraint in an opset."""
        found: Constraint = self.constraint.at(opset) if isinstance(self.constraint, ByOpset) else self.constraint
        return found

    def allowed(self, opset: Opset) -> tuple[DType, ...] | None:
        """Element types that the operand may have; ``None`` when it need not be a tensor."""
        return self.demand(opset).dtypes

    def demand(self, opset: Opset) -> Demand:
        """What an opset demands of the operand."""
        match self.constraint_at(opset):
            case TypeVar() as variable:
                return Demand(TensorType, variable.allowed(opset), variable)
            case DType() as dtype:
                return Demand(TensorType, (dtype, unit_float) if dtype == types.fp32 else (dtype,))
            case tuple() as dtypes:
                return Demand(TensorType, (*dtypes, unit_float) if types.fp32 in dtypes else dtypes)
            case OfType() as of_type:
                return Demand(of_type.kind)
        return Demand(object)

    def check(self, value: Value, op: Op, demand: Demand) -> None:
        """Raises TypeInferenceError when a value does not fit what the op's opset demands."""
        kind, dtypes, _, const = demand
        type = value.type
        if dtypes is None:
            if not isinstance(type, kind):
                raise self._misfit(type, op, f"a {kind.__name__}")
        elif not isinstance(type, TensorType) or type.dtype not in dtypes:
            raise self._misfit(type, op, "a tensor of " + ", ".join(d.name for d in dtypes))
        elif self.rank is not None and not self.rank[0] <= len(type.shape) <= self.rank[1]:
            low, high = self.rank
            raise self._misfit(type, op, f"rank {low}" if low == high else f"rank {low} to {high}")
        if const and value.constant is None and not (value.producer is not None and value.producer.has(Decompresses)):
            raise self._misfit(type, op, "a constant, or one decompressed")

    def _misfit(self, actual: Type, op: Op, expected: str) -> TypeInferenceError:
        return TypeInferenceError(
            f"operand '{self.name}' does not fit",
            op=op.title,
            location=op.location,
            expected=f"{expected} ({op.opset})",
            actual=actual,
        )


class _OneOperand(Param):
    def __init__(self, constraint: Constraint | ByOpset, *, const: bool | ByOpset = False, **limits: Any) -> None:
        super().__init__(constraint, **limits)
        self.const = const

    def demand(self, opset: Opset) -> Demand:
        const = self.const.at(opset) if isinstance(self.const, ByOpset) else self.const
        return super().demand(opset)._replace(const=const)


class Operand(_OneOperand):
    """A required operand; ``const=True`` asks for one that is known before the program runs."""

    @overload
    def __get__(self, op: None, owner: type) -> Operand: ...
    @overload
    def __get__(self, op: Op, owner: type) -> Value: ...
    def __get__(self, op: Op | None, owner: type) -> Operand | Value:
        return self if op is None else op.operands[self.name]  # type: ignore[return-value]  # one value, when it is bound


class OptionalOperand(_OneOperand):
    """An operand that may be left out."""

    optional = True

    @overload
    def __get__(self, op: None, owner: type) -> OptionalOperand: ...
    @overload
    def __get__(self, op: Op, owner: type) -> Value | None: ...
    def __get__(self, op: Op | None, owner: type) -> OptionalOperand | Value | None:
        return self if op is None else op.optional_operand(self.name)


class Variadic(Param):
    """Any number of operands under one name."""

    def __init__(self, constraint: Constraint | ByOpset, *, optional: bool = False, **limits: Any) -> None:
        super().__init__(constraint, **limits)
        self.optional = optional

    @overload
    def __get__(self, op: None, owner: type) -> Variadic: ...
    @overload
    def __get__(self, op: Op, owner: type) -> tuple[Value, ...]: ...
    def __get__(self, op: Op | None, owner: type) -> Variadic | tuple[Value, ...]:
        return self if op is None else op.variadic_operand(self.name)


P = _TypingVar("P")

_NATURAL: Mapping[object, Constraint] = {
    str: types.string,
    bool: types.bool_,
    int: types.int32,
    float: (types.fp16, types.fp32),
}


class Const(Param, Generic[P]):
    """A parameter that is known before the program runs: a str, bool, int or float, or a tuple of them.

    ``Const(str)`` reads as a str; ``Const.ints()`` and its sisters as tuples.

    Args:
        kind: Python type of (each of) the value(s).
        constraint: Element types that it may have; the natural one of ``kind`` when left out.
        default: Value when it is left out; a function of the op where it depends on other operands; ``ByOpset`` where
            it changed; ``None`` when the op does without.
        choices: The only values allowed.
    """

    @overload
    def __init__(
        self: Const[P | None],
        kind: type[P],
        constraint: Constraint | ByOpset | None = ...,
        *,
        default: None,
        **limits: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: Const[P],
        kind: type[P],
        constraint: Constraint | ByOpset | None = ...,
        *,
        default: P | Callable[[Any], P] | ByOpset | _Required = ...,
        **limits: Any,
    ) -> None: ...
    def __init__(
        self,
        kind: type[Any],
        constraint: Constraint | ByOpset | None = None,
        *,
        default: Any = REQUIRED,
        choices: tuple[Any, ...] | None = None,
        sequence: bool = False,
        **limits: Any,
    ) -> None:
        limits.setdefault("rank", 1 if sequence else 0)
        super().__init__(constraint if constraint is not None else _NATURAL[kind], **limits)
        self.kind, self.default, self.choices, self.sequence = kind, default, choices, sequence

    @property
    def optional(self) -> bool:  # type: ignore[override]  # follows from the default
        return self.default is not REQUIRED

    @overload
    @staticmethod
    def ints(
        constraint: Constraint | ByOpset | None = ..., *, default: None, **limits: Any
    ) -> Const[tuple[int, ...] | None]: ...
    @overload
    @staticmethod
    def ints(
        constraint: Constraint | ByOpset | None = ..., *, default: Any = ..., **limits: Any
    ) -> Const[tuple[int, ...]]: ...
    @staticmethod
    def ints(
        constraint: Constraint | ByOpset | None = None, *, default: Any = REQUIRED, **limits: Any
    ) -> Const[tuple[int, ...]] | Const[tuple[int, ...] | None]:
        """Integers, read as a tuple; ``default=None`` reads as ``None``, which the op must expect."""
        found: Const[Any] = Const(int, constraint, default=default, sequence=True, **limits)
        return found

    @staticmethod
    def bools(default: Any = REQUIRED, **limits: Any) -> Const[tuple[bool, ...]]:
        """Truth values, read as a tuple."""
        return Const(bool, default=default, sequence=True, **limits)

    @staticmethod
    def floats(
        constraint: Constraint | ByOpset | None = None, *, default: Any = REQUIRED, **limits: Any
    ) -> Const[tuple[float, ...]]:
        """Floats, read as a tuple."""
        return Const(float, constraint, default=default, sequence=True, **limits)

    @overload
    def __get__(self, op: None, owner: type) -> Const[P]: ...
    @overload
    def __get__(self, op: Op, owner: type) -> P: ...
    def __get__(self, op: Op | None, owner: type) -> Const[P] | P:
        return self if op is None else self.of(op)

    def of(self, op: Op) -> P:
        """The Python value that an op has, its default included."""
        value = op.optional_operand(self.name)
        if value is None:
            return self.default_for(op)
        if value.constant is None:
            raise self._misfit(value.type, op, "a constant")
        return value.constant.parameter  # type: ignore[no-any-return]  # what the declaration of the field says

    def default_for(self, op: Op) -> P:
        default = self.default.at(op.opset) if isinstance(self.default, ByOpset) else self.default
        if default is REQUIRED:
            raise IRError(f"operand '{self.name}' is missing", op=op.title, location=op.location)
        return default(op) if callable(default) else default  # type: ignore[no-any-return]  # checked by the overloads

    def demand(self, opset: Opset) -> Demand:
        demand = super().demand(opset)
        # coremltools writes defaults out as float32, whatever the type of the other operands.
        return demand._replace(variable=None) if self.optional else demand

    def check(self, value: Value, op: Op, demand: Demand) -> None:
        super().check(value, op, demand)
        if value.constant is None:
            raise self._misfit(value.type, op, "a constant")
        if self.choices is not None:
            found = value.constant.parameter
            for item in found if isinstance(found, tuple) else [found]:
                if item not in self.choices:
                    raise TypeInferenceError(
                        f"operand '{self.name}' has an unknown value",
                        op=op.title,
                        location=op.location,
                        expected=", ".join(map(repr, self.choices)),
                        actual=repr(item),
                    )
