"""Small models for the tests of this folder, made with the builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import gristmill as ct
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program, Value
from gristmill.ir.types import TensorType, Type, fp32
from gristmill.package import Package

WEIGHT = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


def package(inputs: Mapping[str, Type], build: Callable[..., Value | Sequence[Value]]) -> Package:
    """A model whose program ``build`` makes of its inputs."""
    program = Program()
    with mb.function(program, "main", dict(inputs), Opset.iOS18) as arguments:
        outputs = build(*arguments)
        mb.output(*([outputs] if isinstance(outputs, Value) else outputs))
    return Package.from_program(program)


def model(inputs: Mapping[str, Type], build: Callable[..., Value | Sequence[Value]]) -> ct.models.MLModel:
    return ct.models.MLModel(package(inputs, build))


def linear() -> Package:
    """``y = x·WEIGHTᵀ`` for one row ``x`` of three."""
    bias = np.zeros(2, np.float32)
    return package({"x": TensorType(fp32, (1, 3))}, lambda x: mb.linear(x=x, weight=WEIGHT, bias=bias, name="y"))


def row(*numbers: float, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    """One row, as a model takes it."""
    return np.array([numbers], dtype)
