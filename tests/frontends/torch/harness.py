"""Runs a PyTorch function as a converted program on the reference device and holds it against PyTorch itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from gristmill.devices.reference import ReferenceDevice
from gristmill.frontends.torch import lower
from gristmill.frontends.torch.graph import quiet
from gristmill.ir.opset import Opset, iOS17
from gristmill.ir.program import Program
from gristmill.ir.types import StateType
from gristmill.ir.verify import verify
from gristmill.runtime.session import Session

# PyTorch rounds every intermediate result to float32, the reference device only what an op returns, after float64: they
# differ by a few units in the last place (2⁻²⁴) of the largest magnitude, and sums of N terms by √N of them.
TOLERANCE = 2e-6


class Case(NamedTuple):
    """A function with the inputs to call it with."""

    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    tolerance: float = TOLERANCE
    opsets: tuple[Opset, ...] = (iOS17,)


def case(name: str, function: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    """One parameter of a test over many functions."""
    return pytest.param(Case(function, inputs, **options), id=name)


class Wrapper(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


def exported(function: Any, *inputs: Any, dynamic_shapes: Any = None) -> torch.export.ExportedProgram:
    module = function if isinstance(function, torch.nn.Module) else Wrapper(function)
    with quiet():
        return torch.export.export(module.eval(), tuple(inputs), dynamic_shapes=dynamic_shapes)


def run(program: Program, *inputs: Any) -> list[Any]:
    """The program's outputs for PyTorch's inputs, whose structure is flattened."""
    verify(program)
    session = Session(program.main, ReferenceDevice())
    tensors = [value for value in program.main.inputs if not isinstance(value.type, StateType)]
    leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(inputs) if isinstance(leaf, torch.Tensor)]
    arrays = {
        value.name: leaf.detach().numpy().astype(value.dtype.numpy).reshape(leaf.shape or (1,))
        for value, leaf in zip(tensors, leaves, strict=True)
    }
    found = session.run(arrays)
    return [found[value.name] for value in program.main.outputs]


def compare(found: Sequence[Any], expected: Any, tolerance: float = TOLERANCE) -> None:
    """Integers and truth values are equal, floats within the tolerance of the largest magnitude."""
    leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(expected) if leaf is not None]
    assert len(found) == len(leaves)
    for mine, theirs in zip(found, leaves, strict=True):
        want = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
        assert mine.shape == want.shape
        if want.dtype.kind in "iub":
            np.testing.assert_array_equal(mine.astype(np.int64), want.astype(np.int64))
            continue
        finite = np.abs(want[np.isfinite(want)])
        scale = max(float(finite.max()) if finite.size else 0.0, 1e-3)
        np.testing.assert_allclose(mine, want.astype(np.float64), rtol=tolerance, atol=tolerance * scale)


def agree(case: Case, dynamic_shapes: Any = None) -> Program:
    """Converts for each opset, runs and compares; gives the last program."""
    source = exported(case.function, *case.inputs, dynamic_shapes=dynamic_shapes)
    copies = torch.utils._pytree.tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, case.inputs)
    module = case.function if isinstance(case.function, torch.nn.Module) else Wrapper(case.function)
    with torch.no_grad():
        expected = module(*copies)
    for opset in case.opsets:
        program = lower(source, opset=opset)
        compare(run(program, *case.inputs), expected, case.tolerance)
    return program


def floats(*shape: int, low: float = -2.0, high: float = 2.0) -> torch.Tensor:
    """Numbers that are the same in every run."""
    generator = torch.Generator().manual_seed(sum(shape) + len(shape))
    return torch.rand(shape, generator=generator) * (high - low) + low


def ints(*shape: int, low: int = -9, high: int = 10, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape) + len(shape))
    return torch.randint(low, high, shape, generator=generator, dtype=dtype)


def bools(*shape: int) -> torch.Tensor:
    return ints(*shape) > 0
