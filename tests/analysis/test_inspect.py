"""Inspection: figures against NumPy's own float16, places where numbers are lost, and who is to blame."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import gristmill as ct
from gristmill.analysis.inspect import inspect
from gristmill.analysis.lockstep import Lockstep
from gristmill.analysis.metrics import figures
from gristmill.analysis.wide import Float32
from gristmill.errors import InputError, UnsupportedError
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import StateType, TensorType, fp16, fp32, int32
from gristmill.passes.dead_code import DeadCode
from gristmill.passes.infra import run_passes
from gristmill.precision.typing import Float16Typing
from tests.models import small

H = np.float16


def program(build, *, shape=(2, 8), dtype=fp32, half=True, opset=Opset.iOS18) -> Program:
    """A program of one input ``x``, typed in float16 unless told otherwise."""
    made = Program()
    with mb.function(made, "main", {"x": TensorType(dtype, shape)}, opset) as (x,):
        mb.output(build(x))
    if half:
        run_passes(made, [Float16Typing(), DeadCode()])
    return made


def numbers(shape=(2, 8), seed=0, scale=1.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


@pytest.mark.parametrize("shadow", ["float32", "float64"])
def test_figures_are_those_of_float16_arithmetic(shadow):
    """Local and gathered errors are what NumPy computes by rounding after each op."""
    made = program(lambda x: mb.mul(x=mb.add(x=x, y=0.1, name="a"), y=x, name="b"))
    x = numbers()
    found = inspect(made, {"x": x}, shadow)
    h = x.astype(H)
    a = (h.astype(np.float64) + np.float64(H(0.1))).astype(H)
    b = (a.astype(np.float64) * h).astype(H)
    exact = x.astype(np.float64)
    wanted = {
        "a_fp16": (a, h + np.float64(np.float32(0.1)), exact + np.float64(np.float32(0.1))),
        "b_fp16": (b, a.astype(np.float64) * h, (exact + np.float64(np.float32(0.1))) * exact),
    }
    for name, (typed, alone, shadowed) in wanted.items():
        row = found.row(name)
        for mine, theirs in ((row.local, figures(typed, alone)), (row.accumulated, figures(typed, shadowed))):
            # The float32 shadow is 100 dB below float16's rounding in power: 2⁻²⁴ beside 2⁻¹¹, twice 13 bits.
            assert mine.snr_db == pytest.approx(theirs.snr_db, abs=0.01)
            assert mine.max_abs == pytest.approx(theirs.max_abs, rel=1e-3)
            assert mine.cosine == pytest.approx(theirs.cosine, abs=1e-9)
        assert row.high == pytest.approx(shadowed.max(), rel=1e-6)


def test_figures_by_their_formulas():
    """SNR, PSNR and cosine of two vectors, by hand."""
    found = figures(np.array([1.0, 2.0, 2.0]), np.array([1.0, 2.0, 3.0]))
    assert found.snr_db == pytest.approx(10 * math.log10(14 / 1))
    assert found.psnr_db == pytest.approx(10 * math.log10(9 / (1 / 3)))
    assert found.cosine == pytest.approx(11 / math.sqrt(9 * 14))
    assert found.max_abs == 1


def test_equal_infinities_do_not_differ():
    assert figures(np.array([np.inf, np.nan, 1]), np.array([np.inf, np.nan, 1])).snr_db == math.inf
    assert figures(np.array([np.inf, 1]), np.array([1e5, 1])).snr_db == -math.inf


def test_overflow_is_named_with_its_operand():
    """x·x of 3e3 is beyond float16: the product is the first overflow, its operand reaches 3e3, all its share of it."""
    made = program(lambda x: mb.rsqrt(x=mb.reduce_mean(x=mb.mul(x=x, y=x, name="sq"), axes=(-1,)), name="r"))
    x = np.full((2, 8), 3e3, np.float32)
    found = inspect(made, {"x": x})
    assert found.first_overflow.op == "mul 'sq_fp16'"
    assert "3e+03" in found.first_overflow.why
    assert found.culprit == found.first_overflow
    assert found.row("sq_fp16").overflow == 1
    assert found.row("sq_fp16").share == 1
    assert found.first_nan is None


def test_small_divisor_is_to_blame():
    """A quotient overflows because of its divisor, not of the larger dividend."""
    made = program(lambda x: mb.real_div(x=mb.add(x=x, y=500.0), y=x, name="q"))
    found = inspect(made, {"x": np.full((2, 8), 1e-4, np.float32)})
    assert (found.first_overflow.op, found.first_overflow.operand) == ("real_div 'q_fp16'", "y")


def test_whole_rows_of_infinity_make_nan():
    """A row that a mask excludes whole is NaN in float16: the cast loses the numbers, softmax shows it."""
    made = program(lambda x: mb.softmax(x=mb.mul(x=x, y=np.float32(-1e9), name="m"), axis=-1, name="s"))
    found = inspect(made, {"x": np.ones((2, 8), np.float32)})
    assert found.first_overflow.op.startswith("cast")
    assert "1e+09" in found.first_overflow.why
    assert found.first_nan.op == "softmax 's_fp16'"
    assert "-inf along whole rows" in found.first_nan.why
    assert found.culprit == found.first_overflow
    assert found.row("s_fp16").nan == 1


def test_harmless_infinity_is_not_the_culprit():
    """A mask of -∞ beside scores loses nothing: what remains is rounding."""

    def build(x):
        return mb.softmax(x=mb.add(x=x, y=mb.mul(x=mb.cast(x=mb.greater(x=x, y=0.5), dtype="fp32"), y=-1e9)), axis=-1)

    found = inspect(program(build), {"x": numbers()})
    assert found.first_overflow is not None
    assert found.first_nan is None
    assert found.culprit.op != found.first_overflow.op


def test_vanished_divisor_makes_nan():
    """0/0 where the divisor was 1e-9: it is to blame."""
    made = program(lambda x: mb.real_div(x=x, y=mb.mul(x=x, y=0.01), name="q"))
    found = inspect(made, {"x": np.full((2, 8), 1e-6, np.float32)})
    assert (found.first_nan or found.first_overflow).operand == "y"
    assert found.row("q_fp16").accumulated.snr_db == -math.inf


def test_shares_follow_cancellation():
    """E[x²] - E[x]² of numbers around 100: the terms' rounding is to blame, not the difference that shows it."""

    def build(x):
        mean = mb.reduce_mean(x=x, axes=(-1,), name="mean")
        squares = mb.reduce_mean(x=mb.mul(x=x, y=x, name="sq"), axes=(-1,), name="mean_sq")
        return mb.sub(x=squares, y=mb.mul(x=mean, y=mean, name="sq_mean"), name="var")

    found = inspect(program(build), {"x": 100 + numbers()})
    assert found.row("var_fp16").share < 0.01
    assert sum(row.share for row in found.rows) == pytest.approx(1)
    assert found.culprit.op != "sub 'var_fp16'"


