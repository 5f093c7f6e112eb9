"""The page of coremltools' names says what the two packages say."""

import inspect

import pytest

from tools import coremltools_names as names


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore")  # coremltools warns of missing Mac libraries and of newer frameworks
def test_page_is_fresh():
    """A name that is added, or a parameter that is lost, comes with its line in the page."""
    pytest.importorskip("coremltools", reason="coremltools, the oracle, is not installed")
    assert names.PAGE.read_text(encoding="utf-8") == names.page()


def _call(x, y=1):
    pass


@pytest.mark.parametrize(
    ("ours", "remark"),
    [
        (lambda x, y=1: None, ""),
        (lambda x, y=1, z=2: None, ""),
        (lambda **anything: None, ""),
        (lambda x: None, "without `y`"),
        (lambda x, z, y=1: None, "also requires `z`"),
        (lambda x, y: None, "requires `y`"),
        (lambda y=1, x=0: None, "another order of positional parameters"),
        (lambda x, *, y=1: None, "another order of positional parameters"),
    ],
)
def test_signatures_are_compared_as_callers_see_them(ours, remark):
    assert names.misfit(inspect.signature(_call), inspect.signature(ours)) == remark
