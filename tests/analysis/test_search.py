"""The search: what it finds, how few runs it takes, and that what it hands out does what it says."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import gristmill as ct
from gristmill.analysis.cost import CostModel
from gristmill.analysis.metrics import METRICS, Metric
from gristmill.analysis.search import search
from gristmill.devices.gpu import SimulatedGpuDevice
from gristmill.errors import FormatError, InputError
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import StateType, TensorType, fp16, fp32
from tests.analysis.test_inspect import decoding

RNG = np.random.default_rng(0)
X = {"x": RNG.standard_normal((4, 16)).astype(np.float32)}


def program(build, shape=(4, 16), dtype=fp32) -> Program:
    made = Program()
    with mb.function(made, "main", {"x": TensorType(dtype, shape)}, Opset.iOS17) as (x,):
        mb.output(build(x))
    return made


def weight(seed: int, size: int = 16) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((size, size)) * 0.8 / math.sqrt(size)).astype(np.float32)


def cancelling(x, name: str):
    """``x`` with noise: 64 is added and taken away."""
    return mb.sub(x=mb.add(x=x, y=64.0, name=f"{name}_up"), y=64.0, name=f"{name}_down")


def chain(length: int, bad: tuple[int, ...]) -> Program:
    """Layers of five ops, some of which lose digits by cancellation; later layers forget what earlier ones did."""

    def build(x):
        for k in range(length):
            h = mb.linear(x=x, weight=weight(k), bias=2 * weight(-k % 1000)[0], name=f"linear_{k}")
            h = mb.tanh(x=h, name=f"tanh_{k}")
            h = cancelling(h, f"bad_{k}") if k in bad else mb.mul(x=h, y=0.5, name=f"half_{k}")
            x = mb.add(x=mb.mul(x=x, y=0.7, name=f"kept_{k}"), y=h, name=f"sum_{k}")
        return x

    return program(build)


def test_nothing_to_mend():
    """Float16 is good enough: one run, nothing kept."""
    found = search(chain(3, ()), [X], budget=40.0)
    assert (found.runs, found.met, found.best.kept) == (1, True, frozenset())
    assert found.best is found.before
    assert found.map(next(iter(chain(1, ()).main.body)))


@pytest.mark.slow
def test_a_thousand_ops_take_twelve_runs():
    """Three layers of 250 lose digits; these ops, and hardly others, are found in at most 12 full evaluations."""
    made = chain(250, (100, 246, 249))
    assert sum(op.op_name != "const" for op in made.main.body) >= 1000
    found = search(made, [X], budget=45.0)
    assert found.before.value < 40
    assert found.met
    assert found.runs <= 12
    assert {"bad_246_up", "bad_249_up", "bad_249_down"} <= found.best.kept
    assert found.best.cost.share <= 0.03


def test_what_no_rewrite_mends_goes_back_to_float32():
    """The logarithm of a vanishing sum needs its 1e-12: raising it would change the result, so it is float32."""

    def build(x):
        return mb.log(x=mb.add(x=mb.relu(x=mb.mul(x=x, y=1e-6)), y=1e-9, name="guarded"), name="log")

    found = search(program(build), [X], budget=40.0)
    assert found.met
    assert {"guarded", "log"} <= found.best.kept
    assert found.verified["raise_epsilon"].startswith("dropped")


def test_impossible_budgets_say_so():
    """No float16 op has no error at all: then everything is float32."""
    found = search(chain(3, ()), [X], budget=math.inf)
    assert found.met
    assert found.best.cost.share == 1
    never = search(chain(3, ()), [X], metric=lambda mine, theirs: 1.0, budget=0.5, max_evaluations=4)
    assert not never.met
    assert never.runs <= 4


def test_front_is_not_dominated():
    """From the cheapest to the most accurate, each better in one and worse in the other; printed with the outcome."""
    found = search(chain(20, (5, 15)), [X], budget=50.0)
    costs = [item.cost.total for item in found.front]
    values = [item.value for item in found.front]
    assert costs == sorted(costs)
    assert values == sorted(values)
    assert len(found.front) >= 3
    assert "met, after" in str(found)
    assert found.best in found.front


def test_sums_are_split_for_a_device_that_holds_them_in_float16():
    """Of 4096 ones such a device sums 2048; the CPU sums all of them, and nothing is split for it."""
    made = program(lambda x: mb.mul(x=mb.reduce_mean(x=x, axes=(-1,), keep_dims=True), y=3.0), shape=(2, 4096))
    ones = {"x": np.ones((2, 4096), np.float32)}
    found = search(made, [ones], budget=40.0, device=SimulatedGpuDevice("gpu_float16"))
    assert found.before.value < 10
    assert found.met
    assert found.best.rewrites.keys() == {"split_sums"}
    assert not found.best.kept
    assert search(made, [ones], budget=80.0).best.rewrites == {}


def test_own_metric_and_several_samples():
    """A function of outputs and reference outputs is called for every sample, and the worst one counts."""
    seen = []

    def off(mine, theirs):
        seen.append(set(mine) | set(theirs))
        return float(np.abs(mine["y"] - theirs["y"]).max())

    made = program(lambda x: mb.mul(x=cancelling(x, "bad"), y=1.0, name="y"))
    found = search(made, [X, {"x": 2 * X["x"]}], metric=off, budget=2e-3)
    assert found.met
    assert found.best.value <= 2e-3 < found.before.value
    assert {frozenset(names) for names in seen} == {frozenset({"y"})}
    assert "bad_up" in found.best.kept


def test_metrics_by_hand():
    mine, theirs = {"y": np.float32([[1, 5, 2], [4, 1, 0]])}, {"y": np.float32([[1, 4, 2], [0, 4, 1]])}
    assert METRICS["top1"].over([mine], [theirs]) == 0.5
    assert METRICS["max_relative"].over([mine], [theirs]) == 1.0
    dot, norms = 1 + 20 + 4 + 0 + 4 + 0, math.sqrt(47 * 38)
    assert METRICS["cosine"].over([mine], [theirs]) == pytest.approx(dot / norms)
    assert METRICS["snr"].over([mine], [theirs]) == pytest.approx(10 * math.log10(38 / (1 + 16 + 9 + 1)))
    broken = {"y": np.float32([[np.nan, 0, 0], [0, 1, 0]])}
    assert METRICS["cosine"].over([broken], [theirs]) == -math.inf
    assert METRICS["top1"].over([broken], [theirs]) == 0.5  # an answer with NaN is no answer


def test_progress_and_journal(tmp_path):
    """Every result is written at once; a second search reads them and runs nothing again."""
    made, path = chain(20, (5, 15)), tmp_path / "journal.jsonl"
    told = []
    first = search(made, [X], budget=60.0, journal=path, progress=lambda *what: told.append(what))
    assert [done for _, done, _ in told] == list(range(first.runs))
    lines = path.read_text().splitlines()
    assert len(lines) == 1 + first.runs

    class Untouched:
        """A metric that must not be asked for candidates again."""

        asked = 0

        def __call__(self, mine, theirs):
            self.asked += 1
            return METRICS["snr"].measure(mine, theirs)

    again = Untouched()
    metric = Metric("snr", again, higher_is_better=True, as_noise=METRICS["snr"].as_noise)
    second = search(made, [X], metric=metric, budget=60.0, journal=path)
    assert again.asked == 1  # the float32 program beside itself
    assert second.best.kept == first.best.kept
    assert second.table() == first.table()

    path.write_text("\n".join(lines[:3]) + "\n" + lines[3][:10])  # stopped in the middle of a line
    third = search(made, [X], budget=60.0, journal=path)
    assert third.best.kept == first.best.kept
    with pytest.raises(InputError, match="another search"):
        search(made, [{"x": X["x"] + 1}], budget=60.0, journal=path)
    path.write_text("no journal\n")
    with pytest.raises(FormatError):
        search(made, [X], budget=60.0, journal=path)


def test_map_and_model_do_what_was_measured(tmp_path):
    """The model, and a conversion with the saved map, have the outputs that the search judged."""
    made = chain(10, (5,))
    found = ct.precision.search(made, X, budget=60.0, minimum_deployment_target=ct.target.iOS17)
    assert found.met
    found.map.save(tmp_path / "map.json")
    again = ct.convert(
        made,
        compute_precision=ct.precision.PrecisionMap.load(tmp_path / "map.json"),
        minimum_deployment_target=ct.target.iOS17,
    )
    selected = ct.convert(
        made,
        compute_precision=ct.transform.FP16ComputePrecision(found.op_selector),
        minimum_deployment_target=ct.target.iOS17,
    )
    outputs = [model.predict(X) for model in (found.model, again, selected)]
    for other in outputs[1:]:
        np.testing.assert_array_equal(list(outputs[0].values()), list(other.values()))


def test_float16_models_are_raised_first(tmp_path):
    """A loaded float16 model gets back its digits where they get lost; its inputs and outputs stay as they are."""
    half = program(lambda x: mb.tanh(x=mb.sub(x=mb.add(x=x, y=np.float16(64)), y=np.float16(64), name="d")), dtype=fp16)
    ct.convert(half, minimum_deployment_target=ct.target.iOS17).save(tmp_path / "half.mlpackage")
    model = ct.models.MLModel(tmp_path / "half.mlpackage")
    found = ct.precision.search(model, X, budget=55.0)
    assert found.met
    assert found.before.value < 40
    assert [item.describe() for item in found.model.inputs] == [item.describe() for item in model.inputs]
    found.model.save(tmp_path / "mended.mlpackage")
    (mended,) = ct.models.MLModel(tmp_path / "mended.mlpackage").predict(X).values()
    wanted = np.tanh(X["x"].astype(np.float16).astype(np.float64))
    # The result is float16: half a last place of numbers up to 1.
    np.testing.assert_allclose(mended, wanted, rtol=0, atol=2**-11)


def test_states_start_at_zero_for_every_sample():
    made = Program()
    inputs = {"x": TensorType(fp32, (4,)), "s": StateType(TensorType(fp16, (4,)))}
    with mb.function(made, "main", inputs, Opset.iOS18) as (x, s):
        kept = mb.add(x=mb.cast(x=mb.read_state(input=s), dtype="fp32"), y=cancelling(x, "bad"))
        mb.coreml_update_state(state=s, value=mb.cast(x=kept, dtype="fp16"))
        mb.output(mb.mul(x=kept, y=2.0, name="y"))
    found = search(made, [{"x": X["x"][0, :4]}, {"x": X["x"][1, :4]}], budget=55.0)
    assert found.met
    assert found.best.value >= 55


def test_ops_in_loops_and_branches_are_mended():
    """Of a loop whose branch loses digits, only that branch's ops go back to float32."""
    costs = CostModel(eviction=0)  # which decides alone in so small a model
    found = search(decoding(rounds=5), [{"x": X["x"][:2, :8]}], budget=55.0, costs=costs)
    assert found.before.value < 45
    assert found.met
    assert found.best.kept == {"up", "down"}


