"""``import gristmill`` is light: what it offers is loaded when it is first used."""

import importlib
import json
import subprocess
import sys

import pytest

import gristmill as ct
from gristmill.ir.builder import mb
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp32
from gristmill.package import Package

HEAVY = ("torch", "google.protobuf", "numpy", "click", "rich", "PIL", "coremltools")


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running code."""
    command = [sys.executable, "-c", f"{code}\nimport json, sys; print(json.dumps(list(sys.modules)))"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(process.stdout))


def test_import_loads_nothing_heavy():
    """Neither a source framework, protobuf nor NumPy; and of the package itself only its version."""
    modules = loaded_after("import gristmill")
    assert modules.isdisjoint(HEAVY)
    assert {name for name in modules if name.startswith("gristmill.")} == {"gristmill._version"}


def test_attributes_load_what_they_need():
    """A class is there when asked for, and with it NumPy and protobuf but no source framework."""
    modules = loaded_after("import gristmill as ct\nassert ct.models.MLModel.__name__ == 'MLModel'\nct.convert")
    assert {"numpy", "google.protobuf"} <= modules
    assert modules.isdisjoint({"torch", "coremltools"})


def test_running_a_model_loads_nothing_that_only_writing_takes(tmp_path):
    """Nor what reads and writes MIL text, converts, or describes messages: a model is run far more often than made."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (3,))}) as (x,):
        mb.output(mb.relu(x=x, name="y"))
    path = Package.from_program(program).save(tmp_path / "m.mlpackage")
    modules = loaded_after(
        f"import gristmill as ct\nassert ct.models.MLModel({str(path)!r}).predict({{'x': [-1.0, 0, 2]}})['y'][2] == 2"
    )
    writing = ("package.saving", "package.mil_writer", "package.blob_writer", "ir.parser", "ir.printer", "ir.builder")
    assert modules.isdisjoint({f"gristmill.{name}" for name in (*writing, "models.convert", "models.profile")})
    assert "google.protobuf.descriptor_pb2" not in modules


def test_command_line_help_loads_nothing_heavy():
    """``gristmill --help`` answers at once."""
    code = "from gristmill.cli import main\ntry:\n    main(['info', '--help'])\nexcept SystemExit:\n    print()"
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert set(process.stdout.splitlines()[-1].split()).isdisjoint({"torch", "google.protobuf", "numpy"})


@pytest.mark.parametrize("name", ct.__all__)
def test_every_public_name_resolves(name):
    """Each name is found, a second time as the same object."""
    assert getattr(ct, name) is getattr(ct, name)
    assert name in dir(ct)


def test_names_are_the_objects_of_their_modules():
    """The short names and the long ones lead to the same objects."""
    for name, home in {"convert": "gristmill.models.convert", "TensorType": "gristmill.models.io_types"}.items():
        assert getattr(ct, name) is getattr(importlib.import_module(home), name)
    assert ct.target.iOS17 is importlib.import_module("gristmill.models.target").DeploymentTarget.iOS17


def test_dir_lists_the_public_names():
    """Completion shows what there is, without private names."""
    assert dir(ct) == sorted(ct.__all__)


def test_unknown_attribute():
    """A misspelled name is an AttributeError that names it, as of any module."""
    with pytest.raises(AttributeError, match=r"module 'gristmill' has no attribute 'covnert'"):
        ct.covnert  # noqa: B018  # the access is what is tested
    assert not hasattr(ct, "covnert")


def test_what_is_missing_says_so():
    """A name that users of coremltools look for is an AttributeError with the reason."""
    with pytest.raises(AttributeError, match="no attribute 'optimize': weights cannot be compressed yet"):
        ct.optimize  # noqa: B018  # the access is what is tested
