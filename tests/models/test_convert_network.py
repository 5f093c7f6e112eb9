"""``convert_to="neuralnetwork"``: PyTorch models become networks, and what is asked for is checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gristmill as ct
from gristmill.converters.mil import Builder as mb
from gristmill.errors import InputError, UnsupportedError
from gristmill.ir.types import fp32
from gristmill.package.network_writer import NetworkRefusedError

SHAPE = (1, 3, 8, 10)


class Small(torch.nn.Module):
    """Two outputs of an image: what a convolution makes, and probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(4)
        self.linear = torch.nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.nn.functional.silu(self.norm(self.conv(x)))
        return torch.softmax(self.linear(y.mean((2, 3))), -1)


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    torch.manual_seed(0)
    return Small().eval()


def convert(module: torch.nn.Module, *inputs: Any, **options: Any) -> ct.models.MLModel:
    return ct.convert(module, inputs=list(inputs), convert_to="neuralnetwork", **options)


def test_a_network_gives_what_pytorch_gives(module: torch.nn.Module, tmp_path: Any) -> None:
    """Saved and loaded, in float32: sums of some dozen products agree to 1e-6."""
    model = convert(module, ct.TensorType("x", SHAPE))
    assert model.kind == "neuralNetwork"
    model.save(tmp_path / "model.mlmodel")
    loaded = ct.models.MLModel(tmp_path / "model.mlmodel")
    x = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))
    (got,) = loaded.predict({"x": x.numpy()}).values()
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, module(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_an_old_target_asks_for_a_network(module: torch.nn.Module) -> None:
    model = ct.convert(module, inputs=[ct.TensorType("x", SHAPE)], minimum_deployment_target=ct.target.iOS13)
    assert model.kind == "neuralNetwork"
    assert model.get_spec().specificationVersion == 4


@pytest.mark.parametrize("layout", ["RGB", "BGR"])
def test_classifier_of_images(module: torch.nn.Module, layout: str) -> None:
    """The scaler stands before the network, and gives what scaling in an ML Program gives."""
    image = ct.ImageType("x", SHAPE, scale=1 / 128, bias=[-1.0, -0.5, 0.25], color_layout=layout)
    labels = ct.ClassifierConfig(["a", "b", "c", "d", "e"], predicted_feature_name="letter")
    network = convert(module, image, classifier_config=labels)
    assert network.kind == "neuralNetworkClassifier"
    (step,) = network.get_spec().neuralNetworkClassifier.preprocessing
    assert step.scaler.channelScale == np.float32(1 / 128)
    program = ct.convert(
        module, inputs=[image], classifier_config=labels, compute_precision=ct.precision.FLOAT32, skip_model_load=False
    )
    pixels = np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)
    mine, theirs = (model.predict({"x": Image.fromarray(pixels)}) for model in (network, program))
    assert mine["letter"] == theirs["letter"]
    assert mine["letter_probs"] == pytest.approx(theirs["letter_probs"], rel=1e-5)


def test_flexible_shapes(module: torch.nn.Module) -> None:
    """Ranges and enumerated shapes stand in the description, and other shapes than those are refused."""
    ranges = ct.TensorType("x", (1, 3, ct.RangeDim(4, 16, default=8), ct.RangeDim(4, 16, default=8)))
    chosen = ct.TensorType("x", ct.EnumeratedShapes([(1, 3, 8, 8), (1, 3, 12, 12)]))
    for described, field in ((ranges, "shapeRange"), (chosen, "enumeratedShapes")):
        model = convert(module, described)
        array = model.get_spec().description.input[0].type.multiArrayType
        assert array.WhichOneof("ShapeFlexibility") == field
        assert list(array.shape) == [1, 3, 8, 8]
        x = torch.rand((1, 3, 12, 12), generator=torch.Generator().manual_seed(2))
        (got,) = model.predict({"x": x.numpy()}).values()
        np.testing.assert_allclose(got, module(x).detach().numpy(), rtol=1e-5, atol=1e-6)
        with pytest.raises(InputError):
            model.predict({"x": np.zeros((1, 3, 20, 20), np.float32)})


