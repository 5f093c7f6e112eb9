"""Rewrites for float16: the same values in exact arithmetic, and finite ones where float16 had none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gristmill.devices.gpu import SimulatedGpuDevice
from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import InputError
from gristmill.ir.builder import mb
from gristmill.ir.clone import clone_program
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp16, fp32, int32
from gristmill.ir.verify import verify
from gristmill.passes.infra import run_passes
from gristmill.passes.stabilizers import STABILIZERS, rewriting
from gristmill.precision.typing import Float16Typing
from gristmill.runtime.session import Session

RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal((2, 4, 64)).astype(np.float32)
V = RNG.standard_normal((2, 64, 8)).astype(np.float32)


def mean(x, keep=True):
    return mb.reduce_mean(x=x, axes=(-1,), keep_dims=keep)


def total(x, keep=True):
    return mb.reduce_sum(x=x, axes=(-1,), keep_dims=keep)


def weighted(x):
    return mb.real_div(x=total(mb.mul(x=x, y=2.0)), y=total(mb.square(x=mb.tanh(x=x))))


def reciprocal(x):
    return mb.mul(x=x, y=mb.real_div(x=1.0, y=mb.mul(x=mb.sigmoid(x=x), y=1e-5)))


def rms(x, **guard):
    return mb.mul(x=mb.rsqrt(x=mean(mb.pow(x=x, y=2.0)), **guard), y=x)


def one_pass(x):
    m = mean(x)
    return mb.sub(x=mean(mb.mul(x=x, y=x)), y=mb.mul(x=m, y=m))


def masked(x, sentinel=-1e9):
    """Scores whose last half is excluded by a constant; each row keeps some."""
    mask = np.where(np.arange(64) < 32, 0, sentinel).astype(np.float32)
    return mb.softmax(x=mb.add(x=x, y=mask), axis=-1)


def shared_mask(x):
    """A mask that is computed, moved, and added twice."""
    mask = mb.mul(x=mb.cast(x=mb.greater(x=x, y=0.0), dtype="fp32"), y=np.float32(-1e9))
    mask = mb.reshape(x=mb.reshape(x=mask, shape=(8, 64)), shape=(2, 4, 64))
    return mb.softmax(x=mb.add(x=mb.softmax(x=mb.add(x=x, y=mask), axis=-1), y=mask), axis=-1)


def attention(x):
    e = mb.exp(x=x)
    return mb.real_div(x=mb.matmul(x=e, y=V), y=total(e))


def guarded(x):
    e = mb.exp(x=x)
    return mb.real_div(x=e, y=mb.add(x=total(e), y=0.5))


# Name of the rewrite, the formula, its argument.
CASES = {
    "rms": (
        "scaled_rms_norm",
        lambda x: mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mean(mb.square(x=x)), y=1e-6))),
        NORMAL * 3e3,
    ),
    "rms of pow": ("scaled_rms_norm", lambda x: rms(x, epsilon=1e-6), NORMAL * 3e3),
    "rms by root": ("scaled_rms_norm", lambda x: mb.real_div(x=x, y=mb.sqrt(x=mean(mb.mul(x=x, y=x)))), NORMAL * 3e3),
    "rms of small": ("scaled_rms_norm", lambda x: rms(x, epsilon=1e-10), NORMAL * 1e-4),
    "variance": ("two_pass_variance", one_pass, NORMAL * 0.25 + 8),
    "weights after": ("stable_exponentials", attention, NORMAL * 6),
    "guarded softmax": ("stable_exponentials", guarded, NORMAL + 12),
    "log of sum": ("stable_exponentials", lambda x: mb.log(x=total(mb.exp(x=x), keep=False)), NORMAL + 12),
    "softplus": ("stable_exponentials", lambda x: mb.log(x=mb.add(x=1.0, y=mb.exp(x=x))), NORMAL + 12),
    "sum over count": ("mean_of_sums", lambda x: mb.real_div(x=total(x, keep=False), y=64.0), NORMAL + 4e3),
    "sum by factor": ("mean_of_sums", lambda x: mb.mul(x=0.005, y=total(x)), NORMAL + 4e3),
    "weighted mean": ("mean_of_sums", weighted, NORMAL + 4e3),
    "reciprocal": ("divide_at_once", reciprocal, NORMAL * 1e-2),
    "scaled scores": (
        "scale_first",
        lambda x: mb.mul(x=mb.matmul(x=x, y=x, transpose_y=True), y=1 / 400),
        NORMAL * 100,
    ),
    "divided scores": (
        "scale_first",
        lambda x: mb.real_div(x=mb.matmul(x=x, y=x, transpose_y=True), y=400.0),
        NORMAL * 100,
    ),
    "guard of a quotient": ("raise_epsilon", lambda x: mb.real_div(x=x, y=mb.add(x=mb.abs(x=x), y=1e-12)), NORMAL * 0),
    "greatest of a guard": (
        "raise_epsilon",
        lambda x: mb.real_div(x=x, y=mb.maximum(x=1e-12, y=mb.abs(x=x))),
        NORMAL * 0,
    ),
    "guard of a root": (
        "raise_epsilon",
        lambda x: mb.mul(x=x, y=mb.rsqrt(x=mb.square(x=x), epsilon=1e-12)),
        NORMAL * 0,
    ),
    "little guard": ("raise_epsilon_little", lambda x: mb.real_div(x=x, y=mb.add(x=mb.abs(x=x), y=1e-12)), NORMAL * 0),
    "mask": ("clamp_masks", masked, NORMAL),
    "shared mask": ("clamp_masks", shared_mask, NORMAL),
    "chosen sentinel": (
        "clamp_masks",
        lambda x: mb.softmax(x=mb.select(cond=mb.less(x=x, y=1.0), a=x, b=np.float32(-3e38)), axis=-1),
        NORMAL,
    ),
}


def program(build, x) -> Program:
    made = Program()
    with mb.function(made, "main", {"x": TensorType(fp32, x.shape)}, Opset.iOS17) as (argument,):
        mb.output(build(argument))
    return made


def run(made: Program, x) -> np.ndarray:
    (found,) = Session(made.main, ReferenceDevice()).run({"x": x}).values()
    return found


def half(made: Program, x) -> np.ndarray:
    copied = clone_program(made)
    run_passes(copied, [Float16Typing()], verify=verify)
    return run(copied, x)


@pytest.mark.parametrize("case", CASES)
def test_same_values_and_finite_in_float16(case):
    """In float32 nothing changes but roundings; typed in float16, it is right within some roundings of float16."""
    name, build, x = CASES[case]
    made = program(build, x)
    exact = run(made, x).astype(np.float64)
    rewritten = clone_program(made)
    (step,) = rewriting({name: None})
    assert step.run(rewritten)
    verify(rewritten)
    scale = np.abs(exact).max(initial=0) or 1
    # A one-pass variance in float32 is itself off by the square of mean over deviation, here 1024, times 2⁻²⁴.
    np.testing.assert_allclose(run(rewritten, x), exact, rtol=0, atol=(1e-4 if "variance" in case else 4e-6) * scale)
    again = clone_program(rewritten)
    assert not rewriting({name: None})[0].run(again) or name == "scale_first"
    typed = half(rewritten, x)
    assert np.isfinite(typed).all()
    # Inputs and scores beyond 8 are rounded to 2⁻⁸ or worse, and exponentials show that as it is.
    np.testing.assert_allclose(typed, exact, rtol=0, atol=0.05 * scale)


NEEDED = (
    *("rms", "rms by root", "variance", "weights after", "log of sum", "softplus", "sum over count", "weighted mean"),
    *("reciprocal", "scaled scores", "guard of a quotient", "greatest of a guard"),
)


@pytest.mark.parametrize("case", NEEDED)
def test_float16_fails_without(case):
    """The formulas as they stand give infinities, NaN, or errors beyond a tenth."""
    _, build, x = CASES[case]
    made = program(build, x)
    exact, typed = run(made, x).astype(np.float64), half(made, x).astype(np.float64)
    with np.errstate(invalid="ignore"):
        off = np.abs(typed - exact).max() / (np.abs(exact).max() or 1)
    assert not off < 0.1


def test_a_whole_row_that_is_masked_is_a_mean_again():
    """Infinite sentinels make NaN of such a row in float16; clamped ones leave the mean that float32 has."""
    made = program(lambda x: mb.softmax(x=mb.add(x=x, y=np.full(64, -1e9, np.float32)), axis=-1), NORMAL)
    exact = run(made, NORMAL)
    typed = clone_program(made)
    run_passes(typed, [Float16Typing()], verify=verify)
    assert np.isnan(run(typed, NORMAL)).all()
    run_passes(made, rewriting({"clamp_masks": None}), verify=verify)
    np.testing.assert_allclose(half(made, NORMAL), exact, atol=2**-15)  # half a last place of 1/64 in float16


def test_sentinels_that_something_else_uses_stay():
    """What is an output too is no mask, and a number that is multiplied by scores is none."""

    def build(x):
        mask = mb.mul(x=x, y=np.float32(-1e9))
        mb.softmax(x=mb.add(x=x, y=mask), axis=-1)
        return mask

    assert not rewriting({"clamp_masks": None})[0].run(program(build, NORMAL))


def test_variance_needs_the_mean_of_the_same():
    """A square that is no mean's, or a mean along another axis, is not a variance."""
    other = program(lambda x: mb.sub(x=mean(mb.square(x=x)), y=mb.square(x=mean(mb.tanh(x=x)))), NORMAL)
    assert not rewriting({"two_pass_variance": None})[0].run(other)


