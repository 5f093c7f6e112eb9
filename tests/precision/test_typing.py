"""Float16 typing: which ops change type, where casts stand, and what values come out."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import InputError
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp16, fp32, int32, uint1
from gristmill.ir.verify import verify
from gristmill.passes.infra import run_passes
from gristmill.passes.pipeline import cleanup
from gristmill.precision.boundary import set_input_dtype, set_output_dtype
from gristmill.precision.typing import Float16Typing
from gristmill.runtime.session import Session


def two_layers() -> Program:
    """``y = relu(x·w) + 1`` in float32."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (2, 3))}, Opset.iOS17) as (x,):
        h = mb.linear(x=x, weight=np.full((4, 3), 0.1, np.float32), bias=np.zeros(4, np.float32), name="h")
        mb.output(mb.add(x=mb.relu(x=h, name="r"), y=1.0, name="y"))
    return program


def typed(program: Program, selector=None) -> Float16Typing:
    typing = Float16Typing(selector)
    run_passes(program, [typing, *cleanup()], verify=verify)
    return typing


def ops(program: Program) -> list[str]:
    return [f"{op.op_name}:{op.result.dtype}" for op in program.main.body if op.op_name != "const"]


def test_casts_stand_only_at_the_borders():
    """Between float16 ops there is no cast; the input is cast once, the output once, and it keeps its name."""
    program = two_layers()
    typed(program)
    assert ops(program) == ["cast:fp16", "linear:fp16", "relu:fp16", "add:fp16", "cast:fp32"]
    assert program.main.outputs[0].name == "y"
    assert program.main.outputs[0].dtype == fp32


def test_float16_boundary_needs_no_cast():
    """Declared float16 inputs and outputs meet the float16 ops directly."""
    program = two_layers()
    set_input_dtype(program.main, "x", fp16)
    set_output_dtype(program.main, 0, fp16)
    typed(program)
    assert ops(program) == ["linear:fp16", "relu:fp16", "add:fp16"]
    assert [v.name for v in program.main.outputs] == ["y"]


def test_selector_keeps_an_op_in_float32():
    """Only the op that the selector refuses is float32, with a cast on either side."""
    program = two_layers()
    report = typed(program, lambda op: op.op_name != "relu").report
    assert ops(program) == ["cast:fp16", "linear:fp16", "cast:fp32", "relu:fp32", "cast:fp16", "add:fp16", "cast:fp32"]
    assert [kept.op for kept in report.kept] == ["relu 'r'"]


def test_value_is_cast_once_for_all_users():
    """Two float16 users of one float32 value share its cast."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (3,))}) as (x,):
        mb.output(mb.add(x=mb.relu(x=x), y=mb.sigmoid(x=x)))
    typed(program)
    assert ops(program).count("cast:fp16") == 1


def test_constant_beyond_float16_keeps_the_op_in_float32():
    """-1e9 would become -inf in float16, so the op that has it stays float32."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (3,))}) as (x,):
        mb.output(mb.add(x=x, y=np.float32(-1e9)))
    report = typed(program).report
    assert ops(program) == ["add:fp32"]
    assert "65504" in report.kept[0].reason


def test_values_round_where_float16_says():
    """The typed program computes what float16 arithmetic gives: 2048 + 1 is 2048 there."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (1,))}) as (x,):
        mb.output(mb.add(x=x, y=1.0, name="y"))
    x = np.array([2048], np.float32)
    assert Session(program.main, ReferenceDevice()).run({"x": x})["y"] == 2049
    typed(program)
    assert Session(program.main, ReferenceDevice()).run({"x": x})["y"] == 2048


def test_cast_of_the_source_is_a_rounding_point():
    """A float32 → float16 → float32 round trip that the source wrote survives, whatever else is float32."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (1,))}, Opset.iOS17) as (x,):
        rounded = mb.cast(x=mb.cast(x=x, dtype="fp16"), dtype="fp32")
        mb.output(mb.add(x=rounded, y=0.0, name="y"))
    typed(program, lambda op: False)
    x = np.array([1 + 2**-20], np.float32)
    assert Session(program.main, ReferenceDevice()).run({"x": x})["y"] == 1


def test_integers_stay_integers():
    """Typing concerns floating values only."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(int32, (2,))}) as (x,):
        mb.output(mb.add(x=x, y=1))
    typed(program)
    assert ops(program) == ["add:int32"]


def test_tiny_epsilon_does_not_vanish():
    """An epsilon of 1e-12 would be 0 in float16; it becomes float16's smallest number, and the report says so."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (1, 4))}) as (x,):
        mb.output(mb.layer_norm(x=x, axes=(-1,), epsilon=1e-12, name="y"))
    report = typed(program).report
    assert len(report.raised) == 1
    result = Session(program.main, ReferenceDevice()).run({"x": np.full((1, 4), 3, np.float32)})["y"]
    np.testing.assert_array_equal(result, 0)


def test_integer_input_cannot_become_float():
    """Only floating types change at the boundary."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(int32, (2,))}) as (x,):
        mb.output(mb.add(x=x, y=1))
    with pytest.raises(InputError, match="cannot change its type"):
        set_input_dtype(program.main, "x", fp16)


def test_places_of_unknown_number_stay_integers():
    """The typed op finds the same places; that their number is another unknown does not make floats of them."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (2, 3))}, Opset.iOS17) as (x,):
        mb.output(mb.non_zero(x=x, name="places"))
    typed(program)
    assert program.main.outputs[0].dtype == int32
    found = Session(program.main, ReferenceDevice()).run({"x": np.eye(2, 3, dtype=np.float32)})
    np.testing.assert_array_equal(found[program.main.outputs[0].name], [[0, 0], [1, 1]])