def test_what_no_network_holds_is_named_with_its_place() -> None:
    """The place is that of the operator in the source, and every op is named."""

    class Sampled(torch.nn.Module):
        def forward(self, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
            big = (x.to(torch.int32) + 2147483000).float()
            return torch.nn.functional.grid_sample(big, grid, align_corners=False)

    with pytest.raises(NetworkRefusedError) as caught:
        convert(Sampled(), ct.TensorType("x", (1, 1, 4, 4)), ct.TensorType("grid", (1, 4, 4, 2)))
    kinds = [refusal.op.split()[0] for refusal in caught.value.refusals]
    assert kinds == ["add", "resample"]
    assert "grid_sampler" in str(caught.value.refusals[1].location)


def test_arguments_that_do_not_fit(module: torch.nn.Module) -> None:
    """A precision, a newer target, float16 inputs, an unknown kind."""
    x = ct.TensorType("x", SHAPE)
    with pytest.raises(InputError, match="no precision can be chosen"):
        convert(module, x, compute_precision=ct.precision.FLOAT32)
    with pytest.raises(InputError, match="before iOS 15"):
        convert(module, x, minimum_deployment_target=ct.target.iOS16)
    with pytest.raises(InputError, match=r"fp16 inputs and outputs came with"):
        convert(module, ct.TensorType("x", SHAPE, dtype=np.float16))
    with pytest.raises(UnsupportedError, match="kind of model"):
        ct.convert(module, inputs=[x], convert_to="pipeline")


def test_programs_convert_and_networks_become_ml_programs() -> None:
    """A program of the builder's becomes a network; what that is read as becomes a network again, or an ML Program."""

    @mb.program(input_specs=[mb.TensorSpec(shape=(2, 3))])
    def program(x: Any) -> Any:
        return mb.relu(x=mb.reduce_sum(x=x, axes=[1]), name="y")

    network = ct.convert(program, convert_to="neuralnetwork")
    again = ct.convert(network.program, convert_to="neuralnetwork")
    typed = ct.convert(
        network.program, compute_precision=ct.precision.FLOAT32, minimum_deployment_target=ct.target.iOS17
    )
    assert [model.kind for model in (network, again, typed)] == ["neuralNetwork", "neuralNetwork", "mlProgram"]
    assert {value.dtype for value in typed.program.main.outputs} == {fp32}
    for model in (network, again, typed):
        assert model.predict({"x": np.array([[1, 2, 3], [-1, -2, 0]], np.float32)})["y"].tolist() == [6, 0]


def test_images_and_defaults() -> None:
    """A grey image in and out, 2·(10/2 + 1) + 3, where 3 is the default of a number; defaults came with iOS 14."""

    class Sum(torch.nn.Module):
        def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
            return x * 2 + z

    grey = ct.ImageType("x", (1, 1, 4, 6), color_layout="GRAYSCALE", scale=0.5, bias=1.0)
    number = ct.TensorType("z", (1,), default_value=np.array([3.0], np.float32))
    model = convert(Sum(), grey, number, outputs=[ct.ImageType("y", color_layout="GRAYSCALE")])
    assert model.get_spec().specificationVersion == 5
    result = model.predict({"x": Image.fromarray(np.full((4, 6), 10, np.uint8))})["y"]
    assert np.asarray(result).tolist() == [[15] * 6] * 4


def test_sizes_that_a_model_asks_to_be_equal_may_be_declared_apart() -> None:
    """Two inputs that are added: their lengths are one size, which other lengths are held to."""

    class Sum(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.einsum("ab,bc->ac", x, y)

    apart = [
        ct.TensorType("x", (2, ct.RangeDim(1, 9, default=5))),
        ct.TensorType("y", (ct.RangeDim(1, 9, default=5), 3)),
    ]
    model = convert(Sum(), *apart)
    x, y = np.ones((2, 7), np.float32), np.ones((7, 3), np.float32)
    (got,) = model.predict({"x": x, "y": y}).values()
    np.testing.assert_array_equal(got, x @ y)
