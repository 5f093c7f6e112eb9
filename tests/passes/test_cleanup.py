"""Clean-up passes: what they remove, what they must leave alone, and that values stay as they are."""

from __future__ import annotations

import numpy as np

from gristmill.ir.builder import mb
from gristmill.ir.constants import LazyData
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp32
from gristmill.ir.verify import verify
from gristmill.passes.common_subexpressions import CommonSubexpressions
from gristmill.passes.constant_folding import ConstantFolding
from gristmill.passes.dead_code import DeadCode
from gristmill.passes.infra import run_passes


def names(program: Program) -> list[str]:
    return [op.op_name for op in program.main.body]


def test_dead_code_erases_chains_and_their_constants():
    """An unused op goes, then what only it used, constants included."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (2,))}) as (x,):
        mb.exp(x=mb.add(x=x, y=1.0))
        mb.output(mb.relu(x=x))
    assert run_passes(program, [DeadCode()], verify=verify).changed == ["dead_code"]
    assert names(program) == ["relu"]


def test_dead_code_reports_no_change():
    """A pass that changes nothing says so."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (2,))}) as (x,):
        mb.output(mb.relu(x=x))
    assert run_passes(program, [DeadCode()], verify=verify).changed == []


def test_folding_rounds_to_the_declared_type():
    """2²⁴ + 1 is 2²⁴ in float32, folded or not."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (1,))}) as (x,):
        folded = mb.add(x=mb.const(np.float32(2**24)), y=np.float32(1))
        mb.output(mb.mul(x=x, y=folded))
    run_passes(program, [ConstantFolding(), DeadCode()], verify=verify)
    (operand,) = [op.result.constant for op in program.main.body if op.op_name == "const"]
    assert operand is not None
    assert operand.numpy() == np.float32(2**24)


def test_folding_does_not_grow_the_file():
    """A large tensor made of a small constant is left to be made at run time."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (1, 100_000))}) as (x,):
        mb.output(mb.add(x=x, y=mb.fill(shape=(1, 100_000), value=1.0)))
    run_passes(program, [ConstantFolding()], verify=verify)
    assert "fill" in names(program)


def test_folding_a_large_constant_waits_until_it_is_read():
    """A transposed weight is no second copy of the weight."""
    reads = []

    def produce():
        reads.append(1)
        return np.arange(300 * 400, dtype=np.float32).reshape(300, 400)

    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (400, 300))}) as (x,):
        weight = mb.const(LazyData(fp32, (300, 400), produce))
        mb.output(mb.add(x=x, y=mb.transpose(x=weight, perm=[1, 0])))
    assert run_passes(program, [ConstantFolding(), DeadCode()], verify=verify).changed == [
        "constant_folding",
        "dead_code",
    ]
    assert names(program) == ["const", "add"]
    assert reads == []
    (folded,) = [op.result.constant for op in program.main.body if op.op_name == "const"]
    assert folded is not None
    np.testing.assert_array_equal(folded.numpy(), produce().T)


def test_random_ops_are_neither_folded_nor_merged():
    """Two random tensors of the same description are two tensors."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (3,))}) as (x,):
        a = mb.random_uniform(shape=(3,), low=0.0, high=1.0, seed=-1)
        b = mb.random_uniform(shape=(3,), low=0.0, high=1.0, seed=-1)
        mb.output(mb.add(x=x, y=mb.sub(x=a, y=b)))
    run_passes(program, [ConstantFolding(), CommonSubexpressions(), DeadCode()], verify=verify)
    assert names(program).count("random_uniform") == 2


def test_equal_computations_merge():
    """Equal ops on equal operands, made of equal constants, are computed once."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (3,))}) as (x,):
        mb.output(mb.mul(x=mb.add(x=x, y=1.0), y=mb.add(x=x, y=1.0)))
    run_passes(program, [CommonSubexpressions(), DeadCode()], verify=verify)
    assert names(program) == ["const", "add", "mul"]


def test_negative_zero_is_not_zero():
    """Constants merge only when their bits are equal."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (1,))}) as (x,):
        mb.output(mb.add(x=mb.real_div(x=x, y=0.0), y=mb.real_div(x=x, y=-0.0)))
    run_passes(program, [CommonSubexpressions()], verify=verify)
    assert names(program).count("real_div") == 2


def test_a_branch_sees_outer_values_but_not_the_other_branch():
    """An op inside a branch merges with an equal one before the branch, never with one in the other branch."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, ())}, Opset.iOS17) as (x,):
        outer = mb.exp(x=x)
        with mb.nested() as yes:
            mb.output(mb.add(x=mb.exp(x=x), y=mb.sin(x=x)))
        with mb.nested() as no:
            mb.output(mb.sin(x=x))
        chosen = mb.op("cond", pred=mb.greater(x=x, y=0.0), blocks=(yes, no))
        mb.output(mb.add(x=outer, y=chosen))
    run_passes(program, [CommonSubexpressions()], verify=verify)
    inside = [op.op_name for op in program.main.body.walk()]
    assert inside.count("exp") == 1
    assert inside.count("sin") == 2
