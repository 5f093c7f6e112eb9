"""Which operators of a PyTorch model became which ops, and which of them compute something else."""

from __future__ import annotations

import re
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from gristmill.analysis.counterparts import counterparts
from gristmill.errors import InputError, InputTypeError
from gristmill.frontends.torch.graph import Graph
from gristmill.frontends.torch.module import export_module
from gristmill.frontends.torch.script import ScriptInterpreter
from gristmill.ir.constants import Array
from gristmill.models.convert import convert, input_spec
from gristmill.models.ml_program.experimental.blame import Search, Verdict
from gristmill.models.ml_program.experimental.debugging_utils import MLModelInspector, Operation
from gristmill.models.ml_program.experimental.remote_device import Device, only_here
from gristmill.models.ml_program.experimental.torch.script_graph import (
    ModuleKey,
    TorchScriptModuleAnnotator,
    TorchScriptModuleInfo,
    TorchScriptNodeInfo,
    inline_and_annotate_module,
    tensors_of,
)
from gristmill.models.model import MLModel

__all__ = [
    "FrameInfo",
    "TorchExportMLModelComparator",
    "TorchNodeToMILOperationMapping",
    "TorchScriptMLModelComparator",
    "TorchScriptModuleAnnotator",
    "TorchScriptModuleInfo",
    "TorchScriptModuleMappingInfo",
    "TorchScriptNodeInfo",
    "convert_and_retrieve_op_mapping",
    "get_stack_frame_infos",
    "inline_and_annotate_module",
]

TorchNode: TypeAlias = TorchScriptNodeInfo | torch.fx.Node

CompareOutputs: TypeAlias = Callable[[Operation, Array, Array], bool]
"""Told an operation, the source's value and the model's; says whether they agree."""


@dataclass(frozen=True)
class FrameInfo:
    """One frame of where a node comes from."""

    filename: str
    lineno: int


def get_stack_frame_infos(node: TorchNode) -> list[FrameInfo] | None:
    """Where a node comes from, in the order in which PyTorch lists the frames; ``None`` where it does not say.

    Raises:
        InputTypeError: It is no node.
    """
    if isinstance(node, TorchScriptNodeInfo):
        text, pattern = node.source_range, r"([^\s]+\.py)\((\d+)\)"
    elif isinstance(node, torch.fx.Node):
        text, pattern = node.meta.get("stack_trace") or "", r'File "(.*?)", line (\d+), in '
    else:
        raise InputTypeError("this is no node of a PyTorch graph", actual=type(node).__name__)
    if not text:
        return None
    return [FrameInfo(file, int(line)) for file, line in re.findall(pattern, text)]


@dataclass
class TorchNodeToMILOperationMapping:
    """Which node of the source became which operations.

    Attributes:
        node_to_operations_map: Operations by node, in order; none for a node that a pass removed or merged.
        operation_output_name_to_node_map: Nodes by the names of operations' outputs.
    """

    node_to_operations_map: dict[TorchNode, list[Operation]]
    operation_output_name_to_node_map: dict[str, TorchNode]

    def get_source_nodes_for_output_name(self, output_name: str) -> TorchNode | None:
        """The node that a value comes from."""
        return self.operation_output_name_to_node_map.get(output_name)

    def get_source_nodes_for_operation(self, operation: Operation) -> list[TorchNode]:
        """The nodes that an operation's results come from."""
        found = (self.get_source_nodes_for_output_name(output.name) for output in operation.outputs)
        return [node for node in found if node is not None]


def convert_and_retrieve_op_mapping(
    model: ExportedProgram | torch.jit.ScriptModule, **converter_kwargs: Any
) -> tuple[MLModel, TorchNodeToMILOperationMapping]:
    """Converts a model and says which of its nodes became which operations.

    Args:
        model: An exported program, or a TorchScript module.
        **converter_kwargs: As for ``convert``.

    Raises:
        InputTypeError: It is neither.
        ConversionError: It cannot be converted.
    """
    found: dict[TorchNode, list[Operation]] = {}
    converted: Converted
    if isinstance(model, ExportedProgram):
        converted = Converted(model, converter_kwargs)
        found |= dict(converted.operations.items())
    elif isinstance(model, torch.jit.ScriptModule):
        converted = script = ConvertedScript(model, converter_kwargs)
        found |= dict(script.script_operations.items())
    else:
        raise InputTypeError(
            "not a PyTorch graph", expected="ExportedProgram or ScriptModule", actual=type(model).__name__
        )
    by_output = {output.name: node for node, made in found.items() for op in made for output in op.outputs}
    return converted.model, TorchNodeToMILOperationMapping(found, by_output)


