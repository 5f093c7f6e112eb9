"""Ops that give back their operand go, and only those that do so bit by bit."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.ir import dims
from gristmill.ir.builder import mb
from gristmill.ir.types import TensorType, bool_, fp16, fp32, int32
from gristmill.passes.no_ops import NoOps
from tests.passes.programs import build, changed, expected, ops, parse, shown, transformed

N = dims.symbol("n", 1, 64)
M = dims.symbol("m", 1, 64)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: mb.identity(x=x),
        lambda x: mb.cast(x=x, dtype="fp32"),
        lambda x: mb.transpose(x=x, perm=[0, -2, 2]),
        lambda x: mb.reshape(x=x, shape=[-1, 1, 4]),
        lambda x: mb.squeeze(x=x, axes=[2]),
        lambda x: mb.expand_dims(x=x, axes=[]),
        lambda x: mb.slice_by_index(x=x, begin=[0, 0, 0], end=[0, 1, 4], end_mask=[True, False, False]),
        lambda x: mb.slice_by_size(x=x, begin=[0, 0, 0], size=[-1, 1, 4]),
        lambda x: mb.pad(x=x, pad=[0, 0, 0, 0], mode="reflect"),
        lambda x: mb.concat(values=[x], axis=1),
        lambda x: mb.split(x=x, num_splits=1, axis=2),
        lambda x: mb.tile(x=x, reps=[1, 1, 1]),
        lambda x: mb.mul(x=x, y=1.0),
        lambda x: mb.mul(x=np.ones((1, 1, 4), np.float32), y=x),
        lambda x: mb.real_div(x=x, y=1.0),
        lambda x: mb.pow(x=x, y=1.0),
        lambda x: mb.sub(x=x, y=0.0),
        lambda x: mb.add(x=-0.0, y=x),
    ],
)
def test_an_op_without_effect_goes(make):
    """With a size that is not known before the run."""
    program = build(lambda x: mb.relu(x=make(mb.exp(x=x))), (N, 1, 4))
    after = transformed(program, NoOps(), sizes={"n": 3}, ulp=0)
    assert ops(after) == ["exp", "relu"]


@pytest.mark.parametrize(
    "make",
    [
        lambda x: mb.add(x=x, y=0.0),  # -0 becomes 0
        lambda x: mb.sub(x=x, y=-0.0),  # so here
        lambda x: mb.sub(x=0.0, y=x),
        lambda x: mb.mul(x=x, y=np.nextafter(np.float32(1), np.float32(2))),
        lambda x: mb.mul(x=x, y=np.ones((1, 1, 1, 1), np.float32)),  # the rank grows
        lambda x: mb.real_div(x=1.0, y=x),
        lambda x: mb.pow(x=1.0, y=x),
        lambda x: mb.transpose(x=x, perm=[1, 0, 2]),
        lambda x: mb.slice_by_index(
            x=x, begin=[-1, 0, 0], end=[0, 0, 0], stride=[-1, 1, 1], begin_mask=[True] * 3, end_mask=[True] * 3
        ),  # reversed
        lambda x: mb.pad(x=x, pad=[1, -1], mode="constant"),  # shifted
        lambda x: mb.cast(x=x, dtype="fp16"),
        lambda x: mb.reverse(x=x, axes=[0]),
    ],
)
def test_an_op_with_effect_stays(make):
    program = build(lambda x: make(mb.exp(x=x)), (3, 3, 4))
    assert changed(program, NoOps()) == []


def test_unknown_sizes_are_not_taken_for_equal():
    """A slice of ``x`` that is as long as ``z`` is all of ``x`` only if the two are equally long."""

    def make(x, z):
        return mb.relu(x=mb.slice_by_size(x=x, begin=[0], size=mb.shape(x=z)))

    types = {"x": TensorType(fp32, (N,)), "z": TensorType(fp32, (M,))}
    assert changed(build(make, types=types), NoOps()) == []
    same = {"x": TensorType(fp32, (N,)), "z": TensorType(fp32, (N,))}
    assert changed(build(make, types=same), NoOps()) == ["no_ops"]


def test_integers_and_bools():
    def make(x, y):
        return mb.add(x=mb.mul(x=mb.add(x=x, y=0), y=1), y=mb.cast(x=mb.cast(x=y, dtype="bool"), dtype="int32"))

    program = build(make, types={"x": TensorType(int32, (2,)), "y": TensorType(bool_, (2,))})
    changed(program, NoOps())
    assert ops(program) == ["cast", "add"]


def test_an_output_keeps_its_name_and_takes_it_to_what_it_becomes():
    program = parse("""
        func main<ios17>(tensor<fp32, [n]> x) {
            tensor<fp32, [n]> a = exp(x = x)[name = string("a")];
            tensor<fp32, [n]> result = identity(x = a)[name = string("result")];
        } -> (result);
    """)
    assert changed(program, NoOps()) == ["no_ops"]
    assert shown(program) == expected("""
        func main<ios17>(tensor<fp32, [n]> x) {
                tensor<fp32, [n]> result = exp(x = x);
            } -> (result);
    """)


def test_an_output_that_is_an_input_or_another_output_keeps_its_maker():
    """Two outputs have two names, and no output is an input."""

    def make(x):
        a = mb.exp(x=x, name="a")
        return mb.identity(x=x, name="same"), a, mb.identity(x=a, name="b")

    program = build(make, (2,))
    assert changed(program, NoOps()) == []
    assert [value.name for value in program.main.outputs] == ["same", "a", "b"]


def test_a_cast_to_the_same_type_goes_whoever_wrote_it():
    program = build(lambda x: mb.relu(x=mb.cast(x=x, dtype="fp16")), (2,), dtype=fp16)
    changed(program, NoOps())
    assert ops(program) == ["relu"]
