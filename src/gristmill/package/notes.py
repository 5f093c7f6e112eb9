"""What the program's format has no place for, kept in a model's user-defined metadata.

Two entries, both JSON:

    com.gristmill.dims        {function: {input or block argument: [dimension, …]}}, dimensions as text
    com.gristmill.locations   {"places": [[module, file, line, source], …], "ops": {function: {op: place's number}}}

They help to name things. A tool that changed the program may have left them behind, so what does not fit is ignored.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gristmill.errors import DimError
from gristmill.ir import dims
from gristmill.ir.dims import Dim, DimExpr
from gristmill.ir.program import Block, Function, Location, Program
from gristmill.ir.types import TensorType
from gristmill.package.proto import Message

DIMS = "com.gristmill.dims"
LOCATIONS = "com.gristmill.locations"
UNNAMED = "?"

# Characters. Reading a dimension is slow beside reading JSON, and real models have a few short ones.
_MOST_TEXT = {DIMS: 1 << 15, LOCATIONS: 1 << 26}


def write_notes(program: Program, metadata: Message) -> None:
    """Puts a program's notes into a ``Metadata`` message, in place of older ones."""
    places: dict[Location, int] = {}
    shapes, ops = {}, {}
    for name, function in program.functions.items():
        if named := _shapes(function.body):
            shapes[name] = named
        if placed := _places(function, places):
            ops[name] = placed
    _put(metadata, DIMS, shapes)
    listed = [[p.module, _portable(p.file), p.line, p.source] for p in places]
    _put(metadata, LOCATIONS, {"places": listed, "ops": ops} if ops else None)


def _portable(file: str | None) -> str | None:
    """A source file's path below the folder that Python finds it in, or below the working folder.

    So a model tells nothing of the computer that made it, and has the same bytes wherever it is made.
    """
    if file is None or not Path(file).is_absolute():
        return file
    path = Path(file)
    roots = [root for root in map(Path.absolute, map(Path, (".", *sys.path))) if path.is_relative_to(root)]
    if not roots:
        return path.name
    return path.relative_to(max(roots, key=lambda root: len(root.parts))).as_posix()


def _put(metadata: Message, key: str, content: object) -> None:
    metadata.userDefined.pop(key, None)
    if content:
        metadata.userDefined[key] = json.dumps(content, separators=(",", ":"))


def _shapes(block: Block) -> dict[str, list[str]]:
    found = {}
    for value in block.arguments:
        if isinstance(value.type, TensorType) and not value.type.is_static:
            texts = [_text(dim) for dim in value.type.shape]
            if any(
                text != UNNAMED and isinstance(dim, DimExpr) for text, dim in zip(texts, value.type.shape, strict=True)
            ):
                found[value.name] = texts
    for op in block:
        for nested in op.blocks:
            found.update(_shapes(nested))
    return found


def _text(dim: Dim) -> str:
    return UNNAMED if isinstance(dim, DimExpr) and all(map(dims.is_unknown, dim.symbols)) else str(dim)


def _places(function: Function, places: dict[Location, int]) -> dict[str, int]:
    return {
        op.name: places.setdefault(op.location, len(places))
        for op in function.body.walk()
        if op.location is not None and op.name
    }


def read_shapes(metadata: Message) -> dict[tuple[str, str], list[Dim | None]]:
    """Shapes of inputs and block arguments, by function and name; ``None`` for dimensions without a name."""
    found: dict[tuple[str, str], list[Dim | None]] = {}
    for function, values in _items(_get(metadata, DIMS)):
        for value, texts in _items(values):
            shape = _shape(texts)
            if shape is not None:
                found[function, value] = shape
    return found


def _shape(texts: Any) -> list[Dim | None] | None:
    if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
        return None
    try:
        return [None if text == UNNAMED else _named(dims.parse_dim(text)) for text in texts]
    except DimError:
        return None


def _named(dim: Dim) -> Dim | None:
    """The dimension, unless it has a name that is used for those without one: it could be mistaken for another."""
    return None if isinstance(dim, DimExpr) and any(map(dims.is_unknown, dim.symbols)) else dim


def read_locations(metadata: Message) -> dict[str, dict[str, Location]]:
    """Where ops come from, by function, then by name."""
    content = _get(metadata, LOCATIONS)
    if not isinstance(content, dict) or not isinstance(content.get("places"), list):
        return {}
    stated = enumerate(map(_location, content["places"]))
    places = {number: place for number, place in stated if place is not None}
    return {
        function: {op: places[n] for op, n in _items(ops) if isinstance(n, int) and n in places}
        for function, ops in _items(content.get("ops"))
    }


def _location(fields: Any) -> Location | None:
    if not isinstance(fields, list) or len(fields) != 4:
        return None
    module, file, line, source = fields
    texts = all(text is None or isinstance(text, str) for text in (module, file, source))
    return Location(module, file, line, source) if texts and (line is None or isinstance(line, int)) else None


def _get(metadata: Message, key: str) -> Any:
    text = metadata.userDefined.get(key, "")
    try:
        return json.loads(text) if text and len(text) <= _MOST_TEXT[key] else None
    except (ValueError, RecursionError):
        return None


def _items(content: Any) -> list[tuple[str, Any]]:
    return list(content.items()) if isinstance(content, dict) else []
