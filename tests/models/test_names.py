"""Names that Core ML's compiler would refuse are made identifiers, and who called them so is told."""

import re

import numpy as np
import pytest
import torch

import gristmill as ct
from gristmill.converters.mil import Builder as mb
from gristmill.models.names import valid


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x_1", "x_1"),
        ("my-input.0", "my_input_0"),
        ("0", "var_0"),
        ("größe", "gr__e"),
        ("tensor", "tensor_workaround"),  # a word of the language
        ("tensors", "tensors"),
    ],
)
def test_valid(name, expected):
    assert valid(name) == expected


@pytest.mark.parametrize("convert_to", ["mlprogram", "neuralnetwork"])
def test_inputs_and_outputs(convert_to):
    """A warning tells old and new names, which the description has too; no two become the same."""
    module = torch.nn.Linear(2, 2).eval()
    inputs, outputs = [ct.TensorType("input.0", (1, 2))], [ct.TensorType("string")]
    with pytest.warns(UserWarning, match="is called") as caught:
        model = ct.convert(module, inputs=inputs, outputs=outputs, convert_to=convert_to)
    assert [re.findall("'(.*?)'", str(warning.message)) for warning in caught] == [
        ["input.0", "input_0"],
        ["string", "string_workaround"],
    ]
    assert list(model.input_description) == ["input_0"]
    x = np.ones((1, 2), np.float32)
    expected = module(torch.from_numpy(x)).detach().numpy()
    # Two products in float16, and what stores them; numbers stay below 4.
    np.testing.assert_allclose(model.predict({"input_0": x})["string_workaround"], expected, atol=2**-8)


def test_values_inside():
    """Of values inside nobody needs to hear; the name of another value is not taken."""

    @mb.program(input_specs=[mb.TensorSpec((2,))])
    def program(x):
        return mb.exp(x=mb.relu(x=mb.sqrt(x=x, name="a_b"), name="a/b"), name="y")

    model = ct.convert(program, compute_precision=ct.precision.FLOAT32)
    names = [value.name for value in model.program.main.values()]
    assert "a/b" not in names
    assert all(re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) for name in names)
    assert len(names) == len(set(names))


@pytest.mark.interop
def test_coremltools_agrees():
    """An application finds the same names, whichever of the two converted the model."""
    from coremltools.converters.mil.mil.passes.defs.preprocess import NameSanitizer

    words = ("tensor", "list", "bool", "bf16", "uint16", "int64", "state", "stateful", "self")
    for name in ("x", "_x", "a.b", "1", "2nd:0", "größe", *words):
        assert valid(name) == NameSanitizer(prefix="var_").sanitize_name(name)
