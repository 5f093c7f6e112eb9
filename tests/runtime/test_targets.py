"""The data file of chips and rules, and what it makes of every op."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import gristmill.ops.nn  # noqa: F401  # registers the ops of that dialect
from gristmill.errors import FormatError, InputError
from gristmill.ir import registry
from gristmill.ir.builder import mb
from gristmill.ir.builtin import const
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.traits import Decompresses
from gristmill.ir.types import DTYPES, TensorType, fp16, fp32, int32
from gristmill.runtime import targets
from gristmill.runtime.plan import CPU, GPU, NEURAL_ENGINE, UNITS
from gristmill.runtime.targets import all_rules, target_named, target_names
from tests.test_op_cases import CASES

APPLE = [f"A{n}" for n in range(12, 20)] + [f"M{n}" for n in range(1, 6)]


def test_all_chips_are_there():
    assert list(target_names()) == APPLE
    assert all(tuple(target_named(name).units) == UNITS for name in APPLE)


@pytest.mark.parametrize("name", ["a17", "A17 Pro", " A17 ", "A17"])
def test_names_of_variants(name):
    assert target_named(name) is target_named("A17")


@pytest.mark.parametrize("name", ["A11", "Z80", "M9", "A"])
def test_unknown_chips(name):
    with pytest.raises(InputError, match="no such target") as error:
        target_named(name)
    assert "A12" in str(error.value)


def test_the_host():
    assert target_named(None) is target_named("host")
    assert tuple(target_named(None).units) == (CPU,)


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.name)
def test_rules_are_complete(rule):
    """Every rule names ops and types that exist, a source with an address, how far to trust it, and what to do."""
    assert rule.unit in (GPU, NEURAL_ENGINE)  # the CPU runs everything
    assert rule.ops <= {op.op_name for dialect in ("mil", "nn") for op in registry.all_ops(dialect)}
    assert rule.sources
    assert all(source.title and source.url.startswith("https://") for source in rule.sources)
    assert rule.confidence in ("high", "medium", "low")
    assert rule.reason.endswith((".", "}."))
    assert rule.fix.endswith(".")


def test_rules_have_names_of_their_own():
    names = [rule.name for rule in all_rules()]
    assert len(names) == len(set(names))


def test_types_in_rules_exist():
    """Every type in the data file is one; the Neural Engine's floats are float16 and what gets its type there."""
    text = (targets.resources.files("gristmill.runtime") / "targets.toml").read_text("utf-8")
    listed = re.findall(r"^(floats|others) = \[(.*)\]$", text, re.MULTILINE)
    types = [(kind, set(re.findall(r'"(\w+)"', names))) for kind, names in listed]
    for kind, names in types:
        assert names <= set(DTYPES)
        assert {DTYPES[name].is_float for name in names} == {kind == "floats"}
    assert types[0] == ("floats", {"fp16", "unit_float"})
    assert len(types) == 4


def test_a_malformed_rule_is_refused():
    entry = {"name": "odd", "unit": "gpu", "reason": ".", "fix": ".", "source": [], "confidence": "low"}
    for conditions in ({}, {"always": True, "dynamic": True}):
        with pytest.raises(FormatError, match="one condition"):
            targets._rule({**entry, **conditions}, {})


FLOAT32 = [
    (case, name, dtype, opset) for case in CASES for name, dtype, opset in list(case.variants())[-2:] if dtype == fp32
]


@pytest.mark.parametrize(("case", "name", "dtype", "opset"), FLOAT32, ids=[entry[1] for entry in FLOAT32])
def test_float32_is_never_on_the_neural_engine(case: Any, name: str, dtype: Any, opset: Opset):
    """Of every op's cases, no op that reads or makes a float32 value is taken by any chip's Neural Engine."""
    program, _ = case.build(dtype, opset)
    for op in program.main.body.walk():
        values = [*(v for _, _, v in op.uses() if not v.is_constant), *op.results]
        if isinstance(op, const) or op.has(Decompresses):
            continue
        if any(isinstance(v.type, TensorType) and v.dtype == fp32 for v in values):
            assert all(target_named(chip).refusal(op, NEURAL_ENGINE) is not None for chip in APPLE)


