"""Writing a plan of what runs where into a model: the attribute ``IntendedBackend`` of its operations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from gristmill.errors import InputError
from gristmill.models.compute_units import ComputeUnit
from gristmill.models.ml_program.experimental.model_structure_path import (
    map_model_spec_to_path,
    map_model_structure_to_path,
)
from gristmill.models.ml_program.experimental.remote_device import Device, refuse
from gristmill.models.model import MLModel
from gristmill.package.proto import Message

Operation: TypeAlias = Message
"""A ``MILSpec.Operation``."""

_ATTRIBUTE = "IntendedBackend"
_STRING = 2  # the format's number of the element type

_BACKENDS = {
    "MLGPUComputeDevice": ["mps_graph"],
    "MLNeuralEngineComputeDevice": ["ane"],
    "MLCPUComputeDevice": ["bnns", "classic_cpu", "e5_minimal_cpu"],
}
"""What Core ML calls the implementations of each device. Source: coremltools 9.0, ``compute_plan_utils``."""


async def load_compute_plan_from_path_on_device(
    path: str | os.PathLike[str], compute_units: ComputeUnit = ComputeUnit.ALL, device: Device | None = None
) -> Any:
    """The plan of another device.

    Raises:
        UnsupportedError: Always.
    """
    refuse(device)


def set_intended_backends_attr(op: Operation, backend_names: Sequence[str] | None) -> None:
    """Sets the backends that an operation is meant for, or takes them away where ``None`` is given."""
    op.attributes.pop(_ATTRIBUTE, None)
    if backend_names is None:
        return
    value = op.attributes[_ATTRIBUTE]
    value.type.listType.type.tensorType.dataType = _STRING
    value.type.listType.length.constant.size = len(backend_names)
    value.immediateValue.list.SetInParent()
    for name in backend_names:
        element = value.immediateValue.list.values.add()
        element.type.tensorType.dataType = _STRING
        element.immediateValue.tensor.strings.values.append(name)


def set_intended_backends(
    model: MLModel, backend_assignment_fn: Callable[[Operation], Sequence[str] | None]
) -> MLModel:
    """A model whose operations say which backends they are meant for.

    Args:
        model: An ML Program; it stays as it is.
        backend_assignment_fn: Gives the names of the backends of an operation, or ``None`` for no preference.

    Raises:
        InputError: The model is no ML Program.
    """
    if model.kind != "mlProgram":
        raise InputError("only operations of ML Programs have backends", expected="mlProgram", actual=model.kind)
    spec = model.get_spec()
    for function in spec.mlProgram.functions.values():
        for op in _operations(function.block_specializations[function.opset]):
            set_intended_backends_attr(op, backend_assignment_fn(op))
    return MLModel(
        spec, weights_dir=model.weights_dir, compute_units=model.compute_unit, function_name=model.function_name
    )


def apply_compute_plan(
    model: MLModel,
    compute_plan: Any,
    backend_assignment_fn: Callable[[Operation, Any], Sequence[str] | None] | None = None,
) -> MLModel:
    """A model whose operations are meant for the devices that a plan prefers.

    Args:
        model: An ML Program; it stays as it is.
        compute_plan: Its ``MLComputePlan``.
        backend_assignment_fn: Told an operation and its device usage in the plan (``None`` if it is not in it), gives
            the names of its backends; those of the preferred device when left out.

    Raises:
        InputError: The model is no ML Program.
    """
    assign = backend_assignment_fn or _preferred
    planned = {path: op for op, path in map_model_structure_to_path(compute_plan.model_structure)}
    usage = {}
    for op, path in map_model_spec_to_path(model.get_spec()):
        if path in planned:
            usage[_key(op)] = compute_plan.get_compute_device_usage_for_mlprogram_operation(planned[path])
    return set_intended_backends(model, lambda op: assign(op, usage.get(_key(op))))


def _preferred(op: Operation, usage: Any) -> Sequence[str] | None:
    return None if usage is None else _BACKENDS[type(usage.preferred_compute_device).__name__]


def _key(op: Operation) -> bytes:
    return bytes(op.SerializeToString(deterministic=True))


def _operations(block: Message) -> Iterator[Operation]:
    for op in block.operations:
        yield op
        for nested in op.blocks:
            yield from _operations(nested)
