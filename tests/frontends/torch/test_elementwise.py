# ruff: noqa: E501, E741
# One case a line: the tables are read across, and I holds the integers.
"""Arithmetic, comparison, logic and activations agree with PyTorch, its type promotion and rounding included."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.frontends.torch.harness import Case, agree, bools, case, floats, ints

X, Y = floats(3, 4), floats(4, 3).T
POSITIVE, UNIT = floats(3, 4, low=0.1, high=3), floats(3, 4, low=-0.9, high=0.9)
I, J = ints(3, 4), ints(3, 4, low=1, high=6)
B, C = bools(3, 4), bools(4)
SPECIAL = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -1.5, 2.5, 3.5, -0.5])

UNARY = {
    torch.abs: X, torch.neg: X, torch.sign: X, torch.exp: X, torch.exp2: X, torch.expm1: X * 1e-3, torch.log: POSITIVE,
    torch.log2: POSITIVE, torch.log10: POSITIVE, torch.log1p: UNIT * 1e-3, torch.sqrt: POSITIVE, torch.rsqrt: POSITIVE,
    torch.square: X, torch.reciprocal: POSITIVE, torch.sin: X, torch.cos: X, torch.tan: UNIT, torch.asin: UNIT,
    torch.acos: UNIT, torch.atan: X, torch.sinh: X, torch.cosh: X, torch.tanh: X, torch.asinh: X,
    torch.acosh: POSITIVE + 1, torch.atanh: UNIT, torch.erf: X, torch.erfc: X, torch.ceil: X, torch.floor: X,
    torch.round: SPECIAL, torch.trunc: SPECIAL, torch.frac: X, torch.sigmoid: X, torch.logit: POSITIVE / 4,
    torch.isnan: SPECIAL, torch.isinf: SPECIAL, torch.isfinite: SPECIAL, torch.nan_to_num: SPECIAL,
    torch.signbit: X, torch.logical_not: X, torch.bitwise_not: I, torch.positive: X, torch.deg2rad: X,
}  # fmt: skip


@pytest.mark.parametrize("function", UNARY, ids=lambda f: f.__name__)
def test_functions_of_one_tensor(function):
    agree(Case(function, (UNARY[function],)))


def test_a_reciprocal_root_and_a_logarithm_are_exact_at_zero():
    """Core ML's ops would add an epsilon."""
    zero = torch.zeros(2)
    agree(Case(lambda x: (torch.log(x), torch.rsqrt(x), 1 / x), (zero,)))


