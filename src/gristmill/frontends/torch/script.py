"""TorchScript: a traced or scripted module is run through ``torch.export``, node by node.

Its graph is interpreted by an ordinary module with the same parameters, which ``torch.export`` can trace: views,
in-place operators and decompositions are then handled as for any other model. Control flow over sizes and constants is
followed; a branch or loop that depends on a tensor's contents is refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import operator
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from gristmill.errors import ConversionError, FormatError, UnsupportedError
from gristmill.frontends.common import InputSpec
from gristmill.frontends.torch import script_quantized
from gristmill.frontends.torch.graph import TORCH_FOLDER
from gristmill.frontends.torch.torchvision import declare_operators
from gristmill.ir.program import Location

MAX_ROUNDS = 1 << 14
"""Most rounds of a loop that are written out."""


def load_script(path: str | os.PathLike[str]) -> torch.jit.ScriptModule:
    """Reads what ``torch.jit.save`` wrote.

    Raises:
        FormatError: The file is no TorchScript module, or one that the installed PyTorch cannot read.
    """
    declare_operators()
    try:
        load: Callable[..., torch.jit.ScriptModule] = torch.jit.load
        return load(os.fspath(path), map_location="cpu")
    except Exception as error:  # whatever the deserialiser meets in a stranger's file
        raise FormatError(
            "the file is no TorchScript module",
            location=os.fspath(path),
            expected="what torch.jit.save wrote",
            actual=f"{type(error).__name__}: {str(error)[:300]}",
            hint="what torch.save wrote, such as a state_dict, holds no graph: load it into its module, and pass that",
        ) from error


class ScriptInterpreter(torch.nn.Module):
    """A TorchScript module as an ordinary one."""

    ROOT = "model."
    """What the paths of its parameters and buffers begin with."""

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        graph = script.inlined_graph
        self._block = graph
        values = list(graph.inputs())
        self._self = values[0] if str(values[0].debugName()).startswith("self") else None
        self.names = [_name(v.debugName()) for v in values if v is not self._self]
        self._script = [script]  # in a list: as a submodule it would be traced itself
        self.model = torch.nn.Module()  # parameters and buffers under their own paths
        for name, parameter in script.named_parameters(remove_duplicate=False):
            self._keep(name, parameter)
        for name, buffer in script.named_buffers(remove_duplicate=False):
            self._keep(name, buffer)

    def named(self, specs: Sequence[InputSpec]) -> list[InputSpec]:
        """Descriptions with the graph's own names for the inputs that have none."""
        names = [*self.names, *[None] * len(specs)]
        return [
            spec if spec.name is not None else dataclasses.replace(spec, name=name)
            for spec, name in zip(specs, names, strict=False)
        ]

    def _keep(self, name: str, tensor: torch.Tensor) -> None:
        if tensor.is_quantized:  # torch.export has no such tensors; see script_quantized
            return
        *folders, leaf = name.split(".")
        owner = self.model
        for folder in folders:
            if not hasattr(owner, folder):
                owner.add_module(folder, torch.nn.Module())
            owner = getattr(owner, folder)
        owner.register_buffer(leaf, tensor.detach())

    def forward(self, *inputs: Any) -> Any:
        values = list(self._block.inputs())
        env: dict[str, Any] = {}
        if self._self is not None:
            env[values[0].debugName()] = _Attribute(self, self._script[0], ())
            values = values[1:]
        leaves = list(inputs)
        for value in values:
            env[value.debugName()] = _nested(value.type(), leaves)
        if leaves:
            raise ConversionError("the module has fewer inputs", expected=len(inputs) - len(leaves), actual=len(inputs))
        (result,) = self._run(self._block, env) or (None,)
        return result

    def _run(self, block: Any, env: dict[str, Any]) -> list[Any]:
        for node in block.nodes():
            with _located(node):
                results = self._step(node, env)
            for value, result in zip(node.outputs(), results, strict=True):
                env[value.debugName()] = result
        return [env[value.debugName()] for value in block.outputs()]

    def _step(self, node: Any, env: dict[str, Any]) -> Sequence[Any]:
        kind = node.kind()
        arguments = [env[value.debugName()] for value in node.inputs()]
        match kind:
            case "prim::Constant":
                return [_constant(node)]
            case "prim::GetAttr":
                (name,) = (value.debugName() for value in node.outputs())
                return [env[name] if name in env else arguments[0].get(node.s("name"))]
            case "prim::ListUnpack" | "prim::TupleUnpack":
                return list(arguments[0])
            case "prim::If":
                return self._branch(node, arguments[0], env)
            case "prim::Loop":
                return self._loop(node, arguments, env)
        if kind in script_quantized.RULES:
            return [script_quantized.RULES[kind](*arguments)]
        rules = _RULES if kind.startswith("prim::") or not _holds_tensor(arguments) else _TENSOR_RULES
        if kind in rules:
            return [rules[kind](*arguments)]
        if kind == "prim::SetAttr":
            raise UnsupportedError("a TorchScript module that sets its attributes", location=_place(node))
        if kind.startswith("prim::"):
            raise UnsupportedError("this part of TorchScript is not converted", actual=kind, location=_place(node))
        return _call(node, arguments)

    def _branch(self, node: Any, condition: Any, env: dict[str, Any]) -> Sequence[Any]:
        """One of two blocks; both are traced where the condition is data, with all tensors that they use passed in."""
        blocks = list(node.blocks())
        if not _is_data(condition):
            return self._run(blocks[0 if condition else 1], env)
        for block in blocks:
            self._fetch_attributes(block, env)
        names = sorted({n for block in blocks for n in _used(block) if isinstance(env.get(n), torch.Tensor)})

        def runner(block: Any) -> Callable[..., tuple[Any, ...]]:
            def run(*tensors: torch.Tensor) -> tuple[Any, ...]:
                results = self._run(block, {**env, **dict(zip(names, tensors, strict=True))})
                return tuple(_as_result(result, tensors, node) for result in results)

            return run

        predicate = (
            condition if isinstance(condition, torch.Tensor) else torch.scalar_tensor(condition, dtype=torch.bool)
        )
        operands = tuple(env[name] for name in names)
        found = torch.ops.higher_order.cond(predicate.bool(), runner(blocks[0]), runner(blocks[1]), operands)
        numbers = [value.type().kind() in ("IntType", "FloatType", "BoolType") for value in node.outputs()]
        return [result.item() if number else result for result, number in zip(found, numbers, strict=True)]

    def _fetch_attributes(self, block: Any, env: dict[str, Any]) -> None:
        """Takes the weights that a block uses before it, so that they are operands of the branch."""
        for node in block.nodes():
            if node.kind() == "prim::GetAttr" and next(node.inputs()).debugName() in env:
                (name,) = (value.debugName() for value in node.outputs())
                env[name] = env[next(node.inputs()).debugName()].get(node.s("name"))
            for inner in node.blocks():
                self._fetch_attributes(inner, env)

    def _loop(self, node: Any, arguments: Sequence[Any], env: dict[str, Any]) -> list[Any]:
        (body,) = node.blocks()
        limit, proceed, *carried = arguments
        counter, *places = (value.debugName() for value in body.inputs())
        rounds = 0
        while rounds < limit and _truth(proceed, node):
            if rounds >= MAX_ROUNDS:
                raise UnsupportedError("a loop of too many rounds", expected=MAX_ROUNDS, location=_place(node))
            env[counter] = rounds
            env.update(zip(places, carried, strict=True))
            proceed, *carried = self._run(body, env)
            rounds += 1
        return carried


