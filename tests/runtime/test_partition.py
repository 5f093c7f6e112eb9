"""Placing functions: which ops run where, with which transfers, in which segments."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.errors import InputError
from gristmill.ir.builder import mb
from gristmill.ir.builtin import const
from gristmill.ir.dims import symbol
from gristmill.ir.opset import Opset
from gristmill.ir.program import Function, Program
from gristmill.ir.traits import Contraction, Decompresses
from gristmill.ir.types import StateType, TensorType, bool_, fp16, fp32, int16
from gristmill.models.compute_units import ComputeUnit
from gristmill.runtime.partition import chosen_units, partition
from gristmill.runtime.plan import CPU, GPU, NEURAL_ENGINE, Plan
from gristmill.runtime.targets import target_named
from tests.test_op_cases import CASES

BIG = 1024
"""A matrix product of this size is worth the way to the Neural Engine."""


def function(inputs, build, opset=Opset.iOS18) -> Function:
    program = Program()
    with mb.function(program, "main", inputs, opset) as values:
        made = build(*values)
        mb.output(*made) if isinstance(made, tuple) else mb.output(made)
    return program.main


def weight(rows=BIG, columns=BIG, dtype=np.float16):
    return np.ones((rows, columns), dtype)


def units_by_type(plan: Plan) -> dict[str, str]:
    return {placement.op.op_name: placement.unit for placement in plan.placements}


@pytest.fixture(scope="module")
def mixed() -> Function:
    """Float16 products with a float32 softmax between them."""

    def build(x):
        h = mb.linear(x=x, weight=weight(), name="first")
        h = mb.cast(x=h, dtype="fp32", name="up")
        h = mb.softmax(x=h, axis=-1, name="wide")
        h = mb.cast(x=h, dtype="fp16", name="down")
        return mb.linear(x=h, weight=weight(), name="last")

    return function({"x": TensorType(fp16, (BIG, BIG))}, build)


def test_a_float32_op_splits_the_program(mixed):
    """Both products go to the Neural Engine; what is float32 between them stays on the CPU, with reason and remedy."""
    plan = partition(mixed, "A17", "CPU_AND_NE")
    assert [segment.unit for segment in plan.segments] == [NEURAL_ENGINE, CPU, NEURAL_ENGINE]
    wide = next(placement for placement in plan.placements if placement.name == "wide")
    assert wide.supported == (CPU,)
    refusal = wide.refusals[NEURAL_ENGINE]
    assert "'up' is fp32" in refusal.reason
    assert "compute_precision" in refusal.fix
    assert plan.count(NEURAL_ENGINE) == 2
    assert plan.share(NEURAL_ENGINE) == 2 / 5


def test_segments_and_transfers_name_what_passes(mixed):
    """Values on their way: x there, the first product back, its successor there again, the result home."""
    plan = partition(mixed, "A17", "CPU_AND_NE")
    ways = [(transfer.value.name, transfer.source, transfer.destination) for transfer in plan.transfers]
    assert sorted(ways) == [
        ("down", CPU, NEURAL_ENGINE),
        ("first", NEURAL_ENGINE, CPU),
        ("last", NEURAL_ENGINE, CPU),
        ("x", CPU, NEURAL_ENGINE),
    ]
    names = [
        ([v.name for v in s.inputs], [op.name for op in s.ops], [v.name for v in s.outputs]) for s in plan.segments
    ]
    assert names == [
        (["x"], ["first"], ["first"]),
        (["first"], ["up", "wide", "down"], ["down"]),
        (["down"], ["last"], ["last"]),
    ]


def test_the_cost_is_that_of_its_parts(mixed):
    plan = partition(mixed, "M1")
    parts = plan.op_cost + plan.transfer_cost + plan.launch_cost
    assert plan.cost == pytest.approx(parts, rel=1e-6)  # costs are rounded to picoseconds
    assert plan.op_cost + plan.launch_cost == pytest.approx(sum(segment.cost for segment in plan.segments))
    assert plan.bound <= plan.cost


def test_choices_of_units(mixed):
    """What is not allowed is not used; the CPU always is."""
    assert partition(mixed, "A17", ComputeUnit.CPU_ONLY).units == (CPU,)
    assert partition(mixed, "A17", ComputeUnit.CPU_AND_GPU).count(NEURAL_ENGINE) == 0
    assert partition(mixed, "A17", (NEURAL_ENGINE,)).units == (CPU, NEURAL_ENGINE)
    assert chosen_units(ComputeUnit.ALL) == (CPU, GPU, NEURAL_ENGINE)
    for wrong in ("NPU", (), ("npu",), 7):
        with pytest.raises(InputError, match="no such choice"):
            chosen_units(wrong)


def test_this_computer_has_a_cpu(mixed):
    """On the host ALL means what is there."""
    plan = partition(mixed)
    assert (plan.target.name, plan.units) == ("host", (CPU,))
    assert [len(segment.ops) for segment in plan.segments] == [5]
    assert not plan.transfers


def test_small_models_stay_on_the_cpu():
    """A product of 4 × 4 matrices costs less than the way to any other unit."""
    small = function({"x": TensorType(fp16, (4, 4))}, lambda x: mb.matmul(x=x, y=weight(4, 4)))
    plan = partition(small, "M4", "CPU_AND_NE")
    assert plan.placements[0].supported == (CPU, NEURAL_ENGINE)
    assert plan.count(CPU) == 1


def test_constants_are_nowhere_and_cost_nothing():
    """Weights, and what decompresses them, are on no unit and are not transferred."""

    def build(x):
        table = mb.constexpr_lut_to_dense(
            indices=np.zeros((BIG, BIG), np.uint8), lut=np.ones((1, 1, 256, 1), np.float16), name="table"
        )
        return mb.linear(x=x, weight=table, name="product")

    plan = partition(function({"x": TensorType(fp16, (BIG, BIG))}, build), "A17", "CPU_AND_NE")
    assert [placement.name for placement in plan.placements] == ["product"]
    assert {transfer.value.name for transfer in plan.transfers} == {"x", "product"}


def test_sizes_cost_nothing():
    """Arithmetic on shapes follows its users: it moves no data and splits no segment."""

    def build(x):
        rows = mb.slice_by_size(x=mb.shape(x=x, name="sizes"), begin=[0], size=[1], name="rows")
        h = mb.linear(x=x, weight=weight(), name="first")
        h = mb.reshape(x=h, shape=mb.concat(values=(rows, [2, BIG // 2]), axis=0, name="shape"), name="folded")
        return mb.gelu(x=h, name="last")

    plan = partition(function({"x": TensorType(fp16, (BIG, BIG))}, build), "A17", "CPU_AND_NE")
    assert {transfer.value.name for transfer in plan.transfers} == {"x", "last"}
    assert len(plan.segments) == 1
    assert all(placement.cost == 0 for placement in plan.placements if placement.op.op_name in ("shape", "concat"))


def test_the_size_of_a_float32_tensor_is_not_asked_for_on_the_neural_engine():
    """Even what only reads a size stays off, if the tensor is float32."""

    def build(x):
        h = mb.cast(x=x, dtype="fp16", name="narrow")
        h = mb.linear(x=h, weight=weight(), name="product")
        return mb.reshape(x=h, shape=mb.shape(x=x, name="sizes"), name="folded")

    plan = partition(function({"x": TensorType(fp32, (BIG, BIG))}, build), "A17", "CPU_AND_NE")
    assert units_by_type(plan)["linear"] == NEURAL_ENGINE
    assert units_by_type(plan)["shape"] == CPU


def test_a_value_used_twice_is_transferred_once():
    """One transfer for each value and destination: x feeds two products."""

    def build(x):
        return mb.linear(x=x, weight=weight(), name="a"), mb.linear(x=x, weight=weight(), name="b")

    plan = partition(function({"x": TensorType(fp16, (BIG, BIG))}, build), "A17", "CPU_AND_NE")
    assert [t.value.name for t in plan.transfers if t.destination == NEURAL_ENGINE] == ["x"]


def test_every_user_of_a_value_counts():
    """The first user of x is on the CPU, the second on the Neural Engine: x has to go there."""

    def build(x):
        return mb.cast(x=x, dtype="fp32", name="wide"), mb.linear(x=x, weight=weight(), name="product")

    plan = partition(function({"x": TensorType(fp16, (BIG, BIG))}, build), "A17", "CPU_AND_NE")
    assert {(t.value.name, t.destination) for t in plan.transfers} == {("x", NEURAL_ENGINE), ("product", CPU)}


def test_ops_in_blocks_run_where_the_op_that_holds_them_does():
    """A condition stays on the CPU with everything inside, and says what keeps it there."""

    def build(x, yes):
        h = mb.linear(x=x, weight=weight(), name="before")
        with mb.nested() as first:
            mb.output(mb.linear(x=h, weight=weight(), name="inner"))
        with mb.nested() as second:
            mb.output(mb.relu(x=h))
        h = mb.cond(pred=yes, blocks=(first, second), name="branch")
        return mb.linear(x=h, weight=weight(), name="after")

    inputs = {"x": TensorType(fp16, (BIG, BIG)), "yes": TensorType(bool_, ())}
    plan = partition(function(inputs, build), "A17")
    at = {placement.name: placement for placement in plan.placements}
    assert at["branch"].unit == at["inner"].unit == CPU
    assert "loops" in at["branch"].refusals[NEURAL_ENGINE].reason
    assert at["inner"].supported == (CPU, GPU, NEURAL_ENGINE)  # by itself it could go
    assert at["inner"].segment == at["branch"].segment
    assert at["branch"].flops > 2 * BIG**3
    assert ("before", NEURAL_ENGINE, CPU) in [(t.value.name, t.source, t.destination) for t in plan.transfers]


def test_accesses_of_a_state_stay_in_order():
    """A read that comes after a write runs after it, though no value connects the two and another unit makes it."""

    def build(x, state):
        mean = mb.reduce_mean(x=mb.linear(x=x, weight=weight()), axes=[0, 1], keep_dims=True)
        mb.write_state(input=state, data=mean, name="write")
        return mb.cast(x=mb.read_state(input=state, name="read"), dtype="fp32", name="wide")

    inputs = {"x": TensorType(fp16, (BIG, BIG)), "state": StateType(TensorType(fp16, (1, 1)))}
    plan = partition(function(inputs, build), "A17", "CPU_AND_NE")
    order = [op.name for segment in plan.segments for op in segment.ops]
    assert order.index("write") < order.index("read")
    assert {segment.unit for segment in plan.segments} == {CPU, NEURAL_ENGINE}
    assert not any(isinstance(transfer.value.type, StateType) for transfer in plan.transfers)


@pytest.mark.parametrize("upper", [None, 512])
def test_flexible_shapes_stay_off_the_neural_engine(upper):
    """A range of sizes is refused there, not on the GPU; a few enumerated sizes are as good as a fixed one."""
    n = symbol("n", 1, upper)
    made = function({"x": TensorType(fp16, (n, BIG))}, lambda x: mb.linear(x=x, weight=weight(), name="y"))
    plan = partition(made, "A17")
    (placement,) = plan.placements
    assert placement.supported == (CPU, GPU)
    assert "not fixed" in placement.refusals[NEURAL_ENGINE].reason
    assert partition(made, target_named("A17").with_enumerated_shapes()).placements[0].supported[-1] == NEURAL_ENGINE


def test_sizes_for_estimates():
    """The caller may say which size a flexible model usually has."""
    made = function({"x": TensorType(fp16, (symbol("n", 1), BIG))}, lambda x: mb.linear(x=x, weight=weight()))
    few, many = (partition(made, "A17", sizes={"n": n}).placements[0].flops for n in (1, 1000))
    assert (few, many) == (2 * BIG * BIG, 2000 * BIG * BIG)


@pytest.mark.parametrize(
    ("build", "flops"),
    [
        (lambda x: mb.matmul(x=x, y=x, transpose_x=True), 2 * (6 * 8 * 8) * 4),
        (lambda x: mb.einsum(values=(x, x), equation="bij,bkj->bik"), 2 * (6 * 4 * 4) * 8),
        (lambda x: mb.conv(x=x, weight=np.ones((4, 2, 5), np.float16), groups=2), 2 * (6 * 4 * 4) * (2 * 5)),
        (lambda x: mb.scaled_dot_product_attention(query=x, key=x, value=x), 2 * (6 * 4 * 4) * (8 + 8)),
        (lambda x: mb.relu(x=x), 6 * 4 * 8),
    ],
    ids=["matmul", "einsum", "conv", "attention", "elementwise"],
)
def test_operations_are_counted(build, flops):
    """Two for each product of a contraction: on x of [6, 4, 8], counted by hand from the formulas."""
    plan = partition(function({"x": TensorType(fp16, (6, 4, 8))}, build))
    (placement,) = [p for p in plan.placements if p.op.has(Contraction) or p.op.op_name == "relu"]
    assert placement.flops == flops


def test_a_table_is_read_where_it_is_looked_up():
    """An embedding moves the rows that it takes, not the whole table."""
    table = np.ones((30_000, 64), np.float16)
    made = function({"i": TensorType(int16, (10,))}, lambda i: mb.gather(x=table, indices=i, axis=0))
    assert partition(made).placements[0].bytes <= 3 * 10 * 64 * 2


def test_documents_are_plain(mixed):
    """The plan as a document has what a program needs, and nothing that JSON does not know."""
    import json

    document = json.loads(json.dumps(partition(mixed, "A17").document()))
    assert document["target"] == "A17"
    assert [op["name"] for op in document["ops"]] == ["first", "up", "wide", "down", "last"]
    assert document["ops"][2]["refusals"][NEURAL_ENGINE]["fix"]
    assert sum(op["share"] for op in document["ops"]) == pytest.approx(1)
    assert "does not publish" in document["notes"][0]


def test_float32_weights_count_too():
    """A float16 op on float32 weights would compute with them: not on the Neural Engine."""
    made = function({"x": TensorType(fp32, (BIG, BIG))}, lambda x: mb.linear(x=x, weight=weight(dtype=np.float32)))
    assert partition(made, "M4", "CPU_AND_NE").placements[0].supported == (CPU,)


ONE_OF_EACH = list({case.op: case for case in CASES}.values())


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda case: case.op)
def test_every_op_can_be_placed(case):
    """Each op has a place on a unit that supports it, in a segment of that unit after all that it needs."""
    _, dtype, opset = list(case.variants())[-1]
    program, _ = case.build(dtype, opset)
    plan = partition(program.main, "A17")
    placed = {op: place for place, op in enumerate(op for segment in plan.segments for op in segment.ops)}
    wanted = [op for op in program.main.body if not isinstance(op, const) and not op.has(Decompresses)]
    assert set(placed) == set(wanted)
    for placement in plan.placements:
        assert placement.unit in placement.supported
        assert plan.segments[placement.segment].unit == placement.unit
        assert set(placement.supported) | set(placement.refusals) == {CPU, GPU, NEURAL_ENGINE}
    for op, place in placed.items():
        assert all(placed[v.producer] < place for _, _, v in op.uses() if v.producer in placed)
