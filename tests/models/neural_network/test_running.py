"""What the builder makes runs, against NumPy and PyTorch, and coremltools reads it.

float32 results lie within 1e-5 of the oracle's, relative to the largest: sums of a few dozen products.
"""

from __future__ import annotations

import coremltools
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import gristmill as ct
from gristmill.models import datatypes
from gristmill.models.neural_network import NeuralNetworkBuilder, utils

RNG = np.random.default_rng(3)


def numbers(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


IMAGE, ROWS, OTHER = numbers(4, 6, 7), numbers(3, 4, 5), numbers(3, 4, 5)
KERNEL, BIAS = numbers(3, 3, 4, 6), numbers(6)
VECTORS = {"mean": numbers(4), "variance": np.abs(numbers(4)) + 0.1, "gamma": numbers(4), "beta": numbers(4)}
MATRIX = numbers(2, 5)
LSTM = torch.nn.LSTM(5, 3)
INDICES = np.array([2, 0], np.float32)


def torch_of(x):
    return torch.tensor(x)[None]


def lstm_gates(weight):
    """PyTorch's gates, input, forget, cell and output, in the builder's order: input, forget, output, block input."""
    i, f, g, o = weight.detach().numpy().reshape(4, 3, *weight.shape[1:])
    return [i, f, o, g]


def lstm(builder):
    state = {"W_h": lstm_gates(LSTM.weight_hh_l0), "W_x": lstm_gates(LSTM.weight_ih_l0)}
    bias = lstm_gates(LSTM.bias_ih_l0 + LSTM.bias_hh_l0)
    for name in ("h", "c"):
        builder.add_load_constant_nd(name, name, np.zeros(3), [1, 1, 3, 1, 1])
    builder.add_expand_dims("rank 5", "x", "long", [3, 4])
    builder.add_unilstm("lstm", **state, b=bias, hidden_size=3, input_size=5, input_names=["long", "h", "c"],
                        output_names=["all", "h out", "c out"], output_all=True)  # fmt: skip
    builder.add_squeeze("rank 3", "all", "y", [3, 4])


def conv(builder):
    kernel = {"kernel_channels": 4, "output_channels": 6, "height": 3, "width": 3}
    builder.add_convolution("conv", **kernel, stride_height=2, stride_width=1, border_mode="valid", groups=1,
                            W=KERNEL, b=BIAS, has_bias=True, padding_top=1, padding_bottom=1, input_name="x",
                            output_name="y")  # fmt: skip


def deconv(builder):
    kernel = {"kernel_channels": 4, "output_channels": 6, "height": 3, "width": 3}
    builder.add_convolution("deconv", **kernel, stride_height=2, stride_width=2, border_mode="valid", groups=2,
                            W=KERNEL[..., :3], b=None, has_bias=False, is_deconv=True, input_name="x",
                            output_name="y")  # fmt: skip


def pool(builder):
    builder.add_pooling("pool", 2, 3, 2, 2, "AVERAGE", "VALID", "x", "y")


def gather(builder):
    builder.add_load_constant_nd("places", "i", INDICES, [2])
    builder.add_gather("gather", ["x", "i"], "y", axis=1)


def split(builder):
    builder.add_split_nd("split", "x", ["a", "b"], axis=2, split_sizes=[2, 3])
    builder.add_concat_nd("swapped", ["b", "a"], "y", axis=2)


def loop(builder):
    """Doubles x ten times."""
    builder.add_copy("start", "x", "y")
    inner = NeuralNetworkBuilder(nn_spec=builder.add_loop("loop", max_iterations=10).loop.bodyNetwork)
    inner.add_activation("double", "LINEAR", "y", "twice", [2.0, 0.0])
    inner.add_copy("again", "twice", "y")


ARRAYS = {
    "matrix": (
        lambda b: b.add_inner_product("ip", MATRIX, BIAS[:2], 5, 2, True, "x", "y"),
        lambda x: x @ MATRIX.T + BIAS[:2],
    ),
    "batched": (
        lambda b: b.add_batched_mat_mul("mm", ["x"], "y", W=MATRIX.T, weight_matrix_rows=5, weight_matrix_columns=2),
        lambda x: x @ MATRIX.T,
    ),
    "softmax": (lambda b: b.add_softmax_nd("s", "x", "y", -1), lambda x: torch.softmax(torch.tensor(x), -1).numpy()),
    "gelu": (
        lambda b: b.add_gelu("g", "x", "y", "TANH_APPROXIMATION"),
        lambda x: F.gelu(torch.tensor(x), approximate="tanh").numpy(),
    ),
    "power": (lambda b: b.add_unary("u", "x", "y", "power", alpha=2, scale=3, shift=1), lambda x: (3 * x + 1) ** 2),
    "reduction": (lambda b: b.add_reduce_logsumexp("r", "x", "y", [1], False), lambda x: np.log(np.exp(x).sum(axis=1))),
    "transpose": (lambda b: b.add_transpose("t", [2, 0, 1], "x", "y"), lambda x: x.transpose(2, 0, 1)),
    "slice": (
        lambda b: b.add_slice_static("s", "x", "y", [0, -1, 1], [3, 0, 4], [2, -1, 1], [0, 0, 0], [0, 1, 0]),
        lambda x: x[::2, ::-1, 1:4],
    ),
    "gather": (gather, lambda x: x[:, [2, 0]]),
    "split and concatenation": (split, lambda x: np.concatenate([x[..., 2:], x[..., :2]], axis=2)),
    "layer normalisation": (
        lambda b: b.add_layer_normalization("n", "x", "y", [5], BIAS[:5], BIAS[1:], 1e-3),
        lambda x: F.layer_norm(torch.tensor(x), (5,), torch.tensor(BIAS[:5]), torch.tensor(BIAS[1:]), 1e-3).numpy(),
    ),
    "running sum": (lambda b: b.add_cumsum("c", ["x"], "y", axis=1), lambda x: np.cumsum(x, axis=1)),
    "order": (lambda b: b.add_argsort("a", "x", "y", axis=2), lambda x: np.argsort(x, axis=2)),
    "loop": (loop, lambda x: x * 1024),
    "lstm": (lstm, lambda x: LSTM(torch.tensor(x[:, :1]))[0].detach().numpy()),
}
IMAGES = {
    "convolution": (
        conv,
        lambda x: F.conv2d(torch_of(x), torch.tensor(KERNEL).permute(3, 2, 0, 1), torch.tensor(BIAS), (2, 1), (1, 0)),
    ),
    "transposed convolution": (
        deconv,
        lambda x: F.conv_transpose2d(
            torch_of(x), torch.tensor(KERNEL[..., :3]).permute(2, 3, 0, 1), stride=2, groups=2
        ),
    ),
    "pooling": (pool, lambda x: F.avg_pool2d(torch_of(x), (2, 3), 2)),
    "batch normalisation": (
        lambda b: b.add_batchnorm("n", 4, **VECTORS, input_name="x", output_name="y", epsilon=1e-3),
        lambda x: F.batch_norm(torch_of(x), *map(torch.tensor, VECTORS.values()), eps=1e-3),
    ),
    "upsampling": (
        lambda b: b.add_upsample("u", 2, 3, "x", "y"),
        lambda x: torch.tensor(x.repeat(2, axis=1).repeat(3, axis=2)[None]),
    ),
    "padding": (
        lambda b: b.add_padding("p", 1, 2, 3, 4, 0.0, "x", "y", "reflection"),
        lambda x: F.pad(torch_of(x), (1, 2, 3, 4), "reflect"),
    ),
    "prelu": (
        lambda b: b.add_activation("a", "PRELU", "x", "y", BIAS[:4]),
        lambda x: F.prelu(torch_of(x), torch.tensor(BIAS[:4])),
    ),
    "depth to space": (
        lambda b: b.add_reorganize_data("d", "x", "y", "PIXEL_SHUFFLE", 2),
        lambda x: F.pixel_shuffle(torch_of(x), 2),
    ),
}


def check(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("build", "oracle"), ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_keep_their_shapes(build, oracle):
    x = ROWS[:, :1] if build is lstm else ROWS
    builder = NeuralNetworkBuilder(
        [("x", datatypes.Array(*x.shape))], [("y", None)], disable_rank5_shape_mapping=True, use_float_arraytype=True
    )
    build(builder)
    check(ct.models.MLModel(builder.spec).predict({"x": x})["y"], oracle(x))


@pytest.mark.parametrize(("build", "oracle"), IMAGES.values(), ids=IMAGES)
def test_images_of_rank_5(build, oracle):
    builder = NeuralNetworkBuilder([("x", datatypes.Array(*IMAGE.shape))], [("y", None)], use_float_arraytype=True)
    build(builder)
    check(ct.models.MLModel(builder.spec).predict({"x": IMAGE})["y"], oracle(IMAGE).numpy()[0])


def classifier():
    """Means of the channels of an image, as probabilities of labels."""
    builder = NeuralNetworkBuilder([("x", datatypes.Array(3, 4, 5))], [("p", datatypes.Array(3))])
    builder.add_pooling("means", 1, 1, 1, 1, "AVERAGE", "VALID", "x", "m", is_global=True)
    builder.add_softmax("softmax", "m", "p")
    return builder


@pytest.mark.interop
def test_a_classifier_of_images(tmp_path):
    """An image of one colour, scaled; saved, read again, and read by coremltools."""
    model = utils.make_nn_classifier(ct.models.MLModel(classifier().spec), ["red", "green", "blue"], "colour")
    model = utils.make_image_input(model, "x", is_bgr=False, red_bias=1.0, scale=1 / 64, image_format="NCHW")
    image = Image.fromarray(np.full((4, 5, 3), [0, 64, 128], np.uint8))
    path = tmp_path / "model.mlmodel"
    model.save(path)
    found = ct.models.MLModel(path).predict({"x": image})
    expected = torch.softmax(torch.tensor([1.0, 1.0, 2.0]), 0).tolist()
    assert found["colour"] == "blue"
    assert found["p"] == pytest.approx(dict(zip(["red", "green", "blue"], expected, strict=True)), rel=1e-5)
    theirs = coremltools.utils.load_spec(str(path))
    assert list(theirs.neuralNetworkClassifier.stringClassLabels.vector) == ["red", "green", "blue"]
    assert theirs.SerializeToString(deterministic=True) == model.get_spec().SerializeToString(deterministic=True)


def test_labels_from_a_file(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("a\nb\nc\n")
    model = utils.make_nn_classifier(ct.models.MLModel(classifier().spec), str(path))
    assert model.predict({"x": np.stack([np.zeros((4, 5)), np.ones((4, 5)), np.zeros((4, 5))])})["classLabel"] == "b"
    with pytest.raises(FileNotFoundError):
        utils.make_nn_classifier(ct.models.MLModel(classifier().spec), "nowhere.txt")
    with pytest.raises(TypeError):
        utils.make_nn_classifier(ct.models.MLModel(classifier().spec), [1.5, 2.5, 3.5])