def _used(block: Any) -> Iterator[str]:
    """Names of the values that a block uses, its own included."""
    for node in block.nodes():
        yield from (value.debugName() for value in (*node.inputs(), *node.outputs()))
        for inner in node.blocks():
            yield from _used(inner)
    yield from (value.debugName() for value in block.outputs())


def _is_data(condition: Any) -> bool:
    """Whether a condition is only known when the program runs."""
    if isinstance(condition, torch.Tensor):
        return True
    try:
        bool(condition)
    except (RuntimeError, TypeError):  # torch raises these for a guard on data
        return True
    return False


def _as_result(value: Any, operands: Sequence[torch.Tensor], node: Any) -> torch.Tensor:
    """A branch returns tensors of its own."""
    if isinstance(value, int | float | bool):
        return torch.scalar_tensor(value, dtype=_dtype_of(value))
    if not isinstance(value, torch.Tensor):
        raise UnsupportedError("a branch on data returns something else than tensors", location=_place(node))
    return value.clone() if any(value is operand for operand in operands) else value


def _nested(kind: Any, leaves: list[Any]) -> Any:
    """The next input of the graph's type, taken from a flat list."""
    if kind.kind() == "TupleType":
        return tuple(_nested(element, leaves) for element in kind.elements())
    if kind.kind() == "ListType":
        items, leaves[:] = list(leaves), []
        return items
    if not leaves:
        raise ConversionError("the module has more inputs than were described")
    return leaves.pop(0)


