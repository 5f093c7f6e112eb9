"""Code that others published for coremltools, in its essence, runs after a change of the import."""

import numpy as np
import pytest
from PIL import Image

import gristmill as ct
from gristmill.converters.mil import Builder as mb
from gristmill.errors import FormatError

BOXES, CLASSES = 10, 3


@pytest.fixture(scope="module")
def detector():
    """Scores and boxes of a picture, as the exporters of detectors make them: weights in a file of their own."""
    weight = np.random.default_rng(0).uniform(0, 2e-3, (BOXES * (CLASSES + 4), 3 * 8 * 8)).astype(np.float32)

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 8, 8))])
    def program(image):
        rows = mb.linear(x=mb.reshape(x=image, shape=[1, 3 * 8 * 8]), weight=weight)
        rows = mb.reshape(x=rows, shape=[BOXES, CLASSES + 4])
        scores, boxes = mb.split(x=rows, split_sizes=[CLASSES, 4], axis=1)
        return mb.identity(x=scores, name="scores"), mb.identity(x=boxes, name="boxes")

    return ct.convert(program, inputs=[ct.ImageType("image", (1, 3, 8, 8), scale=1 / 255)])


def suppression(detector):
    """A model of non-maximum suppression, filled in field by field."""
    spec = ct.proto.Model_pb2.Model()
    spec.specificationVersion = 5
    for index, (name, width) in enumerate({"scores": CLASSES, "boxes": 4}.items()):
        written = detector._spec.description.output[index].SerializeToString()
        spec.description.input.add().ParseFromString(written)
        output = spec.description.output.add()
        output.ParseFromString(written)
        output.name = f"best_{name}"
        output.type.multiArrayType.ClearField("shape")
        for low, high in ((0, -1), (width, width)):
            output.type.multiArrayType.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)
    nms = spec.nonMaximumSuppression
    nms.confidenceInputFeatureName, nms.coordinatesInputFeatureName = "scores", "boxes"
    nms.confidenceOutputFeatureName, nms.coordinatesOutputFeatureName = "best_scores", "best_boxes"
    nms.iouThresholdInputFeatureName, nms.confidenceThresholdInputFeatureName = "iou", "confidence"
    nms.iouThreshold, nms.confidenceThreshold = 0.45, 0.25
    nms.stringClassLabels.vector.extend("abc")
    return ct.models.MLModel(spec)


def test_a_detector_with_suppression(detector, tmp_path):
    """Detectors are published as pipelines whose messages are put together by hand (Ultralytics' exporter does)."""
    nms = suppression(detector)
    single = ct.models.datatypes.Double()
    inputs = [("image", ct.models.datatypes.Array(3, 8, 8)), ("iou", single), ("confidence", single)]
    pipeline = ct.models.pipeline.Pipeline(inputs, ["best_scores", "best_boxes"])
    pipeline.add_model(detector)
    pipeline.add_model(nms)
    description = pipeline.spec.description
    description.input[0].ParseFromString(detector._spec.description.input[0].SerializeToString())
    for index in range(2):
        description.output[index].ParseFromString(nms._spec.description.output[index].SerializeToString())
    description.metadata.userDefined.update({"IoU threshold": "0.45"})
    model = ct.models.MLModel(pipeline.spec, weights_dir=detector.weights_dir)
    model.input_description["image"] = "a picture"
    model.save(str(tmp_path / "detector.mlpackage"))

    loaded = ct.models.MLModel(str(tmp_path / "detector.mlpackage"))
    picture = Image.new("RGB", (8, 8), (255, 255, 255))
    found = loaded.predict({"image": picture, "iou": 0.0, "confidence": 0.0})
    scores = detector.predict({"image": picture})["scores"]
    assert loaded.input_description["image"] == "a picture"
    np.testing.assert_array_equal(found["best_scores"][0], scores[scores.max(axis=1).argmax()])


def test_a_specification_needs_its_weights(detector):
    """Without the folder of the weights the error says what to pass."""
    spec = detector.get_spec()
    with pytest.raises(FormatError) as caught:
        ct.models.MLModel(spec).predict({"image": Image.new("RGB", (8, 8))})
    assert "weights_dir" in caught.value.hint
    picture = {"image": Image.new("RGB", (8, 8), (9, 9, 9))}
    again = ct.models.MLModel(spec, weights_dir=detector.weights_dir)
    np.testing.assert_array_equal(again.predict(picture)["boxes"], detector.predict(picture)["boxes"])


def test_the_specification_itself(detector):
    """What is changed through ``_spec`` is changed in the model; ``get_spec`` gives a copy."""
    model = ct.models.MLModel(detector.package)
    model._spec.description.metadata.author = "Ada"
    model.get_spec().description.metadata.author = "Bob"
    assert model.author == "Ada"