class Converted:
    """An exported program beside the model that it became.

    Operations are named after the nodes that they were made for, which passes keep.

    Attributes:
        model: The model.
        graph: What was converted; where PyTorch had to take the graph apart the nodes are those of the parts.
        inspector: Of the model.
        operations: Those of each node, in order.
        results: For nodes whose results the model has, the names of the values.
    """

    def __init__(self, exported: ExportedProgram, converter_kwargs: Mapping[str, Any]) -> None:
        self.model = convert(exported, **converter_kwargs)
        self.graph = Graph(exported)
        self.inspector = MLModelInspector(self.model)
        named = {node.name: node for node in self.graph.nodes}
        outputs = dict(zip(self._returned(), [v.name for v in self.inspector.function.outputs], strict=False))
        renamed = {name: node for node, name in outputs.items() if node is not None}
        self.operations: dict[torch.fx.Node, list[Operation]] = {node: [] for node in self.graph.nodes}
        made = self.inspector.output_name_to_op_map
        for operation in {id(op): op for op in made.values()}.values():
            name = operation.outputs[0].name
            node = renamed.get(name) or _named_after(name, named)
            if node is not None:
                self.operations[node].append(operation)
        matches = counterparts(named, made)
        self.results: dict[torch.fx.Node, list[str]] = {}
        for name, node in named.items():
            match = outputs.get(node) or matches.get(name)
            if match is not None and match in made and made[match].type != "const":
                self.results[node] = [output.name for output in made[match].outputs]

    def _returned(self) -> list[torch.fx.Node | None]:
        """What the program returns to its caller."""
        specs = self.graph.exported.graph_signature.output_specs
        returned: Any = self.graph.output.args[0]
        return [
            argument if isinstance(argument, torch.fx.Node) else None
            for argument, spec in zip(returned, specs, strict=True)
            if spec.kind.name == "USER_OUTPUT" and argument is not None
        ]

    def run(self, inputs: Sequence[Any]) -> dict[torch.fx.Node, Any]:
        """What every node of the source computes."""
        exported = self.graph.exported
        leaves = iter(torch.utils._pytree.tree_leaves(tuple(inputs)))
        arguments = []
        for spec in exported.graph_signature.input_specs:
            if spec.kind is InputKind.USER_INPUT:
                arguments.append(next(leaves))
            else:
                stored = exported.state_dict.get(spec.target or "")
                arguments.append(stored if stored is not None else exported.constants[spec.target or ""])
        recorder = _Recorder(exported.graph_module)
        with torch.no_grad():
            recorder.run(*arguments)
        return recorder.found

    def model_inputs(self, inputs: Sequence[torch.Tensor]) -> dict[str, Array]:
        """The source's inputs by the names that they have in the model."""
        return {
            item.name: np.atleast_1d(tensor.detach().cpu().numpy())
            for item, tensor in zip(self.model.inputs, inputs, strict=True)
        }


class ConvertedScript(Converted):
    """A TorchScript module beside the model that it became, by way of an exported program.

    Attributes:
        annotator: The nodes and modules of the source.
        script_operations: The operations of each of its nodes.
        values: Names of the model's values by those of the source.
    """

    def __init__(self, script: torch.jit.ScriptModule, converter_kwargs: Mapping[str, Any]) -> None:
        interpreter = ScriptInterpreter(script)
        inputs = converter_kwargs.get("inputs")
        specs = None if inputs is None else interpreter.named([input_spec(described) for described in inputs])
        if inputs is not None and specs is not None:
            for described, spec in zip(inputs, specs, strict=True):
                described.name = described.name or spec.name
        exported, _ = export_module(interpreter, specs)
        super().__init__(exported, converter_kwargs)
        self.annotator = inline_and_annotate_module(script)
        nodes = self.annotator.node_infos
        self.script_operations: dict[TorchScriptNodeInfo, list[Operation]] = {node: [] for node in nodes.values()}
        self.values: dict[str, list[str]] = {}
        for node in self.graph.nodes:
            names = (node.meta.get("custom") or {}).get("torchscript", ())
            for name in names[:1]:
                if name in nodes:
                    self.script_operations[nodes[name]] += self.operations[node]
                if node in self.results:  # the last of the nodes that an operator became
                    self.values[name] = self.results[node]


