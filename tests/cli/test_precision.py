"""``gristmill precision``: an inspection as a table and as a document."""

import numpy as np
import pytest

from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp16
from gristmill.package import Package


@pytest.fixture
def squares(tmp_path):
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp16, (1, 3))}, Opset.iOS17) as (x,):
        mb.output(mb.mul(x=x, y=x, name="y"))
    np.save(tmp_path / "x.npy", np.float32([[300, 1, 2]]))
    return Package.from_program(program).save(tmp_path / "squares.mlpackage"), tmp_path / "x.npy"


def test_table(gristmill, squares):
    """The op that overflows stands there with its range, and in a sentence with its operand."""
    model, x = squares
    words = " ".join(gristmill.ok("precision", model, "-i", x).split())
    assert "mul 'y'" in words
    assert "fp16 [1, 3] 1 … 9e+04 33.3% overflow" in words
    assert "First overflow: mul 'y' (operand 'y'): 'y' lies in [1, 300]" in words
    assert "Output y: -inf dB" in words


def test_json(gristmill, squares):
    model, x = squares
    document = gristmill.document("precision", model, "-i", x, "--shadow", "float64")
    assert document["shadow"] == "float64"
    (row,) = document["ops"]
    assert row["overflow"] == pytest.approx(1 / 3)
    assert row["accumulated"]["snr_db"] == "-Infinity"


def test_made_up_inputs(gristmill, squares):
    """Without a file the inputs are uniform from 0 to 1, whose squares lose nothing but roundings."""
    document = gristmill.document("precision", squares[0])
    assert document["first_overflow"] is None
    assert document["outputs"]["y"]["snr_db"] > 60


def test_classifier(gristmill, classifier):
    """The layers are float16; the labels, which no unit but the CPU knows, take their probabilities as float32."""
    rows = gristmill.document("precision", classifier)["ops"]
    assert [(row["op"], row["type"]) for row in rows if row["op"] == "softmax"] == [
        ("softmax", "tensor<fp16, [1, 1, 2, 1, 1]>")
    ]