def test_rounded_constants_count():
    """A float16 weight's error is the op's own, and not that of rounding its result."""
    made = program(lambda x: mb.linear(x=x, weight=np.full((1, 8), 1 + 2**-12, np.float32), name="l"))
    found = inspect(made, {"x": np.ones((2, 8), np.float32)})
    row = found.row("l_fp16")
    assert row.local.max_abs == pytest.approx(8 * 2**-12, rel=1e-5)
    assert "constants" in found.culprit.why


def test_healing_shows_what_fails_next():
    """After the first loss all is NaN; healed, the second loss shows too."""

    def build(x):
        a = mb.mul(x=x, y=x, name="first")
        return mb.mul(x=mb.sub(x=a, y=a, name="zero"), y=mb.mul(x=x, y=300.0, name="second"))

    x = np.full((2, 8), 1e3, np.float32)
    assert not np.isfinite(inspect(program(build), {"x": x}).row("zero_fp16").accumulated.snr_db)
    found = inspect(program(build), {"x": x}, heal=True)
    lost = [ledger.op.name for ledger in found.ledgers.values() if ledger.loses]
    assert lost == ["first_fp16", "second_fp16"]
    assert found.row("zero_fp16").nan == 0


def test_float32_program_has_no_error():
    made = program(lambda x: mb.softmax(x=mb.mul(x=x, y=3.0), axis=-1), half=False)
    found = inspect(made, {"x": numbers()})
    assert all(row.accumulated.snr_db == math.inf for row in found.rows)
    assert found.culprit is None


