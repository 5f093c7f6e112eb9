"""The comparison behind ``docs/coremltools-names.md`` finds what differs; ``test_generated`` holds the page to it."""

import enum

import pytest

from tools.coremltools_names import compare


class Theirs:
    def __init__(self, a, b=1): ...

    def method(self, x, y): ...

    @property
    def only_theirs(self): ...


class Alike:
    def __init__(self, a, b=1, more=None): ...

    def method(self, x, y, z=0): ...

    @property
    def only_theirs(self): ...


class Lacking:
    def __init__(self, a): ...

    def method(self, x): ...


@pytest.fixture(autouse=True)
def _as_coremltools(monkeypatch):
    """Members count when coremltools defines them."""
    monkeypatch.setattr(Theirs, "__module__", "coremltools.example")


def test_a_class_with_everything_is_the_same():
    assert compare(Theirs, Alike) == []


def test_missing_parameters_and_members_are_named():
    assert compare(Theirs, Lacking) == ["`(b=)`", "`method(y=)`", "`only_theirs`"]


def test_missing_values_of_an_enumeration_are_named():
    wide, narrow = enum.Enum("wide", "ONE TWO"), enum.Enum("narrow", "ONE")
    assert compare(wide, narrow) == ["`TWO`"]


def test_a_function_that_takes_anything_takes_each_parameter():
    assert compare(lambda a, b: None, lambda **kwargs: None) == []
