"""Writing compiled models, ``.mlmodelc`` folders.

An ML Program becomes MIL text with its weights, as Core ML's own compiler writes it. How that compiler stores other
models is not known: they are kept as their specification, ``model.mlmodel``, which Gristmill reads and Core ML does
not. Both get a ``metadata.json`` with what ``description.from_metadata`` reads, in the compiler's words.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gristmill.errors import InputError, UnsupportedError
from gristmill.ir.printer import write_program
from gristmill.package import proto
from gristmill.package.model import SPECIFICATION, Package, load
from gristmill.package.proto import Message
from gristmill.package.saving import replacing

_ARRAY_NAMES = {65552: "Float16", 65568: "Float32", 65600: "Double", 131080: "Int8", 131104: "Int32"}
_COLOR_NAMES = {"RGB": "RGB", "BGR": "BGR", "GRAYSCALE": "Grayscale", "GRAYSCALE_FLOAT16": "Grayscale16Half"}


def compile_package(package: Package, path: str | os.PathLike[str]) -> Path:
    """Writes a model as a compiled one, in place of what is there, in one step.

    Args:
        package: The model.
        path: Ends in ``.mlmodelc``.

    Raises:
        InputError: It does not, or a file is there.
        UnsupportedError: The model is a compiled network, whose contents are not known, or an ML Program whose inputs
            a compiled model's description cannot hold.
    """
    target = Path(path).expanduser()
    if target.suffix != ".mlmodelc" or target.is_file():
        raise InputError("a compiled model is a folder", expected="a path ending in .mlmodelc", actual=target)
    if not package.kind:
        raise UnsupportedError("the model is compiled already, and its contents are not known", location=package.path)
    with replacing(target) as new:
        new.mkdir()
        if package.kind == "mlProgram":
            _write_program(package, new)
        else:
            (new / SPECIFICATION).write_bytes(proto.serialize(package.spec))
            if package.weights_dir is not None:
                shutil.copytree(package.weights_dir, new / "weights")
        text = json.dumps([_metadata(package)], indent=2, sort_keys=True, ensure_ascii=False)
        (new / "metadata.json").write_text(text + "\n", encoding="utf-8")
    return target


def _write_program(package: Package, new: Path) -> None:
    """Text and weights: by way of a saved model, whose constants know their places in the weight file."""
    with tempfile.TemporaryDirectory(prefix="gristmill-") as scratch:
        stored = load(package.save(Path(scratch) / "model.mlpackage"))
        with (new / "model.mil").open("w", encoding="utf-8") as text:
            write_program(stored.program, text)
        if stored.weights_dir is not None and stored.weights_dir.is_dir():
            shutil.copytree(stored.weights_dir, new / "weights")


def _metadata(package: Package) -> dict[str, Any]:
    description = package.description
    about = description.metadata
    whole = {
        "specificationVersion": package.specification_version,
        "modelType": {"name": f"MLModelType_{package.kind}"},
        "shortDescription": about.shortDescription,
        "version": about.versionString,
        "author": about.author,
        "license": about.license,
        "userDefinedMetadata": dict(about.userDefined),
        **_schemas(description, strict=package.kind == "mlProgram"),
    }
    if description.functions:
        whole["defaultFunctionName"] = description.defaultFunctionName
        whole["functions"] = [{"name": f.name, **_schemas(f, strict=True)} for f in description.functions]
    return whole


def _schemas(spec: Message, *, strict: bool) -> dict[str, Any]:
    """Inputs, outputs and states; ``strict`` where nothing else in the folder describes them."""
    return {
        "inputSchema": [_feature(feature, strict) for feature in spec.input],
        "outputSchema": [_feature(feature, strict) for feature in spec.output],
        "stateSchema": [_feature(feature, strict) for feature in spec.state],
        "predictedFeatureName": spec.predictedFeatureName,
    }


def _feature(feature: Message, strict: bool) -> dict[str, Any]:
    kind = str(feature.type.WhichOneof("Type"))
    common = {
        "name": feature.name,
        "shortDescription": feature.shortDescription,
        "isOptional": "1" if feature.type.isOptional else "0",
    }
    match kind:
        case "multiArrayType":
            return common | {"type": "MultiArray"} | _array(feature.type.multiArrayType)
        case "stateType":
            return common | {"type": "State"} | _array(feature.type.stateType.arrayType)
        case "imageType":
            return common | {"type": "Image"} | _image(feature, strict)
        case "dictionaryType":
            integers = feature.type.dictionaryType.WhichOneof("KeyType") == "int64KeyType"
            return common | {"type": "Dictionary", "keyType": "Int64" if integers else "String"}
        case _:
            return common | {"type": kind.removesuffix("Type").capitalize()}


def _array(array: Message) -> dict[str, str]:
    found = {"dataType": _ARRAY_NAMES.get(array.dataType, "Float32"), "shape": _text(array.shape)}
    flexibility = array.WhichOneof("ShapeFlexibility")
    found["hasShapeFlexibility"] = "1" if flexibility else "0"
    if flexibility == "shapeRange":
        ranges = [[int(r.lowerBound), int(r.upperBound)] for r in array.shapeRange.sizeRanges]
        found["shapeRange"] = json.dumps(ranges)
    elif flexibility == "enumeratedShapes":
        found["enumeratedShapes"] = json.dumps([[int(n) for n in s.shape] for s in array.enumeratedShapes.shapes])
    return found


def _image(feature: Message, strict: bool) -> dict[str, str]:
    image = feature.type.imageType
    if strict and image.WhichOneof("SizeFlexibility"):
        raise UnsupportedError(
            "how a compiled model describes images of several sizes is not known",
            location=f"'{feature.name}'",
            hint="declare one size, or keep the .mlpackage",
        )
    color = type(image).ColorSpace.Name(image.colorSpace)
    return {"width": str(image.width), "height": str(image.height), "colorspace": _COLOR_NAMES.get(color, color)}


def _text(sizes: Iterable[int]) -> str:
    return json.dumps([int(n) for n in sizes])
