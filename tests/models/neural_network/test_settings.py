"""What the builder sets beside layers, against coremltools' builder."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.models import datatypes as their_datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder as Theirs
from coremltools.models.neural_network import update_optimizer_utils as their_optimizers

import gristmill as ct
from gristmill.errors import InputError, InputTypeError
from gristmill.models import datatypes
from gristmill.models.neural_network import NeuralNetworkBuilder, update_optimizer_utils
from gristmill.package import proto
from tests.models.neural_network.test_builder import both, same

OURS = (NeuralNetworkBuilder, datatypes, update_optimizer_utils)
THEIRS = (Theirs, their_datatypes, their_optimizers)


def network(cls, types, shape=(3,), outputs=("probs",), layer="softmax", **options):
    """Inner product and softmax, or another layer without parameters."""
    builder = cls([("x", types.Array(*shape))], [(name, types.Array(2)) for name in outputs], **options)
    builder.add_inner_product("ip", np.arange(6.0).reshape(2, 3), np.ones(2), 3, 2, True, "x", "ip")
    getattr(builder, f"add_{layer}")("last", "ip", outputs[0])
    return builder


def for_both(change, **options):
    """Builders of both packages, changed alike."""
    builders = []
    for cls, types, optimizers in (OURS, THEIRS):
        builders.append(network(cls, types, **options))
        change(builders[-1], types, optimizers)
    return builders


def adam(optimizers):
    params = optimizers.AdamParams(lr=0.1, batch=4, beta1=0.8, beta2=0.9, eps=1e-6)
    params.set_lr(0.2, 0.1, 0.3)
    params.set_batch(8, [4, 8])
    params.set_beta1(0.7, 0.5, 0.9)
    params.set_beta2(0.8, 0.6, 1.0)
    params.set_eps(1e-7, 0, 1e-3)
    return params


def sgd(optimizers):
    params = optimizers.SgdParams(lr=0.1, batch=4, momentum=0.5)
    params.set_lr(0.2, 0.1, 0.3)
    params.set_batch(8, [4, 8])
    params.set_momentum(0.25, 0.0, 0.5)
    return params


def labels_first(change):
    """A change of a classifier."""

    def changed(builder, types, optimizers):
        builder.set_class_labels(["a", "b"], prediction_blob="probs")
        change(builder, types, optimizers)

    return changed


CHANGES = {
    "input": lambda b, t, o: b.set_input(["row"], [(3,)]),
    "input of a batch": lambda b, t, o: b.set_input(["row"], [(1, 3)]),
    "image": lambda b, t, o: b.set_input(["row"], [(3, 1, 1)]),
    "output": lambda b, t, o: b.set_output(["p"], [(2, 1, 1)]),
    "optional": lambda b, t, o: b.set_optional_input(0),
    "optional with a value": lambda b, t, o: b.set_optional_input(0, 0.5),
    "optional with a double": lambda b, t, o: b.set_optional_input(0, 0.0, "double"),
    "optional with an integer": lambda b, t, o: b.set_optional_input(0, 3, "INT"),
    "optionals": lambda b, t, o: b.add_optionals([("h", 4), ("c", (1, 2))], [("h out", (4,))]),
    "no optionals": lambda b, t, o: b.add_optionals([], []),
    "training input": lambda b, t, o: b.set_training_input([("x", t.Array(3)), ("label", t.Int64())]),
    "updatable": lambda b, t, o: b.make_updatable(["ip"]),
    "cross entropy": lambda b, t, o: b.set_categorical_cross_entropy_loss("loss", "probs"),
    "squares": lambda b, t, o: b.set_mean_squared_error_loss("loss", ("ip", t.Array(2))),
    "sgd": lambda b, t, o: b.set_sgd_optimizer(sgd(o)),
    "sgd's defaults": lambda b, t, o: b.set_sgd_optimizer(o.SgdParams()),
    "adam": lambda b, t, o: b.set_adam_optimizer(adam(o)),
    "adam's defaults": lambda b, t, o: b.set_adam_optimizer(o.AdamParams()),
    "epochs": lambda b, t, o: b.set_epochs(5),
    "epochs to choose": lambda b, t, o: b.set_epochs(5, [1, 5, 10]),
    "shuffle": lambda b, t, o: b.set_shuffle(),
    "shuffle the same": lambda b, t, o: b.set_shuffle(seed=42),
}
LABELS = {
    "texts": lambda b, t, o: b.set_class_labels(["a", "b"]),
    "integers": lambda b, t, o: b.set_class_labels([3, 4], "number", "probs"),
    "without labels": lambda b, t, o: b.set_class_labels([]),
    "cross entropy of labels": labels_first(lambda b, t, o: b.set_categorical_cross_entropy_loss("loss", "probs")),
}


@pytest.mark.interop
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_same_settings_write_the_same_message(change):
    ours, theirs = for_both(change)
    assert same(ours.spec, theirs.spec)


@pytest.mark.interop
@pytest.mark.parametrize("change", LABELS.values(), ids=LABELS)
def test_the_same_labels_write_the_same_message(change):
    ours, theirs = for_both(change, mode="classifier")
    assert same(ours.spec, theirs.spec)


@pytest.mark.interop
@pytest.mark.parametrize("mode", [None, "classifier", "regressor"])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("floats", [False, True])
def test_the_same_options_write_the_same_message(mode, exact, floats):
    options = {"mode": mode, "disable_rank5_shape_mapping": exact, "use_float_arraytype": floats}
    builders = [
        network(cls, types, training_features=[("x", types.Array(3)), ("y", None)], **options)
        for cls, types, _ in (OURS, THEIRS)
    ]
    assert same(*(builder.spec for builder in builders))


@pytest.mark.interop
@pytest.mark.parametrize(
    "options",
    [
        {"is_bgr": True, "red_bias": 1.0, "green_bias": 2.0, "blue_bias": 3.0, "gray_bias": 4.0, "image_scale": 0.5},
        {"is_bgr": {"x": True}, "red_bias": {"x": 1.0}, "image_scale": {"y": 2.0}},
        {"image_format": "nhwc"},
    ],
    ids=["for all", "by name", "channels last"],
)
def test_the_same_preprocessing_writes_the_same_message(options):
    """The inputs are one of three channels and one grey; a layer reads each."""
    last = "image_format" in options
    specs = []
    for cls, types, _ in (OURS, THEIRS):
        inputs = [("x", types.Array(*((1, 4, 5, 3) if last else (3, 4, 5)))), ("y", types.Array(1, 4, 5))]
        builder = cls(inputs, [("a", None), ("b", None)], disable_rank5_shape_mapping=True)
        builder.add_sin("a", "x", "a")
        builder.add_sin("b", "y", "b")
        builder.set_pre_processing_parameters(["x"] if last else ["x", "y"], **options)
        specs.append(builder.spec)
    assert same(*specs)


def test_layers_that_bring_channels_first_vanish_for_images_that_have_them_there():
    builder = NeuralNetworkBuilder([("x", datatypes.Array(4, 5, 3))], [("y", None)], disable_rank5_shape_mapping=True)
    builder.add_transpose("first", [2, 0, 1], "x", "planes")
    builder.add_sin("sin", "planes", "y")
    builder.set_pre_processing_parameters("x", image_format="NHWC")
    assert [(layer.name, list(layer.input)) for layer in builder.nn_spec.layers] == [("sin", ["x"])]
    assert list(builder.layer_specs) == builder.layers == ["sin"]


def test_a_branch_that_brings_channels_first_reads_them_last():
    """Its layer stays: what stands in a branch is left alone, and the image's channels are brought last for it."""
    builder = NeuralNetworkBuilder(
        [("x", datatypes.Array(4, 5, 3)), ("c", datatypes.Array(1))], [("y", None)], disable_rank5_shape_mapping=True
    )
    layer = builder.add_branch("if", "c")
    for network in (layer.branch.ifBranch, layer.branch.elseBranch):
        inner = NeuralNetworkBuilder(nn_spec=network)
        inner.add_transpose("inner", [2, 0, 1], "x", "t")
        inner.add_copy("end", "t", "y")
    builder.set_pre_processing_parameters("x", image_format="NHWC")
    assert builder.layers == ["x_to_nhwc", "if"]
    assert [list(each.input) for each in layer.branch.ifBranch.layers] == [["x_to_nhwc"], ["t"]]


