"""Helpers around models: cut in two, made for fixed shapes, renamed, filled with random weights."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

import gristmill as ct
from gristmill.errors import InputError, UnsupportedError
from gristmill.ir.builder import mb
from gristmill.ir.types import StateType, TensorType, bool_, fp16, fp32
from tests.models import small


class Net(torch.nn.Module):
    """Layers with a value that skips some of them, and one that every half needs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(32, 32) for _ in range(6))

    def forward(self, x, scale):
        start = self.layers[0](x)
        y = start
        for layer in self.layers[1:]:
            y = torch.relu(layer(y)) * scale
        return y + start, start


@pytest.fixture(scope="module")
def net():
    example = torch.randn(4, 32), torch.rand(1)
    return ct.convert(torch.export.export(Net().eval(), example), outputs=[ct.TensorType("y"), ct.TensorType("start")])


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    return {"x": random.standard_normal((4, 32)).astype(np.float32), "scale": np.array([0.5], np.float32)}


def chained(folder, inputs, prefix=""):
    """What the halves return, run one after the other, and the halves."""
    first, second = (ct.models.MLModel(folder / f"{prefix}chunk{number}.mlpackage") for number in (1, 2))
    between = first.predict({name: inputs[name] for name in first.input_description})
    given = between | {name: inputs[name] for name in second.input_description if name in inputs}
    return second.predict(given), first, second


def weights(model) -> int:
    return sum(
        value.constant.data.size
        for value in model.program.main.values()
        if value.constant is not None and isinstance(value.type, TensorType)
    )


class TestBisection:
    def test_the_halves_give_the_same_results(self, net, data, tmp_path, caplog):
        """Bit for bit: float16 values cross as float32. The output that the first half makes comes through."""
        net.save(tmp_path / "net.mlpackage")
        with caplog.at_level(logging.INFO):
            ct.utils.bisect_model(tmp_path / "net.mlpackage", tmp_path / "out")
        assert "PSNR" in caplog.text
        found, first, second = chained(tmp_path / "out", data, "net_")
        expected = net.predict(data)
        assert set(found) == set(expected)
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
        halves = [weights(first), weights(second)]
        assert min(halves) > 0.45 * sum(halves)  # six layers: three and three

    def test_coremltools_reads_the_halves(self, net, tmp_path):
        import coremltools

        ct.utils.bisect_model(net, tmp_path, check_output_correctness=False)
        for number in (1, 2):
            coremltools.models.MLModel(str(tmp_path / f"chunk{number}.mlpackage"), skip_model_load=True)

    def test_both_halves_go_into_one_pipeline(self, net, data, tmp_path):
        """Coremltools reads it, with the interface of the whole; its parts give the same results one by one."""
        import coremltools

        ct.utils.bisect_model(net, tmp_path, merge_chunks_to_pipeline=True)
        path = tmp_path / "chunked_pipeline.mlpackage"
        assert list(tmp_path.iterdir()) == [path]
        coremltools.models.MLModel(str(path), skip_model_load=True)
        spec = coremltools.utils.load_spec(str(path))
        assert {item.name for item in spec.description.output} == {"y", "start"}
        first, second = (
            ct.models.MLModel(part, weights_dir=path / "Data/com.apple.CoreML/weights") for part in spec.pipeline.models
        )
        between = first.predict({name: data[name] for name in first.input_description})
        given = between | {name: data[name] for name in second.input_description if name in data}
        np.testing.assert_array_equal(second.predict(given)["y"], net.predict(data)["y"])

    def test_truth_values_and_float16_cross(self, tmp_path):
        """Applications cannot hand over a truth value: it crosses as an integer."""

        def build(x):
            positive = mb.greater(x=x, y=np.float16(0), name="positive")
            weighted = mb.linear(x=x, weight=np.eye(16, dtype=np.float16), name="weighted")
            again = mb.linear(x=weighted, weight=np.eye(16, dtype=np.float16) * 2, name="again")
            return mb.select(cond=positive, a=again, b=weighted, name="y")

        model = small.model({"x": TensorType(fp16, (1, 16))}, build)
        ct.utils.bisect_model(model, tmp_path)
        x = {"x": np.linspace(-1, 1, 16, dtype=np.float16)[None]}
        found, first, _ = chained(tmp_path, x)
        np.testing.assert_array_equal(found["y"], model.predict(x)["y"])
        assert {item.name: str(item.dtype) for item in first.outputs} == {
            "positive_int32": "int32",
            "weighted": "fp16",
        }
        assert bool_ in {value.dtype for value in first.program.main.values() if isinstance(value.type, TensorType)}

    def test_a_state_stays_on_one_side(self, tmp_path):
        """The half that does not use the state does not have it."""

        def build(x, memory):
            known = mb.read_state(input=memory)
            new = mb.coreml_update_state(state=memory, value=mb.add(x=known, y=x))
            for layer in range(2):
                new = mb.linear(x=new, weight=np.eye(16, dtype=np.float16), name=f"layer_{layer}")
            return mb.relu(x=new, name="y")

        inputs = {"x": TensorType(fp16, (1, 16)), "memory": StateType(TensorType(fp16, (1, 16)))}
        model = small.model(inputs, build)
        ct.utils.bisect_model(model, tmp_path)
        first, second = (ct.models.MLModel(tmp_path / f"chunk{number}.mlpackage") for number in (1, 2))
        state = first.make_state()
        assert state.names == ("memory",)
        assert second.make_state().names == ()
        x = np.ones((1, 16), np.float16)
        for turn in (1, 2):
            found = second.predict(first.predict({"x": x}, state))
            np.testing.assert_array_equal(found["y"], np.full((1, 16), turn))

    def test_what_cannot_be_cut_is_refused(self, tmp_path):
        with pytest.raises(UnsupportedError, match="cannot be cut"):
            ct.utils.bisect_model(ct.models.MLModel(small.linear()), tmp_path)