def test_costs_count_what_leaves():
    """A float32 op between float16 ones: one eviction, two casts beside those of input and output."""
    made = chain(2, (1,))
    found = search(made, [X], budget=70.0)
    costs = CostModel()
    assert costs.of(made).share == 1
    assert found.before.cost.float32_ops == 0
    assert found.before.cost.casts == 2
    assert found.best.cost.evictions >= 1
    assert found.best.cost.total > found.before.cost.total
    planned = CostModel(estimate=lambda program: 7.0).of(made)
    assert (planned.total, planned.ops) == (7.0, costs.of(made).ops)


def test_a_target_prices_candidates_by_its_plan():
    """Of a product that the Neural Engine takes, float32 costs more; the price is that of the plan."""
    wide = (np.eye(2048) + 0.01).astype(np.float32)
    made = program(lambda x: cancelling(mb.linear(x=x, weight=wide, name="first"), "bad"), (256, 2048))
    data = {"x": RNG.standard_normal((256, 2048)).astype(np.float32)}
    options = {"target": "A17", "minimum_deployment_target": ct.target.iOS17}
    found = ct.precision.search(made, data, budget=60.0, max_evaluations=4, **options)
    costs = {item.label: item.cost.total for item in found.evaluations}
    plan = ct.precision.search(made, data, budget=1.0, **options).model.plan("A17")
    assert costs["all float16"] == pytest.approx(plan.cost)
    assert costs["all float32"] > costs["all float16"]
    with pytest.raises(InputError, match="no such target"):
        ct.precision.search(made, data, **{**options, "target": "A5"})


def test_wrong_arguments():
    made = chain(1, ())
    for wrong, message in (
        ({"metric": "psnr"}, "no such metric"),
        ({"metric": 3}, "a metric is"),
        ({"metric": lambda mine, theirs: 0.0}, "needs a budget"),
        ({"max_evaluations": 2}, "max_evaluations"),
    ):
        with pytest.raises(InputError, match=message):
            search(made, [X], **wrong)
    with pytest.raises(InputError, match="no samples"):
        search(made, [])
    with pytest.raises(InputError, match="chooses compute_precision"):
        ct.precision.search(made, X, compute_precision=ct.precision.FLOAT32)


def test_document_of_the_map_is_small():
    found = search(chain(20, (5, 15)), [X], budget=60.0)
    document = json.loads(json.dumps(found.map.as_dict()))
    assert set(document["names"].values()) == {"float32"}
    assert len(document["names"]) == len(found.best.kept)
