"""Casts cancel where nobody asked for their rounding, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.ir.builder import mb
from gristmill.ir.types import DTYPES, TensorType
from gristmill.passes.cast_cancelling import CastCancelling
from gristmill.passes.dead_code import DeadCode
from gristmill.passes.no_ops import NoOps
from tests.passes.programs import build, changed, ops, run, transformed


def cast_twice(start, middle, end, *, inserted=(False, False)):
    """``start`` to ``middle`` to ``end``, between ops that keep types."""

    def make(x):
        x = mb.transpose(x=x, perm=[0])
        for dtype, flag in zip((middle, end), inserted, strict=True):
            x = mb.cast(x=x, dtype=dtype)
            x.producer.inserted = flag
        return mb.reverse(x=x)

    return build(make, types={"x": TensorType(DTYPES[start], (5,))})


def casts(program):
    changed(program, CastCancelling(), DeadCode())
    return [op.result.dtype.name for op in program.main.body if op.op_name == "cast"]


@pytest.mark.parametrize(
    ("start", "middle", "end", "left"),
    [
        ("fp16", "fp32", "fp16", []),
        ("int8", "int32", "int8", []),
        ("uint8", "fp16", "uint8", []),
        ("bool", "fp32", "bool", []),
        ("int8", "int16", "int32", ["int32"]),
        ("fp16", "fp32", "int32", ["int32"]),
        ("int16", "int32", "fp16", ["fp16"]),
        ("int32", "fp32", "fp16", ["fp16"]),
    ],
)
def test_a_cast_that_rounds_nothing_is_left_out(start, middle, end, left):
    assert casts(cast_twice(start, middle, end)) == left


@pytest.mark.parametrize(
    ("start", "middle", "end"),
    [
        ("fp32", "fp16", "fp32"),  # a rounding point of the source
        ("int32", "fp32", "int32"),  # float32 holds integers of 24 bits
        ("int16", "fp16", "int16"),
        ("int16", "fp32", "int8"),  # floats stop at 127, integers wrap
        ("int32", "int8", "int32"),
        ("fp32", "int32", "fp32"),
        ("int32", "bool", "int32"),
    ],
)
def test_a_rounding_that_the_source_wrote_stays(start, middle, end):
    assert casts(cast_twice(start, middle, end)) == [middle, end]


@pytest.mark.parametrize("number", [2047, 2049, 2051, 65519, 65520, 2**24 - 1, 2**24 + 1, 2**31 - 1])
def test_integers_become_float16_the_same_with_and_without_float32_between(number):
    """What float32 rounds is infinite in float16; what it does not round is rounded once."""
    program = cast_twice("int32", "fp32", "fp16")
    x = np.array([number, -number, 0, 1, -1], np.int32)
    (before,) = run(program, {"x": x})
    assert casts(program) == ["fp16"]
    np.testing.assert_array_equal(run(program, {"x": x})[0], before)


def test_inserted_casts_cancel():
    """Typing put both there: the rounding between them is nobody's wish."""
    assert casts(cast_twice("fp32", "fp16", "fp32", inserted=(True, True))) == []


def test_an_inserted_narrowing_before_a_written_cast():
    """The source casts what was float32 to float32: nothing is left."""
    assert casts(cast_twice("fp32", "fp16", "fp32", inserted=(True, False))) == []


def test_a_written_narrowing_before_an_inserted_cast_stays():
    program = cast_twice("fp32", "fp16", "fp32", inserted=(False, True))
    assert casts(program) == ["fp16", "fp32"]
    x = np.array([1 + 2**-12, 3, 4, 5, 6], np.float32)
    assert run(program, {"x": x})[0][-1] == 1  # 1 + 2⁻¹² is no float16


def test_the_merged_cast_is_inserted_if_the_second_was():
    program = cast_twice("int8", "int16", "int32", inserted=(False, True))
    changed(program, CastCancelling())
    assert all(op.inserted for op in program.main.body if op.op_name == "cast" and op.result.dtype.name == "int32")


def test_the_first_cast_stays_for_its_other_users():
    def make(x):
        wide = mb.cast(x=mb.abs(x=x), dtype="fp32", name="wide")
        return wide, mb.abs(x=mb.cast(x=wide, dtype="fp16"))

    program = build(make, types={"x": TensorType(DTYPES["fp16"], (2,))})
    after = transformed(program, CastCancelling(), NoOps(), ulp=0)
    assert ops(after) == ["abs", "cast", "abs"]
