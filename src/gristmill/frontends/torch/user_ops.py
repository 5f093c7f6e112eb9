"""Lowerings that users write in coremltools' form: a function of a context and a node.

``lowers`` is this package's own way, with the operator's arguments as they are. Here an operator is named without its
namespace, its arguments are looked up by name, numbers among them are constants, and results are added to the context:

    @register_torch_op
    def my_op(context, node):
        x, alpha = _get_inputs(context, node, expected=2)
        context.add(mb.mul(x=x, y=alpha, name=node.name))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gristmill.errors import ConversionError, InputError, InputTypeError
from gristmill.frontends.torch import registry
from gristmill.frontends.torch.context import Context
from gristmill.ir.program import Value

UserFunction: TypeAlias = "Callable[[TranscriptionContext, UserNode], None]"


@dataclass
class UserNode:
    """The operator that is being lowered.

    Attributes:
        kind: Its name without namespace and overload, such as ``upsample_bilinear2d``.
        name: The node's name; a lowering gives it to the op that makes the result.
        inputs: Names under which the context has the arguments, in the order of the operator's schema.
        kwinputs: The same for keyword-only arguments.
        outputs: Names of the results.
        attr: Nothing: exported graphs have arguments only.
    """

    kind: str
    name: str
    inputs: list[str]
    kwinputs: dict[str, str]
    outputs: list[str]
    attr: dict[str, Any] = field(default_factory=dict)


class TranscriptionContext:
    """Values by name: the node's arguments, and the results that its lowering adds.

    Args:
        context: The frontend's own context, for what this one does not offer.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self._values: dict[str, Any] = {}
        self._results: list[str] = []

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            raise ConversionError(
                "the context has no such value", expected=", ".join(self._values), actual=name, op=self.context.operator
            )
        return self._values[name]

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def add(self, ssa_var: Any, torch_name: str | None = None, override: bool = False) -> None:
        """Adds a result.

        Args:
            ssa_var: A value, or a list of them for an operator whose result is a list.
            torch_name: Its name; that of the value when left out.
            override: Whether a value of that name may be replaced.
        """
        name = torch_name or getattr(ssa_var, "name", None) or f"{self.context.name}_{len(self._results)}"
        if name in self._results and not override:
            raise ConversionError("the context has a value of this name already", actual=name)
        self._values[name] = ssa_var
        if name not in self._results:
            self._results.append(name)

    def bind(self, name: str, argument: Any) -> None:
        """Takes an argument of the node: values and ``None`` as they are, numbers and texts as constants."""
        self._values[name] = self._as_value(argument)

    def _as_value(self, argument: Any) -> Any:
        if argument is None or isinstance(argument, Value):
            return argument
        if isinstance(argument, list | tuple):
            if argument and not any(isinstance(item, Value) or item is None for item in argument):
                return self.context.mb.const(list(argument))
            return [self._as_value(item) for item in argument]
        if isinstance(argument, bool | int | float | str):
            return self.context.mb.const(argument)
        return argument

    def results(self, node: UserNode) -> Any:
        """What the lowering added: one value, or all in the order of the node's outputs."""
        if not self._results:
            raise ConversionError("the lowering added no result", op=f"{self.context.operator} '{self.context.name}'")
        if len(node.outputs) == 1:
            return self._values[self._results[-1]]
        added = [self._values[name] for name in self._results]
        return added[0] if len(added) == 1 and isinstance(added[0], list | tuple) else added


class UserLowering(registry.Lowering):
    """Calls a user's function as if it were a lowering of this package."""

    def __init__(self, function: UserFunction) -> None:
        def lower(context: Context, *arguments: Any, **keywords: Any) -> Any:
            seen = TranscriptionContext(context)
            inputs = [f"{context.name}_input_{index}" for index in range(len(arguments))]
            named = {name: f"{context.name}_{name}" for name in keywords}
            for name, argument in zip([*inputs, *named.values()], [*arguments, *keywords.values()], strict=True):
                seen.bind(name, argument)
            count = len(context.meta) if isinstance(context.meta, tuple | list) else 1
            outputs = [context.name] if count == 1 else [f"{context.name}_{index}" for index in range(count)]
            node = UserNode(registry.bare(context.operator), context.name, inputs, named, outputs)
            function(seen, node)
            return seen.results(node)

        super().__init__(lower)

    def takes(self, keyword: str) -> bool:
        return True


def register_torch_op(
    _func: UserFunction | None = None, torch_alias: Sequence[str] | None = None, override: bool = False
) -> Any:
    """Registers a user's lowering of an operator; a decorator, with or without arguments.

    Args:
        _func: The function of a context and a node; its name is that of the operator, without namespace, overload and
            the underscore of in-place forms. It serves every operator of that name in every namespace.
        torch_alias: Names of other operators that it lowers too.
        override: Replaces the lowering that there is, instead of refusing a second one.

    Raises:
        InputError: There is a lowering already (a ``ValueError``, as in coremltools).
    """

    def register(function: UserFunction) -> UserFunction:
        if not callable(function):
            raise InputTypeError("a lowering is a function of a context and a node", actual=type(function).__name__)
        for name in (function.__name__, *(torch_alias or ())):
            if registry.known(name) and not override:
                raise InputError(
                    f"operator '{name}' has a lowering already", actual=name, hint="override=True replaces it"
                )
            registry.add_by_name(name, UserLowering(function))
        return function

    return register if _func is None else register(_func)


def get_inputs(
    context: TranscriptionContext,
    node: UserNode,
    expected: int | Sequence[int] | None = None,
    min_expected: int | None = None,
) -> list[Any]:
    """The arguments of a node.

    Args:
        context: Given to the lowering.
        node: Given to the lowering.
        expected: How many there are, or may be.
        min_expected: How many there are at least.

    Returns:
        For each positional argument a value, ``None`` where it was left out, or a list.

    Raises:
        ConversionError: The number is another (a ``ValueError`` in coremltools).
    """
    inputs = [context[name] for name in node.inputs]
    allowed = [expected] if isinstance(expected, int) else expected
    if (allowed is not None and len(inputs) not in allowed) or (
        min_expected is not None and len(inputs) < min_expected
    ):
        raise ConversionError(
            f"operator '{node.kind}' has another number of inputs",
            op=f"{node.kind} '{node.name}'",
            expected=allowed if allowed is not None else f"{min_expected} or more",
            actual=len(inputs),
        )
    return inputs