def test_a_network_in_a_branch_is_built_in_its_message():
    builder = NeuralNetworkBuilder(
        [("x", datatypes.Array(2)), ("c", datatypes.Array(1))], [("y", None)], disable_rank5_shape_mapping=True
    )
    layer = builder.add_branch("if", "c")
    NeuralNetworkBuilder(nn_spec=layer.branch.ifBranch).add_activation("double", "LINEAR", "x", "y", [2.0, 0.0])
    NeuralNetworkBuilder(nn_spec=layer.branch.elseBranch).add_copy("same", "x", "y")
    model = ct.models.MLModel(builder.spec)
    x = np.array([1.0, 2.0])
    np.testing.assert_array_equal(model.predict({"x": x, "c": np.ones(1)})["y"], 2 * x)
    np.testing.assert_array_equal(model.predict({"x": x, "c": np.zeros(1)})["y"], x)


def test_networks_that_are_given_are_copied():
    inner = proto.message("NeuralNetwork")()
    NeuralNetworkBuilder(nn_spec=inner).add_copy("copy", "x", "y")
    builder = NeuralNetworkBuilder([("x", datatypes.Array(2))], [("y", None)])
    assert builder.add_branch("if", "x", inner, inner).branch.elseBranch == inner
    assert builder.add_loop("loop", inner, condition_network=inner).loop.conditionNetwork == inner