def _named_after(name: str, nodes: Mapping[str, torch.fx.Node]) -> torch.fx.Node | None:
    """The node whose name, followed by something or nothing, is an operation's: the longest of them."""
    while name:
        if name in nodes:
            return nodes[name]
        name = name.rpartition("_")[0]
    return None


class _Recorder(torch.fx.Interpreter):
    """Keeps what every node computes."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.found: dict[torch.fx.Node, Any] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        result = super().run_node(n)
        self.found[n] = torch.utils._pytree.tree_map(
            lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, result
        )  # later nodes may write to it
        return result


def _verdict(
    inspector: MLModelInspector,
    names: Sequence[str],
    source: Any,
    found: Mapping[str, Array | None],
    compare: CompareOutputs,
) -> Verdict:
    """Compares the source's values with the model's of the given names."""
    tensors = [leaf for leaf in torch.utils._pytree.tree_leaves(source) if isinstance(leaf, torch.Tensor)]
    if not names or len(tensors) != len(names):
        return Verdict.UNKNOWN
    for name, tensor in zip(names, tensors, strict=True):
        mine, theirs = found.get(name), tensor.detach().cpu().numpy()
        if mine is None or [n for n in mine.shape if n != 1] != [n for n in theirs.shape if n != 1]:
            return Verdict.UNKNOWN
        if not compare(inspector._operations[name], theirs.reshape(mine.shape), mine):
            return Verdict.FAIL
    return Verdict.PASS


class TorchExportMLModelComparator:
    """Finds the operators of an exported program that compute something else in the converted model.

    Args:
        model: The program.
        num_predict_intermediate_outputs: How many values of the model to hold at once; each batch is one prediction.
        target_device: ``None``, this computer.
        **converter_kwargs: As for ``convert``.

    Example::

        comparator = TorchExportMLModelComparator(torch.export.export(net, (x,)))
        for node in await comparator.find_failing_ops((x,), lambda op, a, b: np.allclose(a, b, atol=0.01)):
            print(node, get_stack_frame_infos(node))
    """

    CompareOutputs: TypeAlias = CompareOutputs

    def __init__(
        self,
        model: ExportedProgram,
        num_predict_intermediate_outputs: int = 20,
        target_device: Device | None = None,
        **converter_kwargs: Any,
    ) -> None:
        only_here(target_device)
        if not isinstance(model, ExportedProgram):
            raise InputTypeError("what is compared is an ExportedProgram", actual=type(model).__name__)
        self.source_model = model
        self._converted = Converted(model, converter_kwargs)
        self.target_model = self._converted.model
        self._batch = num_predict_intermediate_outputs

    @property
    def source_to_target_ops_mapping(self) -> dict[torch.fx.Node, list[Operation]]:
        """The operations that each node became."""
        return dict(self._converted.operations)

    def get_source_ops_for_target_op(self, target_op: Operation) -> list[torch.fx.Node]:
        """The nodes that an operation was made for."""
        names = {output.name for output in target_op.outputs}
        return [
            node
            for node, made in self._converted.operations.items()
            if any(output.name in names for op in made for output in op.outputs)
        ]

    async def find_failing_ops(
        self,
        inputs: tuple[torch.Tensor, ...],
        compare_outputs: CompareOutputs,
        output_nodes: Sequence[torch.fx.Node] | None = None,
    ) -> list[torch.fx.Node]:
        """Nodes whose results differ although those that they use agree.

        Args:
            inputs: The program's inputs.
            compare_outputs: Says whether two values agree.
            output_nodes: Where to begin; at what the program returns when left out.

        Returns:
            The nodes, those nearest to the outputs first.
        """
        converted = self._converted
        values = converted.run(inputs)
        given = converted.model_inputs(inputs)
        search = Search(
            output_nodes or [converted.graph.output],
            lambda node: node.all_input_nodes,
            lambda node: node not in converted.results and node.op not in ("placeholder", "get_attr"),
        )

        async def judge(nodes: list[torch.fx.Node]) -> Mapping[torch.fx.Node, Verdict]:
            names = [name for node in nodes for name in converted.results.get(node, ())]
            found = await converted.inspector.retrieve_outputs(given, names) if names else {}
            verdicts = {node: Verdict.PASS for node in nodes if node.op in ("placeholder", "get_attr")}
            for node in nodes:
                if node not in verdicts:
                    verdicts[node] = _verdict(
                        converted.inspector, converted.results[node], values.get(node), found, compare_outputs
                    )
            return verdicts

        return await search.run(judge, self._batch)


@dataclass
class TorchScriptModuleMappingInfo:
    """One call of a module of the source, and what it became.

    Attributes:
        source: The call.
        source_to_target_ops_mapping: The operations of each of its nodes, those of the modules in it included.
        deps: For it and each call in it, the calls whose results it uses; for itself, those that make its results.
        outputs: The operations that make its results.
        submodules: The calls in it.
    """

    source: TorchScriptModuleInfo
    source_to_target_ops_mapping: dict[TorchScriptNodeInfo, list[Operation]]
    deps: dict[ModuleKey, list[TorchScriptModuleMappingInfo]] = field(repr=False)
    outputs: list[Operation]
    submodules: list[TorchScriptModuleMappingInfo] = field(repr=False)

    @property
    def key(self) -> ModuleKey:
        """What it is found under."""
        return self.source.key

    def get_source_ops_for_target_op(self, target_op: Operation) -> list[TorchScriptNodeInfo]:
        """The nodes that an operation was made for."""
        names = {output.name for output in target_op.outputs}
        return [
            node
            for node, made in self.source_to_target_ops_mapping.items()
            if any(output.name in names for op in made for output in op.outputs)
        ]


def module_mappings(converted: ConvertedScript) -> dict[ModuleKey, TorchScriptModuleMappingInfo]:
    """All calls of modules, each after those in it."""
    nodes = converted.annotator.node_infos
    operations = converted.inspector.output_name_to_op_map
    found: dict[ModuleKey, TorchScriptModuleMappingInfo] = {}
    for key, source in converted.annotator.module_call_stack.items():
        inside = [found[name] for name in source.submodules]
        results = [name for value in tensors_of(source.output_names, nodes) for name in converted.values.get(value, ())]
        info = TorchScriptModuleMappingInfo(
            source=source,
            source_to_target_ops_mapping={
                node: made for node, made in converted.script_operations.items() if key in node.modules
            },
            deps={},
            outputs=[operations[name] for name in results],
            submodules=inside,
        )
        makers = {name: module for module in inside for name in tensors_of(module.source.output_names, nodes)}
        info.deps[key] = _makers(source.output_names, makers, nodes)
        for module in inside:
            info.deps[module.key] = _makers(module.source.input_names, makers, nodes)
        found[key] = info
    return found


def _makers(
    names: Iterable[str],
    makers: Mapping[str, TorchScriptModuleMappingInfo],
    nodes: Mapping[str, TorchScriptNodeInfo],
) -> list[TorchScriptModuleMappingInfo]:
    """The modules that values come from, seen through what stands between modules."""
    pending, seen = list(names), set[str]()
    found: dict[ModuleKey, TorchScriptModuleMappingInfo] = {}
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in makers:
            found[makers[name].key] = makers[name]
        elif name in nodes:
            pending += nodes[name].input_names
    return list(found.values())


class TorchScriptMLModelComparator:
    """Finds the modules of a PyTorch model that compute something else in the converted model.

    Args:
        model: The model; traced with the example inputs, and put in evaluation mode.
        example_inputs: Its inputs.
        num_predict_intermediate_outputs: How many values of the model to hold at once; each batch is one prediction.
        target_device: ``None``, this computer.
        **converter_kwargs: As for ``convert``; ``inputs`` follow from the example inputs when left out.
    """

    CompareOutputs: TypeAlias = CompareOutputs

    def __init__(
        self,
        model: torch.nn.Module,
        example_inputs: tuple[torch.Tensor, ...],
        num_predict_intermediate_outputs: int = 20,
        target_device: Device | None = None,
        **converter_kwargs: Any,
    ) -> None:
        only_here(target_device)
        self.source_model = model.eval()
        if converter_kwargs.get("inputs") is None:
            converter_kwargs["inputs"] = [_described(tensor) for tensor in example_inputs]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the class is about what tracing makes
            traced = torch.jit.trace(model, example_inputs)  # type: ignore[no-untyped-call]
        self._converted = ConvertedScript(traced, converter_kwargs)
        self.target_model = self._converted.model
        self._modules = module_mappings(self._converted)
        self._batch = num_predict_intermediate_outputs

    @property
    def module_map_infos(self) -> list[TorchScriptModuleMappingInfo]:
        """All calls of modules, each after those in it."""
        return list(self._modules.values())

    def get_source_ops_for_targe_ops(self, target_op: Operation) -> list[TorchScriptNodeInfo]:
        """The nodes that an operation was made for; the name is coremltools' own."""
        return self._modules["", 0].get_source_ops_for_target_op(target_op)

    async def find_failing_modules(
        self,
        inputs: tuple[torch.Tensor, ...],
        compare_outputs: CompareOutputs,
        source_module_keys: Sequence[ModuleKey] | None = None,
    ) -> list[TorchScriptModuleMappingInfo]:
        """Calls of modules whose results differ although what they are given agrees: the innermost ones.

        Args:
            inputs: The model's inputs.
            compare_outputs: Says whether two values agree.
            source_module_keys: The calls to look into; the whole when left out.

        Raises:
            InputError: There is no such call.
        """
        for key in source_module_keys or ():
            if key not in self._modules:
                raise InputError("there is no such call of a module", expected=list(self._modules), actual=key)
        sources = _module_outputs(self.source_model, inputs)
        given = self._converted.model_inputs(inputs)
        inspector = self._converted.inspector

        async def judge(
            modules: list[ModuleKey],
        ) -> Mapping[ModuleKey, Verdict]:
            names = {
                key: [output.name for op in self._modules[key].outputs for output in op.outputs] for key in modules
            }
            wanted = [name for of_module in names.values() for name in of_module]
            found = await inspector.retrieve_outputs(given, wanted) if wanted else {}
            return {key: _verdict(inspector, names[key], sources.get(key), found, compare_outputs) for key in modules}

        failing: dict[ModuleKey, TorchScriptModuleMappingInfo] = {}
        for key in source_module_keys or [("", 0)]:
            for module in await self._search(self._modules[key], judge):
                failing[module.key] = module
        return list(failing.values())

    async def _search(
        self,
        module: TorchScriptModuleMappingInfo,
        judge: Callable[[list[ModuleKey]], Awaitable[Mapping[ModuleKey, Verdict]]],
    ) -> list[TorchScriptModuleMappingInfo]:
        search = Search([module.key], lambda key: [dep.key for dep in module.deps.get(key, ())])
        found: list[TorchScriptModuleMappingInfo] = []
        for key in await search.run(judge, self._batch):
            inner = self._modules[key]
            found += await self._search(inner, judge) if inner is not module and inner.submodules else [inner]
        return found


def _described(tensor: torch.Tensor) -> Any:
    from gristmill.models.io_types import TensorType

    return TensorType(shape=tuple(tensor.shape) or (1,), dtype=None if tensor.is_floating_point() else np.int32)


def _module_outputs(model: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> dict[ModuleKey, Any]:
    """What each call of each module returns."""
    found: dict[ModuleKey, Any] = {}
    calls: dict[str, int] = {}

    def hook(name: str) -> Callable[[torch.nn.Module, Any, Any], None]:
        def keep(module: torch.nn.Module, arguments: Any, output: Any) -> None:
            calls[name] = calls.get(name, -1) + 1
            found[name, calls[name]] = torch.utils._pytree.tree_map(
                lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, output
            )

        return keep

    handles = [module.register_forward_hook(hook(name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found
