"""The choice of passes reaches a conversion."""

from __future__ import annotations

import pytest
import torch

import gristmill as ct
from gristmill.errors import InputTypeError
from gristmill.passes.dead_code import DeadCode


class Gate(torch.nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


def converted(**options):
    model = torch.export.export(Gate(), (torch.zeros(2, 3),))
    result = ct.convert(model, compute_precision=ct.precision.FLOAT32, **options)
    return [op.op_name for op in result.package.program.main.body if op.op_name != "const"]


def test_a_pipeline_or_passes_or_neither():
    assert converted() == ["silu"]
    assert converted(pass_pipeline=ct.PassPipeline.DEFAULT) == ["silu"]
    assert converted(pass_pipeline=ct.PassPipeline.EMPTY) == ["sigmoid", "mul"]
    assert converted(pass_pipeline=[DeadCode()]) == ["sigmoid", "mul"]


@pytest.mark.parametrize("wrong", ["default", 3, [DeadCode], ["dead_code"]])
def test_anything_else_is_an_error(wrong):
    with pytest.raises(InputTypeError, match="pass_pipeline"):
        converted(pass_pipeline=wrong)