def test_a_model_is_gone_on_with(tmp_path):
    """From a file: layers are known by name, and new ones come after them."""
    path = tmp_path / "model.mlmodel"
    ct.utils.save_spec(network(*OURS[:2]).spec, path)
    builder = NeuralNetworkBuilder(spec=ct.utils.load_spec(path))
    assert builder.layers == ["ip", "last"]
    builder.add_activation("double", "LINEAR", "probs", "twice", [2.0, 0.0])
    builder.set_output(["twice"], [(2,)])
    result = ct.models.MLModel(builder.spec).predict({"x": np.ones(3)})["twice"]
    assert result.sum() == pytest.approx(2.0, rel=1e-6)  # a softmax sums to 1


def test_inspection(capsys):
    """Last things first; parameters only where asked for."""
    builder = network(*OURS[:2])
    builder.make_updatable(["ip"])
    builder.set_mean_squared_error_loss("loss", ("ip", datatypes.Array(2)))
    builder.set_adam_optimizer(update_optimizer_utils.AdamParams())

    def printed(method, *arguments, **options):
        getattr(builder, method)(*arguments, **options)
        return capsys.readouterr().out

    layers = printed("inspect_layers")
    assert layers.index("[1] last (softmax): ip -> probs") < layers.index("[0] ip (innerProduct, updatable): x -> ip")
    assert printed("inspect_layers", 1).count("\n") == 1
    assert "weights: 6 float32" in printed("inspect_layers", verbose=True)
    assert printed("inspect_updatable_layers") == "ip (innerProduct, updatable): x -> ip\n"
    assert "target: ip_true" in printed("inspect_loss_layers")
    assert "beta2: 0.999 from 0.0 to 1.0" in printed("inspect_optimizer")
    assert "miniBatchSize: 10 in [10]" in printed("inspect_optimizer")
    assert printed("inspect_input_features") == "[0] x: double [3]\n"
    assert printed("inspect_output_features") == "[0] probs: double [2]\n"
    assert printed("inspect_innerproduct_channels", "ip") == "input channels: 3\noutput channels: 2\n"
    with pytest.raises(InputError, match="another type"):
        builder.inspect_conv_channels("ip")


