"""PyTorch models beside what they became: which node became what, and which one computes something else."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import gristmill as ct
from gristmill.errors import InputError, UnsupportedError
from gristmill.models.ml_program.experimental.torch.debugging_utils import (
    TorchExportMLModelComparator,
    TorchScriptMLModelComparator,
    convert_and_retrieve_op_mapping,
    get_stack_frame_infos,
    inline_and_annotate_module,
)
from gristmill.models.ml_program.experimental.torch.perf_utils import TorchMLModelBenchmarker
from tests.models.ml_program.test_debugging_utils import PHONE

X = torch.linspace(-1, 1, 8).reshape(1, 8)


class Scaled(torch.nn.Module):
    """A layer whose square overflows in float16 where ``factor`` is large, and the root that hides it in float32."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)
        self.factor = factor

    def forward(self, x):
        large = self.linear(x) * self.factor
        return torch.sqrt(large.square() + 1)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = Scaled(1), Scaled(1e4)

    def forward(self, x):
        return self.second(self.first(self.first(x))) * 1e-4


def agree(op, source, found) -> bool:
    return np.allclose(source, found, rtol=0.05, atol=0.05)


@pytest.fixture(scope="module")
def exported():
    return torch.export.export(Net().eval(), (X,))


def traced() -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.trace(Net().eval(), (X,))


def line_of(text: str) -> int:
    """The line of this file's first class that holds a text."""
    lines, start = inspect.getsourcelines(Scaled)
    return start + next(index for index, line in enumerate(lines) if text in line)


class TestMapping:
    def test_nodes_of_an_exported_program(self, exported):
        """An operation leads to its node, and the node to the user's line."""
        model, mapping = convert_and_retrieve_op_mapping(exported)
        assert model.predict({"x": X.numpy()})
        by_name = {node.name: made for node, made in mapping.node_to_operations_map.items()}
        assert [op.type for op in by_name["linear_1"] if op.type != "const"] == ["linear"]
        assert [op.type for op in by_name["sqrt_2"] if op.type != "const"] == ["sqrt"]
        (operation,) = (op for op in by_name["sqrt_2"] if op.type == "sqrt")
        (node,) = mapping.get_source_nodes_for_operation(operation)
        frame = get_stack_frame_infos(node)[-1]
        assert (Path(frame.filename).name, frame.lineno) == (Path(__file__).name, line_of("torch.sqrt"))
        assert mapping.get_source_nodes_for_output_name("nothing") is None

    def test_outputs_that_were_given_names_are_found(self, exported):
        _, mapping = convert_and_retrieve_op_mapping(exported, outputs=[ct.TensorType("y")])
        assert mapping.get_source_nodes_for_output_name("y").name == "mul_3"

    def test_nodes_of_torchscript(self):
        script = traced()
        inputs = [ct.TensorType("x", (1, 8))]
        model, mapping = convert_and_retrieve_op_mapping(script, inputs=inputs, compute_precision=ct.precision.FLOAT32)
        np.testing.assert_allclose(
            model.predict({"x": X.numpy()})[model.outputs[0].name], script(X).detach(), rtol=1e-5
        )
        roots = [(node, made) for node, made in mapping.node_to_operations_map.items() if node.kind == "aten::sqrt"]
        assert [[op.type for op in made if op.type != "const"] for _, made in roots] == [["sqrt"]] * 3
        assert [node.owning_module for node, _ in roots] == [("first", 0), ("first", 1), ("second", 0)]
        frames = get_stack_frame_infos(roots[0][0])
        assert (Path(frames[0].filename).name, frames[0].lineno) == (Path(__file__).name, line_of("torch.sqrt"))

    def test_what_it_refuses(self):
        with pytest.raises(TypeError, match="not a PyTorch graph"):
            convert_and_retrieve_op_mapping(Net())
        with pytest.raises(TypeError, match="no node"):
            get_stack_frame_infos("node")


