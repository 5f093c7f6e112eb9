"""PyTorch: exported programs and modules become programs with the source's own element types.

Importing this package imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.export import ExportedProgram

from gristmill.errors import InputTypeError, UnsupportedError
from gristmill.frontends.common import InputSpec
from gristmill.frontends.torch import (  # noqa: F401  # each registers its lowerings
    activation,
    attention,
    complex_numbers,
    control_flow,
    conv,
    creation,
    elementwise,
    elementwise_unary,
    embedding,
    indexing,
    linear,
    normalization,
    pooling,
    quantization,
    random,
    recurrent,
    reduction,
    resize,
    scan,
    shape,
    sizes,
    sorting,
    torchvision,
)
from gristmill.frontends.torch.evaluate import Source
from gristmill.frontends.torch.exported import lower_exported
from gristmill.frontends.torch.module import export_module
from gristmill.frontends.torch.registry import lowers
from gristmill.frontends.torch.script import ScriptInterpreter
from gristmill.frontends.torch.user_ops import register_torch_op
from gristmill.ir.opset import Opset, iOS15
from gristmill.ir.program import Program

__all__ = ["InputSpec", "Source", "lower", "lower_beside", "lowers", "register_torch_op"]


def lower(
    source: Any,
    *,
    opset: Opset = iOS15,
    inputs: Sequence[InputSpec] | None = None,
    output_names: Sequence[str] | None = None,
) -> Program:
    """Converts a PyTorch model to a program with one function, ``main``.

    Values have the source's element types, as far as Core ML has them: float64 and bfloat16 become float32, integers
    int32. Boolean inputs and outputs become float32, and an input of rank 0 gets the shape ``(1,)``, since Core ML's
    interface has neither. In-place operators and views behave as in PyTorch. An argument that the model mutates is not
    returned.

    Args:
        source: A ``torch.export.ExportedProgram``, or an ``nn.Module`` or TorchScript module, which is exported in
            evaluation mode with inputs made up from ``inputs``, whose shapes are then required.
        opset: The generation of the operation set to write for.
        inputs: Descriptions of the inputs, in the order of the model's tensor arguments, structures flattened. What
            they leave out follows from the model: an input is named after its argument.
        output_names: Names of the outputs; by default those of the exported graph's nodes.

    Raises:
        UnsupportedOperatorsError: The model uses operators that have no counterpart; all are listed, with their places.
        UnsupportedError: The model does something else that cannot be converted.
        ConversionError: ``torch.export`` failed, or a constant does not fit its type.
        InputError: ``inputs`` or ``output_names`` do not fit the model.
    """
    program, _ = lower_beside(source, opset=opset, inputs=inputs, output_names=output_names)
    return program


def lower_beside(
    source: Any,
    *,
    opset: Opset = iOS15,
    inputs: Sequence[InputSpec] | None = None,
    output_names: Sequence[str] | None = None,
) -> tuple[Program, Source]:
    """As ``lower``, together with the source in a form that can be run and compared with the program."""
    if isinstance(source, torch.jit.ScriptFunction):
        raise UnsupportedError(
            "a TorchScript function is not converted", actual=type(source).__name__, hint="script or trace a module"
        )
    root = ""
    if isinstance(source, torch.jit.ScriptModule):
        source, root = ScriptInterpreter(source), ScriptInterpreter.ROOT
        inputs = None if inputs is None else source.named(inputs)
    made_up = isinstance(source, torch.nn.Module)
    if made_up:
        source, inputs = export_module(source, inputs)
    if not isinstance(source, ExportedProgram):
        raise InputTypeError(
            "not a PyTorch model",
            expected="torch.export.ExportedProgram or torch.nn.Module",
            actual=type(source).__name__,
        )
    program, beside = lower_exported(source, opset=opset, inputs=inputs, output_names=output_names, root=root)
    beside.made_up = made_up
    return program, beside
