"""How element-wise ops become steps of a tile program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gristmill.devices.base import Refusal
from gristmill.devices.cpu.dataflow import operands_of
from gristmill.devices.cpu.program import ProgramBuilder
from gristmill.ir import types
from gristmill.ir.op import Op
from gristmill.ir.program import Value
from gristmill.ops import activation as act
from gristmill.ops import elementwise_binary as binary
from gristmill.ops import elementwise_unary as unary
from gristmill.ops.broadcast import along
from gristmill.ops.control_flow import select
from gristmill.ops.normalization import batch_norm

EmitSteps: TypeAlias = Callable[[Any, ProgramBuilder], int]


@dataclass(frozen=True)
class Steps:
    """How an op becomes steps.

    Attributes:
        emit: Adds the steps and returns the register of the result.
        supports: ``None`` when it can, else why not.
        per_channel: Whether it has parameters along axis 1.
    """

    emit: EmitSteps
    supports: Callable[[Any], Refusal | None]
    per_channel: bool = False


STEPS: dict[type[Op], Steps] = {}

_FLOATS = (types.fp16, types.fp32)
_ANY = (*_FLOATS, types.int32, types.bool_)


def floats_only(op: Op) -> Refusal | None:
    """Refuses ops with an operand or a result that is not of floats."""
    if all(value.dtype in _FLOATS for value in (*operands_of(op), *op.results)):
        return None
    return Refusal("only floats have a native kernel")


def any_type(op: Op) -> Refusal | None:
    """Takes 32-bit integers and truth values as well."""
    if all(value.dtype in _ANY for value in (*operands_of(op), *op.results)):
        return None
    return Refusal("integers of this size have no native kernel")


def steps(
    *ops: type[Op], supports: Callable[[Any], Refusal | None] = floats_only, per_channel: bool = False
) -> Callable[[EmitSteps], EmitSteps]:
    """Declares a function as the steps of some ops; a decorator."""

    def register(emit: EmitSteps) -> EmitSteps:
        for op in ops:
            STEPS[op] = Steps(emit, supports, per_channel)
        return emit

    return register


FOR_HALF = {"Gelu": "GeluForHalf", "Sigmoid": "SigmoidForHalf", "Silu": "SiluForHalf"}
"""Steps that are cheaper, and still many times more accurate than float16 results need."""


def _unary(name: str, op: type[Op], *parameters: str) -> None:
    """An op of one operand; its constants are the step's immediate numbers."""

    @steps(op)
    def _emit(op: Any, p: ProgramBuilder) -> int:
        p_and_q = [getattr(op, parameter) for parameter in parameters]
        step = FOR_HALF.get(name, name) if op.x.dtype is types.fp16 else name
        return p.step(step, p.operand(op.x), **dict(zip("pq", p_and_q, strict=False)))


def _binary(
    name: str, op: type[Op], immediate: str | None = None, *, integers: str | None = None, swapped: bool = False
) -> None:
    """An op of two operands: its step for floats, one with a constant operand, and one for integers modulo 2³²."""

    @steps(op, supports=floats_only if integers is None else any_type)
    def _emit(op: Any, p: ProgramBuilder) -> int:
        if not op.x.dtype.is_float:
            assert integers is not None
            x, y = p.operand(op.x), p.operand(op.y)
            return p.step(integers, y, x) if swapped else p.step(integers, x, y)
        if swapped:
            return p.step(name, p.operand(op.y), p.operand(op.x))
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
_unary("Softplus", act.softplus)
_unary("Elu", act.elu, "alpha")
_unary("LeakyRelu", act.leaky_relu, "alpha")
_unary("MulAddPQ", act.linear_activation, "alpha", "beta")
_unary("HardSigmoid", act.sigmoid_hard, "alpha", "beta")
_unary("Abs", unary.abs)
_unary("Acos", unary.acos)
_unary("Asin", unary.asin)
_unary("Atan", unary.atan)
_unary("Atanh", unary.atanh)
_unary("Ceil", unary.ceil)
_unary("Clip", unary.clip, "alpha", "beta")
_unary("Cos", unary.cos)
_unary("Cosh", unary.cosh)
_unary("Erf", unary.erf)
_unary("Exp", unary.exp)
_unary("Exp2", unary.exp2)
_unary("Floor", unary.floor)
_unary("Inverse", unary.inverse, "epsilon")
_unary("Log", unary.log, "epsilon")
_unary("Round", unary.round)
_unary("Rsqrt", unary.rsqrt, "epsilon")
_unary("Sign", unary.sign)
_unary("Sin", unary.sin)
_unary("Sinh", unary.sinh)
_unary("Sqrt", unary.sqrt)
_unary("Square", unary.square)
_unary("Tan", unary.tan)
_unary("Tanh", unary.tanh)
_unary("MaxP", unary.threshold, "alpha")

