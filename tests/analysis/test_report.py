"""What a report holds: the program as a document, differences, and a page in which no name means anything to HTML."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import gristmill as ct
from gristmill.analysis.report.diff import diff
from gristmill.analysis.report.graph import graph
from gristmill.errors import InputError
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp16, fp32
from gristmill.models.report import document, ranges
from gristmill.package import proto
from tests.analysis import reported


class Reader(HTMLParser):
    """Elements of a page, and what is in those that hold data."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.data = ""
        self.open = None

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open = dict(attrs).get("id")
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action") and value]

    def handle_data(self, data):
        if self.open == "data":
            self.data += data

    def handle_endtag(self, tag):
        self.open = None


def read(path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


class TestGraph:
    def test_ops_have_types_operands_places_and_blocks(self):
        (function,) = graph(reported.model().program)
        ops = {op["name"]: op for op in function["block"]["ops"]}
        assert list(ops) == ["product", "sum", "sign", "chosen", "y"]  # constants are none
        assert function["block"]["inputs"] == [("x", "fp16 [1, 64]")]
        assert ops["product"]["results"] == [("product", "fp16 [1, 64]")]
        assert ("x", ["x"]) in ops["product"]["operands"]
        assert ops["product"]["at"] == {"module": "net.layer", "source": "aten.linear", "file": "net.py", "line": 7}
        assert [block["ops"][0]["name"] for block in ops["chosen"]["blocks"]] == ["inside", "other"]

    def test_constants_have_their_range_and_small_ones_their_contents(self):
        (function,) = graph(reported.model().program)
        ops = {op["name"]: op for op in function["block"]["ops"]}
        (weight,) = dict(ops["product"]["operands"])["weight"]
        found, wide = function["constants"][weight], reported.WEIGHT.astype(np.float64)
        assert (found["low"], found["high"]) == (wide.min(), wide.max())
        assert found["mean"] == pytest.approx(wide.mean())
        assert found["zeros"] == np.count_nonzero(wide == 0) / wide.size
        assert sum(found["histogram"]) == wide.size
        assert found["bytes"] == 2 * wide.size
        (zero,) = dict(ops["sign"]["operands"])["y"]
        assert function["constants"][zero] == {"type": "fp16 []", "bytes": 2, "text": "0.0"}

    def test_infinities_and_nan_are_left_out_of_ranges(self):
        program, weight = Program(), np.zeros((4, 8), np.float32)
        weight[0, :3] = np.inf, -np.inf, np.nan
        weight[1] = 2
        with mb.function(program, "main", {"x": TensorType(fp32, (1, 8))}, Opset.iOS17) as (x,):
            mb.output(mb.linear(x=x, weight=weight))
        (function,) = graph(program)
        (found,) = (c for c in function["constants"].values() if "low" in c)
        assert (found["low"], found["high"], found["finite"]) == (0, 2, 29 / 32)


class TestRanges:
    def test_a_run_gives_the_range_of_every_float(self):
        x = np.linspace(-1, 1, 64, dtype=np.float16)[None]
        found = {row["name"]: row for row in ranges(reported.model(), {"x": x})["ops"]}
        product = x.astype(np.float32) @ reported.WEIGHT.astype(np.float32).T
        assert found["product"]["low"] == pytest.approx(product.min(), rel=1e-3)  # half a unit in the last place
        assert found["product"]["high"] == pytest.approx(product.max(), rel=1e-3)
        assert "sign" not in found  # a truth value

    def test_what_float16_cannot_hold_is_counted(self):
        program = Program()
        with mb.function(program, "main", {"x": TensorType(fp32, (1, 4))}, Opset.iOS17) as (x,):
            mb.output(mb.mul(x=x, y=x, name="square"))
        model = ct.models.MLModel(ct.models.model.Package.from_program(program))
        x = np.array([[1000, 1e-5, np.nan, 1]], np.float32)
        (row,) = ranges(model, {"x": x})["ops"]
        assert (row["overflow"], row["underflow"], row["nan"]) == (0.25, 0.25, 0.25)


class TestDiff:
    def test_a_program_does_not_differ_from_itself(self):
        found = diff(reported.model().program, reported.model().program)
        assert (found["added"], found["removed"], found["changed"]) == ([], [], [])
        assert found["same"] == 7  # five, and one in each block

    def test_ops_are_matched_by_name_first(self):
        """The value that another op makes now is one change, not one op less and another more."""
        found = diff(reported.model().program, reported.model(last="sigmoid").program)
        (changed,) = found["changed"]
        assert (changed["name"], changed["changes"]) == ("y", ["op: tanh → sigmoid"])
        assert (found["added"], found["removed"]) == ([], [])

    def test_ops_that_could_be_one_or_the_other_are_not_matched(self):
        """Two alike that are called otherwise: nobody knows which is which."""
        programs = []
        for names in ("ab", "cd"):
            programs.append(Program())
            with mb.function(programs[-1], "main", {"x": TensorType(fp32, (2,))}, Opset.iOS17) as (x,):
                mb.output(*(mb.relu(x=x, name=name) for name in names))
        found = diff(*programs)
        assert [len(found[key]) for key in ("added", "removed", "changed")] == [2, 2, 0]

    def test_renamed_ops_are_matched_by_where_they_stand(self):
        found = diff(reported.model().program, reported.model(names="_renamed").program)
        assert (found["added"], found["removed"], found["changed"]) == ([], [], [])

    def test_typing_changes_types_and_adds_casts(self):
        """Each op of the float32 model has its counterpart, whose types changed; what remains are casts."""

        def net(precision):
            program = Program()
            with mb.function(program, "main", {"x": TensorType(fp32, (1, 64))}, Opset.iOS15) as (x,):
                y = mb.linear(x=x, weight=reported.WEIGHT.astype(np.float32), name="product")
                mb.output(mb.relu(x=y, name="y"))
            return ct.convert(program, compute_precision=precision).program

        found = diff(net(ct.precision.FLOAT32), net(ct.precision.FLOAT16))
        assert {row["name"]: row["changes"][0] for row in found["changed"]} == {
            "product_fp16": "type: fp32 [1, 64] → fp16 [1, 64]",
            "y_fp16": "type: fp32 [1, 64] → fp16 [1, 64]",
        }
        assert [row["type"] for row in found["added"]] == ["cast", "cast"]
        assert found["removed"] == []

    def test_other_weights_and_other_inputs_are_changes(self):
        def net(weight, dtype, extra):
            program = Program()
            with mb.function(program, "main", {"x": TensorType(dtype, (1, 4))}, Opset.iOS17) as (x,):
                y = mb.linear(x=x, weight=weight.astype(dtype.numpy), name="product")
                mb.output(mb.relu(x=y, name="extra") if extra else y)
            return program

        ones = np.ones((4, 4))
        (changed,) = diff(net(ones, fp16, False), net(ones * 2, fp16, False))["changed"]
        assert changed["changes"] == ["constant 'weight' has other contents"]
        found = diff(net(ones, fp32, False), net(ones, fp16, True))
        assert [row["name"] for row in found["added"]] == ["extra"]
        assert "input 'x': fp32 [1, 4] → fp16 [1, 4]" in found["interface"]
        assert "output 'product': fp32 [1, 4] → not there" in found["interface"]

    def test_operands_that_were_rewired_are_changes(self):
        def net(swapped):
            program = Program()
            with mb.function(program, "main", {"x": TensorType(fp16, (4,))}, Opset.iOS17) as (x,):
                a, b = mb.exp(x=x, name="a"), mb.tanh(x=x, name="b")
                mb.output(mb.sub(x=b if swapped else a, y=a if swapped else b, name="y"))
            return program

        (changed,) = diff(net(False), net(True))["changed"]
        assert changed["changes"][0] == "operand 'x' comes from tanh 'b', and came from exp 'a'"


class TestPage:
    def test_the_data_is_the_document(self, tmp_path):
        """Numbers that JSON does not have travel as strings that JavaScript reads."""
        model = reported.model()
        path = model.report(tmp_path / "deep" / "page.html", plan=reported.plan(), inspection=reported.inspection())
        found = json.loads(read(path).data)
        assert found["functions"] == json.loads(json.dumps(graph(model.program)))
        assert found["plan"]["target"] == "A17"
        assert found["inspection"]["ops"][0]["accumulated"]["snr_db"] == "-Infinity"
        assert found["interface"]["inputs"] == [{"name": "x", "type": "fp16 [1, 64]", "about": ""}]

    def test_names_are_never_markup(self, tmp_path):
        """Elements are those of an honest model's page, whatever names, texts and titles hold."""
        honest, hostile = reported.model(), reported.model(reported.HOSTILE)
        one = honest.report(tmp_path / "honest.html", title="model")
        other = hostile.report(tmp_path / "hostile.html", title=reported.HOSTILE, old=hostile)
        assert read(one).tags == read(other).tags
        names = [op["name"] for op in json.loads(read(other).data)["functions"][0]["block"]["ops"]]
        assert f"product{reported.HOSTILE}" in names

    def test_nothing_is_loaded_from_elsewhere(self, tmp_path):
        """No element has an address, the page's policy allows none, and the style names none."""
        path = reported.model().report(tmp_path / "page.html")
        reader, text = read(path), path.read_text(encoding="utf-8")
        assert reader.addresses == []
        assert "default-src &#x27;none&#x27;" in text
        assert not re.search(
            r"url\(|@import|https?://", re.sub(r'<script type="application/json".*?</script>', "", text)
        )

    def test_the_same_model_gives_the_same_page(self, tmp_path):
        one, other = (reported.model().report(tmp_path / name) for name in ("one.html", "other.html"))
        assert one.read_bytes() == other.read_bytes()

    def test_several_functions_are_shown(self, tmp_path):
        reported.model().save(tmp_path / "one.mlpackage")
        desc = ct.utils.MultiFunctionDescriptor(tmp_path / "one.mlpackage")
        desc.add_function(tmp_path / "one.mlpackage", "main", "again")
        desc.default_function_name = "main"
        ct.utils.save_multifunction(desc, tmp_path / "two.mlpackage")
        model = ct.models.MLModel(tmp_path / "two.mlpackage", function_name="again")
        found = document(model)
        assert [function["name"] for function in found["functions"]] == ["main", "again"]
        assert found["running"] == "again"
        assert diff(reported.model().program, model.program)["functions"] == ["function 'again' was added"]

    def test_what_it_refuses(self, tmp_path):
        with pytest.raises(TypeError, match="neither a plan nor an inspection"):
            reported.model().report(tmp_path / "page.html", plan={"no": "plan"})
        spec = proto.message("Model")(specificationVersion=1)
        spec.pipeline.SetInParent()
        with pytest.raises(InputError, match="not reported on"):
            ct.models.MLModel(spec).report(tmp_path / "page.html")