def test_printing_a_network(capsys):
    builder = NeuralNetworkBuilder([("x", datatypes.Array(2))], [("y", None)], disable_rank5_shape_mapping=True)
    layer = builder.add_branch("if", "x")
    NeuralNetworkBuilder(nn_spec=layer.branch.ifBranch).add_sin("sin", "x", "y")
    ct.models.neural_network.printer.print_network_spec(builder.spec, style="coding")
    printed = capsys.readouterr().out
    assert "def model(x):\n    branch(x)\n    if:\n        y = sin(x)\n    return y" in printed
    ct.models.neural_network.printer.print_network_spec(builder.spec)
    assert "[0] sin (sin): x -> y" in capsys.readouterr().out
    ct.models.neural_network.printer.print_network_spec(builder.spec, interface_only=True)
    assert "sin" not in capsys.readouterr().out


WRONG = {
    "name taken": (lambda b: b.add_sin("ip", "x", "y"), "one name"),
    "unknown mode": (lambda b: b.add_unary("u", "x", "y", "cube"), "unknown 'type'"),
    "unknown activation": (lambda b: b.add_activation("a", "SINE", "x", "y"), "non_linearity"),
    "parameters missing": (lambda b: b.add_activation("a", "PRELU", "x", "y"), "needs params"),
    "field of another type": (lambda b: b.add_softmax_nd("s", "x", "y", axis="last"), "'axis' takes other values"),
    "bias of another size": (
        lambda b: b.add_inner_product("i", np.ones((2, 3)), np.ones(3), 3, 2, True, "x", "y"),
        "bias of another size",
    ),
    "weights of another size": (
        lambda b: b.add_inner_product("i", np.ones((2, 2)), None, 3, 2, False, "x", "y"),
        "weights of another size",
    ),
    "codes without scale": (lambda b: b.add_inner_product("i", b"123456", None, 3, 2, False, "x", "y"), "quant_scale"),
    "too few codes": (
        lambda b: b.add_convolution("c", 1, 1, 3, 3, 1, 1, "same", 1, b"12", None, False, quantization_type="lut"),
        "bytes of quantised weights",
    ),
    "constant of another size": (lambda b: b.add_load_constant_nd("c", "y", np.ones(3), [2]), "another size"),
    "fraction of a nearest pixel": (lambda b: b.add_upsample("u", 1.5, 1, "x", "y"), "no integer"),
    "no such layer": (lambda b: b.make_updatable(["ghost"]), "no such layer"),
    "layer that does not learn": (lambda b: b.make_updatable(["last"]), "another type"),
    "loss without softmax": (lambda b: b.set_categorical_cross_entropy_loss("loss", "ip"), "softmax"),
    "labels for no classifier": (lambda b: b.set_class_labels(["a", "b"]), "no classifier"),
    "no such input": (lambda b: b.set_optional_input(1), "no such input"),
    "no image": (lambda b: b.set_pre_processing_parameters("x"), "shape of an image"),
}


def test_an_output_may_not_have_the_name_of_a_target():
    """Updates would take it for what the output should be."""
    builder = network(*OURS[:2], outputs=("ip_true",))
    with pytest.raises(InputError, match="an output has the target's name"):
        builder.set_mean_squared_error_loss("loss", ("ip", datatypes.Array(2)))


@pytest.mark.parametrize(("wrong", "message"), WRONG.values(), ids=WRONG)
def test_mistakes_are_named_and_change_nothing(wrong, message):
    builder = network(*OURS[:2])
    before = builder.spec.SerializeToString(deterministic=True)
    with pytest.raises(InputError, match=message):
        wrong(builder)
    assert builder.spec.SerializeToString(deterministic=True) == before


def test_a_network_with_float16_weights_is_not_updatable():
    builder = network(*OURS[:2])
    weights = builder.layer_specs["ip"].innerProduct.weights
    weights.float16Value, weights.floatValue[:] = np.ones(6, np.float16).tobytes(), []
    with pytest.raises(InputError, match="float16"):
        builder.make_updatable(["ip"])


def test_arguments_of_the_builder():
    with pytest.raises(InputTypeError, match="input_features and output_features"):
        NeuralNetworkBuilder()
    with pytest.raises(InputError, match="either"):
        NeuralNetworkBuilder(spec=both()[0].spec, nn_spec=proto.message("NeuralNetwork")())
    with pytest.raises(InputError, match="no neural network"):
        NeuralNetworkBuilder(spec=proto.message("Model")())