def test_calls_of_modules_are_followed():
    """A module that is called twice has two calls, each with its own values, as coremltools has it."""
    script = traced()
    calls = inline_and_annotate_module(script).module_call_stack
    assert list(calls) == [
        ("first.linear", 0),
        ("first", 0),
        ("first.linear", 1),
        ("first", 1),
        ("second.linear", 0),
        ("second", 0),
        ("", 0),
    ]
    whole, first, again = calls["", 0], calls["first", 0], calls["first", 1]
    assert whole.submodules == (("first", 0), ("first", 1), ("second", 0))
    assert first.input_names == whole.input_names
    assert again.input_names == first.output_names
    assert first.submodules == (("first.linear", 0),)


class TestExportComparator:
    def test_the_operator_that_float16_breaks_is_named(self, exported):
        """The square overflows; the root and the sum after it are wrong only because of it."""
        comparator = TorchExportMLModelComparator(exported)
        found = asyncio.run(comparator.find_failing_ops((X,), agree))
        assert [node.name for node in found] == ["square_2"]
        (operation,) = (op for op in comparator.source_to_target_ops_mapping[found[0]] if op.type != "const")
        assert comparator.get_source_ops_for_target_op(operation) == found

    def test_a_faithful_model_has_none(self, exported):
        comparator = TorchExportMLModelComparator(exported, 1, compute_precision=ct.precision.FLOAT32)
        assert asyncio.run(comparator.find_failing_ops((X,), agree)) == []

    def test_remote_devices_are_refused(self, exported):
        with pytest.raises(UnsupportedError, match="remote devices"):
            TorchExportMLModelComparator(exported, target_device=PHONE)


class TestScriptComparator:
    def test_the_module_that_float16_breaks_is_named(self):
        """Of the calls only the last one is wrong; its linear layer is not."""
        comparator = TorchScriptMLModelComparator(Net(), (X,))
        found = asyncio.run(comparator.find_failing_modules((X,), agree))
        assert [module.key for module in found] == [("second", 0)]
        assert [op.type for op in found[0].outputs] == ["sqrt"]
        assert asyncio.run(comparator.find_failing_modules((X,), agree, [("first", 1)])) == []
        with pytest.raises(InputError, match="no such call"):
            asyncio.run(comparator.find_failing_modules((X,), agree, [("third", 0)]))

    def test_an_operation_leads_to_its_nodes(self):
        comparator = TorchScriptMLModelComparator(Net(), (X,), compute_precision=ct.precision.FLOAT32)
        (module,) = (module for module in comparator.module_map_infos if module.key == ("first", 1))
        (node,) = comparator.get_source_ops_for_targe_ops(module.outputs[0])
        assert (node.kind, node.owning_module) == ("aten::sqrt", ("first", 1))
        assert asyncio.run(comparator.find_failing_modules((X,), agree)) == []


def test_nodes_and_modules_share_the_time(exported):
    """A module's time is that of all its nodes; the whole has all."""
    benchmarker = TorchMLModelBenchmarker(exported)
    nodes = asyncio.run(benchmarker.benchmark_node_execution(iterations=2, warmup=True))
    timed = [info.node.name for info in nodes if info.measurement.statistics is not None]
    assert {"linear", "linear_1", "square_2", "sqrt_2"} <= set(timed)
    modules = {info.name: info for info in asyncio.run(benchmarker.benchmark_module_execution(iterations=2))}
    assert set(modules) == {"", "first", "first.linear", "second", "second.linear"}
    first = modules["first"].measurement
    assert len(first.samples) == 2
    assert modules["first.linear"].measurement.statistics.average < first.statistics.average
    assert first.statistics.average < modules[""].measurement.statistics.average


def test_torchscript_is_measured_too():
    script = traced()
    benchmarker = TorchMLModelBenchmarker(script, inputs=[ct.TensorType("x", (1, 8))])
    nodes = asyncio.run(benchmarker.benchmark_node_execution())
    assert nodes[0].measurement.statistics is not None
    assert benchmarker.get_module_names(nodes[0].node)[-1] == ""
