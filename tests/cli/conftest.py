"""What the tests of the command line share: a way to call it and small models as files."""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import gristmill as ct
from gristmill.cli import main
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp32
from gristmill.models import datatypes
from gristmill.models.neural_network import NeuralNetworkBuilder
from gristmill.package import Package

WEIGHT = np.arange(256, dtype=np.float32).reshape(2, 128) / 128


@dataclass
class CommandLine:
    """Calls ``gristmill`` in this process, in a terminal of a width."""

    columns: int = 120

    def __call__(self, *arguments: object) -> Result:
        return CliRunner(env={"COLUMNS": str(self.columns)}).invoke(main, [str(argument) for argument in arguments])

    def ok(self, *arguments: object) -> str:
        """What a successful call printed."""
        result = self(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def document(self, *arguments: object) -> Any:
        """The JSON document that a call prints, and nothing else."""
        return json.loads(self.ok(*arguments, "--json"))

    def error(self, *arguments: object) -> str:
        """The message of a call that fails: code 1, no traceback, nothing on the standard output."""
        result = self(*arguments)
        assert result.exit_code == 1, result.output
        assert isinstance(result.exception, SystemExit), result.exception
        assert result.stderr.startswith("Error: ")
        assert "Traceback" not in result.output
        assert result.stdout == ""
        return result.stderr


@pytest.fixture
def gristmill() -> CommandLine:
    return CommandLine()


@pytest.fixture(scope="session")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``y = x·WEIGHTᵀ + 1``, with a description, an author and an entry of the user's own."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (1, 128))}, Opset.iOS17) as (x,):
        mb.output(mb.linear(x=x, weight=WEIGHT, bias=np.ones(2, np.float32), name="y"))
    package = Package.from_program(program)
    package.description.metadata.author = "Ada"
    package.description.input[0].shortDescription = "one [row]"
    package.description.metadata.userDefined["note"] = "n" * 300
    return package.save(tmp_path_factory.mktemp("models") / "linear.mlpackage")


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A neural network of the labels "a" and "b": softmax of x."""
    builder = NeuralNetworkBuilder([("x", datatypes.Array(2))], [("likely", None)], mode="classifier")
    builder.add_softmax("softmax", "x", "likely")
    builder.set_class_labels(["a", "b"])
    path = tmp_path_factory.mktemp("models") / "classifier.mlmodel"
    ct.models.MLModel(builder.spec).save(path)
    return path


@dataclass(frozen=True)
class Source:
    """A module of PyTorch, as ``torch.export`` and as TorchScript write it."""

    module: Callable[[torch.Tensor], torch.Tensor]
    exported: Path
    script: Path


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("sources")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 2)).eval()
    torch.export.save(torch.export.export(module, (torch.ones(1, 4),)), folder / "net.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch's, of TorchScript, which people still have
        torch.jit.trace(module, torch.ones(1, 4)).save(folder / "net.pt")
    return Source(module, folder / "net.pt2", folder / "net.pt")