@pytest.fixture(scope="module")
def flexible():
    """Attention over sequences of any two lengths, and a result whose size is their sum."""

    class Attend(torch.nn.Module):
        def forward(self, q, kv):
            weights = torch.softmax(q @ kv.transpose(0, 1), -1)
            return (weights @ kv).reshape(-1), torch.zeros(q.shape[0] + kv.shape[0])

    n, m = torch.export.Dim("n", max=64), torch.export.Dim("m", max=64)
    program = torch.export.export(Attend(), (torch.randn(3, 8), torch.randn(5, 8)), dynamic_shapes=({0: n}, {0: m}))
    names = [ct.TensorType("y"), ct.TensorType("zeros")]
    return ct.convert(program, outputs=names, minimum_deployment_target=ct.target.iOS18)


class TestFixedShapes:
    def test_new_functions_compute_the_same_for_their_shapes(self, flexible, tmp_path):
        shapes = {"small": {"q": (2, 8), "kv": (4, 8)}, "large": {"q": (7, 8), "kv": (9, 8)}}
        ct.utils.materialize_dynamic_shape_mlmodel(flexible, shapes, tmp_path / "fixed.mlpackage")
        random = np.random.default_rng(0)
        for name, inputs in shapes.items():
            model = ct.models.MLModel(tmp_path / "fixed.mlpackage", function_name=name)
            function = model.program.functions[name]
            # Nothing is left to find out: every type is static, and no op asks for sizes.
            assert all(value.type.is_static for value in function.values() if isinstance(value.type, TensorType))
            assert "shape" not in {op.op_name for op in function.body.walk()}
            x = {key: random.standard_normal(shape).astype(np.float16) for key, shape in inputs.items()}
            expected = flexible.predict(x)
            for key, value in model.predict(x).items():
                np.testing.assert_array_equal(value, expected[key])
        main = ct.models.MLModel(tmp_path / "fixed.mlpackage", function_name="main")
        assert [item.describe() for item in main.inputs] == [item.describe() for item in flexible.inputs]

    def test_replacing_the_only_function_leaves_a_plain_model(self, flexible, tmp_path):
        ct.utils.materialize_dynamic_shape_mlmodel(
            flexible, {"main": {"q": (2, 8), "kv": (4, 8)}}, tmp_path / "fixed.mlpackage"
        )
        model = ct.models.MLModel(tmp_path / "fixed.mlpackage")
        assert not model.get_spec().description.functions
        assert [item.shape for item in model.inputs] == [(2, 8), (4, 8)]

    def test_shapes_that_the_model_does_not_allow_are_refused(self, flexible, tmp_path):
        path = tmp_path / "fixed.mlpackage"
        for shapes, message in (
            ({"q": (65, 8), "kv": (4, 8)}, "cannot have this shape"),
            ({"q": (2, 9)}, "cannot have this shape"),
            ({"q": (2,)}, "another rank"),
            ({"z": (2,)}, "no tensor input 'z'"),
        ):
            with pytest.raises(InputError, match=message):
                ct.utils.materialize_dynamic_shape_mlmodel(flexible, {"f": shapes}, path)
        with pytest.raises(InputError, match="no function 'other'"):
            ct.utils.materialize_dynamic_shape_mlmodel(flexible, {"f": {}}, path, source_function_name="other")


