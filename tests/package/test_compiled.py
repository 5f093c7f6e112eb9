"""Compiled models: MIL text, weights and a description in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gristmill.errors import FormatError, UnsupportedError
from gristmill.ir import types
from gristmill.package import load
from gristmill.package.blob_writer import BlobWriter

TEXT = """program(1.0)
[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"coremlc-version", "3404.23.1"}})]
{
    func main<ios16>(tensor<fp16, [2, 12]> x) {
            tensor<fp16, [3, 12]> w = const()[name = tensor<string, []>("w"), val = tensor<fp16, [3, 12]>(BLOBFILE(path = tensor<string, []>("@model_path/weights/weight.bin"), offset = tensor<uint64, []>(64)))];
            tensor<fp16, [2, 3]> y = linear(weight = w, x = x)[name = tensor<string, []>("y_op")];
        } -> (y);
}
"""  # noqa: E501  # as the compiler writes it

ARRAY = {"type": "MultiArray", "dataType": "Float16", "isOptional": "0", "hasShapeFlexibility": "0"}


def metadata(**changes: Any) -> list[dict[str, Any]]:
    whole = {
        "specificationVersion": 7,
        "author": "somebody",
        "version": "2",
        "shortDescription": "multiplies",
        "license": "MIT",
        "userDefinedMetadata": {"key": "value"},
        "modelType": {"name": "MLModelType_mlProgram"},
        "inputSchema": [ARRAY | {"name": "x", "shape": "[2, 12]", "shortDescription": "rows"}],
        "outputSchema": [ARRAY | {"name": "y", "shape": "[]"}],
        "stateSchema": [],
    }
    return [whole | changes]


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    folder = tmp_path / "m.mlmodelc"
    (folder / "weights").mkdir(parents=True)
    with (folder / "weights/weight.bin").open("w+b") as file:
        writer = BlobWriter(file)
        writer.write(np.arange(36, dtype=np.float16).reshape(3, 12), types.fp16)
        writer.close()
    (folder / "model.mil").write_text(TEXT)
    (folder / "metadata.json").write_text(json.dumps(metadata()))
    return folder


def test_loads(compiled: Path, tmp_path: Path) -> None:
    """Program, weights and description come from the three files, and make an .mlpackage."""
    package = load(compiled)
    assert package.kind == "mlProgram"
    weight = next(iter(package.program.main.body)).result.constant
    assert weight is not None
    np.testing.assert_array_equal(weight.numpy(), np.arange(36).reshape(3, 12))
    about = package.description.metadata
    assert (about.author, about.versionString, about.license) == ("somebody", "2", "MIT")
    assert about.userDefined["key"] == "value"
    assert list(package.description.input[0].type.multiArrayType.shape) == [2, 12]
    again = load(package.save(tmp_path / "again.mlpackage"))
    assert [op.op_name for op in again.program.main.body] == ["const", "linear"]
    assert again.description.input[0].shortDescription == "rows"
    assert again.spec.specificationVersion == 7


@pytest.mark.parametrize(
    "path", ["../weights/weight.bin", "/etc/passwd", "@model_path/../m.mlmodelc/weights/weight.bin", "@model_path/x"]
)
def test_blob_paths(compiled: Path, path: str) -> None:
    """A weight file lies inside the model, whatever the program says."""
    (compiled / "model.mil").write_text(TEXT.replace("@model_path/weights/weight.bin", path))
    with pytest.raises(FormatError):
        _ = load(compiled).program


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "[]",
        "[1]",
        "{",
        "[" * 10_000,
        json.dumps([{}]),
        json.dumps(metadata(specificationVersion="x")),
        json.dumps(metadata(specificationVersion=1 << 40)),
        json.dumps(metadata(inputSchema=3)),
        json.dumps(metadata(inputSchema=[{"name": "x"}])),
        json.dumps(metadata(inputSchema=[ARRAY | {"name": "x", "shape": "["}])),
        json.dumps(metadata(inputSchema=[ARRAY | {"name": "x", "dataType": "Float8"}])),
        json.dumps(metadata(userDefinedMetadata={"a": 3})),
        json.dumps(metadata(author=3)),
    ],
)
def test_malformed_description(compiled: Path, broken: str) -> None:
    """Whatever is wrong with the description, it is a FormatError."""
    (compiled / "metadata.json").write_text(broken)
    with pytest.raises(FormatError):
        load(compiled)


def test_description_of_every_kind(compiled: Path) -> None:
    """Images, flexible arrays, dictionaries, scalars and states, as compiled models describe them."""
    features = [
        {"name": "i", "type": "Image", "width": "416", "height": "208", "colorspace": "BGR", "isOptional": "0"},
        ARRAY | {"name": "a", "shape": "[1, 3]", "shapeRange": "[[1, -1], [3, 3]]", "isOptional": "1"},
        {"name": "d", "type": "Dictionary", "keyType": "Int64"},
        {"name": "s", "type": "String"},
    ]
    state = [{"name": "m", "type": "State", "dataType": "Float16", "shape": "[4]"}]
    (compiled / "metadata.json").write_text(json.dumps(metadata(inputSchema=features, stateSchema=state)))
    image, array, pairs, text = load(compiled).description.input
    assert (image.type.imageType.width, image.type.imageType.height, image.type.imageType.colorSpace) == (416, 208, 30)
    assert [(r.lowerBound, r.upperBound) for r in array.type.multiArrayType.shapeRange.sizeRanges] == [(1, -1), (3, 3)]
    assert array.type.isOptional
    assert pairs.type.dictionaryType.WhichOneof("KeyType") == "int64KeyType"
    assert text.type.WhichOneof("Type") == "stringType"
    assert list(load(compiled).description.state[0].type.stateType.arrayType.shape) == [4]


def test_text_that_is_not_text(compiled: Path) -> None:
    """Bytes that are no UTF-8 are refused when the program is asked for; the description still loads."""
    (compiled / "model.mil").write_bytes(b"\xff\xfe")
    package = load(compiled)
    assert package.description.metadata.author == "somebody"
    with pytest.raises(FormatError, match="UTF-8"):
        _ = package.program


def test_compiled_networks(compiled: Path, tmp_path: Path) -> None:
    """A compiled neural network shows its description; it is not run, and never saved as if it were empty."""
    (compiled / "model.mil").unlink()
    package = load(compiled)
    assert package.description.input[0].name == "x"
    with pytest.raises(UnsupportedError, match="no ML Program"):
        _ = package.program
    with pytest.raises(UnsupportedError, match="cannot be saved"):
        package.save(tmp_path / "m.mlmodel")


@pytest.mark.real_model
def test_a_model_that_apple_compiled(real_model: Callable[[str], Path], tmp_path: Path) -> None:
    """YOLOX-nano: a thousand ops in MIL text, with weights in a blob file."""
    (folder,) = real_model("tattoo-detector").rglob("TattooDetector.mlmodelc")
    package = load(folder)
    ops = [op.op_name for op in package.program.main.body]
    assert (
        ops.count("conv")
        == json.loads((folder / "metadata.json").read_text())[0]["mlProgramOperationTypeHistogram"]["Conv"]
    )
    again = load(package.save(tmp_path / "m.mlpackage")).program
    assert [op.op_name for op in again.main.body] == ops
