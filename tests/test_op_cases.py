"""Every op does what its definition says, in each of its float types and opsets, on each device."""

from __future__ import annotations

import importlib
import pkgutil

import numpy as np
import pytest

import tests.op_cases
from gristmill.devices.cpu import CpuDevice
from gristmill.devices.reference import ReferenceDevice
from gristmill.ir import registry
from gristmill.ir.types import TensorType, compatible
from gristmill.runtime.session import Session
from tests.op_cases.case import Case

DEVICES = {"reference": ReferenceDevice, "cpu": CpuDevice}

FAMILIES = [
    importlib.import_module(f"tests.op_cases.{module.name}")
    for module in pkgutil.iter_modules(tests.op_cases.__path__)
    if module.name != "case"
]
CASES: list[Case] = [case for family in FAMILIES for case in family.CASES]
VARIANTS = [(case, dtype, opset, name) for case in CASES for name, dtype, opset in case.variants()]

# Ops whose whole meaning lies in the blocks or states around them have tests of their own, named here.
TESTED_ELSEWHERE: dict[str, str] = {
    name: where for family in FAMILIES for name, where in getattr(family, "ELSEWHERE", {}).items()
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("case", "dtype", "opset"), [v[:3] for v in VARIANTS], ids=[v[3] for v in VARIANTS])
def test_case(case: Case, dtype, opset, device):
    """The op's result is the expected one, in the inferred type."""
    program, inputs = case.build(dtype, opset)
    session = Session(program.main, DEVICES[device]())
    got = list(session.run(inputs).values())
    for value, array in zip(program.main.outputs, got, strict=True):
        if isinstance(value.type, TensorType):
            assert array.dtype == value.dtype.numpy
            assert compatible(value.type, TensorType(value.dtype, array.shape))
    if case.expected is not None:
        case.compare(got, case.expectation(inputs), exact_sums=device == "reference")
    if case.check is not None:
        case.check(*got)


def test_every_op_has_a_case():
    """No op is without a case, or without a test that is named."""
    tested = {case.op for case in CASES} | set(TESTED_ELSEWHERE) | {"const"}
    missing = [op.op_name for op in registry.all_ops() if op.op_name not in tested]
    assert not missing


def test_case_fails_on_a_wrong_result():
    """The comparison itself can fail."""
    case = CASES[0]
    program, inputs = case.build(case.dtypes[0], next(case.variants())[2])
    wrong = [np.full_like(array, 17) for array in Session(program.main, ReferenceDevice()).run(inputs).values()]
    with pytest.raises(AssertionError):
        case.compare(wrong, case.expectation(inputs))