def test_loops_states_and_integers_run():
    """A loop's ops gather over its rounds; a state is read and written in both runs; integers are exact."""
    made = Program()
    inputs = {"x": TensorType(fp16, (2,)), "n": TensorType(int32, (1,)), "s": StateType(TensorType(fp16, (2,)))}
    with mb.function(made, "main", inputs, Opset.iOS18) as (x, n, s):
        with mb.nested({"i": n.type, "v": x.type}) as condition:
            mb.output(mb.less(x=condition.arguments[0], y=n))
        with mb.nested({"j": n.type, "w": x.type}) as body:
            i, v = body.arguments
            mb.output(mb.add(x=i, y=np.int32([1])), mb.mul(x=v, y=H(1.1), name="grow"))
        _, v = mb.op("while_loop", loop_vars=[mb.const(np.int32([0])), x], blocks=[condition, body])
        kept = mb.add(x=mb.read_state(input=s), y=v)
        mb.output(mb.coreml_update_state(state=s, value=kept, name="y"))
    found = inspect(made, {"x": H([1, 2]), "n": np.int32([5])})
    row = found.row("grow")
    assert row.count == 10
    value = H([1, 2])
    for _ in range(5):
        value = (value.astype(np.float64) * np.float64(H(1.1))).astype(H)
    exact = np.array([1, 2]) * np.float64(H(1.1)) ** 5
    # The shadow's five float32 products may be off by their last place.
    assert found.outputs["y"].max_abs == pytest.approx(np.abs(value - exact).max(), abs=5 * 2**-23 * 4)


def decoding(rounds: int) -> Program:
    """A loop as of a decoder: a layer each round, which from the third round on loses digits in a branch."""
    made = Program()
    weight = numbers((8, 8), seed=1, scale=0.4)
    with mb.function(made, "main", {"x": TensorType(fp32, (2, 8))}, Opset.iOS18) as (x,):
        first = mb.const(np.int32([0]))
        with mb.nested({"i": first.type, "v": x.type}) as condition:
            mb.output(mb.less(x=condition.arguments[0], y=np.int32([rounds])))
        with mb.nested({"j": first.type, "w": x.type}) as body:
            i, v = body.arguments
            h = mb.tanh(x=mb.linear(x=v, weight=weight, name="linear"), name="tanh")
            with mb.nested({}) as early:
                mb.output(mb.mul(x=h, y=0.9, name="scaled"))
            with mb.nested({}) as late:
                mb.output(mb.sub(x=mb.add(x=h, y=64.0, name="up"), y=64.0, name="down"))
            h = mb.op("cond", pred=mb.squeeze(x=mb.less(x=i, y=np.int32([2]))), blocks=[early, late])
            mb.output(mb.add(x=i, y=np.int32([1])), mb.add(x=v, y=h, name="residual"))
        _, v = mb.op("while_loop", loop_vars=[first, x], blocks=[condition, body])
        mb.output(mb.mul(x=v, y=0.5, name="y"))
    return made


