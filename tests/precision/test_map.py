"""Precision maps: which rule counts, what conversion makes of them, and what a file may hold."""

from __future__ import annotations

import json

import pytest

import gristmill as ct
from gristmill.errors import FormatError, InputError, MissingFileError
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Location, Program
from gristmill.ir.types import TensorType, fp32
from gristmill.precision.map import PrecisionMap


@pytest.fixture
def program() -> Program:
    """Three ops, two of which come from modules of the source."""
    made = Program()
    with mb.function(made, "main", {"x": TensorType(fp32, (2, 3))}, Opset.iOS17) as (x,):
        with mb.located(Location(module="encoder.layers.0")):
            h = mb.relu(x=x, name="act_1")
        with mb.located(Location(module="encoder.norm")):
            h = mb.softmax(x=h, axis=-1, name="scores")
        mb.output(mb.tanh(x=h, name="act_2"))
    return made


def choices(rules: PrecisionMap, program: Program) -> dict[str, str]:
    return {op.name: rules.choice(op)[5:] for op in program.main.body if op.op_name != "const"}


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        (PrecisionMap(), set()),
        (PrecisionMap({"scores": "float32"}), {"scores"}),
        (PrecisionMap({"act_*": "float32"}), {"act_1", "act_2"}),
        (PrecisionMap({"act_*": "float32", "act_2": "float16"}), {"act_1"}),
        (PrecisionMap(op_types={"softmax": "float32"}), {"scores"}),
        (PrecisionMap(op_types={"softmax": "float32"}, modules={"encoder.norm": "float16"}), set()),
        (PrecisionMap(modules={"encoder": "float32"}), {"act_1", "scores"}),
        (PrecisionMap(modules={"encoder.layers": "float32"}), {"act_1"}),
        (PrecisionMap(modules={"*.norm": "float32"}), {"scores"}),
        (PrecisionMap(modules={"encoder": "float32", "*.norm": "float16"}), {"act_1"}),
        (PrecisionMap(modules={"enc": "float32"}), set()),  # no prefix of a name, but a module
        (PrecisionMap({"act_2": "float16"}, default="float32"), {"act_1", "scores"}),
        (PrecisionMap.keeping(["act_1"]), {"act_1"}),
    ],
)
def test_the_most_special_rule_counts(rules, kept, program):
    assert {name for name, bits in choices(rules, program).items() if bits == "32"} == kept


@pytest.mark.parametrize("how", [lambda rules: rules, lambda rules: ct.transform.FP16ComputePrecision(rules)])
def test_conversion_follows_a_map(how, program, tmp_path):
    """Saved, loaded, and given to ``convert`` as it is or as a selector."""
    PrecisionMap({"scores": "float32"}).save(tmp_path / "map.json")
    rules = ct.precision.PrecisionMap.load(tmp_path / "map.json")
    model = ct.convert(program, compute_precision=how(rules), minimum_deployment_target=ct.target.iOS17)
    types = {op.op_name: op.result.dtype.name for op in model.program.main.body if op.op_name not in ("const", "cast")}
    assert types == {"relu": "fp16", "softmax": "fp32", "tanh": "fp16"}


def test_what_fits_nothing_is_told(program):
    rules = PrecisionMap(
        {"scores": "float32", "skores": "float32", "b*": "float32"},
        modules={"encoder": "float16", "decoder": "float16"},
        op_types={"relu": "float32", "gelu": "float32"},
    )
    assert rules.unmatched(program) == ["skores", "b*", "decoder", "gelu"]


def test_file_round_trip(tmp_path):
    rules = PrecisionMap(
        {"a": "float32"},
        modules={"m.*": "float32"},
        op_types={"exp": "float16"},
        default="float32",
        rewrites={"stable_rms_norm": ["mul_1"], "clamp_masks": None},
    )
    rules.save(tmp_path / "map.json")
    assert PrecisionMap.load(tmp_path / "map.json") == rules


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "map.json"
    with pytest.raises(MissingFileError):
        PrecisionMap.load(path)
    for text in (
        "",
        "[]",
        "{}",
        '{"precision_map": 2}',
        '{"precision_map": 1, "names": []}',
        '{"precision_map": 1, "names": {"a": "bfloat16"}}',
        '{"precision_map": 1, "rewrites": {"a": [1]}}',
        '{"precision_map": 1, "else": 1}',
        "[" * 100_000,
    ):
        path.write_text(text)
        with pytest.raises(FormatError):
            PrecisionMap.load(path)


def test_other_types_are_refused():
    with pytest.raises(InputError, match="float16 or float32"):
        PrecisionMap({"a": "int8"})


def test_document_is_plain():
    assert json.loads(json.dumps(PrecisionMap({"a": "float32"}).as_dict()))["names"] == {"a": "float32"}
