"""How element-wise ops become steps of a tile program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from gristmill.devices.base import Refusal
from gristmill.devices.cpu.program import ProgramBuilder
from gristmill.ir import types
from gristmill.ir.op import Op
from gristmill.ir.signature import Const
from gristmill.ops import activation as act
from gristmill.ops import elementwise_binary as binary
from gristmill.ops import elementwise_unary as unary

EmitSteps: TypeAlias = Callable[[Any, ProgramBuilder], int]


@dataclass(frozen=True)
class Steps:
    """How an op becomes steps.

    Attributes:
        emit: Adds the steps and returns the register of the result.
        supports: ``None`` when it can, else why not.
    """

    emit: EmitSteps
    supports: Callable[[Any], Refusal | None]


STEPS: dict[type[Op], Steps] = {}

_FLOATS = (types.fp16, types.fp32)


def floats_only(op: Op) -> Refusal | None:
    """Refuses ops with an operand or a result that is not of floats."""
    operands = [value for name, _, value in op.uses() if not isinstance(op.params[name], Const)]
    if all(value.dtype in _FLOATS for value in (*operands, *op.results)):
        return None
    return Refusal("only floats have a native kernel")


def steps(*ops: type[Op], supports: Callable[[Any], Refusal | None] = floats_only) -> Callable[[EmitSteps], EmitSteps]:
    """Declares a function as the steps of some ops; a decorator."""

    def register(emit: EmitSteps) -> EmitSteps:
        for op in ops:
            STEPS[op] = Steps(emit, supports)
        return emit

    return register


def _unary(name: str, op: type[Op], *parameters: str) -> None:
    """An op of one operand; its constants are the step's immediate numbers."""

    @steps(op)
    def _emit(op: Any, p: ProgramBuilder) -> int:
        p_and_q = [getattr(op, parameter) for parameter in parameters]
        return p.step(name, p.operand(op.x), **dict(zip("pq", p_and_q, strict=False)))


def _binary(name: str, op: type[Op], immediate: str | None = None) -> None:
    @steps(op)
    def _emit(op: Any, p: ProgramBuilder) -> int:
        number = p.immediate(op.y)
        if immediate is not None and number is not None:
            return p.step(immediate, p.operand(op.x), p=number)
        number = p.immediate(op.x)
        if immediate is not None and number is not None:
            return p.step(immediate, p.operand(op.y), p=number)
        return p.step(name, p.operand(op.x), p.operand(op.y))


_unary("Relu", act.relu)
_unary("Sigmoid", act.sigmoid)
_unary("Silu", act.silu)
_unary("Abs", unary.abs)
_unary("Exp", unary.exp)
_unary("Sqrt", unary.sqrt)
_unary("Square", unary.square)
_unary("Tanh", unary.tanh)
_unary("Erf", unary.erf)
_unary("Clip", unary.clip, "alpha", "beta")
_unary("LeakyRelu", act.leaky_relu, "alpha")
_unary("MulAddPQ", act.linear_activation, "alpha", "beta")
_unary("HardSigmoid", act.sigmoid_hard, "alpha", "beta")
_unary("Rsqrt", unary.rsqrt, "epsilon")
_unary("Inverse", unary.inverse, "epsilon")

_binary("Add", binary.add, "AddP")
_binary("Mul", binary.mul, "MulP")
_binary("Sub", binary.sub)
_binary("Div", binary.real_div)
_binary("Max", binary.maximum)
_binary("Min", binary.minimum)


@steps(act.gelu)
def _gelu(op: act.gelu, p: ProgramBuilder) -> int:
    names = {"EXACT": "Gelu", "TANH_APPROXIMATION": "GeluTanh", "SIGMOID_APPROXIMATION": "GeluSigmoid"}
    return p.step(names[op.mode], p.operand(op.x))


@steps(act.relu6)
def _relu6(op: act.relu6, p: ProgramBuilder) -> int:
    return p.step("Clip", p.operand(op.x), p=0.0, q=6.0)


@steps(unary.cast)
def _cast(op: unary.cast, p: ProgramBuilder) -> int:
    # What the source wrote is a rounding point in every mode.
    x = p.operand(op.x)
    return p.step("RoundHalf", x) if op.result.dtype == types.fp16 and op.x.dtype == types.fp32 else x
