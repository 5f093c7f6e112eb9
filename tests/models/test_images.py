"""Images in and out: every colour layout, scale and bias, sizes, modes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import gristmill as ct
from gristmill.errors import InputError, InputTypeError
from gristmill.models.io_types import ColorLayout

SIZE = (3, 2)  # width, height
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 3, 3), dtype=np.uint8)
"""Height, width, and red, green, blue."""


class Same(torch.nn.Module):
    def forward(self, x):
        return x + 0


def converted(layout: str, *, output: bool = False, **image) -> ct.models.MLModel:
    """A model with an image as its input or its output, in float32 so that the pixels are exact."""
    channels = 3 if layout in ("RGB", "BGR") else 1
    shape = (1, channels, 2, 3)
    described = ct.ImageType(name="image", color_layout=layout, **image)
    tensor = ct.TensorType(name="x", shape=shape)
    exported = torch.export.export(Same(), (torch.zeros(shape),))
    return ct.convert(
        exported,
        inputs=[tensor if output else described],
        outputs=[described] if output else [ct.TensorType(name="y")],
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS16,
    )


# --- in --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layout", "order"), [("RGB", [0, 1, 2]), ("BGR", [2, 1, 0])])
def test_coloured_input(layout, order):
    """The channels come first, in the layout's order, as pixel values."""
    result = converted(layout).predict({"image": Image.fromarray(PIXELS)})["y"]
    np.testing.assert_array_equal(result, PIXELS.transpose(2, 0, 1)[order][None])


def test_grey_input():
    result = converted("GRAYSCALE").predict({"image": Image.fromarray(PIXELS[:, :, 0])})["y"]
    np.testing.assert_array_equal(result, PIXELS[None, None, :, :, 0])


def test_float16_grey_input():
    """Fractions are kept, as far as float16 has them; an 8-bit image is taken as well."""
    model = converted("GRAYSCALE_FLOAT16")
    values = np.float32([[0, 0.5, 0.25], [1, 0.75, 0.125]])
    np.testing.assert_array_equal(model.predict({"image": Image.fromarray(values)})["y"], values[None, None])
    grey = PIXELS[:, :, 0]
    np.testing.assert_array_equal(model.predict({"image": Image.fromarray(grey)})["y"], grey[None, None])


def test_scale_and_bias():
    """Each pixel becomes scale · pixel + bias of its channel; these numbers are exact in float32."""
    model = converted("RGB", scale=0.5, bias=[-1, 0, 2])
    result = model.predict({"image": Image.fromarray(PIXELS)})["y"]
    expected = PIXELS.transpose(2, 0, 1) * 0.5 + np.array([-1, 0, 2]).reshape(3, 1, 1)
    np.testing.assert_array_equal(result, expected[None].astype(np.float32))


def test_scaling_finds_the_image_behind_a_state():
    """Descriptions are of tensor inputs; states are not counted."""

    class Sum(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(1, 1, 2, 3))

        def forward(self, x):
            self.total += x
            return self.total * 1

    model = ct.convert(
        torch.export.export(Sum(), (torch.zeros(1, 1, 2, 3),)),
        inputs=[ct.ImageType(name="image", color_layout="GRAYSCALE", scale=2)],
        minimum_deployment_target=ct.target.iOS18,
    )
    state = model.make_state()
    (result,) = model.predict({"image": Image.fromarray(PIXELS[:, :, 0])}, state).values()
    np.testing.assert_array_equal(result, 2 * PIXELS[None, None, :, :, 0].astype(np.float16))


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_modes_that_become_rgb(mode):
    """Alpha is dropped, a palette looked up; the colour is one that PIL's own palette has."""
    image = Image.new("RGB", SIZE, (0, 51, 102)).convert(mode)
    result = converted("RGB").predict({"image": image})["y"]
    assert result[0, :, 0, 0].tolist() == [0, 51, 102]


@pytest.mark.parametrize(
    ("layout", "mode", "hint"), [("RGB", "L", "RGB"), ("GRAYSCALE", "RGB", "L"), ("BGR", "F", "RGB")]
)
def test_modes_that_do_not_fit(layout, mode, hint):
    """Between colour and grey the caller decides; the error says how."""
    with pytest.raises(InputTypeError, match=rf"convert\('{hint}'\)") as error:
        converted(layout).predict({"image": Image.new(mode, SIZE)})
    assert error.value.actual == mode


def test_another_size():
    """Resizing is the caller's business, and the error says so."""
    with pytest.raises(InputError, match="resize it before") as error:
        converted("RGB").predict({"image": Image.new("RGB", (4, 2))})
    assert error.value.actual == "4 wide, 2 high"
    assert "3 wide, 2 high" in str(error.value.expected)


def test_an_array_is_no_image():
    with pytest.raises(InputTypeError, match="fromarray"):
        converted("RGB").predict({"image": PIXELS})


# --- out -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layout", "order"), [("RGB", [0, 1, 2]), ("BGR", [2, 1, 0])])
def test_coloured_output(layout, order):
    """What the model gives in its layout is an RGB image."""
    given = PIXELS.transpose(2, 0, 1)[order][None].astype(np.float32)
    image = converted(layout, output=True).predict({"x": given})["image"]
    assert (image.mode, image.size) == ("RGB", SIZE)
    np.testing.assert_array_equal(np.asarray(image), PIXELS)


def test_grey_output_is_rounded_and_clamped():
    """Half-way cases go to even; beyond 0…255 lies nothing."""
    given = np.float32([[-3, 0.5, 1.5], [254.6, 300, 7]])[None, None]
    image = converted("GRAYSCALE", output=True).predict({"x": given})["image"]
    assert image.mode == "L"
    assert np.asarray(image).tolist() == [[0, 0, 2], [255, 255, 7]]


def test_float16_grey_output():
    """Neither rounded to whole numbers nor clamped."""
    given = np.float32([[-3, 0.5, 1.5], [254.5, 300, 7]])[None, None]
    image = converted("GRAYSCALE_FLOAT16", output=True).predict({"x": given})["image"]
    assert image.mode == "F"
    np.testing.assert_array_equal(np.asarray(image), given[0, 0])


# --- description -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [layout.value for layout in ColorLayout])
def test_description_survives_saving(layout, tmp_path):
    converted(layout).save(tmp_path / "m.mlpackage")
    (feature,) = ct.models.MLModel(tmp_path / "m.mlpackage").inputs
    assert feature.describe() == f"{layout} image, 3 wide, 2 high"


def test_flexible_sizes():
    """A range of heights and widths is checked against the image."""
    height, width = torch.export.Dim("h", min=2, max=4), torch.export.Dim("w", min=2, max=5)
    exported = torch.export.export(Same(), (torch.zeros(1, 3, 3, 4),), dynamic_shapes=({2: height, 3: width},))
    shape = (1, 3, ct.RangeDim(2, 4), ct.RangeDim(2, 5))
    model = ct.convert(exported, inputs=[ct.ImageType(name="image", shape=shape)])
    (result,) = model.predict({"image": Image.new("RGB", (5, 2))}).values()
    assert result.shape == (1, 3, 2, 5)
    for wrong in ((6, 2), (5, 1)):
        with pytest.raises(InputError, match="2…5 wide, 2…4 high"):
            model.predict({"image": Image.new("RGB", wrong)})


def test_channels_must_fit_the_layout():
    exported = torch.export.export(Same(), (torch.zeros(1, 1, 2, 3),))
    with pytest.raises(InputError, match="number of channels"):
        ct.convert(exported, inputs=[ct.ImageType(name="image", color_layout="RGB")])
