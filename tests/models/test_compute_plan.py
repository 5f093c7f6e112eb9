"""``MLComputePlan``: coremltools' names and signatures, and what they say of models."""

from __future__ import annotations

import dataclasses
import inspect

import coremltools
import numpy as np
import pytest

import gristmill as ct
from gristmill.errors import InputError, InputTypeError, UnsupportedError
from gristmill.ir.builder import mb
from gristmill.ir.dims import symbol
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import StateType, TensorType, bool_, fp16, int32
from gristmill.models import compute_plan
from gristmill.models.compute_device import (
    MLComputeDevice,
    MLCPUComputeDevice,
    MLGPUComputeDevice,
    MLNeuralEngineComputeDevice,
)
from gristmill.models.compute_plan import MLComputePlan, MLModelStructure
from gristmill.package import Package, proto

THEIRS = coremltools.models.compute_plan
BIG = 1024


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A product, a look-up by int32 indices, and a condition around a product."""
    program = Program()
    inputs = {"x": TensorType(fp16, (BIG, BIG)), "i": TensorType(int32, (BIG,))}
    with mb.function(program, "main", inputs, Opset.iOS18) as (x, i):
        weight = mb.const(np.ones((BIG, BIG), np.float16), name="weight")
        h = mb.linear(x=x, weight=weight, name="product")
        rows = mb.gather(x=h, indices=i, axis=0, name="rows")
        mb.output(mb.concat(values=(h, rows), axis=0, name="both"))
    return Package.from_program(program).save(tmp_path_factory.mktemp("models") / "model.mlpackage")


def operations(plan: MLComputePlan) -> dict:
    """Operations of the main function by the name of their first result."""
    block = plan.model_structure.program.functions["main"].block
    return {operation.outputs[0].name: operation for operation in block.operations}


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.parametrize("name", sorted(name for name in vars(THEIRS) if name.startswith("ML")))
def test_classes_have_their_fields_and_methods(name):
    """Every class of coremltools is here with its fields in order, and its methods with their parameters."""
    mine, theirs = getattr(compute_plan, name), getattr(THEIRS, name)
    if dataclasses.is_dataclass(theirs):
        fields = [field.name for field in dataclasses.fields(theirs)]
        assert [field.name for field in dataclasses.fields(mine)][: len(fields)] == fields
    for method, value in vars(theirs).items():
        if method.startswith("_") or method == "load_from_path_on_device":  # put there by remote devices' module
            continue
        found = inspect.getattr_static(mine, method)
        if isinstance(value, classmethod) or inspect.isfunction(value):
            wanted = list(inspect.signature(getattr(theirs, method)).parameters)
            assert list(inspect.signature(getattr(mine, method)).parameters)[: len(wanted)] == wanted
        else:
            assert isinstance(found, type(value))


@pytest.mark.interop
@pytest.mark.parametrize(
    "name", ["MLComputeDevice", "MLCPUComputeDevice", "MLGPUComputeDevice", "MLNeuralEngineComputeDevice"]
)
def test_devices_are_theirs(name):
    theirs = getattr(coremltools.models.compute_device, name)
    mine = getattr(ct.models.compute_device, name)
    assert {n for n in dir(theirs) if not n.startswith("_")} <= set(dir(mine))
    assert ct.models.compute_plan.MLComputePlan is MLComputePlan


# --- plans -----------------------------------------------------------------------------------------------------------


def test_usage_and_cost(model):
    """What each operation prefers and supports, and its share of the time; constants have neither."""
    plan = MLComputePlan.load_from_path(model, ct.ComputeUnit.CPU_AND_NE, target="A17")
    found = operations(plan)
    usage = plan.get_compute_device_usage_for_mlprogram_operation(found["product"])
    assert isinstance(usage.preferred_compute_device, MLNeuralEngineComputeDevice)
    assert [type(device) for device in usage.supported_compute_devices] == [
        MLCPUComputeDevice,
        MLNeuralEngineComputeDevice,
    ]
    rows = plan.get_compute_device_usage_for_mlprogram_operation(found["rows"])
    assert [type(device) for device in rows.supported_compute_devices] == [MLCPUComputeDevice]
    assert found["weight"].operator_name == "const"
    assert plan.get_compute_device_usage_for_mlprogram_operation(found["weight"]) is None
    assert plan.get_estimated_cost_for_mlprogram_operation(found["weight"]) is None
    weights = [plan.get_estimated_cost_for_mlprogram_operation(found[n]).weight for n in ("product", "rows", "both")]
    assert sum(weights) == pytest.approx(1)
    assert all(weight > 0 for weight in weights)


def test_reasons_and_remedies(model):
    """Beyond coremltools: why a unit does not run an operation, and what helps."""
    plan = MLComputePlan.load_from_path(model, target="A17")
    refusals = plan.get_refusals_for_mlprogram_operation(operations(plan)["rows"])
    assert list(refusals) == [MLNeuralEngineComputeDevice]
    refusal = refusals[MLNeuralEngineComputeDevice]
    assert "'i' is int32" in refusal.reason
    assert "int16" in refusal.fix


def test_without_a_target_it_is_this_computer(model):
    plan = MLComputePlan.load_from_path(str(model))
    (device,) = {type(plan.get_compute_device_usage_for_mlprogram_operation(op).preferred_compute_device)
                 for name, op in operations(plan).items() if op.operator_name != "const"}  # fmt: skip
    assert device is MLCPUComputeDevice
    assert [type(device) for device in MLComputeDevice.get_all_compute_devices()] == [MLCPUComputeDevice]


def test_devices_of_a_chip():
    devices = MLComputeDevice.get_all_compute_devices("A12")
    assert [type(d) for d in devices] == [MLCPUComputeDevice, MLGPUComputeDevice, MLNeuralEngineComputeDevice]
    assert devices[2].total_core_count == 8
    assert MLNeuralEngineComputeDevice("M4").total_core_count == 16
    assert devices[0] == MLCPUComputeDevice("A12") != MLCPUComputeDevice("A13")
    assert len({*devices, *MLComputeDevice.get_all_compute_devices("A12")}) == 3


def test_wrong_arguments(model):
    with pytest.raises(InputTypeError):
        MLComputePlan.load_from_path(model, "ALL")
    with pytest.raises(InputTypeError):
        MLComputePlan(object())
    with pytest.raises(InputError, match="no such target"):
        MLComputePlan.load_from_path(model, target="A99")
    plan = MLComputePlan.load_from_path(model)
    other = MLComputePlan.load_from_path(model)
    with pytest.raises(InputError, match="none of this plan's model"):
        plan.get_compute_device_usage_for_mlprogram_operation(operations(other)["product"])
    with pytest.raises(InputError, match="no function 'second'"):
        plan.plan("second")


def test_the_whole_plan(model):
    plan = MLComputePlan.load_from_path(model, target="M2").plan()
    assert plan.target.name == "M2"
    assert "does not publish" in str(plan)


# --- structure -------------------------------------------------------------------------------------------------------


def test_structure_of_a_program(model):
    """Functions, operations, arguments, immediate constants and types."""
    structure = MLModelStructure.load_from_path(model)
    assert (structure.neuralnetwork, structure.pipeline) == (None, None)
    function = structure.program.functions["main"]
    assert [(item.name, str(item.type)) for item in function.inputs] == [
        ("x", f"tensor<fp16, [{BIG}, {BIG}]>"),
        ("i", f"tensor<int32, [{BIG}]>"),
    ]
    assert function.block.output_names == ["both"]
    both = function.block.operations[-1]
    assert (both.operator_name, both.blocks) == ("concat", [])
    assert [binding.name for binding in both.inputs["values"].bindings] == ["product", "rows"]
    assert str(both.outputs[0].type) == f"tensor<fp16, [{2 * BIG}, {BIG}]>"


def test_nested_blocks(tmp_path):
    """Operations in blocks can be asked about too: they run where the one that holds them does."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp16, (4,)), "p": TensorType(bool_, ())}, Opset.iOS17) as (x, p):
        with mb.nested() as yes:
            mb.output(mb.relu(x=x, name="inner"))
        with mb.nested() as no:
            mb.output(mb.exp(x=x))
        mb.output(mb.cond(pred=p, blocks=(yes, no), name="branch"))
    description = proto.message("ModelDescription")()
    path = Package.from_program(program, description).save(tmp_path / "branch.mlpackage")
    plan = MLComputePlan.load_from_path(path, target="A17")
    branch = plan.model_structure.program.functions["main"].block.operations[-1]
    (inner,) = [op for op in branch.blocks[0].operations if op.operator_name == "relu"]
    usage = plan.get_compute_device_usage_for_mlprogram_operation(inner)
    assert isinstance(usage.preferred_compute_device, MLCPUComputeDevice)