_binary("Add", binary.add, "AddP", integers="AddInt")
_binary("Mul", binary.mul, "MulP", integers="MulInt")
_binary("Sub", binary.sub, integers="SubInt")
_binary("Div", binary.real_div)
_binary("Pow", binary.pow)
_binary("Max", binary.maximum, integers="MaxInt")
_binary("Min", binary.minimum, integers="MinInt")
_binary("Equal", binary.equal, integers="EqualInt")
_binary("NotEqual", binary.not_equal, integers="NotEqualInt")
_binary("Less", binary.less, integers="LessInt")
_binary("LessEqual", binary.less_equal, integers="LessEqualInt")
_binary("Less", binary.greater, integers="LessInt", swapped=True)
_binary("LessEqual", binary.greater_equal, integers="LessEqualInt", swapped=True)
_binary("And", binary.logical_and, integers="And")
_binary("Or", binary.logical_or, integers="Or")
_binary("Xor", binary.logical_xor, integers="Xor")


@steps(act.gelu)
def _gelu(op: act.gelu, p: ProgramBuilder) -> int:
    exact = FOR_HALF["Gelu"] if op.x.dtype is types.fp16 else "Gelu"
    names = {"EXACT": exact, "TANH_APPROXIMATION": "GeluTanh", "SIGMOID_APPROXIMATION": "GeluSigmoid"}
    return p.step(names[op.mode], p.operand(op.x))


@steps(act.relu6)
def _relu6(op: act.relu6, p: ProgramBuilder) -> int:
    return p.step("Clip", p.operand(op.x), p=0.0, q=6.0)


@steps(act.clamped_relu)
def _clamped_relu(op: act.clamped_relu, p: ProgramBuilder) -> int:
    return p.step("Min", p.step("LeakyRelu", p.operand(op.x), p=op.alpha), p.constant(op.beta))


@steps(act.thresholded_relu)
def _thresholded_relu(op: act.thresholded_relu, p: ProgramBuilder) -> int:
    x = p.operand(op.x)
    return p.step("Select", p.step("LessEqual", p.constant(op.alpha), x), x, p.constant(0.0))


@steps(act.scaled_tanh)
def _scaled_tanh(op: act.scaled_tanh, p: ProgramBuilder) -> int:
    return p.step("MulP", p.step("Tanh", p.step("MulP", p.operand(op.x), p=op.beta)), p=op.alpha)


@steps(act.softsign)
def _softsign(op: act.softsign, p: ProgramBuilder) -> int:
    x = p.operand(op.x)
    return p.step("Div", x, p.step("AddP", p.step("Abs", x), p=1.0))


def _parameter(op: Any, value: Value, p: ProgramBuilder) -> int:
    """The register of a parameter of each channel."""
    assert value.constant is not None
    return p.parameter(along(value.constant.numpy(), (1,), op.x.rank)[0])


@steps(act.prelu, per_channel=True)
def _prelu(op: act.prelu, p: ProgramBuilder) -> int:
    x = p.operand(op.x)
    scaled = p.step("Mul", x, _parameter(op, op.alpha, p))
    return p.step("Select", p.step("Less", p.constant(0.0), x), x, scaled)


@steps(act.softplus_parametric, per_channel=True)
def _softplus_parametric(op: act.softplus_parametric, p: ProgramBuilder) -> int:
    inner = p.step("Softplus", p.step("Mul", p.operand(op.x), _parameter(op, op.beta, p)))
    return p.step("Mul", inner, _parameter(op, op.alpha, p))


@steps(batch_norm, per_channel=True)
def _batch_norm(op: batch_norm, p: ProgramBuilder) -> int:
    # The mean goes first: x·scale + shift would lose what it has in common with x.
    assert op.variance.constant is not None
    scale = 1 / np.sqrt(op.variance.constant.numpy().astype(np.float64) + op.epsilon)
    if op.gamma is not None:
        assert op.gamma.constant is not None
        scale = scale * op.gamma.constant.numpy()
    middle = p.step("Sub", p.operand(op.x), _parameter(op, op.mean, p))
    made = p.step("Mul", middle, p.parameter(along(scale, (1,), op.x.rank)[0]))
    return made if op.beta is None else p.step("Add", made, _parameter(op, op.beta, p))


@steps(unary.logical_not, supports=any_type)
def _not(op: unary.logical_not, p: ProgramBuilder) -> int:
    return p.step("Not", p.operand(op.x))


@steps(select, supports=any_type)
def _select(op: select, p: ProgramBuilder) -> int:
    return p.step("Select", p.operand(op.cond), p.operand(op.a), p.operand(op.b))


def _castable(op: unary.cast) -> Refusal | None:
    to, x = op.result.dtype, op.x.dtype
    if to in _ANY or to == x:
        return None
    return Refusal(f"casts to {to} have no native kernel")


@steps(unary.cast, supports=_castable)
def _cast(op: unary.cast, p: ProgramBuilder) -> int:
    # What the source wrote is a rounding point in every mode, in both directions: between the op that made a float16
    # value and a cast of it the value was to be float16.
    x, to = p.operand(op.x), op.result.dtype
    if to == op.x.dtype:
        return x
    if op.x.dtype == types.fp16:
        x = p.step("RoundHalf", x)
    if op.x.dtype in _FLOATS:
        if to == types.bool_:
            return p.step("FloatToBool", x)
        if not to.is_float:
            return p.step("FloatToInt", x, p=float(to.min), q=float(to.max))
        return p.step("RoundHalf", x) if to == types.fp16 else x
    if to.is_float:
        made = p.step("IntToFloat", x)
        return p.step("RoundHalf", made) if to == types.fp16 else made
    return p.step("IntToBool", x) if to == types.bool_ else x