BINARY = [
    case("add", lambda x, y: x + y, X, Y),
    case("add alpha", lambda x, y: torch.add(x, y, alpha=3), X, Y),
    case("add int float", lambda x, y: x + y, I, X),
    case("add bool bool", lambda x, y: x + y, B, C),
    case("add bool int", lambda x, y: x + y, B, I),
    case("int plus float number", lambda x: x + 0.5, I),
    case("bool plus int number", lambda x: x + 2, B),
    case("rsub", lambda x: 1 - x, X),
    case("rsub alpha", lambda x: torch.rsub(x, 2, alpha=3), I),
    case("mul bool", lambda x, y: x * y, B, C),
    case("mul int bool", lambda x, y: x * y, I, B),
    case("true division of ints", lambda x, y: x / y, I, J),
    case("floor division of floats", lambda x, y: x // y, X, POSITIVE),
    case("floor division of ints", lambda x, y: x // y, I, J),
    case("floor division by a negative", lambda x: x // -3, I),
    case("div floor", lambda x, y: torch.div(x, y, rounding_mode="floor"), I, J),
    case("div trunc ints", lambda x, y: torch.div(x, y, rounding_mode="trunc"), I, -J),
    case("div trunc floats", lambda x, y: torch.div(x, y, rounding_mode="trunc"), X, POSITIVE),
    case("remainder", lambda x, y: torch.remainder(x, y), X, -POSITIVE),
    case("remainder of ints", lambda x: x % -4, I),
    case("number modulo tensor", lambda x: torch.remainder(7, x), J),
    case("fmod", lambda x, y: torch.fmod(x, y), X, -POSITIVE),
    case("fmod of ints", lambda x: torch.fmod(x, 4), I),
    case("pow", lambda x, y: x**y, POSITIVE, Y),
    case("pow number", lambda x: x**3, X),
    case("pow of a number", lambda x: 2.0**x, X),
    case("pow ints", lambda x: x**3, I),
    case("atan2", torch.atan2, X, Y),
    case("atan2 on the axes", torch.atan2, torch.tensor([0.0, 1, -1, 0]), torch.tensor([-1.0, 0, 0, 1])),
    case("hypot", torch.hypot, X, Y),
    case("copysign", torch.copysign, X, Y),
    case("copysign of zeros and infinities", lambda x, y: (x.copysign(y), x.copysign(-1.5)), torch.full((4,), 2.0), torch.tensor([0.0, -0.0, -math.inf, math.inf])),
    case("maximum", torch.maximum, X, Y),
    case("maximum of bools", torch.maximum, B, C),
    case("fmax prefers numbers", torch.fmax, SPECIAL, torch.ones(8)),
    case("lerp", lambda x, y: torch.lerp(x, y, 0.3), X, Y),
    case("addcmul", lambda x, y: torch.addcmul(x, y, x, value=0.5), X, Y),
    case("addcdiv", lambda x, y: torch.addcdiv(x, x, y, value=2), X, POSITIVE),
    case("logaddexp", torch.logaddexp, X, Y, tolerance=1e-5),
    case("eq of int and float", lambda x: x == 2.5, I),
    case("comparison of bools", lambda x, y: (x < y, x >= y, x != y), B, C),
    case("comparison with a NaN", lambda x: (x < 1, x != x, x >= 0), SPECIAL),
    case("logical", lambda x, y: (torch.logical_and(x, y), torch.logical_or(x, y), torch.logical_xor(x, y)), I, B),
    case("bits of bools", lambda x, y: (x & y, x | y, x ^ y, ~x), B, C),
    case("bits of ints", lambda x, y: (x & y, x | y, x ^ y), I, J),
    case("low bits", lambda x: (x & 7, x & 4, x & 1), I),
    case("shifts", lambda x: (x << 3, x >> 1), I),
    case("uint8 wraps", lambda x, y: (x + y, x - y, x * y), *(ints(9, low=0, high=256, dtype=torch.uint8),) * 2),
    case("int8 wraps", lambda x: x * 3, ints(9, low=-128, high=128, dtype=torch.int8)),
    case("where", lambda c, x, y: torch.where(c, x, y), B, X, Y),
    case("where promotes", lambda c, x: torch.where(c, x, 0.5), B, I),
    case("masked_fill", lambda x, c: x.masked_fill(c, float("-inf")), X, B),
    case("clamp", lambda x: (x.clamp(-1, 1), x.clamp(min=0.5), x.clamp(max=0)), X),
    case("clamp with crossed bounds", lambda x: x.clamp(1, -1), X),
    case("clamp by tensors", lambda x, y: torch.clamp(x, min=y), X, Y),
    case("clamp of ints by the limits of int64", lambda x: x.clamp(-(2**63), 5), I),
    case("round decimals", lambda x: torch.round(x, decimals=2), X),
    case("float16", lambda x, y: (x.half() + y.half()).float(), torch.ones(3), torch.ones(3)),
    case("double", lambda x: (x.double() * 2).float(), X),
    case("casts", lambda x: (x.int(), x.bool(), x.long().float(), (x > 0).float()), X * 3),
    case("cast to uint8", lambda x: x.to(torch.uint8), ints(9, low=0, high=1000)),
    case("number first", lambda x: (2 / x, 5 - x, 3 * x), POSITIVE),
]  # fmt: skip


@pytest.mark.parametrize("case", BINARY)
def test_functions_of_several_tensors(case):
    agree(case)


ACTIVATIONS = {
    "relu": F.relu, "relu6": F.relu6, "leaky_relu": lambda x: F.leaky_relu(x, 0.1), "elu": lambda x: F.elu(x, 0.7),
    "celu": lambda x: F.celu(x, 0.7), "selu": F.selu, "gelu": F.gelu, "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu, "mish": F.mish, "hardswish": F.hardswish, "hardsigmoid": F.hardsigmoid,
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 1.5), "softplus": F.softplus, "softplus beta": lambda x: F.softplus(x, 2, 5),
    "softshrink": F.softshrink, "hardshrink": F.hardshrink, "tanhshrink": F.tanhshrink,
    "threshold": lambda x: F.threshold(x, 0.3, -1.0), "softsign": F.softsign, "logsigmoid": F.logsigmoid,
    "glu": lambda x: F.glu(x, 1), "softmax": lambda x: F.softmax(x, 1), "softmax of ints": lambda x: F.softmax(x.long().float(), 0),
    "log_softmax": lambda x: F.log_softmax(x, -1), "softmin": lambda x: F.softmin(x, 0), "dropout": lambda x: F.dropout(x, training=False),
    "rrelu": lambda x: F.rrelu(x, training=False),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    agree(Case(ACTIVATIONS[name], (floats(2, 4, 6, low=-4, high=4),)))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("slopes", [1, 3])
def test_prelu_has_one_slope_or_one_for_each_channel(shape, slopes):
    module = torch.nn.PReLU(slopes)
    with torch.no_grad():
        module.weight.copy_(torch.linspace(0.1, 0.9, slopes))
    agree(Case(module, (floats(*shape),)))