def network(model):
    """Two layers of a neural network, x to y."""
    spec = model.neuralNetwork
    for feature, shape in (
        (model.description.input.add(name="x"), (8, 16, 16)),
        (model.description.output.add(name="y"), ()),
    ):
        feature.type.multiArrayType.dataType = 65568  # float32
        feature.type.multiArrayType.shape.extend(shape)
    spec.layers.add(name="first", input=["x"], output=["h"]).softmax.SetInParent()
    spec.layers.add(name="second", input=["h"], output=["y"]).unary.type = 0


def test_structure_of_a_neural_network(tmp_path):
    """Layers with names, types and values, and where their ops are placed."""
    spec = proto.message("Model")()
    spec.specificationVersion = 1
    network(spec)
    path = tmp_path / "net.mlmodel"
    path.write_bytes(spec.SerializeToString())
    plan = MLComputePlan.load_from_path(path, target="A17")
    layers = plan.model_structure.neuralnetwork.layers
    assert [(layer.name, layer.type, layer.input_names, layer.output_names) for layer in layers] == [
        ("first", "softmax", ["x"], ["h"]),
        ("second", "unary", ["h"], ["y"]),
    ]
    usages = [plan.get_compute_device_usage_for_neuralnetwork_layer(layer) for layer in layers]
    assert all(len(usage.supported_compute_devices) == 3 for usage in usages)
    costs = [plan.get_estimated_cost_for_neuralnetwork_layer(layer).weight for layer in layers]
    assert sum(costs) == pytest.approx(1)
    stranger = dataclasses.replace(layers[0], __proxy__=proto.message("NeuralNetworkLayer")())
    with pytest.raises(InputError, match="none of this plan's model"):
        plan.get_compute_device_usage_for_neuralnetwork_layer(stranger)


