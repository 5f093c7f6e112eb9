"""The engines: how each prepares its file, loads it and runs it.

Only ``prepare`` may import what converts: loading and running happen in processes whose memory and start are measured.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]

PACKAGE, GRAPH, REPRESENTATION = "model.mlpackage", "model.onnx", "model.xml"
PICKLE, INPUTS, EXPECTED, FACTS = "module.pt", "inputs.npz", "expected.npz", "facts.json"
UPDATED = "new_"
"""Stands before a state's name in the name of the output that the peers return it as."""


PRODUCTS = ("attention", "conv", "depthwise", "linear", "matmul", "winograd")
"""Gristmill's kernels whose multiply-adds the floor counts."""


class Loaded:
    """A model ready to run on one set of inputs.

    Attributes:
        run: Runs it once and returns when the results are there.
        outputs: Runs it once and gives the results by name.
        flops: Floating-point operations of a run by the algorithms that the engine chose, if it can tell.
    """

    def __init__(
        self, run: Callable[[], Any], outputs: Callable[[], Arrays], flops: Callable[[], float] | None = None
    ) -> None:
        self.run, self.outputs, self.flops = run, outputs, flops


class Engine(abc.ABC):
    """One way to run the models.

    Attributes:
        title: For readers.
        module: Python module whose import the engine needs, before any file is opened.
        apart: Computes in another precision, and so is no peer in a comparison of speed.
        tolerance: Largest allowed difference from PyTorch's results, as a share of the largest magnitude.
        shares: Name of the engine whose file it uses, if not its own.
    """

    title: str
    module: str
    apart = False
    tolerance = 1e-4  # what float32 loses when sums are taken in another order, through a hundred layers
    shares: str | None = None

    def environment(self, threads: int) -> dict[str, str]:
        """Variables that must be set before the process starts."""
        return {"OMP_NUM_THREADS": str(threads)}

    def start(self, modules: list[str]) -> str:
        """Imports the engine and gives its version; ``modules`` are those of the model's layers in Python."""
        return str(self.library.__version__)

    @property
    def library(self) -> Any:
        """The engine's Python module, which need not be installed and has no types."""
        return importlib.import_module(self.module)

    @abc.abstractmethod
    def prepare(self, folder: Path) -> None:
        """Makes the engine's file from the module that is pickled in the folder."""

    @abc.abstractmethod
    def load(self, folder: Path, threads: int, inputs: Arrays, names: list[str]) -> Loaded:
        """From the file to something that runs; ``names`` are the outputs' in order."""


class Gristmill(Engine):
    """The CPU device on a float16-typed ML Program, caches as states."""

    title = "Gristmill"
    module = "gristmill"
    # Every result that is stored is rounded to float16 (2**-11), and such errors add up over the layers.
    tolerance = 2e-2

    def environment(self, threads: int) -> dict[str, str]:
        variables = {"GRISTMILL_DEVICE": "cpu", "GRISTMILL_NUM_THREADS": str(threads)}
        return {**super().environment(threads), **variables}

    def start(self, modules: list[str]) -> str:
        importlib.import_module("gristmill.models.model")  # the package itself loads nothing until it is used
        importlib.import_module("gristmill.devices.cpu")
        return super().start(modules)

    def prepare(self, folder: Path) -> None:
        import torch

        import gristmill as ct
        from benchmarks.peers.prepare import unpickled

        workload = unpickled(folder)
        module = workload.stateful or workload.module
        inputs = {k: v for k, v in workload.inputs.items() if f"{UPDATED}{k}" not in workload.outputs}
        with torch.no_grad():
            program = torch.export.export(module, tuple(inputs.values()), strict=False)
        model = ct.convert(
            program,
            inputs=[ct.TensorType(name=name) for name in inputs],
            outputs=[ct.TensorType(name=name) for name in workload.outputs[: 1 if workload.stateful else None]],
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS18,
            verify=False,
        )
        model.save(folder / PACKAGE)

    def load(self, folder: Path, threads: int, inputs: Arrays, names: list[str]) -> Loaded:
        from gristmill.models.model import MLModel

        model = MLModel(folder / PACKAGE)
        state = model.make_state()
        for name in state.names:
            state.write_state(name, inputs[name])
        wanted = {feature.name for feature in model.inputs}
        given = {name: _for_core_ml(array) for name, array in inputs.items() if name in wanted}

        def outputs() -> Arrays:
            found = model.predict(given, state)
            return {**found, **{f"{UPDATED}{name}": state.read_state(name) for name in state.names}}

        def flops() -> float:
            return sum(call.flops for call in model.profile(given, state).calls if call.kernel in PRODUCTS)

        return Loaded(lambda: model.predict(given, state), outputs, flops)


