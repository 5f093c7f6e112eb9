"""``gristmill plan``: tables, the document, the page, and requirements for CI."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.cli.plan import requirement
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp16
from gristmill.package import Package

BIG = 1024


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Two float16 products with a float32 softmax between its casts: two of five ops can be on the Neural Engine."""
    program = Program()
    weight = np.ones((BIG, BIG), np.float16)
    with mb.function(program, "main", {"x": TensorType(fp16, (BIG, BIG))}, Opset.iOS17) as (x,):
        h = mb.cast(x=mb.linear(x=x, weight=weight, name="first"), dtype="fp32", name="up")
        h = mb.cast(x=mb.softmax(x=h, axis=-1, name="<wide>"), dtype="fp16", name="down")
        mb.output(mb.linear(x=h, weight=weight, name="last"))
    return Package.from_program(program).save(tmp_path_factory.mktemp("models") / "mixed.mlpackage")


def test_table(gristmill, mixed):
    """Shares of each unit, why ops stay off one and what helps, and that placement is a model."""
    words = " ".join(gristmill.ok("plan", mixed, "--target", "A17", "--compute-units", "CPU_AND_NE").split())
    assert "function main, on A17" in words
    assert "CPU 3 60.0%" in words
    assert "Neural Engine 2 40.0%" in words
    assert "GPU" not in words
    assert "Not on the Neural Engine" in words
    assert "one is fp32" in words
    assert "compute_precision=FLOAT16" in words
    assert "Core ML decides by itself" in words


def test_every_op(gristmill, mixed):
    gristmill.columns = 160
    printed = gristmill.ok("plan", mixed, "--target", "A17", "--ops")
    assert all(name in printed for name in ("first", "up", "<wide>", "down", "last"))
    assert "CPU, GPU, Neural Engine" in printed


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_table_fits_the_terminal(gristmill, mixed, columns):
    gristmill.columns = columns
    shown = gristmill.ok("plan", mixed, "--target", "A17", "--ops")
    assert max(map(len, shown.splitlines())) <= columns


def test_this_computer(gristmill, mixed):
    """Without a target everything is on the CPU of this computer."""
    document = gristmill.document("plan", mixed)
    assert document["target"] == "host"
    assert document["shares"] == {"cpu": {"count": 5, "ops": 1.0, "cost": 1.0}}


def test_json(gristmill, mixed):
    document = gristmill.document("plan", mixed, "--target", "m1", "--compute-units", "cpu_and_ne", "--require", "ne>0")
    assert (document["path"], document["target"]) == (str(mixed), "M1")
    assert [op["unit"] for op in document["ops"]] == ["neural_engine", "cpu", "cpu", "cpu", "neural_engine"]
    assert [segment["ops"] for segment in document["segments"]] == [["first"], ["up", "<wide>", "down"], ["last"]]
    (refusal,) = document["ops"][2]["refusals"].values()
    assert refusal["rule"] == "float16-only"
    assert refusal["confidence"] == "high"
    assert all(source.startswith("https://") for source in refusal["sources"])
    assert document["requirements"] == [{"requirement": "ne>0", "share": 0.4, "met": True}]


@pytest.mark.parametrize(
    ("requirements", "code"),
    [
        (["ne>=0.4"], 0),
        (["ne>=0.41"], 3),
        (["ne>=40%", "cpu<=60%"], 0),
        (["ne>=40%", "cpu<60%"], 3),
        (["ne:cost>=0.01", "gpu<=0"], 0),
        (["ne:cost>=0.9999"], 3),
    ],
)
def test_requirements(gristmill, mixed, requirements, code):
    """Met, the code is 0; one missed, it is 3, and the table says which."""
    options = [option for text in requirements for option in ("--require", text)]
    result = gristmill("plan", mixed, "--target", "A17", "--compute-units", "CPU_AND_NE", *options)
    assert result.exit_code == code
    assert ("NOT met" in result.stdout) == (code == 3)


@pytest.mark.parametrize("text", ["npu>=0.5", "ne=0.5", "ne>=2", "ne>=101%", "ne>=", "ne", ">=1", "ne:time>0"])
def test_requirements_that_say_nothing(gristmill, mixed, text):
    result = gristmill("plan", mixed, "--require", text)
    assert result.exit_code == 2
    assert "ne>=0.95" in result.stderr


def test_what_requirements_mean():
    found = requirement("ne:cost >= 95%")
    assert (found.unit, found.of, found.comparison, found.bound) == ("neural_engine", "cost", ">=", 0.95)


def test_page(gristmill, mixed, tmp_path):
    """The report that `view` writes, opened at the plan: its data has every op, reasons, and that it is a model."""
    target = tmp_path / "plan.html"
    gristmill.ok("plan", mixed, "--target", "A17", "--html", target)
    written = target.read_text(encoding="utf-8")
    assert '"view": "Plan"' in written or '"view":"Plan"' in written
    assert "<wide>" not in written  # names are escaped
    assert "Core ML decides by itself" in written
    assert all(name in written for name in ("first", "up", "down", "last", "float16-only"))


def test_errors(gristmill, mixed, tmp_path):
    assert "no such target" in gristmill.error("plan", mixed, "--target", "A5")
    assert "A12" in gristmill.error("plan", mixed, "--target", "A5")
    assert "no function 'second'" in gristmill.error("plan", mixed, "--function", "second")
    assert "no model is there" in gristmill.error("plan", tmp_path / "nowhere.mlpackage")
