"""Programs become networks that do the same: each is written, read again, and run beside the program itself."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.devices.reference import ReferenceDevice
from gristmill.ir import registry, types
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp32
from gristmill.models import networks
from gristmill.package import Package, description, proto
from gristmill.package.network_writer import NetworkRefusedError, write_network
from gristmill.runtime.session import Session
from tests.op_cases.case import Case
from tests.test_op_cases import VARIANTS

NOT_HELD = {
    "affine": "no layer; coremltools has it for ML Programs only, too",
}
"""Ops that no network holds, or not with some operands, each with its reason."""

INTEGERS = 1 << 24
"""The numbers of a network are float32, so integers are exact up to here."""

HERE = [(case, opset, name) for case, dtype, opset, name in VARIANTS if dtype == fp32]


def described(program: Program):
    """The description of a program; truth values are handed over as integers."""
    found = proto.message("ModelDescription")()
    for values, features in ((program.main.inputs, found.input), (program.main.outputs, found.output)):
        for value in values:
            array = features.add(name=value.name).type.multiArrayType
            array.dataType = 65568 if value.dtype.is_float else 131104
            array.shape.extend(value.shape if values is program.main.inputs and value.rank else [1] if values is program.main.inputs else [])
    return found


def through_a_network(program: Program, inputs):
    """Results of the program after it was a network."""
    spec = write_network(program, described(program))
    imported = networks.read_program(Package.from_spec(proto.parse("Model", proto.serialize(spec)))).main
    declared = {value.name: value for value in imported.inputs}
    given = {n: a.astype(declared[n].dtype.numpy).reshape(a.shape or (1,)) for n, a in inputs.items()}
    return list(Session(networks.on_cpu(imported), ReferenceDevice()).run(given).values())


@pytest.mark.parametrize(("case", "opset"), [v[:2] for v in HERE], ids=[v[2] for v in HERE])
def test_op(case: Case, opset: Opset):
    program, inputs = case.build(fp32, opset)
    try:
        got = through_a_network(program, inputs)
    except NetworkRefusedError:
        assert case.op in NOT_HELD
        return
    wanted = Session(program.main, ReferenceDevice()).run(inputs).values()
    if any(array.dtype.kind == "i" and np.abs(array.astype(np.int64)).max(initial=0) > INTEGERS for array in (*inputs.values(), *wanted)):
        return
    for mine, theirs in zip(got, wanted, strict=True):
        assert mine.shape == theirs.shape or (not theirs.shape and mine.shape == (1,))
        np.testing.assert_allclose(mine.reshape(theirs.shape).astype(np.float64), theirs, rtol=1e-5, atol=1e-6)
