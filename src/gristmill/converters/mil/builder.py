"""``Builder``: programs written op by op, as coremltools' users write them.

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 4))], opset_version=ct.target.iOS17)
    def prog(x):
        return mb.relu(x=x, name="y")

    model = ct.convert(prog, minimum_deployment_target=ct.target.iOS17)

It is ``gristmill.ir.builder.mb`` with decorators for programs and functions, and with control flow in functions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from gristmill.errors import InputError, InputTypeError
from gristmill.ir import types
from gristmill.ir.builder import mb
from gristmill.ir.dims import Dim, Symbol, fresh
from gristmill.ir.op_methods import OpMethods
from gristmill.ir.opset import Opset
from gristmill.ir.program import Function, Program, Value
from gristmill.ir.types import DType, StateType, TensorType, Type
from gristmill.models.target import DeploymentTarget


@dataclass(frozen=True)
class Placeholder:
    """An input of a program that is being written.

    Attributes:
        type: Its type.
    """

    type: Type


Specs: TypeAlias = "Sequence[Placeholder] | None"
Body: TypeAlias = Callable[..., Any]


def get_new_symbol(name: str | None = None) -> Symbol:
    """A dimension whose size the program's users choose."""
    return fresh(name or "is", lower=1)


class _Builder(OpMethods):
    """See the module; one instance, ``Builder``, serves everybody."""

    def op(self, op_name: str, **operands: Any) -> Any:
        """Makes an op of a given name at the current place."""
        return mb.op(op_name, **operands)

    def const(self, *, val: object, name: str | None = None) -> Value:
        """A constant."""
        return mb.const(val, name=name)

    @staticmethod
    def TensorSpec(shape: Sequence[Dim], dtype: DType | type | None = None) -> Placeholder:  # noqa: N802  # coremltools' name
        """An input tensor of an element type of programs, or the NumPy type of it; float32 when left out."""
        return Placeholder(_tensor(shape, dtype))

    @staticmethod
    def StateTensorSpec(  # noqa: N802  # coremltools' name
        shape: Sequence[Dim], dtype: DType | type | None = None
    ) -> Placeholder:
        """A state, of a type as for ``TensorSpec``."""
        return Placeholder(StateType(_tensor(shape, dtype)))

    placeholder = TensorSpec
    state_tensor_placeholder = StateTensorSpec

    def program(
        self,
        input_specs: Specs = None,
        opset_version: DeploymentTarget | None = None,
        function_name: str = "main",
    ) -> Callable[[Body], Program]:
        """Makes a program of the decorated function.

        Args:
            input_specs: One for each parameter, in order; their names are those of the parameters.
            opset_version: The oldest system that shall run it; iOS 15 when left out.
            function_name: Of the program's only function.
        """

        def decorate(body: Body) -> Program:
            made = Program()
            _write(made, function_name, body, input_specs, opset_version)
            return made

        return decorate

    def function(
        self, input_specs: Specs = None, opset_version: DeploymentTarget | None = None
    ) -> Callable[[Body], Function]:
        """Makes a function of the decorated one, to be added with ``Program.add_function``."""

        def decorate(body: Body) -> Function:
            return _write(Program(), body.__name__, body, input_specs, opset_version)

        return decorate

    # Blocks come as functions here, as in coremltools, where the builder underneath takes them made.
    def cond(  # type: ignore[override]  # see above
        self, *, pred: Value, _true_fn: Body, _false_fn: Body, name: str | None = None
    ) -> Any:
        """``_true_fn()`` where ``pred`` is true, ``_false_fn()`` elsewhere."""
        blocks = []
        for branch in (_true_fn, _false_fn):
            with mb.nested() as block:
                mb.output(*_listed(branch()))
            blocks.append(block)
        return mb.op("cond", name=name, blocks=blocks, pred=pred)

    def while_loop(  # type: ignore[override]  # see above
        self, *, _cond: Body, _body: Body, loop_vars: Sequence[Any], name: str | None = None
    ) -> Any:
        """Repeats ``_body`` on the loop variables as long as ``_cond`` of them is true."""
        variables = [value if isinstance(value, Value) else mb.const(value) for value in loop_vars]
        arguments: Mapping[str, Type] = {f"{value.name}_x{place}": value.type for place, value in enumerate(variables)}
        blocks = []
        for part in (_cond, _body):
            with mb.nested(arguments) as block:
                mb.output(*_listed(part(*block.arguments)))
            blocks.append(block)
        found = mb.op("while_loop", name=name, blocks=blocks, loop_vars=variables)
        return found if isinstance(found, tuple) else (found,)


def _tensor(shape: Sequence[Dim], dtype: DType | type | None) -> TensorType:
    found = dtype or types.fp32
    return TensorType(found if isinstance(found, DType) else types.dtype_of(found), tuple(shape))


def _listed(values: Any) -> list[Value]:
    listed = list(values) if isinstance(values, list | tuple) else [values]
    for value in listed:
        if not isinstance(value, Value):
            raise InputTypeError("a function that is built returns values", actual=type(value).__name__)
    return listed


def _write(program: Program, name: str, body: Body, specs: Specs, target: DeploymentTarget | None) -> Function:
    parameters = list(inspect.signature(body).parameters)
    given = list(specs or ())
    if len(parameters) != len(given):
        raise InputError(
            f"function '{body.__name__}' has one parameter for each input",
            expected=f"{len(given)} parameters",
            actual=", ".join(parameters) or "none",
        )
    inputs = {parameter: spec.type for parameter, spec in zip(parameters, given, strict=True)}
    with mb.function(program, name, inputs, Opset.iOS15 if target is None else target.opset) as values:
        mb.output(*_listed(body(*values)))
    return program.functions[name]


Builder = _Builder()