def test_only_the_named_places_change():
    def build(x):
        a = mb.real_div(x=total(x, keep=False), y=64.0, name="first")
        return mb.add(x=a, y=mb.real_div(x=total(x, keep=False), y=32.0, name="second"))

    made = program(build, NORMAL)
    (step,) = rewriting({"mean_of_sums": ["second"]})
    assert step.run(made)
    assert step.touched == ["second"]
    assert [op.op_name for op in made.main.body if op.name == "first"] == ["real_div"]


@pytest.mark.parametrize(
    ("shape", "axes", "keep", "stages"),
    [((2, 4096), (-1,), False, 2), ((2, 30, 40, 3), (1, 2), True, 2), ((4096, 2, 2), (0, 2), False, 3)],
)
@pytest.mark.parametrize("kind", ["reduce_sum", "reduce_mean"])
def test_long_sums_are_made_of_partial_ones(kind, shape, axes, keep, stages):
    """No stage has more than 64 terms, shapes stay, and a unit that sums in float16 gets them right."""
    made = Program()
    with mb.function(made, "main", {"x": TensorType(fp16, shape)}, Opset.iOS17) as (x,):
        mb.output(mb.op(kind, x=x, axes=axes, keep_dims=keep, name="y"))
    split = clone_program(made)
    run_passes(split, rewriting({"split_sums": None}), verify=verify)
    ops = [op for op in split.main.body if op.op_name == kind]
    assert len(ops) == stages
    assert split.main.outputs[0].shape == made.main.outputs[0].shape
    data = {"x": np.full(shape, 1.5, np.float16)}
    results = [Session(each.main, SimulatedGpuDevice("gpu_float16")).run(data) for each in (made, split)]
    whole, parts = (next(iter(found.values())).astype(np.float64) for found in results)
    wanted = 1.5 if kind == "reduce_mean" else 1.5 * np.prod([shape[axis] for axis in axes])
    # Partial sums of up to 64 halves are exact; larger ones are rounded to eleven bits once for each stage's term.
    np.testing.assert_allclose(parts, wanted, rtol=2**-6)
    assert np.abs(whole - wanted).max() > np.abs(parts - wanted).max()


def test_short_and_exact_sums_stay():
    made = Program()
    inputs = {"x": TensorType(fp32, (2, 512)), "n": TensorType(int32, (4096,)), "p": TensorType(fp32, (1031,))}
    with mb.function(made, "main", inputs, Opset.iOS17) as (x, n, p):
        mb.output(*(mb.reduce_sum(x=v, axes=(-1,), keep_dims=False) for v in (x, n, p)))
    before = str(made)
    run_passes(made, rewriting({"split_sums": None}), verify=verify)
    assert str(made) == before


def test_unknown_rewrites_are_named():
    with pytest.raises(InputError, match="no rewrite 'faster'") as error:
        rewriting({"faster": None})
    assert all(name in str(error.value) for name in STABILIZERS)


def test_guards_stay_positive():
    """A negative term, or one that float16 holds, is no guard to raise."""
    for value in (-1e-12, 1e-3):
        made = program(lambda x, value=value: mb.add(x=x, y=value), NORMAL)
        assert not rewriting({"raise_epsilon": None})[0].run(made)
    assert math.isclose(STABILIZERS["raise_epsilon"].least, float(np.finfo(np.float16).smallest_normal))
