"""Converts one architecture and measures it, in a process of its own: ``python -m tools.model_zoo.measure NAME``."""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from gristmill.frontends.torch.torchvision import declare_operators
from tools.model_zoo.catalogue import ARCHITECTURES
from tools.model_zoo.registry import Architecture

SLACK = 1e-4
"""A float32-typed program may differ from its source by this share of the largest magnitude."""


def _memory(field: str) -> int:
    """A field of the process's status in bytes: ``VmRSS`` is resident memory, ``VmHWM`` the most there has been."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def export(entry: Architecture) -> tuple[Any, Any, tuple[Any, ...], float]:
    """An entry's module, its exported program, example arguments, and the seconds that torch.export took.

    Weights and example arguments come from seed 0. Of random weights the statistics of batch normalisations are drawn
    too, from a batch of noise: with the initial ones the signal of a deep network vanishes or explodes, and errors are
    relative to nothing.
    """
    import torch

    declare_operators()  # those of torchvision, whose compiled part need not fit the installed PyTorch
    torch.manual_seed(0)
    module, arguments = entry.build()
    module = module.float().eval()
    if entry.weights == "random":
        _calibrate(module, arguments)
    with torch.no_grad():
        start = time.perf_counter()
        program = torch.export.export(module, arguments, strict=False)
    return module, program, arguments, time.perf_counter() - start


def _calibrate(module: Any, arguments: tuple[Any, ...]) -> None:
    """Sets the statistics of batch normalisations to those of a batch of noise."""
    import torch

    layers = [part for part in module.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    layers = [layer for layer in layers if layer.running_mean is not None]
    if not layers:
        return
    for layer in layers:
        layer.momentum = 1.0
        layer.train()
    with torch.no_grad():
        module(*(torch.rand(16, *argument.shape[1:]) for argument in arguments))
    for layer in layers:
        layer.eval()


def largest(differences: dict[str, Any]) -> float:
    """The largest difference relative to its output's largest magnitude."""
    return max((d.relative for d in differences.values()), default=0.0)


def measure(entry: Architecture) -> dict[str, Any]:
    """What the table says of an entry."""
    import gristmill as ct

    target = ct.target.iOS18
    module, program, arguments, export_seconds = export(entry)
    before = _memory("VmRSS")
    _forget_peak()
    start = time.perf_counter()
    model = ct.convert(program, minimum_deployment_target=target, verify=False)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "model.mlpackage"
        model.save(package)
        seconds = time.perf_counter() - start
        peak = _memory("VmHWM") - before
        result = {
            "export_seconds": export_seconds,
            "seconds": seconds,
            "peak_bytes": peak,
            "bytes": sum(f.stat().st_size for f in package.rglob("*") if f.is_file()),
            "ops": sum(op.op_name != "const" for op in model.program.main.body.walk()),
            "states": len(model.program.main.states),
        }
        _load_elsewhere(package, int(target.opset))
    if entry.states:
        exact = ct.convert(program, minimum_deployment_target=target, compute_precision=ct.precision.FLOAT32)
        return {
            **result,
            "float32": _step_by_step(module, arguments, exact),
            "float16": _step_by_step(module, arguments, model),
        }
    report = ct.convert(program, minimum_deployment_target=target, verify=True).conversion_report
    assert report is not None
    if report.skipped:
        raise RuntimeError(f"not compared: {report.skipped}")
    return {**result, "float32": largest(report.float32), "float16": largest(report.float16)}


def _step_by_step(module: Any, arguments: tuple[Any, ...], model: Any, steps: int = 3) -> float:
    """The largest relative difference of the outputs over some steps, each of which sees the states of those before."""
    import numpy as np
    import torch

    for buffer in module.buffers():
        if buffer.is_floating_point() and buffer.ndim == 4:  # a cache
            buffer.zero_()
    state = model.make_state()
    names = [item.name for item in model.inputs]
    worst = 0.0
    for step in range(steps):
        given = [a * 0 + step if name == "place" else a for name, a in zip(names, arguments, strict=True)]
        with torch.no_grad():
            wanted = module(*given).numpy()
        inputs = {name: value.numpy() for name, value in zip(names, given, strict=True)}
        (got,) = model.predict(inputs, state).values()
        worst = max(worst, float(np.abs(got - wanted).max() / np.abs(wanted).max()))
    return worst


def _load_elsewhere(package: Path, opset: int) -> None:
    """Loads the package in coremltools and passes it through its loader of programs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools
        from coremltools.converters.mil.frontend.milproto.load import load

        model = coremltools.models.MLModel(str(package), skip_model_load=True)
        load(model.get_spec(), opset, model.weights_dir)


def main() -> None:
    """Prints the measurements as JSON, or what went wrong."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        result = measure(ARCHITECTURES[sys.argv[1]])
    except Exception as error:  # whatever an architecture or a converter raises is what the table says of it
        import traceback

        traceback.print_exc()
        result = {"failed": f"{type(error).__name__}: {error}"}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
