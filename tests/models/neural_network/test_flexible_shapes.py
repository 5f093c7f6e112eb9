"""Several shapes for an input: what coremltools writes, and models that run in each of them."""

from __future__ import annotations

import coremltools
import numpy as np
import pytest
from coremltools.models.neural_network import flexible_shape_utils as theirs
from PIL import Image

import gristmill as ct
from gristmill.errors import InputError, InputTypeError
from gristmill.models import datatypes
from gristmill.models.neural_network import NeuralNetworkBuilder
from gristmill.models.neural_network import flexible_shape_utils as ours
from tests.models.neural_network.test_builder import same


def network(*shape, image=False, exact=False):
    """Y = 2 x + 1."""
    builder = NeuralNetworkBuilder([("x", datatypes.Array(*shape))], [("y", None)], disable_rank5_shape_mapping=exact)
    builder.add_activation("line", "LINEAR", "x", "y", [2.0, 1.0])
    if image:
        builder.set_pre_processing_parameters("x")
    return builder.spec


def shapes(utils):
    other = utils.NeuralNetworkMultiArrayShape(2, 3, 4)
    third = utils.NeuralNetworkMultiArrayShape()
    third.set_channel_shape(1)
    third.set_height_shape(8)
    third.set_width_shape(9)
    return [other, third]


def ranges(utils):
    found = utils.NeuralNetworkMultiArrayShapeRange()
    found.add_channel_range((1, 3))
    found.add_height_range(utils.ShapeRange(0, -1))
    found.add_width_range((4, 4))
    return found


def image_range(utils):
    found = utils.NeuralNetworkImageSizeRange()
    found.add_height_range((4, -1))
    found.add_width_range((5, 9))
    return found


CHANGES = {
    "shapes": (lambda u, s: u.add_enumerated_multiarray_shapes(s, "x", shapes(u)), {}),
    "one shape": (lambda u, s: u.add_enumerated_multiarray_shapes(s, "x", shapes(u)[0]), {}),
    "range": (lambda u, s: u.update_multiarray_shape_range(s, "x", ranges(u)), {}),
    "range of channels": (
        lambda u, s: u.update_multiarray_shape_range(s, "x", u.NeuralNetworkMultiArrayShapeRange({"C": (1, 5)})),
        {"shape": (3,)},
    ),
    "shapes of any rank": (
        lambda u, s: u.add_multiarray_ndshape_enumeration(s, "x", [(2, 6), (3, 5)]),
        {"shape": (3, 5)},
    ),
    "shapes beside others without the default": (
        lambda u, s: (
            s.description.input[0].type.multiArrayType.enumeratedShapes.shapes.add(shape=[7, 7, 7]),
            u.add_enumerated_multiarray_shapes(s, "x", shapes(u)),
        ),
        {},
    ),
    "range of any rank": (lambda u, s: u.set_multiarray_ndshape_range(s, "x", [1, 5], [-1, 8]), {"shape": (3, 5)}),
    "range, then shapes": (
        lambda u, s: (
            u.update_multiarray_shape_range(s, "x", ranges(u)),
            u.add_enumerated_multiarray_shapes(s, "x", shapes(u)),
        ),
        {},
    ),
    "sizes": (
        lambda u, s: u.add_enumerated_image_sizes(s, "x", [u.NeuralNetworkImageSize(*hw) for hw in ((8, 9), (6, 7))]),
        {"image": True},
    ),
    "sizes within": (lambda u, s: u.update_image_size_range(s, "x", image_range(u)), {"image": True}),
}


@pytest.mark.interop
@pytest.mark.parametrize(("change", "options"), CHANGES.values(), ids=CHANGES)
def test_the_same_shapes_write_the_same_message(change, options):
    options = dict(options)
    spec = network(*options.pop("shape", (3, 4, 5)), **options)
    other = coremltools.proto.Model_pb2.Model.FromString(spec.SerializeToString())
    change(ours, spec)
    change(theirs, other)
    assert same(spec, other)