class _Attribute:
    """A module of the script on the way to one of its tensors."""

    def __init__(self, owner: ScriptInterpreter, script: Any, path: tuple[str, ...]) -> None:
        self._owner, self.script, self._path = owner, script, path

    def get(self, name: str) -> Any:
        found = getattr(self.script, name)
        path = (*self._path, name)
        if isinstance(found, torch.Tensor):
            return script_quantized.from_storage(found) if found.is_quantized else self._tensor(path, found)
        if isinstance(found, torch.nn.Module | torch._C.ScriptObject):
            return _Attribute(self._owner, found, path)
        return found

    def _tensor(self, path: tuple[str, ...], found: torch.Tensor) -> Any:
        owner: Any = self._owner.model
        for part in path:
            owner = getattr(owner, part, None)
        return found if owner is None else owner  # a plain attribute is a constant


# --- operators -------------------------------------------------------------------------------------------------------


def _call(node: Any, arguments: list[Any]) -> Sequence[Any]:
    schema = torch._C.parse_schema(node.schema())
    namespace, _, name = schema.name.partition("::")
    packet = getattr(getattr(torch.ops, namespace), name, None)
    function = getattr(packet, schema.overload_name or "default", None) if packet is not None else None
    if function is None:
        raise UnsupportedError("an operator of TorchScript has no counterpart", actual=schema, location=_place(node))
    if schema.name in _MASKS and isinstance(mask := arguments[_MASKS[schema.name]], torch.Tensor):
        arguments[_MASKS[schema.name]] = mask.bool()
    positional, keywords = [], {}
    for declared, value in zip(schema.arguments, arguments, strict=False):
        if str(declared.type) == "Tensor" and isinstance(value, int | float | bool | torch.SymInt | torch.SymFloat):
            value = torch.ops.aten.scalar_tensor(value, dtype=_dtype_of(value))  # a number as a tensor
        if declared.kwarg_only:
            keywords[declared.name] = value
        else:
            positional.append(value)
    result = function(*positional, **keywords)
    count = node.outputsSize()
    return list(result) if count > 1 else [result]


# What can only be a mask; a file does not tell the types of inputs, and who describes them may say integers.
_MASKS = {
    "aten::where": 0,
    "aten::masked_fill": 1,
    "aten::masked_fill_": 1,
    "aten::masked_scatter": 1,
    "aten::masked_select": 1,
}


def _dtype_of(value: Any) -> torch.dtype:
    if isinstance(value, bool):
        return torch.bool
    return torch.int64 if isinstance(value, int | torch.SymInt) else torch.float32


def _holds_tensor(arguments: Sequence[Any]) -> bool:
    return any(
        isinstance(value, torch.Tensor) or (isinstance(value, list | tuple) and _holds_tensor(value))
        for value in arguments
    )


def _truth(value: Any, node: Any) -> bool:
    if isinstance(value, torch.Tensor):
        raise _data_dependent(node)
    try:
        return bool(value)
    except (RuntimeError, TypeError) as error:  # what torch raises for a guard on data
        raise _data_dependent(node) from error


def _data_dependent(node: Any) -> UnsupportedError:
    return UnsupportedError(
        "a branch or loop depends on the contents of a tensor",
        location=_place(node),
        hint="write it with torch.cond or torch.while_loop and pass the result of torch.export.export",
    )


def _divided(x: Any, y: Any, rounding_mode: str | None = None) -> Any:
    if rounding_mode is None:
        return x / y
    return x // y if rounding_mode == "floor" else int(x / y)


def _item(x: Any) -> Any:
    return x.item() if isinstance(x, torch.Tensor) else x


def _appended(items: list[Any], item: Any) -> list[Any]:
    items.append(item)
    return items


def _raised(message: Any = "", *rest: Any) -> None:
    raise ConversionError(f"the model raises an error for these shapes: {message}")


def _kept(x: Any, *rest: Any) -> Any:
    return x


