"""A real pipeline on a photograph: image input, scaler, 8-bit weights in look-up tables, non-maximum suppression."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import gristmill as ct
from tests.models.test_network_units import layer_values

pytestmark = [pytest.mark.real_model, pytest.mark.slow]

BY_EYE = {
    "bus": [(60, 95, 364, 282)],
    "person": [(73, 160, 134, 343), (140, 157, 190, 330), (312, 150, 365, 340)],
}
"""What a person sees in the photograph: left, top, right and bottom in the square of 416 pixels."""


def overlap(a, b):
    """Intersection over union."""
    left, top, right, bottom = (*np.maximum(a[:2], b[:2]), *np.minimum(a[2:], b[2:]))
    shared = max(0, right - left) * max(0, bottom - top)
    return shared / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - shared)


@pytest.fixture(scope="module")
def written(real_model, tmp_path_factory):
    """What the example prints and the folder with what it draws."""
    import contextlib
    import io

    real_model("yolov3-tiny"), real_model("street")
    from examples import yolo

    folder = tmp_path_factory.mktemp("yolo")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        yolo.main(folder=folder)
    return printed.getvalue(), folder


def test_boxes_are_where_a_person_sees_them(real_model):
    """A bus and three people, each within a box drawn by hand by more than 0.6 of both together."""
    real_model("yolov3-tiny"), real_model("street")
    from examples import yolo

    model = yolo.load()
    found = yolo.objects(yolo.labels(model), model.predict({"image": yolo.square(yolo.street())}))
    assert sorted(each.label for each in found) == ["bus", "person", "person", "person"]
    for each in found:
        assert max(overlap(np.array(each.box), np.array(box)) for box in BY_EYE[each.label]) > 0.6


def test_units_find_the_same(written):
    """Float16 changes the third digit of a confidence, and no box."""
    printed, _ = written
    lines = [line for line in printed.splitlines() if ": person" in line]
    assert [line.split(":")[0] for line in lines] == ["CPU, float32", "A17, gpu_float32", "A17, neural_engine_float32"]
    rows = [[part.split() for part in line.split(": ")[1].split(", ")] for line in lines]
    exact = [float(number) for _, number in rows[0]]
    for row in rows[1:]:
        assert [label for label, _ in row] == [label for label, _ in rows[0]]
        apart = np.abs([float(number) for _, number in row] - np.array(exact))
        assert 0 < apart.max() < 5e-3


def test_picture_and_report(written):
    """The picture has boxes in the labels' colours; the page shows what the Neural Engine's type does."""
    printed, folder = written
    with Image.open(folder / "yolo.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert {(0xE6, 0x19, 0x4B), (0x3C, 0xB4, 0x4B)} <= colours
    page = (folder / "yolo.html").read_text()
    assert "neural_engine" in page
    assert "batchnorm_0_output" in page
    assert "most of the error: " in printed


def test_report_agrees_with_the_simulation(real_model):
    """Two independent ways to the same noise: the inspection's, and the simulated unit's with float32 sums."""
    real_model("yolov3-tiny"), real_model("street")
    from examples import yolo

    network, picture = yolo.load().stages[0], {"image": yolo.square(yolo.street())}
    inspection = ct.precision.inspect(network, picture)
    envelope = network.simulate(
        picture, target="A17", compute_units=ct.ComputeUnit.CPU_AND_NE, profiles=["neural_engine_float32"]
    )
    for name, decibels in envelope.snr_db["neural_engine_float32"].items():
        assert inspection.outputs[name].snr_db == pytest.approx(decibels, abs=1)


def test_every_layer_has_the_type_of_its_unit(real_model):
    """float32 throughout on the CPU, float16 throughout on a GPU: by the values of each layer of the real network."""
    real_model("yolov3-tiny"), real_model("street")
    from examples import yolo

    network = yolo.load().stages[0]
    arrays, _ = network._arrays({"image": yolo.square(yolo.street())})
    cpu, gpu = (layer_values(network, unit, arrays) for unit in ("cpu", "gpu"))
    exact = ct.precision.inspect(network, {"image": yolo.square(yolo.street())}, "float64", unit="cpu")
    layers = [row for row in exact.rows if row.op in ("conv", "leaky_relu", "sigmoid", "exp")]
    assert len(layers) > 30
    for row in layers:
        assert row.accumulated.snr_db > 110, row.name  # noise of some 2⁻²⁰
        single, half = cpu[row.name], gpu[row.name]
        assert (single.dtype, half.dtype) == (np.float32, np.float16), row.name
        assert not np.array_equal(single, single.astype(np.float16)), row.name
        apart = np.linalg.norm(half.astype(np.float64) - single) / np.linalg.norm(single)
        assert 2.0**-14 < apart < 2.0**-5, row.name
