"""The graph of an exported program, taken apart as far as needed, and where its nodes come from."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind

from gristmill.frontends.common import UnsupportedOperator, UnsupportedOperatorsError
from gristmill.frontends.torch import registry
from gristmill.ir.program import Location

Node = torch.fx.Node

TORCH_FOLDER = str(Path(torch.__file__).parent)
"""Code in it is not the user's."""


class Graph:
    """The nodes of an exported program that its outputs need, without in-place operators and aliases."""

    def __init__(self, exported: ExportedProgram) -> None:
        self.exported = exported
        if not _is_plain(exported.graph_module):  # taking it apart is slow
            with quiet():
                self.exported = exported.run_decompositions(decompositions())
        self.nodes: list[Node] = list(self.exported.graph_module.graph.nodes)
        self.output = next(node for node in self.nodes if node.op == "output")
        # What only orders side effects, such as checks of whether a matrix is singular, computes nothing.
        specs = self.exported.graph_signature.output_specs
        self.needed = _needed(self.output, {spec.arg.name for spec in specs if spec.kind is OutputKind.TOKEN})

    def check(self) -> None:
        """Raises UnsupportedOperatorsError for every operator without a lowering."""
        missing: dict[str, list[Location]] = {}
        for node in _with_subgraphs(self.exported.graph_module, self.needed):
            if node.op == "call_function" and not is_python(node.target) and registry.find(str(node.target)) is None:
                missing.setdefault(str(_written(node)), []).append(location_of(node))
        if missing:
            raise UnsupportedOperatorsError(
                [UnsupportedOperator(name, tuple(places)) for name, places in sorted(missing.items())],
                hint="write a lowering for each with @gristmill.frontends.torch.lowers, or leave them out of the model",
            )


def _is_plain(module: torch.fx.GraphModule) -> bool:
    """Whether a graph can be lowered as it is.

    It holds no nested graph, changes nothing in place that somebody else sees, and has a lowering for each operator.
    """
    needed = needed_nodes(module)
    for node in module.graph.nodes:
        if node.op != "call_function" or is_python(node.target):
            continue
        if not isinstance(node.target, torch._ops.OpOverload):
            return False
        if node.target._schema.is_mutable and not _works_on_its_own(node):
            return False
        if node in needed and registry.find(str(node.target)) is None:
            return False
    return True


def _works_on_its_own(node: Node) -> bool:
    """Whether an in-place operator may as well make a new tensor: nobody else uses or shares what it changes."""
    if node.target is torch.ops.aten.dropout_.default and not node.args[2]:
        return True  # it changes nothing
    changed = node.args[0] if node.args else None
    if not isinstance(changed, Node) or changed.op != "call_function" or len(changed.users) > 1:
        return False
    if not isinstance(changed.target, torch._ops.OpOverload):
        return False
    mine, theirs = node.target._schema, changed.target._schema  # type: ignore[union-attr]  # an overload, seen before
    written = [a.name for a in mine.arguments if a.alias_info is not None and a.alias_info.is_write]
    fresh = all(result.alias_info is None for result in theirs.returns) or _works_on_its_own(changed)
    return fresh and written == [mine.arguments[0].name] and mine.name.endswith("_")


def _with_subgraphs(module: torch.fx.GraphModule, needed: Collection[Node]) -> Iterator[Node]:
    """The needed nodes of a graph, and those of the graphs that they run."""
    for node in module.graph.nodes:
        if node not in needed:
            continue
        yield node
        inner = getattr(module, str(node.target), None) if node.op == "get_attr" else None
        if isinstance(inner, torch.fx.GraphModule):
            yield from _with_subgraphs(inner, needed_nodes(inner))


def needed_nodes(module: torch.fx.GraphModule) -> set[Node]:
    """Nodes of a graph that its outputs depend on; mere checks do not count."""
    return _needed(next(node for node in module.graph.nodes if node.op == "output"))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps to itself what torch warns of its own internals; it is nothing that a user can change."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # Recurrent layers keep a list of their own weights, which is none of the user's doing.
        warnings.filterwarnings("ignore", message=".*_flat_weights.*")
        yield


def location_of(node: Node) -> Location:
    """A node's place in the user's source."""
    stack = node.meta.get("nn_module_stack") or {}
    module = next((path for path, _ in reversed(stack.values())), "") or None
    if module is not None:
        module = module.removeprefix("L['self'].").removeprefix("L__self___") or None
    scripted = (node.meta.get("custom") or {}).get("gristmill")
    if scripted is not None:
        file, line = scripted
        return Location(module=module, file=file, line=line, source=_written(node))
    frames = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    frames = [frame for frame in frames if not frame[0].startswith(TORCH_FOLDER)] or frames
    file, line = (frames[-1][0], int(frames[-1][1])) if frames else (None, None)
    return Location(module=module, file=file, line=line, source=_written(node))


def _written(node: Node) -> str | None:
    """The operator that the user wrote, rather than a part that PyTorch took it apart into."""
    return str(node.meta.get("original_aten") or node.target) if node.op == "call_function" else None


def decompositions() -> dict[Any, Callable[..., Any]]:
    """How PyTorch takes operators apart, for those that have no lowering of their own."""
    table: dict[Any, Callable[..., Any]] = {**torch.export.default_decompositions()}
    for operator, function in torch._decomp.decomposition_table.items():
        table.setdefault(operator, function)
    return {operator: function for operator, function in table.items() if registry.find(str(operator)) is None}


def _needed(output: Node, left_out: Collection[str] = ()) -> set[Node]:
    """Nodes that the outputs depend on, but for some outputs by name."""
    needed = {output}
    pending = [output]
    while pending:
        for node in pending.pop().all_input_nodes:
            if node not in needed and node.name not in left_out:
                needed.add(node)
                pending.append(node)
    return needed


def is_python(target: Any) -> bool:
    """Whether a node's target is arithmetic on sizes or on tuples rather than an operator."""
    return not isinstance(target, torch._ops.OperatorBase)
