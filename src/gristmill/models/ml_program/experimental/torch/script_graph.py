"""A TorchScript module as nodes and modules: which node belongs to which call of which module."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch

from gristmill.errors import UnsupportedError

ModuleKey: TypeAlias = tuple[str, int]
"""Path of a module, and which of its calls it is, from 0."""

_PASSED_OVER = ("prim::Constant", "prim::GetAttr")


@dataclass(frozen=True)
class TorchScriptNodeInfo:
    """A node of the graph in which all modules are written out.

    Attributes:
        source_range: Where it comes from: frames, the innermost first.
        modules: The calls of modules that it belongs to, the innermost first.
        desc: The node as PyTorch prints it.
        kind: Its operator.
        input_names: Names of its operands.
        output_names: Names of its results.
    """

    source_range: str
    modules: tuple[ModuleKey, ...]
    desc: str
    kind: str
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    @property
    def owning_module(self) -> ModuleKey | None:
        """The innermost call."""
        return self.modules[0] if self.modules else None


@dataclass(frozen=True)
class TorchScriptModuleInfo:
    """One call of a module.

    Attributes:
        name: As its parent has it; empty for the whole.
        call_sequence: Which of its calls, from 0.
        hierarchy: Names from the whole to it.
        input_names: Names of its arguments.
        output_names: Names of its results.
        submodules: The calls in it.
        code: As PyTorch prints it.
    """

    Key = ModuleKey

    name: str
    call_sequence: int
    hierarchy: tuple[str, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    submodules: tuple[ModuleKey, ...]
    code: str

    @property
    def hierarchy_name(self) -> str:
        """The path, with dots."""
        return ".".join(filter(None, self.hierarchy))

    @property
    def key(self) -> ModuleKey:
        """What it is found under."""
        return self.hierarchy_name, self.call_sequence


class TorchScriptModuleAnnotator:
    """Follows the calls of a TorchScript module.

    Args:
        name_prefix: coremltools' name; nodes keep the names that PyTorch gave them.
    """

    def __init__(self, name_prefix: str = "var") -> None:
        self.name_prefix = name_prefix
        self._nodes: dict[str, TorchScriptNodeInfo] = {}
        self._modules: dict[ModuleKey, TorchScriptModuleInfo] = {}

    @property
    def node_infos(self) -> OrderedDict[str, TorchScriptNodeInfo]:
        """Nodes in order, by the names of their results."""
        return OrderedDict(self._nodes)

    @property
    def module_call_stack(self) -> OrderedDict[ModuleKey, TorchScriptModuleInfo]:
        """Calls of modules, each after those in it."""
        return OrderedDict(self._modules)

    def follow(self, model: torch.jit.ScriptModule) -> None:
        """Reads a module.

        Raises:
            UnsupportedError: Its calls cannot be followed.
        """
        _Walk(self._nodes, self._modules, model.inlined_graph).whole(model)


class _Walk:
    """Walks the graphs of modules beside the one in which they are written out, in which the same nodes follow."""

    def __init__(
        self, nodes: dict[str, TorchScriptNodeInfo], modules: dict[ModuleKey, TorchScriptModuleInfo], written: Any
    ) -> None:
        self._nodes, self._modules = nodes, modules
        self._written: Iterator[Any] = iter([n for n in written.nodes() if n.kind() not in _PASSED_OVER])
        self._inputs = [value.debugName() for value in written.inputs()][1:]
        self._calls: dict[str, int] = {}

    def whole(self, script: Any) -> tuple[str, ...]:
        """Follows the outermost call, whose arguments are those of the graph."""
        return self._call(script, "forward", ("",), (), self._inputs)

    def _call(
        self,
        script: Any,
        method: str,
        hierarchy: tuple[str, ...],
        outside: tuple[ModuleKey, ...],
        arguments: Sequence[str],
    ) -> tuple[str, ...]:
        path = ".".join(filter(None, hierarchy))
        sequence = self._calls[path] = self._calls.get(path, -1) + 1
        info = TorchScriptModuleInfo(
            hierarchy[-1], sequence, hierarchy, tuple(arguments), (), (), str(getattr(script, "code", ""))
        )
        graph = script._c._get_method(method).graph  # a traced module has one for each call
        own = list(graph.inputs())
        names = dict(zip([value.debugName() for value in own[1:]], arguments, strict=True))
        fetched: dict[str, tuple[Any, tuple[str, ...]]] = {own[0].debugName(): (script, ())}
        inside: list[ModuleKey] = []
        for node in graph.nodes():
            results = [value.debugName() for value in node.outputs()]
            operands = [value.debugName() for value in node.inputs()]
            if node.kind() == "prim::GetAttr":
                owner, taken = fetched.get(operands[0], (None, ()))
                fetched[results[0]] = getattr(owner, node.s("name"), None), (*taken, node.s("name"))
            elif node.kind() == "prim::CallMethod":
                callee, taken = fetched[operands[0]]
                if not isinstance(callee, torch.jit.ScriptModule):
                    raise UnsupportedError("only calls of modules are followed", actual=node.s("name"))
                below = (*hierarchy, *taken)
                (names[results[0]],) = self._call(
                    callee,
                    node.s("name"),
                    below,
                    (info.key, *outside),
                    [names.get(name, name) for name in operands[1:]],
                )
                inside.append((".".join(filter(None, below)), self._calls[".".join(filter(None, below))]))
            elif node.kind() != "prim::Constant":
                names.update(zip(results, self._node(node, (info.key, *outside)), strict=True))
        returned = tuple(names.get(value.debugName(), value.debugName()) for value in graph.outputs())
        self._modules[info.key] = replace(info, output_names=returned, submodules=tuple(inside))
        return returned

    def _node(self, node: Any, modules: tuple[ModuleKey, ...]) -> Sequence[str]:
        written = next(self._written, None)
        if written is None or written.kind() != node.kind():
            raise UnsupportedError(
                "the calls of this TorchScript module cannot be followed",
                expected=node.kind(),
                actual=written.kind() if written is not None else "the end of the graph",
            )
        results = tuple(value.debugName() for value in written.outputs())
        info = TorchScriptNodeInfo(
            source_range=str(written.sourceRange()),
            modules=modules,
            desc=str(written).strip(),
            kind=str(written.kind()),
            input_names=tuple(value.debugName() for value in written.inputs()),
            output_names=results,
        )
        self._nodes.update(dict.fromkeys(results, info))
        return results


def inline_and_annotate_module(model: torch.jit.ScriptModule, name_prefix: str = "var") -> TorchScriptModuleAnnotator:
    """The nodes and the calls of modules of a TorchScript module.

    Args:
        model: A traced or scripted module.
        name_prefix: coremltools' name; nodes keep the names that PyTorch gave them.

    Raises:
        UnsupportedError: Its calls cannot be followed.
    """
    annotator = TorchScriptModuleAnnotator(name_prefix)
    annotator.follow(model)
    return annotator


def tensors_of(names: Sequence[str], nodes: Mapping[str, TorchScriptNodeInfo]) -> list[str]:
    """Names of values with those of tuples in place of the tuples."""
    found: list[str] = []
    for name in names:
        node = nodes.get(name)
        whole = node is not None and node.kind in ("prim::TupleConstruct", "prim::ListConstruct")
        found += tensors_of(node.input_names, nodes) if node is not None and whole else [name]
    return found
