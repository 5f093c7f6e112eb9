"""Intermediate outputs and the ops to blame, held against NumPy."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

import gristmill as ct
from gristmill.analysis.counterparts import counterparts
from gristmill.errors import InputError, UnsupportedError
from gristmill.ir.builder import mb
from gristmill.ir.types import StateType, TensorType, bool_, fp16, fp32, int32
from gristmill.models.ml_program.experimental import remote_device
from gristmill.models.ml_program.experimental.debugging_utils import (
    MLModelComparator,
    MLModelInspector,
    MLModelValidator,
    compute_snr_and_psnr,
    skip_op_by_type,
)
from tests.models import small

ROW = TensorType(fp32, (1, 3))
X = small.row(1, -2, 3)


def collect(inspector: MLModelInspector, **arguments) -> dict:
    async def gather():
        return {name: value async for name, value in inspector.inspect(**arguments)}

    return asyncio.run(gather())


def steps(x):
    doubled = mb.add(x=x, y=x, name="doubled")
    low, high = mb.split(x=doubled, num_splits=3, axis=1, name="parts")[:2]
    return mb.mul(x=mb.exp(x=low, name="grown"), y=high, name="y")


@pytest.fixture
def model():
    return small.model({"x": ROW}, steps)


@pytest.fixture(params=["cpu", "reference"])
def device(request, monkeypatch):
    monkeypatch.setenv("GRISTMILL_DEVICE", request.param)


class TestInspector:
    def test_every_value_is_retrieved(self, model, device):
        """Values are NumPy's own; constants are left out unless asked for."""
        inspector = MLModelInspector(model)
        found = collect(inspector, inputs={"x": X})
        assert list(found) == inspector.output_names  # the last one first, as in coremltools
        np.testing.assert_array_equal(found["doubled"], 2 * X)
        np.testing.assert_array_equal(found["parts_1"], [[-4]])
        np.testing.assert_allclose(found["grown"], np.exp([[2.0]]), rtol=1e-6)
        np.testing.assert_allclose(found["y"], np.exp([[2.0]]) * -4, rtol=1e-6)
        assert {name for name, value in found.items() if value is None} == set(
            collect(inspector, inputs={"x": X}, ignore_const_ops=False)
        ) - {name for name, value in found.items() if value is not None}

    def test_constants_have_contents_on_request(self):
        model = ct.models.MLModel(small.linear())
        found = collect(MLModelInspector(model), inputs={"x": X}, ignore_const_ops=False)
        assert any(value is not None and np.array_equal(value, small.WEIGHT) for value in found.values())

    def test_names_are_chosen_and_batches_change_nothing(self, model):
        names = ["y", "doubled", "y"]
        inspector = MLModelInspector(model)
        whole = asyncio.run(inspector.retrieve_outputs({"x": X}, names))
        single = asyncio.run(inspector.retrieve_outputs({"x": X}, names, num_predict_intermediate_outputs=1))
        assert list(whole) == list(single) == ["y", "doubled"]
        for name in whole:
            np.testing.assert_array_equal(whole[name], single[name])

    def test_values_that_no_model_may_return_are_retrieved(self, device):
        """Truth values and states, which coremltools' way of adding outputs cannot give."""
        state = StateType(TensorType(fp16, (3,)))

        def build(x, memory):
            mb.greater(x=x, y=np.float32(0), name="positive")
            known = mb.add(x=mb.read_state(input=memory), y=np.float16(2), name="known")
            return mb.mul(x=known, y=known, name="y")

        found = collect(MLModelInspector(small.model({"x": ROW, "memory": state}, build)), inputs={"x": X})
        np.testing.assert_array_equal(found["positive"], [[True, False, True]])
        np.testing.assert_array_equal(found["known"], np.full(3, 2, np.float16))

    def test_the_map_holds_messages_of_the_specification(self, model):
        operations = MLModelInspector(model).output_name_to_op_map
        assert operations["grown"].type == "exp"
        assert [output.name for output in operations["parts_1"].outputs] == ["parts_0", "parts_1", "parts_2"]

    def test_what_it_refuses(self, model):
        with pytest.raises(InputError, match="no value 'nothing'"):
            collect(MLModelInspector(model), inputs={"x": X}, output_names=["nothing"])
        with pytest.raises(TypeError, match="MLModel"):
            MLModelInspector("model.mlpackage")
        with pytest.raises(UnsupportedError, match="remote devices"):
            MLModelInspector(model, device=PHONE)
        with pytest.raises(UnsupportedError, match="remote devices"):
            remote_device.Device.get_devices()


PHONE = remote_device.Device(
    "phone", remote_device.DeviceType.IPHONE, "", "", "", "", "", remote_device.DeviceState.CONNECTED, None
)


def names(operations) -> list[str]:
    return [operation.outputs[0].name for operation in operations]


