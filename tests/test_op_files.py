"""Every op's cases survive text and files, and coremltools reads them with the types that are inferred here."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gristmill.devices.reference import ReferenceDevice
from gristmill.ir import registry
from gristmill.ir.compare import difference
from gristmill.ir.opset import Opset
from gristmill.ir.parser import parse_program
from gristmill.ir.printer import print_program
from gristmill.ir.program import Program
from gristmill.ir.traits import Random
from gristmill.ir.verify import verify
from gristmill.package import Package, load, proto
from gristmill.runtime.session import Session
from tests.op_cases.case import Case
from tests.package.test_interop import our_type, their_types
from tests.test_op_cases import CASES

NEWEST = [(case, *list(case.variants())[-1]) for case in CASES]
IDS = [name for _, name, _, _ in NEWEST]

# One case of each op and number of operands goes through coremltools, whose loader takes its time.
ONE_OF_EACH = list({(case.op, tuple(sorted(case.operands))): entry for entry in NEWEST if (case := entry[0])}.values())

THEY_REFUSE = {
    "prelu-rank-3-fp16-iOS26": "it wants equal alphas for ranks 3 and 5, which the op does not",
    "conv_transpose-weight-at-run-time-fp16-iOS26": "its inference reads contents that come at run time",
    "matmul-vectors-fp16-iOS26": "it takes the absent transpose_x of a vector for a given one",
    "einsum-three-fp16-iOS26": "it knows equations of two operands only",
    "batch_norm-epsilon-written-out-in-float32-fp16-iOS15": "it writes such programs but does not read them",
    "layer_norm-all-axes-fp16-iOS26": "it cannot make a constant of the axes that it takes by default",
    "one_hot-dynamic-inner-axis-fp32-iOS26": "it knows no function input of rank 0",
    "stack-scalars-fp32-iOS26": "it knows no function input of rank 0",
    "tile-none-fp16-iOS26": "it takes no repetition of zero times",
}
"""Cases that coremltools' loader refuses, each with its reason; one that it takes again is an error here."""


def save(program: Program, folder: Path) -> Path:
    """Writes a program as a model without a description, since applications cannot hand over every type of input."""
    return Package.from_program(program, proto.message("ModelDescription")()).save(folder / "op.mlpackage")


@pytest.mark.parametrize(("case", "name", "dtype", "opset"), NEWEST, ids=IDS)
def test_text_and_files(case: Case, name: str, dtype: Any, opset: Opset, tmp_path: Path):
    """The op's program is valid, is the same after printing and parsing, and computes the same after saving."""
    program, inputs = case.build(dtype, opset)
    verify(program)
    assert difference(program, parse_program(print_program(program))) is None
    loaded = load(save(program, tmp_path)).program
    assert [
        op.op_name for op in loaded.main.body.walk() if op.op_name not in ("const", "write_state", "read_state")
    ] == [op.op_name for op in program.main.body.walk() if op.op_name not in ("const", "coreml_update_state")]
    if not registry.lookup(case.op, opset).has(Random):
        before, after = (Session(p.main, ReferenceDevice()).run(inputs) for p in (program, loaded))
        for mine, theirs in zip(before.values(), after.values(), strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.fixture(scope="module")
def load_program() -> Any:
    """The loader of programs that coremltools has."""
    pytest.importorskip("coremltools", reason="coremltools, the oracle, is not installed")
    from coremltools.converters.mil.frontend.milproto.load import load as theirs

    yield theirs
    gc.collect()  # while warnings of what it leaves behind are still ignored


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore")  # coremltools warns of what a Mac would have
@pytest.mark.parametrize(("case", "name", "dtype", "opset"), ONE_OF_EACH, ids=[name for _, name, _, _ in ONE_OF_EACH])
def test_coremltools_infers_the_same(
    case: Case,
    name: str,
    dtype: Any,
    opset: Opset,
    tmp_path: Path,
    load_program: Any,
    request: pytest.FixtureRequest,
):
    """The op's program loads in coremltools, which gives every value the type that it has here."""
    if name in THEY_REFUSE:
        request.applymarker(pytest.mark.xfail(reason=THEY_REFUSE[name], strict=True))
    program, _ = case.build(dtype, opset)
    folder = save(program, tmp_path)
    spec = load(folder).spec
    from coremltools.proto import Model_pb2

    model = Model_pb2.Model.FromString(spec.SerializeToString())
    theirs = load_program(model, int(opset), str(folder / "Data" / "com.apple.CoreML" / "weights"))
    found = their_types(theirs.functions["main"])
    for op in program.main.body.walk():
        for value in op.results:
            if value.name in found:
                assert our_type(value.type) == found[value.name], value


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore")  # coremltools warns of what a Mac would have
def test_every_op_of_coremltools_is_known():
    """No op is registered in coremltools that is unknown here, in the opset that has it there."""
    pytest.importorskip("coremltools", reason="coremltools, the oracle, is not installed")
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    internal = {"_const_symbolic"}  # a placeholder of its builder, which no file has
    missing = []
    for name, by_opset in SSAOpRegistry.core_ops.items():
        cls = registry.find(name)
        for target in by_opset:
            opset = Opset(int(target))
            known = cls is not None and cls.since <= opset and (cls.until is None or opset < cls.until)
            if not known and name not in internal:
                missing.append((name, str(opset)))
    assert not missing
    gc.collect()  # while warnings of what it leaves behind are still ignored
