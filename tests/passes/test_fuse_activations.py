"""Activations that a source spells out become one op; a formula with other numbers stays as it is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gristmill.ir import dims
from gristmill.ir.builder import mb
from gristmill.ir.types import fp16, fp32
from gristmill.passes.fuse_activations import FuseGelu, FuseHardSigmoid, FuseSilu, FuseSoftmax
from tests.passes.programs import build, changed, expected, only, ops, parse, shown, transformed

N = dims.symbol("n", 1, 64)
ROOT = math.sqrt(2 / math.pi)


def erf_of(x, scale=0.7071067811865476):
    return mb.erf(x=mb.mul(x=x, y=scale))


def cubic(x, factor=0.044715):
    return mb.add(x=x, y=mb.mul(x=mb.pow(x=x, y=3.0), y=factor))


GELUS = {
    "torch": (lambda x: mb.mul(x=mb.mul(x=x, y=0.5), y=mb.add(x=erf_of(x), y=1.0)), "EXACT"),
    "bert": (
        lambda x: mb.mul(x=mb.mul(x=x, y=0.5), y=mb.add(x=1.0, y=mb.erf(x=mb.real_div(x=x, y=math.sqrt(2))))),
        "EXACT",
    ),
    "onnx": (lambda x: mb.mul(x=mb.mul(x=x, y=mb.add(x=erf_of(x), y=1.0)), y=0.5), "EXACT"),
    "halved": (lambda x: mb.real_div(x=mb.mul(x=mb.sub(x=erf_of(x), y=-1.0), y=x), y=2.0), "EXACT"),
    "gpt2": (
        lambda x: mb.mul(x=mb.mul(x=x, y=0.5), y=mb.add(x=mb.tanh(x=mb.mul(x=cubic(x), y=ROOT)), y=1.0)),
        "TANH_APPROXIMATION",
    ),
    "factored": (
        lambda x: mb.mul(
            x=x,
            y=mb.mul(
                x=0.5,
                y=mb.add(
                    x=1.0,
                    y=mb.tanh(
                        x=mb.mul(
                            x=mb.mul(x=x, y=0.7978845608),
                            y=mb.add(x=1.0, y=mb.mul(x=mb.mul(x=x, y=0.044715), y=x)),
                        )
                    ),
                ),
            ),
        ),
        "TANH_APPROXIMATION",
    ),
    "quick": (lambda x: mb.mul(x=x, y=mb.sigmoid(x=mb.mul(x=x, y=1.702))), "SIGMOID_APPROXIMATION"),
}


@pytest.mark.parametrize("spelling", GELUS)
def test_gelu_in_its_spellings(spelling):
    make, mode = GELUS[spelling]
    after = transformed(build(lambda x: make(mb.exp(x=x)), (N, 6)), FuseGelu(), sizes={"n": 5})
    assert ops(after) == ["exp", "gelu"]
    assert only(after, "gelu").mode == mode


def test_the_fused_op_has_the_name_and_the_place_of_the_root():
    program = parse("""
        func main<ios15>(tensor<fp32, [n, 3]> x) {
            tensor<fp32, [n, 3]> a = real_div(x = x, y = fp32(0x1.6a09e6p+0))[name = string("a")];
            tensor<fp32, [n, 3]> b = erf(x = a)[name = string("b")];
            tensor<fp32, [n, 3]> c = add(x = b, y = fp32(1))[name = string("c")];
            tensor<fp32, [n, 3]> d = mul(x = c, y = x)[name = string("d")];
            tensor<fp32, [n, 3]> y = mul(x = d, y = fp32(0.5))[name = string("y")];
        } -> (y);
    """)
    place = only(program, "erf").location
    root = program.main.outputs[0].producer
    assert changed(program, FuseGelu()) == ["fuse_gelu"]
    assert shown(program) == expected("""
        func main<ios15>(tensor<fp32, [n, 3]> x) {
                string y_mode = const()[val = string("EXACT")];
                tensor<fp32, [n, 3]> y = gelu(mode = y_mode, x = x);
            } -> (y);
    """)
    gelu = only(program, "gelu")
    assert gelu.name == "y"
    assert gelu.location == root.location != place


@pytest.mark.parametrize(
    "make",
    [
        lambda x: mb.mul(x=mb.mul(x=x, y=0.5), y=mb.add(x=erf_of(x, 0.7), y=1.0)),
        lambda x: mb.mul(x=mb.mul(x=x, y=0.5), y=mb.add(x=erf_of(mb.exp(x=x)), y=1.0)),
        lambda x: mb.mul(x=mb.mul(x=x, y=0.25), y=mb.add(x=erf_of(x), y=1.0)),
        lambda x: mb.mul(x=mb.mul(x=x, y=0.5), y=mb.sub(x=erf_of(x), y=1.0)),
        lambda x: mb.mul(x=mb.mul(x=x, y=0.5), y=mb.add(x=mb.tanh(x=mb.mul(x=cubic(x, 0.0447), y=ROOT)), y=1.0)),
        lambda x: mb.mul(x=x, y=mb.sigmoid(x=mb.mul(x=x, y=1.7))),
        lambda x: mb.mul(x=x, y=mb.sigmoid(x=mb.mul(x=x, y=np.full((1, 1, 1), 1.702, np.float32)))),
    ],
)
def test_another_formula_stays(make):
    """Wrong numbers, another variable inside, a constant that adds an axis."""
    assert changed(build(make, (2, 6)), FuseGelu()) == []


def test_a_cast_inside_the_formula_is_a_rounding_point():
    """The source rounds the error function to float16: no op does that inside."""

    def make(x):
        rounded = mb.cast(x=mb.cast(x=erf_of(x), dtype="fp16"), dtype="fp32")
        return mb.mul(x=mb.mul(x=x, y=0.5), y=mb.add(x=rounded, y=1.0))

    assert changed(build(make, (2, 6)), FuseGelu()) == []


def test_a_formula_in_float16_has_float16_numbers():
    def make(x):
        half = np.float16
        inner = mb.erf(x=mb.mul(x=x, y=half(1 / math.sqrt(2))))
        return mb.mul(x=mb.mul(x=x, y=half(0.5)), y=mb.add(x=inner, y=half(1)))

    after = transformed(build(make, (2, 6), dtype=fp16), FuseGelu())
    assert ops(after) == ["gelu"]
    assert after.main.outputs[0].dtype == fp16


def test_silu():
    after = transformed(build(lambda x: mb.mul(x=mb.sigmoid(x=x), y=x), (N,)), FuseSilu(), sizes={"n": 9})
    assert ops(after) == ["silu"]


def test_silu_stays_where_the_gate_is_used_elsewhere():
    def make(x):
        gate = mb.sigmoid(x=x)
        return mb.mul(x=x, y=gate), mb.exp(x=gate)

    assert changed(build(make, (3,)), FuseSilu()) == []
    assert changed(build(lambda x, y: mb.mul(x=x, y=mb.sigmoid(x=y)), (3,), (3,)), FuseSilu()) == []


@pytest.mark.parametrize(
    ("make", "left"),
    [
        (lambda x: mb.mul(x=x, y=mb.real_div(x=mb.relu6(x=mb.add(x=x, y=3.0)), y=6.0)), ["sigmoid_hard", "mul"]),
        (
            lambda x: mb.real_div(x=mb.mul(x=mb.clip(x=mb.add(x=x, y=3.0), alpha=0.0, beta=6.0), y=x), y=6.0),
            ["sigmoid_hard", "mul"],
        ),
        (lambda x: mb.mul(x=mb.relu6(x=mb.add(x=3.0, y=x)), y=1 / 6), ["sigmoid_hard"]),
    ],
)
def test_hard_swish_and_hard_sigmoid(make, left):
    after = transformed(build(make, (N, 40)), FuseHardSigmoid(), sizes={"n": 3})
    assert ops(after) == left


def test_hard_sigmoid_with_another_clip_stays():
    def make(x):
        return mb.real_div(x=mb.clip(x=mb.add(x=x, y=3.0), alpha=0.0, beta=5.0), y=6.0)

    assert changed(build(make, (3,)), FuseHardSigmoid()) == []


def spelled_softmax(x, axes=(1,), largest=True, sum_axes=None):
    shifted = mb.sub(x=x, y=mb.reduce_max(x=x, axes=axes, keep_dims=True)) if largest else x
    e = mb.exp(x=shifted)
    return mb.real_div(x=e, y=mb.reduce_sum(x=e, axes=sum_axes or axes, keep_dims=True))


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("axes", [(1,), (-2,), (-1,)])
def test_softmax(largest, axes):
    program = build(lambda x: spelled_softmax(x, axes, largest), (N, 4, 3))
    after = transformed(program, FuseSoftmax(), sizes={"n": 2})
    assert ops(after) == ["softmax"]
    assert only(after, "softmax").axis == axes[0] % 3


def test_softmax_over_several_axes_stays():
    assert changed(build(lambda x: spelled_softmax(x, (1, 2)), (2, 4, 3)), FuseSoftmax()) == []


def test_what_is_subtracted_along_another_axis_stays_subtracted():
    """Whatever is subtracted before, the rest is the softmax of the difference."""
    after = transformed(build(lambda x: spelled_softmax(x, (1,), sum_axes=(2,)), (2, 4, 3)), FuseSoftmax())
    assert ops(after) == ["reduce_max", "sub", "softmax"]


def test_what_was_declined_is_told():
    step = FuseSoftmax()
    changed(build(lambda x: spelled_softmax(x, (1, 2)), (2, 4, 3)), step)
    assert {miss.reason for miss in step.declined} == {"softmax goes along one axis"}
    assert step.declined[0].op.op_name == "real_div"


def test_why_a_formula_does_not_stand():
    program = build(lambda x: mb.mul(x=x, y=mb.sigmoid(x=mb.mul(x=x, y=1.7)), name="y"), (3,), dtype=fp32)
    reasons = [str(miss) for miss in FuseGelu().explain(program.main.outputs[0].producer)]
    assert any("1.7" in reason for reason in reasons)