class TestRenaming:
    def test_inputs_and_outputs_are_renamed_in_the_program_too(self):
        """Weights come along; the original stays."""
        model = ct.models.MLModel(small.linear())
        spec = model.get_spec()
        ct.utils.rename_feature(spec, "x", "row")
        ct.utils.rename_feature(spec, "y", "product")
        ct.utils.rename_feature(spec, "nothing", "something")  # nothing happens, as in coremltools
        renamed = ct.models.MLModel(spec, weights_dir=model.weights_dir)
        found = renamed.predict({"row": small.row(1, 2, 3)})["product"]
        np.testing.assert_array_equal(found, small.row(1, 2, 3) @ small.WEIGHT.T)
        assert list(model.input_description) == ["x"]

    def test_uses_in_nested_blocks_are_renamed(self):
        def build(x):
            with mb.nested() as yes:
                mb.output(mb.add(x=x, y=np.float32(1)))
            with mb.nested() as no:
                mb.output(mb.identity(x=x))
            return mb.cond(pred=mb.greater(x=mb.reduce_sum(x=x), y=np.float32(0)), blocks=[yes, no], name="y")

        spec = small.model({"x": TensorType(fp32, (3,))}, build).get_spec()
        ct.utils.rename_feature(spec, "x", "row")
        found = ct.models.MLModel(spec).predict({"row": np.ones(3, np.float32)})["y"]
        np.testing.assert_array_equal(found, [2, 2, 2])

    def test_it_looks_only_where_it_is_told(self):
        spec = ct.models.MLModel(small.linear()).get_spec()
        ct.utils.rename_feature(spec, "x", "row", rename_inputs=False)
        assert spec.description.input[0].name == "x"
        with pytest.raises(InputError, match="a value of this name"):
            ct.utils.rename_feature(spec, "x", "y")

    def test_a_network_is_renamed_as_coremltools_renames_it(self):
        import coremltools
        from coremltools.models.neural_network import NeuralNetworkBuilder

        arrays = coremltools.models.datatypes.Array(3)
        builder = NeuralNetworkBuilder([("x", arrays)], [("y", arrays)])
        builder.add_activation("relu", "RELU", "x", "y")
        mine = ct.models.MLModel(builder.spec).get_spec()
        ct.utils.rename_feature(mine, "x", "row")
        coremltools.utils.rename_feature(builder.spec, "x", "row")
        assert mine.SerializeToString(deterministic=True) == builder.spec.SerializeToString(deterministic=True)

    def test_names_in_loops_losses_and_labels_are_renamed(self):
        network = ct.models.neural_network.NeuralNetworkBuilder
        arrays = ct.models.datatypes.Array(2)
        builder = network([("x", arrays)], [("y", arrays)], mode="classifier")
        loop = builder.add_loop("loop", max_iterations=1, condition="x")
        network(nn_spec=loop.loop.bodyNetwork).add_copy("copy", "x", "z")
        builder.add_softmax("softmax", "x", "y")
        builder.set_class_labels(["a", "b"])
        builder.set_categorical_cross_entropy_loss("loss", "y")
        spec = builder.spec
        for old, new in (("x", "row"), ("y", "p")):
            ct.utils.rename_feature(spec, old, new)
        assert loop.loop.conditionVar == "row"
        assert list(loop.loop.bodyNetwork.layers[0].input) == ["row"]
        assert spec.neuralNetworkClassifier.labelProbabilityLayerName == "p"
        assert spec.neuralNetworkClassifier.updateParams.lossLayers[0].categoricalCrossEntropyLossLayer.input == "p"
        assert spec.description.predictedProbabilitiesName == "p"

    def test_a_feature_is_renamed_in_every_model_of_a_pipeline(self):
        """In a feature vectoriser's columns too."""
        vectorizer, size = ct.models.feature_vectorizer.create_feature_vectorizer(["p", "q"], "all")
        extractor = ct.models.array_feature_extractor.create_array_feature_extractor(
            [("all", ct.models.datatypes.Array(size))], "one", 1
        )
        spec = ct.utils.make_pipeline(*map(ct.models.MLModel, (vectorizer, extractor))).get_spec()
        ct.utils.rename_feature(spec, "q", "second")
        ct.utils.rename_feature(spec, "one", "chosen")
        assert ct.models.MLModel(spec).predict({"p": 1.0, "second": 2.0})["chosen"] == 2.0

    def test_a_vectoriser_is_renamed_as_coremltools_renames_it(self):
        import coremltools

        vectorizer, _ = ct.models.feature_vectorizer.create_feature_vectorizer(["p", "q"], "all")
        theirs = coremltools.proto.Model_pb2.Model.FromString(vectorizer.SerializeToString())
        ct.utils.rename_feature(vectorizer, "p", "first")
        coremltools.utils.rename_feature(theirs, "p", "first")
        assert vectorizer.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)


