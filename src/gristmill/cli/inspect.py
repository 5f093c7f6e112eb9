"""What is in a model, as a document of plain Python values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias

import gristmill.ops  # noqa: F401  # registers the ops, which decoding a program needs
from gristmill.errors import GristmillError
from gristmill.ir.builtin import const
from gristmill.ir.constants import BlobData
from gristmill.ir.program import Function, Program
from gristmill.models.features import ARRAY_DTYPES, ArrayFeature, ImageFeature, feature
from gristmill.package import Package
from gristmill.package.proto import Message

Document: TypeAlias = dict[str, Any]


def inspect(package: Package) -> Document:
    """Everything about a loaded model.

    Returns:
        ``path``, ``bytes`` (on disk), ``kind``, ``specification_version``, ``inputs``, ``outputs``, ``states``,
        ``metadata``. Of an ML Program ``functions``, each with its ``opset`` and number of ``ops`` by type; of a neural
        network ``layers``; of a pipeline ``models``. ``parameters`` and ``weights`` count what the model has learned.
        ``problem`` says why the model's contents could not be read.
    """
    metadata = _metadata(package.description.metadata)  # before `spec` writes a compiled model's notes into it
    document: Document = {"path": str(package.path), "bytes": _size(package), **_inspect_model(package.spec)}
    document["metadata"] = metadata
    if not package.kind:
        compiled = "It is compiled from another type than mlProgram, whose contents are not read yet."
        document["problem"] = compiled if package.tree is not None else "It names no type of model that is known here."
    if package.kind == "mlProgram":
        try:
            program = package.program
            for name, function in program.functions.items():
                document.setdefault("functions", {}).setdefault(name, {}).update(_inspect_function(function))
            document |= _totals(_program_weights(program))
        except GristmillError as error:  # the rest is worth showing
            document["problem"] = f"The program cannot be read: {error}"
    return document


def _size(package: Package) -> int:
    if package.tree is not None:
        return sum(file.size for file in package.tree.values())
    return package.path.stat().st_size if package.path is not None else 0


# --- of every model --------------------------------------------------------------------------------------------------


def _inspect_model(spec: Message) -> Document:
    kind = str(spec.WhichOneof("Type") or "")
    document: Document = {
        "kind": kind or "unknown",
        "specification_version": int(spec.specificationVersion),
        **_inspect_interface(spec.description),
        "metadata": _metadata(spec.description.metadata),
    }
    functions = {f.name: _inspect_interface(f) for f in spec.description.functions}
    if functions:
        default = spec.description.defaultFunctionName
        document |= functions.get(default, {})
        document["functions"] = functions
    model: Message = getattr(spec, kind) if kind else None
    if kind.startswith("neuralNetwork"):
        document["layers"] = dict(Counter(str(layer.WhichOneof("layer")) for layer in model.layers).most_common())
        document |= _totals(_network_weights(model))
    if kind.startswith("pipeline"):
        pipeline = model if kind == "pipeline" else model.pipeline
        names = list(pipeline.names)
        document["models"] = [
            {"name": names[i] if i < len(names) else "", **_inspect_model(part)}
            for i, part in enumerate(pipeline.models)
        ]
    return document


def _inspect_interface(spec: Message) -> Document:
    return {
        "inputs": [_inspect_feature(f) for f in spec.input],
        "outputs": [_inspect_feature(f) for f in spec.output],
        "states": [_inspect_feature(f) for f in spec.state],
    }


def _inspect_feature(spec: Message) -> Document:
    kind = str(spec.type.WhichOneof("Type") or "unknown")
    document: Document = {"name": spec.name, "type": kind, "optional": bool(spec.type.isOptional)}
    if spec.shortDescription:
        document["description"] = spec.shortDescription
    try:
        known = feature(spec)
    except GristmillError:
        known = None
    match kind, known:
        case _, ArrayFeature():
            document |= {"dtype": str(known.dtype), "shape": list(known.shape)}
            if known.shapes is not None:
                document["shapes"] = [list(shape) for shape in known.shapes]
            if known.ranges is not None:
                document["ranges"] = [[low, high if high >= 0 else None] for low, high in known.ranges]
        case _, ImageFeature():
            document |= {"layout": known.layout, "width": known.size[0], "height": known.size[1]}
        case "dictionaryType", _:
            document["key"] = str(spec.type.dictionaryType.WhichOneof("KeyType")).removesuffix("KeyType")
        case "stateType", _:
            array = spec.type.stateType.arrayType
            document |= {"dtype": str(ARRAY_DTYPES.get(array.dataType)), "shape": [int(n) for n in array.shape]}
    document["text"] = known.describe() if known is not None else _text(document)
    return document


def _text(document: Document) -> str:
    if "dtype" in document:
        return f"{document['dtype']} {document['shape']}"
    return str(document["type"]).removesuffix("Type")


def _metadata(spec: Message) -> Document:
    texts = {
        "description": spec.shortDescription,
        "author": spec.author,
        "license": spec.license,
        "version": spec.versionString,
    }
    return {key: text for key, text in texts.items() if text} | {"user_defined": dict(sorted(spec.userDefined.items()))}


# --- of programs -----------------------------------------------------------------------------------------------------


def _inspect_function(function: Function) -> Document:
    ops = Counter(op.op_name for op in function.body.walk() if not isinstance(op, const))
    return {"opset": str(function.opset), "ops": dict(ops.most_common())}


# --- weights ---------------------------------------------------------------------------------------------------------

Weight: TypeAlias = tuple[str, int, int]
"""Type, number of elements, bytes."""


def _totals(weights: Iterator[Weight]) -> Document:
    by_type: dict[str, Document] = {}
    for dtype, count, size in weights:
        total = by_type.setdefault(dtype, {"parameters": 0, "bytes": 0})
        total["parameters"] += count
        total["bytes"] += size
    return {"parameters": sum(total["parameters"] for total in by_type.values()), "weights": by_type}


def _program_weights(program: Program) -> Iterator[Weight]:
    """What the weight files hold, each piece once however many functions share it."""
    seen = set()
    for function in program.functions.values():
        for value in function.values():
            data = value.constant.payload if value.constant is not None else None
            if isinstance(data, BlobData) and (data.path, data.offset) not in seen:
                seen.add((data.path, data.offset))
                yield str(data.dtype), data.size, -(-data.size * data.dtype.bits // 8)


def _network_weights(message: Message) -> Iterator[Weight]:
    """Every ``WeightParams`` in a neural network."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in value if hasattr(value, "__len__") else (value,):
            if not hasattr(part, "ListFields"):
                continue  # a map's key
            if field.message_type.name == "WeightParams":
                yield from _network_weight(part)
            else:
                yield from _network_weights(part)


def _network_weight(weight: Message) -> Iterator[Weight]:
    if weight.floatValue:
        yield "fp32", len(weight.floatValue), 4 * len(weight.floatValue)
    if weight.float16Value:
        yield "fp16", len(weight.float16Value) // 2, len(weight.float16Value)
    if raw := weight.rawValue or weight.int8RawValue:
        bits = int(weight.quantization.numberOfBits) or 8
        yield f"{bits}-bit", len(raw) * 8 // bits, len(raw)
