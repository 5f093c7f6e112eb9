"""Reports in a real browser: what people see and do, and that nothing leaves the page."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from tests import browser
from tests.analysis import reported

ASSETS = resources.files("gristmill.analysis.report") / "assets"


@pytest.fixture(scope="module")
def page() -> Iterator[browser.Page]:
    executable = browser.find()
    if executable is None:
        assert not os.environ.get("CI"), "Chromium is missing"
        pytest.skip("no Chromium to look at pages with (Debian: apt-get install chromium)")
    with browser.running(executable) as found:
        yield found


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything that one can have."""
    path = tmp_path_factory.mktemp("reports") / "full.html"
    old = reported.model(last="sigmoid")
    return reported.model().report(path, plan=reported.plan(), inspection=reported.inspection(), old=old)


@pytest.fixture(autouse=True)
def _nothing_goes_wrong(page: browser.Page) -> Iterator[None]:
    """Scripts complain of nothing, and nothing but files is asked for."""
    page.errors.clear()
    page.requests.clear()
    yield
    assert page.errors == []
    assert {address.partition(":")[0] for address in page.requests} <= {"file", "about", "data"}
    assert len({address.partition("#")[0] for address in page.requests if address.startswith("file")}) <= 1


def colors(page: browser.Page) -> int:
    """How many colours the graph's canvas shows."""
    return page.evaluate(
        "(() => { const c = document.getElementById('canvas');"
        "const pixels = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "return new Set(new Uint32Array(pixels.buffer)).size })()"
    )


def drawn(page: browser.Page) -> str:
    return page.evaluate("document.getElementById('canvas').toDataURL()")


def choose_mode(page: browser.Page, mode: str) -> None:
    script = f"const m = document.getElementById('mode'); m.value = '{mode}'; m.dispatchEvent(new Event('change'))"
    page.evaluate(f"{{ {script} }}")
    page.settle()


def search(page: browser.Page, words: str) -> None:
    page.evaluate("{ const s = document.getElementById('search'); s.focus(); s.select() }")
    page.type(words)
    page.press("Enter")


def column(page: browser.Page, head: str) -> list[str]:
    """The cells of a column of the table of ops."""
    return page.evaluate(
        "(() => { const heads = [...document.querySelectorAll('#ops .head > *')];"
        f"const at = heads.findIndex(e => e.textContent.replace(/ [▴▾]/, '') === {json.dumps(head)});"
        "return [...document.querySelectorAll('#ops .rows .row')].map(row => row.children[at].textContent) })()"
    )


class TestGraph:
    def test_it_is_drawn(self, page, full):
        page.open(full, "Graph")
        assert colors(page) > 20  # boxes, words, edges, smooth at their borders

    def test_an_op_that_was_found_shows_its_details(self, page, full):
        """The weight's range, as NumPy has it, the user's source line, and who uses the result."""
        page.open(full, "Graph")
        search(page, "aten.linear")
        shown = page.text("#details")
        for part in ("linear", "product", "net.layer", "net.py:7", "fp16 [1, 64]", "−2", "3", "sum"):
            assert part in shown
        assert f"{reported.WEIGHT.astype(np.float64).mean():.4g}" in shown
        assert page.text("#place") == "1 of 1"

    def test_a_click_selects_and_links_lead_on(self, page, full):
        """What was found stands in the middle: a click there selects it again."""
        page.open(full, "Graph")
        search(page, "product")
        page.press("Escape")
        page.click_on("#details .close")
        assert page.evaluate("document.getElementById('details').hidden")
        page.open(full, "Graph")
        search(page, "product")
        middle = page.evaluate(
            "(() => { const b = document.getElementById('canvas').getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2] })()"
        )
        page.click(middle[0], middle[1] + 300)  # beside it
        page.click(*middle)
        assert page.text("#details h2") == "linear"
        page.click_on("#details .link", "sum")
        assert page.text("#details h2") == "reduce_sum"

    def test_it_is_zoomed_and_moved(self, page, full):
        """By wheel and by hand; "Fit" brings back the whole, which is where this small graph began."""
        page.open(full, "Graph")
        whole = drawn(page)
        page.wheel(600, 400, -300)
        larger = drawn(page)
        page.drag((300, 600), (420, 500))
        aside = drawn(page)
        assert len({whole, larger, aside}) == 3
        page.click_on("button.tool", "Fit")
        assert drawn(page) == whole
        choose_mode(page, "type")
        assert drawn(page) != whole

    def test_nested_blocks_are_shown_inside_their_op(self, page, full):
        page.open(full, "Graph")
        search(page, "chosen")
        before = drawn(page)
        page.click_on("button.tool", "Expand")
        page.settle()
        assert drawn(page) != before
        page.open(full, "Graph")
        search(page, "inside")  # which opens what it stands in
        assert page.text("#details h2") == "exp"
        search(page, "chosen")
        assert "Hide blocks" in page.text("#details")

    def test_colours_mean_what_the_legend_says(self, page, full):
        """Numbers of ops by device, by error, by difference, by type."""
        page.open(full, "Graph")
        legends = {}
        for mode in ("device", "error", "diff", "type"):
            choose_mode(page, mode)
            legends[mode] = " ".join(page.text("#legend").split())
        assert legends == {
            "device": "CPU 2 GPU 1 Neural Engine 2 no unit 2",
            "error": "over 60 dB 1 20 to 40 dB 1 under 20 dB, or lost 1 not measured 4",
            "diff": "changed 1 unchanged 6",
            "type": "float16 6 bool 1",
        }

    def test_thousands_of_ops_stay_usable(self, page, tmp_path):
        """Of computing, loading takes under five seconds, and a step of the wheel under a tenth of one."""
        path = reported.chain(4500).report(tmp_path / "chain.html")
        before = page.busy()
        page.open(path, "Graph")
        loaded = page.busy()
        assert loaded - min(before, loaded) < 5
        for _ in range(10):
            page.wheel(600, 400, 40)
        assert (page.busy() - loaded) / 10 < 0.1
        page.click_on("#tabs button", "Ops")
        assert page.text("#ops .controls").endswith("4500 ops")
        assert page.evaluate("document.querySelectorAll('#ops .row').length") < 100