def test_structure_of_a_pipeline(tmp_path):
    spec = proto.message("Model")()
    spec.specificationVersion = 1
    spec.pipeline.names.extend(["net", "names"])
    network(spec.pipeline.models.add())
    spec.pipeline.models.add().identity.SetInParent()
    path = tmp_path / "pipe.mlmodel"
    path.write_bytes(spec.SerializeToString())
    structure = MLModelStructure.load_from_path(path)
    (net, names) = structure.pipeline.sub_models
    assert net[0] == "net"
    assert len(net[1].neuralnetwork.layers) == 2
    assert names == ("names", MLModelStructure(None, None, None))


# --- models ----------------------------------------------------------------------------------------------------------


def test_model_plan(model):
    """``MLModel.plan`` takes the units that the model was loaded with, unless told otherwise."""
    loaded = ct.models.MLModel(model, compute_units=ct.ComputeUnit.CPU_AND_NE)
    assert loaded.plan(target="A17").units == ("cpu", "neural_engine")
    assert loaded.plan(target="A17", compute_units=ct.ComputeUnit.CPU_ONLY).units == ("cpu",)
    assert loaded.plan().target.name == "host"


def test_code_written_for_coremltools(model):
    """The usual way: from a model to the plan of its compiled form; also for one that only memory holds."""
    for loaded in (ct.models.MLModel(model), converted("range")):
        plan = ct.models.compute_plan.MLComputePlan.load_from_path(
            path=loaded.get_compiled_model_path(), compute_units=ct.ComputeUnit.ALL
        )
        assert ct.models.CompiledMLModel(loaded.get_compiled_model_path()).make_state().names == ()
        last = plan.model_structure.program.functions["main"].block.operations[-1]
        assert plan.get_estimated_cost_for_mlprogram_operation(last).weight > 0
    devices = ct.models.MLModel.get_available_compute_devices()
    assert [type(device) for device in devices] == [MLCPUComputeDevice]


def converted(shape):
    program = Program()
    n = symbol("n", 1, 64)
    with mb.function(program, "main", {"x": TensorType(fp16, (n, BIG))}, Opset.iOS17) as (x,):
        mb.output(mb.linear(x=x, weight=np.ones((BIG, BIG), np.float16), name="y"))
    package = Package.from_program(program)
    array = package.description.input[0].type.multiArrayType
    array.ClearField("shapeRange")
    if shape == "enumerated":
        for rows in (16, 64):
            array.enumeratedShapes.shapes.add(shape=[rows, BIG])
    else:
        for low, high in ((1, 64), (BIG, BIG)):
            array.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)
    return ct.models.MLModel(package)


@pytest.mark.parametrize(("shape", "there"), [("range", False), ("enumerated", True)])
def test_flexible_inputs(shape, there):
    """Enumerated shapes may run on the Neural Engine, ranges not."""
    (placement,) = converted(shape).plan(target="A17").placements
    assert ("neural_engine" in placement.supported) == there


def test_models_of_other_types(tmp_path):
    spec = proto.message("Model")()
    spec.specificationVersion = 1
    spec.pipeline.SetInParent()
    with pytest.raises(UnsupportedError, match="pipeline"):
        ct.models.MLModel(spec, skip_model_load=True).plan(target="A17")


def test_states_are_inputs_of_the_structure():
    program = Program()
    inputs = {"x": TensorType(fp16, (2,)), "total": StateType(TensorType(fp16, (2,)))}
    with mb.function(program, "main", inputs, Opset.iOS18) as (x, total):
        mb.output(mb.add(x=mb.read_state(input=total), y=x, name="sum"))
    structure = compute_plan.structure_of(Package.from_program(program))
    assert [str(item.type) for item in structure.program.functions["main"].inputs][1] == "state<tensor<fp16, [2]>>"
