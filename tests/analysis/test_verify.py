"""Verification: a conversion is held against its source, and a planted mistake is found where it was made."""

import inspect

import numpy as np
import pytest
import torch

import gristmill as ct
from gristmill.analysis.verify import TOLERANCE, VerificationError, difference, work
from gristmill.frontends.torch import lower, lowers, registry
from gristmill.frontends.torch.graph import quiet
from gristmill.ir.op import Op
from gristmill.passes.infra import FunctionPass


class Small(torch.nn.Module):
    """Has an operator that the planted mistakes change, in the middle, and a decision at its end."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Linear(6, 5)
        self.second = torch.nn.Linear(5, 4)

    def forward(self, x):
        y = self.first(x)
        y = torch.tanh(y)
        y = self.second(y)
        return torch.exp(y), y.argmax(-1)


TANH_LINE = inspect.getsourcelines(Small.forward)[1] + 2


def exported(module, *inputs, **options):
    with quiet():
        return torch.export.export(module.eval(), inputs, **options)


def small():
    return exported(Small(), torch.randn(3, 6, generator=torch.Generator().manual_seed(1)))


@pytest.fixture
def planted(monkeypatch):
    """Replaces lowerings for one test."""
    monkeypatch.setattr(registry, "_lowerings", dict(registry._lowerings))
    return lambda name: lowers(name, override=True)


def test_correct_conversion_reports_small_errors():
    report = ct.convert(small()).conversion_report
    assert report.skipped is None
    assert set(report.float32) == {"exp", "argmax"}
    # two small layers: a few roundings of 2⁻²⁴ each
    assert report.float32["exp"].relative < 1e-6
    assert report.float32["argmax"].largest == 0
    # float16 rounds by 2⁻¹¹ in each of a handful of ops: it must show, and is no error
    assert TOLERANCE / 10 < report.float16["exp"].relative < 1e-2


def test_float32_precision_has_no_float16_error():
    report = ct.convert(small(), compute_precision=ct.precision.FLOAT32).conversion_report
    assert report.float32
    assert report.float16 == {}


def test_wrong_lowering_is_named_with_its_line(planted):
    @planted("aten.tanh.default")
    def tanh(ctx, x):
        return ctx.mb.sigmoid(x=x)

    with pytest.raises(VerificationError) as caught:
        ct.convert(small())
    assert caught.value.op == "sigmoid 'tanh'"
    assert caught.value.location.file == __file__
    assert caught.value.location.line == TANH_LINE
    assert "aten.tanh" in str(caught.value)
    assert isinstance(caught.value, RuntimeError)


def test_values_with_other_names_than_their_nodes_are_found(planted):
    """An output is called ``tanh`` as well, so the node ``tanh`` becomes a value of another name."""

    @planted("aten.exp.default")
    def exp(ctx, x):
        return ctx.mb.exp2(x=x)

    outputs = [ct.TensorType(name="tanh"), ct.TensorType(name="linear")]
    with pytest.raises(VerificationError) as caught:
        ct.convert(small(), outputs=outputs)
    assert caught.value.location.line == TANH_LINE + 2
    assert caught.value.location.source == "aten.exp.default"


def test_wrong_integer_result_is_caught(planted):
    @planted("aten.argmax.default")
    def argmax(ctx, x, dim, keepdim):
        return ctx.mb.reduce_argmin(x=x, axis=dim, keep_dims=keepdim)

    with pytest.raises(VerificationError) as caught:
        ct.convert(small())
    assert caught.value.location.source == "aten.argmax.default"


def test_verify_false_converts_all_the_same(planted):
    @planted("aten.tanh.default")
    def tanh(ctx, x):
        return ctx.mb.sigmoid(x=x)

    assert "not asked for" in ct.convert(small(), verify=False).conversion_report.skipped


def test_wrong_pass_is_told_from_a_wrong_lowering():
    class Wrong(FunctionPass):
        name = "wrong"

        def run_on(self, function):
            (op,) = [op for op in function.body if op.op_name == "tanh"]
            wrong: Op = type(function.outputs[0].producer)(
                op.opset, {"x": op.operands["x"]}, name="elsewhere", location=op.location
            )
            op.block.insert(wrong, before=op)
            op.result.replace_uses(wrong.result)
            op.erase()
            wrong.name = wrong.result.name = "tanh"
            return True

    class OneOutput(Small):
        def forward(self, x):
            return super().forward(x)[0]

    with pytest.raises(VerificationError, match="a pass changed") as caught:
        ct.convert(exported(OneOutput(), torch.randn(3, 6)), pass_pipeline=[Wrong()])
    assert caught.value.op == "exp 'tanh'"
    assert caught.value.location.line == TANH_LINE


def test_rounding_that_tips_a_decision_is_no_mistake(planted):
    """A step function right where rounding decides: each operator is right, so the conversion is not refused."""

    class Step(torch.nn.Module):
        def forward(self, x):
            return torch.floor(torch.exp(torch.log(x)))

    numbers = torch.arange(1, 200, dtype=torch.float32)
    with pytest.warns(UserWarning, match="lets rounding grow"):
        report = ct.convert(exported(Step(), numbers)).conversion_report
    assert "floor" in report.skipped


class Random(torch.nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


class NonZero(torch.nn.Module):
    def forward(self, x):
        return torch.nonzero(x)


class Counter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(2))

    def forward(self, x):
        self.count.add_(x)
        return self.count * 2


class Half(torch.nn.Module):
    def forward(self, x):
        return x.half() * 2


@pytest.mark.parametrize(
    ("module", "reason"),
    [(Random(), "random"), (NonZero(), "depends on data"), (Counter(), "states"), (Half(), "torch.float16")],
    ids=["random", "data", "state", "half"],
)
def test_skips_say_why(module, reason):
    source = exported(module, torch.tensor([0.0, 1.0]))
    report = ct.convert(source, minimum_deployment_target=ct.target.iOS18).conversion_report
    assert reason in report.skipped
    assert report.float32 == {}


@pytest.mark.parametrize(("limit", "reason"), [("WORK_LIMIT", "multiply-adds"), ("WEIGHT_LIMIT", "weights")])
def test_large_models_are_checked_on_request_only(monkeypatch, limit, reason):
    monkeypatch.setattr(f"gristmill.analysis.verify.{limit}", 10)
    assert reason in ct.convert(small()).conversion_report.skipped
    assert ct.convert(small(), verify=True).conversion_report.float32


def test_modules_are_checked_on_request_with_made_up_inputs():
    inputs = [ct.TensorType(name="x", shape=(3, 6))]
    assert "verify=True" in ct.convert(Small().eval(), inputs=inputs).conversion_report.skipped
    report = ct.convert(Small().eval(), inputs=inputs, verify=True).conversion_report
    assert report.float32["exp"].relative < 1e-6


def test_inputs_that_the_declared_shapes_exclude_are_not_used():
    batch = torch.export.Dim("batch", min=1, max=8)
    source = exported(Small(), torch.randn(3, 6), dynamic_shapes=[{0: batch}])
    assert ct.convert(source).conversion_report.float32
    report = ct.convert(source, inputs=[ct.TensorType(name="x", shape=(2, 6))]).conversion_report
    assert "example inputs" in report.skipped


def test_integers_truth_values_scalars_and_keywords_reach_the_program():
    class Mixed(torch.nn.Module):
        def forward(self, ids, mask, *, scale):
            return torch.where(mask, ids, -1), ids * scale

    with quiet():
        source = torch.export.export(
            Mixed(), (torch.tensor([3, 4]), torch.tensor([True, False])), {"scale": torch.tensor(0.5)}
        )
    report = ct.convert(source).conversion_report
    assert report.skipped is None
    assert [apart.largest for apart in report.float32.values()] == [0, 0]


def test_image_scaling_is_undone_for_the_finished_model():
    class Mean(torch.nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    image = ct.ImageType(name="x", shape=(1, 3, 4, 4), scale=1 / 127.5, bias=[-1, -0.5, -1])
    pixels = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    report = ct.convert(exported(Mean(), pixels), inputs=[image]).conversion_report
    assert report.float16["mean"].relative < 1e-2  # float16's 2⁻¹¹, of pixels that are 128 times as large


@pytest.mark.parametrize(
    ("actual", "expected", "largest"),
    [
        ([1.0, np.inf], [1.0, np.inf], 0.0),
        ([1.0, 5.0], [1.0, np.nan], 0.0),
        ([1.0, np.nan], [1.0, 2.0], np.inf),
        ([1.0, np.inf], [1.0, 2.0], np.inf),
        ([1.0, 1.5], [1.0, 2.0], 0.5),
    ],
)
def test_difference(actual, expected, largest):
    assert difference(np.array(actual), np.array(expected)).largest == largest


def test_work_counts_a_product_by_its_multiply_adds():
    program = lower(exported(torch.nn.Linear(30, 20, bias=False), torch.randn(10, 30)))
    assert work(program, {}) == pytest.approx(30 * 20 * 10)