class TestTable:
    def test_it_is_sorted_and_filtered(self, page, full):
        page.open(full, "Ops")
        assert column(page, "type") == ["linear", "reduce_sum", "greater", "cond", "exp", "identity", "tanh"]
        page.click_on("#ops .head > *", "type")
        assert column(page, "type") == ["cond", "exp", "greater", "identity", "linear", "reduce_sum", "tanh"]
        page.click_on("#ops .head > *", "cost")
        assert column(page, "name")[:2] == ["y", "chosen"]  # the most expensive first
        page.evaluate("document.querySelector('#ops input').focus()")
        page.type("net.py")
        assert column(page, "name") == ["product"]
        assert "1 of 7 ops" in page.text("#ops .controls")

    def test_a_row_shows_its_details(self, page, full):
        page.open(full, "Ops")
        page.click_on("#ops .rows .row > *", "sum")
        assert page.text("#details h2") == "reduce_sum"
        page.click_on("#details .tool", "Show in graph")
        assert page.evaluate("document.querySelector('[aria-selected=true]').textContent") == "Graph"


class TestOtherViews:
    def test_summary(self, page, full):
        page.open(full, "Summary")
        text = page.text("[data-tab=Summary]")
        for part in ("4,096", "fp16 [1, 64]", "ML Program", "iOS17", "linear"):
            assert part in text

    def test_plan(self, page, full):
        """Shares, reasons with what helps, segments, transfers, and that it is a model."""
        page.open(full, "Plan")
        text = page.text("[data-tab=Plan]")
        for part in (
            "A17",
            "Placement is a model",
            "control flow does not run there",
            "export both branches",
            "100 µs",
        ):
            assert part in text
        page.click_on("[data-tab=Plan] .link", "product")
        assert "Neural Engine" in page.text("#details")

    def test_ranges(self, page, full):
        page.open(full, "Ranges")
        assert "it reaches 7e4" in page.text("[data-tab=Ranges]")
        box = page.evaluate("(b => [b.x + 100, b.y + 100])(document.querySelector('.plot').getBoundingClientRect())")
        page.click(*box)
        assert page.text("#details h2") == "linear"
        assert "25.0 %" in page.text("#details")  # beyond float16
        assert "product" in page.text("#tip")

    def test_differences(self, page, full):
        page.open(full)
        assert page.evaluate("document.querySelector('[aria-selected=true]').textContent") == "Difference"
        assert "op: sigmoid → tanh" in page.text("[data-tab=Difference]")


