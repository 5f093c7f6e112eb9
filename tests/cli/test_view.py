"""``gristmill view``: writes the page, opens it in the browser, shows what it is given."""

import json
import webbrowser

import numpy as np
import pytest

from tests.analysis import reported


@pytest.fixture
def opened(monkeypatch):
    found = []
    monkeypatch.setattr(webbrowser, "open", found.append)
    return found


def data(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(text.split('id="data">', 1)[1].split("</script>", 1)[0])


def test_the_page_is_written_and_opened(gristmill, linear, tmp_path, opened):
    page = tmp_path / "page.html"
    assert str(page) in gristmill.ok("view", linear, "-o", page).replace("\n", "")
    assert opened == [page.as_uri()]
    assert data(page)["title"] == "linear.mlpackage"
    assert data(page)["metadata"]["Author"] == "Ada"


def test_without_a_place_it_goes_to_a_new_folder(gristmill, linear, opened):
    document = gristmill.document("view", linear, "--no-open")
    assert document["page"].endswith("linear.html")
    assert opened == []


def test_plans_inspections_and_runs_are_shown(gristmill, linear, tmp_path, opened):
    page, plan, inspection = (tmp_path / name for name in ("page.html", "plan.json", "inspection.json"))
    plan.write_text(json.dumps(reported.plan()))
    inspection.write_text(json.dumps(reported.inspection(), allow_nan=True))
    gristmill.ok("view", linear, "-o", page, "--no-open", "--plan", plan, "--inspection", inspection, "--diff", linear)
    found = data(page)
    assert found["plan"]["target"] == "A17"
    assert found["inspection"]["shadow"] == "float32"
    assert found["diff"]["same"] == 1
    np.save(tmp_path / "x.npy", np.full((1, 128), 2, np.float32))
    gristmill.ok("view", linear, "-o", page, "--no-open", "--input", f"x={tmp_path / 'x.npy'}")
    (row,) = data(page)["inspection"]["ops"]
    weight = np.arange(256).reshape(2, 128) / 128
    assert (row["low"], row["high"]) == pytest.approx((2 * weight[0].sum() + 1, 2 * weight[1].sum() + 1))
    gristmill.ok("view", linear, "-o", page, "--no-open", "--run")
    assert len(data(page)["inspection"]["ops"]) == 1


def test_mistakes_are_messages(gristmill, linear, tmp_path):
    (tmp_path / "plan.json").write_text("{")
    assert "no JSON" in gristmill.error("view", linear, "--no-open", "--plan", tmp_path / "plan.json")
    assert "no model is there" in gristmill.error("view", tmp_path / "nothing.mlpackage", "--no-open")


def test_two_answers_to_one_question_are_refused(gristmill, linear, tmp_path):
    for given in (("--target", "A17", "--plan"), ("--inspect", "--inspection")):
        result = gristmill("view", linear, "--no-open", *given, tmp_path / "file.json")
        assert result.exit_code == 2
        assert "give one of them" in result.output
