"""The reference device keeps the precision contract: no value has less precision than its declared type."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.devices.reference import ReferenceDevice
from gristmill.errors import UnsupportedError
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, dtype_of, unit_float
from gristmill.runtime.session import Session


def run(build, *arrays: np.ndarray) -> np.ndarray:
    program = Program()
    types = {f"x{k}": TensorType(dtype_of(a.dtype), a.shape) for k, a in enumerate(arrays)}
    with mb.function(program, "main", types, Opset.iOS17) as values:
        mb.output(build(*values))
    (result,) = Session(program.main, ReferenceDevice()).run(dict(zip(types, arrays, strict=True))).values()
    return result


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize("value", [1 + 2**-23, 1e30, 1e-40, -1e-45], ids=str)
def test_float32_values_survive(value):
    """Values that TF32, bfloat16, float16 or flushing to zero would lose pass through arithmetic unharmed."""
    assert run(lambda x: mb.mul(x=x, y=1.0), f32(value))[0] == np.float32(value)


def test_sums_do_not_absorb_small_terms():
    """2²⁴ + 1 + … + 1: a float32 running sum would stay at 2²⁴; the result is the exact sum, rounded once."""
    x = np.concatenate([f32(2**24), np.ones(1000, np.float32)])
    assert run(lambda x: mb.reduce_sum(x=x, axes=[0], keep_dims=True), x)[0] == 2**24 + 1000


def test_products_are_summed_wide():
    """A dot product whose large terms cancel keeps the small one, which TF32 and float32 would both lose."""
    x = f32(2**13 + 1, 2**13 - 1, 1).reshape(1, 3)
    y = f32(2**13 - 1, -(2**13 + 1), 2**-20).reshape(3, 1)
    assert run(lambda x, y: mb.matmul(x=x, y=y), x, y)[0, 0] == np.float32(2**-20)


def test_float16_is_rounded_once_an_op():
    """Each float16 op rounds its result: 2048 + 1 + 1 is 2048, and the exact sum of all three 2050."""
    x = np.array([2048], np.float16)
    one = np.array([1], np.float16)
    assert run(lambda x, y: mb.add(x=mb.add(x=x, y=y), y=y), x, one)[0] == 2048


def test_float16_subnormals_are_kept():
    """The smallest float16 number is not flushed."""
    tiny = np.array([2**-24], np.float16)
    assert run(lambda x: mb.mul(x=x, y=1.0), tiny)[0] == tiny[0]


@pytest.mark.parametrize("value", [2**24 + 1, 2**31 - 1, -(2**31)])
def test_integers_do_not_pass_through_floats(value):
    """Integers beyond 2²⁴ are exact."""
    assert run(lambda x: mb.add(x=x, y=0), np.array([value], np.int32))[0] == value


def test_integers_wrap():
    """2³¹ - 1 + 1 is -2³¹, modulo 2³²."""
    assert run(lambda x: mb.add(x=x, y=1), np.array([2**31 - 1], np.int32))[0] == -(2**31)


def test_untyped_tensors_are_refused():
    """A tensor whose type is the unit's to decide does not run before it has one."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(unit_float, (1,))}) as (x,):
        mb.output(mb.relu(x=x))
    with pytest.raises(UnsupportedError, match="no type yet"):
        ReferenceDevice().prepare(program.main)