def test_random_weights_change_weights_alone(net, data):
    found = ct.utils.randomize_weights(net)
    assert weights(found) == weights(net)
    for old, new in zip(net.program.main.values(), found.program.main.values(), strict=True):
        assert (old.name, old.type) == (new.name, new.type)
        if old.constant is not None and isinstance(old.type, TensorType) and old.constant.data.size >= 10:
            assert not np.array_equal(old.constant.numpy(), new.constant.numpy())
            assert new.constant.numpy().min() >= 0
            assert new.constant.numpy().max() <= 1
    assert not np.array_equal(found.predict(data)["y"], net.predict(data)["y"])


def test_doubles_become_floats():
    spec = ct.models.MLModel(small.linear()).get_spec()
    array = spec.description.output[0].type.multiArrayType
    array.dataType = 65600
    ct.utils.convert_double_to_float_multiarray_type(spec)
    assert array.dataType == 65568


def test_weight_files_are_found_where_the_model_lies(net, tmp_path):
    """A saved model's own folder; for one that is not saved, a folder that is made; none without weights."""
    path = net.package.save(tmp_path / "net.mlpackage")
    saved = ct.models.MLModel(path)
    assert saved.weights_dir == str(path / "Data/com.apple.CoreML/weights")
    for model in (saved, net):
        again = ct.models.MLModel(model.get_spec(), weights_dir=model.weights_dir)
        assert weights(again) == weights(net)
    assert ct.models.MLModel(again.get_spec(), weights_dir=again.weights_dir).weights_dir == net.weights_dir
    plain = small.model({"x": TensorType(fp32, (3,))}, lambda x: mb.relu(x=x, name="y"))
    assert plain.weights_dir is None
