"""From an exported program's graph to a function: inputs, weights, a walk over the nodes, outputs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ConstantArgument,
    InputKind,
    OutputKind,
    OutputSpec,
    TensorArgument,
)

from gristmill.errors import ConversionError, GristmillError, InputError, UnsupportedError
from gristmill.frontends.common import InputSpec
from gristmill.frontends.torch import registry
from gristmill.frontends.torch.context import Complex, Context
from gristmill.frontends.torch.dtypes import ir_dtype, tensor_data
from gristmill.frontends.torch.evaluate import Source
from gristmill.frontends.torch.graph import Graph, Node, is_python, location_of, needed_nodes
from gristmill.frontends.torch.sizes import limits, lower_size, symbolic_shape
from gristmill.ir import types
from gristmill.ir.builder import mb
from gristmill.ir.dims import Dim, Shape, bounds, never_equal
from gristmill.ir.op import Op
from gristmill.ir.opset import Opset, iOS18
from gristmill.ir.program import Block, Function, Program, Value
from gristmill.ir.types import StateType, TensorType

IGNORED_KEYWORDS = frozenset(
    {"dtype", "layout", "device", "pin_memory", "memory_format", "non_blocking", "copy", "generator", "implicit"}
)
"""Keyword arguments without meaning here: a result's element type is in its metadata, the rest is about storage."""


def lower_exported(
    exported: ExportedProgram,
    *,
    opset: Opset,
    inputs: Sequence[InputSpec] | None = None,
    output_names: Sequence[str] | None = None,
    root: str = "",
) -> tuple[Program, Source]:
    """Converts an exported program; see ``gristmill.frontends.torch.lower_beside``.

    ``root`` is what the paths of the user's own buffers begin with when the exported module is one around the user's.
    """
    graph = Graph(exported)
    graph.check()
    lowering = _Lowering(graph, opset, inputs, output_names, root)
    program = lowering.program()
    names = {node: name for node, (name, _) in lowering.inputs.items()}
    return program, Source(graph, names, lowering.outputs, lowering.values)


