"""The base class of all ops.

An op is one class with everything that is known of it: its operands as typed fields, type inference, its meaning in
NumPy, and traits. An instance is one occurrence in a program. See ``docs/adding-an-op.md``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias
from typing import TypeVar as _TypingVar

import numpy as np

from gristmill.errors import DimError, ExecutionError, GristmillError, IRError, TypeInferenceError
from gristmill.ir import types
from gristmill.ir.constants import CONTENTS_LIMIT, Array, Constant, wrapped
from gristmill.ir.dims import product
from gristmill.ir.opset import Opset, iOS13
from gristmill.ir.program import Block, Location, Use, Value
from gristmill.ir.signature import Const, OptionalOperand, Param, Signature, TypeVar, Variadic
from gristmill.ir.traits import Exact, ShapeArithmetic, Trait
from gristmill.ir.types import DType, TensorType, Type

RuntimeValue: TypeAlias = Any
"""What an operand is while a program runs: an array, a list of arrays, or a state's cell."""

RunBlock: TypeAlias = Callable[[Block, Sequence[RuntimeValue]], list[RuntimeValue]]


class Effect(NamedTuple):
    """One access of an op to a state."""

    kind: Literal["read", "write"]
    state: Value


class Op:
    """An operation of a program.

    Class attributes, which a subclass declares beside its operand fields:
        traits: What passes and devices may know of it.
        since: First opset that has the op.
        until: First opset that no longer has it.
        dialect: ``mil``, or ``nn`` for what neural networks have and ML Programs lack: no file of one can hold it.

    Instance attributes:
        opset: Of the function that the op is written for.
        name: The op's own name, which files carry and messages use.
        results: The values it makes.
        blocks: Nested blocks of a control-flow op.
        attributes: What files say beside operands; ``val`` of a ``const`` is there.
        location: Where it comes from.
        block: The block it is in.
        inserted: Whether a pass put the op there to bring a value to another type. What the source model wrote is a
            rounding point and stays; what was inserted may be cancelled again.
    """

    op_name: ClassVar[str] = ""
    traits: ClassVar[tuple[type[Trait], ...]] = ()
    since: ClassVar[Opset] = iOS13
    until: ClassVar[Opset | None] = None
    dialect: ClassVar[str] = "mil"
    params: ClassVar[Mapping[str, Param]] = {}
    typevars: ClassVar[Mapping[str, TypeVar]] = {}

    _all_traits: ClassVar[frozenset[type]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__dict__.get("op_name"):
            cls.op_name = cls.__name__
        cls.params = _declared(cls, "params", Param)
        cls.typevars = _declared(cls, "typevars", TypeVar)
        cls._all_traits = frozenset(base for trait in cls.traits for base in trait.__mro__)

    # -- what a subclass defines -------------------------------------------------------------------------------------

    def infer(self) -> Type | Sequence[Type]:
        """Types of the results, from the operands' types and constants.

        Raises:
            TypeInferenceError: The operands do not fit together; ``self.misfit`` makes the error.
        """
        raise NotImplementedError(f"{self.op_name} has no type inference")

    def reference(self, *args: Any, **kwargs: Any) -> Any:
        """The meaning of the op in NumPy: the constant folder, the fallback device, the yardstick.

        Receives by name those fields that its signature lists: operands as arrays (``None`` where left out, tuples for
        variadic ones), constants as Python values. Floating arrays arrive as float64 unless the op is ``Exact``, and
        results are rounded once to their declared types afterwards. Returns one array, or one for each result.
        """
        raise NotImplementedError(f"{self.op_name} has no reference")

    def control(self, operands: Mapping[str, RuntimeValue], run: RunBlock) -> list[RuntimeValue]:
        """The meaning of a ``ControlFlow`` op, in terms of running its blocks."""
        raise NotImplementedError(f"{self.op_name} has no control flow")

    def effects(self) -> Iterable[Effect]:
        """Accesses to states, in order."""
        return ()

    def result_contents(self) -> Array | None:
        """Elements of the first result as ints and dimension expressions, as far as they are known."""
        if not self.has(ShapeArithmetic) or not _is_small_integer(self.results[0].type):
            return None
        operands: dict[str, Any] = {}
        for name, param in self.params.items():
            if isinstance(param, Const) or name not in self.operands:
                continue
            found = [value.contents for value in self._as_tuple(name)]
            if any(contents is None for contents in found):
                return None
            operands[name] = tuple(found) if isinstance(param, Variadic) else found[0]
        try:
            result = np.asarray(self.reference(**self._arguments(operands)), dtype=object)
        except (GristmillError, TypeError, AttributeError, ValueError, IndexError, ArithmeticError, MemoryError):
            return None  # the expressions do not decide, NumPy cannot do it on objects, or it would fail if it ran
        return result

    # -- construction ------------------------------------------------------------------------------------------------

    def __init__(
        self,
        opset: Opset,
        operands: Mapping[str, Value | Sequence[Value] | None],
        *,
        name: str = "",
        result_names: Sequence[str] | None = None,
        result_types: Sequence[Type] | None = None,
        blocks: Sequence[Block] = (),
        attributes: Mapping[str, Constant] | None = None,
        location: Location | None = None,
    ) -> None:
        """Makes an op that is in no block yet.

        Args:
            opset: Of the function it is for.
            operands: By field name; ``None`` and absent mean left out.
            name: The op's name.
            result_names: Names of its results; made from ``name`` when left out.
            result_types: Types that a file declares. They must be compatible with the inferred ones, and where both say
                something of a dimension the declared size counts.
            blocks: Nested blocks, which the op then owns.
            attributes: Beside operands.
            location: Where it comes from.

        Raises:
            TypeInferenceError: The operands do not fit the signature.
        """
        self.opset, self.name, self.location = opset, name, location
        self.attributes = dict(attributes) if attributes else {}
        self.inserted = False
        self.block: Block | None = None
        self.previous: Op | None = None
        self.next: Op | None = None
        self.operands: dict[str, Value | tuple[Value, ...]] = {}
        self.blocks: tuple[Block, ...] = tuple(blocks)
        self.results: list[Value] = []
        for block in self.blocks:
            block.owner = self
        if operands or self.params:
            self._bind(operands)
        else:
            self._check_opset()
        self._make_results(self.inferred_types(), result_types, result_names)
        if operands:
            for slot, index, value in self.uses():  # at last: what failed has used nothing
                value.uses[Use(self, slot, index)] = None

    def _bind(self, operands: Mapping[str, Value | Sequence[Value] | None]) -> None:
        params = self.params
        for name in params if operands.keys() <= params.keys() else dict.fromkeys((*params, *operands)):
            given = operands.get(name)
            if given is None:
                continue
            if isinstance(given, Value):
                values: tuple[Value, ...] = (given,)
            else:
                values = tuple(given)
            if isinstance(params.get(name), Variadic):
                self.operands[name] = values
            elif len(values) == 1:
                self.operands[name] = values[0]
            else:
                raise self.misfit(f"operand '{name}' is one value", actual=f"{len(values)} values")
        self.check_operands()

    def check_operands(self) -> None:
        """Checks the operands against the signature.

        Raises:
            TypeInferenceError: The op is not in its opset, or an operand is missing, unknown or does not fit.
        """
        self._check_opset()
        signature = self.signature_in(self.opset)
        given = self.operands.keys()
        if not given <= signature.params.keys():
            name = next(name for name in given if name not in signature.params)
            raise self.misfit(
                f"the op has no operand '{name}' in {self.opset}",
                expected=", ".join(signature.params) or "no operand",
                actual=name,
            )
        if not given >= signature.required:
            name = next(name for name in signature.params if name in signature.required and name not in given)
            raise self.misfit(f"operand '{name}' is missing")
        bound: dict[TypeVar, tuple[DType, str]] = {}  # one type variable stands for one element type
        for name, _, value in self.uses():
            param, demand = signature.params[name]
            param.check(value, self, demand)
            if demand.variable is not None:
                dtype, first = bound.setdefault(demand.variable, (value.dtype, name))
                if value.dtype != dtype:
                    raise self.misfit(
                        f"operands '{first}' and '{name}' have one element type", expected=dtype, actual=value.dtype
                    )

    def _check_opset(self) -> None:
        if self.opset < self.since or (self.until is not None and self.opset >= self.until):
            span = f"{self.since} or later" if self.until is None else f"{self.since} up to before {self.until}"
            raise self.misfit("the op is not in this opset", expected=span, actual=self.opset)

    @classmethod
    @cache
    def signature_in(cls, opset: Opset) -> Signature:
        """The operand fields that an opset has."""
        present = {name: param for name, param in cls.params.items() if param.present(opset)}
        return Signature(
            {name: (param, param.demand(opset)) for name, param in present.items()},
            frozenset(name for name, param in present.items() if not param.optional),
        )

    def inferred_types(self) -> list[Type]:
        """Types of the results by inference alone, whatever is declared.

        Raises:
            TypeInferenceError: The operands do not fit together.
        """
        try:
            inferred = self.infer()
        except DimError as error:
            raise self.misfit(error.message, expected=error.expected, actual=error.actual) from error
        return [inferred] if isinstance(inferred, Type) else list(inferred)

    def _make_results(self, inferred: list[Type], declared: Sequence[Type] | None, names: Sequence[str] | None) -> None:
        if declared is not None and inferred != declared:
            if len(declared) != len(inferred):
                raise self.misfit("number of results", expected=len(inferred), actual=len(declared))
            for index, (mine, theirs) in enumerate(zip(inferred, declared, strict=True)):
                if mine == theirs:
                    continue
                if not types.compatible(mine, theirs):
                    raise self.misfit(f"declared type of result {index}", expected=mine, actual=theirs)
                inferred[index] = merge_types(theirs, mine)
        if names is None:
            names = [self.name] if len(inferred) == 1 else [f"{self.name}_{k}" for k in range(len(inferred))]
        if len(names) != len(inferred):
            raise self.misfit("number of result names", expected=len(inferred), actual=len(names))
        self.results = [Value(type, name, producer=self) for type, name in zip(inferred, names, strict=True)]
        if self.results:
            self.results[0].contents = self.result_contents()

    # -- operands ----------------------------------------------------------------------------------------------------

    def operand(self, name: str) -> Value:
        found = self.operands[name]
        assert isinstance(found, Value)
        return found

    def optional_operand(self, name: str) -> Value | None:
        found = self.operands.get(name)
        assert not isinstance(found, tuple)
        return found

    def variadic_operand(self, name: str) -> tuple[Value, ...]:
        found = self.operands.get(name, ())
        assert isinstance(found, tuple)
        return found

    def _as_tuple(self, name: str) -> tuple[Value, ...]:
        found = self.operands[name]
        return found if isinstance(found, tuple) else (found,)

    def uses(self) -> Iterator[tuple[str, int, Value]]:
        """All operands as (field, place in it, value)."""
        for name, found in self.operands.items():
            if isinstance(found, tuple):
                for index, value in enumerate(found):
                    yield name, index, value
            else:
                yield name, 0, found

    def set_operand(self, name: str, value: Value, index: int = 0) -> None:
        """Takes another value of the same type; for one of another type make a new op."""
        old = self._as_tuple(name)[index]
        del old.uses[Use(self, name, index)]
        if isinstance(found := self.operands[name], tuple):
            self.operands[name] = (*found[:index], value, *found[index + 1 :])
        else:
            self.operands[name] = value
        value.uses[Use(self, name, index)] = None

    # -- questions ---------------------------------------------------------------------------------------------------

    @classmethod
    def has(cls, trait: type[Trait]) -> bool:
        """Whether the op declares a trait, or one derived from it."""
        return trait in cls._all_traits

    @property
    def result(self) -> Value:
        """The only result."""
        (value,) = self.results
        return value

    # What selectors and passes written for coremltools ask of an op.

    @property
    def op_type(self) -> str:
        """The op's type, ``op_name`` under coremltools' name."""
        return self.op_name

    @property
    def inputs(self) -> Mapping[str, Value | tuple[Value, ...]]:
        """The operands that are given, by field."""
        return self.operands

    @property
    def outputs(self) -> list[Value]:
        """The results."""
        return self.results

    @property
    def enclosing_block(self) -> Block | None:
        """The block that it is in."""
        return self.block

    @property
    def title(self) -> str:
        """For messages: type and name, or that of its first result where the op has none."""
        name = self.name or next((value.name for value in self.results), "")
        return f"{self.op_name} '{name}'" if name else self.op_name

    def misfit(self, message: str, *, expected: object = None, actual: object = None) -> TypeInferenceError:
        """An error about this op's operands."""
        return TypeInferenceError(message, op=self.title, location=self.location, expected=expected, actual=actual)

    # -- changes -----------------------------------------------------------------------------------------------------

    def erase(self) -> None:
        """Takes the op out of its block and out of its operands' uses.

        Raises:
            IRError: A result is still used.
        """
        for value in self.results:
            if value.uses:
                raise IRError(f"value '{value.name}' is still used", op=self.title, location=self.location)
        for block in self.blocks:
            block.outputs = ()
            for op in reversed(block):
                op.erase()
        for slot, index, value in self.uses():
            value.uses.pop(Use(self, slot, index), None)
        if self.block is not None:
            self.block.remove(self)

    # -- evaluation --------------------------------------------------------------------------------------------------

    @classmethod
    @cache
    def _reference_names(cls) -> tuple[str, ...]:
        """The fields that ``reference`` asks for."""
        return tuple(name for name in inspect.signature(cls.reference).parameters if name in cls.params)

    def _arguments(self, operands: Mapping[str, RuntimeValue]) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for name in self._reference_names():
            param = self.params[name]
            if isinstance(param, Const):
                arguments[name] = param.of(self)
            else:
                arguments[name] = operands.get(name, () if isinstance(param, Variadic) else None)
        return arguments

    def compute(
        self, operands: Mapping[str, RuntimeValue], *, floats: Callable[[Array], Array] | None = None
    ) -> list[RuntimeValue]:
        """Evaluates the op by its ``reference``: once in the widest type, then rounded once to the declared types.

        Args:
            operands: By field name: arrays in their declared types, tuples of them for variadic fields.
            floats: What an op that is not ``Exact`` gets for each floating array; float64 when left out. A device that
                models narrower arithmetic gives arrays that compute so.

        Returns:
            One runtime value for each result, in its declared type.

        Raises:
            ExecutionError: The operands' values do not fit the op, such as an index out of range.
        """
        values = self.evaluate(operands, floats=floats)
        return [self._round(v, r) for v, r in zip(values, self.results, strict=True)]

    def evaluate(
        self, operands: Mapping[str, RuntimeValue], *, floats: Callable[[Array], Array] | None = None
    ) -> list[RuntimeValue]:
        """What ``compute`` rounds: the results in the widest type.

        Args:
            operands: As of ``compute``; floats may come in a wider type than the declared one.
            floats: As of ``compute``.

        Raises:
            ExecutionError: As of ``compute``.
        """
        exact = self.has(Exact)
        floats = floats or _as_float64
        arguments = self._arguments(operands if exact else {k: _converted(v, floats) for k, v in operands.items()})
        try:
            with np.errstate(all="ignore"):
                results = self.reference(**arguments)
        except DimError as error:
            raise ExecutionError(
                error.message, op=self.title, location=self.location, expected=error.expected, actual=error.actual
            ) from error
        except GristmillError:
            raise
        except (ValueError, IndexError, ArithmeticError, MemoryError, TypeError) as error:
            raise ExecutionError(f"the op failed: {error}", op=self.title, location=self.location) from error
        values = list(results) if isinstance(results, tuple | list) and len(self.results) != 1 else [results]
        if len(self.results) == 1 and isinstance(results, tuple):
            values = list(results)
        return values

    def _round(self, value: RuntimeValue, result: Value) -> RuntimeValue:
        if not isinstance(result.type, TensorType):
            return value
        return round_to(np.asarray(value), result.type.dtype, self)

    def __repr__(self) -> str:
        results = ", ".join(map(repr, self.results))
        return f"{results} = {self.op_name}({', '.join(f'{n}=%{v.name}' for n, _, v in self.uses())})"


F = _TypingVar("F")


def _declared(cls: type[Op], kept_in: str, kind: type[F]) -> dict[str, F]:
    """The fields of a kind that a class has: those that its bases keep, and its own."""
    fields: dict[str, F] = {}
    for base in reversed(cls.__bases__):
        fields.update(getattr(base, kept_in, {}))
    for name, field in vars(cls).items():
        if isinstance(field, kind):
            fields[name] = field
        else:
            fields.pop(name, None)  # something else stands in its place
    return fields


def _as_float64(array: Array) -> Array:
    return array.astype(np.float64, copy=False)


def _converted(value: RuntimeValue, floats: Callable[[Array], Array]) -> RuntimeValue:
    if isinstance(value, tuple):
        return tuple(_converted(item, floats) for item in value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return floats(value)
    return value


def round_to(array: Array, dtype: DType, op: Op | None = None) -> Array:
    """Brings a result to its declared type: floats are rounded to nearest even, integers wrap modulo 2ⁿ.

    Raises:
        ExecutionError: The kinds differ; only a cast turns integers into floats or back.
    """
    kinds = {"f": "float", "i": "int", "u": "int", "b": "bool", "O": "string"}
    wanted = "int" if dtype.is_integer else dtype.kind
    if kinds.get(array.dtype.kind) != wanted:
        raise ExecutionError(
            "reference result has another kind than declared",
            op=op.title if op else None,
            expected=dtype,
            actual=array.dtype,
        )
    array = wrapped(array, dtype)
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(array.astype(dtype.numpy, copy=False)).reshape(array.shape)


def merge_types(declared: Type, inferred: Type) -> Type:
    """The more telling of two compatible types: a declared size, else what inference found."""
    if isinstance(declared, TensorType) and isinstance(inferred, TensorType):
        dims = tuple(d if isinstance(d, int) else i for d, i in zip(declared.shape, inferred.shape, strict=True))
        return declared.with_shape(dims)
    return declared


def _is_small_integer(type: Type) -> bool:
    """Whether a type's elements may be followed one by one."""
    if not isinstance(type, TensorType) or not (type.dtype.is_integer or type.dtype == types.bool_):
        return False
    count = product(type.shape)
    return isinstance(count, int) and count <= CONTENTS_LIMIT


__all__ = [
    "Effect",
    "Op",
    "OptionalOperand",
    "RunBlock",
    "RuntimeValue",
    "merge_types",
    "round_to",
]