def test_arrays_of_the_shapes_run_and_others_do_not():
    spec = network(3, 5, exact=True)
    ours.set_multiarray_ndshape_range(spec, "x", [1, 5], [-1, 8])
    model = ct.models.MLModel(spec)
    for shape in ((3, 5), (1, 8), (30, 6)):
        x = np.random.default_rng(0).random(shape)
        np.testing.assert_allclose(model.predict({"x": x})["y"], 2 * x + 1, rtol=1e-6)  # float32
    with pytest.raises(InputError, match="shape"):
        model.predict({"x": np.ones((3, 9))})


def test_enumerated_arrays_run_and_others_do_not():
    spec = network(3, 4, 5)
    ours.add_enumerated_multiarray_shapes(spec, "x", shapes(ours))
    model = ct.models.MLModel(spec)
    assert model.predict({"x": np.ones((2, 3, 4))})["y"].shape == (2, 3, 4)
    with pytest.raises(InputError, match="shape"):
        model.predict({"x": np.ones((2, 3, 5))})


def test_images_of_the_sizes_run_and_others_do_not():
    spec = network(1, 4, 5, image=True)
    ours.update_image_size_range(spec, "x", image_range(ours))
    model = ct.models.MLModel(spec)
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    found = model.predict({"x": Image.fromarray(pixels)})["y"]
    np.testing.assert_array_equal(found.reshape(6, 8), 2.0 * pixels + 1)
    with pytest.raises(InputError, match="another size"):
        model.predict({"x": Image.fromarray(np.zeros((6, 10), np.uint8))})


def test_a_list_that_a_caller_gave_stays():
    """And what is allowed already is not written again."""
    spec, given = network(3, 4, 5), shapes(ours)
    for _ in range(2):
        ours.add_enumerated_multiarray_shapes(spec, "x", given)
    assert len(given) == 2
    assert len(spec.description.input[0].type.multiArrayType.enumeratedShapes.shapes) == 3


def test_ranges_and_sizes_say_what_they_are():
    assert ours.ShapeRange(0, -1).isUnbounded
    assert ours.ShapeRange(2, 2).isFlexible is False
    assert ranges(ours).isFlexible()
    assert ranges(ours).get_shape_range_dims() == 3
    assert ranges(ours).get_height_range().lowerBound == 1
    assert image_range(ours).get_width_range().upperBound == 9
    size = ours.NeuralNetworkImageSize(4, 5)
    size.set_height(6)
    size.set_width(7)
    assert (size.height, size.width) == (6, 7)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda s: ours.ShapeRange(3, 2),
        lambda s: ours.ShapeRange(-2, 2),
        lambda s: ours.Size(0),
        lambda s: ours.NeuralNetworkMultiArrayShape(1, 2).multiarray_shape,
        lambda s: ours.NeuralNetworkMultiArrayShapeRange({"H": (1, 2)}),
        lambda s: ours.update_multiarray_shape_range(s, "ghost", ranges(ours)),
        lambda s: ours.update_image_size_range(s, "x", image_range(ours)),
        lambda s: ours.set_multiarray_ndshape_range(s, "x", [1], [2]),
        lambda s: ours.set_multiarray_ndshape_range(s, "x", [4, 1, 1], [5, 5, 5]),
        lambda s: ours.add_multiarray_ndshape_enumeration(s, "x", []),
    ],
)
def test_wrong_shapes_are_refused(wrong):
    with pytest.raises(InputError):
        wrong(network(3, 4, 5))


def test_arguments_of_other_types_are_refused():
    with pytest.raises(InputTypeError):
        ours.add_multiarray_ndshape_enumeration(network(3, 4, 5), "x", [[1, 2, 3]])
    with pytest.raises(InputTypeError):
        ours.NeuralNetworkImageSizeRange([1, 2])
    with pytest.raises(InputTypeError):
        ours.update_image_size_range(network(3, 4, 5, image=True), "x", (1, 2))