def test_what_enters_a_list_keeps_the_lists_type():
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (2,))}, Opset.iOS17) as (x,):
        listed = mb.make_list(init_length=1, elem_shape=(np.int32(2),), dtype="fp32")
        written = mb.list_write(ls=listed, index=0, value=mb.relu(x=x))
        mb.output(mb.list_read(ls=written, index=0, name="y"))
    typed(program)
    found = Session(program.main, ReferenceDevice()).run({"x": np.float32([-1, 2])})
    np.testing.assert_array_equal(found["y"], np.float32([0, 2]))


def test_decoded_weights_stay_constants():
    """A compressed weight decodes to float16 itself: no cast stands before the layer, which wants a constant."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (2, 3))}, Opset.iOS18) as (x,):
        codes = np.int8([[1, 2, 3], [-4, 5, 6]])
        weight = mb.constexpr_affine_dequantize(
            quantized_data=codes, zero_point=np.int8(1), scale=np.float32(0.25), axis=0, name="w"
        )
        mb.output(mb.linear(x=x, weight=weight, name="y"))
    typed(program)
    assert ops(program) == ["cast:fp16", "constexpr_affine_dequantize:fp16", "linear:fp16", "cast:fp32"]
    x = np.float32([[1, 2, 3], [4, 5, 6]])
    wanted = x @ ((codes.astype(np.float32) - 1) * 0.25).T  # small multiples of 1/4: exact in float16
    np.testing.assert_array_equal(Session(program.main, ReferenceDevice()).run({"x": x})["y"], wanted)


def test_sparse_and_table_weights_decode_to_float16():
    """A chain of ops that decompress is retyped as a whole."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (1, 4))}, Opset.iOS18) as (x,):
        mask = mb.const(np.uint8([[1, 0, 1, 1]]), dtype=uint1)
        codes = mb.const(np.uint8([0, 1, 1]), dtype=uint1)
        lut = np.float32([0.5, 2]).reshape(1, 1, 2, 1)
        data_mask, data = mb.constexpr_lut_to_sparse(indices_mask=mask, indices_nonzero_data=codes, lut=lut)
        weight = mb.constexpr_sparse_to_dense(nonzero_data=data, mask=data_mask)
        mb.output(mb.linear(x=x, weight=weight, name="y"))
    typed(program)
    (layer,) = [op for op in program.main.body if op.op_name == "linear"]
    assert layer.operand("weight").dtype == fp16
    y = Session(program.main, ReferenceDevice()).run({"x": np.float32([[1, 2, 3, 4]])})["y"]
    np.testing.assert_array_equal(y, [[1 * 0.5 + 3 * 2 + 4 * 2]])


def test_scale_that_float16_holds_badly_keeps_the_layer_in_float32():
    """A scale of 1e-6 would be off by percents in float16, and every weight with it."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (1, 3))}, Opset.iOS18) as (x,):
        weight = mb.constexpr_affine_dequantize(
            quantized_data=np.int8([[1, 2, 3]]), zero_point=np.int8(0), scale=np.float32(1e-6), axis=0
        )
        mb.output(mb.linear(x=x, weight=weight, name="y"))
    report = typed(program).report
    assert ops(program) == ["constexpr_affine_dequantize:fp32", "linear:fp32"]
    assert "'scale'" in report.kept[0].reason


def test_vanishing_elements_are_reported_once():
    """A constant of which a third becomes zero is named with the share and what is lost at most."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (3,))}) as (x,):
        held = mb.const(np.float32([1, 1e-9, -2e-9]), name="held")
        mb.output(mb.add(x=mb.mul(x=x, y=held), y=held))
    (found,) = typed(program).report.vanished
    assert (found.name, found.share) == ("held", 2 / 3)
    assert found.largest == pytest.approx(2e-9)


@pytest.mark.parametrize("place", [0, 70_000])  # also where a block of elements is not the first one
def test_the_ends_of_float16s_range_are_those_of_numpys_cast(place):
    """The numbers beside each end are held or lost as rounding them says, with a NaN among the others."""
    elements = np.ones(100_000, np.float32)
    elements[5] = np.nan
    ends = np.float32([65504, 65520, 2.0**-24, 2.0**-25])
    for number in (*ends, *np.nextafter(ends, np.float32(np.inf)), *np.nextafter(ends, np.float32(0)), np.inf):
        elements[place] = -number
        program = Program()
        with mb.function(program, "main", {"x": TensorType(fp32, (1,))}) as (x,):
            mb.output(mb.add(x=x, y=elements.reshape(2, -1).T))
        report = typed(program).report
        with np.errstate(over="ignore"):
            rounded = np.float16(number)
        assert bool(report.typed) == (np.isinf(rounded) == np.isinf(number)), number
        assert [found.largest for found in report.vanished] == ([number] if rounded == 0 else [])


def test_origins_name_what_was_typed():
    program = two_layers()
    report = typed(program).report
    assert report.origins == {"h_fp16": "h", "r_fp16": "r", "y_fp16": "y"}
