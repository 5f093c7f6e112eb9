"""Small programs for tests of passes: built, run, and shown as text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping

import numpy as np

import gristmill.ops  # noqa: F401  # registers the ops
from gristmill.devices.reference.executor import ReferenceDevice
from gristmill.ir.builder import mb
from gristmill.ir.builtin import const
from gristmill.ir.clone import clone_program
from gristmill.ir.op import Op
from gristmill.ir.opset import Opset
from gristmill.ir.parser import parse_program
from gristmill.ir.printer import print_function
from gristmill.ir.program import Program, Value
from gristmill.ir.types import TensorType, fp32
from gristmill.ir.verify import verify
from gristmill.passes.infra import Pass, run_passes


def build(
    make: Callable[..., object],
    *shapes: tuple,
    dtype=fp32,
    opset: Opset = Opset.iOS17,
    types: Mapping[str, TensorType] | None = None,
) -> Program:
    """A program whose inputs x, y, z have the given shapes; ``make`` gets them and gives the output(s)."""
    program = Program(plain_scalars=True)
    inputs = types or {name: TensorType(dtype, shape) for name, shape in zip("xyzuvw", shapes, strict=False)}
    with mb.function(program, "main", inputs, opset) as values:
        made = make(*values)
        mb.output(*(made if isinstance(made, tuple | list) else (made,)))
    return program


def parse(text: str) -> Program:
    """A program of MIL text with one function, of which only the function is given."""
    return parse_program("program(1.3)\n{\n" + text + "\n}")


def changed(program: Program, *passes: Pass) -> list[str]:
    """Runs passes, checking the program after each; the names of those that changed it."""
    return run_passes(program, passes, verify=verify).changed


def ops(program: Program) -> list[str]:
    """Names of the ops that are no constants, nested ones included."""
    return [op.op_name for op in program.main.body.walk() if not isinstance(op, const)]


def only(program: Program, op_name: str) -> Op:
    """The only op of that name."""
    (found,) = [op for op in program.main.body.walk() if op.op_name == op_name]
    return found


def shown(program: Program) -> str:
    """The function as text, names of ops left out where results say them anyway, without indentation of the frame."""
    text = print_function(program.main, max_elements=16)
    return textwrap.dedent(re.sub(r'\[name = string\("[^"]*"\)\]|name = string\("[^"]*"\), ', "", text)).strip()


def expected(text: str) -> str:
    return textwrap.dedent(text).strip()


def run(program: Program, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    return ReferenceDevice().prepare(program.main).run(inputs)


def random_inputs(program: Program, sizes: Mapping[str, int] | None = None, seed: int = 0) -> dict[str, np.ndarray]:
    """Normal numbers for every input; symbols have the given sizes."""
    rng = np.random.default_rng(seed)
    found = {}
    for value in program.main.inputs:
        shape = [dim if isinstance(dim, int) else dim.evaluate(sizes or {}) for dim in value.shape]
        found[value.name] = rng.standard_normal(shape).astype(value.dtype.numpy)
    return found


def assert_same(before: Program, after: Program, sizes: Mapping[str, int] | None = None, *, ulp: float = 16) -> None:
    """Both give the same results on random numbers.

    The fused op rounds once where the formula rounds after each of its ops, so results differ by the formula's own
    rounding errors: a few units in the last place of the largest intermediate, of which ``ulp`` counts how many.
    """
    inputs = random_inputs(before, sizes)
    for a, b in zip(run(before, inputs), run(after, inputs), strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        eps = float(np.finfo(a.dtype).eps) if a.dtype.kind == "f" else 0
        np.testing.assert_allclose(b, a, rtol=0, atol=ulp * eps * max(1.0, float(np.abs(a).max(initial=0))))


def transformed(program: Program, *passes: Pass, sizes: Mapping[str, int] | None = None, ulp: float = 16) -> Program:
    """A copy after the passes, which are checked: results stay, and a second run changes nothing."""
    copied = clone_program(program)
    changed(copied, *passes)
    assert_same(program, copied, sizes, ulp=ulp)
    assert changed(copied, *passes) == []
    return copied


def fill(shape: tuple[int, ...], seed: int = 1, dtype=np.float32) -> np.ndarray:
    """Numbers for a constant."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def value_named(program: Program, name: str) -> Value:
    return next(value for value in program.main.values() if value.name == name)
