"""Equal parameters become one constant, and nothing else changes."""

from __future__ import annotations

import numpy as np
import torch

import gristmill as ct
from gristmill.ir.builder import mb
from gristmill.passes.common_subexpressions import SharedParameters
from tests.passes.programs import build, changed, transformed


def constants(program):
    return [op.name for op in program.main.body.walk() if op.op_name == "const"]


def test_equal_parameters_are_one_constant():
    """The first stays, under its name; numbers of another type, shape or value are other constants."""

    def make(x):
        first = mb.transpose(x=x, perm=[1, 0], name="first")
        second = mb.transpose(x=mb.add(x=first, y=np.float32(1)), perm=[1, 0], name="second")
        third = mb.transpose(x=mb.add(x=second, y=np.full((1,), 1, np.float32)), perm=[0, 1], name="third")
        return mb.mul(x=mb.add(x=third, y=np.float32(1), name="again"), y=np.float32(-0.0))

    program = build(make, (3, 4))
    assert len(constants(program)) == 7
    after = transformed(program, SharedParameters(), ulp=0)
    assert len(constants(after)) == 5
    assert "first_perm" in constants(after)
    assert "second_perm" not in constants(after)


def test_zeros_of_either_sign_are_two():
    program = build(lambda x: [mb.real_div(x=x, y=np.float32(zero)) for zero in (0.0, -0.0)], (3,))
    assert changed(program, SharedParameters()) == []


def test_nested_blocks_take_what_their_surroundings_have():
    """But one branch does not take what another one has."""

    def make(x, y):
        doubled = mb.mul(x=x, y=np.float32(2), name="doubled")
        with mb.nested() as yes:
            mb.output(mb.add(x=mb.mul(x=x, y=np.float32(2), name="there"), y=np.float32(3), name="yes"))
        with mb.nested() as no:
            mb.output(mb.sub(x=x, y=np.float32(3), name="no"))
        return mb.add(x=doubled, y=mb.cond(pred=mb.greater(x=y, y=0.0), blocks=(yes, no)))

    after = transformed(build(make, (3, 4), ()), SharedParameters(), ulp=0)
    assert {"doubled_y", "yes_y", "no_y"} <= set(constants(after))
    assert "there_y" not in constants(after)


def test_a_converted_model_states_each_parameter_once(tmp_path):
    """Three convolutions of one kind; what is saved, loaded and run is what was converted."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(*(torch.nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))).eval()
    x = torch.rand(1, 4, 8, 8)
    model = ct.convert(torch.export.export(module, (x,)), compute_precision=ct.precision.FLOAT32)
    stated = [op.result.constant for op in model.program.main.body if op.op_name == "const"]
    small = [(c.type, c.numpy().tobytes()) for c in stated if c.data.size < 10 and c.data.dtype.name != "string"]
    assert len(small) == len(set(small))
    model.save(tmp_path / "m.mlpackage")
    found = ct.models.MLModel(tmp_path / "m.mlpackage").predict({model.inputs[0].name: x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(next(iter(found.values())), module(x).numpy(), rtol=1e-5, atol=1e-6)  # float32's
