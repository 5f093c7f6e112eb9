"""The zoo: small architectures convert, agree with PyTorch and load in coremltools; the page is what was measured."""

import gc
import json

import pytest

from tools.model_zoo.catalogue import ARCHITECTURES
from tools.model_zoo.measure import SLACK, measure
from tools.model_zoo.page import DATA, PAGE, page

SMALL = [name for name, entry in ARCHITECTURES.items() if entry.small]


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """Nothing is asked of a hub: weights are random."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield
    gc.collect()  # while warnings of what coremltools leaves behind are still ignored


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore")  # the architectures' own packages warn of much
@pytest.mark.parametrize("name", SMALL)
def test_architecture(name):
    """As the table has it: float32 within 1e-4 of the largest magnitude, float16 within what rounding makes of it.

    Networks of random weights let float16's rounding (2⁻¹¹) grow to some hundredths; a wrong one differs by about 1.
    """
    found = measure(ARCHITECTURES[name])
    assert found["float32"] <= SLACK
    assert found["float16"] <= 0.1
    assert bool(found["states"]) == ARCHITECTURES[name].states


def test_there_are_ten_in_the_tests_and_sixty_on_the_page():
    """Of the kinds that people ship: none may drop out unnoticed."""
    measured = {name for name, found in json.loads(DATA.read_text()).items() if "float32" in found}
    assert len(SMALL) >= 10
    assert len(measured) >= 60
    assert {ARCHITECTURES[name].kind for name in measured} == {entry.kind for entry in ARCHITECTURES.values()}
    readme = (PAGE.parent.parent / "README.md").read_text()
    assert f"[docs/model-zoo.md](docs/model-zoo.md) has {len(measured)} architectures" in readme


def test_the_page_says_what_was_measured():
    """It is written from the measurements; an entry over the bar would stand under "Not converted"."""
    results = json.loads(DATA.read_text())
    assert PAGE.read_text() == page(results)
    assert all(found["float32"] <= SLACK for found in results.values() if "float32" in found)
