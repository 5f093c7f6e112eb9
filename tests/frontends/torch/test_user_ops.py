"""Lowerings in the form that coremltools has for them."""

import numpy as np
import pytest
import torch

import gristmill as ct
from gristmill.converters.mil import Builder as mb
from gristmill.converters.mil import register_torch_op
from gristmill.converters.mil.frontend.torch.ops import _get_inputs
from gristmill.errors import ConversionError, InputError
from gristmill.frontends.torch import registry


@pytest.fixture(autouse=True)
def _forget():
    """What a test registers is gone after it."""
    kept = dict(registry._by_name)
    yield
    registry._by_name.clear()
    registry._by_name.update(kept)


@pytest.fixture(scope="module", autouse=True)
def library():
    """Operators of a user's own: one tensor, two results, and one that PyTorch traces by name only."""
    made = torch.library.Library("gristmill_user_ops", "DEF")
    made.define("twice_plus(Tensor x, float bias=1.0, *, Tensor? extra=None) -> Tensor")
    made.define("both(Tensor x) -> (Tensor, Tensor)")
    made.impl("twice_plus", lambda x, bias=1.0, *, extra=None: 2 * x + bias, "CompositeExplicitAutograd")
    made.impl("both", lambda x: (x + 1, x - 1), "CompositeExplicitAutograd")
    yield made
    made._destroy()


class Twice(torch.nn.Module):
    def forward(self, x):
        return torch.ops.gristmill_user_ops.twice_plus(x, 3.0)


X = np.array([[1.0, -2.0, 3.0]], np.float32)


def _convert(module, **kwargs):
    program = torch.export.export(module.eval(), (torch.from_numpy(X),))
    return ct.convert(program, compute_precision=ct.precision.FLOAT32, **kwargs)


def _predict(model):
    (name,) = [item.name for item in model.inputs]
    return list(model.predict({name: X}).values())


def test_an_operator_of_the_users_own():
    """Without a lowering it is reported; with one it runs, numbers among its arguments given as constants."""
    with pytest.raises(ct.errors.UnsupportedError, match="twice_plus"):
        _convert(Twice())

    @register_torch_op
    def twice_plus(context, node):
        x, bias = _get_inputs(context, node, expected=2)
        assert bias.val == 3.0
        context.add(mb.add(x=mb.mul(x=x, y=2.0), y=bias, name=node.name))

    np.testing.assert_array_equal(_predict(_convert(Twice())), [2 * X + 3])


def test_an_operator_with_several_results():
    """Each is added under a name of the node's."""

    class Both(torch.nn.Module):
        def forward(self, x):
            return torch.ops.gristmill_user_ops.both(x)

    @register_torch_op
    def both(context, node):
        (x,) = _get_inputs(context, node, expected=1)
        context.add(mb.add(x=x, y=1.0), torch_name=node.outputs[0])
        context.add(mb.sub(x=x, y=1.0), torch_name=node.outputs[1])

    more, less = _predict(_convert(Both()))
    np.testing.assert_array_equal(more, X + 1)
    np.testing.assert_array_equal(less, X - 1)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
@pytest.mark.parametrize("kind", ["exported", "traced"])
def test_overriding_a_lowering(kind):
    """A user's form of an operator that has one already: taken where override says so, and held against PyTorch."""

    class Net(torch.nn.Module):
        def forward(self, x):
            return torch.selu(x)

    with pytest.raises(InputError, match="already"):

        @register_torch_op
        def selu(context, node):
            """Refused."""

    calls = []

    @register_torch_op(torch_alias=["celu"], override=True)
    def selu(context, node):  # the one above was refused
        calls.append(node.kind)
        x = context[node.inputs[0]]
        scale, alpha = 1.0507009873554805, 1.6732632423543772
        context.add(mb.mul(x=mb.elu(x=x, alpha=alpha), y=scale, name=node.name))

    if kind == "exported":
        model = _convert(Net())
    else:
        traced = torch.jit.trace(Net(), torch.from_numpy(X))
        model = ct.convert(traced, inputs=[ct.TensorType("x", X.shape)], compute_precision=ct.precision.FLOAT32)
    assert calls == ["selu"]
    np.testing.assert_allclose(_predict(model)[0], torch.selu(torch.from_numpy(X)).numpy(), rtol=1e-6)


def test_a_wrong_lowering_is_found():
    """Verification runs the program beside the model, whoever wrote the lowering."""

    @register_torch_op
    def twice_plus(context, node):
        context.add(mb.mul(x=context[node.inputs[0]], y=2.0, name=node.name))

    with pytest.raises(ct.errors.ConversionError, match="twice_plus"):
        _convert(Twice())


def test_mistakes_of_a_lowering_are_named():
    """No result, and another number of inputs than it expects."""

    @register_torch_op
    def twice_plus(context, node):
        _get_inputs(context, node, min_expected=2)

    with pytest.raises(ConversionError, match="no result"):
        _convert(Twice())

    @register_torch_op(override=True)
    def twice_plus(context, node):  # noqa: F811  # replaces the one above
        _get_inputs(context, node, expected=[1, 3])

    with pytest.raises(ConversionError, match="another number of inputs"):
        _convert(Twice())


def test_an_exception_in_a_lowering_names_the_operator_and_its_place():
    @register_torch_op
    def twice_plus(context, node):
        return int(None)

    with pytest.raises(ConversionError, match="TypeError") as caught:
        _convert(Twice())
    assert "twice_plus" in caught.value.op
    assert caught.value.location.file == __file__
