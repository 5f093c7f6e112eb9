"""A model of Apple's Neural Engine: float16 tensors only, in the arithmetic of a numerics profile."""

from __future__ import annotations

from gristmill.devices.base import Refusal
from gristmill.devices.profiles import NumericsProfile
from gristmill.devices.simulated import SimulatedDevice, tensors_of
from gristmill.ir.builtin import const
from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.ir.traits import ControlFlow
from gristmill.ir.types import ListType, StateType, TensorType, Type, fp16


class NeuralEngineDevice(SimulatedDevice):
    """Runs ops whose floating tensors are all float16.

    Which ops a chip's engine has, and at what sizes, is for the rules of a target to say; this is about types alone.

    Args:
        profile: How it computes.
    """

    name = unit = "neural_engine"

    def __init__(self, profile: NumericsProfile | str = "neural_engine_float32") -> None:
        super().__init__(profile)

    def supports(self, op: Op) -> Refusal | None:
        if isinstance(op, const):
            return None  # its users say what they need
        if op.has(ControlFlow):
            return Refusal("the Neural Engine runs no control flow", "unroll the loop or select between both results")
        for value in (*tensors_of(op), *op.results):
            if (kind := _floating(value)) is not None and kind.dtype != fp16:
                return Refusal(
                    f"the Neural Engine computes in float16 only, and '{value.name}' is {kind}",
                    "type the op in float16, by compute_precision or its op_selector, if its values fit (±65504)",
                )
        return super().supports(op)


def _floating(value: Value) -> TensorType | None:
    """The floating tensor that a value is, or that a state or list holds."""
    kind: Type = value.type
    if isinstance(kind, StateType):
        kind = kind.wrapped
    if isinstance(kind, ListType):
        kind = kind.element
    return kind if isinstance(kind, TensorType) and kind.dtype.is_float else None


__all__ = ["NeuralEngineDevice"]
