"""Formulas: what they match, and what they say when they do not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gristmill.ir.builder import mb
from gristmill.ir.op import Op
from gristmill.ir.types import fp16
from gristmill.passes.patterns import ANYTHING, Match, Miss, constant, find, op, scalar, var
from tests.passes.programs import build

X = var("x")


def root_of(make, *shapes, **options) -> Op:
    """The op that makes the first output."""
    return build(make, *(shapes or ((2, 3),)), **options).main.outputs[0].producer


@pytest.mark.parametrize(
    "make",
    [
        lambda x: mb.mul(x=mb.mul(x=0.5, y=x), y=mb.exp(x=x)),
        lambda x: mb.mul(x=0.5, y=mb.mul(x=mb.exp(x=x), y=x)),
        lambda x: mb.mul(x=mb.mul(x=mb.exp(x=x), y=0.5), y=x),
        lambda x: mb.real_div(x=mb.mul(x=x, y=mb.exp(x=x)), y=2.0),
        lambda x: mb.mul(x=mb.real_div(x=x, y=2.0), y=mb.exp(x=x)),
    ],
)
def test_products_match_in_any_order_and_association(make):
    """Five spellings of ``0.5·x·exp(x)``."""
    found = find(0.5 * X * op.exp(X), root_of(make))
    assert isinstance(found, Match)
    assert found["x"].name == "x"
    assert {o.op_name for o in found.ops} <= {"mul", "real_div", "exp"}


def test_sums_match_in_either_order_and_as_differences():
    formula = X + 3.0
    assert isinstance(find(formula, root_of(lambda x: mb.add(x=3.0, y=x))), Match)
    assert isinstance(find(formula, root_of(lambda x: mb.sub(x=x, y=-3.0))), Match)
    assert isinstance(find(formula, root_of(lambda x: mb.sub(x=-3.0, y=x))), Miss)


def test_a_variable_is_one_value():
    """``x·x`` is not ``x·y``."""
    assert isinstance(find(X * X, root_of(lambda x: mb.mul(x=x, y=x))), Match)
    missed = find(X * X, root_of(lambda x, y: mb.mul(x=x, y=y), (2,), (2,)))
    assert isinstance(missed, Miss)
    assert "'x' is" in missed.reason


@pytest.mark.parametrize(("number", "matches"), [(1.4142135, True), (1.4142136, True), (1.4142, False), (1.5, False)])
def test_numbers_match_to_the_last_place_of_float32(number, matches):
    """Seven digits of √2 are √2 in float32; five are another number."""
    root = root_of(lambda x: mb.mul(x=x, y=np.float32(number)))
    assert isinstance(find(X * math.sqrt(2), root), Match) is matches


def test_numbers_match_to_the_last_place_of_float16():
    """1.414 is as near to √2 as float16 comes."""
    assert isinstance(find(X * math.sqrt(2), root_of(lambda x: mb.mul(x=x, y=np.float16(1.414)), dtype=fp16)), Match)
    assert isinstance(find(X * math.sqrt(2), root_of(lambda x: mb.mul(x=x, y=np.float16(1.41)), dtype=fp16)), Miss)


def test_negative_zero_and_nan_are_no_numbers_of_a_formula():
    assert isinstance(find(X * 0.5, root_of(lambda x: mb.mul(x=x, y=np.float32(np.nan)))), Miss)
    assert isinstance(find(X * 0.5, root_of(lambda x: mb.mul(x=x, y=-0.5))), Miss)


def test_parameters_that_are_not_mentioned_have_their_defaults():
    """A reduction that drops its axes is not the one that keeps them."""

    def make(keep):
        return root_of(lambda x: mb.reduce_sum(x=x, axes=[1], keep_dims=keep))

    assert isinstance(find(op.reduce_sum(X, axes=ANYTHING), make(keep=False)), Match)
    missed = find(op.reduce_sum(X, axes=ANYTHING), make(keep=True))
    assert isinstance(missed, Miss)
    assert "keep_dims" in missed.reason
    assert isinstance(find(op.reduce_sum(X, axes=ANYTHING, keep_dims=True), make(keep=True)), Match)
    assert isinstance(find(op.reduce_sum(X, axes=(0,)), make(keep=False)), Miss)


def test_optional_operands_that_are_not_mentioned_are_absent():
    def make(x):
        return mb.linear(x=x, weight=np.ones((2, 3), np.float32), bias=np.ones(2, np.float32))

    missed = find(op.linear(X, weight=constant("w")), root_of(make))
    assert isinstance(missed, Miss)
    assert "'bias'" in missed.reason
    assert isinstance(find(op.linear(X, rest=True), root_of(make)), Match)


def test_an_interior_value_that_is_used_elsewhere_ends_a_match():
    def make(x):
        e = mb.exp(x=x, name="e")
        return mb.mul(x=x, y=e), e

    missed = find(X * op.exp(X), root_of(make))
    assert isinstance(missed, Miss)
    assert missed.op.title == "exp 'e'"
    assert "uses it too" in missed.reason


def test_an_interior_value_may_be_used_twice_inside():
    def make(x):
        e = mb.exp(x=x)
        return mb.mul(x=e, y=mb.add(x=e, y=1.0))

    assert isinstance(find(op.exp(X) * (op.exp(X) + 1), root_of(make)), Match)


def test_an_interior_value_of_another_block_ends_a_match():
    """What stands before a loop is not moved into it."""

    def make(x, y):
        e = mb.exp(x=x)
        with mb.nested() as yes:
            mb.output(mb.mul(x=x, y=e, name="inside"))
        with mb.nested() as no:
            mb.output(x)
        return mb.cond(pred=mb.greater(x=y, y=0.0), blocks=(yes, no))

    program = build(make, (2,), ())
    inside = next(o for o in program.main.body.walk() if o.name == "inside")
    missed = find(X * op.exp(X), inside)
    assert isinstance(missed, Miss)
    assert "another block" in missed.reason


def test_the_miss_that_came_furthest_is_told():
    """The pattern's first alternative fails at once, the second one at its last number."""
    formula = op.relu(X) | 0.5 * X * (1 + op.erf(X / math.sqrt(2)))

    def make(x):
        return mb.mul(x=mb.mul(x=x, y=0.5), y=mb.add(x=mb.erf(x=mb.real_div(x=x, y=1.5)), y=1.0))

    missed = find(formula, root_of(make))
    assert isinstance(missed, Miss)
    assert "1.5" in missed.reason
    assert "1.414" in missed.reason


def test_a_name_is_one_op():
    """Two equal reductions are one only once they have been merged."""
    pattern = op.reduce_max(X, axes=ANYTHING, keep_dims=True).named("m") * op.reduce_max(
        X, axes=ANYTHING, keep_dims=True
    ).named("m")

    def two(x):
        return mb.mul(x=mb.reduce_max(x=x, axes=[0], keep_dims=True), y=mb.reduce_max(x=x, axes=[1], keep_dims=True))

    def one(x):
        m = mb.reduce_max(x=x, axes=[0], keep_dims=True)
        return mb.mul(x=m, y=m)

    assert isinstance(find(pattern, root_of(two)), Miss)
    assert isinstance(find(pattern, root_of(one)), Match)


def test_numbers_are_told_by_name():
    found = find(X * scalar("s"), root_of(lambda x: mb.mul(x=0.25, y=x)))
    assert isinstance(found, Match)
    assert found.number("s") == 0.25
    assert found.get("nothing") is None
