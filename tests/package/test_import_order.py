"""Both packages in one process: the schema lives in a descriptor pool of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from gristmill.ir.builder import mb
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp32
from gristmill.package import Package, proto

OURS = """
from gristmill.package import Package, proto
from gristmill.ir.builder import mb
from gristmill.ir.program import Program
from gristmill.ir.types import TensorType, fp32
program = Program()
with mb.function(program, "main", {"x": TensorType(fp32, (3,))}) as (x,):
    mb.output(mb.relu(x=x, name="y"))
data = proto.serialize(Package.from_program(program).spec)
assert proto.parse("Model", data).description.output[0].name == "y"
"""
THEIRS = """
import sys
sys.modules.update(dict.fromkeys(["torch", "sklearn", "xgboost", "tensorflow"]))  # none of which it needs for messages
from coremltools import proto as theirs
"""
MEETING = """
model = theirs.Model_pb2.Model.FromString(data)
assert model.description.output[0].name == "y"
assert model.SerializeToString(deterministic=True) == data
"""


def run(code: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr


def test_alone() -> None:
    """Without coremltools in the process."""
    run(OURS)


@pytest.mark.interop
@pytest.mark.skipif(importlib.util.find_spec("coremltools") is None, reason="coremltools, the oracle, is not installed")
@pytest.mark.parametrize("order", [OURS + THEIRS, THEIRS + OURS], ids=["gristmill first", "coremltools first"])
def test_both(order: str) -> None:
    """In either order, each decodes what the other encodes."""
    run(order + MEETING)


def relu() -> bytes:
    """A model that is an ML Program."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp32, (3,))}) as (x,):
        mb.output(mb.relu(x=x, name="y"))
    return proto.serialize(Package.from_program(program).spec)


def network() -> bytes:
    """A pipeline with a model that is a network."""
    spec = proto.message("Model")()
    spec.pipeline.models.add().neuralNetwork.layers.add(name="first")
    return proto.serialize(spec)


@pytest.mark.parametrize("implementation", ["upb", "python"])
@pytest.mark.parametrize(
    "code",
    [
        f"""
package = Package(proto.parse("Model", {relu()!r}))
assert package.kind == "mlProgram" and package.description.output[0].name == "y"
assert package.program.main.outputs[0].name == "y"
assert len(package.spec.pipeline.models) == len(package.spec.neuralNetwork.layers) == 0
""",
        f"""
assert proto.parse("Model", {network()!r}).pipeline.models[0].neuralNetwork.layers[0].name == "first"
""",
        """
proto.parse("MILSpec.Program", b"")
made = proto.message("Pipeline")()
made.models.add().treeEnsembleClassifier.treeEnsemble.SetInParent()
assert isinstance(made.models[0], proto.message("Model"))
""",
    ],
    ids=["program", "network", "made"],
)
def test_classes_are_made_before_they_are_needed(code: str, implementation: str) -> None:
    """In a fresh process, whatever comes first: an ML Program that is only run needs few of the message classes."""
    run(
        f"from gristmill.package import Package, proto\n{code}",
        PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=implementation,
    )


def test_nothing_is_registered_in_the_default_pool() -> None:
    """Other users of protobuf see none of our messages."""
    run(
        OURS
        + """
from google.protobuf import descriptor_pool
try:
    descriptor_pool.Default().FindMessageTypeByName("CoreML.Specification.Model")
except KeyError:
    pass
else:
    raise AssertionError("the default pool has our messages")
"""
    )