def _for_core_ml(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """In the types that the converted model declares, so that no prediction converts its inputs."""
    return array.astype(np.int32) if array.dtype == np.int64 else array.astype(np.float16)


class OnnxRuntime(Engine):
    """The CPU provider with every graph optimization, on a float32 graph."""

    title = "ONNX Runtime"
    module = "onnxruntime"

    def prepare(self, folder: Path) -> None:
        import torch

        from benchmarks.peers.prepare import unpickled

        workload = unpickled(folder)
        torch.onnx.export(
            workload.module,
            tuple(workload.inputs.values()),
            folder / GRAPH,
            dynamo=True,
            input_names=list(workload.inputs),
            output_names=workload.outputs,
            verbose=False,
        )

    def load(self, folder: Path, threads: int, inputs: Arrays, names: list[str]) -> Loaded:
        options = self.library.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.graph_optimization_level = self.library.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = self.library.InferenceSession(folder / GRAPH, options, providers=["CPUExecutionProvider"])
        used = {item.name for item in session.get_inputs()}
        given = {name: array for name, array in inputs.items() if name in used}
        return Loaded(
            lambda: session.run(None, given), lambda: dict(zip(names, session.run(names, given), strict=True))
        )


class OpenVino(Engine):
    """The CPU plugin, one stream, computing in float32.

    Its file holds the weights in float16, which is how OpenVINO saves models unless told otherwise.
    """

    title = "OpenVINO"
    module = "openvino"
    # Weights are rounded to float16 after batch normalisation went into them.
    tolerance = 2e-2
    precision = "f32"

    def prepare(self, folder: Path) -> None:
        if not (folder / GRAPH).exists():
            OnnxRuntime().prepare(folder)
        self.library.save_model(self.library.convert_model(folder / GRAPH), folder / REPRESENTATION)

    def load(self, folder: Path, threads: int, inputs: Arrays, names: list[str]) -> Loaded:
        settings = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = self.library.Core().compile_model(folder / REPRESENTATION, "CPU", settings)
        actual = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if actual != self.precision:
            raise RuntimeError(f"OpenVINO computes in {actual} on this processor, where {self.precision} was asked for")
        request = compiled.create_infer_request()
        used = {name for port in compiled.inputs for name in port.get_names()}
        given = {name: array for name, array in inputs.items() if name in used}

        def run() -> Any:
            return request.infer(given, share_inputs=True, share_outputs=True)

        def outputs() -> Arrays:
            found = run()
            return {name: np.array(found[name]) for name in names}

        return Loaded(run, outputs)


class OpenVinoBf16(OpenVino):
    """OpenVINO where it may round to bfloat16: faster where the processor has it, and less exact."""

    title = "OpenVINO, bfloat16"
    precision = "bf16"
    apart = True
    tolerance = 1e-1  # eight bits of mantissa
    shares = "openvino"


class PyTorch(Engine):
    """Eager PyTorch from a pickled module."""

    title = "PyTorch"
    module = "torch"
    channels_last = False

    def start(self, modules: list[str]) -> str:
        from benchmarks.peers.prepare import import_layers

        import_layers(modules)
        return super().start(modules)

    def prepare(self, folder: Path) -> None:
        """Nothing: every model starts as the pickled module."""

    def load(self, folder: Path, threads: int, inputs: Arrays, names: list[str]) -> Loaded:
        import torch

        from benchmarks.peers.prepare import unpickled

        torch.set_num_threads(threads)
        module = unpickled(folder).module
        tensors = [torch.from_numpy(array) for array in inputs.values()]
        if self.channels_last:
            if not any(isinstance(layer, torch.nn.Conv2d) for layer in module.modules()):
                raise ValueError("the model has no convolutions")
            # PyTorch's own stub leaves this argument out where it stands alone.
            module = module.to(torch.float32, memory_format=torch.channels_last)  # type: ignore[call-overload]
            tensors = [t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for t in tensors]

        def run() -> Any:
            with torch.inference_mode():
                return module(*tensors)

        def outputs() -> Arrays:
            found = run()
            found = found if isinstance(found, tuple) else (found,)
            return {name: tensor.numpy() for name, tensor in zip(names, found, strict=True)}

        return Loaded(run, outputs)


class PyTorchChannelsLast(PyTorch):
    """The same with pictures stored channels last, which suits some networks better."""

    title = "PyTorch, channels last"
    channels_last = True
    shares = "pytorch"


ENGINES: Mapping[str, Engine] = {
    "gristmill": Gristmill(),
    "onnxruntime": OnnxRuntime(),
    "openvino": OpenVino(),
    "openvino-bf16": OpenVinoBf16(),
    "pytorch": PyTorch(),
    "pytorch-channels-last": PyTorchChannelsLast(),
}
"""By the name that the command line knows."""


def read_inputs(folder: Path) -> Arrays:
    """The inputs as float32 and int64, in the order of the module's arguments."""
    with np.load(folder / INPUTS) as stored:
        return dict(stored)


def read_all(folder: Path) -> None:
    """Reads every file below a folder, so that its pages are in memory."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()