class _Lowering:
    """One conversion."""

    def __init__(
        self,
        graph: Graph,
        opset: Opset,
        specs: Sequence[InputSpec] | None,
        output_names: Sequence[str] | None,
        root: str,
    ) -> None:
        self.graph, self.opset, self._root = graph, opset, root
        self.values: dict[Node, Any] = {}
        self._module = graph.exported.graph_module
        self._shared: dict[tuple[object, ...], Value] = {}
        signature = graph.exported.graph_signature
        self._kinds = {spec.arg.name: spec for spec in signature.input_specs}
        self._written = {
            str(spec.target): argument for argument, spec in self._returned() if spec.kind is OutputKind.BUFFER_MUTATION
        }
        self.inputs = self._name_inputs(specs)
        self.outputs = self._name_outputs(output_names)

    # -- interface ---------------------------------------------------------------------------------------------------

    def _user_inputs(self) -> list[Node]:
        return [
            node
            for node in self.graph.nodes
            if node.op == "placeholder"
            and self._kinds[node.name].kind is InputKind.USER_INPUT
            and isinstance(self._kinds[node.name].arg, TensorArgument)
        ]

    def _name_inputs(self, specs: Sequence[InputSpec] | None) -> dict[Node, tuple[str, TensorType]]:
        nodes = self._user_inputs()
        if specs is not None and len(specs) != len(nodes):
            names = ", ".join(node.name for node in nodes)
            raise InputError("number of inputs", expected=f"{len(nodes)}: {names}", actual=len(specs))
        named: dict[Node, tuple[str, TensorType]] = {}
        symbols = symbolic_shape(self.graph.exported)
        for node, spec in zip(nodes, specs or [InputSpec()] * len(nodes), strict=True):
            meta = node.meta["val"]
            dtype = spec.dtype or ir_dtype(meta.dtype)
            shape = tuple(symbols(dim) for dim in meta.shape)
            if spec.shape is not None:
                shape = _given_shape(spec.name or node.name, shape, spec.shape)
            # Core ML's interface has neither truth values nor scalars: coremltools' users pass floats and shape (1,).
            dtype = types.fp32 if dtype == types.bool_ else dtype
            named[node] = spec.name or node.name, TensorType(dtype, shape or (1,))
        return named

    def _returned(self) -> list[tuple[Any, OutputSpec]]:
        """What the graph returns, each with its meaning: outputs proper, and new contents of what was written to."""
        returned: Any = self.graph.output.args[0]
        return list(zip(returned, self.graph.exported.graph_signature.output_specs, strict=True))

    def _name_outputs(self, given: Sequence[str] | None) -> list[tuple[object, str]]:
        """Each output of the source's caller, as a node or a plain number, with its name."""
        results = [
            (argument, spec)
            for argument, spec in self._returned()
            if spec.kind is OutputKind.USER_OUTPUT and argument is not None
        ]
        for _, spec in results:
            if isinstance(spec.arg, ConstantArgument) and isinstance(spec.arg.value, str):
                raise UnsupportedError("the model returns a string", actual=repr(spec.arg.value))
        if given is not None and len(given) != len(results):
            raise InputError(
                "number of output names", expected=len(results), actual=f"{len(given)}: {', '.join(given)}"
            )
        taken = {name for name, _ in self.inputs.values()}
        outputs: list[tuple[object, str]] = []
        for place, (argument, _) in enumerate(results):
            base = given[place] if given is not None else getattr(argument, "name", f"output_{place}")
            name = base
            if given is None:
                suffix = 0
                while name in taken:
                    name, suffix = f"{base}_{suffix}", suffix + 1
            elif name in taken:
                raise InputError("two inputs or outputs have one name", actual=name)
            taken.add(name)
            outputs.append((argument, name))
        return outputs

    # -- the function ------------------------------------------------------------------------------------------------

    def program(self) -> Program:
        program = Program()
        states = self._states()
        interface: dict[Node, tuple[str, TensorType | StateType]] = {**states, **self.inputs}
        with mb.function(program, "main", dict(interface.values()), opset=self.opset) as arguments:
            self.function = program.main
            for _, name in self.outputs:
                self.function.unique_name(name)
            self.context = Context(self.function, inline=self._inline)
            for node, value in zip(interface, arguments, strict=True):
                self._enter(node)
                with mb.located(self.context.location):
                    self.values[node] = self._received(node, value)
            self._walk(self.graph.nodes, self.graph.needed)
            self._update_states(states, arguments)
            mb.output(*self._results())
        return program

    def _states(self) -> dict[Node, tuple[str, StateType]]:
        """Buffers that the model writes to, by the placeholders that stand for them."""
        if not self._written:
            return {}
        if self.opset < iOS18:
            raise UnsupportedError(
                "the model writes to its buffers, which needs states",
                expected=f"opset {iOS18} or later",
                actual=f"{self.opset}; written buffers: {', '.join(self._written)}",
                hint="set minimum_deployment_target to iOS18, or pass the buffers in and return them",
            )
        states: dict[Node, tuple[str, StateType]] = {}
        for node in self.graph.nodes:
            if node.op == "placeholder" and self._kinds[node.name].target in self._written:
                path = str(self._kinds[node.name].target)
                meta = node.meta["val"]
                name = _identifier(path.removeprefix(self._root))
                states[node] = name, StateType(TensorType(ir_dtype(meta.dtype), tuple(meta.shape)))
                self._warn_of_contents(path)
        return states

    def _update_states(self, states: Mapping[Node, tuple[str, StateType]], arguments: Sequence[Value]) -> None:
        for (node, (name, kind)), state in zip(states.items(), arguments, strict=False):
            self.context.name = name
            new = self.values[self._written[str(self._kinds[node.name].target)]]
            self.context.mb.results(
                "coreml_update_state", state=state, value=self.context.cast(new, kind.wrapped.dtype)
            )

    def _warn_of_contents(self, path: str) -> None:
        tensor = self._stored(path)
        if tensor.any():
            warnings.warn(
                f"buffer '{path}' starts with other values than zero, but a Core ML state starts with zeros; "
                "write the values to the state before the first prediction",
                stacklevel=2,
            )

    def _received(self, node: Node, value: Value) -> Value:
        """An input as the graph sees it: a Boolean or a scalar again."""
        meta = node.meta["val"]
        if node not in self.graph.needed:
            return value
        if isinstance(value.type, StateType):
            return self.context.mb.read_state(input=value)
        if not meta.shape:
            value = self.context.mb.squeeze(x=value, axes=[0])
        return self.context.cast(value, ir_dtype(meta.dtype))

    def _results(self) -> list[Value]:
        results: list[Value] = []
        for argument, name in self.outputs:
            value = self.values[argument] if isinstance(argument, Node) else argument
            if isinstance(value, Complex):
                raise UnsupportedError(
                    f"output '{name}' is complex", hint="return its real and imaginary parts, or torch.view_as_real"
                )
            self.context.name = name
            if not isinstance(value, Value):
                value = self.context.mb.const(value)
            if value.dtype == types.bool_:
                value = self.context.cast(value, types.fp32)
            if value.producer is None or value.constant is not None or value in results:
                value = self.context.mb.identity(x=value)
            _rename(value, name)
            results.append(value)
        return results

    # -- nodes -------------------------------------------------------------------------------------------------------

    def _enter(self, node: Node) -> None:
        self.context.name = node.name
        self.context.operator = str(node.target)
        self.context.location = location_of(node)
        self.context.meta = node.meta.get("val")

    def _lower(self, node: Node) -> None:
        match node.op:
            case "placeholder":
                if node not in self.values:
                    self.values[node] = self._weight(node)
            case "get_attr":
                self.values[node] = self._attribute(node)
            case "call_function":
                self._call(node)

    def _walk(self, nodes: Sequence[Node], needed: Collection[Node]) -> None:
        for node in nodes:
            if node in needed:
                self._lower(node)

    def _inline(self, module: torch.fx.GraphModule, arguments: Sequence[Any]) -> list[Any]:
        """Lowers a nested graph at the insertion point, and gives what it returns."""
        nodes = list(module.graph.nodes)
        self.values.update(zip((node for node in nodes if node.op == "placeholder"), arguments, strict=True))
        outer, self._module = self._module, module
        entered = self.context.snapshot()
        self._walk(nodes, needed_nodes(module))
        self._module = outer
        self.context.restore(entered)
        returned = self._resolve(nodes[-1].args[0])
        return returned if isinstance(returned, list) else [returned]

    def _weight(self, node: Node) -> Any:
        spec = self._kinds[node.name]
        if isinstance(spec.arg, ConstantArgument):
            return spec.arg.value
        if spec.target is None:
            raise UnsupportedError(f"input '{node.name}' is not a tensor", actual=spec.arg)
        return self._constant(self._stored(spec.target), spec.target)

    def _stored(self, path: str) -> torch.Tensor:
        """A parameter, buffer or constant of the model."""
        exported = self.graph.exported
        tensor = exported.state_dict.get(path)
        tensor = exported.constants.get(path) if tensor is None else tensor
        if not isinstance(tensor, torch.Tensor):
            raise UnsupportedError(f"'{path}' is not a tensor", actual=type(tensor).__name__)
        return tensor

    def _attribute(self, node: Node) -> Any:
        found: Any = self._module
        for part in str(node.target).split("."):
            found = getattr(found, part)
        return self._constant(found, str(node.target)) if isinstance(found, torch.Tensor) else found

    def _constant(self, tensor: torch.Tensor, path: str) -> Any:
        """A weight; tensors that share their storage share the constant."""
        if tensor.is_complex():
            parts = torch.view_as_real(tensor.detach().resolve_conj())
            return Complex(self._constant(parts[..., 0], f"{path}.real"), self._constant(parts[..., 1], f"{path}.imag"))
        key = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tuple(tensor.stride()))
        if tensor.numel() == 0 or key not in self._shared:
            with mb.at(self.function.body):  # nested blocks see it there, and so does what follows them
                self._shared[key] = mb.const(tensor_data(tensor, path), name=_identifier(path))
        return self._shared[key]

    def _call(self, node: Node) -> None:
        self._enter(node)
        block = mb.point.block
        last = block.last
        with mb.located(self.context.location):
            try:
                result = self._dispatch(node)
            except GristmillError as error:
                if error.location is None:
                    error.location = self.context.location
                raise
            except Exception as error:  # whatever a lowering meets that it was not written for
                raise ConversionError(
                    "the lowering of an operator fails",
                    op=f"{self.context.operator} '{node.name}'",
                    location=self.context.location,
                    actual=f"{type(error).__name__}: {error}",
                    hint="if the lowering is not yours, this is a bug of Gristmill: please report it",
                ) from error
        _name_after(node.name, result, last, block, self.function)
        _check_result(self.context.meta, result, self.context)
        self.values[node] = result

    def _dispatch(self, node: Node) -> Any:
        arguments = [self._resolve(argument) for argument in node.args]
        if is_python(node.target):
            return lower_size(self.context, node.target, arguments)
        self.context.argument_meta = tuple(_metas(node.args))
        lowering = registry.find(str(node.target))
        assert lowering is not None  # the pre-flight has seen it
        keywords = {name: self._resolve(value) for name, value in node.kwargs.items()}
        arguments, keywords = _by_schema(node.target, arguments, keywords)
        for name, value in list(keywords.items()):
            if not lowering.takes(name):
                if name not in IGNORED_KEYWORDS and value != _schema_default(node.target, name):
                    raise self.context.unsupported(f"argument '{name}' is not supported", actual=value)
                del keywords[name]
        return lowering.function(self.context, *arguments, **keywords)

    def _resolve(self, argument: Any) -> Any:
        if isinstance(argument, Node):
            if self.values[argument] is None:
                raise self.context.unsupported(f"the result '{argument.name}' of an operator is not converted")
            return self.values[argument]
        if isinstance(argument, list | tuple):
            return [self._resolve(item) for item in argument]
        return argument