def test_ops_in_loops_and_branches_have_their_share():
    """The error flows back through rounds and the branch that ran; the culprit is the op in it that loses digits."""
    made = decoding(rounds=5)
    run_passes(made, [Float16Typing(), DeadCode()])
    found = inspect(made, {"x": numbers()})
    assert found.culprit.op == "add 'up_fp16'"
    assert sum(row.share for row in found.rows) == pytest.approx(1)
    assert found.ledgers[next(op for op in found.ledgers if op.name == "up_fp16")].runs == 3
    assert found.ledgers[next(op for op in found.ledgers if op.name == "scaled_fp16")].runs == 2
    assert found.row("up_fp16").share > 0.9


def test_rounds_of_a_loop_take_no_memory():
    """As many values are alive in the fortieth round as in the fourth."""

    def most_alive(rounds):
        made, alive = decoding(rounds), []
        run_passes(made, [Float16Typing(), DeadCode()])
        run = Lockstep(made.main, Float32(), lambda step: alive.append(len(run._alive)))
        run.run({"x": numbers()})
        return max(alive)

    assert most_alive(4) == most_alive(40)


def test_cost_is_linear_and_memory_streams(monkeypatch):
    """Evaluations grow with the number of ops, and only a few values are alive at any time."""
    counted = []

    class Counting(Float32):
        def __call__(self, op, operands):
            counted.append(op)
            return super().__call__(op, operands)

    def chain(length):
        def build(x):
            for _ in range(length):
                x = mb.tanh(x=x)
            return x

        made = program(build)
        counted.clear()
        alive = []
        run = Lockstep(made.main, Counting(), lambda step: alive.append(len(run._alive)))
        run.run({"x": numbers()})
        return len(counted), max(alive)

    (few, held), (many, still) = chain(10), chain(40)
    assert many - few == 3 * 30  # on the run's operands, on the shadow's, and on the shadow's when they are rounded
    assert still == held <= 3


def test_several_samples_count_together():
    made = program(lambda x: mb.mul(x=x, y=300.0, name="m"))
    found = inspect(made, [{"x": np.full((2, 8), v, np.float32)} for v in (1, 1000)])
    assert found.row("m_fp16").overflow == 0.5
    assert (found.row("m_fp16").low, found.row("m_fp16").high) == (300, 3e5)


def test_models_take_what_predict_takes(tmp_path):
    """A loaded model, with lists for arrays; the source's line is in the message."""
    path = small.model({"x": TensorType(fp16, (1, 2))}, lambda x: mb.mul(x=x, y=x, name="y"))
    path.save(tmp_path / "m.mlpackage")
    found = ct.precision.inspect(ct.models.MLModel(tmp_path / "m.mlpackage"), {"x": [[300, 1]]})
    assert found.first_overflow.op == "mul 'y'"
    assert "y" in str(found)
    assert json.loads(json.dumps(found.as_dict()))["first_overflow"]["op"] == "mul 'y'"
    with pytest.raises(InputError, match="no input 'z'"):
        ct.precision.inspect(ct.models.MLModel(tmp_path / "m.mlpackage"), {"z": [[300, 1]]})


def test_source_line_of_a_converted_module():
    torch = pytest.importorskip("torch")

    class Squares(torch.nn.Module):
        def forward(self, x):
            return x * x

    exported = torch.export.export(Squares(), (torch.full((2, 3), 300.0),))
    found = ct.precision.inspect(ct.convert(exported, verify=False), {"x": np.full((2, 3), 300, np.float32)})
    assert found.first_overflow.location.file.endswith("test_inspect.py")


def test_wrong_arguments():
    made = program(lambda x: mb.relu(x=x))
    with pytest.raises(InputError, match="float32 or float64"):
        inspect(made, {"x": numbers()}, "bfloat16")
    with pytest.raises(InputError, match="'x' is missing"):
        inspect(made, {})
    with pytest.raises(InputError, match="no samples"):
        inspect(made, [])
    with pytest.raises(InputError, match="another rank"):
        inspect(made, {"x": numbers((2, 2, 2))})
    with pytest.raises((InputError, UnsupportedError)):
        ct.precision.inspect("model", {})
