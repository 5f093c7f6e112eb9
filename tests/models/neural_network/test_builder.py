"""The builder writes what coremltools' builder writes for the same calls."""

from __future__ import annotations

import inspect

import coremltools
import pytest
from coremltools.models import datatypes as their_datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder as Theirs

from gristmill.models import datatypes
from gristmill.models.neural_network import NeuralNetworkBuilder
from gristmill.package import proto
from tests.models.neural_network.calls import CALLS, NAMES, Call

METHODS = [name for name in dir(Theirs) if not name.startswith("_")]


def make(cls, types, **options):
    """A builder of either package, with the same inputs and an output."""
    inputs = [(name, types.Array(2, 3)) for name in NAMES]
    return cls(inputs, [("out", None)], **options)


def both(**options):
    return make(NeuralNetworkBuilder, datatypes, **options), make(Theirs, their_datatypes, **options)


def same(ours, theirs):
    """Whether messages of the two packages are equal."""
    return ours == proto.parse(ours.DESCRIPTOR.name, theirs.SerializeToString())


def perform(builder, one: Call):
    """The call, with names for tensors in the form that the method takes."""
    parameters = inspect.signature(getattr(Theirs, one.method)).parameters
    names, outputs = list(NAMES[: one.inputs or 0]), ["out", *(f"out {k}" for k in range(1, one.outputs))]
    tensors = {
        "input_name": names if len(names) > 1 else names[0] if names else None,
        "input_names": names,
        "output_name": outputs[0],
        "output_names": outputs,
    }
    chosen = {what: value for what, value in tensors.items() if what in parameters}
    if one.inputs is None:
        chosen.pop("input_name", None), chosen.pop("input_names", None)
    return getattr(builder, one.method)(name="layer", **chosen, **one.arguments)


@pytest.mark.interop
@pytest.mark.parametrize("one", CALLS, ids=lambda one: one.method)
def test_the_same_call_writes_the_same_message(one):
    ours, theirs = both(disable_rank5_shape_mapping=one.exact)
    layer = perform(ours, one)
    perform(theirs, one)
    assert same(ours.spec, theirs.spec)
    assert layer == ours.nn_spec.layers[0]


def test_every_method_that_adds_a_layer_is_called():
    assert {one.method for one in CALLS} == {name for name in METHODS if name.startswith("add_")} - {"add_optionals"}


@pytest.mark.interop
@pytest.mark.parametrize("method", ["__init__", *METHODS])
def test_parameters_and_defaults_are_the_same(method):
    def plain(cls):
        found = inspect.signature(getattr(cls, method)).parameters.values()
        defaults = ((p.name, p.kind, p.default) for p in found)
        return [(n, k, list(d) if isinstance(d, tuple) else d) for n, k, d in defaults]

    assert plain(NeuralNetworkBuilder) == plain(Theirs)


def test_coremltools_is_the_version_compared_with():
    assert coremltools.__version__ == "9.0"