def _identifier(path: str) -> str:
    """A module's path as a name that Core ML takes."""
    name = re.sub(r"\W", "_", path)
    return name if name[:1].isalpha() else f"p_{name}"


def _metas(arguments: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for argument in arguments:
        if isinstance(argument, list | tuple):
            found += _metas(argument)
        else:
            found.append(argument.meta.get("val") if isinstance(argument, Node) else argument)
    return found


def _by_schema(target: Any, arguments: list[Any], keywords: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Positional arguments with defaults filled in, however the graph passed them; keyword-only ones apart."""
    schema = getattr(target, "_schema", None)
    if schema is None:
        return arguments, keywords
    rest = dict(keywords)
    positional = [argument for argument in schema.arguments if not argument.kwarg_only]
    filled = [
        rest.pop(argument.name) if argument.name in rest else argument.default_value
        for argument in positional[len(arguments) :]
    ]
    return [*arguments, *filled], rest


def _schema_default(target: Any, name: str) -> Any:
    schema = getattr(target, "_schema", None)
    found = [a.default_value for a in schema.arguments if a.name == name] if schema is not None else []
    return found[0] if found else None


def _name_after(name: str, result: Any, last: Op | None, block: Block, function: Function) -> None:
    """Names the op that makes the result after the node, and its own constants after it."""
    first = next(iter(result), None) if isinstance(result, list | tuple) else result
    if not isinstance(first, Value) or first.producer is None or first.constant is not None:
        return
    op = first.producer
    made: list[Op] = []
    position = block.last
    while position is not None and position is not last:
        made.append(position)
        position = position.previous
    if op not in made:
        return
    own = op.name
    _rename(first, function.unique_name(name) if name != own else name)
    for slot, _, operand in op.uses():
        if operand.producer in made and operand.name.startswith(f"{own}_{slot}"):
            _rename(operand, function.unique_name(f"{op.name}_{slot}"))


def _rename(value: Value, name: str) -> None:
    value.name = name
    if value.producer is not None:
        value.producer.name = name


def _check_result(meta: Any, result: Any, context: Context) -> None:
    """Holds a lowering's result against what PyTorch says of it, so that a mistake here is never silent."""
    if isinstance(meta, tuple | list) and isinstance(result, tuple | list):
        for theirs, mine in zip(meta, result, strict=False):
            _check_result(theirs, mine, context)
        return
    if isinstance(result, Complex):
        result = result.real
    if not isinstance(meta, torch.Tensor) or not isinstance(result, Value):
        return
    sizes: Iterable[tuple[Dim, Any]] = zip(result.shape, meta.shape, strict=False)  # torch's may be symbols
    wrong = any(isinstance(theirs, int) and never_equal(mine, theirs) for mine, theirs in sizes)
    if result.dtype != ir_dtype(meta.dtype) or result.rank != len(meta.shape) or wrong:
        raise ConversionError(
            "the lowering of an operator is wrong",
            op=f"{context.operator} '{context.name}'",
            location=context.location,
            expected=f"{meta.dtype}{list(meta.shape)}",
            actual=result.type,
            hint="this is a bug of Gristmill, please report it",
        )


def _given_shape(name: str, exported: Shape, given: Shape) -> Shape:
    """The shape that the caller declares for an input, where the exported program allows it."""
    if len(given) != len(exported) and not (given == (1,) and not exported):
        raise InputError(f"input '{name}' has another rank", expected=list(exported), actual=list(given))
    for mine, theirs in zip(given, exported, strict=False):
        if not _within(mine, theirs):
            raise InputError(
                f"input '{name}' cannot have this shape",
                expected=f"{list(exported)}, as the model was exported",
                actual=list(given),
                hint="export the model with torch.export.Dim for flexible sizes",
            )
    return given


def _within(given: Dim, exported: Dim) -> bool:
    """Whether every size that the caller allows is one that the program was exported for."""
    if isinstance(exported, int):
        return given == exported
    (low, high), (least, most) = bounds(given), limits(exported)
    return (least is None or (low is not None and low >= least)) and (
        most is None or (high is not None and high <= most)
    )