def one_op(inputs: dict[str, TensorType], build: Any) -> Any:
    """The last op of a function."""
    program = Program()
    with mb.function(program, "main", inputs, Opset.iOS18) as values:
        mb.output(build(*values))
    return [op for op in program.main.body if not isinstance(op, const)][-1]


IMAGE = {"x": TensorType(fp16, (1, 8, 64, 64))}
INDEXED = {"x": TensorType(fp16, (8, 8)), "i": TensorType(int32, (4,))}


def kernel(*shape):
    return np.ones(shape, np.float16)


@pytest.mark.parametrize(
    ("inputs", "build", "where"),
    [
        (IMAGE, lambda x: mb.conv(x=x, weight=kernel(4, 8, 3, 3)), {"A12", "M1", "A19"}),
        (IMAGE, lambda x: mb.conv(x=x, weight=kernel(4, 8, 3, 3), dilations=[2, 2]), {"M1", "A19"}),
        (IMAGE, lambda x: mb.conv(x=x, weight=kernel(4, 8, 31, 3)), {"A19"}),
        (IMAGE, lambda x: mb.conv(x=x, weight=kernel(4, 8, 40, 3)), set()),
        (IMAGE, lambda x: mb.max_pool(x=x, kernel_sizes=[3, 3], pad_type="valid"), {"A12", "M1", "A19"}),
        (IMAGE, lambda x: mb.max_pool(x=x, kernel_sizes=[20, 3], pad_type="valid"), {"M1", "A19"}),
        (IMAGE, lambda x: mb.pad(x=x, pad=[1, 1], mode="constant"), {"A12", "M1", "A19"}),
        (IMAGE, lambda x: mb.pad(x=x, pad=[1, 1], mode="reflect"), set()),
        (IMAGE, lambda x: mb.sin(x=x), {"A19"}),
        (IMAGE, lambda x: mb.reduce_prod(x=x, axes=[1]), set()),
        (IMAGE, lambda x: mb.greater(x=x, y=np.float16(0)), {"A12", "M1", "A19"}),
        (INDEXED, lambda x, i: mb.gather(x=x, indices=i, axis=0), set()),
        (INDEXED, lambda x, i: mb.gather(x=x, indices=mb.cast(x=i, dtype="int16"), axis=0), {"M1", "A19"}),
        ({"x": TensorType(fp16, (2, 20_000))}, lambda x: mb.linear(x=x, weight=kernel(4, 20_000)), set()),
        ({"x": TensorType(fp16, (2, 8))}, lambda x: mb.linear(x=x, weight=kernel(20_000, 8)), {"A12", "M1", "A19"}),
        ({"x": TensorType(fp16, (1, 1, 20_000, 4))}, lambda x: mb.relu(x=x), {"A19"}),
        ({"x": TensorType(fp16, (1, 70_000))}, lambda x: mb.relu(x=x), set()),
        ({"x": TensorType(fp16, (1, 1, 1, 1, 1, 2))}, lambda x: mb.relu(x=x), set()),
        ({"x": TensorType(fp16, (1, 2, 4, 4, 4))}, lambda x: mb.conv(x=x, weight=kernel(2, 2, 3, 3, 3)), set()),
        ({"x": TensorType(int32, (4,))}, lambda x: mb.add(x=x, y=x), set()),
    ],
)  # fmt: skip
def test_what_the_neural_engine_takes(inputs, build, where):
    """Spot checks of the rules, on an early chip, the M1 and the latest: where the op is taken."""
    op = one_op(inputs, build)
    found = {chip for chip in ("A12", "M1", "A19") if target_named(chip).refusal(op, NEURAL_ENGINE) is None}
    assert found == where


def test_a_refusal_names_what_is_wrong():
    op = one_op(IMAGE, lambda x: mb.conv(x=x, weight=kernel(4, 8, 40, 3)))
    refusal = target_named("M1").refusal(op, NEURAL_ENGINE)
    assert "40 × 3" in refusal.reason
    assert "space_to_depth" in refusal.fix
    assert (refusal.rule, refusal.confidence) == ("kernel", "medium")
    assert refusal.sources


def test_the_cpu_takes_everything():
    op = one_op(INDEXED, lambda x, i: mb.gather(x=x, indices=i, axis=0))
    assert target_named("A12").refusal(op, CPU) is None
