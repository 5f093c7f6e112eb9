"""How long each operator and each module of a PyTorch model takes in the converted model, in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch.export import ExportedProgram

from gristmill.errors import InputTypeError
from gristmill.models.ml_program.experimental.debugging_utils import Operation
from gristmill.models.ml_program.experimental.perf_utils import Measurement, MLModelBenchmarker, OperationExecutionInfo
from gristmill.models.ml_program.experimental.remote_device import Device, only_here
from gristmill.models.ml_program.experimental.torch.debugging_utils import (
    TorchNode,
    TorchScriptNodeInfo,
    convert_and_retrieve_op_mapping,
)


@dataclass
class NodeExecutionInfo:
    """A node of the source.

    Attributes:
        node: The node.
        targets: The operations that it became.
        measurement: All of them together.
    """

    node: TorchNode
    targets: list[OperationExecutionInfo] = field(default_factory=list)
    measurement: Measurement = field(default_factory=lambda: Measurement.from_samples([]))

    @staticmethod
    def from_source(node: TorchNode) -> NodeExecutionInfo:
        """Of a node that nothing is known of yet."""
        return NodeExecutionInfo(node)


@dataclass
class ModuleExecutionInfo:
    """A module of the source.

    Attributes:
        name: Its path.
        ops: Its nodes, those of the modules in it included.
        measurement: All of them together.
    """

    name: str
    ops: list[NodeExecutionInfo] = field(default_factory=list)
    measurement: Measurement = field(default_factory=lambda: Measurement.from_samples([]))

    @staticmethod
    def from_name(name: str) -> ModuleExecutionInfo:
        """Of a module that nothing is known of yet."""
        return ModuleExecutionInfo(name)


class TorchMLModelBenchmarker(MLModelBenchmarker):
    """Converts a PyTorch model, and measures the result.

    Args:
        model: An exported program or a TorchScript module.
        device: ``None``, this computer.
        **converter_kwargs: As for ``convert``.
    """

    # coremltools has these classes here.
    NodeExecutionInfo: TypeAlias = NodeExecutionInfo
    ModuleExecutionInfo: TypeAlias = ModuleExecutionInfo

    def __init__(
        self, model: ExportedProgram | torch.jit.ScriptModule, device: Device | None = None, **converter_kwargs: Any
    ) -> None:
        only_here(device)
        converted, self._mapping = convert_and_retrieve_op_mapping(model, **converter_kwargs)
        super().__init__(converted, device)
        self.source_model = model

    @staticmethod
    def get_module_names(node: TorchNode) -> list[str] | None:
        """Paths of the modules that a node belongs to; ``None`` where PyTorch does not say.

        Raises:
            InputTypeError: It is no node.
        """
        if isinstance(node, TorchScriptNodeInfo):
            return [path for path, _ in node.modules]
        if not isinstance(node, torch.fx.Node):
            raise InputTypeError("this is no node of a PyTorch graph", actual=type(node).__name__)
        stack = node.meta.get("nn_module_stack")
        return None if stack is None else [path for path, _ in stack.values()]

    def find_source_nodes_for_target_op(self, target_op: Operation) -> list[TorchNode]:
        """The nodes that an operation was made for."""
        return list(dict.fromkeys(self._mapping.get_source_nodes_for_operation(target_op)))

    async def benchmark_node_execution(
        self, inputs: Mapping[str, Any] | None = None, iterations: int = 1, warmup: bool = False
    ) -> list[NodeExecutionInfo]:
        """Measures each node; arguments as of ``benchmark_predict``.

        Returns:
            All nodes, the most expensive first.
        """
        found = {node: NodeExecutionInfo(node) for node in self._mapping.node_to_operations_map}
        for info in await self.benchmark_operation_execution(inputs, iterations, warmup):
            nodes = self.find_source_nodes_for_target_op(info.spec)
            for node in nodes:
                found[node].targets.append(info)
                samples = [sample / len(nodes) for sample in info.measurement.samples]
                found[node].measurement = found[node].measurement.add_samples(samples)
        return sorted(found.values(), key=lambda info: info.measurement.sort_key, reverse=True)

    async def benchmark_module_execution(
        self, inputs: Mapping[str, Any] | None = None, iterations: int = 1, warmup: bool = False
    ) -> list[ModuleExecutionInfo]:
        """Measures each module; arguments as of ``benchmark_predict``.

        Returns:
            All modules, the most expensive first.
        """
        found: dict[str, ModuleExecutionInfo] = {}
        for info in await self.benchmark_node_execution(inputs, iterations, warmup):
            for name in dict.fromkeys(self.get_module_names(info.node) or ()):
                module = found.setdefault(name, ModuleExecutionInfo(name))
                module.ops.append(info)
                module.measurement = module.measurement.add_samples(info.measurement.samples)
        return sorted(found.values(), key=lambda info: info.measurement.sort_key, reverse=True)
