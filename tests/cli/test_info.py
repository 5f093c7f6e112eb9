"""``gristmill info``: what is in a model."""

import numpy as np
import pytest

from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import StateType, TensorType, fp16, fp32
from gristmill.package import Package, proto


def test_table(gristmill, linear):
    """The interface, the ops, the weights and the metadata of a program, each as the model declares it."""
    words = " ".join(gristmill.ok("info", linear).split())
    assert "mlProgram, specification 8 (iOS 17 and later)" in words
    assert "input x fp32 [1, 128] one [row]" in words  # not taken for markup
    assert "output y fp32 [1, 2]" in words
    assert "Function main, operations of iOS17: 1 linear 1" in words
    assert "fp32 256 1.0 kB" in words  # two rows of 128; the bias is too small for the weight file
    assert "author Ada" in words
    assert "note " + "n" * 100 not in words.replace("n" * 100 + "…", "")
    assert "(300 characters)" in words


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_table_fits_the_terminal(gristmill, linear, columns):
    """No line is longer than the terminal is wide."""
    gristmill.columns = columns
    assert max(map(len, gristmill.ok("info", linear).splitlines())) <= columns


def test_json(gristmill, linear):
    """The same as one document, with what machines ask for as numbers."""
    document = gristmill.document("info", linear)
    files = [path for path in linear.rglob("*") if path.is_file()]
    assert document["path"] == str(linear)
    assert document["bytes"] == sum(path.stat().st_size for path in files)
    assert (document["kind"], document["specification_version"]) == ("mlProgram", 8)
    (x,), (y,) = document["inputs"], document["outputs"]
    assert (x["name"], x["dtype"], x["shape"], x["optional"]) == ("x", "fp32", [1, 128], False)
    assert (y["name"], y["dtype"], y["shape"]) == ("y", "fp32", [1, 2])
    assert document["functions"] == {"main": {"opset": "iOS17", "ops": {"linear": 1}}}
    assert document["weights"] == {"fp32": {"parameters": 256, "bytes": 1024}}
    assert document["metadata"]["user_defined"]["note"] == "n" * 300


def test_states(gristmill, tmp_path):
    """States are part of the interface."""
    program = Program()
    inputs = {"x": TensorType(fp16, (2,)), "total": StateType(TensorType(fp16, (2,)))}
    with mb.function(program, "main", inputs, Opset.iOS18) as (x, total):
        mb.output(mb.coreml_update_state(state=total, value=mb.add(x=mb.read_state(input=total), y=x), name="sum"))
    path = Package.from_program(program).save(tmp_path / "sum.mlpackage")
    (state,) = gristmill.document("info", path)["states"]
    assert (state["name"], state["dtype"], state["shape"]) == ("total", "fp16", [2])
    assert "state total fp16 [2]" in " ".join(gristmill.ok("info", path).split())


def test_ops_beyond_the_most_frequent(gristmill, tmp_path):
    """A program of many types of op is summed up, unless all are asked for."""
    program = Program()
    names = ("relu", "abs", "exp", "sqrt", "sin", "cos", "tanh", "sign", "floor", "ceil")
    with mb.function(program, "main", {"x": TensorType(fp16, (2,))}, Opset.iOS18) as (x,):
        for name in names:
            x = mb.op(name, x=x)
        mb.output(x)
    path = Package.from_program(program).save(tmp_path / "many.mlpackage")
    assert "and 2 others of 2 types" in gristmill.ok("info", path)
    everything = gristmill.ok("info", path, "--ops")
    assert "others" not in everything
    assert all(f"{name} 1" in everything for name in names)


def test_neural_network(gristmill, tmp_path):
    """A neural network's layers and weights are counted, and it runs."""
    spec = proto.message("Model")()
    spec.specificationVersion = 1
    for name, features in (("x", spec.description.input), ("y", spec.description.output)):
        feature = features.add(name=name)
        feature.type.multiArrayType.shape.append(2)
        feature.type.multiArrayType.dataType = 65600  # double
    layer = spec.neuralNetwork.layers.add(name="scale", input=["x"], output=["y"])
    layer.scale.shapeScale.append(2)
    layer.scale.scale.floatValue.extend([2.0, 3.0])
    path = tmp_path / "net.mlmodel"
    path.write_bytes(spec.SerializeToString())
    document = gristmill.document("info", path)
    assert document["kind"] == "neuralNetwork"
    assert document["layers"] == {"scale": 1}
    assert document["weights"] == {"fp32": {"parameters": 2, "bytes": 8}}
    assert "Layers: 1" in gristmill.ok("info", path)
    assert "y" in gristmill.ok("run", path, "--random")


@pytest.mark.real_model
def test_published_pipeline(gristmill, real_model):
    """YOLOv3-tiny, as its authors describe it: 13 convolutions, 8.87 million weights, then suppression of boxes."""
    (path,) = real_model("yolov3-tiny").rglob("*.mlmodel")
    network, suppression = gristmill.document("info", path)["models"]
    assert network["layers"]["convolution"] == 13
    assert network["parameters"] == pytest.approx(8.87e6, rel=1e-2)  # the paper's number has three digits
    assert suppression["kind"] == "nonMaximumSuppression"
    assert "RGB image, 416 wide, 416 high" in gristmill.ok("info", path)


@pytest.mark.real_model
def test_compiled_from_another_type(gristmill, real_model):
    """The interface of a compiled pipeline is shown, and that the rest is not."""
    (path,) = real_model("yolov3-tiny").rglob("*.mlmodelc")
    document = gristmill.document("info", path)
    assert [feature["name"] for feature in document["outputs"]] == ["confidence", "coordinates"]
    assert "not read yet" in document["problem"]


def test_program_that_cannot_be_read(gristmill, linear):
    """Without its weight file a program is unreadable; its interface is not."""
    inner = linear / "Data" / "com.apple.CoreML" / "model.mlmodel"
    document = gristmill.document("info", inner)
    assert document["inputs"][0]["name"] == "x"
    assert "weight file" in document["problem"]
    assert "The program cannot be read" in gristmill.ok("info", inner)


def test_errors(gristmill, tmp_path):
    """What is no model is named with its place."""
    assert "nowhere.mlpackage" in gristmill.error("info", tmp_path / "nowhere.mlpackage")
    (tmp_path / "empty.mlpackage").mkdir()
    assert "Manifest.json" in gristmill.error("info", tmp_path / "empty.mlpackage")
    (tmp_path / "noise.mlmodel").write_bytes(b"\xff" * 100)
    assert "truncated or corrupted" in gristmill.error("info", tmp_path / "noise.mlmodel")


def test_weights_that_functions_share_count_once(gristmill, tmp_path):
    """Two functions multiply by one matrix of 256 numbers."""
    program, weight = Program(), np.ones((2, 128), np.float32)
    for name in ("main", "other"):
        with mb.function(program, name, {"x": TensorType(fp32, (1, 128))}, Opset.iOS18) as (x,):
            mb.output(mb.linear(x=x, weight=weight, name="y"))
    path = Package.from_program(program).save(tmp_path / "two.mlpackage")
    document = gristmill.document("info", path)
    assert set(document["functions"]) == {"main", "other"}
    assert document["weights"] == {"fp32": {"parameters": 256, "bytes": 1024}}