# What TorchScript computes on numbers, lists and strings; numbers stay numbers where a trace made tensors of sizes.
_RULES: dict[str, Callable[..., Any]] = {
    "prim::ListConstruct": lambda *items: list(items),
    "prim::TupleConstruct": lambda *items: items,
    "prim::TupleIndex": operator.getitem,
    "prim::DictConstruct": lambda *items: dict(zip(items[::2], items[1::2], strict=True)),
    "prim::NumToTensor": _kept,
    "prim::unchecked_cast": _kept,
    "prim::Uninitialized": lambda: None,
    "prim::Print": lambda *items: None,
    "prim::RaiseException": _raised,
    "prim::dtype": lambda x: x.dtype,
    "prim::device": lambda x: torch.device("cpu"),
    "prim::layout": lambda x: torch.strided,
    "prim::is_cuda": lambda x: False,
    "prim::shape": lambda x: list(x.shape),
    "prim::min": min,
    "prim::max": max,
    "aten::Int": torch.sym_int,
    "aten::Float": torch.sym_float,
    "aten::Bool": bool,
    "aten::ScalarImplicit": _kept,
    "aten::IntImplicit": _kept,
    "aten::FloatImplicit": _kept,
    "aten::item": _kept,
    "aten::detach": _kept,
    "aten::to": _kept,
    "aten::add": lambda x, y, alpha=1: x + (y if isinstance(y, list) else y * alpha),
    "aten::sub": lambda x, y, alpha=1: x - y * alpha,
    "aten::rsub": lambda x, y, alpha=1: y - x * alpha,
    "aten::mul": operator.mul,
    "aten::div": _divided,
    "aten::floor_divide": operator.floordiv,
    "aten::floordiv": operator.floordiv,
    "aten::remainder": operator.mod,
    "aten::mod": operator.mod,
    "aten::neg": operator.neg,
    "aten::pow": operator.pow,
    "aten::abs": abs,
    "aten::sqrt": math.sqrt,
    "aten::floor": math.floor,
    "aten::ceil": math.ceil,
    "aten::round": round,
    "aten::eq": operator.eq,
    "aten::ne": operator.ne,
    "aten::lt": operator.lt,
    "aten::le": operator.le,
    "aten::gt": operator.gt,
    "aten::ge": operator.ge,
    "aten::__and__": operator.and_,
    "aten::__or__": operator.or_,
    "aten::__not__": operator.not_,
    "aten::__is__": lambda x, y: x is y,
    "aten::__isnot__": lambda x, y: x is not y,
    "aten::__contains__": operator.contains,
    "aten::__getitem__": operator.getitem,
    "aten::len": len,
    "aten::list": list,
    "aten::append": _appended,
    "aten::warn": lambda *items: None,
    "aten::format": lambda text, *items: text.format(*items),
}

# The same where tensors are among the arguments.
_TENSOR_RULES: dict[str, Callable[..., Any]] = {
    "aten::size": lambda x, dim=None: list(x.shape) if dim is None else x.shape[dim],
    "aten::dim": lambda x: x.dim(),
    "aten::len": len,
    "aten::numel": lambda x: x.numel(),
    "aten::__is__": lambda x, y: x is y,
    "aten::__isnot__": lambda x, y: x is not y,
    "aten::__getitem__": operator.getitem,
    "aten::append": _appended,
    "aten::is_floating_point": lambda x: x.is_floating_point(),
    "aten::Int": _item,
    "aten::Float": _item,
    "aten::ScalarImplicit": _item,
    "aten::IntImplicit": _item,
    "aten::FloatImplicit": _item,
    "aten::item": _item,
    "aten::Bool": lambda x: x.reshape(()).bool(),
    "aten::list": list,
}


def _constant(node: Any) -> Any:
    """A number for a tensor of one number, as traces have them; other tensors as copies, which may be written to."""
    (output,) = node.outputs()
    value = output.toIValue()
    if not isinstance(value, torch.Tensor):
        return value
    return value.item() if value.dim() == 0 and not value.is_complex() else value.clone()


def _name(debug_name: str) -> str:
    """A graph input's name without the suffix that makes it unique."""
    name = re.sub(r"\.\d+$", "", debug_name)
    return re.sub(r"\W", "_", name)


# --- places ----------------------------------------------------------------------------------------------------------


def _place(node: Any) -> Location:
    """The line of the user's source that a node comes from."""
    text = str(node.sourceRange())
    found = re.findall(r'File "([^"]+)", line (\d+)', text) or re.findall(r"^\s*(\S+?)\((\d+)\): ", text, re.MULTILINE)
    frames = [
        frame for frame in found if not frame[0].startswith((TORCH_FOLDER, "code/")) and "/torch/nn/" not in frame[0]
    ]
    file, line = (frames or found or [(None, None)])[0]
    return Location(file=file, line=int(line) if line is not None else None, source=node.kind())


@contextlib.contextmanager
def _located(node: Any) -> Iterator[None]:
    """Nodes that are traced inside carry the place and the results' names; older versions of torch cannot say it."""
    annotate = getattr(torch.fx.traceback, "annotate", None)
    if annotate is None or node.kind() == "prim::Constant":
        yield
        return
    place = _place(node)
    results = [value.debugName() for value in node.outputs()]
    with annotate({"gristmill": (place.file, place.line), "torchscript": results}):
        yield
