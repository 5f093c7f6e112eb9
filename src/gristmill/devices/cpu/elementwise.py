"""How element-wise ops become steps of a tile program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from gristmill.devices.base import Refusal
from gristmill.devices.cpu.program import ProgramBuilder
from gristmill.ir import types
from gristmill.ir.op import Op
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
    """Refuses ops with an operand that is not of floats."""
    if all(value.constant is not None or value.dtype in _FLOATS for _, _, value in op.uses()):
        return None if all(result.dtype in _FLOATS for result in op.results) else Refusal("its result is not of floats")
    return Refusal("only floats have a native kernel")


def steps(*ops: type[Op], supports: Callable[[Any], Refusal | None] = floats_only) -> Callable[[EmitSteps], EmitSteps]:
    """Declares a function as the steps of some ops; a decorator."""

    def register(emit: EmitSteps) -> EmitSteps:
        for op in ops:
            STEPS[op] = Steps(emit, supports)
        return emit

    return register


def _unary(name: str, *ops: type[Op]) -> None:
    @steps(*ops)
    def _emit(op: Any, p: ProgramBuilder) -> int:
        return p.step(name, p.operand(op.x))


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


for _name, _op in {
    "Relu": act.relu,
    "Sigmoid": act.sigmoid,
    "Silu": act.silu,
    "Abs": unary.abs,
    "Exp": unary.exp,
    "Sqrt": unary.sqrt,
    "Square": unary.square,
    "Tanh": unary.tanh,
    "Erf": unary.erf,
}.items():
    _unary(_name, _op)

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


@steps(unary.clip)
def _clip(op: unary.clip, p: ProgramBuilder) -> int:
    return p.step("Clip", p.operand(op.x), p=op.alpha, q=op.beta)


@steps(act.leaky_relu)
def _leaky_relu(op: act.leaky_relu, p: ProgramBuilder) -> int:
    return p.step("LeakyRelu", p.operand(op.x), p=op.alpha)


@steps(act.linear_activation)
def _linear_activation(op: act.linear_activation, p: ProgramBuilder) -> int:
    return p.step("MulAddPQ", p.operand(op.x), p=op.alpha, q=op.beta)


@steps(act.sigmoid_hard)
def _sigmoid_hard(op: act.sigmoid_hard, p: ProgramBuilder) -> int:
    return p.step("HardSigmoid", p.operand(op.x), p=op.alpha, q=op.beta)


@steps(unary.rsqrt)
def _rsqrt(op: unary.rsqrt, p: ProgramBuilder) -> int:
    return p.step("Rsqrt", p.operand(op.x), p=op.epsilon)


@steps(unary.inverse)
def _inverse(op: unary.inverse, p: ProgramBuilder) -> int:
    return p.step("Inverse", p.operand(op.x), p=op.epsilon)


@steps(unary.cast)
def _cast(op: unary.cast, p: ProgramBuilder) -> int:
    # What the source wrote is a rounding point in every mode.
    x = p.operand(op.x)
    return p.step("RoundHalf", x) if op.result.dtype == types.fp16 and op.x.dtype == types.fp32 else x