@pytest.mark.parametrize("tab", ["Summary", "Graph", "Ops", "Ranges", "Plan", "Difference"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_view_is_readable(page, full, tab, dark):
    """At 1280 by 800 nothing is cut off, and text stands out: a contrast of 4.5, as WCAG 2 asks for."""
    page.open(full, tab, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    light, deep = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert contrast(light, deep) > 4.5
    dim = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--dim')").strip()
    assert contrast(dim, deep) > 4.5
    assert (luminance(deep) < 0.2) == dark


def luminance(color: str) -> float:
    """Relative luminance by WCAG 2, of ``rgb(…)`` or ``#rrggbb``."""
    if color.startswith("#"):
        parts = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    else:
        parts = [int(part) for part in color.strip("rgb()").split(",")]
    linear = [c / 12.92 if (c := part / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_narrow(page, full):
    """On a telephone everything of the bar is inside the page, and details lie over it, not beside it."""
    page.open(full, "Graph", size=(400, 800))
    for name in ("title", "tabs", "search", "theme"):
        box = f"document.getElementById('{name}').getBoundingClientRect()"
        assert 0 <= page.evaluate(f"{box}.left") < page.evaluate(f"{box}.right") <= 400
    search(page, "product")
    assert page.evaluate("document.getElementById('views').clientWidth") == 400
    assert page.evaluate("document.getElementById('details').clientWidth") == 400


def test_the_button_changes_light_and_dark(page, full):
    page.open(full, "Summary", dark=True)
    themes = []
    for _ in range(3):
        page.click_on("#theme")
        themes.append(page.evaluate("document.documentElement.dataset.theme"))
    assert themes == ["light", "dark", "dark"]  # the last one is the system's own


def test_hostile_names_stay_text(page, tmp_path):
    """No script of theirs runs, in any view, and they are shown as they are."""
    model = reported.model(reported.HOSTILE)
    old = reported.model(reported.HOSTILE, last="sigmoid")
    path = model.report(tmp_path / "hostile.html", title=reported.HOSTILE, old=old, plan=reported.plan())
    page.open(path)
    for tab in ("Summary", "Graph", "Ops", "Ranges", "Plan", "Difference"):
        page.click_on("#tabs button", tab)
    search(page, "product")
    assert page.evaluate("document.querySelector('#details .name').textContent") == f"product{reported.HOSTILE}"
    assert page.evaluate("document.getElementById('title').textContent") == reported.HOSTILE
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.evaluate("document.querySelectorAll('img').length") == 0


def test_a_script_that_got_in_would_not_run(page, full, tmp_path):
    """The page's own policy allows the script that it was written with, and no other."""
    text = full.read_text(encoding="utf-8").replace("<header", "<script>hacked = 1</script><header", 1)
    path = tmp_path / "injected.html"
    path.write_text(text, encoding="utf-8")
    page.open(path, "Summary")
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.errors
    assert all("Content Security Policy" in error for error in page.errors)
    page.errors.clear()


class TestLayout:
    """The layout by itself: its scripts run in the browser, its results are checked here."""

    def laid_out(self, page, block) -> dict:
        script = (ASSETS / "layout.js").read_text(encoding="utf-8")
        return page.evaluate(
            f"(() => {{ {script}; const size = node => ({{w: 60 + 7 * node.name.length, h: 30}});"
            f"const found = layoutBlock({json.dumps(block)}, size, () => null);"
            "return {nodes: found.nodes.map(n => ({name: n.name, layer: n.layer, x: n.x, y: n.y, w: n.w, h: n.h})),"
            "edges: found.edges.map(e => ({from: e.from.name, to: e.to.name, long: e.long, points: e.points})),"
            "width: found.width, height: found.height} })()"
        )

    @pytest.fixture
    def block(self) -> dict:
        """A random graph of 150 ops that use two earlier values each, with a few that use the first ones."""
        random, ops = np.random.default_rng(0), []
        for place in range(150):
            uses = [f"op{max(0, place - 1 - int(random.integers(6)))}" for _ in range(2)] if place else ["x"]
            ops.append(
                {
                    "type": "t",
                    "name": f"op{place}",
                    "results": [[f"op{place}", ""]],
                    "operands": [["x", uses + (["x"] if place % 40 == 39 else [])]],
                }
            )
        return {"inputs": [["x", ""]], "ops": ops, "outputs": [["op149", ""]]}

    def test_no_two_nodes_overlap(self, page, full, block):
        page.open(full, "Summary")
        nodes = self.laid_out(page, block)["nodes"]
        assert len(nodes) == 152
        for i, a in enumerate(nodes):
            for b in nodes[i + 1 :]:
                beside = abs(a["x"] - b["x"]) >= (a["w"] + b["w"]) / 2
                above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
                assert beside or above, (a, b)

    def test_edges_lead_down_and_layers_are_longest_paths(self, page, full, block):
        """A node's layer is one more than the lowest of those that it uses; no edge turns back."""
        page.open(full, "Summary")
        found = self.laid_out(page, block)
        layer = {node["name"]: node["layer"] for node in found["nodes"] if node["name"] != "op149"}
        for op in block["ops"][:-1]:
            assert layer[op["name"]] == 1 + max(layer[name] for name in op["operands"][0][1])
        for edge in found["edges"]:
            ys = [y for _, y in edge["points"]]
            assert ys == sorted(ys)
        assert sum(edge["long"] for edge in found["edges"]) == 3  # the later uses of the input
        assert all(0 <= x <= found["width"] for edge in found["edges"] for x, _ in edge["points"])

    def test_places_are_the_nearest_that_order_allows(self, page, full):
        """Least squares under a least distance, as SciPy's isotonic regression solves it."""
        page.open(full, "Summary")
        random = np.random.default_rng(1)
        wishes, weights = random.normal(size=40) * 50, random.uniform(0.1, 3, 40)
        steps = np.concatenate([[0], random.uniform(1, 20, 39)])
        script = (ASSETS / "layout.js").read_text(encoding="utf-8")
        arguments = json.dumps([wishes.tolist(), weights.tolist(), steps.tolist()])
        found = page.evaluate(f"(() => {{ {script}; return apart(...{arguments}) }})()")
        offsets = np.cumsum(steps)
        expected = isotonic_regression(wishes - offsets, weights=weights).x + offsets
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
