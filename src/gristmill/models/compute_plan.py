"""``MLComputePlan``: which unit runs which operation, under coremltools' names, for this computer or a chip by name.

Beyond coremltools there are the target, the reason and the remedy of every refusal, and the whole plan as
`gristmill.runtime.plan.Plan`. Placement is a model: see ``docs/placement.md``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from gristmill.devices.base import Refusal
from gristmill.errors import InputError, InputTypeError
from gristmill.ir.op import Op
from gristmill.ir.program import Function, Location, Program
from gristmill.models.compute_device import MLComputeDevice, device_of
from gristmill.models.compute_units import ComputeUnit
from gristmill.models.features import ArrayFeature, feature
from gristmill.models.kinds import read_program
from gristmill.models.model_structure import (
    MLModelStructure,
    MLModelStructureNeuralNetwork,
    MLModelStructureNeuralNetworkLayer,
    MLModelStructurePipeline,
    MLModelStructureProgram,
    MLModelStructureProgramArgument,
    MLModelStructureProgramBinding,
    MLModelStructureProgramBlock,
    MLModelStructureProgramFunction,
    MLModelStructureProgramNamedValueType,
    MLModelStructureProgramOperation,
    MLModelStructureProgramValue,
    MLModelStructureProgramValueType,
    structure_of,
)
from gristmill.package import Package, load
from gristmill.package.network_messages import NETWORKS
from gristmill.package.proto import Message
from gristmill.runtime.partition import partition
from gristmill.runtime.plan import Placement, Plan
from gristmill.runtime.targets import Target, target_named

__all__ = [
    "MLComputePlan",
    "MLComputePlanCost",
    "MLComputePlanDeviceUsage",
    "MLModelStructure",
    "MLModelStructureNeuralNetwork",
    "MLModelStructureNeuralNetworkLayer",
    "MLModelStructurePipeline",
    "MLModelStructureProgram",
    "MLModelStructureProgramArgument",
    "MLModelStructureProgramBinding",
    "MLModelStructureProgramBlock",
    "MLModelStructureProgramFunction",
    "MLModelStructureProgramNamedValueType",
    "MLModelStructureProgramOperation",
    "MLModelStructureProgramValue",
    "MLModelStructureProgramValueType",
    "plan_function",
]


@dataclass(frozen=True)
class MLComputePlanDeviceUsage:
    """Where an operation runs.

    Attributes:
        preferred_compute_device: The unit that it is placed on.
        supported_compute_devices: All that could run it.
    """

    preferred_compute_device: MLComputeDevice
    supported_compute_devices: list[MLComputeDevice]


@dataclass(frozen=True)
class MLComputePlanCost:
    """What an operation costs.

    Attributes:
        weight: Its share of the estimated time of all operations of its function, from 0 to 1.
    """

    weight: float


@dataclass
class PlannedModel:
    """A model with the plans of its functions, made when they are first asked for."""

    package: Package
    target: Target
    compute_units: ComputeUnit

    @cached_property
    def structure(self) -> MLModelStructure:
        return structure_of(self.package)

    @cached_property
    def program(self) -> Program:
        return read_program(self.package)

    @cached_property
    def _plans(self) -> dict[str, Plan]:
        return {}

    def plan(self, function: Function) -> Plan:
        if function.name not in self._plans:
            interface = interface_of(self.package, function.name)
            self._plans[function.name] = plan_function(function, interface, self.target, self.compute_units)
        return self._plans[function.name]


class MLComputePlan:
    """Which unit runs what of a model. Get one from ``load_from_path``.

    Args:
        proxy: The model and its plans.
    """

    def __init__(self, proxy: PlannedModel) -> None:
        if not isinstance(proxy, PlannedModel):
            raise InputTypeError("load_from_path makes plans", actual=type(proxy).__name__)
        self.__proxy__ = proxy

    @classmethod
    def load_from_path(
        cls,
        path: str | os.PathLike[str],
        compute_units: ComputeUnit = ComputeUnit.ALL,
        *,
        target: Target | str | None = None,
    ) -> MLComputePlan:
        """The plan of a model in a file.

        Args:
            path: A ``.mlmodelc``, and here a ``.mlpackage`` or ``.mlmodel`` too.
            compute_units: Which units may run it.
            target: A chip by name, such as ``A17``; this computer when left out.

        Raises:
            FormatError: The files are no model, or a malformed one.
            InputError: There is no such target.
        """
        if not isinstance(compute_units, ComputeUnit):
            raise InputTypeError("compute_units is a ComputeUnit", actual=compute_units)
        return cls(PlannedModel(load(path), target_named(target), compute_units))

    @property
    def target(self) -> Target:
        """The chip that the plan is for."""
        return self.__proxy__.target

    @property
    def model_structure(self) -> MLModelStructure:
        """What the model consists of; its operations and layers are what the questions below take."""
        return self.__proxy__.structure

    def plan(self, function_name: str | None = None) -> Plan:
        """The whole plan of a function; of the default one when left out.

        Raises:
            UnsupportedError: The model is neither an ML Program nor a neural network.
            InputError: It has no such function.
        """
        package = self.__proxy__.package
        program = self.__proxy__.program
        name = function_name or package.description.defaultFunctionName or None
        if name is None:
            return self.__proxy__.plan(program.main)
        if name not in program.functions:
            raise InputError(f"the model has no function '{name}'", expected=", ".join(program.functions))
        return self.__proxy__.plan(program.functions[name])

    def get_compute_device_usage_for_mlprogram_operation(
        self, operation: MLModelStructureProgramOperation
    ) -> MLComputePlanDeviceUsage | None:
        """Where an operation runs and could run; ``None`` for constants and what decompresses them."""
        placement = self._placement(operation)
        if placement is None:
            return None
        return MLComputePlanDeviceUsage(
            device_of(placement.unit, self.target), [device_of(unit, self.target) for unit in placement.supported]
        )

    def get_estimated_cost_for_mlprogram_operation(
        self, operation: MLModelStructureProgramOperation
    ) -> MLComputePlanCost | None:
        """What share of the time an operation takes; ``None`` for constants and what decompresses them."""
        placement = self._placement(operation)
        if placement is None:
            return None
        return MLComputePlanCost(self._plan_of(placement.op).weight(placement.op))

    def get_refusals_for_mlprogram_operation(
        self, operation: MLModelStructureProgramOperation
    ) -> Mapping[type[MLComputeDevice], Refusal]:
        """Why units cannot run an operation, each with what would help. coremltools does not tell."""
        placement = self._placement(operation)
        refusals = placement.refusals if placement is not None else {}
        return {type(device_of(unit, self.target)): refusal for unit, refusal in refusals.items()}

    def get_compute_device_usage_for_neuralnetwork_layer(
        self, layer: MLModelStructureNeuralNetworkLayer
    ) -> MLComputePlanDeviceUsage | None:
        """Where most of a layer's time goes, and units that could run all of it; ``None`` for layers without ops."""
        placements = self._layer(layer)
        if not placements:
            return None
        main = max(placements, key=lambda placement: placement.cost)
        everywhere = [unit for unit in main.supported if all(unit in p.supported for p in placements)]
        devices = [device_of(unit, self.target) for unit in everywhere]
        return MLComputePlanDeviceUsage(device_of(main.unit, self.target), devices)

    def get_estimated_cost_for_neuralnetwork_layer(
        self, layer: MLModelStructureNeuralNetworkLayer
    ) -> MLComputePlanCost | None:
        """What share of the time a layer takes; ``None`` for layers without ops."""
        placements = self._layer(layer)
        if not placements:
            return None
        return MLComputePlanCost(sum(self._plan_of(placement.op).weight(placement.op) for placement in placements))

    def _layer(self, layer: MLModelStructureNeuralNetworkLayer) -> list[Placement]:
        """Where the ops are placed that a layer became, without what it holds.

        Raises:
            InputError: The layer is none of this plan's model.
        """
        spec, package = layer.__proxy__, self.__proxy__.package
        if package.kind not in NETWORKS or not any(spec is each for each in getattr(package.spec, package.kind).layers):
            raise InputError("the layer is none of this plan's model", hint="take it from plan.model_structure")
        function = self.__proxy__.program.main
        place = Location(module=layer.name or None, source=layer.type)
        return [p for p in self.__proxy__.plan(function).placements if p.op.location == place]

    def _plan_of(self, op: Op) -> Plan:
        function = op.block.function if op.block is not None else None
        assert function is not None  # a structure is made of whole functions
        return self.__proxy__.plan(function)

    def _placement(self, operation: MLModelStructureProgramOperation) -> Placement | None:
        op = getattr(operation, "__proxy__", None)
        if not isinstance(op, Op) or not self._owns(op):
            raise InputError("the operation is none of this plan's model", hint="take it from plan.model_structure")
        return self._plan_of(op).placement(op)

    def _owns(self, op: Op) -> bool:
        function = op.block.function if op.block is not None else None
        package = self.__proxy__.package
        return package.kind == "mlProgram" and any(function is f for f in package.program.functions.values())


def interface_of(package: Package, function: str) -> Message:
    """The part of a model's description that is about a function."""
    return next((found for found in package.description.functions if found.name == function), package.description)


def plan_function(
    function: Function,
    interface: Message,
    target: Target | str | None,
    compute_units: ComputeUnit,
    sizes: Mapping[str, int] | None = None,
) -> Plan:
    """Places a function of a model.

    Args:
        function: The function.
        interface: What the description says of its inputs: sizes that are enumerated are as good as fixed ones.
        target: A chip; this computer for ``None``.
        compute_units: Which units may run it.
        sizes: Values of symbols in shapes, to estimate costs with.
    """
    chip = target_named(target)
    inputs = [feature(spec) for spec in interface.input]
    flexible = [i for i in inputs if isinstance(i, ArrayFeature) and (i.ranges is not None or i.shapes is not None)]
    if flexible and all(item.shapes is not None for item in flexible):
        chip = chip.with_enumerated_shapes()
    return partition(function, chip, compute_units, sizes=sizes)