class TestValidator:
    def test_the_op_that_makes_infinity_is_named(self, device):
        """Of three ops whose results are infinite only the first is to blame; what moves numbers is looked through."""

        def build(x):
            grown = mb.exp(x=mb.mul(x=x, y=np.float32(1000), name="large"), name="overflow")
            moved = mb.reshape(x=grown, shape=[3, 1], name="moved")
            return mb.add(x=moved, y=np.float32(1), name="y")

        validator = MLModelValidator(small.model({"x": ROW}, build))
        assert names(asyncio.run(validator.find_failing_ops_with_infinite_output({"x": X}))) == ["overflow"]
        assert asyncio.run(validator.find_failing_ops_with_nan_output({"x": X})) == []

    def test_what_does_not_reach_the_outputs_is_not_reported(self):
        """An infinity that a later op removes does no harm, unless one asks for it by name."""

        def build(x):
            overflow = mb.exp(x=mb.mul(x=x, y=np.float32(1000)), name="overflow")
            return mb.minimum(x=overflow, y=np.float32(1), name="y")

        validator = MLModelValidator(small.model({"x": ROW}, build))
        assert asyncio.run(validator.find_failing_ops_with_infinite_output({"x": X})) == []
        found = asyncio.run(validator.find_failing_ops_with_infinite_output({"x": X}, output_names=["overflow"]))
        assert names(found) == ["overflow"]

    def test_nan_of_two_branches(self, device):
        def build(x):
            root, logarithm = mb.sqrt(x=x, name="root"), mb.log(x=x, name="logarithm")
            return mb.add(x=root, y=logarithm, name="y")

        found = asyncio.run(MLModelValidator(small.model({"x": ROW}, build)).find_failing_ops_with_nan_output({"x": X}))
        assert names(found) == ["root", "logarithm"]

    def test_a_rule_of_ones_own_and_ops_to_look_through(self, model):
        """With the multiplication looked through, the blame falls on what it multiplies."""
        validator = MLModelValidator(model)

        def small_enough(op, value):
            return np.abs(value).max() < 5

        assert names(asyncio.run(validator.find_failing_ops({"x": X}, small_enough, ["grown"]))) == ["doubled"]
        found = asyncio.run(
            validator.find_failing_ops(
                {"x": X}, small_enough, ["grown"], skip_op=lambda op: skip_op_by_type(op) or op.type == "add"
            )
        )
        assert names(found) == ["grown"]

    def test_operands_of_nested_blocks_count(self, device):
        """What a branch takes from outside is to blame before the op that holds the branch."""

        def build(x):
            root = mb.sqrt(x=x, name="root")
            with mb.nested() as yes:
                mb.output(mb.add(x=root, y=np.float32(1)))
            with mb.nested() as no:
                mb.output(mb.identity(x=x))
            sign = mb.greater(x=mb.reduce_sum(x=x), y=np.float32(0))
            return mb.cond(pred=sign, blocks=[yes, no], name="y")

        validator = MLModelValidator(small.model({"x": ROW}, build))
        assert names(asyncio.run(validator.find_failing_ops_with_nan_output({"x": X}))) == ["root"]


class TestComparator:
    def test_the_op_that_float16_breaks_is_named(self):
        """4096² overflows in float16, and the division that follows is wrong only because of it."""
        model = builder_program()
        exact = ct.convert(model, compute_precision=ct.precision.FLOAT32)
        half = ct.convert(model, compute_precision=ct.precision.FLOAT16)
        for batch in (1, 20):
            comparator = MLModelComparator(exact, half, num_predict_intermediate_outputs=batch)
            found = asyncio.run(comparator.find_failing_ops({"x": small.row(4096, 1, 2)}, agree))
            assert names(found) == ["square"]
            assert found[0].type == "mul"
            assert asyncio.run(comparator.find_failing_ops({"x": small.row(1, 2, 3)}, agree)) == []

    def test_a_model_agrees_with_itself(self, model):
        assert asyncio.run(MLModelComparator(model, model).find_failing_ops({"x": X}, agree)) == []


def agree(op, reference, target) -> bool:
    return compute_snr_and_psnr(target, reference)[1] >= 40


def builder_program():
    from gristmill.converters.mil import Builder

    @Builder.program(input_specs=[Builder.TensorSpec((1, 3))])
    def program(x):
        square = Builder.mul(x=x, y=x, name="square")
        return Builder.real_div(x=square, y=Builder.add(x=x, y=1.0, name="more"), name="y")

    return program


def test_names_of_typed_values_find_each_other():
    """As this package types ops, as coremltools does, and the other way round."""
    assert counterparts(["a", "b", "c", "d"], ["a", "b_fp16", "c_cast_fp16"]) == {
        "a": "a",
        "b": "b_fp16",
        "c": "c_cast_fp16",
    }
    assert counterparts(["a_2", "a_fp16_2"], ["a_fp16"]) == {"a_fp16_2": "a_fp16"}  # "a_2" is another value
    assert counterparts(["b_fp16", "c_cast_fp16"], ["b", "c"]) == {"b_fp16": "b", "c_cast_fp16": "c"}


def test_ratios_are_those_of_coremltools():
    """For vectors; it divides by the length of the first axis, which for others is not the number of elements."""
    from coremltools.models.ml_program.experimental.debugging_utils import compute_snr_and_psnr as theirs

    random = np.random.default_rng(0)
    x, y = random.standard_normal((2, 100))
    assert compute_snr_and_psnr(x, y) == pytest.approx(theirs(x, y), rel=1e-12)
    assert compute_snr_and_psnr(x.reshape(4, 25), y.reshape(4, 25)) == pytest.approx(theirs(x, y), rel=1e-12)
    with pytest.raises(InputError, match="one shape"):
        compute_snr_and_psnr(x, y[:5])


def test_truth_values_and_integers_are_never_infinite():
    def build(x):
        return mb.cast(x=mb.logical_not(x=mb.cast(x=x, dtype="bool")), dtype="int32", name="y")

    model = small.model({"x": TensorType(int32, (3,))}, build)
    assert bool_ in {value.dtype for value in model.program.main.values() if isinstance(value.type, TensorType)}
    validator = MLModelValidator(model)
    inputs = {"x": np.array([0, 1, 2], np.int32)}
    assert asyncio.run(validator.find_failing_ops_with_infinite_output(inputs, skip_op=lambda op: False)) == []
