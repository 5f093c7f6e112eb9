"""Makes one file that the measurement needs, in a process of its own: ``python -m benchmarks.peers.prepare``.

A failing exporter then takes nothing down with it, and its memory is given back.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.peers.engines import ENGINES, EXPECTED, FACTS, INPUTS, PICKLE

if TYPE_CHECKING:
    from benchmarks.peers.models import Workload


def prepare_reference(name: str, folder: Path) -> None:
    """Pickles the module and stores its inputs, its results and what it costs."""
    import torch

    from benchmarks.peers.models import build

    workload = build(name)
    torch.save(workload, folder / PICKLE)
    with torch.inference_mode():
        found = workload.module(*workload.inputs.values())
    found = found if isinstance(found, tuple) else (found,)
    _store(folder / INPUTS, {k: v.numpy() for k, v in workload.inputs.items()})
    _store(folder / EXPECTED, {k: v.numpy() for k, v in zip(workload.outputs, found, strict=True)})
    modules = sorted({type(layer).__module__ for layer in workload.module.modules()} | {"benchmarks.peers.models"})
    facts = {"title": workload.title, "outputs": workload.outputs, "modules": modules, **workload.costs()}
    (folder / FACTS).write_text(json.dumps(facts))


def _store(path: Path, arrays: dict[str, Any]) -> None:
    np.savez(path, allow_pickle=False, **arrays)


def import_layers(modules: list[str]) -> None:
    """Imports the modules that define a model's layers, as unpickling would.

    Where torchvision's compiled part does not fit PyTorch, its models can be imported once its operators are declared.
    """
    if any(name.startswith(("torchvision.", "transformers.")) for name in modules):
        try:
            importlib.import_module("torchvision")
        except Exception:  # whatever a build for another PyTorch raises
            from gristmill.frontends.torch.torchvision import declare_operators

            declare_operators()
    for name in modules:
        importlib.import_module(name)


def unpickled(folder: Path) -> Workload:
    """What ``prepare_reference`` pickled."""
    import torch

    import_layers(json.loads((folder / FACTS).read_text())["modules"])
    # mmap: a page that is not needed is not read, which suits the peak memory that is reported.
    workload: Workload = torch.load(folder / PICKLE, weights_only=False, mmap=True)
    return workload


def main() -> None:
    """``MODEL ENGINE FOLDER``, where the engine ``reference`` stands for the module itself."""
    warnings.simplefilter("ignore")
    model, engine, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if engine == "reference":
        prepare_reference(model, folder)
    else:
        ENGINES[engine].prepare(folder)


if __name__ == "__main__":
    main()
