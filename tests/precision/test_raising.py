"""Raising a float16 program to float32: types, names and values, and the way back."""

from __future__ import annotations

import numpy as np

from gristmill.devices.reference import ReferenceDevice
from gristmill.ir.builder import mb
from gristmill.ir.clone import clone_program
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp16, fp32
from gristmill.ir.verify import verify
from gristmill.passes.infra import run_passes
from gristmill.passes.pipeline import cleanup
from gristmill.precision.raising import Float32Raising
from gristmill.precision.typing import Float16Typing
from gristmill.runtime.session import Session

X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float16)


def half_program() -> Program:
    """Two layers in float16, with a cast that a file wrote between them."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp16, (2, 3))}, Opset.iOS17) as (x,):
        h = mb.linear(x=x, weight=np.full((4, 3), 0.1, np.float16), name="h")
        wide = mb.cast(x=mb.exp(x=h, name="e"), dtype="fp32", name="wide")
        mb.output(mb.tanh(x=mb.cast(x=wide, dtype="fp16", name="narrow"), name="y"))
    return program


def run(program: Program) -> np.ndarray:
    return Session(program.main, ReferenceDevice()).run({"x": X})["y"]


def raised(program: Program) -> Program:
    copied = clone_program(program)
    run_passes(copied, [Float32Raising(), *cleanup()], verify=verify)
    return copied


def test_everything_between_the_borders_is_float32():
    program = raised(half_program())
    types = {op.name: op.result.dtype for op in program.main.body if op.op_name in ("linear", "exp", "tanh")}
    assert types == {"h": fp32, "e": fp32, "y": fp32}
    assert [op.op_name for op in program.main.body if op.op_name == "cast"] == ["cast", "cast"]
    assert (program.main.inputs[0].dtype, program.main.outputs[0].dtype) == (fp16, fp16)
    assert program.main.outputs[0].name == "y"


def test_values_are_those_of_exact_arithmetic():
    """Constants are as they were, 0.1 in float16; nothing is rounded but the output."""
    weight = np.full((4, 3), np.float16(0.1), np.float64)
    wanted = np.tanh(np.exp(X.astype(np.float64) @ weight.T)).astype(np.float16)
    np.testing.assert_array_equal(run(raised(half_program())), wanted)


def test_typing_again_gives_the_program_back():
    """Raised and typed, the program computes what it did, bit for bit."""
    program = half_program()
    again = raised(program)
    run_passes(again, [Float16Typing(), *cleanup()], verify=verify)
    assert all(op.result.dtype == fp16 for op in again.main.body if op.op_name in ("linear", "exp", "tanh"))
    np.testing.assert_array_equal(run(again), run(program))
